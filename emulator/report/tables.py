"""The tables of the page, as HTML. Every text is escaped here: names come from files that anyone may have written."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from math import isnan
from pathlib import Path

import numpy as np

from emulator.limits import Finding
from emulator.report.gather import MOST_CURVES, MOST_EVENTS, QUANTITIES
from emulator.report.plots import Run

MOST_DIFFERENCES = 60  # lines
VERDICTS = {True: ("pass", "pass"), False: ("FAIL", "fail"), None: ("n/a", "open")}  # words and look
SIDES = (("facility", "consumes"), ("pcc", "draws from the grid"))
SITE_FIGURES = ("energy_mwh", "mean_mw", "peak_mw", "swing_mw", "change_5s_mw")
GRID_FIGURES = {"frequency": "Hz", "rocof": "Hz/s", "voltage": "pu", "tie": "MW", "torque": "pu"}
GRID_NAMES = {
    "frequency": "frequency",
    "rocof": "rate of change of frequency",
    "voltage": "voltage at the PCC",
    "tie": "tie flow",
    "torque": "shaft torque",
}
JOB_COSTS = {
    "added_energy_mwh": "energy added by floors and dummy work, MWh",
    "withheld_energy_mwh": "energy withheld by ceilings and caps, MWh",
    "lost_iteration_s": "iterations made longer by caps and dummy work, s",
    "estimated_ceiling_lost_iteration_s": "longer still if ceilings slowed the job, estimate, s",
    "iterations": "iterations",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table of texts; the first column names the row. numbers: columns set flush right."""
    look = [' class="number"' if i in numbers else "" for i in range(len(head))]
    top = "".join(f'<th scope="col"{look[i]}>{escape(text)}</th>' for i, text in enumerate(head))
    lines = []
    for name, *cells in rows:
        rest = "".join(f"<td{look[i]}>{escape(text)}</td>" for i, text in enumerate(cells, start=1))
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{rest}</tr>')
    if not lines:
        return ""
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def note(text: str, look: str = "note") -> str:
    """A paragraph."""
    return f'<p class="{look}">{escape(text)}</p>'


def figure(value: float, digits: int = 4) -> str:
    """A number of so many digits, a dash where there is none."""
    if isnan(value):
        return "–"
    return f"{value:.0f}" if abs(value) >= 10**digits else f"{value:#.{digits}g}".rstrip(".")


def ending(run: Run) -> str:
    """Whether the run got to its end, in words."""
    first = run.found.plan.first
    if first.complete:
        return "complete"
    return f"not complete: {first.stop_reason or 'it was going on, or killed'}"


def badges(runs: Sequence[Run]) -> str:
    """The verdicts at a glance, and which runs did not end."""
    looks = {"pass": "pass", "fail": "fail", "not assessable": "open"}
    lines = []
    for run in runs:
        name = run.named(run.found.plan.header.name)
        verdict = run.assessment.verdict if run.assessment else "not judged: no limits given"
        lines.append(f'<li class="{looks.get(verdict, "")}">{escape(f"{name}: {verdict}")}</li>')
    warnings = [
        note(
            run.named(f"{ending(run)}. All that follows covers {run.found.plan.duration_s:g} s, up to there."),
            "warning",
        )
        for run in runs
        if not run.found.plan.first.complete
    ]
    return f'<ul class="badges">{"".join(lines)}</ul>{"".join(warnings)}'


def run_table(runs: Sequence[Run]) -> str:
    """What was run, with what, and how it ended; the configurations, and in what they differ."""
    plans = [run.found.plan for run in runs]
    facts = {
        "run": [its.header.name for its in plans],
        "trace": [Path(its.path).name for its in plans],
        "state": [ending(run) for run in runs],
        "time covered": [f"{its.duration_s:g} s from {its.start_s:g} s on" for its in plans],
        "tick; row": [f"{its.header.dt_s * 1e3:g} ms; {its.header.row_s * 1e3:g} ms" for its in plans],
        "seed": [str(its.header.seed) for its in plans],
        "sites": [", ".join(its.header.labels["site"]) or "none" for its in plans],
        "jobs": [", ".join(its.header.labels["job"]) or "none" for its in plans],
        "grid areas": [", ".join(its.header.labels["area"]) or "none: infinite grid" for its in plans],
        "nominal frequency": [f"{its.header.frequency_hz:g} Hz" for its in plans],
        "computed": [
            f"{its.header.created_utc} on {its.header.platform}, {'float64' if its.header.double else 'float32'}"
            for its in plans
        ],
        "wattswing; trace schema": [f"{its.header.emulator_version}; {its.header.schema_version}" for its in plans],
    }
    head = ["", *(run.label for run in runs)]
    parts = [table(head, [(name, *texts) for name, texts in facts.items()])]
    if len(runs) > 1:
        parts += [_difference(runs[0], other) for other in runs[1:]]
    parts += [
        f"<details><summary>{escape(run.named('configuration, as resolved'))}</summary>"
        f"<pre>{escape(run.found.plan.header.config)}</pre></details>"
        for run in runs
    ]
    return "".join(parts)


