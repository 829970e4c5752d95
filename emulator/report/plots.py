"""The plots of the page, as the page's script takes them: curves over time, lines over something else, images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emulator import limits_schema
from emulator.limits import Assessment
from emulator.report import encode
from emulator.report.gather import POWERS, ROCOF_OVER_S, SPECTRUM_HZ, Gathered
from emulator.report.moments import Clip, Moment, span_of

DEPTH_DB = 60.0  # of a spectrogram's shades
SPECTRUM_DEPTH = 1e5  # of the spectrum's scale below its highest line
MOST_POINTS = 36_000  # of all spectra
LEAST_ROWS = 5  # across a plot that is zoomed in as far as it goes
SIDES = {"facility": "site consumes", "pcc": "drawn from the grid"}
TITLES = {"facility": "power that the site consumes, before the battery", "pcc": "power drawn from the grid"}
PANELS = (  # section, title, unit, quantities; two lines of the same kind where sites have several batteries
    ("power", "power of the jobs, at the accelerators' servers", "MW", ("job",)),
    ("power", "share of the load that is on the grid", "%", ("connected",)),
    ("battery", "battery power, discharge positive", "MW", ("bess", "battery_power")),
    ("battery", "state of charge", "%", ("soc", "battery_soc")),
    ("battery", "battery temperature", "°C", ("temperature",)),
    ("grid", "frequency", "Hz", ("frequency",)),
    ("grid", f"rate of change of frequency, over {ROCOF_OVER_S:g} s", "Hz/s", ("rocof",)),
    ("grid", "voltage at the point of common coupling", "pu", ("voltage",)),
    ("grid", "tie flow, from the first area to the second", "MW", ("tie",)),
    ("grid", "shaft torque, change since the start", "pu", ("torque",)),
    ("grid", "mechanical power of the generators", "MW", ("mechanical",)),
)
PERCENT = ("connected", "soc", "battery_soc")
LOOKS = 8
PAIR = (4, 0)  # colours of before and after
ALONE = {"facility": 1, "pcc": 0}


@dataclass(frozen=True)
class Run:
    """A trace and all that the page says of it."""

    label: str  # A, B, ... where there are several
    found: Gathered
    assessment: Assessment | None
    modes: list[tuple[float, float]] | str  # frequency and damping ratio of each, or why there are none
    moments: list[Moment]
    clips: list[Clip]

    def named(self, text: str) -> str:
        """A text with the label, where there is one."""
        return f"{self.label}: {text}" if self.label else text


def trace_data(run: Run) -> dict[str, Any]:
    """Curves of a trace: envelopes of the whole, every row of clips."""
    its, envelopes = run.found.plan, run.found.envelopes
    bins = next(iter(envelopes.values())).bins
    whole = {key: [(e.low[:, i], e.high[:, i]) for i in range(e.low.shape[1])] for key, e in envelopes.items()}
    step_s = its.duration_s / bins
    clips = []
    for clip in run.clips:
        curves = {key: [(column, column) for column in values.T] for key, values in clip.values.items()}
        clips.append(_record(clip.start_s, clip.row_s, curves, True))
    return {"envelope": _record(its.start_s, step_s, whole, bins == its.rows), "clips": clips}


def _record(start_s: float, step_s: float, curves: dict[str, list[Any]], every_row: bool) -> dict[str, Any]:
    scaled = {key: [encode.envelope(low, high, _scale(key)) for low, high in pairs] for key, pairs in curves.items()}
    count = len(next(iter(curves.values()))[0][0])
    return {"start": start_s, "step": step_s, "count": count, "rows": every_row, "curves": scaled}


def _scale(key: str) -> float:
    return 100.0 if key in PERCENT else 1.0


def span(runs: Sequence[Run]) -> dict[str, float]:
    """Time that all plots share."""
    plans = [run.found.plan for run in runs]
    return {
        "from_s": min(its.start_s for its in plans),
        "to_s": max(its.start_s + its.duration_s for its in plans),
        "least_span_s": LEAST_ROWS * min(its.header.row_s for its in plans),
    }


def moments_data(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Spans of time to go to: a clip's where it shows the moment."""
    found = []
    for run in runs:
        for moment in run.moments:
            inside = [c for c in run.clips if c.start_s < moment.at_s < c.end_s]
            span_s = (inside[0].start_s, inside[0].end_s) if inside else span_of(run.found.plan, moment.at_s)
            found.append({"from": span_s[0], "to": span_s[1], "text": run.named(moment.text)})
    return found


