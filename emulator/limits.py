"""Limits judged on a recording: clause by clause what was measured, what is allowed, and how much room is left.

A clause passes where its worst place passes. What a recording cannot show is never a pass: a record shorter than the
clause's window, rows too coarse for it, a quantity that nobody recorded. Where such a record exceeds the limit all the
same, it fails. Margins are in the clause's unit, positive = room.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import singledispatch
from math import isnan
from pathlib import Path
from typing import Any, Literal

import numpy as np

from emulator import assessable, flicker, spectrum
from emulator import limits_schema as schema
from emulator import power_metrics as metrics
from emulator.complaint import must_be
from emulator.power_metrics import NONE, Moment
from emulator.recording import Quantity, Recording, after, evenly, is_at, of_trace, printable
from emulator.trace import Trace
from emulator.units import S_PER_MIN, counted, plain

ROUNDING = 1e-5  # of what is allowed: more than that beyond it is too much; single precision of 1 GW is 6e-5 MW

Verdict = Literal["pass", "fail", "not assessable"]


@dataclass(frozen=True)
class _Kind:
    """What every clause of a kind looks at, its key for what is allowed, that key's unit; what else it looks at."""

    quantity: Quantity
    allowed: str
    unit: str
    besides: tuple[Quantity, ...] = ()


KINDS = {
    "sliding_window_change": _Kind("power", "max_mw", "MW"),
    "ramp_rate": _Kind("power", "max_mw_per_min", "MW/min"),
    "dynamic_range": _Kind("power", "max_mw", "MW"),
    "band_energy": _Kind("power", "max_fraction", "1"),
    "band_amplitude": _Kind("power", "max_mw", "MW"),
    "flicker_pst": _Kind("voltage", "max_pst", "1"),
    "flicker_plt": _Kind("voltage", "max_plt", "1"),
    "voltage_change": _Kind("voltage", "max_pct", "%"),
    "voltage_range": _Kind("voltage", "high_pu", "pu"),
    "load_return": _Kind("connected share", "max_s", "s", ("voltage",)),
    "frequency_deviation": _Kind("frequency", "max_hz", "Hz"),
    "rocof": _Kind("frequency", "max_hz_per_s", "Hz/s"),
    "tie_swing": _Kind("tie flow", "max_mw", "MW"),
    "shaft_torque": _Kind("shaft torque", "max_pu", "pu"),
    "soc_window": _Kind("soc", "high", "1"),
}


@dataclass(frozen=True)
class Finding:
    """One clause judged. NaN where there is nothing to measure, or no moment to name."""

    name: str
    kind: str
    measured: float
    allowed: float
    margin: float  # room left, in `unit`
    unit: str
    passed: bool | None  # None: not assessable
    at_s: float  # when the worst moment had come
    where: str  # site, area, tie or shaft section
    reason: str  # why not assessable, or what to know about the figure
    status: str
    source: str


@dataclass(frozen=True)
class Assessment:
    """All clauses judged on one recording."""

    trace: str
    complete: bool
    stop_reason: str
    span_s: float
    limits: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """Fail where a clause fails; else not assessable where one is; else pass."""
        passed = [finding.passed for finding in self.limits]
        return "fail" if False in passed else "not assessable" if None in passed else "pass"

    def __str__(self) -> str:
        return render(self)

    def as_json(self) -> dict[str, Any]:
        """As `wattswing assess --json` prints it; NaN as null."""
        rows = [{key: plain(value) for key, value in vars(finding).items()} for finding in self.limits]
        head = about(self.trace, self.complete, self.stop_reason, self.span_s)
        return head | {"verdict": self.verdict, "limits": rows}


def assess(trace: Trace | Recording, limits: schema.Limits | str | Path) -> Assessment:
    """Judge a trace, or a recording from elsewhere, by limits: their table, a path, or the name of a preset.

    Raises:
      ConfigError: limits that cannot be read.
      TypeError: no trace, for example a file's name.
    """
    must_be(trace, (Trace, Recording), "em.read(FILE) or em.run(scenario)")
    recording = of_trace(trace, trace.header.name) if isinstance(trace, Trace) else trace
    table = limits if isinstance(limits, schema.Limits) else schema.load(limits)
    findings = tuple(_judge(limit, recording) for limit in table.limit)
    return Assessment(recording.name, recording.complete, recording.stop_reason, recording.span_s, findings)


def quantities(limits: schema.Limits) -> set[Quantity]:
    """All that the clauses look at: a recording needs no other."""
    kinds = [KINDS[limit.kind] for limit in limits.limit]
    return {quantity for kind in kinds for quantity in (kind.quantity, *kind.besides)}


