"""Battery controllers: site power in, battery command out. Discharge positive, MW.

Each controller keeps the power that the grid is meant to see, and orders the battery to carry the rest. All add the
same restoration of the state of charge and all start settled at the first tick's load.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.blocks import Compensated, compensated_add
from emulator.struct import quantity, struct


@struct
class LowPassParams:
    cutoff_hz: jax.Array = quantity("Hz")
    soc_gain: jax.Array = quantity("1", "", "share of rated power per unit of SOC error")


@struct
class RampLimitParams:
    ramp_mw_per_s: jax.Array = quantity("MW/s")
    soc_gain: jax.Array = quantity("1", "", "share of rated power per unit of SOC error")


ControllerParams = LowPassParams | RampLimitParams


def follow(
    params: ControllerParams, towards_grid: Compensated[jax.Array], load_mw: jax.Array, dt_s: float
) -> tuple[Compensated[jax.Array], jax.Array]:
    """Power meant for the grid at the end of a tick with constant load, and its mean over the tick, MW.

    Low-pass: y' = 2 pi f_c (u - y); both values exact, so that energy does not depend on the tick.
    Ramp limit: follows the load at no more than the rate.
    """
    error_mw = load_mw - towards_grid.value
    match params:
        case LowPassParams():
            turn = 2.0 * jnp.pi * params.cutoff_hz * dt_s
            gain = -jnp.expm1(-turn)
            return compensated_add(towards_grid, gain * error_mw), load_mw - gain / turn * error_mw
        case RampLimitParams():
            most_mw = params.ramp_mw_per_s * dt_s
            step_mw = jnp.clip(error_mw, -most_mw, most_mw)
            return compensated_add(towards_grid, step_mw), towards_grid.value + 0.5 * step_mw


def command(
    params: ControllerParams,
    grid_mw: jax.Array,
    load_mw: jax.Array,
    soc: jax.Array,
    soc_target: jax.Array,
    rated_mw: jax.Array,
) -> jax.Array:
    """Battery order: what separates the load from the grid's power, plus restoration: full batteries discharge."""
    return load_mw - grid_mw + params.soc_gain * rated_mw * (soc - soc_target)
