"""The search itself: bounded places, constraints by an augmented Lagrangian, steps of an optax optimizer.

Each clause is a constraint c <= 0, c = excess over scenarios as a share of what is allowed. The Lagrangian adds
    psi = (max(0, lambda + mu c)^2 - lambda^2) / (2 mu)
per clause; every few steps lambda moves to max(0, lambda + mu c), and mu grows where the excess has not halved.
Reference: Nocedal & Wright, Numerical Optimization, 2nd ed., sec. 17.4. The step of lambda is bounded, so that a start
far from the limits does not wind it up.
"""

from __future__ import annotations

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from emulator.struct import as_array, quantity, struct
from emulator.tune_batch import Batches, Measures, everywhere, measures
from emulator.tune_problem import Task
from emulator.tune_schema import COSTS

LARGEST_GRADIENT = 1.0  # global norm above which a gradient is scaled down: far starts have slopes of thousands
UPDATE_STEPS = 10  # between updates of the multipliers
FIRST_WEIGHT, MOST_WEIGHT = 10.0, 200.0  # mu; excess is a share of what is allowed, the objective one of its start
MOST_MOVE = 0.25  # of lambda in one update, or twofold; 1: what is allowed weighs as much as the start's objective
AIM = 1e-3  # aims so far inside each clause, so that places on either side of the aim keep it
INSIDE = 0.02  # starts at a bound begin so far inside it, as a share of the range: at it there is no slope


Step = Any  # (Carry, Batches) -> (Carry, Record), jitted: typed by no public name of JAX
Wish = tuple[jax.Array, jax.Array]  # weights of the terms and aim of a start


@struct
class Carry:
    """What a search carries from step to step."""

    step: jax.Array = quantity("1", "", "int32, steps done")
    place: jax.Array = quantity("1", "starts, parameters", "any real number")
    optimizer: Any = quantity("")
    multiplier: jax.Array = quantity("1", "starts, clauses", "lambda")
    weight: jax.Array = quantity("1", "starts", "mu")
    before: jax.Array = quantity("1", "starts", "largest excess at the last update")


@struct
class Record:
    """What a step found, before it moved."""

    value: jax.Array = quantity("of the parameter", "starts, parameters")
    objective: jax.Array = quantity("1", "starts")
    excess: jax.Array = quantity("1", "starts, clauses", "over scenarios, share of what is allowed; negative = room")
    room: jax.Array = quantity("of the clause", "starts, clauses", "worst scenario's margin")
    cost: jax.Array = quantity("of the cost", "starts, costs", "mean over scenarios")
    gradient: jax.Array = quantity("1", "starts, parameters", "of the Lagrangian, by place")


def bounded(task: Task, place: jax.Array) -> jax.Array:
    """(parameters,) values at a place; they stay within their bounds."""
    share = jax.nn.sigmoid(place)
    low, high = as_array(task.low), as_array(task.high)
    log = jnp.asarray([parameter.scale == "log" for parameter in task.tune.parameters])
    ratio = as_array(np.log([p.high / p.low if p.scale == "log" else 1.0 for p in task.tune.parameters]))
    value = jnp.where(log, low * jnp.exp(ratio * share), low + (high - low) * share)
    return jnp.clip(value, low, high)  # only rounding can lead beyond


def places_of(task: Task) -> jax.Array:
    """(starts, parameters) where searches begin: the first at the configuration's values, others at random."""
    rows = []
    for parameter, start in zip(task.tune.parameters, task.start, strict=True):
        ends = np.array([parameter.low, start, parameter.high])
        low, at, high = np.log(ends) if parameter.scale == "log" else ends
        rows.append((at - low) / (high - low))
    drawn = np.random.default_rng(task.tune.seed).uniform(0.05, 0.95, (task.tune.starts - 1, len(rows)))
    share = np.clip(np.concatenate([[rows], drawn]), INSIDE, 1.0 - INSIDE)
    return as_array(np.log(share / (1.0 - share)))


def optimizers() -> tuple[str, ...]:
    """Optimizers of optax that take a learning rate and nothing else that is needed."""
    return tuple(name for name in dir(optax) if not name.startswith("_") and name not in _OTHERS and _takes_rate(name))


_OTHERS = {"lbfgs", "scale_by_learning_rate", "scale_by_rprop"}  # wants more than a gradient; parts of optimizers


def _takes_rate(name: str) -> bool:
    function = getattr(optax, name)
    if not inspect.isfunction(function):
        return False
    parameters = list(inspect.signature(function).parameters.values())
    needed = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    return needed == ["learning_rate"]


def optimizer_of(task: Task) -> optax.GradientTransformation:
    """The optimizer of [tune], its steps falling along a cosine, gradients clipped by their norm."""
    rate = optax.cosine_decay_schedule(task.tune.learning_rate, task.tune.steps)
    return optax.chain(optax.clip_by_global_norm(LARGEST_GRADIENT), getattr(optax, task.tune.optimizer)(rate))


def start_of(task: Task, places: jax.Array) -> Carry:
    """Before the first step, at (starts, parameters) places. On all devices, as steps leave it."""
    starts = places.shape[0]
    carry = Carry(
        step=jnp.zeros((), jnp.int32),
        place=places,
        optimizer=jax.vmap(optimizer_of(task).init)(places),
        multiplier=jnp.zeros((starts, len(task.clauses)), places.dtype),
        weight=jnp.full(starts, FIRST_WEIGHT, places.dtype),
        before=jnp.full(starts, jnp.inf, places.dtype),
    )
    return everywhere(carry)


