"""Measured or made power records: resampled to tick means, and summed over copies. Load positive, W.

A copy's shift is positive where it plays the record later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.fft import next_fast_len
from scipy.special import ndtri

from emulator import power_file
from emulator.clock import fraction, seconds_at
from emulator.jobs_schema import Job, ReplayJob
from emulator.reading import kept

SUBTICKS = 8  # places for a copy's shift in a tick
BLOCK = 2**18  # subticks of shifts that are summed in one transform: bounds the memory
FEWEST_VALUES = 10  # distinct ones, below which a file is made of levels and says nothing about a meter
FEW = 1000  # samples that are looked at first
MOST_EARLY = 0.1  # share of runs that last at most half the median: more, and values coincide by chance


def read(job: ReplayJob) -> tuple[np.ndarray, np.ndarray]:
    """Time in s from the first sample on and power in W of one copy, (samples,) float64 each.

    Raises:
      RecordError: as `power_file.read`.
    """
    return _read(job.path, job.time_column, job.power_column, job.unit, job.scale)


@kept
def _read(path: str, time_column: str, power_column: str, unit: str, scale: float) -> tuple[np.ndarray, np.ndarray]:
    time_s, power_w = power_file.read(path, time_column, power_column, unit)
    return time_s, power_w if scale == 1.0 else power_w * scale


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
    return _means(time_s, power_w, seconds_at(first_tick, dt_s), ticks, dt_s, interpolation, repeat)


def _means(
    time_s: np.ndarray, power_w: np.ndarray, begin_s: float, ticks: int, dt_s: float, interpolation: str, repeat: bool
) -> np.ndarray:
    """As `resample`, from any time on; before the first sample its power holds."""
    knots_s, levels_w = _window(time_s, power_w, begin_s, ticks * dt_s, repeat)
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
    count, turns, end_s = len(time_s), 0, begin_s + length_s
    if repeat:
        period_s = lasting_s(time_s)
        begin_s %= period_s
        turns, end_s = divmod(begin_s + length_s, period_s)
    first, last = (np.searchsorted(time_s, time_s[0] + at_s, side="right") - 1 for at_s in (begin_s, end_s))
    place = np.arange(first, int(turns) * count + last + 2)
    if repeat:
        turn, sample = np.divmod(place, count)
        return time_s[sample] - time_s[0] + (turn * period_s - begin_s), power_w[sample]
    sample = np.clip(place, 0, count - 1)
    knots_s = time_s[sample] - time_s[0] - begin_s
    knots_s[place == -1] = -1.0  # before the first sample and after the last one power holds
    knots_s[place == count] = max(length_s, knots_s[-1]) + 1.0
    return knots_s, power_w[sample]


@dataclass(frozen=True, eq=False)
class Shifts:
    """Shifts in time of a job's copies, gathered on a grid of SUBTICKS to the tick."""

    place: np.ndarray  # (places,) int64, subticks, ascending
    copies: np.ndarray  # (places,) how many play the record that much later; a copy between two places is in both


def drawn_shifts_s(copies: int, spread_s: float, seed: int, stream: int) -> np.ndarray:
    """(copies,) shifts in s, normal with s.d. `spread_s`. A copy's depends on seed, stream and its number alone.

    Philox counts (Salmon et al., SC'11, doi 10.1145/2063384.2063405), one 64-bit word a copy, through the inverse of
    the normal distribution: at most 8.3 s.d.
    """
    words = np.random.Philox(key=np.array([seed, stream], np.uint64)).random_raw(copies)
    return spread_s * ndtri(((words >> np.uint64(11)) + 0.5) * 2.0**-53)


def shifts_of(job: ReplayJob, time_s: np.ndarray, seed: int, stream: int, dt_s: float) -> Shifts | None:
    """Shifts of the job's copies, to be made once per run; None where all play in step.

    Args:
      time_s: the record's times; those of a repeated one are its period, which shifts are taken modulo.
      stream: tells the job from others.
    """
    if job.phase_spread_s == 0.0:
        return None
    shift_s = drawn_shifts_s(job.copies, job.phase_spread_s, seed, stream)
    if job.repeat:
        half_s = 0.5 * lasting_s(time_s)
        shift_s = (shift_s + half_s) % (2.0 * half_s) - half_s
    return gathered(shift_s, dt_s)


