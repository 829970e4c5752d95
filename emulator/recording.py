"""What limits are judged on and metrics taken of: the quantities of a trace, or a recorded power. MW, pu or Hz.

Signs: load positive = draws from the grid; tie positive = from first area to second.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from emulator.grid_schema import Shaft
from emulator.power_metrics import SAME_TIME
from emulator.topology import section_names
from emulator.torsional_modes import frequencies_hz
from emulator.trace import Trace, TraceError

Quantity = Literal[
    "power",
    "voltage",
    "soc",
    "frequency",
    "tie flow",
    "shaft torque",
    "load",
    "connected share",
    "battery power",
    "battery soc",
    "battery temperature",
    "job power",
    "wanted job power",
]
CHANNELS: Mapping[Quantity, tuple[str, str]] = {  # channel of each quantity, and its axis
    "power": ("site_pcc_power_mw", "site"),
    "voltage": ("site_pcc_voltage_pu", "site"),
    "soc": ("bess_soc", "site"),
    "frequency": ("area_frequency_hz", "area"),
    "tie flow": ("tie_power_mw", "tie"),
    "shaft torque": ("shaft_torque_pu", "section"),
    "load": ("site_facility_power_mw", "site"),
    "connected share": ("site_connected_fraction", "site"),
    "battery power": ("battery_power_mw", "battery"),
    "battery soc": ("battery_soc", "battery"),
    "battery temperature": ("battery_temperature_c", "battery"),
    "job power": ("job_power_mw", "job"),
    "wanted job power": ("job_wanted_power_mw", "job"),
}
RATED_BY = {"units", "availability", "power_mw", "energy_mwh", "soc_min", "soc_max"}  # keys of a battery
EVEN = 1e-3  # of the median interval: intervals that differ by less are equal


@dataclass(frozen=True)
class Rating:
    """Of a battery, all units in service together."""

    power_mw: float
    energy_mwh: float
    soc_range: tuple[float, float]
    auxiliary_mw: float = 0.0  # drawn at the terminals whatever the converter does
    open_circuit_v: tuple[float, ...] = (1.0, 1.0)  # at even steps of the state of charge from 0 to 1


@dataclass(frozen=True)
class Recording:
    """Quantities over time, each by the place where it was taken. A quantity that nobody recorded is empty."""

    name: str
    time_s: np.ndarray  # (rows,) ascending
    row_s: float  # the median interval
    even: bool  # whether all intervals are that long
    nominal_hz: float
    complete: bool
    stop_reason: str
    values: Mapping[Quantity, Mapping[str, np.ndarray]]  # place -> (rows,)
    ratings: Mapping[str, Rating] = field(default_factory=dict)  # of batteries, by the place of "battery power"
    run_metrics: Mapping[str, float] = field(default_factory=dict)  # as the run itself summed them up
    held_s: float = 0.0  # interval at which a meter refreshed its values, where that is longer than a row; else 0
    caution: str = ""  # what to know about the recording, in words
    shaft_hz: Mapping[str, float] = field(default_factory=dict)  # fastest mode of each section's shaft, where known

    @property
    def resolution_s(self) -> float:
        """What the recording resolves: its rows, or the refresh of a meter that was polled faster."""
        return max(self.row_s, self.held_s)

    @property
    def span_s(self) -> float:
        """Time that the recording covers: up to the end of its last row."""
        return float(self.time_s[-1] - self.time_s[0]) + self.row_s if len(self.time_s) else 0.0


def is_at(place: str, site: str) -> bool:
    """Whether a place is a site, or a battery of it."""
    return place == site or place.startswith(f"{site}/")


def channels_of(quantities: Iterable[Quantity]) -> set[str]:
    """Channels of a trace that `of_trace` needs for quantities: of batteries also those of the sites, as a site's only
    battery has none of its own; of a site's charge also those of its batteries, as several are judged one by one."""
    wanted = set(quantities)
    alone = {"bess_soc", "site_bess_power_mw"} if wanted & {"battery power", "battery soc"} else set()
    each = {"battery_soc"} if "soc" in wanted else set()
    return {CHANNELS[quantity][0] for quantity in wanted} | alone | each


def of_trace(trace: Trace, name: str) -> Recording:
    """A run, or what there is of one. Power is what a site draws from the grid, load what it consumes before the
    battery; voltage is there only for sites with a point of common coupling, whose voltage is not stiff, and state of
    charge only for those with a battery. A site's only battery goes by the site's name, one of several by SITE/NAME.
    What was not read from the file is not there, nor, in a part of a run, what the run summed up over all of it."""
    header, values = trace.header, {}
    config = tomllib.loads(header.config)
    ran_s = config.get("run", {}).get("duration_s", 0.0)
    part = trace.complete and len(trace.time_s) * header.row_s < ran_s - 1.5 * header.row_s
    for quantity, (channel, axis) in CHANNELS.items():
        table = getattr(trace, channel)
        columns = dict(zip(header.labels[axis] if table.shape[1] else (), table.T, strict=True))
        if quantity == "voltage":
            stiff = dict(zip(header.labels["site"], np.isnan(header.nominal_kv), strict=True))
            columns = {at: v for at, v in columns.items() if not stiff[at]}
        if quantity == "soc":
            columns = {at: v for at, v in columns.items() if not np.isnan(v).all()}
        values[quantity] = columns
    sites = header.labels["site"] if trace.site_bess_power_mw.shape[1] else ()
    battery_mw = dict(zip(sites, trace.site_bess_power_mw.T, strict=True))
    several = {at.rpartition("/")[0] for at in header.labels["battery"]}
    alone = [site for site in battery_mw if site in values["soc"] and site not in several]
    values["battery power"] |= {site: battery_mw[site] for site in alone}
    values["battery soc"] |= {site: values["soc"][site] for site in alone}
    for site in [site for site in values["soc"] if site not in alone]:
        each = {at: soc for at, soc in values["battery soc"].items() if is_at(at, site)}
        if len(each) > 1:  # their mean, which the site has, may be well where they are not
            del values["soc"][site]
            values["soc"] |= each
    return Recording(
        name=name,
        time_s=trace.time_s,
        row_s=header.row_s,
        even=True,
        nominal_hz=header.frequency_hz,
        complete=trace.complete,
        stop_reason=trace.stop_reason,
        values=values,
        ratings=_ratings(config, header.labels["battery"]),
        shaft_hz=_shaft_hz(config, header.frequency_hz),
        run_metrics={} if part else trace.metrics,
    )


