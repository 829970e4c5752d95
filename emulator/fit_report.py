"""A fit in words."""

from __future__ import annotations

import numpy as np

from emulator.fit import error_of
from emulator.fit_result import ONE, TWO, Estimate, Fitted, Open

UNITS = {"power": ("MW", 1.0), "frequency": ("mHz", 1e3)}


def render(fitted: Fitted, recording: str) -> str:
    """The report: numbers and their errors, residual, and what the recording leaves open."""
    unit, scale = UNITS[fitted.quantity]
    place = fitted.place if fitted.quantity == "power" else f"grid.area.{fitted.place}"
    width = max(len(_below(each.name, place)) for each in fitted.estimates)
    lines = [f"{place} fitted to the {fitted.quantity} in {recording}", ""]
    lines.append(f"{'':{width}s}  {'start':>10s}  {'fitted':>10s}  within (68 %)  (95 %)")
    lines += [_line(each, place, width) for each in fitted.estimates]
    lines.append("")
    lines.append(
        f"residual {scale * fitted.residual_rms:.4g} {unit} rms; {fitted.explained:.4%} of the variance explained"
    )
    lines += fitted.notes
    lines += [_open(each, place) for each in fitted.open]
    if fitted.message:
        lines.append(f"warning: {fitted.message}")
    return "\n".join(lines)


def _below(name: str, place: str) -> str:
    return name.removeprefix(f"{place}.").removeprefix("workload.")


def _line(each: Estimate, place: str, width: int) -> str:
    error = error_of(each)
    if np.isfinite(each.deviation):
        error = f"{each.within(ONE):<13.2g}  {each.within(TWO):.2g}"
    return f"{_below(each.name, place):{width}s}  {each.start:z10.5g}  {each.value:z10.5g}  {error}"


def _open(each: Open, place: str) -> str:
    """What cannot be told, and what would help."""
    names = [_below(name, place) for name in each.names]
    if len(names) == 1:
        if np.isinf(each.deviation):
            return f"not identified: {names[0]} leaves no trace in this recording"
        return f"not identified: {names[0]} leaves hardly a trace in this recording"
    parts = ", ".join(f"{name} ({share:+.2f})" for name, share in zip(names, each.shares, strict=True))
    trace = "no trace" if np.isinf(each.deviation) else "hardly a trace"
    return f"not identified: a common change of {parts} leaves {trace}: fix one of them"
