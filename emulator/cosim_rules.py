"""Rules of co-simulation. Each yields the path of the key at fault and what to do."""

from __future__ import annotations

from collections.abc import Iterator

from emulator.clock import ticks_exact
from emulator.complaint import Path, nearest
from emulator.controller_schema import LqrController, stages_of
from emulator.cosim_schema import Cosim
from emulator.grid_rules import whole_ticks
from emulator.schema import Scenario
from emulator.units import counted

Problems = Iterator[tuple[Path, str]]


def cosim(scenario: Scenario) -> Problems:
    """Every rule of [cosim] that the scenario breaks."""
    if scenario.cosim is not None:
        for rule in (_steps, _areas, _sites):
            yield from rule(scenario, scenario.cosim)


def _steps(scenario: Scenario, its: Cosim) -> Problems:
    run, record = scenario.run, scenario.record
    yield from whole_ticks(("cosim", "step_s"), its.step_s, run.dt_s)
    ticks = ticks_exact(its.step_s, run.dt_s)
    if ticks is None:
        return
    if ticks_exact(run.duration_s, its.step_s) is None:
        yield ("cosim", "step_s"), f"is {its.step_s:g} s, must divide run.duration_s = {run.duration_s:g} s"
    for name in ("every_ticks", "device_every_ticks"):
        if ticks % (every := getattr(record, name)):
            yield ("record", name), f"is {every}, must divide the {counted(ticks, 'tick')} of cosim.step_s"
    if any(site.power_limit for site in scenario.site) and ticks != run.chunk_ticks:
        message = f"is {run.chunk_ticks}: sites with a power_limit order once per chunk, which must be the"
        yield ("run", "chunk_ticks"), f"{message} {counted(ticks, 'tick')} of cosim.step_s"


def _areas(scenario: Scenario, its: Cosim) -> Problems:
    names = [area.name for area in scenario.grid.area]
    for name in its.frequency_hz:
        if name not in names:
            hint = nearest(name, names) or ": give [[grid.area]] of that name, on which the sites hang"
            yield ("cosim", "frequency_hz", name), f"no such area{hint}"
    if not its.frequency_hz:
        return
    if lacking := [name for name in names if name not in its.frequency_hz]:
        message = f"all areas come from outside or none: {', '.join(lacking)} missing"
        yield ("cosim", "frequency_hz"), message
    for i, site in enumerate(scenario.site):
        if site.bess is not None and site.bess.mode == "grid_forming":
            yield ("site", i, "bess", "mode"), "'grid_forming' needs the areas emulated here: no cosim.frequency_hz"
        if any(isinstance(stage, LqrController) for stage in stages_of(site.controller)):
            message = "'lqr' feeds back states of areas emulated here: no cosim.frequency_hz"
            yield ("site", i, "controller", "kind"), message


def _sites(scenario: Scenario, its: Cosim) -> Problems:
    sites = {site.name: site for site in scenario.site}
    for name in its.voltage_pu:
        if name not in sites:
            yield ("cosim", "voltage_pu", name), f"no such site{nearest(name, sites)}"
        elif sites[name].pcc is None:
            yield ("cosim", "voltage_pu", name), f"needs a point that it is the voltage of: give site {name} [site.pcc]"
