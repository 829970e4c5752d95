"""Figures of columns that are gathered block by block in bounded memory, equal whatever the sizes of the blocks.

Blocks are (rows, columns), the rows evenly spaced; between them a column is a straight line, as in `power_metrics`.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d


class Sum:
    """Column sums: pairwise within a block, compensated (Neumaier) across blocks, so that block sizes do not show."""

    CARRIED = ("_high", "_low")

    def __init__(self, columns: int) -> None:
        self._high, self._low = np.zeros(columns), np.zeros(columns)

    @property
    def total(self) -> np.ndarray:
        """So far."""
        return self._high + self._low

    def add(self, block: np.ndarray) -> None:
        """Take in further rows."""
        # numpy sums pairwise along the fast axis only: columns are made contiguous first.
        part = np.sum(np.ascontiguousarray(block.T, np.float64), axis=1)
        high = self._high + part
        larger = np.abs(self._high) >= np.abs(part)
        self._low += np.where(larger, (self._high - high) + part, (part - high) + self._high)
        self._high = high


class Extremes:
    """Smallest and largest value of each column; a NaN stays."""

    CARRIED = ("_low", "_high")

    def __init__(self, columns: int) -> None:
        self._low, self._high = np.full(columns, np.inf), np.full(columns, -np.inf)

    def range(self, i: int) -> tuple[float, float]:
        """Of column i, NaN as long as there is no row."""
        empty = self._low[i] > self._high[i]
        return (np.nan, np.nan) if empty else (self._low[i], self._high[i])

    def add(self, block: np.ndarray) -> None:
        """Take in further rows."""
        self._low = np.minimum(self._low, block.min(axis=0))
        self._high = np.maximum(self._high, block.max(axis=0))


class Change:
    """Largest difference between rows at most `window` rows apart, by column. Keeps the last `window` rows."""

    CARRIED = ("_tail", "largest")

    def __init__(self, columns: int, window: int) -> None:
        self._window = window
        self._tail = np.zeros((0, columns))
        self.largest = np.full(columns, np.nan)

    def add(self, block: np.ndarray) -> None:
        """Take in further rows."""
        if not self._window or not block.shape[1]:
            return
        rows = np.concatenate([self._tail, block])
        self._tail = rows[-self._window :]
        if np.all(rows.max(axis=0) - rows.min(axis=0) <= self.largest):  # never of the first rows, nor with a NaN
            return  # at a tenth of the time: no two of these rows, however close, differ by more
        size = min(self._window, len(rows)) + 1
        # "nearest" repeats the edge rows, which lie in the window anyway: it adds no new values.
        high = maximum_filter1d(rows, size, axis=0, mode="nearest")
        low = minimum_filter1d(rows, size, axis=0, mode="nearest")
        self.largest = np.fmax(self.largest, (high - low).max(axis=0))


class Rate:
    """Largest difference between two instants so many rows apart, up or down, by column; NaN while there are none. As
    `power_metrics.ramp`, before it is divided by that time. Keeps the rows that one of them may still follow."""

    CARRIED = ("_tail", "largest")

    def __init__(self, columns: int, apart_rows: Fraction) -> None:
        self._whole, self._part = int(apart_rows), float(apart_rows % 1)
        self._tail = np.zeros((0, columns))
        self.largest = np.full(columns, np.nan)

    def add(self, block: np.ndarray) -> None:
        """Take in further rows."""
        rows = np.concatenate([self._tail, block])
        kept = self._whole + (self._part > 0.0)
        self._tail = rows[max(len(rows) - kept, 0) :]
        if len(rows) <= kept:
            return
        earlier, later = rows[: len(rows) - self._whole], rows[self._whole :]
        if not self._part:
            differences = [later - earlier]
        else:  # one of the two instants at a row, the other between two
            differences = [_between(later, self._part) - earlier[:-1], later[1:] - _between(earlier, 1.0 - self._part)]
        for difference in differences:
            self.largest = np.fmax(self.largest, np.abs(difference).max(axis=0))


def _between(rows: np.ndarray, part: float) -> np.ndarray:
    """Values on the lines from each row to the next, `part` of the way."""
    return rows[:-1] + part * (rows[1:] - rows[:-1])


class OutsideBand:
    """Rows on which a column is further from a value than a band, by column."""

    CARRIED = ("rows",)

    def __init__(self, columns: int, about: float, band: float) -> None:
        self._low, self._high = about - band, about + band
        self.rows = np.zeros(columns, np.int64)

    def add(self, block: np.ndarray) -> None:
        """Take in further rows."""
        self.rows += np.count_nonzero((block < self._low) | (block > self._high), axis=0)
