"""The overview picture of a trace: power, battery, voltage, frequency, tie flow over time, and the spectrum of power.

A trace is read once, in windows: memory does not grow with its length. Curves are the smallest and the largest value in
each column of pixels, so that every peak shows.
Signs: load positive = draws from the grid; battery positive = discharges; tie positive = from first area to second.
"""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emulator.envelope import Envelope
from emulator.trace import Header, Trace, TraceError
from emulator.traces.filesystem import whole
from emulator.traces.hdf5 import count_rows, read
from emulator.welch import Welch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

ENDINGS = (".png", ".svg", ".pdf")
ROWS_AT_ONCE = 65_536
PIXEL_COLUMNS = 1400
WIDTH_IN = 12.0
MOST_PANELS = 3  # sites with a power panel of their own; more than that are summed
MOST_NAMED = 8  # curves with a colour and a name in a legend
MOST_LETTERS = 80  # of a name; longer ones lose their middle
HEAD_IN = 10.0  # width that a title and a legend have above a panel, at least
DEPTH = 1e5  # of the spectrum's scale below its highest line
DRAWN = (
    "site_facility_power_mw",
    "site_pcc_power_mw",
    "site_bess_power_mw",
    "bess_soc",
    "site_pcc_voltage_pu",
    "area_frequency_hz",
    "tie_power_mw",
)
EACH = {
    "voltage": ("pu", ".4f"),
    "frequency": ("Hz", ".4f"),
    "tie flow": ("MW", ".1f"),
}  # one curve a place, in what unit
HEIGHT_OF = {"voltage": 1.6, "frequency": 2.0, "tie flow": 1.6}  # of their panels, relative
SPECTRUM_HZ = (0.01, 20.0)

# Okabe and Ito, distinct also to the colour-blind: https://jfly.uni-koeln.de/color/
ORANGE, BLUE, GREEN, PURPLE = "#E69F00", "#0072B2", "#009E73", "#CC79A7"
CYCLE = (BLUE, "#D55E00", GREEN, PURPLE, ORANGE, "#56B4E9", "#000000", "#999999")
UNNAMED = "#DDDDDD"


def overview(
    path_in: str | os.PathLike[str], path_out: str | os.PathLike[str], window_s: tuple[float, float] | None = None
) -> None:
    """Draw the picture of an HDF5 trace as PNG (1600 pixels wide), SVG or PDF, by the ending of `path_out`.

    Args:
      window_s: from when to when; left out: the whole trace.

    Raises:
      TraceError: no such trace, one without rows (in the window), or as `picture`.
    """
    with picture(path_out, dpi=400 / 3) as figure:  # large letters: pages show it at half its width
        _draw(figure, _gather(path_in, window_s))


def must_be_drawable(path_out: str | os.PathLike[str]) -> None:
    """For who computes long before drawing.

    Raises:
      TraceError: an ending not known, or matplotlib is not installed.
    """
    if Path(path_out).suffix.lower() not in ENDINGS:
        raise TraceError(f"{path_out}: a picture ends in {', '.join(ENDINGS)}")
    if find_spec("matplotlib") is None:
        raise TraceError("pictures need matplotlib: install wattswing[plot]")


@contextmanager
def picture(path_out: str | os.PathLike[str], dpi: float = 100.0) -> Iterator[Figure]:
    """A figure to fill, `dpi` pixels to the inch; in the end it stands at `path_out` as PNG, SVG or PDF, by its ending.
    What stood there stays until then, and where filling fails.

    Raises:
      TraceError: an ending not known, a file that cannot be written, or matplotlib is not installed.
    """
    must_be_drawable(path_out)
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"text.parse_math": False}):  # names are text, also with a dollar sign
        figure = Figure(dpi=dpi, layout="constrained", facecolor="white")
        yield figure
        with whole(path_out) as part:
            figure.savefig(part, format=Path(path_out).suffix[1:].lower())


@dataclass(frozen=True)
class _Data:
    """All that the picture shows."""

    header: Header
    ending: str
    start_s: float
    duration_s: float
    whole_s: float  # length of the trace, of which this may be a window
    groups: tuple[tuple[str, slice], ...]  # title and sites of each power panel
    places: dict[str, tuple[str, ...]]  # of each of EACH: voltage only where it is not stiff
    curves: dict[str, Envelope]
    spectra: dict[str, Welch]


