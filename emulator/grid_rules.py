"""Rules between the keys of the grid and of disturbances. Each yields the path of the key at fault and what to do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from emulator import governor_schema
from emulator.bess_schema import Bess
from emulator.clock import ticks_exact, ticks_nearest
from emulator.complaint import Path, nearest
from emulator.grid_schema import Area, BessOutage, GenerationTrip, Grid, LoadStep, ScrChange, Tie, TieOutage, VoltageSag
from emulator.interchange import initial_flows_mw
from emulator.schema import Scenario
from emulator.torsional_modes import frequencies_hz
from emulator.units import counted

Problems = Iterator[tuple[Path, str]]

SAMPLES = 4  # ticks in a period of a shaft's fastest mode, so that a torque's peak is seen within 30 %


def grid(scenario: Scenario) -> Problems:
    """Every rule of the grid that the scenario breaks."""
    for rule in (
        _areas,
        _ties,
        _flows,
        _reserves,
        _shedding,
        _shafts,
        _disturbances,
        _converters_left,
        _inertia_left,
        _coarse_ticks,
    ):
        yield from rule(scenario)


def whole_ticks(path: Path, seconds: float, dt_s: float) -> Problems:
    """A time must be a whole number of ticks."""
    if ticks_exact(seconds, dt_s) is None:
        near = max(ticks_nearest(seconds, dt_s), 1)
        yield path, f"is {seconds!r}, no whole number of ticks of {dt_s!r} s; nearest: {near * dt_s:.12g}"


def twice(path: Path, names: list[str]) -> Problems:
    """Names must differ."""
    for name, count in Counter(names).items():
        if count > 1:
            last = len(names) - 1 - names[::-1].index(name)
            yield (*path, last, "name"), f"{name!r} is there {count} times; names must differ"


def unknown_area(scenario: Scenario, name: str) -> str | None:
    """What is wrong with the name of an area."""
    names = [area.name for area in scenario.grid.area]
    if name in names:
        return None
    return f"no area {name!r}" + (nearest(name, names) if names else ": the grid has no areas, it is infinite")


def rated_mva(grid: Grid, area: Area) -> float:
    """Base of an area's per-unit values."""
    return grid.base_mva if area.rated_mva is None else area.rated_mva


def _areas(scenario: Scenario) -> Problems:
    grid = scenario.grid
    yield from twice(("grid", "area"), [area.name for area in grid.area])
    for i, area in enumerate(grid.area):
        shares = sum(governor.share for governor in area.governor if governor.model != "none")
        if shares > 1 + 1e-9:
            yield ("grid", "area", i, "governor"), f"shares sum to {shares:g}, at most 1 of the area can be governed"
        for j, governor in enumerate(area.governor):
            for name, message in governor_schema.problems(governor):
                yield ("grid", "area", i, "governor", j, name), message
        formed = any(its.power_mw > 0 for its in _forming(scenario, area))
        if area.inertia_s == 0 and (not formed or any(g.model != "none" for g in area.governor)):
            path = ("grid", "area", i, "inertia_s")
            sources = "a site's battery, of power_mw above 0, must be grid_forming"
            yield path, f"is 0: without machines there are no governors, and {sources}"
    apart = _apart(grid)
    if apart:
        names = ", ".join(apart)
        yield ("grid", "tie"), f"no ties connect {names} with {grid.area[0].name}: add [[grid.tie]] between them"


def _forming(scenario: Scenario, area: Area) -> list[Bess]:
    """Grid-forming batteries of an area."""
    batteries = [site.bess for site in scenario.site if site.bess is not None and site.area in (area.name, None)]
    return [its for its in batteries if its.mode == "grid_forming"]


def _apart(grid: Grid) -> list[str]:
    """Areas that no chain of ties connects with the first one."""
    found = {area.name for area in grid.area[:1]}
    for _ in grid.area:
        found |= {name for tie in grid.tie if found & set(tie.between) for name in tie.between}
    return [area.name for area in grid.area if area.name not in found]


