"""Compare the workload preset dgx_h100_frontier with the production trace it is fitted to.

    python scripts/compare_production_trace.py path/to/fig1_production_trace.csv

The trace (columns t_s, p_norm) was read off Figure 1 of arXiv 2508.14318; its licence does not let it travel with this
project. Both records go through the same code, over whole iterations only. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

import emulator as em
from emulator.jobs_schema import TrainingJob
from emulator.rollout import job_power
from emulator.topology import server_power_w
from emulator.units import W_PER_MW

GRID_S = 0.025  # both records are compared on the grid of the published one
ITERATIONS = 6  # two of the published record's blocks of three
LOW, HIGH = 0.3, 0.7
HARMONICS = (1, 2, 3, 4, 5, 8, 9, 10, 13, 14, 19, 25)
BANDS_HZ = ((0.0, 0.1), (0.1, 0.2), (0.2, 3.0), (3.0, np.inf))


class Statistics(NamedTuple):
    """What the table compares; tolerances are relative, but for shares (points)."""

    period_s: float
    mean: float
    deviation: float
    share_low: float
    share_high: float
    rise_s: float
    dip_rise_s: float
    fall_s: float
    dip_fall_s: float
    lines: tuple[float, ...]
    bands: tuple[float, ...]


def statistics(p_norm: np.ndarray, iterations: int) -> Statistics:
    """Statistics of a normalised record (0 = idle, 1 = peak) on the 25 ms grid over its first whole iterations."""
    starts = iteration_starts(p_norm)[: iterations + 1]
    if len(starts) <= iterations:
        raise ValueError(f"the record holds {len(starts) - 1} whole iterations, {iterations} are needed")
    whole = p_norm[starts[0] : starts[-1]]
    low, high = whole[whole < LOW].mean(), whole[whole > HIGH].mean()
    levels = low + 0.1 * (high - low), low + 0.9 * (high - low)
    rises, falls = crossings(p_norm, up=True), crossings(p_norm, up=False)
    dip_ends = [rises[rises > start][0] for start in starts[:-1]]
    return Statistics(
        period_s=len(whole) / iterations * GRID_S,
        mean=float(whole.mean()),
        deviation=float(whole.std()),
        share_low=float(np.mean(whole < LOW)),
        share_high=float(np.mean(whole > HIGH)),
        rise_s=median_edge(p_norm, starts[1:], levels),
        dip_fall_s=median_edge(p_norm, [falls[falls < end][-1] for end in dip_ends], levels),
        dip_rise_s=median_edge(p_norm, dip_ends, levels),
        fall_s=median_edge(p_norm, [falls[falls < start][-1] for start in starts[1:]], levels),
        lines=tuple(line_amplitude(whole, k * iterations) for k in HARMONICS),
        bands=band_shares(whole),
    )


def crossings(p_norm: np.ndarray, up: bool) -> np.ndarray:
    """First samples beyond 0.5, going up or going down."""
    above = p_norm >= 0.5
    return np.flatnonzero((above[1:] != above[:-1]) & (above[1:] == up)) + 1


def iteration_starts(p_norm: np.ndarray) -> np.ndarray:
    """Upward crossings that end a stretch of over 1 s below 0.5: the starts of iterations."""
    rises, falls = crossings(p_norm, up=True), crossings(p_norm, up=False)
    return np.array([r for r in rises if (falls < r).any() and (r - falls[falls < r][-1]) * GRID_S > 1.0])


def median_edge(p_norm: np.ndarray, at: list[int] | np.ndarray, levels: tuple[float, float]) -> float:
    """Median 10-90 % time of the edges that cross 0.5 at the given samples, rising or falling."""
    return float(np.median([edge_time(p_norm, i, levels) for i in at]))


def edge_time(p_norm: np.ndarray, at: int, levels: tuple[float, float]) -> float:
    """Time between the last sample on one side of the 10-90 % range and the first on the other, interpolated."""
    if p_norm[at] < p_norm[at - 1]:
        p_norm, at = p_norm[::-1], len(p_norm) - at
    ten, ninety = levels
    begin = np.flatnonzero(p_norm[:at] <= ten)[-1]
    end = at + np.flatnonzero(p_norm[at:] >= ninety)[0]
    first = begin + (ten - p_norm[begin]) / (p_norm[begin + 1] - p_norm[begin])
    last = end - (p_norm[end] - ninety) / (p_norm[end] - p_norm[end - 1])
    return float((last - first) * GRID_S)


def line_amplitude(p_norm: np.ndarray, cycles: int) -> float:
    """Peak amplitude of the line with that many cycles in the record."""
    return float(2 * abs(np.fft.rfft(p_norm)[cycles]) / len(p_norm))


def band_shares(p_norm: np.ndarray) -> tuple[float, ...]:
    """Share of variance in each band; the mean is left out."""
    power = np.abs(np.fft.rfft(p_norm)[1:]) ** 2
    frequency_hz = np.fft.rfftfreq(len(p_norm), GRID_S)[1:]
    inside = [(frequency_hz >= low) & (frequency_hz < high) for low, high in BANDS_HZ]
    return tuple(float(power[band].sum() / power.sum()) for band in inside)


def production(path: Path) -> np.ndarray:
    """The published record from 10 s on: within the first iteration, before the idle tail's end."""
    t_s, p_norm = np.loadtxt(path, delimiter=",", skiprows=1).T
    return p_norm[t_s >= 10.0]