def gathered(shift_s: np.ndarray, dt_s: float) -> Shifts:
    """Shifts on the grid: each copy shares itself between the two places about it, so that the mean shift is kept."""
    subticks = shift_s * (SUBTICKS / dt_s)
    below = np.floor(subticks).astype(np.int64)
    place, index = np.unique(np.concatenate([below, below + 1]), return_inverse=True)
    upper = subticks - below
    return Shifts(place, np.bincount(index, np.concatenate([1.0 - upper, upper])))


def resample_copies(
    time_s: np.ndarray,
    power_w: np.ndarray,
    first_tick: int,
    ticks: int,
    dt_s: float,
    interpolation: str,
    repeat: bool,
    copies: int,
    shifts: Shifts | None,
) -> np.ndarray:
    """(ticks,) tick means of the sum over copies of the record as `resample` plays it, each shifted by its own time.

    Copy i draws p(t - s_i). Without `repeat` a late copy holds the first value until it begins, and an early one the
    last value after it has ended. Without shifts all play in step, which costs what one does.

    The sum is a convolution with the copies' places, by FFT. The tick mean of a copy, as a function of its shift, is
    joined by lines between places d = dt/8 apart. Its second derivative is (p'(end) - p'(begin))/dt, so that a copy's
    tick mean is off by at most d^2/8 D/dt = D dt/512, with D the largest difference of slopes a tick apart, where
    power is joined by lines, and by d/4 J/dt = J/32 in the two ticks about a jump J ("previous"). Over many copies this
    is a blur of variance d^2/6: a sine of w rad/s keeps 1 - (w d)^2/12 of itself, all but 1.3e-4 at a twentieth of the
    tick rate and 1.3 % at half of it. Means are kept.
    """
    if shifts is None:
        return copies * resample(time_s, power_w, first_tick, ticks, dt_s, interpolation, repeat)
    fine_s, fine_ticks, total = dt_s / SUBTICKS, ticks * SUBTICKS, np.zeros(ticks)
    for first, weights in _blocks(shifts, _constant_beyond(time_s, first_tick, ticks, dt_s, repeat)):
        begin = first_tick * SUBTICKS - (first + len(weights) - 1)
        begin_s = float(Fraction(begin, SUBTICKS) * fraction(dt_s))
        count = fine_ticks + len(weights) - 1
        means_w = _means(time_s, power_w, begin_s, count, fine_s, interpolation, repeat)
        length = next_fast_len(count, real=True)
        summed_w = np.fft.irfft(np.fft.rfft(means_w, length) * np.fft.rfft(weights, length), length)
        total += summed_w[len(weights) - 1 : count].reshape(ticks, SUBTICKS).mean(axis=1)
    # The sum of what lies in the record's range lies in N times that range: takes away the transform's rounding.
    return np.clip(total, copies * power_w.min(), copies * power_w.max())


def _constant_beyond(time_s: np.ndarray, first_tick: int, ticks: int, dt_s: float, repeat: bool) -> tuple[int, int]:
    """Places beyond which a shift makes no difference in a window: the copy is before its start or after its end."""
    if repeat:
        return np.iinfo(np.int64).min, np.iinfo(np.int64).max
    lasting = int(np.ceil((time_s[-1] - time_s[0]) * SUBTICKS / dt_s)) + 1
    return first_tick * SUBTICKS - lasting, (first_tick + ticks) * SUBTICKS + 1


def _blocks(shifts: Shifts, beyond: tuple[int, int]) -> Iterator[tuple[int, np.ndarray]]:
    """First place and copies from it on, block by block of at most BLOCK places; empty blocks are left out."""
    place = np.clip(shifts.place, *beyond)
    block = (place - place[0]) // BLOCK
    for part in np.split(np.arange(len(place)), np.flatnonzero(np.diff(block)) + 1):
        first = place[part[0]]
        yield int(first), np.bincount(place[part] - first, shifts.copies[part])