def _ratings(config: Mapping[str, Any], listed: tuple[str, ...]) -> Mapping[str, Rating]:
    """Of the batteries in a resolved configuration, by site or, where listed, by SITE/NAME. None of those of which a
    trace shows only the sum, or a foreign configuration not all."""
    found = {}
    for site in config.get("site", ()):
        stores = site.get("store", ())
        tables = {"bess": site["bess"]} | {its["name"]: its for its in stores} if "bess" in site else {}
        for name, its in tables.items():
            at = f"{site['name']}/{name}"
            if its.keys() >= RATED_BY and (at in listed or not stores):
                units = its["units"] * its["availability"]
                found[at if at in listed else site["name"]] = Rating(
                    power_mw=units * its["power_mw"],
                    energy_mwh=units * its["energy_mwh"],
                    soc_range=(its["soc_min"], its["soc_max"]),
                    auxiliary_mw=units * its.get("auxiliary_mw", 0.0),
                    open_circuit_v=tuple(its.get("cell", {}).get("open_circuit_v", (1.0, 1.0))),
                )
    return found


def _shaft_hz(config: Mapping[str, Any], nominal_hz: float) -> Mapping[str, float]:
    """Fastest mode of the shafts in a resolved configuration, by section. None of those of a foreign one."""
    found = {}
    for its in config.get("grid", {}).get("shaft", ()):
        if its.keys() >= {"name", "inertia_s", "stiffness_pu"}:
            shaft = Shaft.model_validate(its)
            found |= dict.fromkeys(section_names(shaft), frequencies_hz(shaft, nominal_hz)[-1])
    return found


def of_file(
    path: str | os.PathLike[str],
    time_column: str,
    power_column: str,
    unit: Literal["w", "kw", "mw"],
    ending: str | None = None,
) -> Recording:
    """A recorded power from a CSV, Parquet, HDF5 or COMTRADE file with times in s, any sampling, even or not.

    Args:
      ending: as if the file's name ended so; None: as it does.

    Raises:
      TraceError: the file is refused (see `power_file.read`), or its times are so uneven that even rows, which spectra
        need, would be more than ten times as many.
    """
    from emulator import power_file
    from emulator.cluster import replay

    try:
        time_s, power_w = power_file.read(str(path), time_column, power_column, unit, ending)
    except power_file.RecordError as error:
        raise TraceError(str(error)) from error
    steps_s = np.diff(time_s)
    row_s = float(np.median(steps_s))
    even = bool(np.abs(steps_s - row_s).max() <= EVEN * row_s)
    values: dict[Quantity, dict[str, np.ndarray]] = {"power": {power_column: power_w * 1e-6}}
    if time_s[-1] > power_file.LARGEST_GAP * row_s * len(time_s):
        raise TraceError(f"{path}: times are too uneven to judge: {row_s:g} s apart in the median; resample the file")
    held_s = replay.held_s(time_s, power_w)
    words = replay.described(str(path), time_s, power_w, held_s) if held_s else ""
    caution = "; ".join(filter(None, [power_file.caution(str(path), ending), words]))
    return Recording(str(path), time_s, row_s, even, np.nan, True, "", values, held_s=held_s, caution=caution)


def after(recording: Recording, skip_s: float) -> Recording:
    """Without its first seconds; a row that begins in them is left out."""
    if not skip_s or not len(recording.time_s):
        return recording
    since_s = recording.time_s[0] + skip_s - SAME_TIME * recording.row_s
    rows = slice(int(np.searchsorted(recording.time_s, since_s)), None)
    values = {quantity: {at: v[rows] for at, v in places.items()} for quantity, places in recording.values.items()}
    return replace(recording, time_s=recording.time_s[rows], values=values)


def evenly(recording: Recording, values: np.ndarray) -> np.ndarray:
    """(rows,) values at even times, `row_s` apart: joined by straight lines where the recording's own are not even."""
    if recording.even:
        return values
    time_s = recording.time_s
    return np.interp(np.arange(time_s[0], time_s[-1], recording.row_s), time_s, values)


def printable(text: str) -> str:
    """Without control characters: names come from files."""
    return "".join(c if c.isprintable() else "?" for c in text)
