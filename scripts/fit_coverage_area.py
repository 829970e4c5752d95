"""How often the intervals that a fit of an area states hold the true numbers, under noise of many kinds.

Usage: fit_coverage_area.py [--seeds N] [--whole] [NOISE ...]. H, D, droop and reheat time from a step of a tenth of the
rating, 20 s in 400 rows. For each kind of noise, of 2 mHz: the shares of numbers with a stated error that are in
intervals for 68 and 95 %; the stated s.d. over the true one, median; the shares of numbers whose error is not stated,
and of recordings that a warning is given of. Last, of all kinds, the shares by degrees of freedom. Each is fitted in
one linear step from the truth, some 0.15 s of one core; with --whole by the fit itself from a start far off, some 3 s.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from scipy.linalg import toeplitz

from emulator.xla import compile_loops_whole

compile_loops_whole()

import jax  # noqa: E402

from emulator import config, fit, fit_noise, simulate  # noqa: E402
from emulator.fit_area import said  # noqa: E402
from emulator.fit_data import Columns  # noqa: E402
from emulator.fit_mixture import factors, mixed  # noqa: E402
from emulator.fit_result import LEAST_FREEDOM, ONE, TWO, Estimate  # noqa: E402
from emulator.fit_solve import Solution, information  # noqa: E402

AREA = """
[run]
duration_s = 20.0
dt_s = 0.01
[[grid.area]]
name = "main"
rated_mva = 1000.0
inertia_s = 4.0
damping_pu = 1.0
governor = [{model = "reheat"}]
[[disturbance]]
kind = "load_step"
at_s = 1.0
area = "main"
mw = 100.0
[record]
every_ticks = 5
"""
ROWS, NOISE_HZ = 400, 2e-3
TRUTH = {"inertia_s": 4.0, "damping_pu": 1.0, "governor.0.droop_pu": 0.05, "governor.0.reheat_s": 8.0}
START = {"inertia_s": 6.0, "damping_pu": 0.0, "governor.0.droop_pu": 0.08, "governor.0.reheat_s": 4.0}
NAMES = tuple(TRUTH)


def relaxing(rows: float) -> np.ndarray:
    """(rows,) correlation of noise with one correlation time."""
    return np.exp(-np.arange(ROWS) / rows)


def noises() -> Mapping[str, np.ndarray]:
    """(rows,) correlations by lag, as shares of the record."""
    lag, white = np.arange(ROWS), np.eye(1, ROWS)[0]
    every = {"white": white}
    every |= {f"1/{n}": relaxing(ROWS / n) for n in (1000, 400, 200, 100, 40, 20, 10, 5, 2, 1)}
    return every | {
        "1/40+white": 0.5 * (relaxing(ROWS / 40) + white),
        "smooth-1/100": (1.0 + lag / (ROWS / 100)) * np.exp(-lag / (ROWS / 100)),  # twice relaxed
        "swing": (relaxing(ROWS / 2) * np.cos(2.0 * np.pi * lag / (ROWS / 10)) + 0.2 * white) / 1.2,
        "1/400+1/40": 0.5 * (relaxing(ROWS / 400) + relaxing(ROWS / 40)),
        "1/100+1/10": 0.5 * (relaxing(ROWS / 100) + relaxing(ROWS / 10)),
    }


def emulated_hz(folder: Path, values: Mapping[str, float]) -> np.ndarray:
    """(rows,) frequency of the area with these numbers."""
    file = folder / "area.toml"
    file.write_text(AREA)
    changed = [f"grid.area.0.{name}={value!r}" for name, value in values.items()]
    return simulate.run(config.load(file, changed)).area_frequency_hz[:, 0].astype(np.float64)


def slopes(folder: Path) -> np.ndarray:
    """(rows, numbers + 1) of the frequency by the numbers, and by its offset, by central differences."""
    columns = [np.ones(ROWS)]
    for name in reversed(NAMES):
        step = 1e-3 * TRUTH[name]
        high, low = (emulated_hz(folder, TRUTH | {name: TRUTH[name] + sign * step}) for sign in (1.0, -1.0))
        columns.insert(0, (high - low) / (2.0 * step))
    return np.stack(columns, axis=1)


def linear(jacobian: np.ndarray, noise_hz: np.ndarray) -> tuple[list[Estimate], bool]:
    """What one linear step from the truth finds, and whether it warns."""
    place = np.linalg.lstsq(jacobian, noise_hz, rcond=None)[0]
    solution = Solution(place, jacobian @ place - noise_hz, jacobian, "")
    noises = fit_noise.likely(jacobian, solution.residual)
    every = [information(solution, np.ones(len(place), bool), noise.spread) for noise in noises]
    says = mixed(every, np.array([noise.weight for noise in noises]))
    errors = np.sqrt(np.diag(says.covariance))
    found = [
        Estimate(name, 0.0, TRUTH[name] + float(place[i]), float(errors[i]), float(says.freedom[i]))
        for i, name in enumerate(NAMES)
    ]
    return found, any(note.startswith("warning") for note in said(noises, factors(every, says), 1.0, ROWS))


def whole(folder: Path, truth_hz: np.ndarray, noise_hz: np.ndarray) -> tuple[list[Estimate], bool]:
    """What the fit finds, and whether it warns."""
    rows = "\n".join(f"{0.05 * k:.9g},{hz:.12g}" for k, hz in enumerate(truth_hz + noise_hz))
    (folder / "f.csv").write_text(f"t_s,f_hz\n{rows}\n")
    scenario = config.load(folder / "area.toml", [f"grid.area.0.{name}={value}" for name, value in START.items()])
    found = fit.fit(scenario, folder / "f.csv", Columns(frequency="f_hz"))
    return list(found.estimates), any(note.startswith("warning: ") for note in found.notes)


def main() -> None:
    """Draw, fit, count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("noise", nargs="*", help=f"of {', '.join(noises())}; default: all")
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--whole", action="store_true")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jacobian, truth_hz = slopes(folder), emulated_hz(folder, TRUTH)
        once = partial(whole, folder, truth_hz) if args.whole else partial(linear, jacobian)
        estimator = np.linalg.pinv(jacobian)
        print(f"{'noise':14s}  68 %   95 %   stated/true  not stated  warned   ({args.seeds} recordings each)")
        tables = []
        for kind in args.noise or noises():
            correlation = toeplitz(noises()[kind])
            root, rng = np.linalg.cholesky(correlation + 1e-9 * np.eye(ROWS)), np.random.default_rng(0)
            found = [once(NOISE_HZ * (root @ rng.standard_normal(ROWS))) for _ in range(args.seeds)]
            true = NOISE_HZ * np.sqrt(np.diag(estimator @ correlation @ estimator.T))
            tables.append(report(kind, found, dict(zip(NAMES, true, strict=False))))
        by_freedom(np.concatenate(tables))


