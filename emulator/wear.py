"""Wear of the batteries over a run: cycles counted by rainflow, and the capacity that they and the calendar cost.

    fade = EOL sum n d^k / N + calendar fade;   full cycles = sum n d
n: 1 or 1/2 of each cycle that is found, d its depth in state of charge; N(d) = N_100 d^-k as in `bess.ageing`.
Reference: ASTM E1049-85, sec. 5.4.4 (rainflow).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from emulator.bess_schema import Ageing
from emulator.cycles import Reversals, counted
from emulator.trace import Header
from emulator.units import S_PER_YEAR


class Wear:
    """Of the listed batteries, fed with consecutive rows; equal whatever the sizes of the blocks. Keeps the reversals
    of each state of charge."""

    CARRIED = ("_reversals", "_rows")

    def __init__(self, header: Header, ageing: Mapping[int, Ageing]) -> None:
        """ageing: by the battery's place."""
        self._names, self._row_s, self._ageing = header.labels["battery"], header.row_s, ageing
        self._reversals = [Reversals() for _ in self._names]
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
            depth, count = counted(reversals.all())
            at, table = f"battery.{name.replace('/', '.')}", self._ageing.get(i)
            found[f"{at}.full_cycles"] = float(np.sum(count * depth))
            found[f"{at}.capacity_fade"] = np.nan
            if table is not None:
                by_cycles = np.sum(count * depth**table.depth_exponent) / table.cycles_at_full_depth
                by_time = table.calendar_fade_per_year * self._rows * self._row_s / S_PER_YEAR
                found[f"{at}.capacity_fade"] = float(table.end_of_life_fade * by_cycles + by_time)
        return found
