"""What the page shows of one trace, gathered in a single pass of windows: memory does not grow with its length.

Curves over time are envelopes, the smallest and largest value in each of some ten thousand parts of the run, and, about
moments that matter, every row. Spectra and distributions come from every row.
Signs: load positive = draws from the grid; battery positive = discharges; tie positive = from first area to second.
"""

from __future__ import annotations

import os
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from emulator.envelope import Envelope
from emulator.plot import panels_of
from emulator.power_metrics import ROCOF_S
from emulator.report.distribution import ChangeCurve, Durations
from emulator.trace import CHANNELS, Event, Header, Trace, TraceError
from emulator.traces.hdf5 import count_rows, read
from emulator.welch import Spectrogram, Welch

ROWS_AT_ONCE = 131_072
MOST_CURVES = 8  # of a kind; further ones stand in the tables only
MOST_EVENTS = 100  # listed one by one, and marked in plots
ROUTINE = ("job_start", "checkpoint", "evaluation", "data_stall", "bess_power_limit")  # kinds not marked
WINDOWS_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0)
ROCOF_OVER_S = ROCOF_S[-1]
SPECTRUM_HZ = (0.01, 30.0)  # what the emulation means anything for
COLUMNS, LINES = 480, 120  # of a spectrogram
POWERS = {"facility": "site_facility_power_mw", "pcc": "site_pcc_power_mw"}  # by group of sites
QUANTITIES = {  # by place; which places: `_places`
    "job": "job_power_mw",
    "connected": "site_connected_fraction",
    "bess": "site_bess_power_mw",
    "soc": "bess_soc",
    "battery_power": "battery_power_mw",
    "battery_soc": "battery_soc",
    "temperature": "battery_temperature_c",
    "frequency": "area_frequency_hz",
    "mechanical": "area_mechanical_power_mw",
    "voltage": "site_pcc_voltage_pu",
    "tie": "tie_power_mw",
    "torque": "shaft_torque_pu",
}
AXIS = {channel.name: channel.axis for channel in CHANNELS}


@dataclass(frozen=True)
class Plan:
    """A trace file and what of it is shown."""

    path: str
    first: Trace  # its first row
    rows: int
    groups: tuple[tuple[str, slice], ...]  # title and sites of each panel of power
    places: Mapping[str, tuple[int, ...]]  # columns of each of QUANTITIES

    @property
    def header(self) -> Header:
        return self.first.header

    @property
    def start_s(self) -> float:
        """Of the first row."""
        return float(self.first.time_s[0])

    @property
    def duration_s(self) -> float:
        """Up to the end of the last row."""
        return self.rows * self.header.row_s

    @property
    def lag_rows(self) -> int:
        """Rows over which the rate of change of frequency is taken; 0 where they are too coarse, or too few."""
        lag = round(ROCOF_OVER_S / self.header.row_s)
        return lag if 10 <= lag < self.rows else 0

    def labels(self, key: str) -> tuple[str, ...]:
        """Names of the curves of a quantity."""
        if key in POWERS:
            return tuple(title for title, _ in self.groups)
        if key == "rocof":
            return self.labels("frequency") if self.lag_rows else ()
        names = self.header.labels[AXIS[QUANTITIES[key]]]
        return tuple(names[i] for i in self.places[key])

    @property
    def keys(self) -> tuple[str, ...]:
        """Quantities that have curves."""
        return tuple(key for key in (*POWERS, *QUANTITIES, "rocof") if self.labels(key))

    @property
    def curves(self) -> int:
        """How many in all."""
        return sum(len(self.labels(key)) for key in self.keys)


def plan(path: str | os.PathLike[str]) -> Plan:
    """What is in a trace file.

    Raises:
      TraceError: no such trace, one with nothing in it, or one whose configuration is not TOML.
    """
    rows = count_rows(path)
    if not rows:
        raise TraceError(f"{path}: a trace without rows, nothing to report")
    first = read(path, slice(0, 1))
    try:
        tomllib.loads(first.header.config)
    except tomllib.TOMLDecodeError as error:
        raise TraceError(f"{path}: its configuration is not TOML: {error}") from error
    labels = first.header.labels
    if not labels["site"] and not labels["area"]:
        raise TraceError(f"{path}: a trace without sites and areas, nothing to report")
    places = {key: _places(key, channel, first) for key, channel in QUANTITIES.items()}
    return Plan(str(path), first, rows, panels_of(labels["site"]), places)


