"""Model-predictive control: plans the power towards the grid so that it changes least. MW, discharge positive.

    min over u:  sum ((g_k - g_{k-1}) / r)^2 + 1/N sum (e_k / e)^2,   g = l - u,  e_k = e_0 - h sum u,  |u| <= P
l: load expected over the next N steps of length h, the one learned from earlier periods (as repetitive control does);
u: battery power; g: power towards the grid; e_k: stored energy above its target; r, e: the change per step and the
energy that weigh 1. The problem is solved anew at each step, by a fixed number of accelerated projected gradient steps
from the last solution. Within a step, the power towards the grid moves to the first g in a straight line, and the
battery carries the rest of the actual load.
Reference: Nesterov, Introductory Lectures on Convex Optimization, 2004, sec. 2.2.4.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.struct import quantity, struct
from emulator.units import S_PER_H


@struct
class MpcParams:
    learning_gain: jax.Array = quantity("1")
    change_mw: jax.Array = quantity("MW", "", "r")
    energy_mwh: jax.Array = quantity("MWh", "", "e")
    soc_gain: jax.Array = quantity("1", "", "share of rated power per unit of SOC error")


@struct
class MpcState:
    pending_mw: jax.Array = quantity("MW", "period ticks", "learned load, a ring buffer indexed by tick")
    now_mw: jax.Array = quantity("MW", "", "learned load of the next tick")
    ahead_mw: jax.Array = quantity("MW", "", "learned load of the tick `lead` after that")
    powers_mw: jax.Array = quantity("MW", "steps", "the last solution")
    from_mw: jax.Array = quantity("MW", "", "towards the grid at the step's start")
    to_mw: jax.Array = quantity("MW", "", "and at its end")


def initial(period_ticks: int, steps: int, load_mw: jax.Array) -> MpcState:
    """Under a load that has always been there."""
    ring = jnp.broadcast_to(load_mw, (period_ticks,))
    return MpcState(ring, load_mw, load_mw, jnp.zeros(steps, load_mw.dtype), from_mw=load_mw, to_mw=load_mw)


def step(
    params: MpcParams, state: MpcState, load_mw: jax.Array, off_mwh: jax.Array, rated_mw: jax.Array, tick: jax.Array,
    lead_ticks: int, step_ticks: int, iterations: int, dt_s: float,
) -> tuple[MpcState, jax.Array]:  # fmt: skip
    """State after the tick and the order in it. off_mwh: stored energy above its target."""
    size, steps, now_mw = state.pending_mw.shape[0], state.powers_mw.shape[0], state.now_mw
    slot, within = tick % size, tick % step_ticks
    # Read after the write: read before it, XLA would copy the whole ring in every tick.
    ring = state.pending_mw.at[slot].set(now_mw + params.learning_gain * (load_mw - now_mw))

    def planned() -> tuple[jax.Array, jax.Array, jax.Array]:
        ticks = slot + lead_ticks + jnp.arange(steps * step_ticks, dtype=jnp.int32)
        expected_mw = jnp.mean(ring[ticks % size].reshape(steps, step_ticks), axis=1)
        hours = step_ticks * dt_s / S_PER_H
        powers = _optimum(params, expected_mw, state.to_mw, off_mwh, rated_mw, state.powers_mw, hours, iterations)
        return powers, state.to_mw, expected_mw[0] - powers[0]

    powers, from_mw, to_mw = jax.lax.cond(within == 0, planned, lambda: (state.powers_mw, state.from_mw, state.to_mw))
    grid_mw = from_mw + (to_mw - from_mw) * (within.astype(load_mw.dtype) + 0.5) / step_ticks
    coming = ring[(slot + 1) % size], ring[(slot + 1 + lead_ticks) % size]
    return MpcState(ring, *coming, powers, from_mw, to_mw), state.ahead_mw + (load_mw - now_mw) - grid_mw


def _optimum(
    params: MpcParams, expected_mw: jax.Array, grid_mw: jax.Array, off_mwh: jax.Array, rated_mw: jax.Array,
    guess_mw: jax.Array, hours: float, iterations: int,
) -> jax.Array:  # fmt: skip
    """(steps,) battery powers that solve the problem above, from a first guess; hours: h, grid_mw: g_0."""
    steps = guess_mw.shape[0]

    def slope(u: jax.Array) -> jax.Array:
        grid = expected_mw - u
        change = (grid - jnp.concatenate([grid_mw[None], grid[:-1]])) / params.change_mw**2
        off = (off_mwh - hours * jnp.cumsum(u)) / params.energy_mwh**2 / steps
        later = jnp.concatenate([change[1:], jnp.zeros(1, u.dtype)])
        return -2.0 * (change - later) - 2.0 * hours * jnp.cumsum(off[::-1])[::-1]

    # Largest curvature: of differences at most 4; of running sums at most N(N+1)/2, divided by N.
    steepest = 2.0 * (4.0 / params.change_mw**2 + 0.5 * (steps + 1) * (hours / params.energy_mwh) ** 2)

    def descend(carry: tuple[jax.Array, jax.Array], k: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        before, at = carry
        after = jnp.clip(at - slope(at) / steepest, -rated_mw, rated_mw)
        return (after, after + k / (k + 3.0) * (after - before)), None

    return jax.lax.scan(descend, (guess_mw, guess_mw), jnp.arange(iterations, dtype=guess_mw.dtype))[0][0]
