"""Numbers that sum up a run: energies, extremes and swings, gathered block by block in bounded memory.

Keys are flat, "site.NAME.facility_peak_mw" or "job.SITE.NAME.faults"; the unit is the key's suffix. "swing" is largest
minus smallest.
Signs: load positive = draws from the grid; battery positive = discharges; energies in and out are both positive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import isnan

import numpy as np

from emulator.clock import fraction
from emulator.power_metrics import CHANGE_WINDOW_S, FREQUENCY_BANDS_HZ, RAMPS_S, ROCOF_S
from emulator.tallies import Change, Extremes, OutsideBand, Rate, Sum
from emulator.trace import Event, Header
from emulator.units import S_PER_H
from emulator.wear import Wear

# What is added up of a job, in the order of `frame.COUNTED`, which NumPy code does not import.
JOB_COUNTS = ("iterations", "checkpoints", "evaluations", "data_stalls", "faults", "restarts")
JOB_TOTALS = ("lost_iteration_s", "requests_arrived", "requests_completed")
UNITS = {  # by the end of a key, the longer ends first
    "_mw_per_s": "MW/s",
    "_hz_per_s": "Hz/s",
    "_per_year": "1/a",
    "_mwh": "MWh",
    "_mw": "MW",
    "_hz": "Hz",
    "_pu": "pu",
    "_pct": "%",
    "_s": "s",
    "_c": "degC",
}

POWERS = {"facility": "site_facility_power_mw", "pcc": "site_pcc_power_mw"}
# Channel of each pair of extremes, with the keys of the lower and the upper one.
EXTREMES = (
    ("site", "bess_soc", "soc_min", "soc_max"),
    ("site", "site_pcc_voltage_pu", "voltage_min_pu", "voltage_max_pu"),
    ("area", "area_frequency_hz", "frequency_min_hz", "frequency_max_hz"),
)


def unit_of(key: str) -> str:
    """Unit of a metric, by the suffix of its key; "1" where it has none."""
    return next((unit for suffix, unit in UNITS.items() if key.endswith(suffix)), "1")


def names(header: Header) -> tuple[str, ...]:
    """Keys of the metrics that a run with this header has, in order."""
    return (*Summary(header).result(), *JobTally(header).result(), *Wear(header, {}).result())


class Summary:
    """Metrics of a run, fed with blocks of consecutive rows; equal whatever the sizes of the blocks.

    Sums are compensated float64. The largest change in 5 s is the largest difference between two rows that start at
    most 5 s apart (inclusive); a run shorter than that counts over what there is, rows longer than 5 s give NaN.
    Ramps and rates of change of frequency are those of `power_metrics`; a run shorter than their time has none.
    Work is in proportion to rows as long as blocks are not much shorter than the longest of these times, 60 s.
    """

    CARRIED = ("_next_tick", "_rows", "_sums", "_extremes", "_changes", "_rates", "_outside")

    def __init__(self, header: Header) -> None:
        self._header = header
        self._next_tick: int | None = None
        self._rows = 0
        self._sums: dict[str, Sum] = {}
        self._extremes: dict[str, Extremes] = {}
        self._changes: dict[str, Change] = {}
        self._rates: dict[tuple[str, float], Rate] = {}
        sites = len(header.labels["site"])
        row = fraction(header.dt_s) * header.every_ticks
        window = int(fraction(CHANGE_WINDOW_S) / row)
        for channel in ("site_it_power_mw", *POWERS.values(), "bess_in", "bess_out"):
            self._sums[channel] = Sum(sites)
        for channel in ("job_power_mw", "added", "withheld"):
            self._sums[channel] = Sum(len(header.labels["job"]))
        for channel in POWERS.values():
            self._extremes[channel] = Extremes(sites)
            self._changes[channel] = Change(sites, window)
            self._rates |= {(channel, over_s): Rate(sites, fraction(over_s) / row) for over_s in RAMPS_S}
        for axis, channel, _, _ in EXTREMES:
            self._extremes[channel] = Extremes(len(header.labels[axis]))
        self._extremes["tie_power_mw"] = Extremes(len(header.labels["tie"]))
        areas, nominal_hz = len(header.labels["area"]), header.frequency_hz
        self._rates |= {("area_frequency_hz", over_s): Rate(areas, fraction(over_s) / row) for over_s in ROCOF_S}
        self._outside = {band_hz: OutsideBand(areas, nominal_hz, band_hz) for band_hz in FREQUENCY_BANDS_HZ}

    def update(self, block: Mapping[str, np.ndarray], first_tick: int) -> None:
        """Take in the rows from `first_tick` on, every channel as (rows, length of its axis).

        Raises:
          ValueError: the rows do not follow those before.
        """
        if self._next_tick not in (None, first_tick):
            raise ValueError(f"rows from tick {first_tick} on do not follow those up to tick {self._next_tick}")
        rows = len(block["site_it_power_mw"])
        self._next_tick = first_tick + rows * self._header.every_ticks
        self._rows += rows
        if not rows:
            return
        battery = block["site_bess_power_mw"]
        parts = {"bess_in": np.maximum(-battery, 0), "bess_out": np.maximum(battery, 0)}
        added = block["job_power_mw"].astype(np.float64) - block["job_wanted_power_mw"]
        parts |= {"added": np.maximum(added, 0), "withheld": np.maximum(-added, 0)}
        for channel, total in self._sums.items():
            total.add(parts[channel] if channel in parts else block[channel])
        for channel, extremes in self._extremes.items():
            extremes.add(block[channel])
        for channel, change in self._changes.items():
            change.add(block[channel])
        for (channel, _), rate in self._rates.items():
            rate.add(block[channel])
        for outside in self._outside.values():
            outside.add(block["area_frequency_hz"])

    def result(self) -> dict[str, float]:
        """The metrics so far. NaN where there is no battery, no row, or nothing to compare."""
        labels, found = self._header.labels, {}
        for i, site in enumerate(labels["site"]):
            found |= {f"site.{site}.{key}": value for key, value in self._site(i)}
        for i, job in enumerate(labels["job"]):
            found[f"{_job(job)}.energy_mwh"] = self._energy("job_power_mw", i)
            found |= {f"{_job(job)}.{key}_energy_mwh": self._energy(key, i) for key in ("added", "withheld")}
        for i, area in enumerate(labels["area"]):
            found |= {f"area.{area}.{key}": value for key, value in (*self._ranges("area", i), *self._area(i))}
        for i, tie in enumerate(labels["tie"]):
            found[f"tie.{tie}.swing_mw"] = self._swing("tie_power_mw", i)
        return {key: float(value) for key, value in found.items()}

    def _site(self, i: int) -> Iterator[tuple[str, float]]:
        yield "it_energy_mwh", self._energy("site_it_power_mw", i)
        for key, channel in POWERS.items():
            yield f"{key}_energy_mwh", self._energy(channel, i)
            yield f"{key}_mean_mw", self._sums[channel].total[i] / self._rows if self._rows else np.nan
            yield f"{key}_peak_mw", self._extremes[channel].range(i)[1]
            yield f"{key}_swing_mw", self._swing(channel, i)
            for over_s in RAMPS_S:
                yield f"{key}_ramp_{over_s:g}s_mw_per_s", self._rates[channel, over_s].largest[i] / over_s
            yield f"{key}_change_{CHANGE_WINDOW_S:g}s_mw", self._changes[channel].largest[i]
        yield "bess_energy_in_mwh", self._energy("bess_in", i)
        yield "bess_energy_out_mwh", self._energy("bess_out", i)
        yield from self._ranges("site", i)

    def _area(self, i: int) -> Iterator[tuple[str, float]]:
        for over_s in ROCOF_S:
            yield f"rocof_{over_s:g}s_hz_per_s", self._rates["area_frequency_hz", over_s].largest[i] / over_s
        for band_hz, outside in self._outside.items():
            yield f"outside_{band_hz:g}hz_s", outside.rows[i] * self._header.row_s

    def _ranges(self, wanted: str, i: int) -> Iterator[tuple[str, float]]:
        for axis, channel, low_key, high_key in EXTREMES:
            if axis == wanted:
                yield from zip((low_key, high_key), self._extremes[channel].range(i), strict=True)

    def _energy(self, channel: str, i: int) -> float:
        return self._sums[channel].total[i] * self._header.row_s / S_PER_H

    def _swing(self, channel: str, i: int) -> float:
        low, high = self._extremes[channel].range(i)
        return high - low


def _job(label: str) -> str:
    """Key of a job, label SITE/JOB; HDF5 would take the slash for a group."""
    return "job." + label.replace("/", ".")


class JobTally:
    """Sums of what was in each job, fed with (rows, jobs, JOB_COUNTS and JOB_TOTALS) of `frame.COUNTED`."""

    CARRIED = ("_rows", "_sums", "_first", "_last")

    def __init__(self, header: Header) -> None:
        self._jobs = header.labels["job"]
        self._row_s = header.row_s
        self._rows = 0
        self._sums = {key: Sum(len(self._jobs)) for key in (*JOB_COUNTS, *JOB_TOTALS)}
        self._first, self._last = (np.full(len(self._jobs), np.nan) for _ in range(2))  # rows in which iterations begin

    def add(self, counts: np.ndarray) -> None:
        """Take in further rows."""
        for i, total in enumerate(self._sums.values()):
            total.add(counts[..., i])
        rows, jobs = np.nonzero(counts[..., JOB_COUNTS.index("iterations")])
        rows = rows + self._rows
        np.fmin.at(self._first, jobs, rows)
        np.fmax.at(self._last, jobs, rows)
        self._rows += len(counts)

    def result(self) -> dict[str, float]:
        """Counts so far, by how much caps, ceilings and dummy work have made iterations longer, requests since the
        run's start, and the mean time between starts of iterations, pauses included (NaN below two of them)."""
        found = {}
        for i, job in enumerate(self._jobs):
            sums = {key: float(total.total[i]) for key, total in self._sums.items()}
            between = sums["iterations"] - 1.0
            lasted_s = (self._last[i] - self._first[i]) * self._row_s
            found |= {f"{_job(job)}.{key}": value for key, value in sums.items()}
            found[f"{_job(job)}.iteration_mean_s"] = lasted_s / between if between > 0 else np.nan
        return found


