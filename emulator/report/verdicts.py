"""What was run, how it ended, and how it was judged."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from html import escape
from math import isnan
from pathlib import Path
from typing import Any

from emulator.limits import Finding
from emulator.report.html import figure, folded, framed, note, preformatted, table
from emulator.report.run import Run

MOST_DIFFERENCES = 60  # keys
VERDICTS = {True: ("pass", "pass"), False: ("FAIL", "fail"), None: ("n/a", "open")}  # words and look
LOOKS = {"pass": "pass", "fail": "fail", "not assessable": "open"}
COLUMNS = ("clause", "measured", "allowed", "margin", "unit", "verdict", "at s", "where")


def ending(run: Run) -> str:
    """Whether the run got to its end, in words."""
    first = run.found.plan.first
    return "complete" if first.complete else f"not complete: {first.stop_reason or 'it was going on, or killed'}"


def badges(runs: Sequence[Run]) -> str:
    """The verdicts at a glance, and which runs did not end."""
    lines = []
    for run in runs:
        verdict = run.assessment.verdict if run.assessment else "not judged: no limits given"
        text = f"{run.named(run.title)}: {verdict}"
        lines.append(f'<li class="{LOOKS.get(verdict, "")}">{escape(text)}</li>')
    warnings = [
        note(run.named(f"{ending(run)}. All below covers {run.found.plan.duration_s:g} s, up to there."), "warning")
        for run in runs
        if not run.found.plan.first.complete
    ]
    return f'<ul class="badges">{"".join(lines)}</ul>{"".join(warnings)}'


def run_table(runs: Sequence[Run]) -> str:
    """What was run, with what, and how it ended; the configurations, and in what they differ."""
    plans = [run.found.plan for run in runs]
    headers = [its.header for its in plans]
    facts = {
        "run": [its.name for its in headers],
        "trace": [Path(its.path).name for its in plans],
        "state": [ending(run) for run in runs],
        "time covered": [f"{its.duration_s:g} s from {its.start_s:g} s on" for its in plans],
        "tick; row": [f"{its.dt_s * 1e3:g} ms; {its.row_s * 1e3:g} ms" for its in headers],
        "seed": [str(its.seed) for its in headers],
        "sites": [", ".join(its.labels["site"]) or "none" for its in headers],
        "jobs": [", ".join(its.labels["job"]) or "none" for its in headers],
        "grid areas": [", ".join(its.labels["area"]) or "none: infinite grid" for its in headers],
        "nominal frequency": [f"{its.frequency_hz:g} Hz" for its in headers],
        "computed": [
            f"{its.created_utc} on {its.platform}, {'float64' if its.double else 'float32'}" for its in headers
        ],
        "wattswing; trace schema": [f"{its.emulator_version}; {its.schema_version}" for its in headers],
    }
    rows = [(name, *texts) for name, texts in facts.items()]
    parts = [table(["", *(run.label for run in runs)] if len(runs) > 1 else [], rows, look="facts")]
    parts += [_differences(runs)] if len(runs) > 1 else []
    parts += [
        folded(run.named("configuration, as resolved"), preformatted(run.found.plan.header.config)) for run in runs
    ]
    return "".join(parts)


def _differences(runs: Sequence[Run]) -> str:
    """Keys of the configurations whose values are not the same in all runs."""
    tables = [dict(_leaves(tomllib.loads(run.found.plan.header.config))) for run in runs]
    keys = list(dict.fromkeys(key for its in tables for key in its))
    rows = [(key, *(its.get(key, "–") for its in tables)) for key in keys]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    more = [(f"and {len(rows) - MOST_DIFFERENCES} more", *[""] * len(runs))] if len(rows) > MOST_DIFFERENCES else []
    found = table(["", *(run.label for run in runs)], [*rows[:MOST_DIFFERENCES], *more], look="facts")
    return f"<h3>What differs in their configurations</h3>{found or note('Nothing.')}"


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys and values; items of a list by name where they have one."""
    if not isinstance(node, dict | list) or not node:
        yield path, str(node)
        return
    named = enumerate(node) if isinstance(node, list) else node.items()
    for key, value in named:
        name = value.get("name", key) if isinstance(node, list) and isinstance(value, dict) else key
        yield from _leaves(value, f"{path}.{name}" if path else str(name))


def verdict_table(runs: Sequence[Run], limits: str) -> str:
    """Every clause with what was measured; one run after the other. `limits`: how they are called."""
    judged = [(run, run.assessment) for run in runs if run.assessment]
    if not judged:
        return note("No limits were given, so nothing is judged: wattswing report TRACE.h5 --limits LIMITS.")
    lines = []
    for findings in zip(*(its.limits for _, its in judged), strict=True):
        first = findings[0]
        about = f'<td class="small" colspan="7">{escape(f"{first.status}; source: {first.source}")}</td></tr>'
        lines.append(f'<tr class="of"><th scope="row">{escape(first.name)}</th>{about}')
        lines += [_finding_row(run, finding) for (run, _), finding in zip(judged, findings, strict=True)]
    words = [note(f"Verdict{' of ' * bool(run.label)}{run.label}: {its.verdict}", "verdict") for run, its in judged]
    extent = "the whole record but a start that a clause leaves out, each clause at its worst place"
    said = note(f"Limits: {limits}. Judged as by wattswing assess: {extent}.")
    return "".join(words) + framed(COLUMNS, lines, (1, 2, 3, 6), ' id="findings"') + said


def _finding_row(run: Run, finding: Finding) -> str:
    margin = max(finding.margin, 0.0) if finding.passed else finding.margin  # beyond by rounding: no room
    words, look = VERDICTS[finding.passed]
    values = (finding.measured, finding.allowed, margin)
    numbers = "".join(f'<td class="number">{figure(value)}</td>' for value in values)
    at_s = "" if isnan(finding.at_s) else f"{finding.at_s:z.3f}"
    where = "; ".join(text for text in (finding.where, finding.reason) if text)
    return (
        f'<tr class="finding"><td>{escape(run.label)}</td>{numbers}<td>{escape(finding.unit.removeprefix("1"))}</td>'
        f'<td class="{look}">{words}</td><td class="number">{at_s}</td><td>{escape(where)}</td></tr>'
    )
