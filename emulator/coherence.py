"""How far power series swing together, band by band: N of them sum to N times one (in step) or sqrt(N) times (apart).

Load positive; series in any one unit of power, (rows, n); frequencies in Hz. A coherence of envelopes or of hourly
means says nothing about that of swings at 0.1 to 10 Hz: it is a property of a band (arXiv 2606.13853).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class BandCoherence:
    """Coherence of series in a band of frequencies, low included, high not."""

    low_hz: float
    high_hz: float
    rho: float  # mean correlation of two of the series: 1 in step, 0 independent, at least -1/(n - 1); NaN: no swing
    share: float  # the band's part of the variance of the sum
    series_share: float  # the band's part of the series' own variances, added up


def in_bands(
    series: np.ndarray, dt_s: float, bands: Sequence[tuple[float, float]], window: Literal["none", "hann"] = "none"
) -> tuple[BandCoherence, ...]:
    """Mean correlation of the series in each band, from Var(sum) = N s^2 [1 + (N - 1) rho] (arXiv 2606.13853), here
    for unequal variances: rho = (S_sum - sum_i S_i) / sum_{i != j} sqrt(S_i S_j), S the variance within the band.

    One transform of the whole length, mean removed; S adds up the power of the band's bins. Window "none" suits whole
    periods: then S over all bins is the variance, exactly, and the shares over all bands add up to 1. Where periods
    are cut, a line leaks 1/(pi k)^2 of its power to the bin k away; "hann" keeps all but a few bins free of it and
    gives the variance weighted by the window. A line within two bins of a band's edge counts in both bands then.

    For n independent series rho is 0 with a standard error of 1 / sqrt(n (n - 1) K), where K = (sum_k s_k)^2 /
    sum_k s_k^2 is how many of the band's bins hold its power s.

    Args:
      series: (rows, n) with n >= 2.
      dt_s: time from row to row.

    Raises:
      ValueError: fewer than two series; a band without a bin of the transform, which are 1/(rows dt_s) apart.
    """
    if series.ndim != 2 or series.shape[1] < 2:
        raise ValueError(f"series of shape {series.shape}: (rows, n) with two series or more are needed")
    series = series.astype(np.float64)
    power, frequency_hz = _bin_power(series, dt_s, window)
    together = _bin_power(series.sum(axis=1, keepdims=True), dt_s, window)[0][:, 0]
    found = []
    for low_hz, high_hz in bands:
        inside = (frequency_hz >= low_hz) & (frequency_hz < high_hz)
        if not inside.any():
            raise ValueError(f"no bin from {low_hz:g} to {high_hz:g} Hz: bins are {frequency_hz[0]:g} Hz apart")
        own, total = power[inside].sum(axis=0), together[inside].sum()
        pairs = np.sqrt(own).sum() ** 2 - own.sum()
        rho = (total - own.sum()) / pairs if pairs > 0 else np.nan
        found.append(
            BandCoherence(
                low_hz,
                high_hz,
                rho=float(rho),
                share=_share(total, together.sum()),
                series_share=_share(own.sum(), power.sum()),
            )
        )
    return tuple(found)


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")


def _bin_power(series: np.ndarray, dt_s: float, window: str) -> tuple[np.ndarray, np.ndarray]:
    """(bins, n) one-sided power, which sums to the (weighted) variance, and the (bins,) frequencies above 0."""
    rows = len(series)
    weight = np.ones(rows) if window == "none" else _hann(rows)
    weight = weight / np.sqrt(np.sum(weight**2) * rows)
    power = np.abs(np.fft.rfft(weight[:, None] * (series - series.mean(axis=0)), axis=0)[1:]) ** 2
    power[: (rows - 1) // 2] *= 2.0  # two-sided but for the last bin of an even number of rows
    return power, np.fft.rfftfreq(rows, dt_s)[1:]


def _hann(rows: int) -> np.ndarray:
    """Periodic Hann window."""
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(rows) / rows)