ALARMS = ("loss_of_synchronism", "tie_opened", "tie_overloaded", "site_disconnected", "load_shed", "generation_shed")
MOST = {"site": 3, "area": 3, "tie": 2}  # shown of each kind, so that the summary stays on one screen
NAME_WIDTH = 24


def render(metrics: Mapping[str, float], header: Header, emulated_s: float, wall_s: float) -> str:
    """Summary on one screen, at most 24 lines of 80 characters. Batteries and voltages only where there are some."""
    heads = ("energy MWh", "mean MW", "peak MW", "p-p MW", f"in {CHANGE_WINDOW_S:g} s MW")
    lines = [_cut(f"{header.name}: {emulated_s:g} s at {header.dt_s * 1e3:g} ms", 80)]
    lines += [_row("", heads)] if header.labels["site"] else []
    for i, site in enumerate(header.labels["site"][: MOST["site"]]):
        lines += _site_lines(metrics, f"site.{site}", site, header.nominal_kv[i])
    lines += _left_out("site", header)
    for area in header.labels["area"][: MOST["area"]]:
        low, high = (metrics[f"area.{area}.frequency_{end}_hz"] for end in ("min", "max"))
        lines.append(_named(area, f"frequency {low:.4f} to {high:.4f} Hz"))
    lines += _left_out("area", header)
    for tie in header.labels["tie"][: MOST["tie"]]:
        lines.append(_named(tie, f"tie flow p-p {metrics[f'tie.{tie}.swing_mw']:.2f} MW"))
    lines += _left_out("tie", header)
    arrived, completed = (_sum_over_jobs(metrics, f"requests_{end}") for end in ("arrived", "completed"))
    lines += [_named("requests", f"{arrived:,.0f} arrived, {completed:,.0f} completed")] if arrived else []
    speed = emulated_s / wall_s
    times = f"{speed:.0f}" if speed >= 10.0 else f"{speed:.2g}"
    return "\n".join([*lines, f"emulated {emulated_s:g} s in {wall_s:.2f} s: {times} x real time"])


