"""How often the intervals that a fit states hold the true numbers: many recordings of a known job, each fitted.

Usage: fit_coverage.py [--iterations N] [--seeds N]. Prints one line per number: mean and s.d. of what is off, what
s.d. is stated, and the shares in intervals of 68 and 95 %; last those of all. Some 10 s of one core per seed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from emulator.xla import compile_loops_whole

compile_loops_whole()

import jax  # noqa: E402

from emulator import config, fit, schema, simulate, tunables  # noqa: E402
from emulator.fit_result import ONE, TWO, Estimate  # noqa: E402
from emulator.traces.hdf5 import TraceWriter  # noqa: E402

PERIOD_S = 2.7
JOB = """
[run]
duration_s = {duration_s}
seed = {seed}
dt_s = 0.01
[[site]]
name = "campus"
facility = {{psu_efficiency = 0.95}}
[[site.job]]
name = "pretrain"
kind = "training"
devices = 2000
accelerator = {{idle_w = 100.0, tdp_w = 1000.0, response_s = 0.05}}
[site.job.workload]
jitter = 0.01
noise_correlation_s = 0.1
phase = [
  {{name = "compute", duration_s = 1.6, level = 0.9, noise = 0.03, spread_s = 0.05, barrier = true, wait_level = 0.3}},
  {{name = "exchange", duration_s = 0.5, level = 0.15, noise = 0.01}},
  {{name = "update", duration_s = 0.4, level = 0.6}},
]
"""
PHASES = "site.0.job.0.workload.phase"
START = (
    f"{PHASES}.0.duration_s=1.75", f"{PHASES}.0.level=0.88", f"{PHASES}.0.spread_s=0.06", f"{PHASES}.1.duration_s=0.55",
    f"{PHASES}.1.level=0.17", f"{PHASES}.2.duration_s=0.42", f"{PHASES}.2.level=0.58",
    "site.0.job.0.workload.jitter=0.0", "site.0.job.0.accelerator.response_s=0.06",
)  # fmt: skip


def once(folder: Path, iterations: int, seed: int) -> tuple[schema.Scenario, tuple[Estimate, ...]]:
    """Truth, and what a fit finds in a recording of so many whole iterations."""
    file, recording = folder / "job.toml", folder / "job.h5"
    file.write_text(JOB.format(duration_s=round((iterations + 1.4) * PERIOD_S, 1), seed=seed))
    truth = config.load(file)
    header = simulate.header_of(truth)
    with TraceWriter(recording, header, 1000) as writer:
        simulate.stream(truth, header, writer)
    return truth, fit.fit(config.load(file, START), recording).estimates


def main() -> None:
    """Fit, count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=40)
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    off: dict[str, list[tuple[float, float, bool, bool]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.seeds):
            truth, found = once(Path(folder), args.iterations, seed)
            for each in found:
                error = each.value - tunables.value_at(truth, tunables.resolve(truth, each.name))
                inside = (abs(error) <= each.within(share) for share in (ONE, TWO))
                off.setdefault(each.name, []).append((error, each.deviation, *inside))
    print(f"{'':40s}  {'mean':>9s}  {'s.d.':>9s}  {'stated':>9s}  68 %   95 %")
    for name, rows in off.items():
        errors, stated, one, two = np.array(rows, float).T
        print(
            f"{name.partition('pretrain.')[2]:40s}  {errors.mean():9.2g}  {errors.std():9.2g}  {np.median(stated):9.2g}"
            f"  {one.mean():.2f}   {two.mean():.2f}"
        )
    inside = np.array([row[2:] for rows in off.values() for row in rows], float)
    print(f"all {len(inside)}: {inside[:, 0].mean():.1%}, {inside[:, 1].mean():.1%}")


if __name__ == "__main__":
    main()
