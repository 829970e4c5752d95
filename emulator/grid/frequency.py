"""Areas with their governors, reserves and ties, in one set of differential equations; then shafts and relays.

    2 H_a d(dw_a)/dt = dPm_a + dPi_a - dPe_a - D_a dw_a                             (swing, pu on the area's rating)
    dPe_a = (1 + loss_a) dPload_a + Pload_a ((1 + dw_a)^n_a - 1) + dPexport_a
Pm: governors and generation lost; Pi: inverters; H falls with the generators that trip; Pload is the other load that
relays have not shed, dPload what the start's frequency would make of all changes. Losses rise with the load that
the network has to carry: without them a nadir comes out too small (6 % for Kundur's two areas).
Reference: Kundur, Power System Stability and Control, 1994, sec. 7.1.1, 11.1 and 12.2.
States are deviations (a speed of 1 + 1e-5 has two digits left in float32) and sums are compensated.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from emulator.blocks import Compensated, compensated, compensated_add, pick, rk4_increment, sum_at
from emulator.grid import forming, governor, protection, reserve, tie, torsion
from emulator.struct import quantity, static, struct


@struct
class GridLayout:
    """How many areas, and which area each part belongs to."""

    areas: int = static()
    ties: tie.TieLayout = static()
    governor_area: tuple[tuple[int, ...], ...] = static()  # of each model's governors
    inverter_area: tuple[int, ...] = static()
    former_area: tuple[int, ...] = static()  # of each grid-forming battery
    machineless: tuple[bool, ...] = static()  # areas whose formers are the only source
    agc_area: tuple[int, ...] = static()
    agc_cycle_ticks: tuple[int, ...] = static()
    protection: protection.ProtectionLayout = static()
    shaft_area: tuple[int, ...] = static()
    reserve_area: tuple[int, ...] = static()  # areas that have inverters, an AGC or stages of shedding


@struct
class GridParams:
    rated_mva: jax.Array = quantity("MVA", "areas")
    inertia_s: jax.Array = quantity("s", "areas")
    damping_pu: jax.Array = quantity("pu", "areas")
    load_mw: jax.Array = quantity("MW", "areas", "other load at the start")
    load_exponent: jax.Array | None = quantity("1", "areas", "of the other load in frequency; None = all 0")
    loss_factor: jax.Array = quantity("1", "areas", "losses that come with a change of load")
    frequency_hz: jax.Array = quantity("Hz")
    ties: tie.TieParams = quantity("")
    governors: tuple[governor.GovernorParams, ...] = quantity("", "models")
    order_share: tuple[jax.Array, ...] = quantity("1/MW", "models: governors", "pu order per MW that the AGC asks for")
    inverters: reserve.InverterParams = quantity("")
    formers: forming.FormingParams = quantity("")
    agc: reserve.AgcParams = quantity("")
    protection: protection.ProtectionParams = quantity("")
    shafts: tuple[torsion.ShaftParams, ...] = quantity("")


@struct
class Motion:
    """What is integrated: deviations from the equilibrium of the start."""

    speed_pu: jax.Array = quantity("pu", "areas")
    tie_angle_rad: jax.Array = quantity("rad", "ties")
    governors: tuple[governor.GovernorState, ...] = quantity("", "models")
    inverters: reserve.InverterState = quantity("")


@struct
class GridState:
    motion: Compensated[Motion] = quantity("")
    mechanical_mw: jax.Array = quantity("MW", "areas", "mechanical power at the start")
    formed_mw: jax.Array = quantity("MW", "formers", "what they carry at the start: all, where there are no machines")
    agc: reserve.AgcState = quantity("")
    protection: protection.ProtectionState = quantity("")
    twist: tuple[jax.Array, ...] = quantity("rad, pu", "shafts: 2 sections")


@struct
class Changes:
    """What the grid meets in a tick, deviations from the start, means over the tick."""

    load_mw: jax.Array = quantity("MW", "areas", "sites and load steps")
    generation_lost_mw: jax.Array = quantity("MW", "areas")
    inertia_lost_mws: jax.Array = quantity("MW s", "areas")
    tie_lost: jax.Array = quantity("1", "ties", "share of each that is out")
    formers: forming.Forming = quantity("", "", "references and limits")


class Formed(NamedTuple):
    """What the formers did in a tick."""

    power_mw: jax.Array  # (formers,) tick mean
    limited: jax.Array  # (formers,) true where a limit held them


@struct
class Balance:
    """Constant within a tick: what the differential equations take from outside."""

    load_mw: jax.Array = quantity("MW", "areas", "change of load, losses included, shed load taken off")
    generation_mw: jax.Array = quantity("MW", "areas", "change of generation by trips and shedding")
    connected_mw: jax.Array = quantity("MW", "areas", "other load at nominal frequency, shed load taken off")
    momentum_s: jax.Array = quantity("s", "areas", "2 H")
    closed: jax.Array = quantity("1", "ties", "share of the tie that carries")
    formers: forming.Forming = quantity("", "", "beyond what they carry at the start")


def initial(layout: GridLayout, params: GridParams, site_mw: jax.Array) -> GridState:
    """Equilibrium: every area generates what its load, its sites (areas,) and its ties take."""

    def still(count: int) -> jax.Array:
        return jnp.zeros(count, params.rated_mva.dtype)

    exports = tie.exports_mw(layout.ties, params.ties, still(len(layout.ties.first)), params.ties.initial_mw)
    demand_mw = params.load_mw + site_mw + exports
    alone = jnp.asarray(layout.machineless)
    mechanical_mw = jnp.where(alone, 0.0, demand_mw)
    formed = pick(jnp.where(alone, demand_mw, 0.0) / _formers_mw(layout, params), layout.former_area)
    operating = [pick(mechanical_mw / params.rated_mva, areas) for areas in layout.governor_area]
    motion = Motion(
        speed_pu=still(layout.areas),
        tie_angle_rad=still(len(layout.ties.first)),
        governors=tuple(governor.initial(p, at) for p, at in zip(params.governors, operating, strict=True)),
        inverters=reserve.InverterState(*(still(len(layout.inverter_area)) for _ in range(2))),
    )
    return GridState(
        motion=compensated(motion),
        mechanical_mw=mechanical_mw,
        formed_mw=formed * params.formers.power_mw,
        agc=reserve.AgcState(*(still(len(layout.agc_area)) for _ in range(2))),
        protection=protection.initial(layout.protection),
        twist=tuple(still(shaft.drive.shape[0]) for shaft in params.shafts),
    )


def _formers_mw(layout: GridLayout, params: GridParams) -> jax.Array:
    """(areas,) rated power of the formers, 1 where there are none."""
    rated = sum_at(params.formers.power_mw, layout.former_area, layout.areas)
    return jnp.where(rated > 0.0, rated, 1.0)


def governor_power(layout: GridLayout, params: GridParams, state: GridState, x: Motion) -> jax.Array:
    """(areas,) deviation of mechanical power, pu on the area's rating."""
    total = jnp.zeros_like(params.rated_mva)
    for i, areas in enumerate(layout.governor_area):
        speed, order, operating = _seen(layout, params, state, x, i)
        found = governor.power(params.governors[i], speed, order, operating, x.governors[i])
        total = total + sum_at(params.governors[i].share * found, areas, layout.areas)
    return total


