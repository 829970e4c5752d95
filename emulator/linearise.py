"""The plant's tick as linear equations about its equilibrium, by forward differentiation of the tick that runs.

    x[k+1] = A x[k] + B u[k],   y[k] = C x[k] + D u[k]
u: change of a load in MW, constant within a tick; x: float leaves of the state. Integers and switches keep still.
At a kink (an efficiency that differs by direction, a state at its limit) the slope is the mean of those on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from emulator import plant
from emulator.blocks import Compensated, compensated
from emulator.disturbance import StepLayout
from emulator.frame import Frame, Jobs
from emulator.plant import Layout, Params, PlantState

RING = "pending"  # rings of delays: 1-D leaves whose name begins so, written at tick % size
OUTPUTS = ("speed_pu", "tie_mw", "shaft_torque_pu", "bess_mw", "pcc_mw")  # of a frame
# Off the kinks by so little that no curve shows; different in each state, so that kinks of differences are left too.
NUDGE = 1e-9
PASSED_OVER = ("grid", "motion", "value", "sites", "governors", "storage")  # words of a state's path that say nothing
UNIT = re.compile(r"_(mw|mws|mwh|mvar|pu|rad|hz|s)$")

Labels = Mapping[str, Sequence[Any]]  # of each shape that fields declare: names, or a list of such by place in a tuple


class Where(NamedTuple):
    """Whose load changes: the IT power of a site, or the other load of an area."""

    kind: str  # "site" or "area"
    place: int


class Linear(NamedTuple):
    """The matrices above. Outputs in the order of `OUTPUTS`, speed in Hz."""

    a: jax.Array
    b: jax.Array
    c: jax.Array
    d: jax.Array
    drift: jax.Array  # (states,) by which the equilibrium moves in a tick: 0
    kink: jax.Array  # (states,) by how much the slopes on both sides differ


def linearised(layout: Layout, params: Params, job_mw: jax.Array, where: Where) -> Linear:
    """The plant about its equilibrium under job powers (jobs,), before any disturbance. Differentiable in `params`."""
    steps = (StepLayout("area_load", where.place, -1, 0.0),) if where.kind == "area" else ()
    quiet = replace(layout, steps=steps)
    start = plant.equilibrium(layout, params, job_mw)
    point = jnp.append(packed(start), 0.0)
    size = point.shape[0] - 1

    def one(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        u = z[size]
        its = replace(params, step_size=u[None] if steps else jnp.zeros(0, z.dtype))
        mw = job_mw if steps else job_mw.at[layout.sites[where.place].jobs[0]].add(u)
        after, frame = plant.tick(quiet, its, unpacked(start, z[:size]), jnp.int32(0), _jobs(layout, mw))
        found = jnp.concatenate([packed(rolled(after)), _outputs(params, frame)])
        return found, found

    off = NUDGE * (1.0 + 0.5 * jnp.sin(1.0 + jnp.arange(size + 1, dtype=point.dtype)))
    # In a loop, so that the tick is compiled once.
    sides = jnp.stack([point + off, point, point - off])
    (above, _, below), (_, after, _) = jax.lax.map(jax.jacfwd(one, has_aux=True), sides)
    jacobian = 0.5 * (above + below)
    return Linear(
        a=jacobian[:size, :size],
        b=jacobian[:size, size],
        c=jacobian[size:, :size],
        d=jacobian[size:, size],
        drift=after[:size] - point[:size],
        kink=jnp.max(jnp.abs(above - below)[:size], axis=1),
    )


def _jobs(layout: Layout, mw: jax.Array) -> Jobs:
    return Jobs(mw=mw, wanted_mw=mw, bits=jnp.zeros(layout.jobs, jnp.int32), hall_mw=jnp.zeros(layout.halls, mw.dtype))


def _outputs(params: Params, frame: Frame) -> jax.Array:
    found = {name: getattr(frame, name) for name in OUTPUTS}
    return jnp.concatenate(list((found | {"speed_pu": params.grid.frequency_hz * frame.speed_pu}).values()))


def packed(state: PlantState) -> jax.Array:
    """(states,) float leaves in the order of the tree; a compensated sum counts once, as value + rest."""
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(_plain(state)) if _is_float(leaf)])


def unpacked(template: PlantState, vector: jax.Array) -> PlantState:
    """A state with these float leaves; all else, and the form of compensated sums, as in the template."""
    leaves, tree = jax.tree.flatten(_plain(template))
    begin, found = 0, []
    for leaf in leaves:
        size = leaf.size if _is_float(leaf) else 0
        found.append(vector[begin : begin + size].reshape(leaf.shape) if _is_float(leaf) else leaf)
        begin += size
    plain = jax.tree.unflatten(tree, found)
    return jax.tree.map(
        lambda its, now: compensated(now) if isinstance(its, Compensated) else now, template, plain, is_leaf=_is_sum
    )


def _plain(state: PlantState) -> Any:
    def one(its: Any) -> Any:
        return jax.tree.map(jnp.add, its.value, its.rest) if isinstance(its, Compensated) else its

    return jax.tree.map(one, state, is_leaf=_is_sum)


def _is_sum(node: Any) -> bool:
    return isinstance(node, Compensated)


def _is_float(leaf: jax.Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def rolled(state: PlantState) -> PlantState:
    """Rings turned so that the slot of the next tick comes first: what a delay holds then moves on by one place a tick,
    whatever the tick's number."""

    def one(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        return jnp.roll(leaf, -1) if leaf.ndim == 1 and _in_ring(path) else leaf

    return jax.tree_util.tree_map_with_path(one, state)


def _in_ring(path: tuple[Any, ...]) -> bool:
    return getattr(path[-1], "name", "").startswith(RING)


def ring_lengths(state: PlantState) -> list[int]:
    """(states,) number of slots of the ring that each state is in; 0 outside. Of the state only shapes count."""
    found = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.eval_shape(_plain, state)):
        if _is_float(leaf):
            found += [leaf.size if leaf.ndim == 1 and _in_ring(path) else 0] * leaf.size
    return found


