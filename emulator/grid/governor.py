"""Speed governors with their turbines, as deviations from the operating point. Per unit on the governed share.

All states are deviations; the inputs are the deviations of speed and of the load reference, the output the deviation of
mechanical power.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.struct import quantity, struct


@struct
class ReheatParams:
    """(K/R)(1 + F T s)/(1 + T s). Reference: Anderson & Mirheydar, IEEE TPWRS 5(3):720, 1990."""

    share: jax.Array = quantity("1", "governors")
    deadband_pu: jax.Array = quantity("pu", "governors")
    droop_pu: jax.Array = quantity("pu", "governors")
    gain_pu: jax.Array = quantity("pu", "governors")
    hp_fraction: jax.Array = quantity("1", "governors")
    reheat_s: jax.Array = quantity("s", "governors")


@struct
class ReheatState:
    reheater_pu: jax.Array = quantity("pu", "governors")


@struct
class LagParams:
    """1/(R(1 + T s))."""

    share: jax.Array = quantity("1", "governors")
    deadband_pu: jax.Array = quantity("pu", "governors")
    droop_pu: jax.Array = quantity("pu", "governors")
    lag_s: jax.Array = quantity("s", "governors")


@struct
class LagState:
    power_pu: jax.Array = quantity("pu", "governors")


@struct
class Tgov1Params:
    """(1 + T2 s)/((1 + T3 s)(1 + T1 s))/R, valve limited, less Dt. Reference: IEEE PES-TR1 (2013), TGOV1."""

    share: jax.Array = quantity("1", "governors")
    deadband_pu: jax.Array = quantity("pu", "governors")
    droop_pu: jax.Array = quantity("pu", "governors")
    t1_s: jax.Array = quantity("s", "governors")
    t2_s: jax.Array = quantity("s", "governors")
    t3_s: jax.Array = quantity("s", "governors")
    dt_pu: jax.Array = quantity("pu", "governors")
    vmin_pu: jax.Array = quantity("pu", "governors", "total valve position")
    vmax_pu: jax.Array = quantity("pu", "governors", "total valve position")


@struct
class Tgov1State:
    valve_pu: jax.Array = quantity("pu", "governors")
    reheater_pu: jax.Array = quantity("pu", "governors")


GovernorParams = ReheatParams | LagParams | Tgov1Params
GovernorState = ReheatState | LagState | Tgov1State


def initial(params: GovernorParams, operating_pu: jax.Array) -> GovernorState:
    zero = jnp.zeros_like(operating_pu)
    match params:
        case ReheatParams():
            return ReheatState(zero)
        case LagParams():
            return LagState(zero)
        case Tgov1Params():
            return Tgov1State(zero, zero)


def _beyond(params, speed):
    return speed - jnp.clip(speed, -params.deadband_pu, params.deadband_pu)


def slope(params, speed_pu, order_pu, operating_pu, x):
    speed = _beyond(params, speed_pu)
    match params:
        case ReheatParams():
            return ReheatState(
                (params.gain_pu * (order_pu - speed / params.droop_pu) - x.reheater_pu) / params.reheat_s
            )
        case LagParams():
            return LagState((order_pu - speed / params.droop_pu - x.power_pu) / params.lag_s)
        case Tgov1Params():
            rate = (order_pu - speed / params.droop_pu - x.valve_pu) / params.t1_s
            total = x.valve_pu + operating_pu
            blocked = ((total >= params.vmax_pu) & (rate > 0)) | ((total <= params.vmin_pu) & (rate < 0))
            return Tgov1State(jnp.where(blocked, 0.0, rate), (x.valve_pu - x.reheater_pu) / params.t3_s)


def power(params, speed_pu, order_pu, operating_pu, x):
    speed = _beyond(params, speed_pu)
    match params:
        case ReheatParams():
            direct = params.gain_pu * (order_pu - speed / params.droop_pu)
            return params.hp_fraction * direct + (1.0 - params.hp_fraction) * x.reheater_pu
        case LagParams():
            return x.power_pu
        case Tgov1Params():
            return x.reheater_pu + params.t2_s / params.t3_s * (x.valve_pu - x.reheater_pu) - params.dt_pu * speed_pu


def held(params, operating_pu, x):
    match params:
        case Tgov1Params():
            low, high = params.vmin_pu - operating_pu, params.vmax_pu - operating_pu
            return Tgov1State(jnp.clip(x.valve_pu, low, high), x.reheater_pu)
    return x


def within_limits(params, operating_pu):
    match params:
        case Tgov1Params():
            return (operating_pu >= params.vmin_pu) & (operating_pu <= params.vmax_pu)
    return jnp.full(operating_pu.shape, True)
