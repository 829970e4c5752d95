"""The picture of `wattswing modes`: response over frequency with the modes marked; below it what the job's iteration
does, stretched to any period, with the periods to avoid shaded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from emulator import plot
from emulator.modes import LIGHT
from emulator.modes_report import Analysis
from emulator.plot import CYCLE
from emulator.resonance import LONGEST_S, SHORTEST_S

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = (  # kinds of output in one panel, and its title
    (("frequency",), "frequency"),
    (("tie flow",), "tie flow"),
    (("draw from the grid", "battery power"), "power"),
    (("shaft torque",), "shaft torque"),
)
SCALES = {"Hz/MW": (1e3, "mHz/MW")}  # to what is easier to read
COLOURS = dict(zip((kind for kinds, _ in PANELS for kind in kinds), CYCLE, strict=False))  # where a curve is a kind
UNITS = ("frequency", "tie flow", "draw from the grid", "battery power")  # kinds in the panel of sizes
PERIOD_TICKS = (0.2, 0.5, 1, 2, 5, 10, 20, 60)
MOST_NAMED = 6  # curves named in a legend
DEPTH = 1e4  # of a panel's scale below its highest point
HARDLY = 0.9  # damping ratio above which nobody sees an oscillation
LIGHTLY, WELL = "#B22222", "#777777"  # marks of modes


def picture(found: Analysis, path_out: str | os.PathLike[str]) -> None:
    """Draw it as PNG (1200 pixels wide), SVG or PDF, by the ending of `path_out`.

    Raises:
      TraceError: as `plot.picture`.
    """
    with plot.picture(path_out) as figure:
        draw(figure, found)


def draw(figure: Figure, found: Analysis) -> None:
    """A panel for each kind of output that answers, the resonance map below them."""
    rows = [(title, its) for kinds, title in PANELS if (its := _answering(found, kinds))]
    heights = [1.0] * len(rows) + [0.2, 1.1, 1.1]
    figure.set_size_inches(12, 2.3 * sum(heights))
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for i, (panel, (title, its)) in enumerate(zip(axes, rows, strict=False)):
        _draw_response(panel, found, its, title, last=i == len(rows) - 1, named=i == 0)
    axes[-3].axis("off")
    axes[-3].text(
        0.0, 0.3, _waveform_words(found), fontsize=12, va="center", transform=axes[-3].transAxes, in_layout=False
    )
    _draw_rms(axes[-2], found)
    _draw_amplification(axes[-1], found)
    figure.suptitle(f"{found.name}: what swings of the {found.load} do", fontsize=14)


def _waveform_words(found: Analysis) -> str:
    its = found.resonance.waveform
    own = "" if its.period_s is None else f" (its own: {its.period_s:.4g} s)"
    return f"{its.label}, {its.swing_mw:.4g} MW from peak to peak, stretched to any period{own}"


def _answering(found: Analysis, kinds: tuple[str, ...]) -> list[int]:
    """Outputs of these kinds that answer the load at all."""
    return [i for i, output in enumerate(found.outputs) if output.kind in kinds and np.abs(found.response[:, i]).max()]


def _draw_response(axes: Axes, found: Analysis, outputs: list[int], title: str, last: bool, named: bool) -> None:
    scale, unit = SCALES.get(found.outputs[outputs[0]].unit, (1.0, found.outputs[outputs[0]].unit))
    kinds = [found.outputs[i].kind for i in outputs]
    alone, top = len(set(kinds)) == len(kinds), 0.0  # one curve of each kind: it has the kind's colour
    for place, i in enumerate(outputs):
        magnitude = scale * np.abs(found.response[:, i])
        output = found.outputs[i]
        words = output.where if output.kind == title else str(output)
        label = words if place < MOST_NAMED else "_"
        color = COLOURS[output.kind] if alone else CYCLE[place % len(CYCLE)]
        axes.plot(found.frequency_hz, magnitude, color=color, linewidth=1.6, label=label)
        top = max(top, magnitude.max())
    lowest = min(scale * np.abs(found.response[:, outputs]).min(), top / 30.0)
    axes.set(xscale="log", yscale="log", xlim=(found.frequency_hz[0], found.frequency_hz[-1]))
    axes.set(ylabel=unit, ylim=(max(lowest, top / DEPTH) / 1.5, top * 2.0))
    axes.xaxis.set_major_formatter("{x:g}")
    _plain_numbers(axes)
    axes.grid(alpha=0.3, which="major")
    _mark_modes(axes, found, named)
    if last:
        axes.set_xlabel("frequency (Hz)")
    _head(axes, f"{title}: response per MW of load")


def _mark_modes(axes: Axes, found: Analysis, named: bool) -> None:
    """A line at each mode; its frequency and damping in words where there is room."""
    low, high = axes.get_xlim()
    before = 0.0
    for mode in sorted(found.modes.modes, key=lambda its: its.frequency_hz):
        at, light = mode.frequency_hz, mode.damping_ratio < LIGHT
        if not low <= at <= high or mode.damping_ratio > HARDLY:
            continue
        axes.axvline(at, color=LIGHTLY if light else WELL, linewidth=1.0, linestyle="--" if light else ":")
        if named and at > before * 1.12:
            words = f"{at:.3g} Hz, ζ {mode.damping_ratio:.2g}"
            axes.annotate(words, (at, 0.03), xytext=(-3.0, 0.0), textcoords="offset points", zorder=5,
                          xycoords=axes.get_xaxis_transform(), rotation=90, va="bottom", ha="right", fontsize=8,
                          bbox=dict(facecolor="white", alpha=0.7, linewidth=0, pad=0.5),
                          color=LIGHTLY if light else WELL)  # fmt: skip
            before = at


def _draw_rms(axes: Axes, found: Analysis) -> None:
    """Size of what the stretched iteration does: powers on the left axis, frequency on the right."""
    right = axes.twinx()
    for kind, outputs in _kinds(found).items():
        if kind not in UNITS:
            continue
        side, scale = (right, 1e3) if kind == "frequency" else (axes, 1.0)
        worst = scale * np.max(found.resonance.rms[:, outputs], axis=1)
        side.plot(
            found.resonance.period_s,
            worst,
            color=COLOURS[kind],
            linewidth=1.6,
            label=_worst(kind, outputs, "right" if side is right else "left"),
        )
    for side, unit in ((axes, "MW rms"), (right, "mHz rms")):
        if side.lines:
            values = np.concatenate([np.asarray(line.get_ydata(), float) for line in side.lines])
            top = values.max()
            low = max(values.min(), top / DEPTH)
            side.set(yscale="log", ylabel=unit, ylim=(low / 1.5, 2.0 * top))
            _plain_numbers(side)
        else:
            side.set_yticks([])
    _over_periods(axes, found)
    handles = [*axes.get_legend_handles_labels()[0], *right.lines]
    _head(axes, "size of the response", handles)


def _draw_amplification(axes: Axes, found: Analysis) -> None:
    top = 2.0
    for kind, over in found.resonance.amplification.items():
        axes.plot(found.resonance.period_s, over, color=COLOURS[kind], linewidth=1.4, label=kind)
        top = max(top, float(over.max()))
    axes.axhline(1.0, color=WELL, linewidth=0.8)
    axes.set(yscale="log", ylim=(0.5, 1.5 * top), xlabel="iteration period (s)", ylabel="1 = no resonance")
    _plain_numbers(axes)
    _over_periods(axes, found)
    shaded = "shaded: avoid" if found.resonance.avoid else "no lightly damped mode is met"
    _head(axes, f"amplification by modes; {shaded}")


def _over_periods(axes: Axes, found: Analysis) -> None:
    """Period axis, the ranges to avoid and the job's own period."""
    its = found.resonance
    for each in its.avoid:
        axes.axvspan(each.low_s, each.high_s, color=LIGHTLY, alpha=0.13, linewidth=0)
    axes.set(xscale="log", xlim=(SHORTEST_S, LONGEST_S))
    axes.set_xticks(PERIOD_TICKS, [f"{tick:g}" for tick in PERIOD_TICKS])
    axes.grid(alpha=0.3, which="major")
    if its.waveform.period_s is not None:
        own, verdict = its.waveform.period_s, "avoid" if its.verdict() else "clear"
        axes.axvline(own, color="black", linewidth=1.4)
        side, points = ("right", -6.0) if own > 2.0 else ("left", 6.0)
        over = "".join(f", × {most:.3g}" for most in [*its.own_amplification().values()][:1])
        axes.annotate(f"{own:.4g} s: {verdict}{over}", (own, 0.95), xytext=(points, 0.0), textcoords="offset points",
                      xycoords=axes.get_xaxis_transform(), va="top", ha=side, fontsize=10,
                      bbox=dict(facecolor="white", alpha=0.8, linewidth=0, pad=1.0))  # fmt: skip


def _kinds(found: Analysis) -> dict[str, list[int]]:
    """Outputs that answer, by kind."""
    kinds = dict.fromkeys(output.kind for output in found.outputs)
    return {kind: its for kind in kinds if (its := _answering(found, (kind,)))}


def _worst(kind: str, outputs: list[int], axis: str = "") -> str:
    which = [*(["largest"] if len(outputs) > 1 else []), *([axis] if axis else [])]
    return f"{kind} ({', '.join(which)})" if which else kind


def _plain_numbers(axes: Axes) -> None:
    """Marks of a logarithmic axis at 1, 10, 100, or over less than two decades also at 2 and 5."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 100.0 * low else (1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _head(axes: Axes, title: str, handles: Sequence[Artist] | None = None) -> None:
    """Title and legend above a panel, where they hide nothing."""
    axes.set_title(title, loc="left", fontsize=11)
    legend = axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=MOST_NAMED, frameon=False,
                         borderaxespad=0.2, fontsize=9, columnspacing=1.3, handlelength=1.5)  # fmt: skip
    legend.set_in_layout(False)
