"""Speed governors with their turbines: what all models share, and the choice between them.

Inputs are the deviations of speed and of the load reference (AGC); the output is the deviation of mechanical power. All
per unit on the governed share of the area's rating; arrays hold the governors of one model, of all areas.
States are deviations: at rest they and their rates are zero. Limits do not wind up, and an integration step that has
passed one is put back to it.
"""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp

from emulator.blocks import deadband
from emulator.grid import gas, hydro, steam
from emulator.grid.gas import EngineParams, EngineState, GastParams, GastState
from emulator.grid.hydro import HygovParams, HygovState
from emulator.grid.steam import (
    Ieeeg1Params,
    Ieeeg1State,
    LagParams,
    LagState,
    ReheatParams,
    ReheatState,
    Tgov1Params,
    Tgov1State,
)

GovernorParams = ReheatParams | LagParams | Tgov1Params | GastParams | Ieeeg1Params | HygovParams | EngineParams
GovernorState = ReheatState | LagState | Tgov1State | GastState | Ieeeg1State | HygovState | EngineState

STATES: dict[type, type] = {
    ReheatParams: ReheatState,
    LagParams: LagState,
    Tgov1Params: Tgov1State,
    GastParams: GastState,
    Ieeeg1Params: Ieeeg1State,
    HygovParams: HygovState,
    EngineParams: EngineState,
}


def initial(params: GovernorParams, operating_pu: jax.Array) -> GovernorState:
    """At rest at the operating point (governors,)."""
    kind = STATES[type(params)]
    return kind(*(jnp.zeros_like(operating_pu) for _ in kind.__dataclass_fields__))


def slope(
    params: GovernorParams, speed_pu: jax.Array, order_pu: jax.Array, operating_pu: jax.Array, x: GovernorState
) -> GovernorState:
    """Rates of the states, 1/s."""
    speed = deadband(speed_pu, params.deadband_pu)
    match params, x:
        case ReheatParams(), ReheatState():
            return steam.reheat_slope(params, speed, order_pu, x)
        case LagParams(), LagState():
            return steam.lag_slope(params, speed, order_pu, x)
        case Tgov1Params(), Tgov1State():
            return steam.tgov1_slope(params, speed, order_pu, operating_pu, x)
        case GastParams(), GastState():
            return gas.gast_slope(params, speed, order_pu, operating_pu, x)
        case Ieeeg1Params(), Ieeeg1State():
            return steam.ieeeg1_slope(params, speed, order_pu, operating_pu, x)
        case HygovParams(), HygovState():
            return hydro.hygov_slope(params, speed, order_pu, operating_pu, x)
        case EngineParams(), EngineState():
            return gas.engine_slope(params, speed, order_pu, operating_pu, x)
    raise TypeError(f"{type(x).__name__} is no state of {type(params).__name__}")


def power(
    params: GovernorParams, speed_pu: jax.Array, order_pu: jax.Array, operating_pu: jax.Array, x: GovernorState
) -> jax.Array:
    """(governors,) deviation of mechanical power, pu."""
    match params, x:
        case ReheatParams(), ReheatState():
            return steam.reheat_power(params, deadband(speed_pu, params.deadband_pu), order_pu, x)
        case LagParams(), LagState():
            return x.power_pu
        case Tgov1Params(), Tgov1State():
            return steam.tgov1_power(params, speed_pu, x)
        case GastParams(), GastState():
            return gas.gast_power(params, speed_pu, x)
        case Ieeeg1Params(), Ieeeg1State():
            return steam.ieeeg1_power(params, x)
        case HygovParams(), HygovState():
            return hydro.hygov_power(params, speed_pu, operating_pu, x)
        case EngineParams(), EngineState():
            return x.power_pu
    raise TypeError(f"{type(x).__name__} is no state of {type(params).__name__}")


def held(params: GovernorParams, operating_pu: jax.Array, x: GovernorState) -> GovernorState:
    """States put back to the limits that an integration step may have passed."""
    match params, x:
        case Tgov1Params() | GastParams(), Tgov1State() | GastState():
            low, high = params.vmin_pu - operating_pu, params.vmax_pu - operating_pu
            return replace(x, valve_pu=jnp.clip(x.valve_pu, low, high))
        case Ieeeg1Params(), Ieeeg1State():
            low, high = params.pmin_pu - operating_pu, params.pmax_pu - operating_pu
            return replace(x, servo_pu=jnp.clip(x.servo_pu, low, high))
        case HygovParams(), HygovState():
            gate = hydro.initial_gate(params, operating_pu)
            low, high = params.gmin_pu - gate, params.gmax_pu - gate
            return replace(x, desired_pu=jnp.clip(x.desired_pu, low, high))
        case EngineParams(), EngineState():
            return replace(x, fuel_pu=jnp.clip(x.fuel_pu, *gas.engine_range(params, operating_pu, x)))
    return x


def within_limits(params: GovernorParams, operating_pu: jax.Array) -> jax.Array:
    """(governors,) true where an equilibrium at the operating point exists."""
    match params:
        case Tgov1Params():
            return (operating_pu >= params.vmin_pu) & (operating_pu <= params.vmax_pu)
        case GastParams():
            most = jnp.minimum(params.vmax_pu, params.at_pu)
            return (operating_pu >= params.vmin_pu) & (operating_pu <= most)
        case Ieeeg1Params() | EngineParams():
            return (operating_pu >= params.pmin_pu) & (operating_pu <= params.pmax_pu)
        case HygovParams():
            gate = hydro.initial_gate(params, operating_pu)
            return (gate >= params.gmin_pu) & (gate <= params.gmax_pu)
    return jnp.full(operating_pu.shape, True)