def refresh_s(time_s: np.ndarray, power_w: np.ndarray) -> float:
    """Interval at which a file's values really change: the sampling interval, or longer where a meter holds its values
    while it is polled faster (NVML on H100: polled every 20 ms, new every 103 ms, 81 % of polls repeat).

    Rule. Take the runs of exactly equal values, but for the first and the last, which are cut off. A constant stretch,
    however long, is one run among many. With m the median number of samples in a run, the file refreshes every mean
    duration of the runs of m/2 to 3m/2 samples, if m >= 2 and all of the following hold; else with every sample:
      - at most a tenth of the runs have at most m/2 samples. A meter changes its values at even intervals. Values that
        coincide by chance with probability q from sample to sample make runs of k with q^(k-1) (1 - q), of which at
        least 0.206 (at m = 3) have at most m/2 samples;
      - most changes are larger than the smallest one: else it is a slow signal, written with few digits;
      - ten or more values are distinct: else it is a made file of a few levels, where long runs are what it means.
    """
    sampling_s = float(np.median(np.diff(time_s)))
    if all(len(np.unique(values)) < FEWEST_VALUES for values in (power_w[:FEW], power_w)):  # sorts all for few
        return sampling_s
    steps_w = np.abs(np.diff(power_w))
    change = np.flatnonzero(steps_w)
    samples, median = np.diff(change), np.median(np.diff(change))
    early = np.mean(samples <= 0.5 * median)
    by_digit = np.mean(steps_w[change] < 1.5 * steps_w[change].min())
    if median < 2 or early > MOST_EARLY or by_digit > 0.5:
        return sampling_s
    usual = (samples > 0.5 * median) & (samples <= 1.5 * median)
    return max(sampling_s, float(np.mean(np.diff(time_s[change + 1])[usual])))


def held_s(time_s: np.ndarray, power_w: np.ndarray) -> float:
    """`refresh_s` where a meter holds its values while it is polled faster, else 0."""
    return _held_s(time_s, refresh_s(time_s, power_w))


def _held_s(time_s: np.ndarray, refresh: float) -> float:
    return refresh if refresh > 1.5 * float(np.median(np.diff(time_s))) else 0.0


def described(path: str, time_s: np.ndarray, power_w: np.ndarray, held: float) -> str:
    """How a record was sampled, in words. `held`: its `held_s`."""
    text = f"{path}: samples are {np.median(np.diff(time_s)):.3g} s apart"
    if not held:
        return text
    repeated = np.mean(np.diff(power_w) == 0.0)
    return f"{text}, but values change only every {held:.3g} s ({repeated:.0%} repeat the one before)"


def warnings(job: ReplayJob, time_s: np.ndarray, power_w: np.ndarray, dt_s: float) -> list[str]:
    """What a replay cannot carry, in words: where the file's real refresh says less than half a sample per period at
    `bandwidth_hz`; with that left out, where values repeat and ticks are shorter than the refresh."""
    refresh = refresh_s(time_s, power_w)
    held, carried_hz = _held_s(time_s, refresh), 0.5 / refresh
    wanted_hz = job.bandwidth_hz or (0.5 / dt_s if held else 0.0)
    if carried_hz >= wanted_hz * (1.0 - 1e-9):  # a hertz for a hertz, whatever the rounding of times
        return []
    asked = f"bandwidth_hz asks for {wanted_hz:g} Hz"
    if job.bandwidth_hz is None:
        asked = f"ticks of {dt_s:g} s would show {wanted_hz:g} Hz; set bandwidth_hz to what you need"
    return [f"{described(job.path, time_s, power_w, held)}: it carries at most {carried_hz:.3g} Hz, {asked}"]


def flagged(jobs: Iterable[Job], dt_s: float) -> list[str]:
    """What to know about the replayed files among jobs, in words: their `warnings`, and which may be cut off.

    Raises:
      RecordError: as `power_file.read`.
    """
    words = []
    for job in jobs:
        if isinstance(job, ReplayJob):
            words += [*filter(None, [power_file.caution(job.path)]), *warnings(job, *read(job), dt_s)]
    return words
