"""The picture of a sweep: what came of it against one swept value, or maps of the worst seed over two or three.

Load positive = draws from the grid. Margins: positive = room.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emulator import plot
from emulator.plot import BLUE, CYCLE, GREEN, ORANGE, PURPLE
from emulator.trace import TraceError
from emulator.traces import sweeps
from emulator.traces.sweeps import Swept

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

SWING, CHANGE = "pcc_swing_mw", "pcc_change_5s_mw"
CURVES = {  # of each panel: metrics of the first site, with name and colour
    "drawn from the grid (MW)": {
        "pcc_peak_mw": ("peak", GREEN),
        SWING: ("swing", ORANGE),
        CHANGE: ("change within 5 s", BLUE),
    },
    "state of charge": {"soc_max": ("highest", PURPLE), "soc_min": ("lowest", BLUE)},
}
MOST_VALUES, MOST_MAPS, MAPS_ACROSS = 3, 12, 4
MOST_TICKS, MOST_CELLS = 12, 150  # values named along an axis; numbers in a map
ROOM, FAILED = "RdBu", "#D55E00"


@dataclass(frozen=True)
class _Axis:
    """A swept value."""

    label: str
    values: np.ndarray  # (n,) ascending numbers; of texts their places in order of appearance
    names: list[str]  # (n,)
    places: np.ndarray  # (scenarios,) which of them
    numeric: bool


@dataclass(frozen=True)
class _Quantity:
    """What a map shows of each scenario."""

    label: str
    values: np.ndarray  # (scenarios,)
    clauses: tuple[str, ...] = ()  # (scenarios,) of a margin, which they are of; less is worse, below 0 is too little
    allowed: float = np.inf  # margins below its opposite share a colour, where there are better ones


def picture(path_in: Path, path_out: Path) -> None:
    """Draw a sweep's file as PNG, SVG or PDF, by the ending of `path_out`.

    Raises:
      TraceError: no sweep, or more of it than a picture shows, or as `plot.picture`.
    """
    with plot.picture(path_out, dpi=400 / 3) as figure:
        found = sweeps.read(path_in)
        axes = [_axis(found, name) for name in found.values or ("seed",)]
        if len(axes) > MOST_VALUES or len(axes) == MOST_VALUES and len(axes[0].names) > MOST_MAPS:
            most = f"{MOST_VALUES} swept keys, the first of three with {MOST_MAPS} values"
            raise TraceError(f"{path_in}: {', '.join(found.values)}: a picture shows at most {most}; sweep fewer")
        if not found.config.get("site"):
            raise TraceError(f"{path_in}: a sweep without sites, nothing to draw")
        (_curves(figure, found, axes[0]) if len(axes) == 1 else _maps(figure, found, axes))
        figure.suptitle(_title(found, len(axes)), fontsize=12)


def _title(found: Swept, axes: int) -> str:
    run, scenarios, seeds = found.config["run"], len(found.columns["seed"]), len(set(found.columns["seed"]))
    words = f"{run['name']}: {scenarios} scenarios of {run['duration_s']:g} s, site {found.config['site'][0]['name']}"
    if found.values and seeds > 1:
        words += f"; worst of {seeds} seeds" if axes > 1 else f"; {seeds} seeds"
    unknown = [its for its in _clauses(found) if "not assessable" in found.columns[f"limit.{its}.verdict"]]
    lines = [words, *([f"not everywhere assessable: {', '.join(unknown)}"] if unknown else [])]
    return "\n".join(textwrap.fill(line, 110) for line in lines)


def _site(found: Swept, name: str) -> np.ndarray:
    """(scenarios,) a metric of the first site."""
    return found.columns[f"site.{found.config['site'][0]['name']}.{name}"]


def _clauses(found: Swept) -> list[str]:
    return [its[1] for name in found.columns if (its := re.fullmatch(r"limit\.(.*)\.margin", name))]


def _axis(found: Swept, name: str) -> _Axis:
    column, label = found.columns[name], ".".join(name.split(".")[-2:])
    if column.dtype.kind in "iuf":
        values, places = np.unique(column, return_inverse=True)
        return _Axis(label, values, [f"{value:g}" for value in values], places, True)
    texts = list(dict.fromkeys(map(str, column)))
    bare = [re.sub(r"[{}'\"]", "", text).removeprefix("kind: ") for text in texts]  # of a table
    places = np.array([texts.index(str(text)) for text in column])
    return _Axis(label, np.arange(len(texts)), [textwrap.fill(text, 22) for text in bare], places, False)


def _margin(found: Swept) -> list[_Quantity]:
    """The least margin of each scenario, where there are limits: of one clause in its unit, else as a share."""
    clauses = _clauses(found)
    if not clauses:
        return []
    which = tuple(map(str, found.columns["least_margin_clause"]))
    if len(clauses) > 1:
        share = 100.0 * found.columns["least_margin_share"]
        return [_Quantity("least margin (% of what its clause allows)", share, which, 100.0)]
    name = f"limit.{clauses[0]}.margin"
    margin, unit = found.columns[name], found.units[name]
    allowed = float(np.max(found.columns[f"limit.{clauses[0]}.allowed"]))
    return [_Quantity("margin" if unit == "1" else f"margin ({unit})", margin, which, allowed)]


def _curves(figure: Figure, found: Swept, axis: _Axis) -> None:
    """Against one value: a dot a seed, a bar from the least to the largest, a line through the means."""
    shown = {label: [(*look, _site(found, name)) for name, look in its.items()] for label, its in CURVES.items()}
    for its in _margin(found):
        colours = dict(zip(filter(None, dict.fromkeys(its.clauses)), 9 * CYCLE, strict=False))
        each = {clause: [own == clause for own in its.clauses] for clause in colours}
        shown[its.label] = [(c, colours[c], np.where(own, its.values, np.nan)) for c, own in each.items()]
    if np.isnan(_site(found, "soc_min")).all():
        del shown["state of charge"]
    figure.set_size_inches(10.0, 1.2 + 2.6 * len(shown))
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    ended = found.columns["complete"] == 1
    for axes, (label, curves) in zip(panels, shown.items(), strict=True):
        for name, colour, values in curves:
            _dots(axes, axis, values, ended, colour, textwrap.shorten(name, 50))
        if not ended.all():
            axes.plot([], [], "kx", ms=7, label="stopped early")
        if label not in CURVES:
            _shade_failures(axes)
        axes.set_ylabel(textwrap.fill(label, 30))
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, frameon=False, fontsize=9)
    _name_values(panels[-1], axis)


def _dots(axes: Axes, axis: _Axis, values: np.ndarray, ended: np.ndarray, colour: str, label: str) -> None:
    each = [values[(axis.places == i) & np.isfinite(values)] for i in range(len(axis.values))]
    ends = [(x, its.min(), its.max(), its.mean()) for x, its in zip(axis.values, each, strict=True) if len(its)]
    x, low, high, mean = np.reshape(ends, (-1, 4)).T
    axes.vlines(x, low, high, color=colour, lw=6, alpha=0.25)
    if axis.numeric:
        axes.plot(x, mean, color=colour, lw=1, alpha=0.6)
    at = axis.values[axis.places]
    axes.plot(at[ended], values[ended], "o", color=colour, ms=4, label=label)
    axes.plot(at[~ended], values[~ended], "x", color=colour, ms=7)


def _shade_failures(axes: Axes) -> None:
    axes.axhline(0.0, color="black", lw=0.8)
    low, high = axes.get_ylim()
    axes.axhspan(low, 0.0, color=FAILED, alpha=0.08, lw=0)
    axes.set_ylim(low, high)


def _name_values(axes: Axes, axis: _Axis) -> None:
    """Values along the last axis, a logarithmic one where that spreads them more evenly."""
    steps = np.diff(axis.values)
    if axis.numeric and len(steps) > 1 and axis.values[0] > 0.0:
        ratios = np.diff(np.log(axis.values))
        if ratios.max() / ratios.min() < steps.max() / steps.min():
            axes.set_xscale("log")
            axes.minorticks_off()
    if len(axis.names) <= MOST_TICKS or not axis.numeric:
        axes.set_xticks(axis.values, axis.names)
    else:
        axes.xaxis.set_major_formatter("{x:g}")
    if not axis.numeric:
        axes.set_xlim(-0.5, len(axis.names) - 0.5)
    axes.set_xlabel(axis.label)


def _maps(figure: Figure, found: Swept, axes: list[_Axis]) -> None:
    """Over two values: margin and swing; over three: the first of these, a map for each of the first one's values."""
    powers = [_Quantity("swing (MW)", _site(found, SWING)), _Quantity("change within 5 s (MW)", _site(found, CHANGE))]
    shown, down, across = [*_margin(found), *powers][:2], axes[-2], axes[-1]
    panels = [(its, its.label, np.full(len(its.values), True)) for its in shown]
    if len(axes) > 2:
        first, its = axes[0], shown[0]
        panels = [(its, f"{first.label} = {name}", first.places == i) for i, name in enumerate(first.names)]
    columns = min(len(panels), MAPS_ACROSS)
    rows = -(-len(panels) // columns)
    width, height = np.clip(len(across.names), 3.5, 8.0), np.clip(0.55 * len(down.names), 2.5, 8.0)
    figure.set_size_inches(columns * (width + 1.2), 1.2 + rows * (height + 0.9))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    clauses = list(filter(None, dict.fromkeys(shown[0].clauses)))
    several = len(clauses) > 1 and len(down.names) * len(across.names) <= MOST_CELLS
    letters = {clause: chr(97 + i) for i, clause in enumerate(clauses)} if several else {}
    for place, (its, title, own) in zip(grid, panels, strict=False):
        image = _map(place, down, across, its, own, found.columns["complete"] == 1, letters)
        place.set_title(textwrap.fill(title, 45), fontsize=10)
        beyond = "min" if (its.values < image.norm.vmin).any() else "neither"
        if len(axes) == 2:
            figure.colorbar(image, ax=place, extend=beyond)
    if len(axes) > 2:
        figure.colorbar(image, ax=grid.tolist(), label=shown[0].label, extend=beyond)
    for place in grid[len(panels) :]:
        place.set_axis_off()
    words = [f"{letters[clause]}: {clause}" if letters else clause for clause in clauses]
    figure.supxlabel(textwrap.fill(f"margin of {'; '.join(words)}" if words else "", 100), fontsize=9)


def _map(
    axes: Axes,
    down: _Axis,
    across: _Axis,
    its: _Quantity,
    own: np.ndarray,
    ended: np.ndarray,
    letters: dict[str, str],
) -> ScalarMappable:
    """The worst seed of each pair of values, of the scenarios that are the map's own."""
    finite, margin = its.values[np.isfinite(its.values)], bool(its.clauses)
    most = float(np.abs(finite).max(initial=0.0)) or 1.0
    most = min(its.allowed, most) if (finite > -its.allowed).any() else most
    cells, words = np.full((len(down.names), len(across.names)), np.nan), {}
    for i, j in np.ndindex(cells.shape):
        here = np.flatnonzero(own & (down.places == i) & (across.places == j) & np.isfinite(its.values))
        if len(here):
            worst = here[np.argmin(its.values[here]) if margin else np.argmax(its.values[here])]
            cells[i, j] = its.values[worst]
            letter = letters.get(its.clauses[worst], "") if margin else ""
            words[i, j] = f"{cells[i, j]:{'+' if margin else ''}.3g} {letter}" + "\nstopped" * (not ended[here].all())
    ends = (-most, most) if margin else (finite.min(initial=most), most)
    image = axes.imshow(
        cells, cmap=ROOM if margin else "YlOrBr", vmin=ends[0], vmax=ends[1], origin="lower", aspect="auto"
    )
    for (i, j), text in words.items() if cells.size <= MOST_CELLS else ():
        dark = np.dot(image.to_rgba(cells[i, j])[:3], (0.299, 0.587, 0.114)) < 0.5  # luma, Rec. ITU-R BT.601
        axes.text(j, i, text.strip(), ha="center", va="center", fontsize=9, color="white" if dark else "black")
    axes.set_xticks(range(len(across.names)), across.names, fontsize=9)
    axes.set_yticks(range(len(down.names)), down.names, fontsize=9)
    axes.set(xlabel=across.label, ylabel=down.label)
    return image
