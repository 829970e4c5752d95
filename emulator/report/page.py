"""A report as one HTML file: traces gathered and judged, their tables and plots put into the page's template.

The page holds its script, style and data and is forbidden everything else by its content security policy: only this
very script and style, known by their hashes, count.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from emulator import __version__, limits, limits_schema, measures, recording, schema
from emulator.report import curves, encode, figures, grid_modes, metrics, verdicts
from emulator.report.gather import ROCOF_OVER_S, Plan, gather, plan
from emulator.report.html import note
from emulator.report.lines import line_plots
from emulator.report.moments import clips_of, moments_of
from emulator.report.run import Run, shared
from emulator.trace import TraceError
from emulator.traces.filesystem import whole
from emulator.traces.hdf5 import read

MOST_TRACES = 8
MOST_BINS = 65_536
# Sizes that keep the page below 6 MB: base64 makes four bytes of three, an envelope takes 4 bytes a part, a row 2.
ENVELOPE_BYTES, CLIP_BYTES = 2_400_000, 900_000


def write(
    paths: Sequence[str | os.PathLike[str]],
    path_out: str | os.PathLike[str],
    clauses: limits_schema.Limits | None,
    name: str,
) -> None:
    """Write the report of one trace, or of several side by side. What stands at `path_out` is replaced when it is done.

    Args:
      clauses: limits to judge by; name: how they are called.

    Raises:
      TraceError: a trace that cannot be read, too many of them, or a file that cannot be written.
    """
    if len(paths) > MOST_TRACES:
        raise TraceError(f"{len(paths)} traces: a report compares at most {MOST_TRACES}")
    plans = [plan(path) for path in paths]
    bins = min(MOST_BINS, ENVELOPE_BYTES // (4 * max(1, sum(its.curves for its in plans))))
    windows_s = [limit.window_s for limit in _table(clauses) if isinstance(limit, limits_schema.SlidingWindowChange)]
    titles = _titles(plans)
    runs = []
    for i, its in enumerate(plans):
        label = chr(ord("A") + i) if len(plans) > 1 else ""
        parts = its.rows if its.rows <= 2 * bins else bins  # every row has one value, and needs no more than its ends
        runs.append(_run(its, label, titles[i], parts, windows_s, clauses, CLIP_BYTES // (2 * len(plans))))
    text = _page(runs, _table(clauses), name)
    with whole(path_out) as part:
        part.write_text(text, "utf-8", errors="replace")  # a file's name may be no text


def _table(clauses: limits_schema.Limits | None) -> tuple[limits_schema.Limit, ...]:
    return clauses.limit if clauses else ()


def _titles(plans: Sequence[Plan]) -> list[str]:
    """Names of runs; those of their files where several have the same."""
    names = [its.header.name for its in plans]
    return [name if names.count(name) == 1 else Path(its.path).name for name, its in zip(names, plans, strict=True)]


def _run(
    its: Plan,
    label: str,
    title: str,
    bins: int,
    windows_s: Sequence[float],
    clauses: limits_schema.Limits | None,
    clip_values: int,
) -> Run:
    assessment, measured, ratings = _assessed(its, clauses)
    scenario = grid_modes.scenario_of(its.header)
    found = gather(its, bins, windows_s)
    moments = moments_of(found, assessment)
    clips = clips_of(its, moments, clip_values) if bins < its.rows else []
    modes = grid_modes.modes(scenario) if isinstance(scenario, schema.Scenario) else scenario
    return Run(label, title, found, assessment, measured, ratings, modes, moments, clips)


def _assessed(
    its: Plan, clauses: limits_schema.Limits | None
) -> tuple[limits.Assessment | None, tuple[measures.Figure, ...], Mapping[str, recording.Rating]]:
    """As `wattswing assess` does, with the whole trace at hand: verdict, metrics, and what the batteries are."""
    channels = recording.channels_of(recording.CHANNELS)
    whole_trace = recording.of_trace(read(its.path, slice(0, its.rows), channels), its.path)
    assessment = limits.assess(whole_trace, clauses) if clauses else None
    return assessment, measures.measure(whole_trace), whole_trace.ratings


def _page(runs: Sequence[Run], clauses: Sequence[limits_schema.Limit], name: str) -> str:
    template, style, script = (
        resources.files("emulator.report").joinpath(file).read_text("utf-8")
        for file in ("page.html", "page.css", "page.js")
    )
    data = {
        "traces": [curves.trace_data(run) for run in runs],
        "plots": list(_plots(runs, clauses)),
        "moments": curves.moments_data(runs),
        "events": curves.events_data(runs),
        **curves.span(runs),
    }
    return Template(template).substitute(
        style_hash=_hash(style),
        script_hash=_hash(script),
        style=style,
        script=script,
        title=escape(" · ".join(run.named(run.title) for run in runs)),
        badges=verdicts.badges(runs),
        run=verdicts.run_table(runs),
        verdict=verdicts.verdict_table(runs, Path(name).name),
        figures=figures.site_table(runs) + metrics.key_table(runs) + metrics.all_tables(runs),
        resolution=escape(_resolution(runs)),
        modes="".join(note(text) for text in shared([(run.label, _modes_words(run)) for run in runs])),
        battery=figures.battery_table(runs),
        grid=figures.grid_table(runs),
        costs=figures.cost_table(runs),
        events=figures.event_tables(runs),
        rocof_s=f"{ROCOF_OVER_S:g}",
        footer=escape(f"Made by wattswing {__version__}. An emulation, by the assumptions in its configuration."),
        assessments=encode.json_text([run.assessment.as_json() if run.assessment else None for run in runs]),
        data=encode.json_text(data),
    )


def _plots(runs: Sequence[Run], clauses: Sequence[limits_schema.Limit]) -> Iterator[dict[str, Any]]:
    """In the order of the page within each section."""
    groups = list(dict.fromkeys(title for run in runs for title, _ in run.found.plan.groups))
    for group in groups:
        yield from curves.power_plots(runs, group)
    yield from curves.panels(runs, clauses)
    for group in groups:
        yield from line_plots(runs, group, clauses)


def _hash(text: str) -> str:
    """As a content security policy names a script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _resolution(runs: Sequence[Run]) -> str:
    """How curves over time are made, and what one can see in them."""
    said = []
    for run in runs:
        its, bins = run.found.plan, next(iter(run.found.envelopes.values())).bins
        row_ms = f"{its.header.row_s * 1e3:g} ms"
        if bins == its.rows:
            said.append((run.label, f"every row, {row_ms}, is in the plots"))
            continue
        spans = "".join(
            f" {clip.start_s:.0f} to {clip.end_s:.0f} s," for clip in sorted(run.clips, key=lambda clip: clip.start_s)
        )
        part = f"a curve holds the smallest and the largest value of each {its.duration_s / bins * 1e3:.3g} ms"
        fine = f"; within{spans} to which the list of moments leads, it holds every row" if spans else ""
        said.append((run.label, f"{part}, over every row of {row_ms}{fine}"))
    how = "A column of pixels spans the smallest to the largest value that falls into it: no peak is lost at any zoom"
    means = "Powers and voltages are means over a row, frequency, charge, flows and torques values at its start"
    return f"{how}; {'; '.join(shared(said))}. {means}."


def _modes_words(run: Run) -> str:
    if isinstance(run.modes, str):
        return f"no modes are marked: {run.modes}"
    if not run.modes:
        return "no mode of grid, battery and controller oscillates"
    found = ", ".join(f"{hz:.4g} Hz (damping ratio {ratio:.3g})" for hz, ratio in run.modes)
    return f"Modes of grid, battery and controller about the start, as by wattswing modes: {found}"