def render_alarms(events: Iterable[Event]) -> list[str]:
    """A line for each kind of event that no planner wants: how often, and where and when first."""
    found: dict[str, list[Event]] = {}
    for event in events:
        found.setdefault(event.kind, []).append(event)
    return [
        _named(kind.replace("_", " "), f"{len(its)} x, first {_cut(its[0].where, 24)} at {its[0].time_s:g} s")
        for kind in ALARMS
        if (its := found.get(kind))
    ]


def _site_lines(metrics: Mapping[str, float], at: str, site: str, nominal_kv: float) -> Iterator[str]:
    for key, side in (("facility", "site"), ("pcc", "grid")):
        values = (metrics[f"{at}.{key}_{column}"] for column in ("mean_mw", "peak_mw", "swing_mw", "change_5s_mw"))
        energy = _short(metrics[f"{at}.{key}_energy_mwh"])
        yield _row(f"{_cut(site, NAME_WIDTH - 6)} {side}", (energy, *(f"{value:z.2f}" for value in values)))
    low, high = metrics[f"{at}.soc_min"], metrics[f"{at}.soc_max"]
    if not isnan(low):
        into, out = (_short(metrics[f"{at}.bess_energy_{way}_mwh"]) for way in ("in", "out"))
        yield _named("", f"battery SOC {low:.3f} to {high:.3f}, {into} MWh in, {out} MWh out")
    if not isnan(nominal_kv):
        low, high = metrics[f"{at}.voltage_min_pu"], metrics[f"{at}.voltage_max_pu"]
        yield _named("", f"voltage {low:.4f} to {high:.4f} pu of {nominal_kv:g} kV")


def _sum_over_jobs(metrics: Mapping[str, float], name: str) -> float:
    return sum(value for key, value in metrics.items() if key.endswith(f".{name}"))


def _row(name: str, cells: Iterable[str]) -> str:
    return f"{name:{NAME_WIDTH}}" + "".join(f"{cell:>11}" for cell in cells)


def _named(name: str, text: str) -> str:
    return f"{_cut(name, NAME_WIDTH):{NAME_WIDTH}} {text}"


def _left_out(axis: str, header: Header) -> list[str]:
    more = len(header.labels[axis]) - MOST[axis]
    return [f"... and {more} more of kind {axis}, in the trace's metrics"] if more > 0 else []


def _short(energy_mwh: float) -> str:
    """Three decimals, fewer for what is large: five characters below 100 GWh."""
    return f"{energy_mwh:z.{sum(energy_mwh < bound for bound in (10, 100, 1000))}f}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
