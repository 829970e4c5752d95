"""Steam turbines and plain lags: models reheat, lag, tgov1, ieeeg1.

Deviations from the operating point, per unit on the governed share; see governor.py for what all models share.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.grid.limits import lag_rate, lagged, non_windup
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


def reheat_slope(p: ReheatParams, speed: jax.Array, order: jax.Array, x: ReheatState) -> ReheatState:
    """Rate of the reheater, pu/s."""
    return ReheatState((p.gain_pu * (order - speed / p.droop_pu) - x.reheater_pu) / p.reheat_s)


def reheat_power(p: ReheatParams, speed: jax.Array, order: jax.Array, x: ReheatState) -> jax.Array:
    """The high-pressure share acts at once, the rest through the reheater."""
    direct = p.gain_pu * (order - speed / p.droop_pu)
    return p.hp_fraction * direct + (1.0 - p.hp_fraction) * x.reheater_pu


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


def lag_slope(p: LagParams, speed: jax.Array, order: jax.Array, x: LagState) -> LagState:
    """Rate of the power, pu/s."""
    return LagState((order - speed / p.droop_pu - x.power_pu) / p.lag_s)


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


def tgov1_slope(p: Tgov1Params, speed: jax.Array, order: jax.Array, operating: jax.Array, x: Tgov1State) -> Tgov1State:
    """Rates of valve and reheater, pu/s."""
    rate = (order - speed / p.droop_pu - x.valve_pu) / p.t1_s
    valve = non_windup(rate, x.valve_pu, p.vmin_pu - operating, p.vmax_pu - operating)
    return Tgov1State(valve, (x.valve_pu - x.reheater_pu) / p.t3_s)


def tgov1_power(p: Tgov1Params, speed: jax.Array, x: Tgov1State) -> jax.Array:
    """Lead-lag (1 + T2 s)/(1 + T3 s) of the valve, less turbine damping, on which no dead-band acts."""
    return x.reheater_pu + p.t2_s / p.t3_s * (x.valve_pu - x.reheater_pu) - p.dt_pu * speed


@struct
class Ieeeg1Params:
    """Steam turbine: -K (1 + T2 s)/(1 + T1 s) w into a servomotor limited in rate and position, then four lags whose
    outputs, weighted with K1 to K8, add up.   Reference: IEEE PES-TR1 (2013), IEEEG1. A lag of 0 s passes through.
    """

    share: jax.Array = quantity("1", "governors")
    deadband_pu: jax.Array = quantity("pu", "governors")
    k: jax.Array = quantity("pu", "governors")
    t1_s: jax.Array = quantity("s", "governors")
    t2_s: jax.Array = quantity("s", "governors")
    t3_s: jax.Array = quantity("s", "governors")
    t4_s: jax.Array = quantity("s", "governors")
    t5_s: jax.Array = quantity("s", "governors")
    t6_s: jax.Array = quantity("s", "governors")
    t7_s: jax.Array = quantity("s", "governors")
    k1: jax.Array = quantity("1", "governors")
    k2: jax.Array = quantity("1", "governors")
    k3: jax.Array = quantity("1", "governors")
    k4: jax.Array = quantity("1", "governors")
    k5: jax.Array = quantity("1", "governors")
    k6: jax.Array = quantity("1", "governors")
    k7: jax.Array = quantity("1", "governors")
    k8: jax.Array = quantity("1", "governors")
    uo_pu_per_s: jax.Array = quantity("pu/s", "governors", "fastest opening")
    uc_pu_per_s: jax.Array = quantity("pu/s", "governors", "fastest closing, negative")
    pmin_pu: jax.Array = quantity("pu", "governors", "total")
    pmax_pu: jax.Array = quantity("pu", "governors", "total")


@struct
class Ieeeg1State:
    control_pu: jax.Array = quantity("pu", "governors", "speed behind T1")
    servo_pu: jax.Array = quantity("pu", "governors")
    chest_pu: jax.Array = quantity("pu", "governors", "behind T4")
    reheater_pu: jax.Array = quantity("pu", "governors", "behind T5")
    crossover_pu: jax.Array = quantity("pu", "governors", "behind T6")
    last_pu: jax.Array = quantity("pu", "governors", "behind T7")


def ieeeg1_slope(
    p: Ieeeg1Params, speed: jax.Array, order: jax.Array, operating: jax.Array, x: Ieeeg1State
) -> Ieeeg1State:
    """Rates, pu/s; speed behind its dead-band."""
    control = lagged(x.control_pu, speed, p.t1_s)
    ratio = p.t2_s / jnp.where(p.t1_s > 0.0, p.t1_s, 1.0)
    lead = jnp.where(p.t1_s > 0.0, control + ratio * (speed - control), speed)
    rate = jnp.clip((order - p.k * lead - x.servo_pu) / p.t3_s, p.uc_pu_per_s, p.uo_pu_per_s)
    stages = _stages(p, x)
    inputs = (x.servo_pu, *stages[:-1])
    states = (x.chest_pu, x.reheater_pu, x.crossover_pu, x.last_pu)
    times = (p.t4_s, p.t5_s, p.t6_s, p.t7_s)
    return Ieeeg1State(
        lag_rate(x.control_pu, speed, p.t1_s),
        non_windup(rate, x.servo_pu, p.pmin_pu - operating, p.pmax_pu - operating),
        *(lag_rate(state, given, time_s) for state, given, time_s in zip(states, inputs, times, strict=True)),
    )


def _stages(p: Ieeeg1Params, x: Ieeeg1State) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Outputs of the four lags."""
    chest = lagged(x.chest_pu, x.servo_pu, p.t4_s)
    reheater = lagged(x.reheater_pu, chest, p.t5_s)
    crossover = lagged(x.crossover_pu, reheater, p.t6_s)
    return chest, reheater, crossover, lagged(x.last_pu, crossover, p.t7_s)


def ieeeg1_power(p: Ieeeg1Params, x: Ieeeg1State) -> jax.Array:
    """High- and low-pressure shafts together."""
    chest, reheater, crossover, last = _stages(p, x)
    return (p.k1 + p.k2) * chest + (p.k3 + p.k4) * reheater + (p.k5 + p.k6) * crossover + (p.k7 + p.k8) * last