def _difference(one: Run, other: Run) -> str:
    texts = [run.found.plan.header.config.splitlines() for run in (one, other)]
    lines = [line for line in difflib.ndiff(*texts) if line[:2] in ("- ", "+ ")]
    title = f"What differs in the configurations of {one.label} (-) and {other.label} (+)"
    if len(lines) > MOST_DIFFERENCES:
        lines = [*lines[:MOST_DIFFERENCES], f"... and {len(lines) - MOST_DIFFERENCES} more lines"]
    return f"<h3>{escape(title)}</h3><pre>{escape(chr(10).join(lines) or 'nothing')}</pre>"


def verdict_table(runs: Sequence[Run], limits: str) -> str:
    """Every clause with what was measured; one after the other in each run."""
    judged = [(run, run.assessment) for run in runs if run.assessment]
    if not judged:
        return note("No limits were given, so nothing is judged: wattswing report TRACE.h5 --limits LIMITS.")
    head = ("clause", "measured", "allowed", "margin", "unit", "verdict", "at s", "where")
    top = "".join(
        f'<th scope="col"{" class=number" if 1 <= i <= 3 or i == 6 else ""}>{t}</th>' for i, t in enumerate(head)
    )
    lines = []
    for clause in range(len(judged[0][1].limits)):
        finding = judged[0][1].limits[clause]
        about = f"{finding.status}. {finding.source}"
        lines.append(
            f'<tr class="of"><th scope="row" colspan="3">{escape(finding.name)}</th><td class="small" colspan="5">{escape(about)}</td></tr>'
        )
        for run, assessment in judged:
            lines.append(_finding_row(run.label or "run", assessment.limits[clause]))
    body = f'<div class="scroll"><table id="findings"><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    said = f"Limits: {limits}. Judged as by wattswing assess, each clause at its worst place, the whole record."
    verdicts = "".join(note(run.named(f"verdict: {its.verdict}"), "verdict") for run, its in judged)
    return verdicts + body + note(said)


def _finding_row(name: str, finding: Finding) -> str:
    margin = max(finding.margin, 0.0) if finding.passed else finding.margin  # beyond by rounding: no room
    words, look = VERDICTS[finding.passed]
    numbers = "".join(
        f'<td class="number">{figure(value)}</td>' for value in (finding.measured, finding.allowed, margin)
    )
    at_s = "" if isnan(finding.at_s) else f"{finding.at_s:.3f}"
    unit = finding.unit.removeprefix("1")
    where = "; ".join(text for text in (finding.where, finding.reason) if text)
    return (
        f'<tr class="finding"><td>{escape(name)}</td>{numbers}<td>{escape(unit)}</td><td class="{look}">{words}</td>'
        f'<td class="number">{at_s}</td><td>{escape(where)}</td></tr>'
    )


def site_table(runs: Sequence[Run]) -> str:
    """Energy, mean, peak, swing of consumption and draw of each site."""
    sites = list(dict.fromkeys(site for run in runs for site in run.found.plan.header.labels["site"]))
    rows = []
    for site in sites:
        for key, words in SIDES:
            for run in runs:
                if site in run.found.plan.header.labels["site"]:
                    values = [run.found.metrics.get(f"site.{site}.{key}_{name}", np.nan) for name in SITE_FIGURES]
                    rows.append((run.named(f"{site} {words}"), *map(figure, values)))
    head = ("", "energy MWh", "mean MW", "peak MW", "p-p MW", "largest change in 5 s MW")
    return table(head, rows, range(1, 6)) or note("No sites: the grid alone was emulated.")


def battery_table(runs: Sequence[Run]) -> str:
    """Use, losses and wear of each battery."""
    head = (
        "", "rated", "SOC", "in MWh", "out MWh", "losses MWh", "equivalent cycles", "full cycles", "capacity fade", "at power limit s",
        "at SOC limit s",
    )  # fmt: skip
    rows = [row for run in runs for row in _battery_rows(run)]
    if not rows:
        return note("No battery.")
    wear = "Losses: energy in less energy out and less what is still stored. Full cycles and fade: where the configuration follows them."
    return table(head, rows, range(1, len(head))) + note(wear)


