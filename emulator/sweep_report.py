"""What `wattswing sweep` prints, and which clause decides about a scenario. NumPy, no JAX."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import nan
from typing import TYPE_CHECKING

from emulator.limits import Assessment, Finding
from emulator.recording import printable
from emulator.units import counted

if TYPE_CHECKING:
    from emulator.sweep import Result

COLUMNS = ("pcc_peak_mw", "pcc_swing_mw", "pcc_change_5s_mw", "soc_min", "soc_max")
JUDGED = ("verdict", "least margin", "of clause")


def room(finding: Finding) -> float:
    """Room left, in the clause's unit. NaN where the clause could not be judged; no less than 0 where it passed: what
    lies beyond the limit by rounding is no room."""
    if finding.passed is None:
        return nan
    return max(finding.margin, 0.0) if finding.passed else finding.margin


def share(finding: Finding) -> float:
    """The same as a share of what the clause allows, by which clauses compare; of a state of charge, of all of it."""
    return room(finding) / (1.0 if finding.kind == "soc_window" else finding.allowed)


def tightest(assessment: Assessment) -> Finding | None:
    """The clause with the least room, of those that could be judged."""
    return min((each for each in assessment.limits if each.passed is not None), key=share, default=None)


def render(results: Sequence[Result]) -> str:
    """A line a scenario: its values and seed, what its first site draws and where its state of charge goes, how it was
    judged, and why it stopped early; below, which clauses could not be judged."""
    judged = [result.assessment for result in results if result.assessment]
    names = [name.split(".")[-1] for name in results[0].case.values]
    rows = [[*names, "seed", *COLUMNS, *(JUDGED if judged else ()), ""], *map(_cells, results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    texts = len(widths) - (2 if judged else 1)  # from this column on: to the left
    sides = ["<" if i >= texts else ">" for i in range(len(widths))]
    lines = ["  ".join(f"{c:{side}{w}}" for c, side, w in zip(row, sides, widths, strict=True)) for row in rows]
    return "\n".join([*(line.rstrip() for line in lines), *_unknown(judged)])


def _cells(result: Result) -> list[str]:
    site = next(iter(result.header.labels["site"]), "")
    found = (result.metrics.get(f"site.{site}.{column}", nan) for column in COLUMNS)
    verdict = _verdict(result.assessment) if result.assessment else ()
    stop = "" if result.complete else result.stop_reason
    values = (str(value) for value in result.case.values.values())
    return [*values, str(result.case.seed), *map("{:z.4g}".format, found), *verdict, stop]


def _verdict(assessment: Assessment) -> tuple[str, ...]:
    words = {"pass": "pass", "fail": "FAIL", "not assessable": "n/a"}[assessment.verdict]
    least = tightest(assessment)
    if least is None:
        return words, "-", ""
    return words, f"{room(least):z.4g} {least.unit.removeprefix('1')}".rstrip(), printable(least.name)


def _unknown(judged: Sequence[Assessment]) -> Iterator[str]:
    """A line for each clause that could not be judged everywhere, with the first reason."""
    for findings in zip(*(its.limits for its in judged), strict=True):
        reasons = [finding.reason for finding in findings if finding.passed is None]
        if reasons:
            where = f"in {len(reasons)} of {counted(len(findings), 'scenario')}"
            yield f"not assessable {where}: {printable(findings[0].name)}: {printable(reasons[0])}"


def tally(results: Sequence[Result]) -> str:
    """How many passed and failed, in words; "" for a sweep without limits. What stopped early has not passed."""
    found = Counter(_outcome(result.assessment.verdict, result.complete) for result in results if result.assessment)
    return ", ".join(f"{count} {words}" for words, count in sorted(found.items(), reverse=True))


def _outcome(verdict: str, complete: bool) -> str:
    return "pass up to where they stopped" if verdict == "pass" and not complete else verdict
