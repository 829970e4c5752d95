"""Spectrum of a power series over its whole length, in both readings: share of variance, and share of summed magnitude.

One transform, mean removed, no window. A variance reading squares what a magnitude reading adds up, so that many small
lines weigh little in the one and much in the other: the production trace of arXiv 2508.14318 has 14 % of its variance
and 41.5 % of its magnitude between 0.2 and 3 Hz. A limit means nothing until it says which is meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal.windows import flattop

LOBE_BINS = 5  # half width of what a line becomes under `flat_top`
# Below the grid's modes, electromechanical modes, the band of arXiv 2508.14318's plots, that of its example limit,
# torsion and control; Hz. They overlap, as the sources have them.
BANDS = ((0.0, 0.1), (0.1, 2.0), (0.2, 3.0), (0.1, 20.0), (3.0, 30.0))


@dataclass(frozen=True)
class Spectrum:
    """Lines of a series above 0 Hz, 1/duration apart, (bins,) each."""

    frequency_hz: np.ndarray
    amplitude: np.ndarray  # peak value of each sine, in the series' unit
    variance: np.ndarray  # of each; they add up to the series' variance (Parseval)


@dataclass(frozen=True)
class BandShare:
    """Part of a spectrum in a band, its lower edge included and its upper not. NaN where there is no swing at all."""

    low_hz: float
    high_hz: float
    variance: float  # of the whole variance
    magnitude: float  # of the amplitudes, added up


def of_series(values: np.ndarray, row_s: float) -> Spectrum:
    """Spectrum of (rows,) evenly spaced values.

    A line between two bins, or cut off in mid period, leaks 1/(pi k)^2 of its variance to the bin k away.
    """
    rows = len(values)
    values = values.astype(np.float64)
    amplitude = np.abs(np.fft.rfft(values - values.mean()))[1:] * (2.0 / rows)
    variance = 0.5 * amplitude**2
    if rows % 2 == 0 and rows:  # the last bin alternates from row to row: it is not one of a pair
        amplitude[-1:] *= 0.5
        variance[-1:] *= 0.5
    return Spectrum(np.arange(1, len(amplitude) + 1) / (rows * row_s), amplitude, variance)


def amplitude_at(values: np.ndarray, row_s: float, frequency_hz: float) -> float:
    """Peak value of the sine at one frequency in (rows,) evenly spaced values, as a line of `of_series` there."""
    values = values.astype(np.float64)
    turns = np.exp(-2.0j * np.pi * frequency_hz * row_s * np.arange(len(values)))
    return float(2.0 * np.abs(np.dot(values - values.mean(), turns)) / len(values))


def flat_top(rows: int) -> np.ndarray:
    """(rows,) weights of mean 1, under which a line shows its amplitude wherever between two bins it lies, to 0.2 %
    (0.02 dB), and nothing beyond LOBE_BINS bins. Flat-top window, D'Antona and Ferrero 2006."""
    weights = flattop(rows, sym=False)
    return weights / weights.mean()


def of_lines(values: np.ndarray, row_s: float) -> tuple[np.ndarray, np.ndarray]:
    """(bins,) frequencies above 0 Hz and (bins,) peak values of sines in (rows,) evenly spaced values. `of_series` adds
    up to the variance but shows a line between two bins up to 36 % too small; this shows its size."""
    rows = len(values)
    values = values.astype(np.float64)
    amplitude = np.abs(np.fft.rfft((values - values.mean()) * flat_top(rows)))[1:] * (2.0 / rows)
    return np.arange(1, len(amplitude) + 1) / (rows * row_s), amplitude


def bins(frequency_hz: np.ndarray, low_hz: float, high_hz: float) -> slice:
    """Those in a band, its lower edge included and its upper not."""
    edges_hz = np.array([low_hz, high_hz]) * (1.0 - 1e-12)  # a line on an edge stays there, whatever its rounding
    return slice(*np.searchsorted(frequency_hz, edges_hz))


def within(spectrum: Spectrum, low_hz: float, high_hz: float) -> Spectrum:
    """The lines in a band, its lower edge included and its upper not."""
    band = bins(spectrum.frequency_hz, low_hz, high_hz)
    return Spectrum(spectrum.frequency_hz[band], spectrum.amplitude[band], spectrum.variance[band])


def share(spectrum: Spectrum, low_hz: float, high_hz: float) -> BandShare:
    """Both readings of a band."""
    band, parts = within(spectrum, low_hz, high_hz), []
    for part, whole in ((band.variance, spectrum.variance), (band.amplitude, spectrum.amplitude)):
        parts.append(float(part.sum() / whole.sum()) if whole.sum() > 0.0 else float("nan"))
    return BandShare(low_hz, high_hz, *parts)


def shares(spectrum: Spectrum, bands: Sequence[tuple[float, float]] = BANDS) -> tuple[BandShare, ...]:
    """Both readings of each band."""
    return tuple(share(spectrum, low_hz, high_hz) for low_hz, high_hz in bands)


def dominant(spectrum: Spectrum, count: int) -> tuple[tuple[float, float], ...]:
    """Frequency in Hz and amplitude of the largest lines, largest first: bins that exceed both their neighbours, so
    that what one line leaks does not count as others. Fewer than `count` where there are no more."""
    beside = np.concatenate([[-np.inf], spectrum.amplitude, [-np.inf]])
    peaks = np.flatnonzero((spectrum.amplitude > beside[:-2]) & (spectrum.amplitude > beside[2:]))
    largest = peaks[np.argsort(-spectrum.amplitude[peaks], kind="stable")][:count]
    return tuple((float(spectrum.frequency_hz[i]), float(spectrum.amplitude[i])) for i in largest)


def meter_gain(frequency_hz: float, averaging_s: float) -> float:
    """What a meter that reports means over `averaging_s` leaves of a swing: |sin(pi f T)/(pi f T)|."""
    return float(np.abs(np.sinc(frequency_hz * averaging_s)))
