"""Rules between keys, which no single key can tell. Each yields the path of the key at fault and what to do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from emulator.clock import ticks_exact, ticks_nearest
from emulator.complaint import Path, nearest
from emulator.jobs_rules import jobs
from emulator.jobs_schema import TrainingJob
from emulator.schema import Area, LowPassController, NoController, Scenario, Site, Tgov1Governor, Tie
from emulator.topology import noisy

Problems = Iterator[tuple[Path, str]]

MOST_TICKS = 2**31 - 1  # a tick is a 32-bit integer on the device


def broken(scenario: Scenario) -> Problems:
    """Every rule that the scenario breaks."""
    for rule in (_clock, _starts, _names, _areas, _ties, jobs, _batteries, _disturbances, _coarse_ticks):
        yield from rule(scenario)


def _clock(scenario: Scenario) -> Problems:
    run = scenario.run
    yield from _whole_ticks(("run", "duration_s"), run.duration_s, run.dt_s)
    if run.duration_s / run.dt_s > MOST_TICKS:
        yield ("run", "duration_s"), f"is {run.duration_s / run.dt_s:.3g} ticks, at most {MOST_TICKS} fit: raise dt_s"
    every = scenario.record.every_ticks
    if run.chunk_ticks % every:
        yield ("record", "every_ticks"), f"is {every}, must divide run.chunk_ticks = {run.chunk_ticks}"
    ticks = ticks_nearest(run.duration_s, run.dt_s)
    if ticks % every:
        yield ("record", "every_ticks"), f"is {every}, must divide the run's {ticks} ticks"


def _starts(scenario: Scenario) -> Problems:
    most_s = MOST_TICKS * scenario.run.dt_s
    for i, site in enumerate(scenario.site):
        for j, job in enumerate(site.job):
            if job.start_s > most_s:
                path = ("site", i, "job", j, "start_s")
                yield path, f"is {job.start_s:g} s, must be at most {most_s:.12g} s, tick {MOST_TICKS}: raise dt_s"


def _whole_ticks(path: Path, seconds: float, dt_s: float) -> Problems:
    if ticks_exact(seconds, dt_s) is None:
        near = max(ticks_nearest(seconds, dt_s), 1)
        yield path, f"is {seconds!r}, no whole number of ticks of {dt_s!r} s; nearest: {near * dt_s:.12g}"


def _names(scenario: Scenario) -> Problems:
    yield from _twice(("site",), [site.name for site in scenario.site])
    yield from _twice(("grid", "area"), [area.name for area in scenario.grid.area])
    for i, site in enumerate(scenario.site):
        yield from _twice(("site", i, "job"), [job.name for job in site.job])


def _twice(path: Path, names: list[str]) -> Problems:
    for name, count in Counter(names).items():
        if count > 1:
            last = len(names) - 1 - names[::-1].index(name)
            yield (*path, last, "name"), f"{name!r} is there {count} times; names must differ"


def _unknown_area(scenario: Scenario, name: str) -> str | None:
    names = [area.name for area in scenario.grid.area]
    if name in names:
        return None
    return f"no area {name!r}" + (nearest(name, names) if names else ": the grid has no areas, it is infinite")


def _areas(scenario: Scenario) -> Problems:
    for i, site in enumerate(scenario.site):
        if site.area is None and len(scenario.grid.area) > 1:
            every = ", ".join(area.name for area in scenario.grid.area)
            yield ("site", i, "area"), f"missing key: the grid has several areas ({every})"
        if site.area is not None and (message := _unknown_area(scenario, site.area)):
            yield ("site", i, "area"), message
    for i, area in enumerate(scenario.grid.area):
        shares = sum(governor.share for governor in area.governor if governor.model != "none")
        if shares > 1 + 1e-9:
            yield ("grid", "area", i, "governor"), f"shares sum to {shares:g}, at most 1 of the area can be governed"
        for j, governor in enumerate(area.governor):
            if isinstance(governor, Tgov1Governor) and governor.vmin_pu >= governor.vmax_pu:
                path = ("grid", "area", i, "governor", j, "vmin_pu")
                yield path, f"is {governor.vmin_pu:g}, must be below vmax_pu = {governor.vmax_pu:g}"


def _ties(scenario: Scenario) -> Problems:
    for i, tie in enumerate(scenario.grid.tie):
        path: Path = ("grid", "tie", i)
        for name in tie.between:
            if message := _unknown_area(scenario, name):
                yield (*path, "between"), message
        if tie.between[0] == tie.between[1]:
            yield (*path, "between"), f"both ends are {tie.between[0]!r}"
        if set(tie.between) in [set(other.between) for other in scenario.grid.tie[:i]]:
            yield (*path, "between"), "these areas have a tie already: add the two up in one"
        if abs(tie.initial_mw) >= tie.synchronizing_mw_per_rad:
            most = tie.synchronizing_mw_per_rad
            yield (*path, "initial_mw"), f"is {tie.initial_mw:g} MW, no angle carries {most:g} MW or more; say less"


def _batteries(scenario: Scenario) -> Problems:
    for i, site in enumerate(scenario.site):
        bess, path = site.bess, ("site", i, "bess")
        if bess is None:
            if not isinstance(site.controller, NoController):
                yield ("site", i, "controller", "kind"), f"{site.controller.kind!r} needs a battery: give [site.bess]"
            continue
        yield from _whole_ticks((*path, "delay_s"), bess.delay_s, scenario.run.dt_s)
        if bess.soc_min >= bess.soc_max:
            yield (*path, "soc_min"), f"is {bess.soc_min:g}, must be below soc_max = {bess.soc_max:g}"
        elif not bess.soc_min <= bess.soc_initial <= bess.soc_max:
            yield (
                (*path, "soc_initial"),
                f"is {bess.soc_initial:g}, must lie within {bess.soc_min:g} to {bess.soc_max:g}",
            )


def _disturbances(scenario: Scenario) -> Problems:
    for i, step in enumerate(scenario.disturbance):
        path: Path = ("disturbance", i)
        if (step.site is None) == (step.area is None):
            yield path, "needs one of site and area"
        if step.area is not None and (message := _unknown_area(scenario, step.area)):
            yield (*path, "area"), message
        sites = [site.name for site in scenario.site]
        if step.site is not None and step.site not in sites:
            yield (*path, "site"), f"no site {step.site!r}{nearest(step.site, sites)}"
        if step.at_s >= scenario.run.duration_s:
            yield (*path, "at_s"), f"is {step.at_s:g} s, the run ends at {scenario.run.duration_s:g} s"


def _coarse_ticks(scenario: Scenario) -> Problems:
    dt_s = scenario.run.dt_s
    for path, seconds, ticks in _time_constants(scenario):
        if 0 < seconds < ticks * dt_s * (1 - 1e-9):
            yield (
                path,
                (
                    f"is {seconds:g} s, too short for ticks of {dt_s:g} s: "
                    f"run.dt_s must be at most {seconds / ticks:.4g} s"
                ),
            )
    for i, site in enumerate(scenario.site):
        if isinstance(site.controller, LowPassController) and site.controller.cutoff_hz > 0.5 / dt_s:
            path = ("site", i, "controller", "cutoff_hz")
            yield path, f"is {site.controller.cutoff_hz:g} Hz, above half the tick rate, {0.5 / dt_s:g} Hz"
    for i, tie in enumerate(scenario.grid.tie):
        if (rate := _tie_mode(scenario, tie)) * dt_s > 0.5:
            path = ("grid", "tie", i, "synchronizing_mw_per_rad")
            yield path, f"swings at {rate / 2 / math.pi:.3g} Hz: run.dt_s must be at most {0.5 / rate:.3g} s"


def _time_constants(scenario: Scenario) -> Iterable[tuple[Path, float, int]]:
    """Time constants and how many ticks each must span: 1 where its discretisation is exact, 2 under Runge-Kutta."""
    for i, site in enumerate(scenario.site):
        yield from _site_constants(i, site)
    for i, area in enumerate(scenario.grid.area):
        yield from _governor_constants(i, area)


def _site_constants(i: int, site: Site) -> Iterable[tuple[Path, float, int]]:
    if site.bess is not None:
        yield ("site", i, "bess", "response_s"), site.bess.response_s, 1
    for j, job in enumerate(site.job):
        if isinstance(job, TrainingJob):
            path = ("site", i, "job", j)
            yield (*path, "accelerator", "response_s"), job.accelerator.response_s, 1
            if job.accelerator.edp_fraction > 1:
                yield (*path, "accelerator", "edp_duration_s"), job.accelerator.edp_duration_s, 1
            if job.smoothing is not None:
                at = (*path, "smoothing", "activation_window_s")
                yield at, job.smoothing.activation_window_s, 1
            if noisy(job):
                yield (*path, "workload", "noise_correlation_s"), job.workload.noise_correlation_s, 1


def _governor_constants(i: int, area: Area) -> Iterable[tuple[Path, float, int]]:
    for j, governor in enumerate(area.governor):
        for key in ("reheat_s", "lag_s", "t1_s", "t3_s"):
            if hasattr(governor, key):
                yield ("grid", "area", i, "governor", j, key), getattr(governor, key), 2


def _tie_mode(scenario: Scenario, tie: Tie) -> float:
    """Angular frequency of the two ends against each other, rad/s: w^2 = w0 K (1/M1 + 1/M2), M = 2 H S."""
    ends = [area for area in scenario.grid.area if area.name in tie.between]
    momenta = [2 * a.inertia_s * (scenario.grid.base_mva if a.rated_mva is None else a.rated_mva) for a in ends]
    omega0 = 2 * math.pi * scenario.grid.frequency_hz
    return math.sqrt(omega0 * tie.synchronizing_mw_per_rad * sum(1 / m for m in momenta))
