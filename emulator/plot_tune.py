"""The picture of a search: convergence, and the first training scenario before and after, in time and spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import commonprefix
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emulator import plot, schema, spectrum, tunables
from emulator.plot import BLUE, CYCLE, GREEN, ORANGE
from emulator.simulate import run
from emulator.trace import Trace
from emulator.traces.history import History
from emulator.tune_problem import Task
from emulator.tune_result import best_place
from emulator.units import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS = 20_000  # of a curve that is drawn
MOST_NAMED = 8  # curves in a legend


def picture(path: Path, scenario: schema.Scenario, tuned: schema.Scenario, task: Task, history: History) -> None:
    """Draw it as PNG, SVG or PDF, by the ending of `path`. Runs the first training scenario twice.

    Raises:
      TraceError: as `plot.picture`.
    """
    with plot.picture(path) as figure:
        figure.set_size_inches(16, 11)
        _draw(figure, scenario, tuned, task, history)


def _draw(figure: Figure, scenario: schema.Scenario, tuned: schema.Scenario, task: Task, history: History) -> None:
    group = task.groups[0]
    coarse = tunables.replaced(group.variants[0], ("run", "seed"), task.tune.train_seeds[0])
    values = [tunables.value_at(tuned, place) for place in task.paths]
    found = dict(zip(group.paths, values, strict=True))
    traces = {"before": run(coarse), "after": run(tunables.with_values(coarse, found))}
    axes = figure.subplots(3, 2)
    best, (steps, starts) = best_place(task, history), history.columns["objective"].shape
    seeds, which = counted(len(task.tune.train_seeds), "seed"), f" of start {best[1] + 1} of {starts}" * (starts > 1)
    title = f"{scenario.run.name}: tuned on {seeds}, {counted(steps, 'step')}; best: step {best[0] + 1}{which}"
    figure.suptitle(title)
    excess = history.columns["excess"], history.labels["room"]
    _convergence(axes[0, 0], "objective", history.columns["objective"], ["objective"], best)
    _convergence(axes[0, 1], "excess (share of what is allowed)", *excess, best)
    axes[0, 1].axhline(0.0, color="0.7", lw=0.8)
    _values(axes[1, 0], task, history, best)
    _soc(axes[1, 1], traces)
    _power(axes[2, 0], traces)
    _lines(axes[2, 1], traces)


def _convergence(axes: Axes, title: str, values: np.ndarray, names: Sequence[str], best: tuple[int, int]) -> None:
    """(steps, starts) or (steps, starts, n): a colour each name, a line each start. That of the best step stands out,
    with a dot at that step."""
    from matplotlib.ticker import MaxNLocator

    rows = values.reshape(len(values), -1, len(names)) if names else np.zeros((len(values), 0, 0))
    for i, name in enumerate(names):
        colour = CYCLE[i % len(CYCLE)]
        for start in range(rows.shape[1]):
            won = start == best[1]
            label = name if won and i < MOST_NAMED else None
            (line,) = axes.plot(np.arange(1, len(rows) + 1), rows[:, start, i], color=colour, label=label)
            line.set(lw=1.6 if won else 0.7, alpha=1.0 if won else 0.4, zorder=2.1 if won else 2.0)
        axes.plot(best[0] + 1, rows[best][i], "o", color=colour, ms=6, zorder=2.2)
    axes.set(xlabel="step", ylabel=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(names) > 1:
        more, columns = len(names) - MOST_NAMED, 2 if len(names) > MOST_NAMED // 2 else 1
        rest = f"and {more} more" if more > 0 else None
        axes.legend(fontsize="small", title=rest, title_fontsize="small", ncols=columns)


def _values(axes: Axes, task: Task, history: History, best: tuple[int, int]) -> None:
    """Parameters as shares of their range."""
    shares = []
    for i, parameter in enumerate(task.tune.parameters):
        ends, value = np.array([parameter.low, parameter.high]), history.columns["value"][:, :, i]
        low, high = np.log(ends) if parameter.scale == "log" else ends
        shares.append(((np.log(value) if parameter.scale == "log" else value) - low) / (high - low))
    shared = commonprefix([".".join(name.split(".")[:-1]) + "." for name in task.names]).rpartition(".")[0]
    names = [name.removeprefix(f"{shared}.") for name in task.names]
    _convergence(axes, f"place between the bounds, {shared}".rstrip(", "), np.stack(shares, axis=-1), names, best)
    axes.set_ylim(0.0, 1.0)


def _soc(axes: Axes, traces: dict[str, Trace]) -> None:
    for (name, trace), colour in zip(traces.items(), (ORANGE, BLUE), strict=True):
        every = max(1, len(trace.time_s) // MOST_ROWS)
        axes.plot(trace.time_s[::every], trace.bess_soc[::every, 0], color=colour, label=name, lw=1)
    axes.set(xlabel="time (s)", ylabel="state of charge, first site")
    axes.legend(fontsize="small")


def _power(axes: Axes, traces: dict[str, Trace]) -> None:
    last = traces["after"]
    every = max(1, len(last.time_s) // MOST_ROWS)
    load = last.site_facility_power_mw[::every].sum(axis=1)
    axes.plot(last.time_s[::every], load, color=GREEN, lw=0.5, alpha=0.6, label="site")
    for (name, trace), colour in zip(traces.items(), (ORANGE, BLUE), strict=True):
        axes.plot(trace.time_s[::every], trace.site_pcc_power_mw[::every].sum(axis=1), color=colour, label=name, lw=1)
    axes.set(xlabel="time (s)", ylabel="power from the grid, all sites (MW)")
    axes.legend(fontsize="small")


def _lines(axes: Axes, traces: dict[str, Trace]) -> None:
    for (name, trace), colour in zip(traces.items(), (ORANGE, BLUE), strict=True):
        lines = spectrum.of_series(trace.site_pcc_power_mw.sum(axis=1), trace.header.row_s)
        if lines.amplitude.max(initial=0.0) > 0.0:
            axes.loglog(lines.frequency_hz, np.maximum(lines.amplitude, 1e-9), color=colour, label=name, lw=0.7)
            axes.set_ylim(lines.amplitude.max() * 1e-6, lines.amplitude.max() * 3.0)
            axes.legend(fontsize="small")
            for axis in (axes.xaxis, axes.yaxis):  # of its own, matplotlib writes powers of ten as formulas
                axis.set_major_formatter("{x:g}")
                axis.set_minor_formatter("")
    axes.set(xlabel="frequency (Hz)", ylabel="amplitude (MW)")