@dataclass(frozen=True)
class _Measured:
    """What a clause finds at one place."""

    found: Moment
    allowed: float
    doubt: str = ""  # why a value that is not too large proves nothing
    remark: str = ""
    at_least: bool = False  # what is allowed is the least value, not the largest

    @property
    def margin(self) -> float:
        return self.found.value - self.allowed if self.at_least else self.allowed - self.found.value

    @property
    def passed(self) -> bool | None:
        if self.margin < -ROUNDING * self.allowed:
            return False
        return None if self.doubt or isnan(self.margin) else True


def _judge(limit: schema.Limit, recording: Recording) -> Finding:
    """A clause at its worst place: a failure before what cannot be judged, that before a pass; then the least room."""
    kind, recording = KINDS[limit.kind], after(recording, limit.skip_s)
    places, lacking = _places(limit, recording.values.get(kind.quantity, {}), kind.quantity)
    if lacking or len(recording.time_s) < 2:
        unknown = _Measured(NONE, getattr(limit, kind.allowed), lacking or "a record of less than two rows")
        return _finding(limit, unknown, "")
    measured = {at: _measured(limit, _only(recording, at), values) for at, values in places.items()}
    ranks = {False: 0, None: 1, True: 2}
    where = min(measured, key=lambda at: (ranks[measured[at].passed], np.nan_to_num(measured[at].margin, nan=np.inf)))
    return _finding(limit, measured[where], where)


def _places(
    limit: schema.Limit, places: Mapping[str, np.ndarray], quantity: Quantity
) -> tuple[Mapping[str, np.ndarray], str]:
    """Where the clause holds, and why nowhere."""
    wanted = schema.place_of(limit)
    if not places:
        return {}, f"no {quantity} in the record"
    chosen = {at: values for at, values in places.items() if wanted is None or is_at(at, wanted)}
    return chosen, "" if chosen else f"no {quantity} of {wanted!r} in the record: it has {', '.join(places)}"


def _only(recording: Recording, at: str) -> Recording:
    """Of one place."""
    return replace(recording, values={q: {at: v[at]} for q, v in recording.values.items() if at in v})


def _measured(limit: schema.Limit, recording: Recording, values: np.ndarray) -> _Measured:
    good = np.isfinite(values)
    if good.all():
        return _measure(limit, recording, values)
    rows = int(np.argmin(good))
    reason = f"values that are not finite, from {recording.time_s[rows]:g} s on"
    if rows < 2:
        return _Measured(NONE, getattr(limit, KINDS[limit.kind].allowed), reason)
    before = replace(recording, time_s=recording.time_s[:rows])
    return replace(_measure(limit, before, values[:rows]), doubt=reason)  # too large up to there is too large


def _finding(limit: schema.Limit, measured: _Measured, where: str) -> Finding:
    found, passed = measured.found, measured.passed
    skipped = f"its first {limit.skip_s:g} s are not judged" if limit.skip_s else ""
    reasons = (measured.doubt if passed is None else "", measured.remark, skipped)
    return Finding(
        name=limit.name,
        kind=limit.kind,
        measured=found.value,
        allowed=measured.allowed,
        margin=measured.margin,
        unit=KINDS[limit.kind].unit,
        passed=passed,
        at_s=found.at_s,
        where=where,
        reason="; ".join(reason for reason in reasons if reason),
        status=limit.status,
        source=limit.source,
    )


@singledispatch
def _measure(limit: Any, recording: Recording, values: np.ndarray) -> _Measured:
    """What a clause measures at one place; `values` are finite, two rows or more."""
    raise NotImplementedError(type(limit))  # a kind of limit for which nobody has written the measure below


@_measure.register
def _(limit: schema.SlidingWindowChange, recording: Recording, values: np.ndarray) -> _Measured:
    ends_s, changes = metrics.changes_within(recording.time_s, values, limit.window_s)
    count = metrics.separate_windows(ends_s, changes, limit.window_s, limit.max_mw * (1.0 + ROUNDING))
    remark = f"exceeded in {counted(count, 'separate window')}" if count else ""
    doubt = assessable.too_short(recording, limit.window_s) or assessable.too_coarse(recording, limit.window_s)
    return _Measured(metrics.largest(ends_s, changes), limit.max_mw, doubt, remark)


@_measure.register
def _(limit: schema.RampRate, recording: Recording, values: np.ndarray) -> _Measured:
    rate, doubt = _rate(recording, values, limit.over_s)
    return _Measured(_scaled(rate, S_PER_MIN), limit.max_mw_per_min, doubt)


@_measure.register
def _(limit: schema.DynamicRange, recording: Recording, values: np.ndarray) -> _Measured:
    return _Measured(metrics.swing(recording.time_s, values), limit.max_mw)


