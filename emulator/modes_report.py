"""`wattswing modes`: a scenario's modes, its response to a load's swing, and which iteration periods to avoid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from emulator import plant, schema
from emulator.linearise import Labels, Linear, Where, linearised, ring_lengths, state_names
from emulator.modes import LIGHT, Mode, Modes, modes_of, response
from emulator.plant import Layout
from emulator.resonance import Avoid, Resonance, resonance_of
from emulator.rollout import initial_state, job_power
from emulator.scenario import inputs_of, layout_of, params_of, records_of
from emulator.topology import section_names, tie_names
from emulator.units import plain
from emulator.waveform import of_site

LOWEST_HZ, HIGHEST_HZ, PER_DECADE = 0.01, 100.0, 60
NEAR = np.array([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])  # frequencies about a mode, in half-widths
STILL = 1e-6  # by which no state may move in a tick of equilibrium, in its unit: far above rounding
MOST_STATES = 1000  # a minute; it grows with their third power
UNDAMPED = 1e-9  # damping ratio that rounding alone leaves
KINK = 1e-6  # difference of slopes on both sides: curves give 1e-9
NAMED = 3  # states in a line of the table
LINES = 5  # of ranges to avoid, for each mode


class ModesError(Exception):
    """The scenario has no modes to find, for a reason in words."""


@dataclass(frozen=True)
class Output:
    """What answers, per MW of load."""

    kind: str
    where: str
    unit: str

    def __str__(self) -> str:
        return f"{self.kind} {self.where}"


@dataclass(frozen=True)
class Analysis:
    """All that the command finds."""

    name: str
    load: str  # whose
    outputs: tuple[Output, ...]
    modes: Modes
    frequency_hz: np.ndarray  # (frequencies,)
    response: np.ndarray  # (frequencies, outputs) complex, per MW
    resonance: Resonance
    notes: tuple[str, ...]


def analyse(scenario: schema.Scenario, load: str | None = None) -> Analysis:
    """Modes, response and resonance map of a scenario as it starts. In float64 only: rounding is what modes end at.

    Args:
      load: site whose IT power swings, or area whose other load does; left out: the first site, else the first area.

    Raises:
      ModesError: nothing to linearise, no such site or area, or no equilibrium.
    """
    where, site = _where(scenario, load)
    layout, linear, modes, names = _solved(scenario, where)
    frequency_hz, outputs = _frequencies(modes, layout.dt_s), tuple(_outputs(scenario))
    kinds = [output.kind for output in outputs]
    return Analysis(
        name=scenario.run.name,
        load=f"IT power of site {site.name}" if site else f"load of area {scenario.grid.area[where.place].name}",
        outputs=outputs,
        modes=modes,
        frequency_hz=frequency_hz,
        response=response(linear, layout.dt_s, frequency_hz),
        resonance=resonance_of(linear, layout.dt_s, modes, of_site(scenario, site), kinds),
        notes=tuple([*_notes(scenario, modes), *_kinks(linear, names)]),
    )


def modes_alone(scenario: schema.Scenario) -> Modes:
    """Modes as `analyse` finds them, without the responses, at a small part of its time. Raises likewise."""
    return _solved(scenario, _where(scenario, None)[0])[2]


def _solved(scenario: schema.Scenario, where: Where) -> tuple[Layout, Linear, Modes, list[str]]:
    """Layout, matrices, modes, and the names of the states."""
    layout, linear, names, rings = _linear(scenario, where)
    return layout, linear, modes_of(linear, layout.dt_s, names, rings), names


def _where(scenario: schema.Scenario, load: str | None) -> tuple[Where, schema.Site | None]:
    if not scenario.grid.area and not any(site.bess for site in scenario.site):
        raise ModesError("infinite grid and no battery, nothing to linearise: give the grid an area or a site a bess")
    sites, areas = [site.name for site in scenario.site], [area.name for area in scenario.grid.area]
    load = (sites + areas)[0] if load is None else load
    if load in sites:
        return Where("site", sites.index(load)), scenario.site[sites.index(load)]
    if load in areas:
        return Where("area", areas.index(load)), None
    raise ModesError(f"--site {load}: no such site or area; there are {', '.join(sites + areas)}")


def _linear(scenario: schema.Scenario, where: Where) -> tuple[Layout, Linear, list[str], list[int]]:
    """Layout, matrices, and names and ring lengths of the states."""
    records = records_of(scenario)
    layout, params = layout_of(scenario), params_of(scenario, records)
    inputs = inputs_of(scenario, records, 0, layout.chunk_ticks)
    jobs = jax.jit(job_power, static_argnums=0)(layout, params, initial_state(layout, params), inputs).jobs
    first_mw = np.asarray(jobs.mw)[0]
    start = jax.eval_shape(partial(plant.equilibrium, layout), params, first_mw)
    names = state_names(start, _labels(scenario, layout))
    if len(names) > MOST_STATES:
        longest = f"{max(ring_lengths(start))} in the longest delay or window"
        raise ModesError(f"{len(names)} states, {longest}; at most {MOST_STATES} can be solved for: raise run.dt_s")
    linear = jax.jit(linearised, static_argnums=(0, 3))(layout, params, first_mw, where)
    moved = np.abs(np.asarray(linear.drift))
    if not moved.max(initial=0.0) <= STILL:
        raise ModesError(f"no equilibrium at the start: {names[int(moved.argmax())]} does not stand still")
    return layout, linear, names, ring_lengths(start)


def _labels(scenario: schema.Scenario, layout: Layout) -> Labels:
    areas, grid = [area.name for area in scenario.grid.area], layout.grid
    shafts = [section_names(shaft) for shaft in scenario.grid.shaft]
    return {
        "sites": [site.name for site in scenario.site],
        "areas": areas,
        "ties": tie_names(scenario.grid),
        "governors": [[areas[i] for i in its] for its in grid.governor_area],
        "inverters": [areas[i] for i in grid.inverter_area],
        "agcs": [areas[i] for i in grid.agc_area],
        "shafts: 2 sections": [[*names, *(f"{name} speed" for name in names)] for names in shafts],
    }


def _outputs(scenario: schema.Scenario) -> Iterator[Output]:
    """In the order of `linearise.OUTPUTS`."""
    grid = scenario.grid
    yield from (Output("frequency", area.name, "Hz/MW") for area in grid.area)
    yield from (Output("tie flow", name, "MW/MW") for name in tie_names(grid))
    yield from (Output("shaft torque", name, "pu/MW") for shaft in grid.shaft for name in section_names(shaft))
    yield from (Output("battery power", site.name, "MW/MW") for site in scenario.site)
    yield from (Output("draw from the grid", site.name, "MW/MW") for site in scenario.site)


def _frequencies(modes: Modes, dt_s: float) -> np.ndarray:
    """(frequencies,) even in logarithms, and more about each mode."""
    high_hz = min(HIGHEST_HZ, 0.5 / dt_s)
    count = round(PER_DECADE * math.log10(high_hz / LOWEST_HZ))
    grid = [np.geomspace(LOWEST_HZ, high_hz, count)]
    grid += [mode.frequency_hz * (1.0 + abs(mode.damping_ratio) * NEAR) for mode in modes.modes if mode.frequency_hz]
    hz = np.unique(np.concatenate(grid))
    return hz[(hz >= LOWEST_HZ) & (hz <= high_hz)]


def _notes(scenario: schema.Scenario, modes: Modes) -> Iterator[str]:
    """What to know before using the numbers."""
    for mode in modes.modes:
        if mode.frequency_hz and abs(mode.damping_ratio) < UNDAMPED:
            yield f"the mode at {mode.frequency_hz:.4g} Hz is not damped: on it, responses have no bound"
        elif mode.time_constant_s < 0.0:
            what = f"at {mode.frequency_hz:.4g} Hz" if mode.frequency_hz else "that does not oscillate"
            yield f"UNSTABLE: a mode {what} grows e-fold in {-mode.time_constant_s:.3g} s; responses are formal"
    for each in scenario.site:
        yield from _kept(each)
    for area in scenario.grid.area:
        if any(governor.deadband_pu > 0.0 for governor in area.governor if governor.model != "none"):
            yield f"area {area.name}: governors rest within their dead-band, as for swings that small"
        if area.agc is not None and area.agc.cycle_s > scenario.run.dt_s:
            yield f"area {area.name}: the AGC holds its order between two cycles, its slow part is not in here"


def _kept(site: schema.Site) -> Iterator[str]:
    """What a controller that is not linear, or changes with time, comes to here."""
    table = site.controller
    for kind in [stage.kind for stage in table.stage] if table.kind == "composite" else [table.kind]:
        if kind == "ramp_limit":
            yield f"site {site.name}: swings too small for the ramp limit, which lets them pass"
        if kind == "expanding_mean":
            yield f"site {site.name}: the expanding mean is taken at its first tick, where it is the load itself"


def _kinks(linear: Linear, names: list[str]) -> Iterator[str]:
    kinked = [name for name, kink in zip(names, np.asarray(linear.kink), strict=True) if kink > KINK]
    if kinked:
        yield f"at a limit, or other in rising than in falling, the mean is taken: {', '.join(kinked)}"


def as_json(found: Analysis) -> dict[str, Any]:
    """For programs. Numbers that do not exist are null."""
    kept = [str(output) for output in found.outputs]
    return {
        "name": found.name,
        "load": found.load,
        "notes": list(found.notes),
        "modes": [_mode_json(mode) for mode in found.modes.modes],
        "integrators": list(found.modes.integrators),
        "held": list(found.modes.held),
        "memory": found.modes.memory,
        "response": {
            "frequency_hz": found.frequency_hz.tolist(),
            "outputs": [
                {
                    "output": name,
                    "unit": output.unit,
                    "magnitude": np.abs(column).tolist(),
                    "phase_deg": np.degrees(np.angle(column)).tolist(),
                }
                for name, output, column in zip(kept, found.outputs, found.response.T, strict=True)
            ],
        },
        "resonance": _resonance_json(found),
    }


def _mode_json(mode: Mode) -> dict[str, Any]:
    return {
        "frequency_hz": mode.frequency_hz,
        "damping_ratio": mode.damping_ratio,
        "time_constant_s": plain(mode.time_constant_s),
        "participation": [{"state": state, "factor": factor} for state, factor in mode.participation],
    }


def _resonance_json(found: Analysis) -> dict[str, Any]:
    its = found.resonance
    at = its.verdict()
    return {
        "waveform": its.waveform.label,
        "period_s": its.waveform.period_s,
        "swing_mw": its.waveform.swing_mw,
        "harmonics_mw": its.waveform.amplitude_mw.tolist(),
        "verdict": None if at is None else "avoid" if at else "clear",
        "own_amplification": its.own_amplification(),
        "avoid": [_avoid_json(each, found.outputs) for each in its.avoid],
        "periods_s": its.period_s.tolist(),
        "amplification": {kind: over.tolist() for kind, over in its.amplification.items()},
        "rms": [
            {"output": str(output), "unit": output.unit.removesuffix("/MW"), "values": rms.tolist()}
            for output, rms in zip(found.outputs, its.rms.T, strict=True)
        ],
    }


def _avoid_json(its: Avoid, outputs: tuple[Output, ...]) -> dict[str, Any]:
    return {
        "low_s": its.low_s,
        "high_s": its.high_s,
        "mode_hz": its.mode_hz,
        "damping_ratio": its.damping_ratio,
        "harmonic": its.harmonic,
        "amplification": its.amplification,
        "output": str(outputs[its.output]),
    }


def render(found: Analysis) -> str:
    """For people: tables of at most 120 columns."""
    lines = [f"{found.name}: small swings about the start", ""]
    lines += ["mode Hz    damping   time constant  who takes part"]
    lines += [_mode_line(mode) for mode in found.modes.modes]
    lines += [f"integrators: {', '.join(found.modes.integrators)}"] if found.modes.integrators else []
    lines += ["", f"response to the {found.load}    largest       at Hz   at 0.1 Hz    at 1 Hz"]
    lines += list(_response_lines(found))
    lines += ["", *_resonance_lines(found)]
    return "\n".join([*lines, *(f"note: {note}" for note in found.notes)])


def _mode_line(mode: Mode) -> str:
    who = ", ".join(f"{state} {share:.0%}" for state, share in mode.participation[:NAMED])
    if mode.frequency_hz == 0.0:
        return f"{'-':9s}  {'-':8s}  {mode.time_constant_s:11.4g} s  {who}"
    light = " *" if mode.damping_ratio < LIGHT else "  "
    return f"{mode.frequency_hz:<9.4f}  {mode.damping_ratio:<6.4f}{light}  {mode.time_constant_s:11.4g} s  {who}"


def _response_lines(found: Analysis) -> Iterator[str]:
    width = len(f"response to the {found.load}")
    for output, column in zip(found.outputs, np.abs(found.response).T, strict=True):
        if column.max() == 0.0:
            continue
        milli = "m" if output.unit == "Hz/MW" else ""
        scale = 1e3 if milli else 1.0
        top, at = column.max() * scale, found.frequency_hz[column.argmax()]
        tenth, one = (scale * np.interp(hz, found.frequency_hz, column) for hz in (0.1, 1.0))
        what = f"{output}, {milli}{output.unit}"
        yield f"{what:{width}s} {top:10.4g}  {at:10.4g}  {tenth:10.4g} {one:10.4g}"


def _resonance_lines(found: Analysis) -> Iterator[str]:
    its = found.resonance
    own, at = its.waveform.period_s, its.verdict()
    size = "" if own is None else f": {own:.4g} s, {its.waveform.swing_mw:.4g} MW from peak to peak"
    yield f"resonance with the {its.waveform.label}{size}"
    if not its.avoid:
        yield "no period from 0.2 to 60 s meets a mode with a damping ratio below 0.1"
        return
    yield "mode Hz    periods to avoid, s      harmonic  amplification"
    for hz in sorted({each.mode_hz for each in its.avoid}):
        ranges = sorted((each for each in its.avoid if each.mode_hz == hz), key=lambda a: -a.amplification)
        for each in ranges[:LINES]:
            span = f"{each.low_s:.4g} to {each.high_s:.4g}"
            worst = f"{each.amplification:.3g} at {found.outputs[each.output]}"
            yield f"{hz:<9.4f}  {span:23s}  {each.harmonic:<8d}  {worst}"
        if len(ranges) > LINES:
            yield f"{hz:<9.4f}  and {len(ranges) - LINES} more of less amplification, see --json"
    if at is not None and own is not None:
        worst = max(at, key=lambda a: a.amplification, default=None)
        over = "" if worst is None else f", amplification {worst.amplification:.3g} at {found.outputs[worst.output]}"
        meets = f"AVOID: harmonic {worst.harmonic} meets {worst.mode_hz:.4f} Hz{over}" if worst else "clear of them"
        yield f"the job's {own:.4g} s: {meets}{'' if worst else _own(its)}"


def _own(its: Resonance) -> str:
    """How much is amplified at the job's own period, off the modes as that may be."""
    return "".join(
        f"; amplification there {over:.3g} at {kind}" for kind, over in [*its.own_amplification().items()][:1]
    )