def all_plots(runs: Sequence[Run], clauses: Sequence[limits_schema.Limit]) -> list[dict[str, Any]]:
    """In the order of the page."""
    groups = list(dict.fromkeys(title for run in runs for title, _ in run.found.plan.groups))
    found = []
    for group in groups:
        found += _power(runs, group)
    found += [plot for panel in PANELS for plot in _panel(runs, *panel)]
    for group in groups:
        found.append(_spectrum(runs, group, clauses))
        found += _spectrograms(runs, group)
        found += [_durations(runs, group), _changes(runs, group, clauses)]
    return [plot for plot in found if plot]


def _power(runs: Sequence[Run], group: str) -> list[dict[str, Any]]:
    """One run: consumption and draw in one plot. Several: a plot each, a curve a run."""
    if len(runs) == 1:
        curve = runs[0].found.plan.labels("pcc").index(group)
        series = [_series(runs, 0, key, curve, SIDES[key], ALONE[key], "MW") for key in POWERS]
        return [_time_plot("power", f"{group}: consumption, and draw from the grid", "MW", series)]
    found = []
    for key in reversed(POWERS):
        series = [
            _series(runs, i, key, run.found.plan.labels(key).index(group), run.label, _look(runs, i), "MW")
            for i, run in enumerate(runs)
            if group in run.found.plan.labels(key)
        ]
        found.append(_time_plot("power", f"{group}: {TITLES[key]}", "MW", series))
    return found


