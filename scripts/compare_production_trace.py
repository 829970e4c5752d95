"""Compare the workload preset dgx_h100_frontier with the production trace it is fitted to.

    python scripts/compare_production_trace.py path/to/fig1_production_trace.csv

The trace (columns t_s, p_norm) was read off Figure 1 of arXiv 2508.14318; its licence does not let it travel with this
project. Both records go through the same code, over whole iterations only. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from emulator import schema
from emulator.catalog import read
from emulator.cluster import demand
from emulator.scenario import layout_of, params_of

GRID_S = 0.025  # both records are compared on the grid of the published one
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


def emulated(preset: str, iterations: int, seed: int) -> np.ndarray:
    """The preset's record at 78,432 accelerators: normalised tick means on the 25 ms grid."""
    scenario = em.load(CAMPUS, [f'site.0.job.0.workload="{preset}"', f"run.seed={seed}", "run.duration_s=1000"])
    layout, params, state, inputs = em.build(scenario, ticks=round(22 * (iterations + 2) / scenario.run.dt_s / 100) * 100)
    _, power_mw, _ = jax.jit(job_power, static_argnums=0)(layout, params, state.training, state.tick, inputs)
    job = params.training[0]
    idle_mw, peak_mw = (float(w) * layout.training[0].devices / W_PER_MW for w in (job.idle_w, job.peak_w))
    ticks = round(GRID_S / layout.dt_s)
    return ((np.asarray(power_mw)[:, 0] - idle_mw) / (peak_mw - idle_mw)).reshape(-1, ticks).mean(axis=1)