def state_names(state: PlantState, labels: Labels) -> list[str]:
    """(states,) what each is and where, from its field's name and declared shape. Slots of a ring share a name. Of the
    state only shapes count.

    Args:
      labels: names of the places that a shape declares; for fields within a tuple, a list of such names per item.
        "sites" holds the names of the sites. Places without a name are numbered.
    """
    return [name for _, name in _named(jax.eval_shape(_plain, state), (), "", labels, ())]


def _named(
    node: Any, words: tuple[str, ...], shape: str, labels: Labels, places: tuple[int, ...]
) -> Iterator[tuple[int, str]]:
    if is_dataclass(node):
        for field in fields(node):
            if "static" not in field.metadata:
                shape = field.metadata["shape"]
                yield from _named(getattr(node, field.name), (*words, field.name), shape, labels, places)
    elif isinstance(node, tuple):
        for i, item in enumerate(node):
            yield from _named(item, (*words[:-1], *_item(words[-1], i, item)), shape, labels, (*places, i))
    elif node is not None and _is_float(node):
        what = " ".join(UNIT.sub("", word).replace("_", " ") for word in words if word not in PASSED_OVER)
        for i in range(node.size):
            yield i, f"{what} {_place(words, shape, labels, places, i, node)}".rstrip()


def _item(word: str, i: int, item: Any) -> tuple[str, ...]:
    """Words for an item of a tuple."""
    if word == "governors":
        return word, type(item).__name__.removesuffix("State").lower()
    one = {"batteries": "battery", "stages": "stage"}.get(word, word)
    return (f"{one} {i + 1}" if one != word and (i > 0 or word == "stages") else one,)


def _place(words: tuple[str, ...], shape: str, labels: Labels, places: tuple[int, ...], i: int, leaf: jax.Array) -> str:
    if words[0] == "sites":
        return labels["sites"][places[0]]
    names = labels.get(shape, ())
    if names and not isinstance(names[0], str):
        names = names[places[-1]]
    if i < len(names):
        return names[i]
    return str(i + 1) if leaf.size > 1 else ""
