"""A trace and all that the page says of it."""

from __future__ import annotations

from dataclasses import dataclass

from emulator.limits import Assessment
from emulator.report.gather import Gathered
from emulator.report.moments import Clip, Moment


@dataclass(frozen=True)
class Run:
    """One of the runs on the page."""

    label: str  # A, B, ... where there are several
    found: Gathered
    assessment: Assessment | None
    modes: list[tuple[float, float]] | str  # frequency in Hz and damping ratio of each, or why there are none
    moments: list[Moment]
    clips: list[Clip]

    def named(self, text: str) -> str:
        """A text with the label, where there is one."""
        return f"{self.label}: {text}" if self.label else text
