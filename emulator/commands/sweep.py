"""`wattswing sweep`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emulator import config, limits_schema, toml_text
from emulator.commands.common import (
    DONE,
    INTERRUPTED,
    LIMITS_HELP,
    STOPPED,
    UsageError,
    config_arguments,
    hdf5_path,
    prepare_jax,
)
from emulator.units import counted

if TYPE_CHECKING:
    from emulator.sweep import Result

TEXT = "a batch of scenarios: every combination of [sweep.values], each with every seed"
EXAMPLE = """wattswing sweep battery_sizes --out sizes.h5
wattswing sweep battery_sizes --limits planner_thresholds --out sizes.h5
wattswing plot sizes.h5 --out sizes.png"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    config_arguments(parser)
    parser.add_argument("--out", type=Path, metavar="FILE.h5", help="what was found; default: CONFIG's name _sweep.h5")
    parser.add_argument(
        "--limits",
        metavar="LIMITS",
        help=f"judges every scenario, as assess judges its run: {LIMITS_HELP}; the exit status stays 0 where one fails",
    )


def run(args: argparse.Namespace) -> int:
    """Emulate all, write, print a table; returns the exit status."""
    base = config.load(args.config, args.overrides)
    clauses = limits_schema.load(args.limits) if args.limits else None
    out = hdf5_path(args.out or Path(Path(args.config).stem + "_sweep.h5"))
    prepare_jax(None, False)
    from tqdm import tqdm

    from emulator import simulate
    from emulator.sweep import Interrupted, cases_of, sweep
    from emulator.sweep_report import render, tally
    from emulator.trace import TraceError
    from emulator.traces import sweeps
    from emulator.traces.filesystem import must_be_writable

    cases = cases_of(args.config, args.overrides)
    try:
        must_be_writable(out)
        with tqdm(total=len(cases), unit="scenario", disable=not sys.stderr.isatty()) as bar:
            try:
                results, cut = sweep(cases, bar.update, clauses), False
            except Interrupted as interrupt:
                results, cut = interrupt.results, True
        if results:
            print(render(results))
            sweeps.write(out, results, toml_text.to_toml(base))
    except (simulate.SimulationError, TraceError) as error:
        raise UsageError(str(error)) from error
    if cut:
        print(f"\ninterrupted: {_kept(out, results, len(cases))}", file=sys.stderr)
        return INTERRUPTED
    judged = tally(results)
    print(f"{counted(len(results), 'scenario')} in {out}{': ' * bool(judged)}{judged}")
    return DONE if all(result.complete for result in results) else STOPPED


def _kept(out: Path, results: Sequence[Result], cases: int) -> str:
    whole = sum(result.complete for result in results)
    held = f"{out} holds {whole} of {counted(cases, 'scenario')} whole and {len(results) - whole} up to here"
    return held if results else f"nothing emulated yet, {out} is as it was"
