"""`wattswing plot`."""

from __future__ import annotations

import argparse
from pathlib import Path

from emulator.commands.common import DONE, UsageError

TEXT = "overview picture of a trace"
EXAMPLE = """wattswing run campus_100mw
wattswing plot campus_100mw.h5 --out campus.png"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    parser.add_argument("trace", type=Path, metavar="TRACE.h5", help="of a run")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="picture to write: PNG, SVG or PDF, by its ending"
    )


def run(args: argparse.Namespace) -> int:
    """Draw; returns the exit status."""
    from emulator import plot
    from emulator.trace import TraceError

    try:
        plot.overview(args.trace, args.out)
    except TraceError as error:
        raise UsageError(str(error)) from error
    return DONE
