"""Rules between the keys of a site's batteries. Each yields the path of a key, in the site, and what to do."""

from __future__ import annotations

from collections.abc import Iterator

from emulator.bess_schema import Battery, Cell, Thermal
from emulator.complaint import Path
from emulator.grid_rules import whole_ticks
from emulator.schema import Run, Site
from emulator.units import S_PER_H

Problems = Iterator[tuple[Path, str]]


def batteries(site: Site) -> Iterator[tuple[Path, Battery]]:
    """The site's batteries, each with its path in the site."""
    if site.bess is not None:
        yield ("bess",), site.bess
    for j, store in enumerate(site.store):
        yield ("store", j), store


def problems(site: Site, run: Run) -> Problems:
    """Of a site that has a battery."""
    for path, battery in batteries(site):
        for name, problem in _of_one(battery, run):
            yield (*path, *name), problem
    if site.bess is not None and site.bess.priority == "reactive" and site.bess.current_limit_pu is None:
        yield ("bess", "current_limit_pu"), 'missing key: with priority = "reactive" active power gives way to it'
    yield from _crossovers(site, run)
    if site.measurement.period_s is not None:
        yield from whole_ticks(("measurement", "period_s"), site.measurement.period_s, run.dt_s)


def _of_one(battery: Battery, run: Run) -> Problems:
    yield from whole_ticks(("delay_s",), battery.delay_s, run.dt_s)
    if battery.soc_min >= battery.soc_max:
        yield ("soc_min",), f"is {battery.soc_min:g}, must be below soc_max = {battery.soc_max:g}"
        return
    if not battery.soc_min <= battery.soc_initial <= battery.soc_max:
        within = f"{battery.soc_min:g} to {battery.soc_max:g}"
        yield ("soc_initial",), f"is {battery.soc_initial:g}, must lie within {within}"
    chunk_s, usable_mwh = run.chunk_ticks * run.dt_s, (battery.soc_max - battery.soc_min) * battery.energy_mwh
    if battery.power_mw * chunk_s > usable_mwh * S_PER_H:
        lasts_s = usable_mwh * S_PER_H / battery.power_mw
        yield (
            ("energy_mwh",),
            f"lasts {lasts_s:.3g} s at full power, less than a chunk of {chunk_s:g} s: "
            f"give at least {battery.energy_mwh * chunk_s / lasts_s:.3g} MWh, or lower run.chunk_ticks",
        )
    if battery.cell is not None:
        if battery.power_mw == 0:
            yield ("power_mw",), "is 0: cells need a rated power, the base of their resistance"
        yield from _cell(battery.cell)
    if battery.thermal is not None:
        yield from _thermal(battery.thermal)


def _cell(cell: Cell) -> Problems:
    volts = cell.open_circuit_v
    if any(after <= before for before, after in zip(volts, volts[1:], strict=False)):
        yield ("cell", "open_circuit_v"), "must rise with the state of charge"
    if volts[0] <= 0:
        yield ("cell", "open_circuit_v"), f"starts at {volts[0]:g} V, must be above 0"
    if cell.lowest_v >= volts[-1]:
        yield ("cell", "lowest_v"), f"is {cell.lowest_v:g} V, at or above the full cell's {volts[-1]:g} V: no discharge"
    if cell.highest_v <= volts[0]:
        yield ("cell", "highest_v"), f"is {cell.highest_v:g} V, at or below the empty cell's {volts[0]:g} V: no charge"


def _thermal(thermal: Thermal) -> Problems:
    if thermal.derate_to_c <= thermal.derate_from_c:
        yield (
            ("thermal", "derate_to_c"),
            f"is {thermal.derate_to_c:g}, must be above derate_from_c = {thermal.derate_from_c:g}",
        )
    if thermal.ambient_c >= thermal.derate_to_c:
        yield ("thermal", "ambient_c"), f"is {thermal.ambient_c:g}: at {thermal.derate_to_c:g} no power is left"


def _crossovers(site: Site, run: Run) -> Problems:
    above = 0.5 / run.dt_s
    for j, store in enumerate(site.store):
        if store.crossover_hz is None:
            continue
        at: Path = ("store", j, "crossover_hz")
        if store.crossover_hz > 0.5 / run.dt_s:
            yield at, f"is {store.crossover_hz:g} Hz, above half the tick rate, {0.5 / run.dt_s:g} Hz"
        elif store.crossover_hz >= above:
            yield at, f"is {store.crossover_hz:g} Hz, must be below {above:g} Hz of the store before it: fastest first"
        above = store.crossover_hz
    shared = [store.power_mw for store in site.store if store.crossover_hz is None]
    if shared and site.bess is not None and site.bess.power_mw + sum(shared) == 0:
        yield ("store",), "shares orders by rated power: some battery without a crossover needs power_mw"