def _battery_rows(run: Run) -> Iterator[tuple[str, ...]]:
    metrics, known = run.found.metrics, set()
    for battery in run.found.batteries:
        its, use, at = battery.rated, battery.result(), f"battery.{battery.rated.name.replace('/', '.')}"
        known.add(its.name.rpartition("/")[0])
        numbers = (use.charged_mwh, use.discharged_mwh, use.losses_mwh, use.equivalent_cycles)
        yield (
            run.named(its.name),
            f"{its.power_mw:g} MW, {its.energy_mwh:g} MWh",
            f"{100.0 * use.soc_min:.2f} to {100.0 * use.soc_max:.2f} %",
            *map(figure, numbers),
            figure(metrics.get(f"{at}.full_cycles", np.nan), 3),
            figure(metrics.get(f"{at}.capacity_fade", np.nan), 3),
            f"{use.at_power_limit_s:g}",
            f"{use.at_soc_limit_s:g}",
        )
    for site in run.found.plan.labels("bess"):
        if site not in known:
            low, high, into, out = (
                metrics.get(f"site.{site}.{key}", np.nan)
                for key in ("soc_min", "soc_max", "bess_energy_in_mwh", "bess_energy_out_mwh")
            )
            soc = f"{100.0 * low:.2f} to {100.0 * high:.2f} %"
            yield (run.named(site), "unknown", soc, figure(into), figure(out), *["–"] * 6)


def grid_table(runs: Sequence[Run]) -> str:
    """Extremes of frequency, its rate of change, voltage, tie flows and torques."""
    rows, more = [], False
    for key, unit in GRID_FIGURES.items():
        for run in runs:
            its = run.found.plan
            if key not in run.found.envelopes:
                continue
            for curve, label in enumerate(its.labels(key)):
                envelope = run.found.envelopes[key]
                low, high = np.nanmin(envelope.low[:, curve]), np.nanmax(envelope.high[:, curve])
                name = run.named(f"{GRID_NAMES[key]}, {label}")
                digits = 2 if unit == "MW" else 4
                rows.append((name, *(f"{value:.{digits}f}" for value in (low, high, high - low)), unit))
            more |= key in QUANTITIES and len(its.labels(key)) == MOST_CURVES
    shown = (
        note(f"At most {MOST_CURVES} places of a kind are shown, the first ones; clauses are judged at all.")
        if more
        else ""
    )
    return (
        table(("", "lowest", "highest", "p-p", "unit"), rows, (1, 2, 3)) or note("No grid areas, no voltage.")
    ) + shown


def cost_table(runs: Sequence[Run]) -> str:
    """What mitigation costs: at the jobs, and in batteries."""
    rows = []
    for run in runs:
        for job in run.found.plan.header.labels["job"]:
            at = f"job.{job.replace('/', '.')}"
            values = [run.found.metrics.get(f"{at}.{key}", np.nan) for key in JOB_COSTS]
            rows.append((run.named(job), *map(figure, values[:-1]), figure(values[-1], 6).split(".")[0]))
    parts = [table(("job", *JOB_COSTS.values()), rows, range(1, 6))]
    for run in runs:
        for battery in run.found.batteries:
            use, its = battery.result(), battery.rated
            parts.append(
                note(
                    run.named(
                        f"battery {its.name}: {figure(use.losses_mwh)} MWh lost, {figure(use.charged_mwh + use.discharged_mwh)} MWh "
                        f"moved, {figure(use.equivalent_cycles)} equivalent cycles in {run.found.plan.duration_s:g} s"
                    )
                )
            )
    if any(not run.found.plan.first.complete for run in runs):
        parts.append(note("A dash: counted by the run itself, which did not end."))
    return "".join(parts) or note("No jobs, no batteries.")


def event_tables(runs: Sequence[Run]) -> str:
    """How many events of each kind, and the first ones."""
    kinds = list(dict.fromkeys(kind for run in runs for kind in run.found.counts))
    if not kinds:
        return note("None.")
    counts = table(
        ("kind", *(run.label or "count" for run in runs)),
        [(kind, *(str(run.found.counts[kind]) for run in runs)) for kind in kinds],
        range(1, len(runs) + 1),
    )
    rows = [
        (run.named(f"{event.time_s:.3f}"), event.kind, event.where, figure(event.value))
        for run in runs
        for event in run.found.events
    ]
    listed = table(("at s", "kind", "where", "value"), rows, (3,))
    return f"{counts}<details><summary>the first {MOST_EVENTS} of each run</summary>{listed}</details>"