def _gather(path: str | os.PathLike[str], window_s: tuple[float, float] | None = None) -> _Data:
    total = count_rows(path)
    if not total:
        raise TraceError(f"{path}: a trace without rows, nothing to draw")
    shown = range(total) if window_s is None else _rows_within(path, total, window_s)
    first, rows = read(path, slice(shown.start, shown.start + 1)), len(shown)
    header, sites = first.header, first.header.labels["site"]
    if not sites and not header.labels["area"]:
        raise TraceError(f"{path}: a trace without sites and areas, nothing to draw")
    groups = panels_of(sites)
    widths = {"facility": len(groups), "pcc": len(groups), "bess": 1, "soc": len(groups)}
    weak = tuple(site for site, kv in zip(sites, header.nominal_kv, strict=True) if np.isfinite(kv))
    places = {"voltage": weak, "frequency": header.labels["area"], "tie flow": header.labels["tie"]}
    widths |= {name: len(places[name]) for name in EACH}
    running = "the run was going on, or killed"
    data = _Data(
        header=header,
        ending="complete" if first.complete else f"not complete: {first.stop_reason or running}",
        start_s=float(first.time_s[0]),
        duration_s=rows * header.row_s,
        whole_s=total * header.row_s,
        groups=groups,
        places=places,
        curves={name: Envelope(rows, width, PIXEL_COLUMNS) for name, width in widths.items()},
        spectra={name: Welch(rows, header.row_s) for name in ("facility", "pcc")},
    )
    for start in shown[::ROWS_AT_ONCE]:  # not to the end of the file: it may be growing
        _add(data, read(path, slice(start, min(start + ROWS_AT_ONCE, shown.stop)), DRAWN))
    return data


def _rows_within(path: str | os.PathLike[str], total: int, window_s: tuple[float, float]) -> range:
    """Rows that reach into the window. TraceError where there are none."""
    first = read(path, slice(0, 1))
    start_s, row_s = float(first.time_s[0]), first.header.row_s
    # A billionth of a row: less than any row that is meant, more than the rounding of a time over it.
    start, stop = (
        math.floor((window_s[0] - start_s) / row_s + 1e-9),
        math.ceil((window_s[1] - start_s) / row_s - 1e-9),
    )
    shown = range(max(start, 0), min(stop, total))
    if not shown:
        ends = f"{start_s:g} to {start_s + total * row_s:g} s"
        raise TraceError(f"{path}: nothing from {window_s[0]:g} to {window_s[1]:g} s: the trace goes from {ends}")
    return shown


def panels_of(sites: Sequence[str]) -> tuple[tuple[str, slice], ...]:
    """Title and sites of each panel of power: one a site, or their sum where there are many."""
    if len(sites) > MOST_PANELS:
        return ((f"sum of {len(sites)} sites", slice(None)),)
    return tuple((site, slice(i, i + 1)) for i, site in enumerate(sites))


def _add(data: _Data, trace: Trace) -> None:
    for name, power in (("facility", trace.site_facility_power_mw), ("pcc", trace.site_pcc_power_mw)):
        power = power.astype(np.float64)
        panels = [power[:, sites].sum(axis=1, keepdims=True) for _, sites in data.groups]
        data.curves[name].add(np.concatenate([power[:, :0], *panels], axis=1))
        data.spectra[name].add(power.sum(axis=1))
    data.curves["bess"].add(trace.site_bess_power_mw.sum(axis=1, keepdims=True))
    charges = [_mean_charge(trace.bess_soc[:, sites]) for _, sites in data.groups]
    data.curves["soc"].add(np.concatenate([trace.bess_soc[:, :0], *charges], axis=1))
    data.curves["voltage"].add(trace.site_pcc_voltage_pu[:, np.isfinite(trace.header.nominal_kv)])
    data.curves["frequency"].add(trace.area_frequency_hz)
    data.curves["tie flow"].add(trace.tie_power_mw)


def _mean_charge(soc: np.ndarray) -> np.ndarray:
    """(rows, 1) mean over the sites that have a battery; NaN where none has."""
    batteries = soc[:, ~np.isnan(soc).all(axis=0)]
    return batteries.mean(axis=1, keepdims=True) if batteries.shape[1] else np.full((len(soc), 1), np.nan)