def _ties(scenario: Scenario) -> Problems:
    for i, tie in enumerate(scenario.grid.tie):
        path: Path = ("grid", "tie", i)
        for name in tie.between:
            if message := unknown_area(scenario, name):
                yield (*path, "between"), message
        if tie.between[0] == tie.between[1]:
            yield (*path, "between"), f"both ends are {tie.between[0]!r}"
        if set(tie.between) in [set(other.between) for other in scenario.grid.tie[:i]]:
            yield (*path, "between"), "these areas have a tie already: add the two up in one"
        if tie.initial_mw is not None and abs(tie.initial_mw) >= tie.synchronizing_mw_per_rad:
            most = tie.synchronizing_mw_per_rad
            yield (*path, "initial_mw"), f"is {tie.initial_mw:g} MW, no angle carries {most:g} MW or more; say less"
        yield from whole_ticks((*path, "limit_delay_s"), tie.limit_delay_s, scenario.run.dt_s)


def _flows(scenario: Scenario) -> Problems:
    """Flows given or solved must be those of some set of angles."""
    grid = scenario.grid
    if any(unknown_area(scenario, name) for tie in grid.tie for name in tie.between) or _apart(grid):
        return
    scheduled = [i for i, area in enumerate(grid.area) if area.interchange_mw is not None]
    if not scheduled:
        yield from _loops(grid)
        return
    for i, area in enumerate(grid.area):
        if area.interchange_mw is None:
            yield ("grid", "area", i, "interchange_mw"), "missing key: give it for every area, or for none"
    for i, tie in enumerate(grid.tie):
        if tie.initial_mw is not None:
            path = ("grid", "tie", i, "initial_mw")
            yield path, "cannot stand beside the areas' interchange_mw, from which the flows are solved: leave it out"
    total = sum(area.interchange_mw or 0.0 for area in grid.area)
    if len(scheduled) == len(grid.area):
        path = ("grid", "area", len(grid.area) - 1, "interchange_mw")
        if abs(total) > 1e-6 * max(abs(area.interchange_mw or 0.0) for area in grid.area):
            yield path, f"the areas' interchange sums to {total:g} MW, must be 0: what one exports another imports"
        elif initial_flows_mw(grid) is None:
            yield path, "no angles of the ties carry the areas' interchange: schedule less or raise the ties' K"


def _loops(grid: Grid) -> Problems:
    """Around every loop of ties the angles of the given flows must sum to zero."""
    angle = {grid.area[0].name: 0.0} if grid.area else {}
    left = [(i, tie) for i, tie in enumerate(grid.tie) if abs(tie.initial_mw or 0.0) < tie.synchronizing_mw_per_rad]
    while True:
        step = next(((i, tie) for i, tie in left if len(angle.keys() & set(tie.between)) == 1), None)
        if step is None:
            break
        left.remove(step)
        first, second = step[1].between
        across = math.asin((step[1].initial_mw or 0.0) / step[1].synchronizing_mw_per_rad)
        angle |= {second: angle[first] - across} if first in angle else {first: angle[second] + across}
    for i, tie in left:
        first, second = tie.between
        if first in angle and second in angle:
            carried = tie.synchronizing_mw_per_rad * math.sin(angle[first] - angle[second])
            given = tie.initial_mw or 0.0
            if abs(carried - given) > 1e-6 * tie.synchronizing_mw_per_rad:
                path = ("grid", "tie", i, "initial_mw")
                yield (
                    path,
                    (
                        f"is {given:g} MW, the other ties of its loop make it {carried:g} MW: say so, or give the "
                        "areas' interchange_mw and leave the flows out"
                    ),
                )


