"""`wattswing sweep`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emulator import config
from emulator.commands.common import DONE, STOPPED, UsageError, config_arguments, prepare_jax

TEXT = "a batch of scenarios: every combination of [sweep.values], each with every seed"
EXAMPLE = "wattswing sweep battery_sizes --out sizes.h5"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    config_arguments(parser)
    parser.add_argument("--out", type=Path, metavar="FILE.h5", help="what was found; default: CONFIG's name _sweep.h5")


def run(args: argparse.Namespace) -> int:
    """Emulate all, write, print a table; returns the exit status."""
    base = config.load(args.config, args.overrides)
    prepare_jax(None, False)
    from tqdm import tqdm

    from emulator import simulate
    from emulator.sweep import cases_of, render, sweep
    from emulator.trace import TraceError
    from emulator.traces import sweeps

    out = args.out or Path(Path(args.config).stem + "_sweep.h5")
    cases = cases_of(args.config, args.overrides)
    try:
        with tqdm(total=len(cases), unit="scenario", disable=not sys.stderr.isatty()) as bar:
            results = sweep(cases, bar.update)
        sweeps.write(out, results, config.to_toml(base))
    except (simulate.SimulationError, TraceError) as error:
        raise UsageError(str(error)) from error
    print(render(results))
    print(f"{len(results)} scenarios in {out}")
    return DONE if all(result.complete for result in results) else STOPPED