def _draw(figure: Figure, data: _Data) -> None:
    heights = _heights(data)
    figure.set_size_inches(WIDTH_IN, 0.825 * max(10.0, sum(heights.values())))
    panels = figure.subplot_mosaic([[name] for name in heights], height_ratios=list(heights.values()))
    for i, (title, _) in enumerate(data.groups):
        _draw_power(figure, panels[f"power {i}"], data, i, title)
    if "battery" in panels:
        _draw_battery(panels["battery"], data)
    for name in EACH:
        if name in panels:
            _draw_each(figure, panels[name], data, name)
    if "spectrum" in panels:
        _draw_spectrum(figure, panels["spectrum"], data)
    _share_time([panels[name] for name in heights if name != "spectrum"], data)
    figure.align_ylabels(list(panels.values()))
    until_s = data.start_s + data.duration_s
    part = "" if data.duration_s == data.whole_s else f"{data.start_s:g} to {until_s:g} s of "
    words = f"{part}{data.whole_s:g} s, tick {data.header.dt_s * 1e3:g} ms, {data.ending}"
    title = figure.suptitle(f"{_short(data.header.name)}: {words}", fontsize=15)
    if title.get_window_extent().width > figure.bbox.width:
        title.set_text(f"{_short(data.header.name)}\n{textwrap.fill(words, 90)}")


def _heights(data: _Data) -> dict[str, float]:
    """Panels from top to bottom, with their relative heights: those for which the trace has something."""
    heights = {f"power {i}": 3.0 / len(data.groups) ** 0.5 for i in range(len(data.groups))}
    if np.isfinite(data.curves["soc"].low).any():
        heights["battery"] = 2.0
    heights |= {name: height for name, height in HEIGHT_OF.items() if data.places[name]}
    if data.groups:
        heights["spectrum"] = 3.0
    return heights


def _share_time(panels: Sequence[Axes], data: _Data) -> None:
    unit, scale = _time_unit(data.duration_s)
    for axes in panels:
        axes.set_xlim(data.start_s / scale, (data.start_s + data.duration_s) / scale)
        axes.tick_params(labelbottom=axes is panels[-1])
        axes.grid(alpha=0.3)
    panels[-1].set_xlabel(f"time ({unit})")


def _time_unit(duration_s: float) -> tuple[str, float]:
    if duration_s <= 900.0:
        return "s", 1.0
    return ("min", 60.0) if duration_s <= 4 * 3600.0 else ("h", 3600.0)


def _band(axes: Axes, data: _Data, name: str, curve: int, color: str, label: str, zorder: float = 1.0) -> None:
    """A curve over time, as wide as its smallest and largest value in each column of pixels."""
    low, high = data.curves[name].low[:, curve], data.curves[name].high[:, curve]
    middle_s = (np.arange(len(low)) + 0.5) / len(low) * data.duration_s + data.start_s
    time = middle_s / _time_unit(data.duration_s)[1]
    axes.fill_between(time, low, high, color=color, linewidth=1.2, label=label, zorder=zorder)


def _sides(data: _Data) -> tuple[tuple[str, str, str], ...]:
    """Curves of power, with colour and name; one where no battery tells them apart."""
    site, grid = data.curves["facility"], data.curves["pcc"]
    if np.array_equal(site.low, grid.low, equal_nan=True) and np.array_equal(site.high, grid.high, equal_nan=True):
        return (("pcc", BLUE, "site = grid"),)
    return (("facility", ORANGE, "site"), ("pcc", BLUE, "grid"))


def _draw_power(figure: Figure, axes: Axes, data: _Data, group: int, title: str) -> None:
    for name, color, side in _sides(data):
        low, high = np.nanmin(data.curves[name].low[:, group]), np.nanmax(data.curves[name].high[:, group])
        _band(axes, data, name, group, color, f"{side}: {low:z.1f} to {high:z.1f} MW, p-p {high - low:.1f} MW")
    axes.set_ylabel("power (MW)")
    axes.ticklabel_format(useOffset=False)
    _head(figure, axes, f"{_short(title)}: consumption, and draw from the grid")


