"""Gas turbines and engines: models gast, engine.

Deviations from the operating point, per unit on the governed share; see governor.py for what all models share.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.grid.limits import non_windup
from emulator.struct import quantity, struct


@struct
class GastParams:
    """Gas turbine: the lesser of speed path and temperature path through a valve and two lags.

    T1 dx1/dt = min(Pref - w/R, At + Kt (At - x3)) - x1, limited in rate and position;  T2 dx2/dt = x1 - x2;
    T3 dx3/dt = x2 - x3;  Pm = x2 - Dt w.   Reference: IEEE PES-TR1 (2013), GAST.
    """

    share: jax.Array = quantity("1", "governors")
    deadband_pu: jax.Array = quantity("pu", "governors")
    droop_pu: jax.Array = quantity("pu", "governors")
    t1_s: jax.Array = quantity("s", "governors")
    t2_s: jax.Array = quantity("s", "governors")
    t3_s: jax.Array = quantity("s", "governors")
    dt_pu: jax.Array = quantity("pu", "governors")
    vmin_pu: jax.Array = quantity("pu", "governors", "total valve position")
    vmax_pu: jax.Array = quantity("pu", "governors", "total valve position")
    at_pu: jax.Array = quantity("pu", "governors", "load that the exhaust temperature allows")
    kt: jax.Array = quantity("1", "governors")
    rate_up_pu_per_s: jax.Array = quantity("pu/s", "governors", "infinite = no limit")
    rate_down_pu_per_s: jax.Array = quantity("pu/s", "governors", "infinite = no limit")


@struct
class GastState:
    valve_pu: jax.Array = quantity("pu", "governors")
    turbine_pu: jax.Array = quantity("pu", "governors")
    exhaust_pu: jax.Array = quantity("pu", "governors")


def gast_slope(p: GastParams, speed: jax.Array, order: jax.Array, operating: jax.Array, x: GastState) -> GastState:
    """Rates, pu/s; speed behind its dead-band."""
    by_speed = order - speed / p.droop_pu
    by_temperature = p.at_pu - operating + p.kt * (p.at_pu - operating - x.exhaust_pu)
    rate = (jnp.minimum(by_speed, by_temperature) - x.valve_pu) / p.t1_s
    rate = jnp.clip(rate, -p.rate_down_pu_per_s, p.rate_up_pu_per_s)
    return GastState(
        non_windup(rate, x.valve_pu, p.vmin_pu - operating, p.vmax_pu - operating),
        (x.valve_pu - x.turbine_pu) / p.t2_s,
        (x.turbine_pu - x.exhaust_pu) / p.t3_s,
    )


def gast_power(p: GastParams, speed: jax.Array, x: GastState) -> jax.Array:
    """Turbine less damping, on which no dead-band acts."""
    return x.turbine_pu - p.dt_pu * speed


@struct
class EngineParams:
    """Gas engine or diesel: PI governor with droop, actuator, and a turbocharger that limits steps of load.

    e = -w + R (order - f);  u = Kp e + Ki integral of e;  Ta df/dt = u - f,  fuel <= boost + block_load_pu;
    Tb dboost/dt = fuel - boost;  Te dP/dt = f - P.   What the engine takes at once is `block_load_pu` above the load
    that its turbocharger has followed to. Structure after DEGOV1 (IEEE PES-TR1, 2013) with the smoke limiter of
    turbocharged engines; load steps in the sense of ISO 8528-5.
    """

    share: jax.Array = quantity("1", "governors")
    deadband_pu: jax.Array = quantity("pu", "governors")
    droop_pu: jax.Array = quantity("pu", "governors", "0 = isochronous")
    proportional_gain: jax.Array = quantity("pu", "governors", "fuel per speed")
    integral_gain_per_s: jax.Array = quantity("1/s", "governors", "fuel per speed and second")
    actuator_s: jax.Array = quantity("s", "governors")
    combustion_s: jax.Array = quantity("s", "governors")
    boost_s: jax.Array = quantity("s", "governors")
    block_load_pu: jax.Array = quantity("pu", "governors")
    pmin_pu: jax.Array = quantity("pu", "governors", "total fuel")
    pmax_pu: jax.Array = quantity("pu", "governors", "total fuel")


@struct
class EngineState:
    integral_pu: jax.Array = quantity("pu", "governors")
    fuel_pu: jax.Array = quantity("pu", "governors")
    boost_pu: jax.Array = quantity("pu", "governors")
    power_pu: jax.Array = quantity("pu", "governors")


def engine_slope(
    p: EngineParams, speed: jax.Array, order: jax.Array, operating: jax.Array, x: EngineState
) -> EngineState:
    """Rates, pu/s; speed behind its dead-band. The integral stops while the fuel is at a limit that it would pass."""
    low, high = engine_range(p, operating, x)
    error = p.droop_pu * (order - x.fuel_pu) - speed
    wanted = p.proportional_gain * error + x.integral_pu
    outwards = ((wanted > high) & (error > 0.0)) | ((wanted < low) & (error < 0.0))
    return EngineState(
        jnp.where(outwards, 0.0, p.integral_gain_per_s * error),
        non_windup((wanted - x.fuel_pu) / p.actuator_s, x.fuel_pu, low, high),
        (x.fuel_pu - x.boost_pu) / p.boost_s,
        (x.fuel_pu - x.power_pu) / p.combustion_s,
    )


def engine_range(p: EngineParams, operating: jax.Array, x: EngineState) -> tuple[jax.Array, jax.Array]:
    """Deviations of fuel that are allowed now."""
    return p.pmin_pu - operating, jnp.minimum(p.pmax_pu - operating, x.boost_pu + p.block_load_pu)
