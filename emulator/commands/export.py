"""`wattswing export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from emulator.commands.common import DONE, UsageError

TEXT = "a trace for other tools"
EXAMPLE = "wattswing export campus_100mw.h5 --format csv --out campus.csv --every 100"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    parser.add_argument("trace", type=Path, metavar="TRACE.h5")
    parser.add_argument("--format", choices=("csv", "parquet"), required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="PATH")
    parser.add_argument("--channels", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="rows to merge into one: powers are averaged")


def run(args: argparse.Namespace) -> int:
    """Write the other file; returns the exit status."""
    from emulator.trace import TraceError
    from emulator.traces import csv, parquet

    try:
        {"csv": csv, "parquet": parquet}[args.format].write(args.trace, args.out, args.channels, args.every)
    except TraceError as error:
        raise UsageError(str(error)) from error
    return DONE
