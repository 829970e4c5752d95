"""The grid's tables and the disturbances as layouts and parameters. Sites and clock: scenario.py."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import fields

import jax
import numpy as np

from emulator import grid_schema, schema
from emulator.clock import fraction, ticks_nearest
from emulator.disturbance import Signal, StepLayout
from emulator.governor_schema import SpeedGovernor
from emulator.grid import governor
from emulator.grid.forming import FormingParams
from emulator.grid.frequency import GridLayout, GridParams
from emulator.grid.protection import ProtectionLayout, ProtectionParams
from emulator.grid.reserve import AgcParams, InverterParams
from emulator.grid.tie import TieLayout, TieParams
from emulator.grid.torsion import ShaftParams, discretised, state_matrix
from emulator.grid_rules import rated_mva
from emulator.interchange import initial_flows_mw
from emulator.struct import as_array
from emulator.units import S_PER_MIN

NEVER = -1  # ticks of a delay that does not end

# In which order the models' governors are held, and what holds their numbers; field names are the tables' keys.
MODELS: dict[str, type[governor.GovernorParams]] = {
    "reheat": governor.ReheatParams,
    "lag": governor.LagParams,
    "tgov1": governor.Tgov1Params,
    "gast": governor.GastParams,
    "ieeeg1": governor.Ieeeg1Params,
    "hygov": governor.HygovParams,
    "engine": governor.EngineParams,
}


def area_index(scenario: schema.Scenario, name: str | None) -> int:
    """Place of a named area; without a name the only one; -1 on an infinite grid."""
    names = [area.name for area in scenario.grid.area]
    if not names:
        return -1
    return names.index(name) if name is not None else 0


def tie_index(scenario: schema.Scenario, between: tuple[str, str] | None) -> int:
    """Place of the tie between two areas, in either order; the only one where they are left out."""
    pairs = [{*tie.between} for tie in scenario.grid.tie]
    return 0 if between is None else pairs.index({*between})


def grid_layout(scenario: schema.Scenario) -> GridLayout:
    """Sizes and places."""
    grid, dt_s = scenario.grid, scenario.run.dt_s
    names = [area.name for area in grid.area]
    agcs = {i: area.agc for i, area in enumerate(grid.area) if area.agc is not None}
    return GridLayout(
        areas=len(names),
        ties=TieLayout(
            first=tuple(names.index(tie.between[0]) for tie in grid.tie),
            second=tuple(names.index(tie.between[1]) for tie in grid.tie),
            areas=len(names),
        ),
        governor_area=tuple(tuple(area for area, _ in _governors(grid, model)) for model in _models(grid)),
        former_area=tuple(area_index(scenario, site.area) for site in formers(scenario)),
        machineless=tuple(area.inertia_s == 0 for area in grid.area),
        inverter_area=tuple(i for i, area in enumerate(grid.area) if area.inverters is not None),
        agc_area=tuple(agcs),
        agc_cycle_ticks=tuple(ticks_nearest(agc.cycle_s, dt_s) for agc in agcs.values()),
        protection=_protection_layout(grid, dt_s),
        shaft_area=tuple(area_index(scenario, shaft.area) for shaft in grid.shaft),
        reserve_area=tuple(i for i, area in enumerate(grid.area) if has_reserves(area)),
    )


def has_reserves(area: grid_schema.Area) -> bool:
    """True where there is more to record of an area than its frequency and mechanical power."""
    return area.inverters is not None or area.agc is not None or bool(area.shedding)


def grid_params(scenario: schema.Scenario) -> GridParams:
    """Numbers, as arrays of the run's float type."""
    grid = scenario.grid
    exponents = [area.load_frequency_exponent for area in grid.area]
    return GridParams(
        rated_mva=as_array([rated_mva(grid, area) for area in grid.area]),
        inertia_s=as_array([area.inertia_s for area in grid.area]),
        damping_pu=as_array([area.damping_pu for area in grid.area]),
        load_mw=as_array([area.load_mw for area in grid.area]),
        load_exponent=as_array(exponents) if any(exponents) else None,
        loss_factor=as_array([area.loss_factor for area in grid.area]),
        frequency_hz=as_array(grid.frequency_hz),
        ties=TieParams(
            synchronizing_mw_per_rad=as_array([tie.synchronizing_mw_per_rad for tie in grid.tie]),
            initial_mw=as_array(initial_flows_mw(grid)),
            loss_per_mw=as_array([tie.loss_per_mw for tie in grid.tie]),
        ),
        governors=tuple(_governor_params(grid, model) for model in _models(grid)),
        order_share=tuple(_order_share(grid, model) for model in _models(grid)),
        inverters=_inverter_params(grid),
        formers=_forming_params(scenario),
        agc=_agc_params(grid),
        protection=_protection_params(grid),
        shafts=tuple(_shaft_params(grid, shaft, scenario.run.dt_s) for shaft in grid.shaft),
    )


