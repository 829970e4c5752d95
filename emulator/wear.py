"""Wear of the batteries over a run: cycles counted by rainflow, and the capacity that they and the calendar cost.

    fade = EOL sum n d^k / N + calendar fade;   full cycles = sum n d
n: 1 or 1/2 of each cycle that is found, d its depth in state of charge; N(d) = N_100 d^-k as in `bess.ageing`.
Reference: ASTM E1049-85, sec. 5.4.4 (rainflow).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import rainflow

from emulator.bess_schema import Ageing
from emulator.trace import Header
from emulator.units import S_PER_YEAR


class Wear:
    """Of the listed batteries, fed with consecutive rows; equal whatever the sizes of the blocks. Keeps the reversals
    of each state of charge."""

    CARRIED = ("_reversals", "_rows")

    def __init__(self, header: Header, ageing: Mapping[int, Ageing]) -> None:
        """ageing: by the battery's place."""
        self._names, self._row_s, self._ageing = header.labels["battery"], header.row_s, ageing
        self._reversals = [_Reversals() for _ in self._names]
        self._rows = 0

    def add(self, soc: np.ndarray) -> None:
        """Take in further rows, (rows, batteries)."""
        for column, reversals in zip(soc.T, self._reversals, strict=True):
            reversals.add(column)
        self._rows += len(soc)

    def result(self) -> dict[str, float]:
        """Metrics so far; fade is NaN where no ageing is given."""
        found = {}
        for i, (name, reversals) in enumerate(zip(self._names, self._reversals, strict=True)):
            cycles = np.array([(depth, count) for depth, _, count, _, _ in rainflow.extract_cycles(reversals.all())])
            depth, count = cycles.reshape(-1, 2).T
            at, table = f"battery.{name.replace('/', '.')}", self._ageing.get(i)
            found[f"{at}.full_cycles"] = float(np.sum(count * depth))
            found[f"{at}.capacity_fade"] = np.nan
            if table is not None:
                by_cycles = np.sum(count * depth**table.depth_exponent) / table.cycles_at_full_depth
                by_time = table.calendar_fade_per_year * self._rows * self._row_s / S_PER_YEAR
                found[f"{at}.capacity_fade"] = float(table.end_of_life_fade * by_cycles + by_time)
        return found


class _Reversals:
    """First value, every value at which a series turns, and the last one."""

    CARRIED = ("_parts", "_tail")

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self._tail = np.zeros(0)  # the last two values that differ

    def add(self, values: np.ndarray) -> None:
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
