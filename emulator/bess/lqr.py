"""State feedback u = -K x on grid, battery and load. MW, discharge positive.

x = (integrated states of the grid, power of the battery, its SOC error, its delayed orders, swing of the load), all as
deviations; the swing is the load less its low-pass. K comes from `lqr_design`. All states are taken as measured
exactly.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.bess.battery import BatteryState
from emulator.blocks import Compensated, compensated, compensated_add
from emulator.struct import quantity, struct


@struct
class LqrParams:
    gain: jax.Array = quantity("MW per unit of state", "states", "K")
    probe_mw: jax.Array = quantity("MW", "", "0; the design differentiates the plant by it")
    cutoff_hz: jax.Array = quantity("Hz", "", "of the load's low-pass")
    soc_gain: jax.Array = quantity("1", "", "share of rated power per unit of SOC error")


@struct
class LqrState:
    mean_mw: Compensated[jax.Array] = quantity("MW", "", "low-pass of the load")


def initial(load_mw: jax.Array) -> LqrState:
    """Under a load that has always been there."""
    return LqrState(mean_mw=compensated(load_mw))


def step(
    params: LqrParams, state: LqrState, load_mw: jax.Array, grid_states: jax.Array, battery: BatteryState,
    soc_error: jax.Array, tick: jax.Array, dt_s: float,
) -> tuple[LqrState, jax.Array]:  # fmt: skip
    """State after the tick and the order in it. grid_states: (n,) as `grid.frequency.motion_states`."""
    swing_mw, pending = load_mw - state.mean_mw.value, battery.pending_mw
    if size := pending.shape[0]:
        pending = jnp.roll(pending, -(tick % size))  # the order that acts next comes first
    x = jnp.concatenate([grid_states, jnp.stack([battery.power_mw, soc_error]), pending, swing_mw[None]])
    mean_mw = compensated_add(state.mean_mw, -jnp.expm1(-2.0 * jnp.pi * params.cutoff_hz * dt_s) * swing_mw)
    return LqrState(mean_mw=mean_mw), params.probe_mw - jnp.sum(params.gain * x)
