"""A trace and all that the page says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from emulator.limits import Assessment
from emulator.measures import Figure
from emulator.recording import Rating
from emulator.report.gather import Gathered
from emulator.report.moments import Clip, Moment


@dataclass(frozen=True)
class Run:
    """One of the runs on the page."""

    label: str  # A, B, ... where there are several
    title: str  # the run's name; its file's where another has the same
    found: Gathered
    assessment: Assessment | None
    metrics: Sequence[Figure]  # as `wattswing assess --metrics`
    ratings: Mapping[str, Rating]  # of batteries, by place
    modes: list[tuple[float, float]] | str  # frequency in Hz and damping ratio of each, or why there are none
    moments: list[Moment]
    clips: list[Clip]

    def named(self, text: str) -> str:
        """A text with the label, where there is one."""
        return f"{self.label}: {text}" if self.label else text

    @cached_property
    def _metrics(self) -> dict[tuple[str, str, str], Figure]:
        return {(its.quantity, its.where, its.name): its for its in self.metrics}

    def metric(self, quantity: str, where: str, name: str) -> Figure | None:
        """One of the metrics, if the trace has it."""
        return self._metrics.get((quantity, where, name))

    def value(self, quantity: str, where: str, name: str) -> float:
        """Of one of the metrics; NaN if the trace does not have it."""
        found = self.metric(quantity, where, name)
        return np.nan if found is None else found.value

    def places(self, quantity: str) -> tuple[str, ...]:
        """Where the metrics of a quantity were taken."""
        return tuple(dict.fromkeys(its.where for its in self.metrics if its.quantity == quantity))


def shared(said: Sequence[tuple[str, str]]) -> list[str]:
    """What is said of runs, (label, words) each; what holds for several once."""
    words = dict.fromkeys(text for _, text in said)
    labels = {text: ", ".join(label for label, its in said if its == text) for text in words}
    return [f"{label}: {text}" if label else text for text, label in labels.items()]