def _draw_battery(axes: Axes, data: _Data) -> None:
    sites, panels = len(data.header.labels["site"]), len(data.groups)
    _band(axes, data, "bess", 0, GREEN, "power")
    axes.set_ylabel("power (MW)", color=GREEN)
    charges = "charge of each" if sites == panels else "mean charge"
    whose = "battery: power" if sites == 1 else f"batteries: {charges}, power of all"
    axes.set_title(f"{whose}, discharge positive", loc="left", fontsize=11)
    axes.ticklabel_format(useOffset=False)
    charge = axes.twinx()
    for i in range(panels):
        _band(charge, data, "soc", i, PURPLE, "state of charge")
    charge.set_ylabel("state of charge", color=PURPLE)
    charge.ticklabel_format(useOffset=False)


def _short(name: str) -> str:
    """A long name without its middle: the ends tell names apart."""
    half = MOST_LETTERS // 2
    return name if len(name) <= MOST_LETTERS else f"{name[:half]}…{name[1 - half :]}"


def _head(figure: Figure, axes: Axes, title: str) -> None:
    """Title and legend above a panel, where they hide nothing: side by side where there is room for both, otherwise the
    title above a legend of as few rows as there is room for, and the figure as much higher."""
    words, room = axes.set_title(title, loc="left", fontsize=11), HEAD_IN * figure.dpi
    count = len(axes.get_legend_handles_labels()[0])
    for rows in range(1, count + 1):
        box = _legend(axes, -(-count // rows)).get_window_extent()
        if box.width <= room:
            break
    if rows > 1 or words.get_window_extent().width + box.width > room:
        _legend(axes, -(-count // rows), left=True)
        axes.set_title(title, loc="left", fontsize=11, pad=72.0 * box.height / figure.dpi + 6.0)
        figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)


def _legend(axes: Axes, columns: int, left: bool = False) -> Legend:
    return axes.legend(loc="lower left" if left else "lower right", bbox_to_anchor=(0.0 if left else 1.0, 1.0),
                       ncols=columns, frameon=False, borderaxespad=0.2, fontsize=9, handlelength=1.5,
                       columnspacing=1.5)  # fmt: skip


def _draw_each(figure: Figure, axes: Axes, data: _Data, name: str) -> None:
    """Each site, area or tie, with its extremes; beyond MOST_NAMED in grey, with those of all of them."""
    curves, labels, (unit, form) = data.curves[name], data.places[name], EACH[name]

    def extremes(of: slice) -> str:
        return f"{np.nanmin(curves.low[:, of]):{form}} to {np.nanmax(curves.high[:, of]):{form}}"

    for i, label in enumerate(labels[:MOST_NAMED]):
        _band(axes, data, name, i, CYCLE[i], f"{_short(label)}: {extremes(slice(i, i + 1))}")
    for i in range(MOST_NAMED, len(labels)):
        words = f"{len(labels) - MOST_NAMED} more: {extremes(slice(MOST_NAMED, None))}"
        _band(axes, data, name, i, UNNAMED, words if i == MOST_NAMED else "_", zorder=0.9)
    axes.set_ylabel(f"{name} ({unit})")
    axes.ticklabel_format(useOffset=False)
    _head(figure, axes, name)


def _draw_spectrum(figure: Figure, axes: Axes, data: _Data) -> None:
    axes.set(xlabel="frequency (Hz)", ylabel="amplitude (MW)")
    spectra = [(*data.spectra[name].result(*SPECTRUM_HZ), color, side) for name, color, side in _sides(data)]
    top = max(amplitude.max(initial=0.0) for _, amplitude, _, _ in spectra)
    if not top > 0.0:
        axes.text(0.5, 0.5, "too short a run, or power that does not vary", ha="center", transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
        return
    for hz, amplitude, color, side in spectra:
        axes.plot(hz, amplitude, color=color, linewidth=1.2, label=side)
    lowest_hz = min(hz[0] for hz, _, _, _ in spectra)
    axes.set(xscale="log", yscale="log", xlim=(lowest_hz, SPECTRUM_HZ[1]), ylim=(top / DEPTH, top * 2.0))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)
    segment_s = data.spectra["pcc"].segment_s
    _head(figure, axes, f"amplitude spectrum of power, peak of a sine, Hann window of {segment_s:g} s")
