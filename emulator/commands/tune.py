"""`wattswing tune`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emulator import config
from emulator.commands.common import DONE, INTERRUPTED, UsageError, config_arguments, prepare_jax
from emulator.complaint import ConfigError
from emulator.units import counted

TEXT = "controller and battery size by gradient, against limits, over many scenarios"
EXAMPLE = "wattswing tune tune_low_pass --out tuned"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    config_arguments(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the results; default: CONFIG's name _tuned")
    parser.add_argument("--resume", action="store_true", help="go on from the history in the folder")
    parser.add_argument(
        "--pareto",
        type=int,
        default=0,
        metavar="N",
        help="also a front of MW against MWh against margin, by N times 3 searches side by side",
    )


def run(args: argparse.Namespace) -> int:
    """Tune, write the results, print them; returns the exit status."""
    scenario = config.load(args.config, args.overrides)
    if args.pareto < 0:
        raise UsageError(f"--pareto {args.pareto}: at least 0")
    prepare_jax(None, False)
    from tqdm import tqdm

    from emulator import simulate, tune_report
    from emulator.trace import TraceError
    from emulator.tune import Progress, TuningError, tune

    out = args.out or Path(Path(args.config).stem + "_tuned")
    bar = tqdm(total=scenario.tune and scenario.tune.steps, unit="step", disable=not sys.stderr.isatty())

    def show(done: Progress) -> None:
        bar.update(done.steps - bar.n)
        bar.set_postfix(objective=f"{done.objective:.5g}", margin=f"{done.worst_margin:z.2%}", s=f"{done.step_s:.2f}")

    def warn(text: str) -> None:
        print(f"wattswing: warning: {text}", file=sys.stderr)

    try:
        with bar:
            found = tune(scenario, out, args.resume, args.pareto, show, warn)
    except ConfigError as error:
        raise config.located(error, args.config, args.overrides) from error
    except (simulate.SimulationError, TraceError, TuningError) as error:
        raise UsageError(str(error)) from error
    print(tune_report.render(found.summary))
    if not found.complete:
        print(f"\ninterrupted: {out} holds the best so far; go on with --resume", file=sys.stderr)
        return INTERRUPTED
    print(f"{counted(found.summary['steps'], 'step')}, {found.summary['seconds']:.0f} s; results in {out}")
    return DONE
