"""A site's storage tables as layout and parameters."""

from __future__ import annotations

import math

import jax
import numpy as np

from emulator import bess_schema, schema
from emulator.bess.battery import BatteryParams
from emulator.bess.cell import CellParams
from emulator.bess.reactive import ReactiveParams
from emulator.bess.storage import MeasurementParams, StorageLayout, StorageParams
from emulator.bess.thermal import ThermalParams
from emulator.clock import ticks_nearest
from emulator.controllers import controller_layout, controller_params
from emulator.struct import as_array
from emulator.units import KW_PER_MW


def batteries_of(site: schema.Site) -> tuple[bess_schema.Bess | bess_schema.Store, ...]:
    """The main one first; none where there is none."""
    return () if site.bess is None else (site.bess, *site.store)


def listed(site: schema.Site) -> tuple[str, ...]:
    """Names of the batteries that are recorded one by one: of several, or of one with a temperature or ageing."""
    one_by_one = bool(site.store) or any(its.thermal or its.ageing for its in batteries_of(site))
    return ("bess", *(store.name for store in site.store)) if one_by_one else ()


def soc_places(scenario: schema.Scenario) -> dict[str, bool]:
    """Sites, then listed batteries, as a frame has them; true where a state of charge is judged: of a site's only
    battery at the site, of several at each."""
    sites = {site.name: site.bess is not None and not site.store for site in scenario.site}
    return sites | {f"{site.name}/{name}": bool(site.store) for site in scenario.site for name in listed(site)}


def storage_layout(site: schema.Site, dt_s: float) -> StorageLayout | None:
    """Switches and integer times; None without a battery."""
    if site.bess is None:
        return None
    period_s = site.measurement.period_s
    period_ticks = 1 if period_s is None else ticks_nearest(period_s, dt_s)
    return StorageLayout(
        controller=controller_layout(site.controller, period_ticks * dt_s, site.bess.delay_s + site.bess.response_s),
        period_ticks=period_ticks,
        delay_ticks=tuple(ticks_nearest(its.delay_s, dt_s) for its in batteries_of(site)),
        has_crossover=(False, *(store.crossover_hz is not None for store in site.store)),
        forming=site.bess.mode == "grid_forming",
        reactive_first=site.bess.priority == "reactive",
        listed=bool(listed(site)),
    )


def storage_params(site: schema.Site, plan_mw: tuple[jax.Array, ...], gains: np.ndarray) -> StorageParams | None:
    """All numbers; None without a battery. plan_mw: (ticks,) what the site draws in an iteration of each planned job,
    less its mean. gains: (states,) of a state feedback."""
    if site.bess is None:
        return None
    sees = site.measurement
    measured = MeasurementParams(as_array(sees.filter_s), as_array(sees.pll_s))
    return StorageParams(
        batteries=tuple(_battery_params(its) for its in batteries_of(site)),
        crossover_hz=as_array([0.0, *(store.crossover_hz or 0.0 for store in site.store)]),
        measurement=measured if _any((sees.filter_s, sees.pll_s)) else None,
        controller=controller_params(site.controller, plan_mw, gains),
        reactive=_reactive_params(site.bess) if _any((site.bess.voltage_gain_pu,)) else None,
    )


def _any(values: tuple[float, ...]) -> bool:
    """Whether a part is there: a tuned number, not known yet, has one."""
    return any(not isinstance(value, int | float) or value > 0 for value in values)


def _battery_params(bess: bess_schema.Battery) -> BatteryParams:
    units = bess.units * bess.availability
    ramp = math.inf if bess.ramp_mw_per_s is None else units * bess.ramp_mw_per_s
    limit = bess.current_limit_pu
    return BatteryParams(
        power_mw=as_array(units * bess.power_mw),
        energy_mwh=as_array(units * bess.energy_mwh),
        soc_initial=as_array(bess.soc_initial),
        soc_min=as_array(bess.soc_min),
        soc_max=as_array(bess.soc_max),
        charge_efficiency=as_array(bess.charge_efficiency),
        discharge_efficiency=as_array(bess.discharge_efficiency),
        auxiliary_mw=as_array(units * bess.auxiliary_mw),
        self_discharge_per_h=as_array(bess.self_discharge_per_h),
        response_s=as_array(bess.response_s),
        ramp_mw_per_s=as_array(ramp),
        apparent_mva=None if limit is None else as_array(units * limit * _rated_mva(bess)),
        cell=bess.cell and _cell_params(bess.cell),
        thermal=bess.thermal and _thermal_params(bess.thermal, units),
    )


def _rated_mva(bess: bess_schema.Battery) -> float:
    return bess.power_mw if bess.rated_mva is None else bess.rated_mva


def _cell_params(table: bess_schema.Cell) -> CellParams:
    volts = np.asarray(table.open_circuit_v)
    mean_v = float(np.mean((volts[:-1] + volts[1:]) / 2))
    return CellParams(
        open_circuit_pu=as_array(volts / mean_v),
        lowest_pu=as_array(table.lowest_v / mean_v),
        highest_pu=as_array(table.highest_v / mean_v),
        resistance_pu=as_array(table.resistance_pu),
    )


def _thermal_params(table: bess_schema.Thermal, units: float) -> ThermalParams:
    return ThermalParams(
        heat_capacity_mwh_per_k=as_array(units * table.heat_capacity_kwh_per_k / KW_PER_MW),
        cooling_mw_per_k=as_array(units * table.cooling_kw_per_k / KW_PER_MW),
        ambient_c=as_array(table.ambient_c),
        derate_from_k=as_array(table.derate_from_c - table.ambient_c),
        derate_to_k=as_array(table.derate_to_c - table.ambient_c),
    )


def _reactive_params(bess: bess_schema.Bess) -> ReactiveParams:
    return ReactiveParams(
        rated_mva=as_array(bess.units * bess.availability * _rated_mva(bess)),
        gain_pu=as_array(bess.voltage_gain_pu),
        response_s=as_array(bess.voltage_response_s),
    )