def emulated(seed: int, iterations: int = ITERATIONS) -> np.ndarray:
    """The preset's record as the campus of the demo draws it: normalised, on the 25 ms grid."""
    scenario = em.load("campus_100mw", [f"run.seed={seed}", "run.dt_s=0.005", "run.duration_s=1000.0"])
    dt_s = scenario.run.dt_s
    layout, params, state, inputs = em.build(scenario, ticks=round(22.0 * (iterations + 2) / dt_s))
    jobs = jax.jit(job_power, static_argnums=0)(layout, params, state, inputs).jobs
    power_mw = jobs.mw
    job = scenario.site[0].job[0]
    assert isinstance(job, TrainingJob)
    idle_mw, peak_mw = (
        server_power_w(job.accelerator, w) * job.devices / W_PER_MW
        for w in (job.accelerator.idle_w, job.accelerator.tdp_w)
    )
    share = (np.asarray(power_mw, np.float64)[:, 0] - idle_mw) / (peak_mw - idle_mw)
    return share.reshape(-1, round(GRID_S / dt_s)).mean(axis=1)


class Row(NamedTuple):
    """One line of the table; `allowed` is a share of the published value, or points where `points`."""

    name: str
    published: float
    emulated: float
    allowed: float | None
    points: bool = False

    @property
    def passed(self) -> bool:
        """Within what is allowed, or nothing asked."""
        scale = 1.0 if self.points else abs(self.published)
        return self.allowed is None or abs(self.emulated - self.published) <= self.allowed * scale


def rows(published: Statistics, emulated: Statistics) -> Iterator[Row]:
    """The comparison, line by line."""
    yield Row("period, s", published.period_s, emulated.period_s, 0.01)
    yield Row("mean", published.mean, emulated.mean, 0.03)
    yield Row("standard deviation", published.deviation, emulated.deviation, 0.03)
    yield Row("share of time below 0.3", published.share_low, emulated.share_low, None)
    yield Row("share of time above 0.7", published.share_high, emulated.share_high, None)
    yield Row("main rise 10-90 %, s", published.rise_s, emulated.rise_s, 0.20)
    yield Row("main fall 90-10 %, s", published.fall_s, emulated.fall_s, 0.20)
    yield Row("fall into the dip, s", published.dip_fall_s, emulated.dip_fall_s, 0.20)
    yield Row("rise out of the dip, s", published.dip_rise_s, emulated.dip_rise_s, 0.20)
    largest = sorted(published.lines, reverse=True)[:6]
    for k, ours, theirs in zip(HARMONICS, emulated.lines, published.lines, strict=True):
        name = f"line {k}, {k / published.period_s:.4f} Hz"
        yield Row(name, theirs, ours, 0.25 if theirs in largest else None)
    for (low, high), ours, theirs in zip(BANDS_HZ, emulated.bands, published.bands, strict=True):
        yield Row(f"share of variance {low:g}-{high:g} Hz", theirs, ours, 0.05, points=True)


def table(lines: Sequence[Row]) -> str:
    """Markdown."""
    head = "| | published | emulated | difference | allowed |\n|---|---|---|---|---|"
    return "\n".join([head, *(_line(row) for row in lines)])


def _line(row: Row) -> str:
    difference = row.emulated - row.published
    if row.points:
        by, allowed = f"{100 * difference:+.1f} points", f"{100 * (row.allowed or 0):g} points"
    else:
        by, allowed = (
            f"{100 * difference / row.published:+.1f} %",
            "" if row.allowed is None else f"{100 * row.allowed:g} %",
        )
    mark = "" if row.passed else " **exceeded**"
    return f"| {row.name} | {row.published:.4f} | {row.emulated:.4f} | {by} | {allowed}{mark} |"


def main() -> int:
    """Print the table; 1 where a line exceeds what is allowed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", type=Path, help="fig1_production_trace.csv")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    lines = list(rows(statistics(production(args.trace), ITERATIONS), statistics(emulated(args.seed), ITERATIONS)))
    print(table(lines))
    return 0 if all(row.passed for row in lines) else 1


if __name__ == "__main__":
    raise SystemExit(main())