def steps_of(scenario: schema.Scenario) -> Iterator[tuple[StepLayout, float]]:
    """All disturbances as steps, and how far each goes."""
    sites = [site.name for site in scenario.site]

    def step(signal: Signal, place: int, at_s: float, size: float) -> tuple[StepLayout, float]:
        at = fraction(at_s) / fraction(scenario.run.dt_s)
        return StepLayout(signal=signal, place=place, tick=int(at), fraction=float(at - int(at))), size

    ratio = {i: site.pcc.short_circuit_ratio for i, site in enumerate(scenario.site) if site.pcc is not None}
    for it in sorted(scenario.disturbance, key=lambda it: it.at_s):
        match it:
            case grid_schema.LoadStep():
                if it.site is not None:
                    yield step("site_load", sites.index(it.site), it.at_s, it.mw)
                else:
                    yield step("area_load", area_index(scenario, it.area), it.at_s, it.mw)
            case grid_schema.GenerationTrip():
                area = area_index(scenario, it.area)
                yield step("generation_lost", area, it.at_s, it.mw)
                yield step("inertia_lost", area, it.at_s, it.inertia_mws)
            case grid_schema.VoltageSag():
                site = 0 if it.site is None else sites.index(it.site)
                yield step("source_voltage", site, it.at_s, -it.depth_pu)
                yield step("source_voltage", site, it.at_s + it.duration_s, it.depth_pu)
            case grid_schema.ScrChange():
                site = 0 if it.site is None else sites.index(it.site)
                yield step("short_circuit_ratio", site, it.at_s, it.short_circuit_ratio - ratio[site])
                ratio[site] = it.short_circuit_ratio
            case grid_schema.BessOutage():
                site = 0 if it.site is None else sites.index(it.site)
                yield step("bess_lost", site, it.at_s, it.share)
                if it.duration_s is not None:
                    yield step("bess_lost", site, it.at_s + it.duration_s, -it.share)
            case grid_schema.TieOutage():
                tie = tie_index(scenario, it.between)
                yield step("tie_lost", tie, it.at_s, it.share)
                if it.duration_s is not None:
                    yield step("tie_lost", tie, it.at_s + it.duration_s, -it.share)


def _models(grid: grid_schema.Grid) -> list[str]:
    return [model for model in MODELS if _governors(grid, model)]


def _governors(grid: grid_schema.Grid, model: str) -> list[tuple[int, SpeedGovernor]]:
    """Governors of a model, each with the place of its area."""
    every = [(i, its) for i, area in enumerate(grid.area) for its in area.governor]
    return [(i, its) for i, its in every if isinstance(its, SpeedGovernor) and its.model == model]


def _governor_params(grid: grid_schema.Grid, model: str) -> governor.GovernorParams:
    its = [table for _, table in _governors(grid, model)]

    def of(name: str) -> jax.Array:
        return as_array([math.inf if (value := getattr(table, name)) is None else value for table in its])

    return MODELS[model](**{field.name: of(field.name) for field in fields(MODELS[model])})


def _order_share(grid: grid_schema.Grid, model: str) -> jax.Array:
    """pu on each governor's base per MW that the AGC of its area asks for."""
    governed = [sum(its.share for its in area.governor if its.model != "none") for area in grid.area]
    return as_array(
        [
            (its.share / governed[i] if its.agc_participation is None else its.agc_participation)
            / (its.share * rated_mva(grid, grid.area[i]))
            for i, its in _governors(grid, model)
        ]
    )