def _places(key: str, channel: str, first: Trace) -> tuple[int, ...]:
    """Columns worth a curve: those that can have values, and that no other curve shows."""
    header = first.header
    shown = np.ones(len(header.labels[AXIS[channel]]), bool)
    if key in ("bess", "soc"):
        shown = ~np.isnan(first.bess_soc[0])
    elif key == "voltage":
        shown = ~np.isnan(np.array(header.nominal_kv))
    elif key == "temperature":
        shown = ~np.isnan(first.battery_temperature_c[0])
    elif key in ("job", "battery_power", "battery_soc"):
        shown &= len(shown) > 1
    return tuple(np.flatnonzero(shown)[:MOST_CURVES].tolist())


def values_of(its: Plan, start: int, stop: int) -> tuple[Trace, dict[str, np.ndarray]]:
    """Rows of the trace, and (rows, curves) of each quantity in them."""
    lead = min(start, its.lag_rows)
    trace = read(its.path, slice(start - lead, stop), (*POWERS.values(), *QUANTITIES.values()))
    found = {}
    for key, channel in POWERS.items():
        power = getattr(trace, channel)
        sums = [power[lead:, sites].sum(axis=1, dtype=np.float64) for _, sites in its.groups]
        found[key] = np.stack(sums, axis=1) if sums else power[lead:]
    for key, channel in QUANTITIES.items():
        found[key] = getattr(trace, channel)[lead:, list(its.places[key])]
    if its.labels("rocof"):
        frequency, lag = trace.area_frequency_hz[:, list(its.places["frequency"])], its.lag_rows
        rates = np.full_like(frequency, np.nan)
        rates[lag:] = (frequency[lag:] - frequency[:-lag]) / (lag * its.header.row_s)
        found["rocof"] = rates[lead:]
    return trace, {key: found[key] for key in its.keys}


@dataclass(frozen=True)
class Gathered:
    """All that one pass finds."""

    plan: Plan
    envelopes: Mapping[str, Envelope]
    spectra: Mapping[str, list[Welch]]  # by POWERS, one a group of sites
    spectrograms: Mapping[str, list[Spectrogram]]
    durations: Mapping[str, list[Durations]]
    changes: Mapping[str, list[ChangeCurve]]
    events: list[Event] = field(default_factory=list)  # the first ones
    marked: list[Event] = field(default_factory=list)  # the first ones of what is not ROUTINE
    counts: Counter[str] = field(default_factory=Counter)

    def range_of(self, key: str, curve: int) -> tuple[float, float]:
        """Lowest and highest value of a curve; NaN where it has none."""
        low, high = (ends[:, curve] for ends in (self.envelopes[key].low, self.envelopes[key].high))
        return (float(np.nanmin(low)), float(np.nanmax(high))) if np.isfinite(low).any() else (np.nan, np.nan)


def gather(its: Plan, bins: int, windows_s: Sequence[float]) -> Gathered:
    """Read the trace once.

    Args:
      bins: of each envelope.
      windows_s: lengths of windows for the curve of changes, besides WINDOWS_S.
    """
    header, rows = its.header, its.rows

    def each(make: Callable[[], Any]) -> dict[str, list[Any]]:
        return {key: [make() for _ in its.groups] for key in POWERS}

    found = Gathered(
        plan=its,
        envelopes={key: Envelope(rows, len(its.labels(key)), bins) for key in its.keys},
        spectra=each(lambda: Welch(rows, header.row_s)),
        spectrograms=each(lambda: Spectrogram(rows, header.row_s, SPECTRUM_HZ[1], COLUMNS, LINES)),
        durations=each(Durations),
        changes=each(lambda: ChangeCurve((*WINDOWS_S, *windows_s), rows, header.dt_s, header.every_ticks)),
    )
    for start in range(0, rows, ROWS_AT_ONCE):  # not to the end of the file: it may be growing
        _take(found, start, min(start + ROWS_AT_ONCE, rows))
    return found


def _take(found: Gathered, start: int, stop: int) -> None:
    its = found.plan
    trace, values = values_of(its, start, stop)
    for key, envelope in found.envelopes.items():
        envelope.add(values[key])
    for key in POWERS:
        for parts in (found.spectra, found.spectrograms, found.durations, found.changes):
            for i, part in enumerate(parts[key]):
                part.add(values[key][:, i])
    events = [event for event in trace.events if event.time_s >= trace.time_s[-(stop - start)]]
    found.counts.update(event.kind for event in events)
    found.events.extend(events[: MOST_EVENTS - len(found.events)])
    unusual = [event for event in events if event.kind not in ROUTINE]
    found.marked.extend(unusual[: MOST_EVENTS - len(found.marked)])
