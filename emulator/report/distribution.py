"""Distributions of a long power series in bounded memory: time above a level, movement within a time."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, frexp

import numpy as np

from emulator.clock import fraction
from emulator.tallies import Change

MOST_LEVELS = 1024


class Durations:
    """Rows at or above each of at most 1,024 levels, fed with blocks in any division.

    Levels are whole multiples of a power of two, doubled whenever the series outgrows them, so that counts stay exact.
    """

    def __init__(self) -> None:
        self._exponent, self._first = 0, 0  # counts[i] holds values from (first + i) 2^exponent on
        self._counts = np.zeros(0, np.int64)

    def add(self, values: np.ndarray) -> None:
        """The next rows, (rows,). Values that are not finite are left out."""
        values = np.asarray(values, np.float64)
        values = values[np.isfinite(values)]
        if not len(values):
            return
        self._widen(float(values.min()), float(values.max()))
        at = np.floor(np.ldexp(values, -self._exponent)).astype(np.int64) - self._first
        self._counts += np.bincount(at, minlength=len(self._counts))

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """(n,) levels, falling, and the share of rows at or above each; empty without rows."""
        if not self._counts.any():
            return np.zeros(0), np.zeros(0)
        above = np.cumsum(self._counts[::-1]) / self._counts.sum()
        levels = np.ldexp(np.arange(self._first + len(self._counts) - 1, self._first - 1, -1.0), self._exponent)
        shown = np.diff(above, prepend=0.0) > 0.0
        return levels[shown], above[shown]

    def _widen(self, low: float, high: float) -> None:
        """Levels from `low` to `high` besides those before."""
        if len(self._counts):
            low = min(low, float(np.ldexp(self._first, self._exponent)))
            high = max(high, float(np.ldexp(self._first + len(self._counts) - 1, self._exponent)))
        else:
            self._exponent = frexp(max(high - low, 1e-9 * max(abs(high), 1.0)) / MOST_LEVELS)[1]
            self._first = floor(low * 2.0**-self._exponent)
        while floor(high * 2.0**-self._exponent) - floor(low * 2.0**-self._exponent) >= MOST_LEVELS:
            self._halve()
        first, last = (floor(end * 2.0**-self._exponent) for end in (low, high))
        before = self._first - first if len(self._counts) else 0
        self._counts = np.pad(self._counts, (before, last - first + 1 - before - len(self._counts)))
        self._first = first

    def _halve(self) -> None:
        """Two levels in one."""
        counts = np.pad(self._counts, (self._first % 2, 0))
        counts = np.pad(counts, (0, len(counts) % 2))
        self._counts, self._first = counts.reshape(-1, 2).sum(axis=1), self._first // 2
        self._exponent += 1


class ChangeCurve:
    """Largest change, largest less smallest value, within windows of several lengths; every row counts."""

    def __init__(self, windows_s: Sequence[float], rows: int, dt_s: float, every_ticks: int) -> None:
        """Windows shorter than two rows or longer than the run are left out."""
        row = fraction(dt_s) * every_ticks
        lengths = {window_s: floor(fraction(window_s) / row) for window_s in sorted(set(windows_s))}
        self._changes = {window_s: Change(1, n) for window_s, n in lengths.items() if 1 <= n <= rows}

    def add(self, values: np.ndarray) -> None:
        """The next rows, (rows,)."""
        for change in self._changes.values():
            change.add(values[:, None])

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """(n,) lengths of windows in s, rising, and the largest change within each."""
        largest = [float(change.largest[0]) for change in self._changes.values()]
        return np.array(list(self._changes), np.float64), np.array(largest, np.float64)
