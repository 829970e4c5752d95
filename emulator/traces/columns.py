"""A trace as named columns, row after row, for files of other tools; and files that are there whole or not at all."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from pathlib import Path

import numpy as np

from emulator.trace import CHANNELS, Channel, Header, Trace, TraceError
from emulator.traces.hdf5 import count_rows, open_rows, read
from emulator.units import KW_PER_MW, W_PER_MW

UNITS = {  # of --unit: what MW and Mvar are called in it
    "w": {"MW": "W", "Mvar": "var"},
    "kw": {"MW": "kW", "Mvar": "kvar"},
    "mw": {"MW": "MW", "Mvar": "Mvar"},
    "pu": {"MW": "pu", "Mvar": "pu"},
}
PER_MW = {"w": W_PER_MW, "kw": KW_PER_MW, "mw": 1.0}


@dataclass(frozen=True)
class Pick:
    """A channel and what of it is wanted."""

    channel: Channel
    places: tuple[int, ...]  # along its axis
    labels: tuple[str, ...]  # names of these places
    name: str  # the channel's, ending in the unit asked for
    unit: str
    factor: float  # from the trace's unit to that


@dataclass(frozen=True)
class Columns:
    """What of a trace is wanted, in which units, and how many of its rows make one.

    Powers, voltage and connected share become means over `every` rows, so that energy and average are kept: a boxcar,
    which keeps |sin(pi f T)/(pi f T)| of a swing of f with rows of T: 64 % at half the new rate, nothing at the new
    rate, at most 22 % above it.
    States (frequency, mechanical power, flow of ties, state of charge) are taken at the row's start, which is also the
    time, from what a Hann window over four new rows about it makes of them: it keeps sinc(4 f T)/(1 - (4 f T)^2),
    nothing at half the new rate, at most 2.7 % above it, and, having no negative weight, never leaves the range of
    what it smooths. Before its first and after its last row a trace is taken to stand still. The last row may cover
    fewer.
    """

    path: Path
    header: Header
    picks: tuple[Pick, ...]
    every: int
    offset_s: float  # on every time

    @property
    def labelled(self) -> list[tuple[Pick, str]]:
        """(columns,) channel and place of each."""
        return [(pick, label) for pick in self.picks for label in pick.labels]

    @property
    def names(self) -> list[str]:
        """(columns,) `channel[label]`, as in `site_pcc_power_mw[campus]`."""
        return [f"{pick.name}[{label}]" for pick, label in self.labelled]

    @property
    def row_s(self) -> float:
        """Length of a row of the columns."""
        return self.header.row_s * self.every

    @property
    def start_s(self) -> float:
        """Time of the first row; the offset alone where there is none."""
        return float(sum(read(self.path, slice(0, 1), ()).time_s, self.offset_s))

    def count(self) -> int:
        """Rows of the columns."""
        return -(-count_rows(self.path) // self.every)

    def blocks(self, rows: int) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """Times and columns of about so many rows of the trace at a time. Memory does not grow with its length."""
        names = {pick.channel.name for pick in self.picks}
        if self.every == 1:
            windows = ((None, trace, None) for trace in open_rows(self.path, rows, names))
        else:  # a Hann window reaches not quite two new rows to either side
            windows = _with_neighbours(open_rows(self.path, self.every * max(2, rows // self.every), names))
        for window in windows:
            columns = [column for pick in self.picks for column in self._columns(pick, window)]
            yield window[1].time_s[:: self.every] + self.offset_s, columns

    def _columns(self, pick: Pick, window: tuple[Trace | None, Trace, Trace | None]) -> Iterable[np.ndarray]:
        """(rows,) of each place."""
        name, places = pick.channel.name, list(pick.places)
        before, here, after = (None if trace is None else getattr(trace, name)[:, places] for trace in window)
        assert here is not None
        if self.every == 1:
            merged = here
        elif pick.channel.state:
            merged = _smoothed(before, here, after, self.every)
        else:
            merged = _means(here, self.every)
        if pick.factor != 1.0:
            merged = merged.astype(np.float64) * pick.factor
        return np.ascontiguousarray(merged.astype(here.dtype, copy=False).T)


def columns_of(
    path: str | os.PathLike[str],
    channels: Sequence[str] | None = None,
    every: int = 1,
    unit: str | None = None,
    base_mva: float | None = None,
    offset_s: float = 0.0,
) -> Columns:
    """Columns of an HDF5 trace.

    Args:
      channels: names from trace.CHANNELS, or `channel[label]` for one place, in the order wanted; all if left out.
      unit: w | kw | mw | pu, of powers and reactive powers; as in the trace if left out.
      base_mva: of pu; the run's grid.base_mva if left out.
      offset_s: added to all times.

    Raises:
      TraceError: no such trace, channel, place or unit; a place with control characters in its name; `every` below 1;
        an offset that is not finite.
    """
    if every < 1:
        raise TraceError(f"every {every}: at least 1 row makes a row")
    if not isfinite(offset_s):
        raise TraceError(f"time offset {offset_s:g} s: must be a finite number")
    header = read(path, slice(0, 0)).header
    factor = _factor(unit, base_mva, header)
    places: dict[Channel, list[int]] = {}
    for wish in channels or [channel.name for channel in _with_columns(header)]:
        channel, wanted = _found(wish, header)
        places.setdefault(channel, []).extend(wanted)
    picks = tuple(_pick(channel, wanted, header, unit, factor) for channel, wanted in places.items())
    return Columns(Path(path), header, picks, every, offset_s)


def _with_columns(header: Header) -> list[Channel]:
    return [channel for channel in CHANNELS if header.labels[channel.axis]]


def _found(wish: str, header: Header) -> tuple[Channel, Sequence[int]]:
    """The channel that is meant, and its places."""
    parts = re.fullmatch(r"(?P<name>[^\[]+)(\[(?P<label>.*)\])?", wish)
    channel = _channel(parts["name"] if parts else wish, header)
    labels = header.labels[channel.axis]
    if parts is None or parts["label"] is None:
        return channel, range(len(labels))
    if parts["label"] not in labels:
        near = f"{_near(parts['label'], labels)}; all: {', '.join(labels)}"
        raise TraceError(f"channel {channel.name} has no {channel.axis} {parts['label']}{near}")
    return channel, [labels.index(parts["label"])]


def _channel(name: str, header: Header) -> Channel:
    known = {channel.name: channel for channel in _with_columns(header)}
    if name in known:
        return known[name]
    if any(channel.name == name for channel in CHANNELS):
        raise TraceError(f"channel {name} has no columns in this trace; it has {', '.join(known)}")
    raise TraceError(f"no channel {name}{_near(name, known)}; all: {', '.join(known)}")


def _near(name: str, known: Iterable[str]) -> str:
    return "".join(f"; nearest is {match}" for match in get_close_matches(name, list(known), n=1, cutoff=0.0))


def _factor(unit: str | None, base_mva: float | None, header: Header) -> float:
    """What MW are multiplied by."""
    if base_mva is not None and unit != "pu":
        raise TraceError("a base in MVA goes with the unit pu only")
    if unit is None:
        return 1.0
    if unit not in UNITS:
        raise TraceError(f"no unit {unit}; all: {', '.join(UNITS)}")
    if unit != "pu":
        return PER_MW[unit]
    base = tomllib.loads(header.config).get("grid", {}).get("base_mva") if base_mva is None else base_mva
    if base is None:
        raise TraceError("the trace's run gives no grid.base_mva: name the base of pu in MVA")
    if not (isfinite(base) and base > 0):
        raise TraceError(f"base {base:g} MVA: must be above 0")
    return 1.0 / base


def _pick(channel: Channel, places: Sequence[int], header: Header, unit: str | None, factor: float) -> Pick:
    labels = tuple(header.labels[channel.axis][place] for place in places)
    if len(set(labels)) < len(labels):
        raise TraceError(f"channel {channel.name} is asked for twice at the same place")
    if odd := [label for label in labels if not label.isprintable()]:  # a line break would end the line of names
        raise TraceError(f"{channel.axis} {odd[0]!r}: a name with control characters cannot be exported")
    if unit is None or channel.unit not in UNITS[unit]:
        return Pick(channel, tuple(places), labels, channel.name, channel.unit, 1.0)
    symbol = UNITS[unit][channel.unit]
    name = f"{channel.name.removesuffix(f'_{channel.unit.lower()}')}_{symbol.lower()}"
    return Pick(channel, tuple(places), labels, name, symbol, factor)


def _with_neighbours(traces: Iterator[Trace]) -> Iterator[tuple[Trace | None, Trace, Trace | None]]:
    before, here = None, next(traces, None)
    while here is not None:
        after = next(traces, None)
        yield before, here, after
        before, here = here, after


def _means(values: np.ndarray, every: int) -> np.ndarray:
    """Mean of `every` rows of (rows, columns)."""
    starts = np.arange(0, len(values), every)
    counts = np.minimum(every, len(values) - starts)[:, None]
    return np.add.reduceat(values.astype(np.float64), starts) / counts


def _smoothed(before: np.ndarray | None, here: np.ndarray, after: np.ndarray | None, every: int) -> np.ndarray:
    """Every `every`-th row of (rows, columns), weighted with its neighbours by a Hann window of four times `every`."""
    if not here.size:
        return here[::every]
    reach = 2 * every - 1
    weights = np.cos(0.5 * np.pi * np.arange(-reach, reach + 1) / (2 * every)) ** 2 / (2 * every)
    head = np.repeat(here[:1], reach, axis=0) if before is None else before[-reach:]
    known = np.concatenate([head, here] if after is None else [head, here, after[:reach]])
    lacking = len(here) + 2 * reach - len(known)
    known = np.concatenate([known, np.repeat(known[-1:], lacking, axis=0)]).astype(np.float64)
    about = np.lib.stride_tricks.sliding_window_view(known, len(weights), axis=0)[::every]
    start = here[::every].astype(np.float64)
    return start + (about - start[..., None]) @ weights  # a state that stands still stays what it is, to the last bit