@_measure.register
def _(limit: schema.BandEnergy, recording: Recording, values: np.ndarray) -> _Measured:
    if doubt := assessable.no_band(recording, limit.low_hz, limit.high_hz):
        return _Measured(NONE, limit.max_fraction, doubt)
    lines = spectrum.of_series(evenly(recording, values), recording.row_s)
    part = getattr(spectrum.share(lines, limit.low_hz, limit.high_hz), limit.reading)
    remark = "".join(
        f"largest line in the band: {amplitude:.3g} MW at {hz:.4g} Hz"
        for hz, amplitude in spectrum.dominant(spectrum.within(lines, limit.low_hz, limit.high_hz), 1)
    )
    return _Measured(Moment(0.0 if isnan(part) else part, np.nan), limit.max_fraction, "", remark)  # NaN: no swing


@_measure.register
def _(limit: schema.BandAmplitude, recording: Recording, values: np.ndarray) -> _Measured:
    needed_s = spectrum.LOBE_BINS / limit.low_hz if limit.low_hz > 0.0 else 0.0
    if doubt := assessable.too_short(recording, needed_s) or assessable.no_band(recording, limit.low_hz, limit.high_hz):
        return _Measured(NONE, limit.max_mw, doubt)
    frequency_hz, amplitude_mw = spectrum.of_lines(evenly(recording, values), recording.row_s)
    band = spectrum.bins(frequency_hz, limit.low_hz, limit.high_hz)
    largest = metrics.largest(frequency_hz[band], amplitude_mw[band])
    remark = "" if isnan(largest.value) else f"at {largest.at_s:.4g} Hz"
    doubt = assessable.hidden_line(recording, frequency_hz[band], amplitude_mw[band], limit.max_mw * (1.0 + ROUNDING))
    return _Measured(Moment(np.nan_to_num(largest.value), np.nan), limit.max_mw, doubt, remark)


@_measure.register
def _(limit: schema.FlickerPst, recording: Recording, values: np.ndarray) -> _Measured:
    if doubt := assessable.no_flicker(recording, flicker.SHORT_S):
        return _Measured(NONE, limit.max_pst, doubt)
    pst, peaks_s, remark = _severities(limit, recording, values)
    return _Measured(metrics.largest(peaks_s, pst), limit.max_pst, "", remark)


@_measure.register
def _(limit: schema.FlickerPlt, recording: Recording, values: np.ndarray) -> _Measured:
    if doubt := assessable.no_flicker(recording, flicker.LONG_COUNT * flicker.SHORT_S):
        return _Measured(NONE, limit.max_plt, doubt)
    pst, _, remark = _severities(limit, recording, values)
    plt = flicker.long_term(pst)
    ends_s = recording.time_s[0] + flicker.SHORT_S * (flicker.LONG_COUNT + np.arange(len(plt)))
    return _Measured(metrics.largest(ends_s, plt), limit.max_plt, "", remark)


@_measure.register
def _(limit: schema.VoltageChange, recording: Recording, values: np.ndarray) -> _Measured:
    change = metrics.rapid_voltage_change(recording.time_s, values)
    doubt = assessable.too_short(recording, metrics.RAPID_S) or assessable.too_coarse(recording, metrics.RAPID_S)
    return _Measured(_scaled(change, 100.0), limit.max_pct, doubt)


@_measure.register
def _(limit: schema.VoltageRange, recording: Recording, values: np.ndarray) -> _Measured:
    return _between(recording, values, limit.low_pu, limit.high_pu)


@_measure.register
def _(limit: schema.LoadReturn, recording: Recording, values: np.ndarray) -> _Measured:
    (voltage_pu,) = recording.values.get("voltage", {"": np.ones(len(values))}).values()  # none of its own: stiff
    voltage_pu = voltage_pu[: len(values)]
    waits_s = metrics.waits_s(recording.time_s, values, voltage_pu, limit.share, limit.above_pu)
    unseen = assessable.no_return(values, limit.share, voltage_pu, limit.above_pu)
    coarse = assessable.too_coarse(recording, limit.max_s)
    return _Measured(metrics.largest(recording.time_s, waits_s), limit.max_s, unseen or coarse)


@_measure.register
def _(limit: schema.FrequencyDeviation, recording: Recording, values: np.ndarray) -> _Measured:
    return _Measured(metrics.largest(recording.time_s, np.abs(values - recording.nominal_hz)), limit.max_hz)


@_measure.register
def _(limit: schema.Rocof, recording: Recording, values: np.ndarray) -> _Measured:
    rate, doubt = _rate(recording, values, limit.over_s)
    return _Measured(rate, limit.max_hz_per_s, doubt)