def report(kind: str, found: list[tuple[list[Estimate], bool]], true: Mapping[str, float]) -> np.ndarray:
    """One line of the table; (numbers, 3) degrees of freedom of each, and whether it is in either interval."""
    every, ratio = [], []
    for each in (each for estimates, _ in found for each in estimates):
        name = each.name.removeprefix("grid.area.main.")
        every.append((each.freedom, *(abs(each.value - TRUTH[name]) <= each.within(share) for share in (ONE, TWO))))
        ratio.append(each.deviation / true[name])
    table, ratios, warned = np.array(every, float), np.array(ratio), np.mean([warning for _, warning in found])
    stated = table[:, 0] >= LEAST_FREEDOM
    one, two = table[stated, 1:].mean(axis=0)
    middle, unstated = np.median(ratios[stated]), 1.0 - stated.mean()
    print(f"{kind:14s}  {one:.1%}  {two:.1%}  {middle:8.2f}     {unstated:8.1%}    {warned:4.0%}", flush=True)
    return table


def by_freedom(table: np.ndarray) -> None:
    """Shares in intervals of (numbers, 3) with so many degrees of freedom."""
    edges = (0.0, 0.5, LEAST_FREEDOM, 2.0, 5.0, 20.0, np.inf)
    for low, high in itertools.pairwise(edges):
        there = table[(table[:, 0] >= low) & (table[:, 0] < high), 1:]
        if len(there):
            one, two = there.mean(axis=0)
            print(f"{low:4g} to {high:4g} degrees of freedom, {len(there)} numbers: {one:.1%}  {two:.1%}")


if __name__ == "__main__":
    main()