def _reserves(scenario: Scenario) -> Problems:
    for i, area in enumerate(scenario.grid.area):
        if area.agc is None:
            continue
        path: Path = ("grid", "area", i, "agc")
        yield from whole_ticks((*path, "cycle_s"), area.agc.cycle_s, scenario.run.dt_s)
        governed = [governor for governor in area.governor if governor.model != "none"]
        if not governed:
            yield path, "needs governors to give its orders to: add [[grid.area.governor]]"
            continue
        given = [its.agc_participation for its in governed if its.agc_participation is not None]
        if given and (len(given) < len(governed) or abs(sum(given) - 1) > 1e-9):
            found = f"{len(given)} of {counted(len(governed), 'governor')} with agc_participation, sum {sum(given):g}"
            yield ("grid", "area", i, "governor"), f"{found}: all must, and sum to 1, or none"


def _shedding(scenario: Scenario) -> Problems:
    nominal = scenario.grid.frequency_hz
    for i, area in enumerate(scenario.grid.area):
        for under in (True, False):
            stages = [stage for stage in area.shedding if (stage.frequency_hz < nominal) is under]
            if (total := sum(stage.share for stage in stages)) > 1 + 1e-9:
                what = "load" if under else "generation"
                yield ("grid", "area", i, "shedding"), f"stages shed {total:g} of the {what}, at most 1 is there"
        for j, stage in enumerate(area.shedding):
            path: Path = ("grid", "area", i, "shedding", j)
            if stage.frequency_hz == nominal:
                yield (*path, "frequency_hz"), f"is nominal, {nominal:g} Hz: below it sheds load, above it generation"
            for key in ("delay_s", "restore_delay_s"):
                yield from whole_ticks((*path, key), getattr(stage, key), scenario.run.dt_s)
            back_hz = None if stage.restore_hz is None else stage.restore_hz - stage.frequency_hz
            if back_hz is not None and back_hz * (nominal - stage.frequency_hz) <= 0:
                side = "above" if stage.frequency_hz < nominal else "below"
                yield (*path, "restore_hz"), f"is {stage.restore_hz:g}, must be {side} {stage.frequency_hz:g} Hz"


def _shafts(scenario: Scenario) -> Problems:
    yield from twice(("grid", "shaft"), [shaft.name for shaft in scenario.grid.shaft])
    for i, shaft in enumerate(scenario.grid.shaft):
        path: Path = ("grid", "shaft", i)
        yield from _area_of(scenario, path, shaft.area)
        masses = len(shaft.inertia_s)
        for key, values, expected in (
            ("stiffness_pu", shaft.stiffness_pu, masses - 1),
            ("damping_pu", shaft.damping_pu or shaft.inertia_s, masses),
        ):
            if len(values) != expected:
                yield (*path, key), f"has {counted(len(values), 'value')}, must have {expected}: inertia_s has {masses}"
        wrong = [key for key in ("inertia_s", "stiffness_pu") if min(getattr(shaft, key)) <= 0]
        if shaft.damping_pu and min(shaft.damping_pu) < 0:
            wrong.append("damping_pu")
        for key in wrong:
            yield (*path, key), f"has the value {min(getattr(shaft, key)):g}, must be positive"
        if shaft.generator_mass >= masses:
            yield (*path, "generator_mass"), f"is {shaft.generator_mass}, counts from 0 to {masses - 1}"
        if not wrong and len(shaft.stiffness_pu) == masses - 1:
            fastest = frequencies_hz(shaft, scenario.grid.frequency_hz)[-1]
            if SAMPLES * fastest * scenario.run.dt_s > 1:
                yield (
                    (*path, "stiffness_pu"),
                    (f"swings at up to {fastest:.4g} Hz: run.dt_s must be at most {1 / SAMPLES / fastest:.3g} s"),
                )


def _area_of(scenario: Scenario, path: Path, name: str | None) -> Problems:
    if name is None:
        if len(scenario.grid.area) != 1:
            every = ", ".join(area.name for area in scenario.grid.area) or "none"
            yield (*path, "area"), f"missing key: give one of the grid's areas ({every})"
    elif message := unknown_area(scenario, name):
        yield (*path, "area"), message