@_measure.register
def _(limit: schema.TieSwing, recording: Recording, values: np.ndarray) -> _Measured:
    return _Measured(metrics.swing(recording.time_s, values), limit.max_mw)


@_measure.register
def _(limit: schema.ShaftTorque, recording: Recording, values: np.ndarray) -> _Measured:
    largest, (section,) = metrics.largest(recording.time_s, np.abs(values)), recording.values["shaft torque"]
    hides = largest.value * assessable.peak_over_seen(recording, section) > limit.max_pu * (1.0 + ROUNDING)
    return _Measured(largest, limit.max_pu, assessable.hidden_peak(recording, section) if hides else "")


@_measure.register
def _(limit: schema.SocWindow, recording: Recording, values: np.ndarray) -> _Measured:
    return _between(recording, values, limit.low, limit.high)


def _between(recording: Recording, values: np.ndarray, low: float, high: float) -> _Measured:
    """Whichever end of a range a value comes nearer to, or goes further beyond."""
    least = _Measured(_scaled(metrics.largest(recording.time_s, -values), -1.0), low, at_least=True)
    most = _Measured(metrics.largest(recording.time_s, values), high)
    return min(least, most, key=lambda end: end.margin)


def _severities(
    limit: schema.FlickerPst | schema.FlickerPlt, recording: Recording, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, str]:
    """Pst of each whole 10 min, when it was felt most, and what to know about them."""
    record = (evenly(recording, values), recording.row_s, limit.lamp_v, limit.frequency_hz)
    pst, peaks_s = flicker.severities(*flicker.instantaneous(*record))
    other = f"a meter for {limit.frequency_hz:g} Hz, the grid has {recording.nominal_hz:g} Hz"
    remarks = ("" if limit.frequency_hz == recording.nominal_hz else other, flicker.validity(*record))
    return pst, recording.time_s[0] + peaks_s, "; ".join(filter(None, remarks))


def _rate(recording: Recording, values: np.ndarray, over_s: float) -> tuple[Moment, str]:
    """Largest rate per s over a time, and why it proves nothing."""
    rate = metrics.ramp(recording.time_s, values, over_s)
    if isnan(rate.value):
        return rate, assessable.no_pair(recording, over_s)
    return rate, assessable.too_coarse(recording, over_s)


def _scaled(found: Moment, factor: float) -> Moment:
    return Moment(found.value * factor, found.at_s)


def about(name: str, complete: bool, stop_reason: str, span_s: float) -> dict[str, Any]:
    """What was looked at, and how far it goes, as JSON has it."""
    return {"trace": name, "complete": complete, "stop_reason": stop_reason, "assessed_s": span_s}


def headline(name: str, complete: bool, stop_reason: str, span_s: float) -> str:
    """The same in words."""
    head = f"{printable(name)}: {span_s:g} s"
    return head if complete else f"{head} of a run that did not end ({printable(stop_reason)}): judged up to there"


NAME_WIDTH = 32  # of a clause in the table; longer ones widen it, up to twice as much


def render(assessment: Assessment) -> str:
    """The table that `wattswing assess` prints."""
    head = headline(assessment.trace, assessment.complete, assessment.stop_reason, assessment.span_s)
    titles = ("clause", "status", "measured", "allowed", "margin", "", "verdict", "at s", "where")
    width = min(max([NAME_WIDTH, *(len(finding.name) for finding in assessment.limits)]), 2 * NAME_WIDTH)
    lines = _lines(assessment.limits, width)
    return "\n".join([head, _row(titles, width), *lines, f"verdict: {assessment.verdict}"])


def _lines(findings: Iterable[Finding], width: int) -> Iterator[str]:
    verdicts = {True: "pass", False: "FAIL", None: "n/a"}
    for finding in findings:
        margin = max(finding.margin, 0.0) if finding.passed else finding.margin  # beyond by rounding: no room
        figures = (_figure(x) for x in (finding.measured, finding.allowed, margin))
        unit, at_s = finding.unit.removeprefix("1"), "" if isnan(finding.at_s) else f"{finding.at_s:z.3f}"
        cells = (finding.name, finding.status, *figures, unit, verdicts[finding.passed], at_s, finding.where)
        yield _row([printable(cell) for cell in cells], width)
        if finding.reason:
            yield f"    {printable(finding.reason)}"


def _row(cells: Iterable[str], width: int) -> str:
    name, status, measured, allowed, margin, unit, verdict, at_s, where = cells
    figures = f"{measured:>9} {allowed:>9} {margin:>9} {unit:6}"
    return f"{name:{width}.{width}} {status:8} {figures} {verdict:7} {at_s:>10}  {where}".rstrip()


def _figure(value: float) -> str:
    return "-" if isnan(value) else f"{value:z.4g}"
