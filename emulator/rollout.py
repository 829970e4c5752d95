"""Running the plant: one chunk, and many. Streaming, tuning and sweeping all call `rollout`, nothing else.

A rollout first computes all jobs' power in its window, open loop and in parallel, then scans the closed loop over it,
chunk by chunk. A chunk is rematerialised in the backward pass: a gradient holds one state per chunk, not per tick.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp

from emulator import plant
from emulator.cluster import demand, serving
from emulator.cluster.iteration import Window
from emulator.frame import AT_START, ExternalGrid, Frame, Jobs
from emulator.plant import Inputs, Layout, Params, PlantState
from emulator.struct import quantity, struct
from emulator.units import W_PER_MW

FLAGS = ("status", "job_bits")
Tree = TypeVar("Tree")


@struct
class State:
    """All that a run carries from one window to the next."""

    tick: jax.Array = quantity("tick", "", "next tick, int32")
    training: tuple[demand.TrainingState, ...] = quantity("")
    inference: tuple[serving.InferenceState, ...] = quantity("")
    ordered_w: jax.Array = quantity("W", "training jobs", "power cap per accelerator that the site orders")
    plant: PlantState = quantity("")
    overflow: jax.Array = quantity("1", "", "true once a window held more iterations than planned for")


Work = tuple[tuple[tuple, tuple], Jobs, jax.Array, jax.Array]  # what `job_power` returns


def job_power(layout: Layout, params: Params, state: State, inputs: Inputs) -> Work:
    """What all jobs do in a window.

    Returns the states of training and inference jobs after it, `Jobs` with a leading axis of ticks, (rows, watched
    devices) W of single devices, and the overflow flag.
    """
    window = Window(state.tick, inputs.given_mw.shape[0], layout.dt_s)
    key = jax.random.key(inputs.seed)
    dtype = inputs.given_mw.dtype
    power = {job: inputs.given_mw[:, i] for i, job in enumerate(layout.given_job)}
    served = []
    for i, job in enumerate(layout.inference_job):
        with jax.named_scope(f"job{job}"):
            at, p = layout.inference[i], params.inference[i]
            its, power_w = serving.advance(at, p, state.inference[i], key, window)
        served.append(its)
        power[job] = power_w / W_PER_MW
    wanted, bits = dict(power), {job: jnp.zeros(window.ticks, jnp.int32) for job in power}
    halls = [jnp.zeros(window.ticks, dtype) for _ in range(layout.halls)]
    summed = (*layout.given_job, *layout.inference_job)
    for job, hall in zip(summed, (*layout.given_hall, *layout.inference_hall), strict=False):  # halls where recorded
        halls[hall] = halls[hall] + power[job]
    after, watched, overflow = [], [], jnp.asarray(False)
    for i, job in enumerate(layout.training_job):
        with jax.named_scope(f"job{job}"):
            at, p, ordered_w = layout.training[i], params.training[i], state.ordered_w[i]
            its, found = demand.advance(at, p, state.training[i], key, ordered_w, window)
        power[job] = jnp.sum(found.power_w, axis=1) / W_PER_MW
        wanted[job] = jnp.sum(found.wanted_w, axis=1) / W_PER_MW
        bits[job] = found.bits
        for group, hall in enumerate(layout.training_halls[i]):
            halls[hall] = halls[hall] + found.power_w[:, group] / W_PER_MW
        overflow = overflow | found.overflow
        after.append(its)
        if at.watched:
            watched.append(found.watched_w)

    def columns(parts: list[jax.Array], kind: jnp.dtype) -> jax.Array:
        return jnp.stack(parts, axis=1) if parts else jnp.zeros((window.ticks, 0), kind)

    places = range(layout.jobs)
    jobs = Jobs(
        mw=columns([power[job] for job in places], dtype),
        wanted_mw=columns([wanted[job] for job in places], dtype),
        bits=columns([bits[job] for job in places], jnp.int32),
        hall_mw=columns(halls, dtype),
    )
    return (
        (tuple(after), tuple(served)),
        jobs,
        jnp.concatenate(watched, axis=1) if watched else jnp.zeros((0, 0), dtype),
        overflow,
    )


def initial_state(layout: Layout, params: Params) -> State:
    """Before the first tick. The plant has no state yet: `rollout` settles it under the first tick's load."""
    dtype = params.step_size.dtype
    shape = jax.eval_shape(lambda p, power: plant.equilibrium(layout, p, power), params, jnp.zeros(layout.jobs, dtype))
    return State(
        tick=jnp.zeros((), jnp.int32),
        training=tuple(demand.initial(at, dtype) for at in layout.training),
        inference=tuple(serving.initial(at, dtype) for at in layout.inference),
        ordered_w=jnp.full(len(layout.training), jnp.inf, dtype),
        plant=jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shape),
        overflow=jnp.asarray(False),
    )


def advance(
    layout: Layout, params: Params, state: PlantState, first_tick: jax.Array, jobs: Jobs, external: ExternalGrid | None
) -> tuple[PlantState, Frame]:
    """The closed loop over one chunk; `jobs` and `external` have a leading axis of ticks. Frames come out every
    `every_ticks`."""

    def one(carry: PlantState, xs: tuple[jax.Array, Jobs, ExternalGrid | None]) -> tuple[PlantState, Frame]:
        return plant.tick(layout, params, carry, *xs)

    ticks = first_tick + jnp.arange(layout.chunk_ticks, dtype=jnp.int32)
    state, frames = jax.lax.scan(one, state, (ticks, jobs, external))
    return state, thinned(frames, layout.every_ticks)