def _panel(runs: Sequence[Run], section: str, title: str, unit: str, keys: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """One plot of all curves of a kind; none where no run has any, or a share that is whole throughout."""
    curves = [
        (i, key, curve, label)
        for i, run in enumerate(runs)
        for key in keys
        for curve, label in enumerate(run.found.plan.labels(key) if key in run.found.plan.keys else ())
    ]
    if keys == ("connected",) and all(
        run.found.envelopes["connected"].low.min() >= 1.0 for run in runs if run.found.plan.labels("connected")
    ):
        return
    alone = len({(key, label) for _, key, _, label in curves}) == 1
    series = [
        _series(
            runs, i, key, curve, runs[i].named(label), _look(runs, i) if alone and len(runs) > 1 else n % LOOKS, unit
        )
        for n, (i, key, curve, label) in enumerate(curves)
    ]
    if series:
        yield _time_plot(section, title, unit, series)


def _look(runs: Sequence[Run], i: int) -> int:
    return PAIR[i] if len(runs) == len(PAIR) else i % LOOKS


def _series(runs: Sequence[Run], i: int, key: str, curve: int, label: str, look: int, unit: str) -> dict[str, Any]:
    envelope = runs[i].found.envelopes[key]
    low, high = envelope.low[:, curve], envelope.high[:, curve]
    some = np.isfinite(low).any()
    low, high = (np.nanmin(low) * _scale(key), np.nanmax(high) * _scale(key)) if some else (np.nan, np.nan)
    digits = 4 if unit in ("Hz", "Hz/s", "pu") else 2
    text = f"{label}: {low:.{digits}f} to {high:.{digits}f} {unit}, p-p {high - low:.{digits}f}" if some else label
    return {"trace": i, "key": key, "curve": curve, "label": label, "look": f"c{look}", "text": text}


def _time_plot(section: str, title: str, unit: str, series: list[dict[str, Any]]) -> dict[str, Any]:
    legend = [{"look": one["look"], "text": one.pop("text")} for one in series]
    return {"kind": "time", "section": section, "title": title, "unit": unit, "series": series, "legend": legend}


def _lines(runs: Sequence[Run], group: str, curve_of: Any) -> list[dict[str, Any]]:
    """A line for consumption and draw of one run, or for the draw of each of several; `x`, `y` are arrays yet."""
    found = []
    for i, run in enumerate(runs):
        labels = run.found.plan.labels("pcc")
        if group not in labels:
            continue
        for key in POWERS if len(runs) == 1 else ("pcc",):
            x, y = curve_of(run.found, key, labels.index(group))
            look = ALONE[key] if len(runs) == 1 else _look(runs, i)
            found.append({"label": run.label or SIDES[key], "look": f"c{look}", "x": x, "y": y})
    return found


def _line_plot(lines: list[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    """The plot, with ranges that fit what is there unless given."""
    x, y = (np.concatenate([line[axis] for line in lines] or [np.zeros(0)]) for axis in "xy")
    if not len(x) or not (y > 0.0).any():
        return {}
    spec = {"bands": [], "marks": [], "limits": [], "note": "", **spec}
    for axis, values in (("x", x), ("y", y)):
        values = np.concatenate([values, [limit[axis] for limit in spec["limits"]]])
        spec.setdefault(f"{axis}_range", _range(values, spec[f"{axis}_log"]))
    legend = [{"look": line["look"], "text": line["label"]} for line in lines]
    legend += [{"look": "band", "text": band["text"]} for band in spec["bands"]]
    legend += [{"look": "mark", "text": "mode of grid, battery and controller"}] if spec["marks"] else []
    legend += [{"look": "limit", "text": limit["text"]} for limit in spec["limits"]]
    coded = [line | {axis: encode.floats(line[axis]) for axis in "xy"} for line in lines]
    return {"kind": "xy", **spec, "legend": legend, "lines": coded}


def _range(values: np.ndarray, log: bool) -> list[float]:
    values = values[np.isfinite(values) & ((values > 0.0) | (not log))]
    low, high = float(values.min()), float(values.max())
    if log:
        return [low / 1.15, high * 1.15]
    room = max(0.03 * (high - low), 1e-6 * abs(high), 1e-9)
    return [low - room, high + room]


def _spectrum(runs: Sequence[Run], group: str, clauses: Sequence[limits_schema.Limit]) -> dict[str, Any]:
    share = min(3000, MOST_POINTS // (2 * len(runs) * len(runs[0].found.plan.groups or (0,))))

    def curve_of(found: Gathered, key: str, i: int) -> tuple[np.ndarray, np.ndarray]:
        return _thinned(*found.spectra[key][i].result(*SPECTRUM_HZ), share)

    lines = _lines(runs, group, curve_of)
    top = max((float(line["y"].max(initial=0.0)) for line in lines), default=0.0)
    bands = [
        {"from": max(c.low_hz, SPECTRUM_HZ[0]), "to": c.high_hz, "text": f"{c.name}, {c.low_hz:g} to {c.high_hz:g} Hz"}
        for c in clauses
        if isinstance(c, limits_schema.BandEnergy) and c.site in (None, group)
    ]
    segments_s = {f"{run.found.spectra['pcc'][0].segment_s:g} s" for run in runs if run.found.spectra["pcc"]}
    return _line_plot(
        lines,
        section="spectrum",
        title=f"{group}: amplitude spectrum of power",
        note=f"Amplitude of a sine (half its p-p). Welch's method: Hann windows of {' and '.join(sorted(segments_s))}, half "
        "overlapping, squares averaged; where lines are closer than the plot's points, the largest is kept.",
        bands=bands,
        marks=_marks(runs),
        x_name="frequency (Hz)",
        y_name="amplitude (MW)",
        x_unit="Hz",
        y_unit="MW",
        x_log=True,
        y_log=True,
        y_range=[top / SPECTRUM_DEPTH, 2.0 * top],
    )


def _thinned(hz: np.ndarray, amplitude: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest line in each of at most so many parts that are even in the frequency's logarithm."""
    if not len(hz):
        return hz, amplitude
    part = np.floor(np.log(hz / hz[0]) / np.log(hz[-1] / hz[0] + 1e-12) * (points - 1)) if len(hz) > 1 else np.zeros(1)
    starts = np.flatnonzero(np.diff(part, prepend=-1.0))
    largest = np.maximum.reduceat(amplitude, starts)
    inside = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(hz)))
    at = [int(np.flatnonzero((inside == i) & (amplitude == largest[i]))[0]) for i in range(len(starts))]
    return hz[at], largest


def _marks(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Modes within the spectrum's range, equal ones of several runs once."""
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        for hz, ratio in run.modes if isinstance(run.modes, list) else ():
            if SPECTRUM_HZ[0] <= hz <= SPECTRUM_HZ[1]:
                text = f"{hz:.3g} Hz, ζ {ratio:.2g}"
                found.setdefault(text, {"at": hz, "text": text})
    return sorted(found.values(), key=lambda mark: mark["at"])


def _spectrograms(runs: Sequence[Run], group: str) -> Iterator[dict[str, Any]]:
    """Of consumption and draw of one run, or of the draw of each of several, in the same shades."""
    chosen = [
        (run, key, run.found.spectrograms[key][run.found.plan.labels("pcc").index(group)])
        for run in runs
        if group in run.found.plan.labels("pcc")
        for key in (POWERS if len(runs) == 1 else ("pcc",))
    ]
    top = max((float(image.amplitude.max(initial=0.0)) for _, _, image in chosen), default=0.0)
    for run, key, image in chosen:
        if not top > 0.0 or not image.amplitude.size:
            continue
        decibel = 20.0 * np.log10(np.maximum(image.amplitude / top, 1e-30))
        shades = np.clip(np.ceil(255.0 * (1.0 + decibel / DEPTH_DB)), 0, 255)
        start_s = run.found.plan.start_s
        yield {
            "kind": "image",
            "section": "spectrum",
            "title": run.named(f"{group}: spectrogram, {TITLES[key]}"),
            "note": f"Windows of {image.window_s:.3g} s. Brightest: {top:.3g} MW; darkest: {DEPTH_DB:g} dB below it or less.",
            "legend": [],
            "columns": len(image.amplitude),
            "lines": image.amplitude.shape[1],
            "data": encode.octets(shades),
            "from_s": start_s + image.span_s[0],
            "to_s": start_s + image.span_s[1],
            "from_hz": image.low_hz,
            "to_hz": image.high_hz,
            "top": top,
            "depth_db": DEPTH_DB,
        }


def _durations(runs: Sequence[Run], group: str) -> dict[str, Any]:
    def curve_of(found: Gathered, key: str, i: int) -> tuple[np.ndarray, np.ndarray]:
        levels, share = found.durations[key][i].result()
        return 100.0 * share, levels

    return _line_plot(
        _lines(runs, group, curve_of),
        section="changes",
        title=f"{group}: duration curve",
        note="Power that is reached or exceeded for so much of the time.",
        x_name="share of time (%)",
        y_name="power (MW)",
        x_unit="%",
        y_unit="MW",
        x_log=False,
        y_log=False,
        x_range=[0.0, 100.0],
    )


def _changes(runs: Sequence[Run], group: str, clauses: Sequence[limits_schema.Limit]) -> dict[str, Any]:
    limits = []
    for clause in clauses:
        if isinstance(clause, limits_schema.SlidingWindowChange) and clause.site in (None, group):
            text = f"{clause.name}: {clause.max_mw:g} MW in {clause.window_s:g} s"
            limits.append({"x": clause.window_s, "y": clause.max_mw, "text": text})
        elif isinstance(clause, limits_schema.RampRate) and clause.site in (None, group):
            text = f"{clause.name}: {clause.max_mw_per_min:g} MW/min over {clause.over_s:g} s"
            limits.append({"x": clause.over_s, "y": clause.max_mw_per_min * clause.over_s / 60.0, "text": text})
    return _line_plot(
        _lines(runs, group, lambda found, key, i: found.changes[key][i].result()),
        section="changes",
        title=f"{group}: ramp curve",
        note="Largest less smallest power within any window of that length. A triangle's tip is what a limit allows.",
        limits=limits,
        x_name="length of the window (s)",
        y_name="largest change (MW)",
        x_unit="s",
        y_unit="MW",
        x_log=True,
        y_log=True,
    )
