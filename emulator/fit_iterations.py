"""Iterations in a recorded power: where each begins, and what differs from one to the next. NumPy and SciPy.

The period comes from the autocorrelation; single iterations from where the record is most like a template, the mean
iteration about its largest edge, sharpened a few times; at last from where it is closest to the emulated iteration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.signal import correlate, find_peaks

from emulator.fit_errors import autocorrelation, jackknife, root_error

FEWEST = 3  # whole iterations that a fit needs
FLAT = 1e-6  # change over size below which a record is constant but for rounding
AWAY = 1.6  # factor about the configured period within which the recorded one is looked for: an octave is beyond it
LEAST_ALIKE = 0.5  # correlation coefficient of an iteration with the template below which it is something else
ODD = 0.3  # an iteration whose length differs by more than this share from the median is something else
SHARPENED = 3  # rounds of averaging the template
LEAST_RATIO, MOST_RATIO = 0.05, 0.999  # c(2 d)/c(d) between which a correlation time shows
STEPS = 8  # places per row that the last alignment tries


class FitError(Exception):
    """A recording that cannot be fitted, in words for the user."""


@dataclass(frozen=True)
class Iterations:
    """Iterations of a record that are used."""

    start_s: np.ndarray  # (iterations,)
    length_s: np.ndarray  # (iterations,)
    left_out: int  # which were interrupted or unlike the others

    def of(self, time_s: np.ndarray) -> np.ndarray:
        """(n,) the iteration before whose successor's start times lie; before the first one, that one."""
        return np.maximum(np.searchsorted(self.start_s, time_s, side="right") - 1, 0)

    @property
    def period_s(self) -> float:
        """Length of an iteration without jitter: T_i = T/(1 + xi_i), xi of mean 0, makes it the harmonic mean."""
        return float(1.0 / np.mean(1.0 / self.length_s))

    @property
    def jitter(self) -> float:
        """S.d. of xi."""
        return float(np.std(self.period_s / self.length_s, ddof=1))


def period_of(values: np.ndarray, row_s: float, guess_s: float) -> float:
    """Period of a record near a guess: the highest peak of its autocorrelation there.

    Raises:
      FitError: too short a record, or none that repeats itself.
    """
    rows, span_s = len(values), len(values) * row_s
    if span_s < (FEWEST + 1) * guess_s / AWAY:
        raise FitError(
            f"the recording covers {span_s:.4g} s; {FEWEST} whole iterations of some {guess_s:.4g} s, as CONFIG has "
            f"them, need {(FEWEST + 1) * guess_s:.4g} s"
        )
    correlation = autocorrelation(values) * (rows / np.arange(rows, 0, -1))
    if np.ptp(values) <= FLAT * np.abs(values).max():
        raise FitError("the recorded power is constant: there is no iteration in it")
    low, high = int(guess_s / AWAY / row_s), min(int(np.ceil(guess_s * AWAY / row_s)), rows - 2)
    peaks, _ = find_peaks(correlation[low : high + 1], height=0.1)
    if not len(peaks):
        raise FitError(
            f"the recorded power does not repeat itself after {guess_s / AWAY:.4g} to {guess_s * AWAY:.4g} s; phases "
            f"of CONFIG add up to {guess_s:.4g} s: bring them near the iteration's length"
        )
    best = low + peaks[np.argmax(correlation[low + peaks])]
    return (best + vertex(*correlation[best - 1 : best + 2])) * row_s


def vertex(before: float, at: float, after: float) -> float:
    """Place of a parabola's extremum, in steps from its middle point."""
    bend = before - 2.0 * at + after
    return 0.5 * (before - after) / bend if bend else 0.0


