"""Cycles of a series by rainflow, from its reversals alone, which are gathered block by block.

Reference: ASTM E1049-85, sec. 5.4.4 (rainflow).
"""

from __future__ import annotations

import numpy as np
import rainflow

WORTH_A_PASS = 0.01  # share of the reversals that a further pass of `without_small` must have taken out


class Reversals:
    """First value, every value at which a series turns, and the last one; equal whatever the sizes of the blocks."""

    CARRIED = ("_parts", "_tail")

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self._tail = np.zeros(0)  # the last two values that differ

    def add(self, values: np.ndarray) -> None:
        """Take in further values, (rows,)."""
        series = np.concatenate([self._tail, np.asarray(values, np.float64)])
        series = series[np.append(True, np.diff(series) != 0.0)] if len(series) else series
        if len(series) < 3:
            self._keep_first(series)
            return
        rises = np.diff(series) > 0.0
        turns = np.flatnonzero(rises[1:] != rises[:-1]) + 1
        self._keep_first(series)
        self._parts.append(series[turns])
        self._tail = series[-2:]

    def _keep_first(self, series: np.ndarray) -> None:
        if not self._parts and len(series):
            self._parts.append(series[:1])
        self._tail = series[-2:]

    def all(self) -> np.ndarray:
        """So far."""
        return np.concatenate([*self._parts, self._tail[-1:]])


def counted(reversals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(cycles,) ranges, largest less smallest value of each, and (cycles,) 1 for a whole and 1/2 for a half cycle."""
    if len(reversals) == 2:  # a record that never turns, which `rainflow` counts as nothing
        return np.abs(np.diff(reversals)), np.array([0.5])
    cycles = np.array([(size, count) for size, _, count, _, _ in rainflow.extract_cycles(reversals)])
    size, count = cycles.reshape(-1, 2).T
    return size, count


def without_small(reversals: np.ndarray, least: float) -> np.ndarray:
    """Reversals without most of the cycles of a range below `least`; all larger cycles stay as they are.

    A range between two that are at least as large is a cycle of its own, which rainflow takes out before it counts the
    larger ones around it. Here all of them go at once, pass by pass, as long as that is worth a pass.
    """
    while len(reversals) > 3:
        sizes = np.abs(np.diff(reversals))
        inner = sizes[1:-1]
        small = np.flatnonzero((inner < least) & (inner <= sizes[:-2]) & (inner < sizes[2:])) + 1  # never neighbours
        if len(small) <= WORTH_A_PASS * len(reversals):
            break
        reversals = np.delete(reversals, np.concatenate([small, small + 1]))
    return reversals
