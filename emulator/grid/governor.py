"""Speed governors with their turbines, as deviations from the operating point. Per unit on the governed share.

All states are deviations; the input is the speed deviation, the output the deviation of mechanical power.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.struct import quantity, struct


@struct
class ReheatParams:
    """(K/R)(1 + F T s)/(1 + T s). Reference: Anderson & Mirheydar, IEEE TPWRS 5(3):720, 1990."""

    share: jax.Array = quantity("1", "governors")
    droop_pu: jax.Array = quantity("pu", "governors")
    gain_pu: jax.Array = quantity("pu", "governors")
    hp_fraction: jax.Array = quantity("1", "governors")
    reheat_s: jax.Array = quantity("s", "governors")


@struct
class LagParams:
    """1/(R(1 + T s))."""

    share: jax.Array = quantity("1", "governors")
    droop_pu: jax.Array = quantity("pu", "governors")
    lag_s: jax.Array = quantity("s", "governors")


@struct
class Tgov1Params:
    """(1 + T2 s)/((1 + T3 s)(1 + T1 s))/R, valve limited, less Dt. Reference: IEEE PES-TR1 (2013), TGOV1."""

    share: jax.Array = quantity("1", "governors")
    droop_pu: jax.Array = quantity("pu", "governors")
    t1_s: jax.Array = quantity("s", "governors")
    t2_s: jax.Array = quantity("s", "governors")
    t3_s: jax.Array = quantity("s", "governors")
    dt_pu: jax.Array = quantity("pu", "governors")
    vmin_pu: jax.Array = quantity("pu", "governors", "total valve position")
    vmax_pu: jax.Array = quantity("pu", "governors", "total valve position")


def reheat_slope(params: ReheatParams, speed: jax.Array, reheater: jax.Array) -> jax.Array:
    """Rate of the reheater's state, pu/s."""
    return (-params.gain_pu / params.droop_pu * speed - reheater) / params.reheat_s


def reheat_power(params: ReheatParams, speed: jax.Array, reheater: jax.Array) -> jax.Array:
    """The high-pressure share acts at once, the rest through the reheater."""
    direct = -params.gain_pu / params.droop_pu * speed
    return params.hp_fraction * direct + (1.0 - params.hp_fraction) * reheater


def lag_slope(params: LagParams, speed: jax.Array, power: jax.Array) -> jax.Array:
    """Rate of the governor's power, pu/s."""
    return (-speed / params.droop_pu - power) / params.lag_s


def tgov1_slope(
    params: Tgov1Params, speed: jax.Array, valve: jax.Array, reheater: jax.Array, operating_point: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Rates of valve and reheater, pu/s. The valve has non-windup limits: at a limit it does not integrate outwards.
    Reference: IEEE Std 421.5-2016, annex E.3 (non-windup limiter)."""
    rate = (-speed / params.droop_pu - valve) / params.t1_s
    total = valve + operating_point
    blocked = ((total >= params.vmax_pu) & (rate > 0)) | ((total <= params.vmin_pu) & (rate < 0))
    return jnp.where(blocked, 0.0, rate), (valve - reheater) / params.t3_s


def tgov1_limited(params: Tgov1Params, valve: jax.Array, operating_point: jax.Array) -> jax.Array:
    """The valve held to its limits after an integration step that may have passed them."""
    return jnp.clip(valve, params.vmin_pu - operating_point, params.vmax_pu - operating_point)


def tgov1_power(params: Tgov1Params, speed: jax.Array, valve: jax.Array, reheater: jax.Array) -> jax.Array:
    """Lead-lag (1 + T2 s)/(1 + T3 s) of the valve, less turbine damping."""
    return reheater + params.t2_s / params.t3_s * (valve - reheater) - params.dt_pu * speed