def thinned(frames: Frame, every: int) -> Frame:
    """Means of powers, first values of states, union of status bits over every so many ticks."""
    if every == 1:
        return frames

    def groups(x: jax.Array) -> jax.Array:
        return x.reshape(x.shape[0] // every, every, *x.shape[1:])

    parts = {name: groups(getattr(frames, name)) for name in Frame.__dataclass_fields__ if name != "watched_w"}
    thin = {
        name: x[:, 0] if name in AT_START else jnp.mean(x, axis=1) for name, x in parts.items() if name not in FLAGS
    }
    flags = {name: jax.lax.reduce_or(parts[name], (1,)) for name in FLAGS}
    return Frame(**thin, **flags, watched_w=frames.watched_w)


def rollout(layout: Layout, params: Params, state: State, inputs: Inputs) -> tuple[State, Frame]:
    """Emulate the window that `inputs` covers, a whole number of chunks. Pure and differentiable.

    Before tick 0 the plant is put into equilibrium under the load of that tick. Where a site orders power caps, what
    its jobs do is computed chunk by chunk, each under the orders of the one before.
    Returns the state after it and the frames, (rows, ...) with rows = ticks / every_ticks.
    """
    if all(site.power_limit is None for site in params.sites):
        return _window(layout, params, state, inputs)

    def chunk(state: State, xs: tuple[jax.Array, ExternalGrid | None]) -> tuple[State, Frame]:
        return _window(layout, params, state, Inputs(inputs.seed, *xs))

    state, frames = jax.lax.scan(chunk, state, _in_chunks(layout, (inputs.given_mw, inputs.external)))
    return state, _joined(frames)


def batch(layout: Layout, params: Params, state: State, inputs: Inputs) -> tuple[State, Frame]:
    """As `rollout` of many scenarios, all arguments and results with a leading axis of scenarios.

    What the jobs do is computed scenario by scenario, an event's scatter being no faster for many at once; the closed
    loop runs for all side by side.
    """
    if any(site.power_limit is not None for site in params.sites):
        return jax.lax.map(lambda each: rollout(layout, *each), (params, state, inputs))
    work = jax.lax.map(lambda each: job_power(layout, *each), (params, state, inputs))
    return jax.vmap(partial(closed_loop, layout))(params, state, work, inputs.external)


def part_of(work: Work, begin: jax.Array, ticks: int) -> Work:
    """What the jobs do in some ticks of a window, `begin` of them into it, for drivers that learn of the grid step by
    step. The jobs' states stay those after the whole window: only its last part may be followed by another window."""
    states, jobs, watched_w, overflow = work
    whole = jobs.mw.shape[0]

    def cut(x: jax.Array) -> jax.Array:
        rows = x.shape[0] * ticks // whole
        return jax.lax.dynamic_slice_in_dim(x, begin * rows // ticks, rows)

    return states, jax.tree.map(cut, jobs), cut(watched_w), overflow


def _window(layout: Layout, params: Params, state: State, inputs: Inputs) -> tuple[State, Frame]:
    """A window in which orders to the jobs do not change."""
    return closed_loop(layout, params, state, job_power(layout, params, state, inputs), inputs.external)


def closed_loop(
    layout: Layout, params: Params, state: State, work: Work, external: ExternalGrid | None
) -> tuple[State, Frame]:
    """The plant under what its jobs do in a window, and the orders to them that follow from it."""
    (training, served), jobs, watched_w, overflow = work
    settled = plant.equilibrium(layout, params, jobs.mw[0], jax.tree.map(lambda x: x[0], external))
    start = jax.tree.map(lambda new, old: jnp.where(state.tick == 0, new, old), settled, state.plant)
    ticks = jobs.mw.shape[0]
    firsts = state.tick + jnp.arange(0, ticks, layout.chunk_ticks, dtype=jnp.int32)

    @jax.checkpoint
    def one(carry: PlantState, xs: tuple[jax.Array, Jobs, ExternalGrid | None]) -> tuple[PlantState, Frame]:
        return advance(layout, params, carry, *xs)

    after, frames = jax.lax.scan(one, start, (firsts, *_in_chunks(layout, (jobs, external))))
    frames = replace(_joined(frames), watched_w=watched_w)
    state = State(
        tick=state.tick + ticks,
        training=training,
        inference=served,
        ordered_w=plant.orders(layout, params, state.ordered_w, frames),
        plant=after,
        overflow=state.overflow | overflow,
    )
    return state, frames


def _in_chunks(layout: Layout, tree: Tree) -> Tree:
    """Leaves (ticks, ...) to (chunks, chunk_ticks, ...)."""
    return jax.tree.map(lambda x: x.reshape(x.shape[0] // layout.chunk_ticks, layout.chunk_ticks, *x.shape[1:]), tree)


def _joined(frames: Frame) -> Frame:
    """(chunks, rows, ...) to (all rows, ...)."""
    return jax.tree.map(lambda x: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), frames)
