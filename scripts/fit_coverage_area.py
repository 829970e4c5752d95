"""How often the intervals that a fit of an area states hold the true numbers, under noise of many kinds.

Usage: fit_coverage_area.py [--seeds N] [--whole] [NOISE ...]. H, D, droop and reheat time from a step of a tenth of the
rating, 20 s in 400 rows. For each kind of noise, of 2 mHz: the shares of all four numbers that are in intervals for 68
and 95 %, error not stated counted apart; what s.d. is stated, median over true. Each recording is fitted in one linear
step from the truth, some 0.15 s of one core; with --whole by the fit itself from a start far off, some 3 s.
"""

from __future__ import annotations

import argparse
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
from emulator.fit_data import Columns  # noqa: E402
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


def linear(jacobian: np.ndarray, noise_hz: np.ndarray) -> list[Estimate]:
    """What one linear step from the truth finds."""
    place = np.linalg.lstsq(jacobian, noise_hz, rcond=None)[0]
    solution = Solution(place, jacobian @ place - noise_hz, jacobian, "")
    noise = fit_noise.likeliest(jacobian, solution.residual)
    says = information(solution, np.ones(len(place), bool), noise.spread)
    errors = np.sqrt(np.diag(says.covariance))
    return [
        Estimate(name, 0.0, TRUTH[name] + float(place[i]), float(errors[i]), float(says.freedom[i]))
        for i, name in enumerate(NAMES)
    ]


def whole(folder: Path, truth_hz: np.ndarray, noise_hz: np.ndarray) -> list[Estimate]:
    """What the fit finds."""
    rows = "\n".join(f"{0.05 * k:.9g},{hz:.12g}" for k, hz in enumerate(truth_hz + noise_hz))
    (folder / "f.csv").write_text(f"t_s,f_hz\n{rows}\n")
    scenario = config.load(folder / "area.toml", [f"grid.area.0.{name}={value}" for name, value in START.items()])
    return list(fit.fit(scenario, folder / "f.csv", Columns(frequency="f_hz")).estimates)


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
        print(f"{'noise':14s}  68 %   95 %   stated/true  not stated   ({args.seeds} recordings each)")
        for kind in args.noise or noises():
            correlation = toeplitz(noises()[kind])
            root, rng = np.linalg.cholesky(correlation + 1e-9 * np.eye(ROWS)), np.random.default_rng(0)
            found = [once(NOISE_HZ * (root @ rng.standard_normal(ROWS))) for _ in range(args.seeds)]
            true = NOISE_HZ * np.sqrt(np.diag(estimator @ correlation @ estimator.T))
            report(kind, found, dict(zip(NAMES, true, strict=False)))


def report(kind: str, found: list[list[Estimate]], true: Mapping[str, float]) -> None:
    """One line of the table."""
    inside, ratio, unstated = [], [], 0
    for each in (each for estimates in found for each in estimates):
        name = each.name.removeprefix("grid.area.main.")
        if each.freedom < LEAST_FREEDOM or not np.isfinite(each.deviation):
            unstated += 1
            continue
        inside.append([abs(each.value - TRUTH[name]) <= each.within(share) for share in (ONE, TWO)])
        ratio.append(each.deviation / true[name])
    one, two = np.mean(inside, axis=0)
    share = unstated / (unstated + len(inside))
    print(f"{kind:14s}  {one:.1%}  {two:.1%}  {np.median(ratio):8.2f}     {share:8.1%}", flush=True)


if __name__ == "__main__":
    main()
