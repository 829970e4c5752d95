"""A long series as few pairs of its smallest and largest value, so that a picture of it shows every peak."""

from __future__ import annotations

import numpy as np


class Envelope:
    """Smallest and largest value in each of `bins` equal parts of a run, (bins, curves) each. NaN where there is none.

    Fed with blocks of consecutive rows; a run of fewer rows than bins has a bin for each row.
    """

    def __init__(self, rows: int, curves: int, bins: int) -> None:
        self._rows, self._seen, self.bins = rows, 0, min(rows, bins)
        self.low, self.high = (np.full((self.bins, curves), np.nan) for _ in range(2))

    def add(self, values: np.ndarray) -> None:
        """The next rows, (rows, curves)."""
        at = np.arange(self._seen, self._seen + len(values)) * self.bins // self._rows
        starts = np.flatnonzero(np.diff(at, prepend=-1))
        at = at[starts]
        self.low[at] = np.fmin(self.low[at], np.fmin.reduceat(values, starts))
        self.high[at] = np.fmax(self.high[at], np.fmax.reduceat(values, starts))
        self._seen += len(values)
