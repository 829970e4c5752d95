"""Areas, governors and ties in one set of differential equations. Deviations, per unit on each area's rating.

    2 H_a d(dw_a)/dt = dPm_a - dPe_a - D_a dw_a          (swing)
    d(delta_t)/dt    = w0 (dw_from - dw_to)              (tie)
    P_t              = K_t sin(delta_t)                  MW, positive from the first area to the second
Reference: Kundur, Power System Stability and Control, 1994, sec. 11.1 and 12.2.
States are deviations (a speed of 1 + 1e-5 has two digits left in float32) and sums are compensated.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from emulator.blocks import Compensated, compensated, compensated_add, pick, rk4_increment, sum_at
from emulator.grid import governor
from emulator.struct import quantity, static, struct


@struct
class GridLayout:
    """How many areas, and which area each governor and each tie's end belongs to."""

    areas: int = static()
    tie_from: tuple[int, ...] = static()
    tie_to: tuple[int, ...] = static()
    reheat_area: tuple[int, ...] = static()
    lag_area: tuple[int, ...] = static()
    tgov1_area: tuple[int, ...] = static()


@struct
class GridParams:
    rated_mva: jax.Array = quantity("MVA", "areas")
    inertia_s: jax.Array = quantity("s", "areas")
    damping_pu: jax.Array = quantity("pu", "areas")
    load_mw: jax.Array = quantity("MW", "areas", "other load at the start")
    frequency_hz: jax.Array = quantity("Hz")
    synchronizing_mw_per_rad: jax.Array = quantity("MW/rad", "ties")
    initial_mw: jax.Array = quantity("MW", "ties")
    reheat: governor.ReheatParams = quantity("")
    lag: governor.LagParams = quantity("")
    tgov1: governor.Tgov1Params = quantity("")


@struct
class Motion:
    """What is integrated: deviations from the equilibrium of the start."""

    speed_pu: jax.Array = quantity("pu", "areas")
    tie_angle_rad: jax.Array = quantity("rad", "ties")
    reheater_pu: jax.Array = quantity("pu", "reheat governors")
    lag_pu: jax.Array = quantity("pu", "lag governors")
    valve_pu: jax.Array = quantity("pu", "tgov1 governors")
    tgov1_reheater_pu: jax.Array = quantity("pu", "tgov1 governors")


@struct
class GridState:
    motion: Compensated[Motion] = quantity("")
    mechanical_mw: jax.Array = quantity("MW", "areas", "mechanical power at the start")


def initial(layout: GridLayout, params: GridParams, site_mw: jax.Array) -> GridState:
    """Equilibrium: every area generates what its load, its sites (areas,) and its ties take."""

    def still(count: int) -> jax.Array:
        return jnp.zeros(count, params.rated_mva.dtype)

    motion = Motion(
        speed_pu=still(layout.areas),
        tie_angle_rad=still(len(layout.tie_from)),
        reheater_pu=still(len(layout.reheat_area)),
        lag_pu=still(len(layout.lag_area)),
        valve_pu=still(len(layout.tgov1_area)),
        tgov1_reheater_pu=still(len(layout.tgov1_area)),
    )
    mechanical_mw = params.load_mw + site_mw + exports(layout, params.initial_mw)
    return GridState(motion=compensated(motion), mechanical_mw=mechanical_mw)


def exports(layout: GridLayout, tie_mw: jax.Array) -> jax.Array:
    """(areas,) net MW that leaves each area over its ties (ties,)."""
    return sum_at(tie_mw, layout.tie_from, layout.areas) - sum_at(tie_mw, layout.tie_to, layout.areas)


def tie_change_mw(params: GridParams, angle_rad: jax.Array) -> jax.Array:
    """K (sin(delta0 + a) - sin(delta0)) without the cancellation: K (cos(delta0) sin a - 2 sin(delta0) sin^2(a/2))."""
    k = params.synchronizing_mw_per_rad
    sine = params.initial_mw / k
    cosine = jnp.sqrt((1.0 - sine) * (1.0 + sine))
    return k * (cosine * jnp.sin(angle_rad) - 2.0 * sine * jnp.sin(angle_rad / 2.0) ** 2)


def governor_power(layout: GridLayout, params: GridParams, x: Motion) -> jax.Array:
    """(areas,) deviation of mechanical power, pu on the area's rating."""
    reheat = governor.reheat_power(params.reheat, pick(x.speed_pu, layout.reheat_area), x.reheater_pu)
    tgov1 = governor.tgov1_power(params.tgov1, pick(x.speed_pu, layout.tgov1_area), x.valve_pu, x.tgov1_reheater_pu)
    return (
        sum_at(params.reheat.share * reheat, layout.reheat_area, layout.areas)
        + sum_at(params.lag.share * x.lag_pu, layout.lag_area, layout.areas)
        + sum_at(params.tgov1.share * tgov1, layout.tgov1_area, layout.areas)
    )


def slope(layout: GridLayout, params: GridParams, operating_pu: jax.Array, load_mw: jax.Array, x: Motion) -> Motion:
    """Right-hand side of the equations above. load_mw: (areas,) change of load since the start."""
    electrical_mw = load_mw + exports(layout, tie_change_mw(params, x.tie_angle_rad))
    accelerating = governor_power(layout, params, x) - electrical_mw / params.rated_mva - params.damping_pu * x.speed_pu
    slip = pick(x.speed_pu, layout.tie_from) - pick(x.speed_pu, layout.tie_to)
    valve, tgov1_reheater = governor.tgov1_slope(
        params.tgov1,
        pick(x.speed_pu, layout.tgov1_area),
        x.valve_pu,
        x.tgov1_reheater_pu,
        pick(operating_pu, layout.tgov1_area),
    )
    return Motion(
        speed_pu=accelerating / (2.0 * params.inertia_s),
        tie_angle_rad=2.0 * jnp.pi * params.frequency_hz * slip,
        reheater_pu=governor.reheat_slope(params.reheat, pick(x.speed_pu, layout.reheat_area), x.reheater_pu),
        lag_pu=governor.lag_slope(params.lag, pick(x.speed_pu, layout.lag_area), x.lag_pu),
        valve_pu=valve,
        tgov1_reheater_pu=tgov1_reheater,
    )


def step(layout: GridLayout, params: GridParams, state: GridState, load_mw: jax.Array, dt_s: float) -> GridState:
    """One tick under a load that is constant within it."""
    operating_pu = state.mechanical_mw / params.rated_mva
    increment = rk4_increment(lambda x: slope(layout, params, operating_pu, load_mw, x), state.motion.value, dt_s)
    motion = compensated_add(state.motion, increment)
    valve = motion.value.valve_pu
    held = governor.tgov1_limited(params.tgov1, valve, pick(operating_pu, layout.tgov1_area))
    rest = jnp.where(held == valve, motion.rest.valve_pu, 0.0)
    motion = Compensated(
        value=dataclasses.replace(motion.value, valve_pu=held), rest=dataclasses.replace(motion.rest, valve_pu=rest)
    )
    return GridState(motion=motion, mechanical_mw=state.mechanical_mw)


def mechanical_power_mw(layout: GridLayout, params: GridParams, state: GridState) -> jax.Array:
    """(areas,) total mechanical power."""
    return state.mechanical_mw + params.rated_mva * governor_power(layout, params, state.motion.value)


def tie_power_mw(params: GridParams, state: GridState) -> jax.Array:
    """(ties,) flow, positive from the first area to the second."""
    return params.initial_mw + tie_change_mw(params, state.motion.value.tie_angle_rad)
