"""Curves over time, as the page's script takes them. Signs as in the trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from emulator import limits_schema
from emulator.report import encode
from emulator.report.gather import POWERS, ROCOF_OVER_S
from emulator.report.moments import span_of
from emulator.report.run import Run

LEAST_ROWS = 5  # across a plot that is zoomed in as far as it goes
SIDES = {"facility": "site consumes", "pcc": "drawn from the grid"}
TITLES = {"facility": "power that the site consumes, before the battery", "pcc": "power drawn from the grid"}
PANELS = (  # section, title, unit, quantities
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


def events_data(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """What is marked in the plots over time."""
    return [
        {"at": event.time_s, "text": run.named(f"{event.kind}, {event.where}, {event.time_s:.3f} s")}
        for run in runs
        for event in run.found.marked
    ]


def panels(runs: Sequence[Run], clauses: Sequence[limits_schema.Limit]) -> Iterator[dict[str, Any]]:
    """A plot of every kind that a run has, with what clauses allow."""
    nominal_hz = runs[0].found.plan.header.frequency_hz
    for panel in PANELS:
        for plot in _panel(runs, *panel):
            for clause in clauses:
                if ends := _allowed(clause, panel[-1], nominal_hz):
                    place = getattr(clause, "site", None) or getattr(clause, "area", None)
                    at = f" at {place}" if place else ""
                    text = f"{clause.name}{at}: {ends[0]:g} to {ends[1]:g} {plot['unit']}"
                    plot["legend"].append({"look": "allowed", "text": text})
                    plot["levels"] += ends
                    plot["note"] = "Red lines: what is allowed, where that lies within the plot."
            yield plot


def _allowed(clause: limits_schema.Limit, keys: Sequence[str], nominal_hz: float) -> tuple[float, ...]:
    """Lowest and highest value that a clause allows in a plot of these quantities; nothing if it looks at others."""
    match clause:
        case limits_schema.FrequencyDeviation(max_hz=hz) if "frequency" in keys:
            return nominal_hz - hz, nominal_hz + hz
        case limits_schema.Rocof(max_hz_per_s=rate, over_s=over_s) if "rocof" in keys and over_s == ROCOF_OVER_S:
            return -rate, rate
        case limits_schema.VoltageRange(low_pu=low, high_pu=high) if "voltage" in keys:
            return low, high
        case limits_schema.SocWindow(low=low, high=high) if "soc" in keys:
            return 100.0 * low, 100.0 * high
        case limits_schema.ShaftTorque(max_pu=torque) if "torque" in keys:
            return -torque, torque
    return ()


def power_plots(runs: Sequence[Run], group: str) -> list[dict[str, Any]]:
    """One run: consumption and draw in one plot. Several: a plot each, a curve a run."""
    if len(runs) == 1:
        curve = runs[0].found.plan.labels("pcc").index(group)
        series = [_series(runs, 0, key, curve, SIDES[key], ALONE[key], "MW") for key in POWERS]
        return [_time_plot("power", f"{group}: consumption, and draw from the grid", "MW", series)]
    found = []
    for key in reversed(POWERS):
        series = [
            _series(runs, i, key, run.found.plan.labels(key).index(group), run.label, look_of(runs, i), "MW")
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
        for curve, label in enumerate(run.found.plan.labels(key))
    ]
    whole = all(runs[i].found.range_of(key, curve)[0] >= 1.0 for i, key, curve, _ in curves)
    if not curves or (keys == ("connected",) and whole):
        return
    by_run = len(runs) > 1 and len({(key, label) for _, key, _, label in curves}) == 1
    looks = [look_of(runs, i) if by_run else n % LOOKS for n, (i, _, _, _) in enumerate(curves)]
    series = [
        _series(runs, i, key, curve, runs[i].named(label), look, unit)
        for look, (i, key, curve, label) in zip(looks, curves, strict=True)
    ]
    yield _time_plot(section, title, unit, series)


def look_of(runs: Sequence[Run], i: int) -> int:
    """Colour of a run among several."""
    return PAIR[i] if len(runs) == len(PAIR) else i % LOOKS


def _series(runs: Sequence[Run], i: int, key: str, curve: int, label: str, look: int, unit: str) -> dict[str, Any]:
    low, high = (end * _scale(key) for end in runs[i].found.range_of(key, curve))
    digits = 4 if unit in ("Hz", "Hz/s", "pu") else 2
    text = f"{label}: {low:.{digits}f} to {high:.{digits}f} {unit}, p-p {high - low:.{digits}f}"
    return {"trace": i, "key": key, "curve": curve, "label": label, "look": f"c{look}", "text": text}


def _time_plot(section: str, title: str, unit: str, series: list[dict[str, Any]]) -> dict[str, Any]:
    legend = [{"look": one["look"], "text": one.pop("text")} for one in series]
    spec = {"kind": "time", "section": section, "title": title, "unit": unit, "series": series, "legend": legend}
    return spec | {"levels": []}
