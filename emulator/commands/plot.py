"""`wattswing plot`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from emulator.commands.common import DONE, UsageError

TEXT = "overview picture of a trace, or what a sweep found against what it swept"
EXAMPLE = """wattswing run campus_100mw
wattswing plot campus_100mw.h5 --out campus.png
wattswing plot campus_100mw.h5 --window 0 42 --out iterations.pdf
wattswing sweep battery_sizes --limits ercot_draft --out sizes.h5
wattswing plot sizes.h5 --out sizes.png"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    parser.add_argument("trace", type=Path, metavar="TRACE.h5", help="of a run, or of a sweep")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="picture to write: PNG, SVG or PDF, by its ending"
    )
    parser.add_argument(
        "--window",
        type=_seconds,
        nargs=2,
        metavar=("FROM_S", "TO_S"),
        help="only this part of the run, in s; default: all of it",
    )


def run(args: argparse.Namespace) -> int:
    """Draw; returns the exit status."""
    from emulator import plot, plot_sweep
    from emulator.trace import TraceError
    from emulator.traces import sweeps

    try:
        if sweeps.is_sweep(args.trace):
            if args.window:
                raise UsageError(f"{args.trace} is of a sweep, which has no time: --window is for a run's trace")
            plot_sweep.picture(args.trace, args.out)
            return DONE
        plot.overview(args.trace, args.out, args.window)
    except TraceError as error:
        raise UsageError(str(error)) from error
    return DONE


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of seconds")
    return seconds