def _disturbances(scenario: Scenario) -> Problems:
    sites = [site.name for site in scenario.site]
    for i, it in enumerate(scenario.disturbance):
        path: Path = ("disturbance", i)
        if it.at_s >= scenario.run.duration_s:
            yield (*path, "at_s"), f"is {it.at_s:g} s, the run ends at {scenario.run.duration_s:g} s"
        match it:
            case LoadStep():
                if (it.site is None) == (it.area is None):
                    yield path, "needs one of site and area"
                if it.area is not None and (message := unknown_area(scenario, it.area)):
                    yield (*path, "area"), message
            case GenerationTrip():
                yield from _area_of(scenario, path, it.area)
            case TieOutage():
                yield from _tie_of(scenario, path, it)
            case VoltageSag() | ScrChange() | BessOutage():
                if it.site is None and len(sites) != 1:
                    yield (*path, "site"), f"missing key: give one of the sites ({', '.join(sites) or 'none'})"
                place = sites.index(it.site) if it.site in sites else 0
                part, lacks = ("bess", "no battery") if isinstance(it, BessOutage) else ("pcc", "a stiff voltage")
                if sites and getattr(scenario.site[place], part) is None and it.site in (None, *sites):
                    yield path, f"site {sites[place]} has {lacks}: give it [site.{part}]"
        if (
            isinstance(it, LoadStep | VoltageSag | ScrChange | BessOutage)
            and it.site is not None
            and it.site not in sites
        ):
            yield (*path, "site"), f"no site {it.site!r}{nearest(it.site, sites)}"


def _tie_of(scenario: Scenario, path: Path, it: TieOutage) -> Problems:
    """The tie must be there, and something of it left."""
    pairs = [{*tie.between} for tie in scenario.grid.tie]
    every = ", ".join("-".join(tie.between) for tie in scenario.grid.tie) or "none"
    if it.between is None and len(pairs) != 1:
        yield (*path, "between"), f"missing key: give the areas of one of the grid's ties ({every})"
    elif it.between is not None and {*it.between} not in pairs:
        yield (*path, "between"), f"no tie between {' and '.join(it.between)}; allowed: {every}"
    else:
        others = (o for o in scenario.disturbance if isinstance(o, TieOutage) and _same_tie(o, it))
        out = sum(o.share for o in others if o.at_s <= it.at_s < o.at_s + (o.duration_s or math.inf))
        if out >= 1 - 1e-9:
            yield (*path, "share"), f"with outages before it {out:g} of the tie are out: less than 1 may be"


def _same_tie(one: TieOutage, other: TieOutage) -> bool:
    return one.between is None or other.between is None or {*one.between} == {*other.between}


def _converters_left(scenario: Scenario) -> Problems:
    """Outages of a site's batteries that overlap."""
    for site in scenario.site:
        its = [(i, it) for i, it in enumerate(scenario.disturbance) if isinstance(it, BessOutage)]
        its = [(i, it) for i, it in its if it.site in (site.name, None)]
        for i, it in its:
            before = (o for _, o in its if o.at_s <= it.at_s < o.at_s + (o.duration_s or math.inf))
            if (lost := sum(o.share for o in before)) > 1 + 1e-9:
                yield (
                    ("disturbance", i, "share"),
                    f"with outages before it {lost:g} are lost, at most 1 is there",
                )


def _inertia_left(scenario: Scenario) -> Problems:
    for area in scenario.grid.area:
        stored = area.inertia_s * rated_mva(scenario.grid, area)
        for i, it in enumerate(scenario.disturbance):
            if isinstance(it, GenerationTrip) and it.area in (area.name, None):
                stored -= it.inertia_mws
                if stored <= 0:
                    yield (
                        ("disturbance", i, "inertia_mws"),
                        f"leaves area {area.name} without inertia ({stored:g} MW s); say less",
                    )
                    break


