"""What a fit found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import t as student

from emulator import schema, tunables
from emulator.fit_problem import Task
from emulator.fit_solve import Direction, Information, Solution, part_of

EDGE = 1e-3  # share of its bounds' width within which a parameter counts as held by one
LEAST_FREEDOM = 1.0  # of an error, below which intervals for 68 % hold 92 % and more (docs/fit.md): it is not stated
ONE, TWO = 0.6827, 0.9545  # shares of a normal distribution within one and two s.d.


@dataclass(frozen=True)
class Estimate:
    """One number of the configuration, found anew."""

    name: str  # dotted path
    start: float
    value: float
    deviation: float  # s.d.; NaN = not identified, or held by a bound; infinite = too little is known to state it
    freedom: float  # degrees of freedom of the s.d.
    held: Literal["", "low", "high"] = ""  # the bound that holds it

    root: bool = False  # a s.d., found from its square: so are its intervals, which may reach 0

    def within(self, share: float) -> float:
        """Half width of the interval that holds the true number so often, by Student's distribution; of a s.d., of the
        longer side."""
        times = float(student.ppf(0.5 + 0.5 * share, self.freedom))
        if not self.root or not np.isfinite(self.deviation):
            return times * self.deviation
        square, off = self.value**2, times * self.deviation * max(2.0 * self.value, self.deviation)
        low, high = (float(np.sqrt(max(each, 0.0))) for each in (square - off, square + off))
        return max(self.value - low, high - self.value)


@dataclass(frozen=True)
class Open:
    """Parameters whose common change leaves no trace in the recording, or hardly one, and how they go together."""

    names: tuple[str, ...]
    shares: tuple[float, ...]  # of the change, the largest 1
    deviation: float  # relative, along it; infinite = no trace at all


@dataclass(frozen=True)
class Fitted:
    """A fit: the scenario with what was found, and how good that is."""

    scenario: schema.Scenario
    quantity: Literal["power", "frequency"]
    place: str  # SITE/JOB, or the area
    estimates: tuple[Estimate, ...]
    open: tuple[Open, ...]
    notes: tuple[str, ...]
    time_s: np.ndarray  # (rows,) of the recording
    measured: np.ndarray  # (rows,) MW or Hz
    fitted: np.ndarray  # (rows,) likewise, NaN where the recording was left out
    row_s: float
    message: str  # why the search ended early; "" where it converged
    complete: bool  # False where Ctrl-C ended it

    @property
    def residual_rms(self) -> float:
        """MW or Hz, over the rows that count."""
        return float(np.sqrt(np.nanmean((self.measured - self.fitted) ** 2)))

    @property
    def explained(self) -> float:
        """Share of the recording's variance, over the rows that count, that the fit accounts for."""
        there = np.isfinite(self.fitted)
        spread = self.measured[there].var()
        return float(1.0 - np.mean((self.measured - self.fitted)[there] ** 2) / spread) if spread > 0.0 else 0.0


def held(place: np.ndarray, bounds: tuple[np.ndarray, np.ndarray]) -> list[Literal["", "low", "high"]]:
    """Which bound holds each coordinate."""
    low, high = bounds
    share = (place - low) / (high - low)
    return ["low" if each < EDGE else "high" if each > 1.0 - EDGE else "" for each in share]


def opened(directions: tuple[Direction, ...], names: tuple[str, ...]) -> tuple[Open, ...]:
    """Open directions by name; the fit's own auxiliary coordinates, which come last, are left out."""
    found = []
    for direction in directions:
        part = [i for i in np.flatnonzero(part_of(direction)) if i < len(names)]
        if part:
            found.append(Open(tuple(names[i] for i in part), tuple(direction.step[part]), direction.deviation))
    return tuple(found)


def estimates_of(
    task: Task, solution: Solution, information: Information, bounds: tuple[np.ndarray, np.ndarray]
) -> tuple[Estimate, ...]:
    """The task's parameters, whose coordinates come first in the solution."""
    count = len(task.paths)
    values = task.values(solution.place[:count])
    errors = information.deviation()[:count] * np.where(task.log, values, task.unit)
    errors[information.freedom[:count] < LEAST_FREEDOM] += np.inf  # what is not identified stays NaN
    freedoms, bounded = information.freedom[:count], held(solution.place, bounds)[:count]
    columns = (task.parameters, task.start, values, errors, freedoms, bounded)
    return tuple(
        Estimate(parameter.path, float(start), getattr(parameter, bound), np.nan, np.nan, bound)
        if bound
        else Estimate(parameter.path, float(start), float(value), float(error), float(freedom))
        for parameter, start, value, error, freedom, bound in zip(*columns, strict=True)
    )


def with_estimates(scenario: schema.Scenario, estimates: Iterable[Estimate]) -> schema.Scenario:
    """The scenario with what was found."""
    values = {tunables.resolve(scenario, each.name): each.value for each in estimates}
    return tunables.with_values(scenario, values)