def over_scenarios(task: Task, values: jax.Array) -> jax.Array:
    """(scenarios, n) to (n,): the largest, the mean, or the mean of the largest share (conditional value at risk).

    Reference: Rockafellar & Uryasev, J. Risk 2(3):21, 2000.
    """
    match task.tune.over:
        case "worst":
            return jnp.max(values, axis=0)
        case "mean":
            return jnp.mean(values, axis=0)
        case "cvar":
            count = max(1, round(task.tune.cvar_share * values.shape[0]))
            return jnp.mean(jnp.sort(values, axis=0)[-count:], axis=0)


def weights_of(task: Task) -> jax.Array:
    """(terms,) of the objective."""
    return as_array([term.weight for term in task.tune.objective])


def objective(task: Task, found: Measures, weights: jax.Array) -> jax.Array:
    """Weighted sum of the terms; a kind of limit counts with the excess of its clauses."""
    excess = _excess(task, found)
    total = jnp.zeros((), found.cost.dtype)
    for i, term in enumerate(task.tune.objective):
        if term.term in COSTS:
            values = found.cost[:, task.costs.index(term.term)]
        else:
            kind = [j for j, clause in enumerate(task.clauses) if clause.limit.kind == term.term]
            values = jnp.sum(jnp.maximum(excess[:, jnp.asarray(kind)], 0.0), axis=1)
        total = total + weights[i] * over_scenarios(task, values[:, None])[0]
    return total


def excess_of(task: Task, found: Measures) -> jax.Array:
    """(clauses,) excess over scenarios, as a share of what is allowed; negative = room."""
    return over_scenarios(task, _excess(task, found))


def _excess(task: Task, found: Measures) -> jax.Array:
    """(scenarios, clauses) excess as a share of what is allowed, the reserve kept back."""
    return task.tune.reserve - found.room / as_array([clause.scale for clause in task.clauses])[None, :]


def constrained(task: Task) -> np.ndarray:
    """(clauses,) which of them are constraints and no terms of the objective."""
    weighed = {term.term for term in task.tune.objective}
    return np.array([clause.limit.kind not in weighed for clause in task.clauses], bool)


def step_of(task: Task, scale: float, weights: jax.Array, aims: jax.Array) -> Step:
    """One step of all starts, compiled.

    Args:
      scale: of the objective, that of the first start before the search.
      weights: (starts, terms) of the objective that each start descends; what is recorded has those of [tune].
      aims: (starts,) how far inside each clause a start aims, as a share of what is allowed.
    """
    optimizer, held = optimizer_of(task), as_array(constrained(task))

    def lagrangian(place: jax.Array, scenarios: Batches, carry: Carry, wish: Wish) -> tuple[jax.Array, Record]:
        value = bounded(task, place)
        found = measures(task, value, scenarios)
        worth, excess = objective(task, found, wish[0]), excess_of(task, found)
        pushed = jnp.maximum(0.0, carry.multiplier + carry.weight * (excess + wish[1]))
        psi = held * (pushed**2 - carry.multiplier**2) / (2.0 * carry.weight)
        room = jnp.min(found.room, axis=0)
        said = objective(task, found, weights_of(task))
        record = Record(value, said, excess, room, jnp.mean(found.cost, axis=0), jnp.zeros_like(place))
        return worth / scale + jnp.sum(psi), record

    def one(carry: Carry, scenarios: Batches, wish: Wish) -> tuple[Carry, Record]:
        slope, record = jax.grad(lagrangian, has_aux=True)(carry.place, scenarios, carry, wish)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes its step count with floats
            moves, state = optimizer.update(slope, carry.optimizer, carry.place)
        step = carry.step + 1
        multiplier, heavier, before = _updated(carry, held * (record.excess + wish[1]))
        now = step % UPDATE_STEPS == 0
        after = Carry(
            step=step,
            place=jnp.asarray(optax.apply_updates(carry.place, moves)),
            optimizer=state,
            multiplier=jnp.where(now, multiplier, carry.multiplier),
            weight=jnp.where(now, heavier, carry.weight),
            before=jnp.where(now, before, carry.before),
        )
        return after, Record(**{**vars(record), "gradient": slope})

    axes = Carry(step=None, place=0, optimizer=0, multiplier=0, weight=0, before=0)  # type: ignore[arg-type]
    all_starts = jax.vmap(one, in_axes=(axes, None, 0), out_axes=(axes, 0))
    return jax.jit(lambda carry, scenarios: all_starts(carry, scenarios, (weights, aims)))


def _updated(carry: Carry, excess: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Multipliers, mu and largest excess after an update."""
    most = jnp.maximum(MOST_MOVE, carry.multiplier)
    multiplier = jnp.maximum(0.0, carry.multiplier + jnp.clip(carry.weight * excess, -most, most))
    largest = jnp.max(excess, initial=-jnp.inf)
    slow = (largest > 0.5 * carry.before) & (largest > AIM)
    return multiplier, jnp.where(slow, jnp.minimum(2.0 * carry.weight, MOST_WEIGHT), carry.weight), largest