def _coarse_ticks(scenario: Scenario) -> Problems:
    dt_s = scenario.run.dt_s
    for path, seconds in _time_constants(scenario.grid):
        if 0 < seconds < 2 * dt_s * (1 - 1e-9):
            yield (
                path,
                (f"is {seconds:g} s, too short for ticks of {dt_s:g} s: run.dt_s must be at most {seconds / 2:.4g} s"),
            )
    for i, area in enumerate(scenario.grid.area):
        if 0 < (seconds := _settling_s(scenario, area)) < 2 * dt_s * (1 - 1e-9):
            path = ("grid", "area", i, "inertia_s")
            why = f"with what answers to speed at once, speed settles in {seconds:g} s"
            yield path, f"{why}, too short for ticks of {dt_s:g} s: run.dt_s must be at most {seconds / 2:.4g} s"
        if (rate := _reserve_rate(scenario, area)) * dt_s > 0.5:
            path = ("grid", "area", i, "inverters", "response_s")
            yield path, f"swings with the area's speed at {rate:.3g} rad/s: run.dt_s must be at most {0.5 / rate:.3g} s"
    for i, tie in enumerate(scenario.grid.tie):
        if (rate := _tie_mode(scenario, tie)) * dt_s > 0.5:
            path = ("grid", "tie", i, "synchronizing_mw_per_rad")
            yield path, f"swings at {rate / 2 / math.pi:.3g} Hz: run.dt_s must be at most {0.5 / rate:.3g} s"


def _time_constants(grid: Grid) -> Iterable[tuple[Path, float]]:
    """Time constants that Runge-Kutta integrates: at least two ticks each."""
    for i, area in enumerate(grid.area):
        for j, governor in enumerate(area.governor):
            for name, seconds in governor_schema.time_constants(governor):
                yield ("grid", "area", i, "governor", j, name), seconds
        if area.inverters is not None:
            for key in ("measurement_s", "response_s"):
                yield ("grid", "area", i, "inverters", key), getattr(area.inverters, key)


def _tie_mode(scenario: Scenario, tie: Tie) -> float:
    """Angular frequency of the two ends against each other, rad/s: w^2 = w0 K (1/M1 + 1/M2), M = 2 H S of machines and
    grid-forming batteries."""
    momenta = [momentum_mws(scenario, area) for area in scenario.grid.area if area.name in tie.between]
    if min(momenta) <= 0:  # refused by `_areas` or `_inertia_left`
        return 0.0
    omega0 = 2 * math.pi * scenario.grid.frequency_hz
    return math.sqrt(omega0 * tie.synchronizing_mw_per_rad * sum(1 / m for m in momenta))


def _settling_s(scenario: Scenario, area: Area) -> float:
    """Time constant of an area's speed: 2 H S over the power that answers to speed at once; infinite without any."""
    gain = area.damping_pu + sum(governor_schema.direct_gain(its) for its in area.governor)
    mw = gain * rated_mva(scenario.grid, area) + area.load_frequency_exponent * area.load_mw
    mw += sum(_formed_mw(its) / its.forming_droop_pu for its in _forming(scenario, area))
    return momentum_mws(scenario, area) / mw if mw > 0 else math.inf


def _reserve_rate(scenario: Scenario, area: Area) -> float:
    """Angular frequency of an area's inverters against its speed, rad/s: w^2 = (2 H_i/T_m + 1/R) P/(M T_r)."""
    its, momentum = area.inverters, momentum_mws(scenario, area)
    if its is None or momentum <= 0:
        return 0.0
    gain = 2 * its.inertia_s / its.measurement_s + (0.0 if its.droop_pu is None else 1 / its.droop_pu)
    return math.sqrt(gain * its.power_mw / (momentum * its.response_s))


def momentum_mws(scenario: Scenario, area: Area) -> float:
    """2 H S of an area's machines and grid-forming batteries, after all trips."""
    batteries = _forming(scenario, area)
    virtual = sum(_formed_mw(its) * its.forming_inertia_s for its in batteries)
    trips = [it for it in scenario.disturbance if isinstance(it, GenerationTrip) and it.area in (area.name, None)]
    lost = sum(it.inertia_mws for it in trips)
    return 2 * (area.inertia_s * rated_mva(scenario.grid, area) - lost + virtual)


def _formed_mw(bess: Bess) -> float:
    return bess.availability * bess.units * bess.power_mw