def recurrences(values: np.ndarray, row_s: float, period_s: float) -> np.ndarray:
    """(n,) times at which the largest edge of an iteration recurs, ascending."""
    half = int(round(0.5 * period_s / row_s))
    smooth = np.ones(max(1, half // 50))
    jump = np.abs(np.diff(np.convolve(values, smooth / smooth.size, "same")))
    middle = slice(half, len(values) - half - 1)
    at = half + int(np.argmax(jump[middle]))
    template = values[at - half : at + half + 1]
    times = np.zeros(0)
    for _ in range(SHARPENED):
        times = alike(values, row_s, template, period_s)
        offsets = np.arange(-half, half + 1) * row_s
        rows = np.arange(len(values)) * row_s
        template = np.mean([np.interp(t + offsets, rows, values) for t in times], axis=0) if len(times) else template
    return times


def alike(values: np.ndarray, row_s: float, template: np.ndarray, period_s: float) -> np.ndarray:
    """(n,) times at which the middle of a template lies best: peaks of the correlation coefficient under a window that
    weighs its middle most, so that an iteration's length hardly matters."""
    weight = np.hanning(len(template) + 2)[1:-1]
    weight = weight / weight.sum()
    wave = weight * (template - weight @ template)
    mean, square = (correlate(x, weight, "valid") for x in (values, values**2))
    scale = np.sqrt(np.maximum(square - mean**2, 1e-12 * values.var()) * (wave @ template))
    likeness = correlate(values, wave, "valid") / scale
    peaks, _ = find_peaks(likeness, height=LEAST_ALIKE, distance=max(1, int(0.5 * period_s / row_s)))
    fine = [at + vertex(*likeness[at - 1 : at + 2]) for at in peaks]
    return (np.array(fine) + len(template) // 2) * row_s


def iterations_at(times: np.ndarray) -> Iterations:
    """Iterations between recurrences; those of odd length are left out.

    Raises:
      FitError: fewer than needed.
    """
    lengths = np.diff(times)
    usual = np.abs(lengths / np.median(lengths) - 1.0) < ODD if len(lengths) else np.zeros(0, bool)
    if usual.sum() < FEWEST:
        raise FitError(f"whole iterations that are alike in the recording: {usual.sum()}, at least {FEWEST} are needed")
    return Iterations(times[:-1][usual], lengths[usual], int((~usual).sum()))


def closest(
    values: np.ndarray, row_s: float, times: np.ndarray, reach_s: float, model: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Times (n,) moved to where the record is closest to a model, by least squares about each.

    Args:
      reach_s: how far about each time the record counts.
      model: (rows,) means over rows that begin at times from an iteration's start.
    """
    step_s = row_s / STEPS
    shifts = np.arange(-2 * STEPS, 2 * STEPS + 1) * step_s
    moved = []
    for time_s in times:
        first, last = int(np.ceil((time_s - reach_s) / row_s)), int((time_s + reach_s) / row_s)
        rows = np.arange(max(first, 0), min(last, len(values)))
        misfit = [np.sum((values[rows] - model(rows * row_s - time_s - shift)) ** 2) for shift in shifts]
        best = int(np.clip(np.argmin(misfit), 1, len(shifts) - 2))
        moved.append(time_s + shifts[best] + step_s * np.clip(vertex(*misfit[best - 1 : best + 2]), -1.0, 1.0))
    return np.array(moved)


@dataclass(frozen=True)
class Noise:
    """Fluctuations about the fitted iteration, as the emulator has them: s.d. per phase and a correlation time."""

    deviation: np.ndarray  # (phases,) in the record's unit; NaN where a phase is too short to tell
    deviation_error: np.ndarray  # (phases,); infinite where without one of the iterations there is too little left
    correlation_s: float  # NaN where rows are too long to tell
    correlation_error_s: float


def noise_of(
    residual: np.ndarray,
    astray: np.ndarray,
    phase: np.ndarray,
    which: np.ndarray,
    phases: int,
    lengths_s: tuple[float, float],
    given_s: float,
) -> Noise:
    """From residuals about the mean iteration, row by row; errors by leaving out iterations in turn.

    Args:
      residual: (rows,) apart from their mean over iterations, and larger by sqrt(n/(n - 1)) for that.
      astray: (rows,) s.d. that a row may have for other reasons: it is not taken off, but in the errors.
      phase: (rows,) the phase within which a row lies, away from its edges; -1 elsewhere.
      which: (rows,) the iteration that a row is in, from 0 on.
      lengths_s: of a row, and of what each is a mean over.
      given_s: correlation time to go by where the record cannot tell.
    """
    row_s, average_s = lengths_s
    apart = int(np.ceil(max(average_s / row_s, 1.0) - 1e-6))  # rows whose means have nothing in common
    products = np.array([_products(residual, phase, which, phases, lag) for lag in (apart, 2 * apart)])
    whole = products.sum(axis=2)
    moments = partial(_moments, apart_s=apart * row_s, average_s=average_s, given_s=given_s)
    found = moments(whole)
    without = np.array([moments(whole - each) for each in np.moveaxis(products, 2, 0)])
    count = len(without)  # without an iteration the mean is another: that moves a variance further by just this factor
    error = np.sqrt(np.diag(jackknife(without))) * (count - 1) / (count - 2)
    deviation = np.sqrt(np.maximum(found[:-1], 0.0))
    error = np.where(np.isnan(error), np.inf, error)
    inside = phase >= 0
    count = np.maximum(np.bincount(phase[inside], minlength=phases), 1)
    error[:-1] = np.hypot(error[:-1], np.bincount(phase[inside], astray[inside] ** 2, phases) / count)
    return Noise(deviation, root_error(deviation, error[:-1]), float(found[-1]), float(error[-1]))


def _moments(products: np.ndarray, apart_s: float, average_s: float, given_s: float) -> np.ndarray:
    """(phases + 1,) variance of every phase, then the correlation time; NaN for what does not show.

    Means over h of a fluctuation with variance v and correlation exp(-|t|/T) have, d >= h apart, the covariance
    c(d) = v (sinh(a) / a)^2 e^(-d/T), a = h/2T: c(2 d)/c(d) gives T, c(d) then v. c(0) is not used: a meter's own white
    noise is in it.

    Args:
      products: (2, 2, phases) at distances of `apart_s` and twice that: sums of products, and how many there are.
    """
    (first, pairs), (second, further) = products
    once = first[further > 0].sum()
    twice = (second * pairs / np.maximum(further, 1))[further > 0].sum()
    ratio = twice / once if once > 0.0 else 0.0
    told = LEAST_RATIO < ratio < MOST_RATIO
    correlation_s = -apart_s / np.log(ratio) if told else given_s
    a = average_s / (2.0 * correlation_s)
    shrunk = (-np.expm1(-2.0 * a) / (2.0 * a)) ** 2 * np.exp((average_s - apart_s) / correlation_s)
    variance = np.where(pairs > 0, first / np.maximum(pairs, 1), np.nan) / shrunk
    return np.append(variance, correlation_s if told else np.nan)


def _products(
    residual: np.ndarray, phase: np.ndarray, which: np.ndarray, phases: int, lag: int
) -> tuple[np.ndarray, np.ndarray]:
    """(iterations, phases) sums of products of rows `lag` apart in one phase, and how many there are."""
    end, shape = len(phase) - lag, (int(which.max()) + 1, phases)
    same = (phase[lag:] == phase[:end]) & (phase[lag:] >= 0) & (which[lag:] == which[:end])
    place, product = (which * phases + phase)[lag:][same], (residual[lag:] * residual[:end])[same]
    size = shape[0] * shape[1]
    return np.bincount(place, product, size).reshape(shape), np.bincount(place, minlength=size).reshape(shape)
