"""Controllers that act ahead of time: feed-forward of a job's schedule, repetitive control. MW, discharge positive.

    order(t) = plan(t + lead) - mean of the plan + what a low-pass leaves of (load - plan)(t)
The plan is played `lead` early, to make up for the time from an order to its effect. The rest of the load is handled as
by `low_pass`. Feed-forward plays the job's nominal iteration from each start of an iteration, and holds its last value
until the next one starts. Repetitive control learns the load of one period as its plan: m <- m + gain (load - m).
Reference: arXiv 2512.08076 (feed-forward and repetitive terms of its storage controllers); Hara et al., IEEE Trans.
Autom. Control 33(7):659, 1988 (repetitive control).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.blocks import Compensated, compensated, compensated_add
from emulator.struct import quantity, struct


@struct
class FeedForwardParams:
    plan_mw: tuple[jax.Array, ...] = quantity("MW", "ticks", "of each planned job over an iteration, less its mean")
    cutoff_hz: jax.Array = quantity("Hz", "", "of the low-pass for what is not planned")
    soc_gain: jax.Array = quantity("1", "", "share of rated power per unit of SOC error")


@struct
class RepetitiveParams:
    learning_gain: jax.Array = quantity("1")
    cutoff_hz: jax.Array = quantity("Hz", "", "of the low-pass for what does not repeat")
    soc_gain: jax.Array = quantity("1", "", "share of rated power per unit of SOC error")


@struct
class FeedForwardState:
    age: jax.Array = quantity("tick", "planned jobs", "int32, of the iteration that runs; -1 = none has begun")
    towards_grid_mw: Compensated[jax.Array] = quantity("MW", "", "low-pass of what is not planned")


@struct
class RepetitiveState:
    pending_mw: jax.Array = quantity("MW", "period ticks", "learned load, a ring buffer indexed by tick")
    now_mw: jax.Array = quantity("MW", "", "learned load of the next tick")
    ahead_mw: jax.Array = quantity("MW", "", "learned load of the tick `lead` after that")
    change_mw: Compensated[jax.Array] = quantity("MW", "", "of the ring's sum since the start")
    first_mw: jax.Array = quantity("MW", "", "load of the first tick")
    towards_grid_mw: Compensated[jax.Array] = quantity("MW", "", "low-pass of what does not repeat")


def feed_forward_at_rest(params: FeedForwardParams, load_mw: jax.Array) -> FeedForwardState:
    """Before any iteration."""
    return FeedForwardState(age=jnp.full(len(params.plan_mw), -1, jnp.int32), towards_grid_mw=compensated(load_mw))


def feed_forward(
    params: FeedForwardParams,
    state: FeedForwardState,
    load_mw: jax.Array,
    starts: jax.Array,
    lead_ticks: int,
    dt_s: float,
) -> tuple[FeedForwardState, jax.Array]:
    """State after a tick and the order in it. starts: (planned jobs,) whether an iteration begins in the tick."""
    age = jnp.where(starts, 0, jnp.where(state.age < 0, -1, state.age + 1))
    now_mw = ahead_mw = jnp.zeros_like(load_mw)
    for i, plan in enumerate(params.plan_mw):
        size = plan.shape[0]
        begun, late = age[i] >= 0, age[i] >= size
        last = size - 1
        now_mw = now_mw + jnp.where(begun, plan[jnp.clip(age[i], 0, last)], 0.0)
        # A late iteration is held at its end; one on time is followed by the next.
        soon = jnp.where(late, last, (age[i] + lead_ticks) % size)
        ahead_mw = ahead_mw + jnp.where(begun, plan[soon], 0.0)
    towards_grid, unplanned_mw = _unplanned(state.towards_grid_mw, load_mw - now_mw, params.cutoff_hz, dt_s)
    return FeedForwardState(age=age, towards_grid_mw=towards_grid), ahead_mw + unplanned_mw


def repetitive_at_rest(period_ticks: int, load_mw: jax.Array) -> RepetitiveState:
    """Under a load that has always been there."""
    return RepetitiveState(
        pending_mw=jnp.broadcast_to(load_mw, (period_ticks,)),
        now_mw=load_mw,
        ahead_mw=load_mw,
        change_mw=compensated(jnp.zeros_like(load_mw)),
        first_mw=load_mw,
        towards_grid_mw=compensated(jnp.zeros_like(load_mw)),
    )


def repetitive(
    params: RepetitiveParams,
    state: RepetitiveState,
    load_mw: jax.Array,
    tick: jax.Array,
    lead_ticks: int,
    dt_s: float,
) -> tuple[RepetitiveState, jax.Array]:
    """State after the tick and the order in it."""
    size, now_mw = state.pending_mw.shape[0], state.now_mw
    slot = tick % size
    move_mw = params.learning_gain * (load_mw - now_mw)
    # The next tick's values are read after the write: read before it, XLA would copy the whole ring in every tick.
    ring = state.pending_mw.at[slot].set(now_mw + move_mw)
    towards_grid, unplanned_mw = _unplanned(state.towards_grid_mw, load_mw - now_mw, params.cutoff_hz, dt_s)
    mean_mw = state.first_mw + state.change_mw.value / size
    after = RepetitiveState(
        pending_mw=ring,
        now_mw=ring[(slot + 1) % size],
        ahead_mw=ring[(slot + 1 + lead_ticks) % size],
        change_mw=compensated_add(state.change_mw, move_mw),
        first_mw=state.first_mw,
        towards_grid_mw=towards_grid,
    )
    return after, state.ahead_mw - mean_mw + unplanned_mw


def _unplanned(
    towards_grid: Compensated[jax.Array], rest_mw: jax.Array, cutoff_hz: jax.Array, dt_s: float
) -> tuple[Compensated[jax.Array], jax.Array]:
    """High-pass of the load that the plan does not explain: state of the low-pass, and tick mean as in `low_pass`."""
    turn = 2.0 * jnp.pi * cutoff_hz * dt_s
    gain = -jnp.expm1(-turn)
    error_mw = rest_mw - towards_grid.value
    return compensated_add(towards_grid, gain * error_mw), gain / turn * error_mw