def _inverter_params(grid: grid_schema.Grid) -> InverterParams:
    fleets = [area.inverters for area in grid.area if area.inverters is not None]

    def of(key: str) -> jax.Array:
        return as_array([getattr(fleet, key) for fleet in fleets])

    return InverterParams(
        power_mw=of("power_mw"),
        inertia_s=of("inertia_s"),
        gain_pu=as_array([0.0 if fleet.droop_pu is None else 1.0 / fleet.droop_pu for fleet in fleets]),
        deadband_pu=of("deadband_pu"),
        measurement_s=of("measurement_s"),
        response_s=of("response_s"),
    )


def formers(scenario: schema.Scenario) -> list[schema.Site]:
    """Sites whose battery forms the grid."""
    return [site for site in scenario.site if site.bess is not None and site.bess.mode == "grid_forming"]


def _forming_params(scenario: schema.Scenario) -> FormingParams:
    tables = [site.bess for site in formers(scenario) if site.bess is not None]
    return FormingParams(
        power_mw=as_array([bess.availability * bess.units * bess.power_mw for bess in tables]),
        gain_pu=as_array([1.0 / bess.forming_droop_pu for bess in tables]),
        inertia_s=as_array([bess.forming_inertia_s for bess in tables]),
    )


def _agc_params(grid: grid_schema.Grid) -> AgcParams:
    agcs = [area.agc for area in grid.area if area.agc is not None]
    keys = ("bias_mw_per_hz", "proportional_gain", "integral_gain_per_s", "cycle_s", "reserve_mw")
    return AgcParams(
        **{key: as_array([getattr(agc, key) for agc in agcs]) for key in keys},
        ramp_mw_per_s=as_array(
            [math.inf if agc.ramp_mw_per_min is None else agc.ramp_mw_per_min / S_PER_MIN for agc in agcs]
        ),
    )


def _stages(grid: grid_schema.Grid) -> list[tuple[int, grid_schema.Shedding]]:
    return [(i, stage) for i, area in enumerate(grid.area) for stage in area.shedding]


def _protection_layout(grid: grid_schema.Grid, dt_s: float) -> ProtectionLayout:
    stages = _stages(grid)
    return ProtectionLayout(
        stage_area=tuple(area for area, _ in stages),
        stage_under=tuple(stage.frequency_hz < grid.frequency_hz for _, stage in stages),
        stage_ticks=tuple(ticks_nearest(stage.delay_s, dt_s) for _, stage in stages),
        restore_ticks=tuple(
            NEVER if stage.restore_hz is None else ticks_nearest(stage.restore_delay_s, dt_s) for _, stage in stages
        ),
        tie_ticks=tuple(NEVER if t.limit_mw is None else ticks_nearest(t.limit_delay_s, dt_s) for t in grid.tie),
    )


def _protection_params(grid: grid_schema.Grid) -> ProtectionParams:
    stages = [stage for _, stage in _stages(grid)]

    def speeds(values_hz: Iterable[float | None]) -> jax.Array:
        return as_array([0.0 if hz is None else hz / grid.frequency_hz - 1.0 for hz in values_hz])

    return ProtectionParams(
        stage_speed_pu=speeds(stage.frequency_hz for stage in stages),
        restore_speed_pu=speeds(stage.restore_hz for stage in stages),
        share=as_array([stage.share for stage in stages]),
        tie_limit_mw=as_array([math.inf if tie.limit_mw is None else tie.limit_mw for tie in grid.tie]),
    )


def _shaft_params(grid: grid_schema.Grid, shaft: grid_schema.Shaft, dt_s: float) -> ShaftParams:
    damping = shaft.damping_pu or (0.0,) * len(shaft.inertia_s)
    matrices = state_matrix(shaft.inertia_s, shaft.stiffness_pu, damping, shaft.generator_mass, grid.frequency_hz)
    transition, drive = discretised(*matrices, dt_s)
    return ShaftParams(
        transition=as_array(transition),
        drive=as_array(drive),
        stiffness_pu=as_array(np.asarray(shaft.stiffness_pu)),
        coupling=as_array(shaft.coupling),
        rated_mva=as_array(shaft.rated_mva),
    )
