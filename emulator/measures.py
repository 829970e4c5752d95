"""All metrics of a recording, place by place: what `wattswing assess --metrics` shows. NumPy, no JAX.

`power_metrics`, `spectrum`, `flicker` and `shaft_fatigue` define and compute them; docs/limits.md lists them.
A name ends in its unit. What a record cannot show is NaN, with a remark; a figure that rows may understate has one too.
Signs: load positive = draws from the grid; battery positive = discharges; tie positive = from first to second area.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from emulator import flicker, shaft_fatigue, spectrum
from emulator import power_metrics as metrics
from emulator.assessable import hidden_peak, no_band, no_flicker, no_pair, too_coarse, too_short
from emulator.complaint import must_be
from emulator.metrics import unit_of
from emulator.power_metrics import NONE, Moment
from emulator.recording import Quantity, Rating, Recording, evenly, is_at, of_trace, printable
from emulator.shaft_fatigue import Strength
from emulator.trace import Trace
from emulator.units import S_PER_YEAR, plain

LINES = 5  # of the spectrum that are named
LAMPS: tuple[flicker.Lamp, ...] = (120, 230)
STILL = 1e-6  # of a tie's swing: loads that swing less do not move it
UNKNOWN = Rating(np.nan, np.nan, (np.nan, np.nan))
OF_RATING = ("equivalent_cycles", "losses_mwh", "at_power_limit_s", "at_soc_limit_s")

Row = tuple[str, Moment | float, str]  # name, value, remark


@dataclass(frozen=True)
class Figure:
    """One metric at one place. NaN where there is nothing to measure, or no moment to name."""

    quantity: str
    where: str
    name: str
    value: float
    unit: str
    at_s: float  # when it was
    remark: str

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {key: plain(value) for key, value in vars(self).items()}


@dataclass(frozen=True)
class _Wanted:
    """What the user may choose."""

    bands: Sequence[tuple[float, float]]
    strength: Strength


def measure(
    trace: Trace | Recording,
    bands: Sequence[tuple[float, float]] = spectrum.BANDS,
    strength: Strength = shaft_fatigue.ASSUMED,
) -> tuple[Figure, ...]:
    """Metrics of a trace, or of a recording from elsewhere; none of a record of less than two rows.

    Args:
      bands: of the spectrum, (low, high) in Hz.
      strength: S-N curve of every shaft section.

    Raises:
      TypeError: no trace, for example a file's name.
    """
    must_be(trace, (Trace, Recording), "em.read(FILE) or em.run(scenario)")
    recording = finite(of_trace(trace, trace.header.name) if isinstance(trace, Trace) else trace)
    if len(recording.time_s) < 2:
        return ()
    return tuple(
        Figure(title, at, name, found.value, unit_of(name), found.at_s, remark)
        for title, quantity, section in SECTIONS
        for at in recording.values.get(quantity, {})
        for name, found, remark in _named(section(recording, at, _Wanted(bands, strength)))
    )


def finite(recording: Recording) -> Recording:
    """Up to the first row with a value that is not finite, without channels that have none."""
    values = {
        quantity: {at: v for at, v in places.items() if np.isfinite(v).any()}
        for quantity, places in recording.values.items()
    }
    good = np.ones(len(recording.time_s), bool)
    for column in (v for places in values.values() for v in places.values()):
        good &= np.isfinite(column)
    rows = len(good) if good.all() else int(np.argmin(good))
    cut = {quantity: {at: v[:rows] for at, v in places.items()} for quantity, places in values.items()}
    return replace(recording, time_s=recording.time_s[:rows], values=cut)


def _named(rows: Iterator[Row]) -> Iterator[tuple[str, Moment, str]]:
    for name, found, remark in rows:
        yield name, found if isinstance(found, Moment) else Moment(float(found), np.nan), remark


def _values(recording: Recording, quantity: Quantity, at: str) -> np.ndarray:
    return np.ascontiguousarray(recording.values[quantity][at], np.float64)


def _load(recording: Recording, at: str, wanted: _Wanted) -> Iterator[Row]:
    """What a site consumes before its battery; without one, that is what it draws."""
    if any(is_at(battery, at) for battery in recording.values.get("soc", {})):
        yield from _flow(recording, _values(recording, "load", at))


def _power(recording: Recording, at: str, wanted: _Wanted) -> Iterator[Row]:
    power_mw = _values(recording, "power", at)
    yield from _flow(recording, power_mw)
    lines = spectrum.of_series(evenly(recording, power_mw), recording.row_s)
    for low_hz, high_hz in wanted.bands:
        doubt, band = no_band(recording, low_hz, high_hz), spectrum.share(lines, low_hz, high_hz)
        for reading in ("variance", "magnitude"):
            yield f"{reading}_{low_hz:g}_to_{high_hz:g}hz", np.nan if doubt else getattr(band, reading), doubt
    for i, (hz, amplitude_mw) in enumerate(spectrum.dominant(lines, LINES), 1):
        yield f"line_{i}_hz", hz, ""
        yield f"line_{i}_mw", amplitude_mw, ""


def _flow(recording: Recording, power_mw: np.ndarray) -> Iterator[Row]:
    found, window_s = metrics.of_power(recording.time_s, power_mw), metrics.CHANGE_WINDOW_S
    yield "energy_mwh", found.energy_mwh, ""
    yield "mean_mw", found.mean_mw, ""
    yield "peak_mw", found.peak_mw, ""
    yield "swing_mw", found.swing_mw, ""
    for over_s, rate in found.ramp_mw_per_s.items():
        yield f"ramp_{over_s:g}s_mw_per_s", rate, _about_rate(recording, rate, over_s)
    doubt = too_short(recording, window_s) or too_coarse(recording, window_s)
    yield f"change_{window_s:g}s_mw", found.change_mw, doubt
    yield f"changes_{window_s:g}s", found.changes, f"separate windows of {window_s:g} s with nine tenths of it or more"


def _about_rate(recording: Recording, rate: Moment, over_s: float) -> str:
    return no_pair(recording, over_s) if np.isnan(rate.value) else too_coarse(recording, over_s)


def _voltage(recording: Recording, at: str, wanted: _Wanted) -> Iterator[Row]:
    time_s, voltage_pu = recording.time_s, _values(recording, "voltage", at)
    low = metrics.largest(time_s, -voltage_pu)
    yield "min_pu", Moment(-low.value, low.at_s), ""
    yield "max_pu", metrics.largest(time_s, voltage_pu), ""
    change = metrics.rapid_voltage_change(time_s, voltage_pu)
    doubt = too_short(recording, metrics.RAPID_S) or too_coarse(recording, metrics.RAPID_S)
    yield "rapid_change_pct", Moment(100.0 * change.value, change.at_s), doubt
    for lamp_v in LAMPS:
        yield from _flicker(recording, evenly(recording, voltage_pu), lamp_v)


def _flicker(recording: Recording, voltage_pu: np.ndarray, lamp_v: flicker.Lamp) -> Iterator[Row]:
    names = [f"{name}_{lamp_v}v" for name in ("p_inst_max", "pst_max", "plt_max")]
    if doubt := no_flicker(recording, 0.0):
        yield from ((name, np.nan, doubt) for name in names)
        return
    begin_s, row_s, grid_hz = recording.time_s[0], recording.row_s, recording.nominal_hz
    time_s, felt = flicker.instantaneous(voltage_pu, row_s, lamp_v, grid_hz)
    remark = flicker.validity(voltage_pu, row_s, lamp_v, grid_hz)
    pst, peaks_s = flicker.severities(time_s, felt)
    plt = flicker.long_term(pst)
    ends_s = flicker.SHORT_S * (flicker.LONG_COUNT + np.arange(len(plt)))
    needed = (0.0, flicker.SHORT_S, flicker.LONG_COUNT * flicker.SHORT_S)
    series = ((time_s, felt), (peaks_s, pst), (ends_s, plt))
    for name, needed_s, (at_s, values) in zip(names, needed, series, strict=True):
        doubt = no_flicker(recording, needed_s)
        yield name, NONE if doubt else metrics.largest(begin_s + at_s, values), doubt or remark


def _frequency(recording: Recording, at: str, wanted: _Wanted) -> Iterator[Row]:
    found = metrics.of_frequency(recording.time_s, _values(recording, "frequency", at), recording.nominal_hz)
    yield "nadir_hz", found.nadir_hz, ""
    yield "zenith_hz", found.zenith_hz, ""
    for over_s, rate in found.rocof_hz_per_s.items():
        yield f"rocof_{over_s:g}s_hz_per_s", rate, _about_rate(recording, rate, over_s)
    for band_hz, time_s in found.outside_s.items():
        yield f"outside_{band_hz:g}hz_s", time_s, ""


def _tie(recording: Recording, at: str, wanted: _Wanted) -> Iterator[Row]:
    """Amplification: what swings in the tie per MW that swings in the sites, all of them added up as if in step."""
    flow_mw, powers = _values(recording, "tie flow", at), recording.values.get("power", {})
    swing = metrics.swing(recording.time_s, flow_mw)
    yield "swing_mw", swing, ""
    yield "largest_mw", metrics.largest(recording.time_s, np.abs(flow_mw)), ""
    largest = spectrum.dominant(spectrum.of_series(evenly(recording, flow_mw), recording.row_s), 1)
    for hz, amplitude_mw in largest:
        load_mw = sum(
            spectrum.amplitude_at(evenly(recording, _values(recording, "power", site)), recording.row_s, hz)
            for site in powers
        )
        still = load_mw <= STILL * amplitude_mw
        yield "line_1_hz", hz, ""
        yield "line_1_mw", amplitude_mw, ""
        yield "amplification", np.nan if still else amplitude_mw / load_mw, "no load swings there" if still else ""


def _shaft(recording: Recording, at: str, wanted: _Wanted) -> Iterator[Row]:
    torque_pu, hidden = _values(recording, "shaft torque", at), hidden_peak(recording, at)
    yield "swing_pu", metrics.swing(recording.time_s, torque_pu), hidden
    yield "largest_pu", metrics.largest(recording.time_s, np.abs(torque_pu)), hidden
    found = shaft_fatigue.of_torque(torque_pu, recording.span_s, wanted.strength)
    curve = wanted.strength
    amplitude = f"amplitude of {curve.endurance_pu:g} pu"
    yield "cycles_beyond_endurance", found.cycles_beyond_endurance, "; ".join(filter(None, [amplitude, hidden]))
    knee = f"{curve.cycles:g} cycles of {curve.endurance_pu:g} pu, exponent {curve.exponent:g}"
    yield "damage", found.damage, "; ".join(filter(None, [f"of {knee} ({curve.source})", hidden]))
    yield "damage_per_year", found.damage_per_year, "if all of the year were like the record"


def _battery(recording: Recording, at: str, wanted: _Wanted) -> Iterator[Row]:
    power_mw, soc = _values(recording, "battery power", at), _values(recording, "battery soc", at)
    rating = recording.ratings.get(at, UNKNOWN)
    found = metrics.battery(
        recording.time_s,
        power_mw,
        soc,
        rating.power_mw,
        rating.energy_mwh,
        rating.soc_range,
        rating.auxiliary_mw,
        rating.open_circuit_v,
    )
    for name, value in vars(found).items():
        lacking = rating is UNKNOWN and name in OF_RATING
        yield name, np.nan if lacking else value, "no rating in the trace" if lacking else ""
    wear = f"battery.{at.replace('/', '.')}"
    yield from _summed_up(recording, wear, ("full_cycles", "capacity_fade"))
    if rating is not UNKNOWN:
        yield _yearly("equivalent_cycles", found.equivalent_cycles, recording)
    if (fade := recording.run_metrics.get(f"{wear}.capacity_fade")) is not None:
        yield _yearly("capacity_fade", fade, recording)
    if at in recording.values.get("battery temperature", {}):
        celsius = _values(recording, "battery temperature", at)
        yield "temperature_max_c", metrics.largest(recording.time_s, celsius), ""


def _yearly(name: str, value: float, recording: Recording) -> Row:
    return f"{name}_per_year", value * S_PER_YEAR / recording.span_s, "if all of the year were like the record"


def _ride_through(recording: Recording, at: str, wanted: _Wanted) -> Iterator[Row]:
    voltages, connected = recording.values.get("voltage", {}), _values(recording, "connected share", at)
    voltage_pu = voltages.get(at, np.ones(len(connected)))  # a site without a voltage of its own has a stiff one
    for name, value in vars(metrics.ride_through(recording.time_s, connected, voltage_pu)).items():
        yield name, value, ""


def _mitigation(recording: Recording, at: str, wanted: _Wanted) -> Iterator[Row]:
    """Cost of smoothing, dummy work and power caps; that of batteries stands with them."""
    time_s, asked_mw = recording.time_s, _values(recording, "wanted job power", at)
    added_mw = _values(recording, "job power", at) - asked_mw
    wanted_mwh, net_mwh = metrics.energy_mwh(time_s, asked_mw), metrics.energy_mwh(time_s, added_mw)
    yield "wanted_energy_mwh", wanted_mwh, ""
    yield "added_energy_mwh", metrics.energy_mwh(time_s, np.maximum(added_mw, 0.0)), ""
    yield "withheld_energy_mwh", metrics.energy_mwh(time_s, np.maximum(-added_mw, 0.0)), ""
    overhead_pct = 100.0 * net_mwh / wanted_mwh if wanted_mwh > 0.0 else np.nan
    yield "energy_overhead_pct", overhead_pct, "" if wanted_mwh > 0.0 else "the job wanted no energy"
    yield from _summed_up(recording, f"job.{at.replace('/', '.')}", ("lost_iteration_s",))


def _summed_up(recording: Recording, at: str, names: Sequence[str]) -> Iterator[Row]:
    """What the run itself has added up, as it is in no channel; NaN as long as the run has not ended."""
    unknown = "no ageing is given" if recording.complete else "known at the end of a run"
    for name in names:
        value = recording.run_metrics.get(f"{at}.{name}")
        if value is not None:
            yield name, value, unknown if np.isnan(value) else ""


SECTIONS: tuple[tuple[str, Quantity, Callable[[Recording, str, _Wanted], Iterator[Row]]], ...] = (
    ("load", "load", _load),
    ("power", "power", _power),
    ("voltage", "voltage", _voltage),
    ("ride-through", "connected share", _ride_through),
    ("battery", "battery power", _battery),
    ("mitigation", "wanted job power", _mitigation),
    ("frequency", "frequency", _frequency),
    ("tie", "tie flow", _tie),
    ("shaft", "shaft torque", _shaft),
)


def render(figures: Sequence[Figure]) -> str:
    """The table that `wattswing assess --metrics` prints."""
    if not figures:
        return "no metrics: a record of less than two rows"
    lines, last = [], ("", "")
    for its in figures:
        if (its.quantity, its.where) != last:
            last = (its.quantity, its.where)
            lines.append(printable(f"{its.quantity}, {its.where}"))
        value, at_s = (("-" if np.isnan(its.value) else f"{its.value:z.6g}"), _moment(its.at_s))
        lines.append(f"  {its.name:28} {value:>12} {at_s:20} {printable(its.remark)}".rstrip())
    return "\n".join(lines)


def _moment(at_s: float) -> str:
    return "" if np.isnan(at_s) else f"at {at_s:z.3f} s"
