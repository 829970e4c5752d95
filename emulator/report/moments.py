"""Moments of a run worth a closer look, and every row about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isnan

import numpy as np

from emulator.limits import Assessment
from emulator.report.gather import Gathered, Plan, values_of

BEFORE_S, AFTER_S = 8.0, 4.0  # a moment is where a change has ended: a window of 5 s lies before it
COVERED_S = 2.0  # about a moment, in another's clip: that is close enough
MOST_CLIPS, MOST_CLIP_ROWS = 6, 12_000
EXTREMES = (  # quantity, whether the largest, in words
    ("pcc", True, "highest draw from the grid"),
    ("pcc", False, "lowest draw from the grid"),
    ("frequency", False, "lowest frequency"),
    ("frequency", True, "highest frequency"),
    ("voltage", False, "lowest voltage"),
    ("bess", True, "battery's largest discharge"),
    ("bess", False, "battery's largest charge"),
    ("torque", True, "largest rise of a shaft's torque"),
)


@dataclass(frozen=True)
class Moment:
    """When, and what for."""

    at_s: float
    text: str


@dataclass(frozen=True)
class Clip:
    """Consecutive rows of a trace."""

    start_s: float
    row_s: float
    values: Mapping[str, np.ndarray]  # (rows, curves) of each quantity

    @property
    def end_s(self) -> float:
        return self.start_s + len(next(iter(self.values.values()))) * self.row_s


def moments_of(found: Gathered, assessment: Assessment | None) -> list[Moment]:
    """The worst moments of the clauses, failed ones first, then extremes."""
    findings = sorted(assessment.limits, key=lambda finding: finding.passed is not False) if assessment else []
    judged = [Moment(f.at_s, f"{f.name}: worst at {f.at_s:.3f} s, {f.where}") for f in findings if not isnan(f.at_s)]
    return [*judged, *_extremes(found)]


def _extremes(found: Gathered) -> Iterator[Moment]:
    for key, largest, words in EXTREMES:
        envelope = found.envelopes.get(key)
        if envelope is None:
            continue
        ends = envelope.high if largest else -envelope.low
        if not np.isfinite(ends).any() or np.nanmax(ends) == np.nanmin(ends):
            continue
        place, curve = np.unravel_index(int(np.nanargmax(ends)), ends.shape)
        at_s = found.plan.start_s + (place + 0.5) / envelope.bins * found.plan.duration_s
        yield Moment(float(at_s), f"{words} at {at_s:.2f} s, {found.plan.labels(key)[curve]}")


def clips_of(its: Plan, moments: list[Moment], most_values: int) -> list[Clip]:
    """Every row about the first moments, in at most so many values; a moment within another's clip needs none."""
    found: list[Clip] = []
    left, row_s = most_values, its.header.row_s
    for moment in moments:
        low_s = max(moment.at_s - COVERED_S, its.start_s)
        high_s = min(moment.at_s + COVERED_S, its.start_s + its.duration_s)
        covered = any(clip.start_s <= low_s + row_s and high_s <= clip.end_s + row_s for clip in found)
        start, stop = _rows_about(its, moment.at_s)
        left -= (stop - start) * its.curves if not covered else 0
        if covered:
            continue
        if left < 0 or len(found) == MOST_CLIPS:
            break
        trace, values = values_of(its, start, stop)
        found.append(Clip(float(trace.time_s[-(stop - start)]), row_s, values))
    return found


def span_of(its: Plan, at_s: float) -> tuple[float, float]:
    """Time about a moment that a clip of it covers."""
    start, stop = _rows_about(its, at_s)
    return its.start_s + start * its.header.row_s, its.start_s + stop * its.header.row_s


def _rows_about(its: Plan, at_s: float) -> tuple[int, int]:
    row_s = its.header.row_s
    share = min(1.0, MOST_CLIP_ROWS * row_s / (BEFORE_S + AFTER_S))
    start = max(0, int((at_s - its.start_s - share * BEFORE_S) / row_s))
    stop = min(its.rows, start + max(2, int(share * (BEFORE_S + AFTER_S) / row_s)))
    return start, stop
