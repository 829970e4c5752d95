"""Measured or made power records: read, checked, and resampled to tick means. Load positive, W."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from emulator.clock import seconds_at
from emulator.complaint import nearest
from emulator.jobs_schema import ReplayJob

WATTS = {"w": 1.0, "kw": 1e3, "mw": 1e6}
LARGEST_GAP = 10.0  # times the median interval: beyond it the record has a hole that nobody should fill by guessing


class RecordError(ValueError):
    """A record that cannot be replayed, in words; `key` is the job's key to look at."""

    def __init__(self, message: str, key: str = "path") -> None:
        super().__init__(message)
        self.key = key


def read(job: ReplayJob) -> tuple[np.ndarray, np.ndarray]:
    """Time in s from the first sample on and power in W, (samples,) float64 each.

    Raises:
      RecordError: no such file or column; a value that is no number or not finite; fewer than two samples; times that
        repeat or go back; a gap of over ten median intervals; negative power.
    """
    rows, time_s, power = _columns(job)
    if len(time_s) < 2:
        raise RecordError(f"{job.path} holds {len(time_s)} samples, at least 2 are needed")
    for values, name in ((time_s, job.time_column), (power, job.power_column)):
        if not np.isfinite(values).all():
            raise RecordError(f"line {rows[~np.isfinite(values)][0]}: {name} is not a finite number")
    steps = np.diff(time_s)
    if (steps == 0).any():
        raise RecordError(f"line {rows[1:][steps == 0][0]}: {job.time_column} repeats {time_s[1:][steps == 0][0]:g} s")
    if (steps < 0).any():
        raise RecordError(f"line {rows[1:][steps < 0][0]}: {job.time_column} goes back; sort the file by time")
    median_s = float(np.median(steps))
    if (wide := steps > LARGEST_GAP * median_s).any():
        raise RecordError(
            f"line {rows[1:][wide][0]}: a gap of {steps[wide][0]:g} s, where samples are {median_s:g} s apart; "
            "fill it or cut the file there"
        )
    if (power < 0).any():
        raise RecordError(f"line {rows[power < 0][0]}: {job.power_column} is negative; a load draws power")
    return time_s - time_s[0], power * (WATTS[job.unit] * job.scale)


def _columns(job: ReplayJob) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Line in the file, time and power of every sample, (samples,) each."""
    if "\0" in job.path:
        raise RecordError(f"{job.path!r} is no name of a file")
    try:
        with Path(job.path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            names = [name.strip() for name in next(reader, [])]
            wanted = [_index(names, job.time_column, "time_column"), _index(names, job.power_column, "power_column")]
            values = [(reader.line_num, *_numbers(row, wanted, names, reader.line_num)) for row in reader if row]
    except OSError as error:
        raise RecordError(f"{job.path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RecordError(f"{job.path} is no CSV text: {error}") from error
    table = np.array(values, np.float64).reshape(-1, 3)
    return table[:, 0].astype(np.int64), table[:, 1].copy(), table[:, 2].copy()


def _index(names: list[str], name: str, key: str) -> int:
    if name not in names:
        raise RecordError(f"the file has no column {name!r}{nearest(name, names)}", key)
    return names.index(name)


def _numbers(row: list[str], wanted: list[int], names: list[str], line: int) -> list[float]:
    numbers = []
    for i in wanted:
        text = row[i] if i < len(row) else ""
        try:
            numbers.append(float(text))
        except ValueError as error:
            raise RecordError(f"line {line}: {names[i]} is {text!r}, must be a number") from error
    return numbers


def lasting_s(time_s: np.ndarray) -> float:
    """Time that a record covers: its span, and one median interval for which the last sample holds."""
    return float(time_s[-1] - time_s[0] + np.median(np.diff(time_s)))


def resample(
    time_s: np.ndarray, power_w: np.ndarray, first_tick: int, ticks: int, dt_s: float, interpolation: str, repeat: bool
) -> np.ndarray:
    """(ticks,) means over ticks, counted from the record's first sample: exact integrals of the joined waveform, so
    that energy does not depend on the tick.

    Between samples power is joined by lines ("linear") or holds ("previous"); after the last one it holds for one
    median interval. With `repeat` the record then starts again, "linear" going back to the first sample meanwhile.
    The cost is that of the window, however long the record.
    """
    knots_s, levels_w = _window(time_s, power_w, seconds_at(first_tick, dt_s), ticks * dt_s, repeat)
    starts_w = levels_w[:-1]
    ends_w = levels_w[1:] if interpolation == "linear" else starts_w
    lengths_s = np.diff(knots_s)
    energy_j = np.concatenate([[0.0], np.cumsum(0.5 * (starts_w + ends_w) * lengths_s)])

    edges_s = np.arange(ticks + 1) * dt_s
    i = np.clip(np.searchsorted(knots_s, edges_s, side="right") - 1, 0, len(starts_w) - 1)
    since_s = edges_s - knots_s[i]
    slope = (ends_w[i] - starts_w[i]) / lengths_s[i]
    return np.diff(energy_j[i] + since_s * (starts_w[i] + 0.5 * slope * since_s)) / dt_s


def _window(
    time_s: np.ndarray, power_w: np.ndarray, begin_s: float, length_s: float, repeat: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Samples that a window of the played record needs, from the last at or before its start to the first after its
    end, as times from the window's start and powers. Energies stay small that way: no cancellation after hours."""
    count, period_s = len(time_s), np.inf
    if repeat:
        period_s = lasting_s(time_s)
        begin_s %= period_s
    turns, end_s = divmod(begin_s + length_s, period_s)
    first, last = (np.searchsorted(time_s, time_s[0] + at_s, side="right") - 1 for at_s in (begin_s, end_s))
    place = np.arange(first, int(turns) * count + last + 2)
    if repeat:
        turn, sample = np.divmod(place, count)
        return time_s[sample] - time_s[0] + (turn * period_s - begin_s), power_w[sample]
    sample = np.minimum(place, count - 1)
    knots_s = time_s[sample] - time_s[0] - begin_s
    knots_s[place == count] = max(length_s, knots_s[-1]) + 1.0  # after the last sample power holds
    return knots_s, power_w[sample]
