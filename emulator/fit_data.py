"""What is fitted to: power or frequency out of a trace of ours or of a CSV file, and the load that came with it.

Load positive = draws from the grid. A recording's first sample is time 0 of the emulation. NumPy, no JAX.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from emulator import recording
from emulator.cluster import replay
from emulator.complaint import nearest
from emulator.jobs_schema import TrainingJob
from emulator.schema import Site
from emulator.topology import rack_size
from emulator.trace import Trace, TraceError
from emulator.traces import hdf5
from emulator.units import W_PER_KW, W_PER_MW, counted

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
MEASURED: Mapping[str, str] = {  # the channel of each
    "site": "site_pcc_power_mw",
    "job": "job_power_mw",
    "rack": "rack_power_kw",
    "device": "device_power_w",
}
DIGITS = 6  # of a CSV file's median interval: what is beyond them is the rounding of its times


@dataclass(frozen=True)
class Columns:
    """Of a CSV file: what stands where."""

    time: str = "t_s"
    power: str | None = None  # left out where frequency is given: no load was recorded
    unit: Literal["w", "kw", "mw"] = "mw"
    frequency: str | None = None


@dataclass(frozen=True)
class Series:
    """A quantity over time, (samples,) each, times from the first sample on."""

    time_s: np.ndarray
    values: np.ndarray  # MW or Hz
    joined: Literal["linear", "previous"]  # between samples: by lines, or held: means over rows

    @property
    def row_s(self) -> float:
        """Interval of the samples; the median where they are uneven."""
        return float(f"{np.median(np.diff(self.time_s)):.{DIGITS}g}")

    def means(self, first_tick: int, ticks: int, dt_s: float) -> np.ndarray:
        """(ticks,) means over ticks."""
        return replay.resample(self.time_s, self.values, first_tick, ticks, dt_s, self.joined, False)

    def at(self, time_s: np.ndarray) -> np.ndarray:
        """(n,) samples at or before times."""
        place = np.searchsorted(self.time_s, time_s + 1e-6 * self.row_s, side="right") - 1
        return self.values[np.maximum(place, 0)]

    def rows(self, row_s: float) -> int:
        """Whole rows of a length that the record covers."""
        return int((replay.lasting_s(self.time_s) + 1e-9 * row_s) / row_s)


def is_trace(path: Path) -> bool:
    """True for an HDF5 file.

    Raises:
      TraceError: there is no such file.
    """
    try:
        with path.open("rb") as file:
            return file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror}") from error


def _is_ours(path: Path, columns: Columns) -> bool:
    """True for a trace of ours, False for a CSV file.

    Raises:
      TraceError: there is no such file; a trace, of which columns are asked for.
    """
    if not is_trace(path):
        return False
    for option, name in (("--power-column", columns.power), ("--frequency-column", columns.frequency)):
        if name is not None:
            raise TraceError(f"{path} is a trace, which has no columns: leave {option} {name} out")
    return True


def power(path: Path, columns: Columns, site: Site, job: TrainingJob, measured: str) -> Series:
    """MW of the whole job, or with `measured` = "site" of its site, as recorded.

    Raises:
      TraceError: what cannot be read, or a trace without that channel.
    """
    if _is_ours(path, columns):
        trace = _read(path, MEASURED[measured])
        time_s, values = _channel(path, trace, site, job, measured)
        return Series(time_s - time_s[0], values, "previous")
    its = recording.of_file(path, columns.time, columns.power or "p_mw", columns.unit)
    values = its.values["power"][columns.power or "p_mw"]
    share = {"site": 1.0, "job": 1.0, "rack": job.devices / rack_size(job), "device": job.devices}[measured]
    return _renewed(Series(its.time_s, values * share, "previous"), its.held_s)


def _renewed(series: Series, held_s: float) -> Series:
    """One value for each that the meter made, read half way to the next, where it was polled faster than that."""
    if not held_s:
        return series
    first_s = float(series.time_s[1 + int(np.flatnonzero(np.diff(series.values))[0])])
    time_s = np.arange(first_s, float(series.time_s[-1]) - 0.5 * held_s, held_s)
    return Series(time_s - time_s[0], series.at(time_s + 0.5 * held_s), "previous")


def _channel(path: Path, trace: Trace, site: Site, job: TrainingJob, measured: str) -> tuple[np.ndarray, np.ndarray]:
    """(rows,) times and MW. Racks and devices have rows of their own."""
    name = site.name if measured == "site" else f"{site.name}/{job.name}"
    table = getattr(trace, MEASURED[measured])
    if measured in ("site", "job"):
        labels = trace.header.labels[measured]
        if name not in labels:
            raise TraceError(f"{path} has no {measured} {name!r}{nearest(name, labels)}")
        return trace.time_s, table[:, labels.index(name)].astype(np.float64)
    labels = trace.header.labels.get(measured, ())
    mine = [i for i, label in enumerate(labels) if label.rpartition("/")[0] == name]
    if not mine:
        raise TraceError(f"{path} has no {measured} of {name!r}: record some with [record] {measured}s")
    size = rack_size(job) if measured == "rack" else 1
    devices = sum(min(size, job.devices - int(labels[i].rpartition("/")[2]) * size) for i in mine)
    scale = (W_PER_KW if measured == "rack" else 1.0) / W_PER_MW * job.devices / devices
    return trace.device_time_s, table[:, mine].sum(axis=1, dtype=np.float64) * scale


def frequency(path: Path, columns: Columns, area: str) -> Series:
    """Hz of an area, values at the times.

    Raises:
      TraceError: what cannot be read, or a trace without that area.
    """
    if not _is_ours(path, columns):
        if columns.frequency is None:
            raise TraceError(f"{path}: an area's frequency is fitted: name its column with --frequency-column")
        return _csv(path, columns.time, columns.frequency, "mw")  # numbers as they stand
    trace = _read(path, "area_frequency_hz")
    areas = trace.header.labels["area"]
    if area not in areas:
        raise TraceError(f"{path} has no frequency of area {area!r}{nearest(area, areas)}")
    values = trace.area_frequency_hz[:, areas.index(area)]
    return Series(trace.time_s - trace.time_s[0], values.astype(np.float64), "linear")


def loads(path: Path, columns: Columns, sites: tuple[str, ...]) -> Mapping[str, Series]:
    """MW that each site drew from the grid; empty where the recording says nothing of it.

    Raises:
      TraceError: what cannot be read, or some sites recorded and others not.
    """
    if not _is_ours(path, columns):
        if columns.power is None:
            return {}
        if len(sites) > 1:
            raise TraceError(f"{path} holds one load, CONFIG has {len(sites)} sites: {', '.join(sites)}")
        return {(sites or ("load",))[0]: _csv(path, columns.time, columns.power, columns.unit)}
    trace = _read(path, "site_pcc_power_mw")
    found = dict(zip(trace.header.labels["site"], trace.site_pcc_power_mw.T, strict=True))
    if missing := [name for name in sites if found and name not in found]:
        raise TraceError(f"{path} has no power of site {missing[0]!r}{nearest(missing[0], found)}")
    time_s = trace.time_s - trace.time_s[0]
    return {name: Series(time_s, values.astype(np.float64), "previous") for name, values in found.items()}


def _csv(path: Path, time: str, column: str, unit: Literal["w", "kw", "mw"]) -> Series:
    its = recording.of_file(path, time, column, unit)
    return Series(its.time_s, its.values["power"][column], "linear")


def _read(path: Path, channel: str) -> Trace:
    trace = hdf5.read(path, channels=(channel,))
    if len(trace.time_s) < 2:
        raise TraceError(f"{path} holds {counted(len(trace.time_s), 'row')}, at least 2 are needed")
    return trace
