"""Rules between keys, which no single key can tell. Each yields the path of the key at fault and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from emulator import bess_rules, controller_schema
from emulator.clock import ticks_nearest
from emulator.complaint import Path
from emulator.cosim_rules import cosim
from emulator.grid_rules import grid, twice, unknown_area, whole_ticks
from emulator.jobs_rules import jobs
from emulator.jobs_schema import TrainingJob
from emulator.loop_rules import loops
from emulator.schema import NoController, Scenario, Site
from emulator.topology import noisy
from emulator.tunables import fitting, tuning
from emulator.units import counted

Problems = Iterator[tuple[Path, str]]

MOST_TICKS = 2**31 - 1  # a tick is a 32-bit integer on the device


def broken(scenario: Scenario) -> Problems:
    """Every rule that the scenario breaks."""
    for rule in (
        _something,
        _clock,
        _starts,
        _names,
        _site_areas,
        _voltages,
        grid,
        jobs,
        _batteries,
        _coarse_ticks,
        loops,
        tuning,
        fitting,
        cosim,
    ):
        yield from rule(scenario)


def _something(scenario: Scenario) -> Problems:
    if not scenario.site and not scenario.grid.area:
        yield ("site",), "missing table: neither a [[site]] nor a [[grid.area]] is there, nothing to emulate"


def _clock(scenario: Scenario) -> Problems:
    run = scenario.run
    yield from whole_ticks(("run", "duration_s"), run.duration_s, run.dt_s)
    if run.duration_s / run.dt_s > MOST_TICKS:
        yield ("run", "duration_s"), f"is {run.duration_s / run.dt_s:.3g} ticks, at most {MOST_TICKS} fit: raise dt_s"
    every = scenario.record.every_ticks
    if run.chunk_ticks % every:
        yield ("record", "every_ticks"), f"is {every}, must divide run.chunk_ticks = {run.chunk_ticks}"
    ticks = ticks_nearest(run.duration_s, run.dt_s)
    if ticks % every:
        yield ("record", "every_ticks"), f"is {every}, must divide the run's {counted(ticks, 'tick')}"


def _starts(scenario: Scenario) -> Problems:
    most_s = MOST_TICKS * scenario.run.dt_s
    for i, site in enumerate(scenario.site):
        for j, job in enumerate(site.job):
            if job.start_s > most_s:
                path = ("site", i, "job", j, "start_s")
                yield path, f"is {job.start_s:g} s, must be at most {most_s:.12g} s, tick {MOST_TICKS}: raise dt_s"


def _names(scenario: Scenario) -> Problems:
    yield from twice(("site",), [site.name for site in scenario.site])
    for i, site in enumerate(scenario.site):
        yield from twice(("site", i, "job"), [job.name for job in site.job])


def _site_areas(scenario: Scenario) -> Problems:
    for i, site in enumerate(scenario.site):
        if site.area is None and len(scenario.grid.area) > 1:
            every = ", ".join(area.name for area in scenario.grid.area)
            yield ("site", i, "area"), f"missing key: the grid has several areas ({every})"
        if site.area is not None and (message := unknown_area(scenario, site.area)):
            yield ("site", i, "area"), message


def _voltages(scenario: Scenario) -> Problems:
    for i, site in enumerate(scenario.site):
        path, facility = ("site", i, "facility"), site.facility
        dependent = facility.constant_impedance_fraction + facility.constant_current_fraction
        if dependent > 1 + 1e-9:
            message = f"with constant_impedance_fraction sums to {dependent:g}, at most 1"
            yield (*path, "constant_current_fraction"), message
        if facility.ride_through is not None:
            at, riding = (*path, "ride_through"), facility.ride_through
            yield from whole_ticks((*at, "return_delay_s"), riding.return_delay_s, scenario.run.dt_s)
            if riding.return_above_pu <= riding.trip_below_pu:
                back, below = riding.return_above_pu, riding.trip_below_pu
                yield (*at, "return_above_pu"), f"is {back:g}, must be above trip_below_pu = {below:g}"
        for part, key, used in (
            (path, "constant_impedance_fraction", dependent > 0),
            (path, "ride_through", facility.ride_through is not None),
            (("site", i, "bess"), "voltage_gain_pu", site.bess is not None and site.bess.voltage_gain_pu > 0),
        ):
            if used and site.pcc is None:
                yield (*part, key), f"needs a voltage that moves: give site {site.name} [site.pcc]"


def _batteries(scenario: Scenario) -> Problems:
    for i, site in enumerate(scenario.site):
        at: Path = ("site", i)
        yield from twice((*at, "store"), [store.name for store in site.store])
        if site.bess is None:
            if not isinstance(site.controller, NoController):
                yield (*at, "controller", "kind"), f"{site.controller.kind!r} needs a battery: give [site.bess]"
            if site.store:
                yield (*at, "store"), "stands beside a main battery: give [site.bess]"
            continue
        if site.store and site.bess.mode == "grid_forming":
            yield (*at, "store"), "a grid_forming battery stands alone at its site: give the others a site of their own"
        for path, problem in _informed(site):
            yield (*at, *path), problem
        for path, problem in bess_rules.problems(site, scenario.run):
            yield (*at, *path), problem


def _informed(site: Site) -> Problems:
    """Of controllers that know more than a measured load."""
    kinds = {stage.kind for stage in controller_schema.stages_of(site.controller)}
    if "feed_forward" in kinds and not any(isinstance(job, TrainingJob) for job in site.job):
        yield ("controller", "kind"), "'feed_forward' plays the schedule of training jobs: the site has none"
    for kind in sorted(kinds & {"feed_forward", "lqr"}):
        if site.measurement.period_s is not None:
            yield ("measurement", "period_s"), f"{kind!r} acts in every tick: leave it out"
    if site.store and "lqr" in kinds:
        yield ("store",), "'lqr' is designed for one battery: leave the others out"


def _coarse_ticks(scenario: Scenario) -> Problems:
    dt_s = scenario.run.dt_s
    for path, seconds in _time_constants(scenario):
        if 0 < seconds < dt_s * (1 - 1e-9):
            yield path, f"is {seconds:g} s, too short for ticks of {dt_s:g} s: run.dt_s must be at most {seconds:.4g} s"
    for i, site in enumerate(scenario.site):
        for at, message in controller_schema.problems(site.controller, dt_s):
            yield ("site", i, "controller", *at), message


def _time_constants(scenario: Scenario) -> Iterable[tuple[Path, float]]:
    """Time constants whose discretisation is exact: at least one tick each."""
    for i, site in enumerate(scenario.site):
        yield from _site_constants(i, site)


def _site_constants(i: int, site: Site) -> Iterable[tuple[Path, float]]:
    for path, battery in bess_rules.batteries(site):
        yield ("site", i, *path, "response_s"), battery.response_s
    for name in ("filter_s", "pll_s"):
        yield ("site", i, "measurement", name), getattr(site.measurement, name)
    for j, job in enumerate(site.job):
        if isinstance(job, TrainingJob):
            path = ("site", i, "job", j)
            yield (*path, "accelerator", "response_s"), job.accelerator.response_s
            if job.accelerator.edp_fraction > 1:
                yield (*path, "accelerator", "edp_duration_s"), job.accelerator.edp_duration_s
            if job.smoothing is not None:
                at = (*path, "smoothing", "activation_window_s")
                yield at, job.smoothing.activation_window_s
            if noisy(job):
                yield (*path, "workload", "noise_correlation_s"), job.workload.noise_correlation_s