def _seen(
    layout: GridLayout, params: GridParams, state: GridState, x: Motion, model: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(governors,) speed deviation, order and operating point of the governors of one model."""
    areas = layout.governor_area[model]
    order_mw = sum_at(state.agc.order_mw, layout.agc_area, layout.areas)
    operating = state.mechanical_mw / params.rated_mva
    return pick(x.speed_pu, areas), params.order_share[model] * pick(order_mw, areas), pick(operating, areas)


def slope(layout: GridLayout, params: GridParams, state: GridState, balance: Balance, x: Motion) -> Motion:
    """Right-hand side of the equations above."""
    electrical = electrical_mw(layout, params, balance, x)
    generated = balance.generation_mw + sum_at(
        params.inverters.power_mw * x.inverters.power_pu, layout.inverter_area, layout.areas
    )
    accelerating = (
        governor_power(layout, params, state, x)
        + (generated - electrical) / params.rated_mva
        - params.damping_pu * x.speed_pu
    )
    if layout.former_area:
        rate = _formed(layout, params, balance, x.speed_pu, params.rated_mva * accelerating).rate_pu_per_s
    else:
        rate = accelerating / balance.momentum_s
    slip = pick(x.speed_pu, layout.ties.first) - pick(x.speed_pu, layout.ties.second)
    return Motion(
        speed_pu=rate,
        tie_angle_rad=2.0 * jnp.pi * params.frequency_hz * slip,
        governors=tuple(
            governor.slope(p, *_seen(layout, params, state, x, i), x.governors[i])
            for i, p in enumerate(params.governors)
        ),
        inverters=reserve.inverter_slope(params.inverters, pick(x.speed_pu, layout.inverter_area), x.inverters),
    )


def _formed(
    layout: GridLayout, params: GridParams, balance: Balance, speed_pu: jax.Array, others_mw: jax.Array
) -> forming.Answer:
    momentum_mws = params.rated_mva * balance.momentum_s
    return forming.answer(layout.former_area, params.formers, balance.formers, speed_pu, others_mw, momentum_mws)


def electrical_mw(layout: GridLayout, params: GridParams, balance: Balance, x: Motion) -> jax.Array:
    """(areas,) change of the electrical power of each area's generators and inverters."""
    total = balance.load_mw + _exports_mw(layout, params, balance, x)
    if params.load_exponent is None:
        return total
    return total + balance.connected_mw * jnp.expm1(params.load_exponent * jnp.log1p(x.speed_pu))


def _exports_mw(layout: GridLayout, params: GridParams, balance: Balance, x: Motion) -> jax.Array:
    flows = tie.change_mw(params.ties, x.tie_angle_rad, balance.closed)
    return tie.exports_mw(layout.ties, params.ties, params.ties.initial_mw, flows)


def step(
    layout: GridLayout, params: GridParams, state: GridState, number: jax.Array, changes: Changes, dt_s: float
) -> tuple[GridState, Formed]:
    """Tick `number`, under changes that are constant within it: relays, then motion, shafts and AGC.

    Returns the state after it, and what the formers gave in it.
    """
    before = state.motion.value
    relays = protection.step(
        layout.protection,
        params.protection,
        state.protection,
        pick(before.speed_pu, layout.protection.stage_area),
        tie_power_mw(params, state, changes),
    )
    balance = _balance(layout, params, state, relays, changes)
    motion = _moved(layout, params, state, balance, dt_s)
    electrical = electrical_mw(layout, params, balance, before)
    twist = tuple(
        torsion.step(shaft, its, electrical[area])
        for shaft, its, area in zip(params.shafts, state.twist, layout.shaft_area, strict=True)
    )
    exports = _exports_mw(layout, params, balance, before)
    agc = reserve.agc_step(
        layout.agc_cycle_ticks,
        params.agc,
        state.agc,
        number,
        pick(exports, layout.agc_area),
        params.frequency_hz * pick(before.speed_pu, layout.agc_area),
    )
    after = replace(state, motion=motion, agc=agc, protection=relays, twist=twist)
    return after, _formed_in(layout, params, state, balance, motion.value.speed_pu, dt_s)


def _formed_in(
    layout: GridLayout, params: GridParams, state: GridState, balance: Balance, after: jax.Array, dt_s: float
) -> Formed:
    """Mean power of the formers in a tick, from the speeds (areas,) at its ends; error O(dt^2)."""
    p, limits, before = params.formers, balance.formers, state.motion.value.speed_pu
    speed = pick(0.5 * (before + after), layout.former_area)
    rate = pick((after - before) / dt_s, layout.former_area)
    wanted = limits.reference_mw - p.power_mw * (p.gain_pu * speed + 2.0 * p.inertia_s * rate)
    power = jnp.clip(wanted, limits.low_mw, limits.high_mw)
    return Formed(power_mw=state.formed_mw + power, limited=power != wanted)


def _balance(
    layout: GridLayout,
    params: GridParams,
    state: GridState,
    relays: protection.ProtectionState,
    changes: Changes,
) -> Balance:
    shed_load, shed_generation = protection.shed_mw(
        layout.protection, params.protection, relays, params.load_mw, state.mechanical_mw
    )
    lost_s = changes.inertia_lost_mws / params.rated_mva
    return Balance(
        load_mw=(1.0 + params.loss_factor) * (changes.load_mw - shed_load),
        generation_mw=-changes.generation_lost_mw - shed_generation,
        connected_mw=params.load_mw - shed_load,
        momentum_s=2.0 * (params.inertia_s - lost_s),
        closed=_closed(relays, changes),
        formers=forming.Forming(
            reference_mw=changes.formers.reference_mw,
            low_mw=changes.formers.low_mw - state.formed_mw,
            high_mw=changes.formers.high_mw - state.formed_mw,
        ),
    )


def _moved(
    layout: GridLayout, params: GridParams, state: GridState, balance: Balance, dt_s: float
) -> Compensated[Motion]:
    """Motion after a tick; what has run past a limit is put back to it."""
    increment = rk4_increment(lambda x: slope(layout, params, state, balance, x), state.motion.value, dt_s)
    motion = compensated_add(state.motion, increment)
    value, rest = motion.value, motion.rest
    operating = [pick(state.mechanical_mw / params.rated_mva, areas) for areas in layout.governor_area]
    held = tuple(
        governor.held(p, at, its) for p, at, its in zip(params.governors, operating, value.governors, strict=True)
    )
    dropped = jax.tree.map(lambda at, was, r: jnp.where(at == was, r, 0.0), held, value.governors, rest.governors)
    return Compensated(
        value=Motion(value.speed_pu, value.tie_angle_rad, held, value.inverters),
        rest=Motion(rest.speed_pu, rest.tie_angle_rad, dropped, rest.inverters),
    )


@struct
class Readings:
    """What there is to record of the grid at a tick's start."""

    speed_pu: jax.Array = quantity("pu", "areas", "deviation")
    mechanical_mw: jax.Array = quantity("MW", "areas")
    tie_mw: jax.Array = quantity("MW", "ties")
    tie_bits: jax.Array = quantity("1", "ties", "int32, bits of `grid.protection`")
    stage_bits: jax.Array = quantity("1", "areas", "int32, stages that have shed")
    inverter_mw: jax.Array = quantity("MW", "reserves")
    agc_mw: jax.Array = quantity("MW", "reserves", "order")
    shed_mw: jax.Array = quantity("MW", "reserves", "load shed")
    shaft_torque_pu: jax.Array = quantity("pu", "sections of all shafts")


def readings(layout: GridLayout, params: GridParams, state: GridState, changes: Changes) -> Readings:
    """At the start of a tick; generation lost in it counts already."""
    x, relays = state.motion.value, state.protection
    shed_load, shed_generation = protection.shed_mw(
        layout.protection, params.protection, relays, params.load_mw, state.mechanical_mw
    )
    flows = tie_power_mw(params, state, changes)
    angle = tie.initial_angle_rad(params.ties) + x.tie_angle_rad
    at = layout.reserve_area
    inverter = sum_at(params.inverters.power_mw * x.inverters.power_pu, layout.inverter_area, layout.areas)
    torques = [torsion.torque_pu(shaft, its) for shaft, its in zip(params.shafts, state.twist, strict=True)]
    return Readings(
        speed_pu=x.speed_pu,
        mechanical_mw=state.mechanical_mw
        + params.rated_mva * governor_power(layout, params, state, x)
        - changes.generation_lost_mw
        - shed_generation,
        tie_mw=flows,
        tie_bits=protection.tie_bits(relays, params.protection, flows, angle),
        stage_bits=protection.stage_bits(layout.protection, relays, layout.areas),
        inverter_mw=pick(inverter, at),
        agc_mw=pick(sum_at(state.agc.order_mw, layout.agc_area, layout.areas), at),
        shed_mw=pick(shed_load, at),
        shaft_torque_pu=jnp.concatenate(torques) if torques else jnp.zeros(0, x.speed_pu.dtype),
    )


def told(readings: Readings, speed_pu: jax.Array) -> Readings:
    """Where the grid is emulated elsewhere: its speeds (areas,); nothing else is known of it, so NaN, and no bits."""
    unknown = jax.tree.map(
        lambda x: jnp.full_like(x, jnp.nan if jnp.issubdtype(x.dtype, jnp.floating) else 0), readings
    )
    return replace(unknown, speed_pu=speed_pu)


def _closed(relays: protection.ProtectionState, changes: Changes) -> jax.Array:
    """(ties,) share of each tie that carries."""
    return (1.0 - relays.opened.astype(changes.tie_lost.dtype)) * (1.0 - changes.tie_lost)


def tie_power_mw(params: GridParams, state: GridState, changes: Changes) -> jax.Array:
    """(ties,) flow, positive from the first area to the second."""
    closed = _closed(state.protection, changes)
    return params.ties.initial_mw + tie.change_mw(params.ties, state.motion.value.tie_angle_rad, closed)


def operable(layout: GridLayout, params: GridParams, state: GridState) -> list[bool]:
    """Per area: true where its governors' limits hold what it generates at the start."""
    fine = [True] * layout.areas
    for p, areas in zip(params.governors, layout.governor_area, strict=True):
        within = governor.within_limits(p, pick(state.mechanical_mw / params.rated_mva, areas))
        for area, each in zip(areas, within.tolist(), strict=True):
            fine[area] &= each
    return fine


def motion_states(state: GridState) -> jax.Array:
    """(grid states,) of the motion, in the order of the tree: deviations, 0 at rest."""
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(state.motion.value)] or [jnp.zeros(0)])
