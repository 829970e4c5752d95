"""Spectra, spectrograms, duration and ramp curves, with limits, as the page's script takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from emulator import limits_schema
from emulator.report import encode
from emulator.report.curves import ALONE, SIDES, TITLES, look_of
from emulator.report.gather import POWERS, SPECTRUM_HZ, Gathered
from emulator.report.run import Run
from emulator.units import S_PER_MIN

DEPTH_DB = 60.0  # of a spectrogram's shades
SPECTRUM_DEPTH = 1e5  # at most, of the spectrum's scale below its highest line
MOST_POINTS, MOST_POINTS_EACH = 36_000, 3000  # of spectra
CurveOf = Callable[[Gathered, str, int], tuple[np.ndarray, np.ndarray]]  # of a power and a group: x and y
Clauses = Sequence[limits_schema.Limit]


def line_plots(runs: Sequence[Run], group: str, clauses: Clauses) -> Iterator[dict[str, Any]]:
    """All of a group of sites; one that would be empty is left out."""
    plots = (_spectrum(runs, group, clauses), *_spectrograms(runs, group))
    plots = (*plots, _durations(runs, group), _changes(runs, group, clauses))
    yield from (plot for plot in plots if plot)


def _lines(runs: Sequence[Run], group: str, curve_of: CurveOf) -> list[dict[str, Any]]:
    """A line for consumption and draw of one run, or for the draw of each of several; `x`, `y` are arrays yet."""
    found = []
    for i, run in enumerate(runs):
        labels = run.found.plan.labels("pcc")
        if group not in labels:
            continue
        for key in POWERS if len(runs) == 1 else ("pcc",):
            x, y = curve_of(run.found, key, labels.index(group))
            look = ALONE[key] if len(runs) == 1 else look_of(runs, i)
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
    if any("allowed" in band for band in spec["bands"]):
        legend.append({"look": "allowed", "text": "largest amplitude allowed"})
    legend += [{"look": "mark", "text": "mode of grid, battery and controller"}] if spec["marks"] else []
    legend += [{"look": "limit", "text": limit["text"]} for limit in spec["limits"]]
    coded = [line | {axis: encode.floats(line[axis]) for axis in "xy"} for line in lines]
    return {"kind": "xy", **spec, "legend": legend, "lines": coded}


def _range(values: np.ndarray, log: bool) -> list[float]:
    values = values[np.isfinite(values) & ((values > 0.0) | (not log))]
    low, high = float(values.min()), float(values.max())
    if log:
        return [low / 1.15, high * 1.15]
    flat = high - low <= 1e-6 * abs(high)  # rounding is no swing
    room = (0.02 * abs(high) or 1.0) if flat else 0.03 * (high - low)
    return [low - room, high + room]


def _spectrum(runs: Sequence[Run], group: str, clauses: Clauses) -> dict[str, Any]:
    share = min(3000, MOST_POINTS // (2 * len(runs) * len(runs[0].found.plan.groups or (0,))))

    def curve_of(found: Gathered, key: str, i: int) -> tuple[np.ndarray, np.ndarray]:
        return _thinned(*found.spectra[key][i].result(*SPECTRUM_HZ), share)

    lines = _lines(runs, group, curve_of)
    bands = list(_bands(group, clauses))
    top = max((float(line["y"].max(initial=0.0)) for line in lines), default=0.0)
    allowed_mw = [band["allowed"] for band in bands if "allowed" in band]
    positive = np.concatenate([line["y"][line["y"] > 0.0] for line in lines] or [np.zeros(0)])
    least = float(np.quantile(positive, 0.02)) if len(positive) else 0.0  # a notch or two may leave the plot
    lowest = max(top / SPECTRUM_DEPTH, 0.5 * least)
    segments_s = {f"{run.found.spectra['pcc'][0].segment_s:g} s" for run in runs if run.found.spectra["pcc"]}
    return _line_plot(
        lines,
        section="spectrum",
        title=f"{group}: amplitude spectrum of power",
        note=f"Amplitude of a sine (half its p-p). Welch's method: Hann windows of {' and '.join(sorted(segments_s))}, "
        "half overlapping, squares averaged; where lines are closer than the plot's points, the largest is kept.",
        bands=bands,
        marks=_marks(runs),
        x_name="frequency (Hz)",
        y_name="amplitude (MW)",
        x_unit="Hz",
        y_unit="MW",
        x_log=True,
        y_log=True,
        y_range=[min([lowest, *(0.5 * mw for mw in allowed_mw)]), 2.0 * max([top, *allowed_mw])],
    )


def _bands(group: str, clauses: Clauses) -> Iterator[dict[str, Any]]:
    """Those that limits judge, once where several look at the same; with the amplitude that is allowed, if one is."""
    energy: dict[tuple[float, float], list[str]] = {}
    for clause in clauses:
        if isinstance(clause, limits_schema.BandEnergy) and clause.site in (None, group):
            energy.setdefault((clause.low_hz, clause.high_hz), []).append(clause.name)
        elif isinstance(clause, limits_schema.BandAmplitude) and clause.site in (None, group):
            text = f"{clause.name}, {clause.max_mw:g} MW"
            yield {**_band(clause.low_hz, clause.high_hz, text), "allowed": clause.max_mw}
    yield from (_band(*edges_hz, "; ".join(names)) for edges_hz, names in energy.items())


def _band(low_hz: float, high_hz: float, text: str) -> dict[str, Any]:
    return {"from": max(low_hz, SPECTRUM_HZ[0]), "to": high_hz, "text": f"{text}, {low_hz:g} to {high_hz:g} Hz"}


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
            "note": f"Amplitude of a sine in windows of {image.window_s:.3g} s, the largest of lines that share a row.",
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
        return np.concatenate([np.zeros(len(share[:1])), 100.0 * share]), np.concatenate([levels[:1], levels])

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


def _changes(runs: Sequence[Run], group: str, clauses: Clauses) -> dict[str, Any]:
    limits = []
    for clause in clauses:
        if isinstance(clause, limits_schema.SlidingWindowChange) and clause.site in (None, group):
            text = f"{clause.name}: {clause.max_mw:g} MW in {clause.window_s:g} s"
            limits.append({"x": clause.window_s, "y": clause.max_mw, "text": text})
        elif isinstance(clause, limits_schema.RampRate) and clause.site in (None, group):
            text = f"{clause.name}: {clause.max_mw_per_min:g} MW/min over {clause.over_s:g} s"
            limits.append({"x": clause.over_s, "y": clause.max_mw_per_min * clause.over_s / S_PER_MIN, "text": text})
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
