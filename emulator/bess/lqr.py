"""State feedback: u = -K x on the grid's motion, the battery and the load's swing. MW, discharge positive.

x = (states of the grid's motion, power of the battery, its SOC error, orders on their way, swing of the load), all
deviations; the swing is what a low-pass leaves of the load. K comes from `lqr_design`. All states count as measured.
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
    probe_mw: jax.Array = quantity("MW", "", "0; by which the design finds how the plant answers to an order")
    cutoff_hz: jax.Array = quantity("Hz", "", "of the low-pass above which the load swings")
    soc_gain: jax.Array = quantity("1", "", "share of rated power per unit of SOC error")


@struct
class LqrState:
    mean_mw: Compensated[jax.Array] = quantity("MW", "", "low-pass of the load")


def initial(load_mw: jax.Array) -> LqrState:
    """Under a load that has always been there."""
    return LqrState(mean_mw=compensated(load_mw))


def step(
    params: LqrParams, state: LqrState, load_mw: jax.Array, motion: jax.Array, battery: BatteryState,
    soc_error: jax.Array, number: jax.Array, dt_s: float,
) -> tuple[LqrState, jax.Array]:  # fmt: skip
    """State after tick `number` and the order in it. motion: (grid states,) as `grid.frequency` lists them."""
    swing_mw, pending = load_mw - state.mean_mw.value, battery.pending_mw
    if size := pending.shape[0]:
        pending = jnp.roll(pending, -(number % size))  # the next to act comes first
    x = jnp.concatenate([motion, jnp.stack([battery.power_mw, soc_error]), pending, swing_mw[None]])
    mean_mw = compensated_add(state.mean_mw, -jnp.expm1(-2.0 * jnp.pi * params.cutoff_hz * dt_s) * swing_mw)
    return LqrState(mean_mw=mean_mw), params.probe_mw - jnp.sum(params.gain * x)
