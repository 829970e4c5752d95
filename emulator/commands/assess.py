"""`wattswing assess`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from emulator import limits_schema
from emulator.commands.common import DONE, FAILED, UsageError

TEXT = "judge a trace, or a recorded power, by a utility's limits"
EXAMPLE = "wattswing assess campus_100mw.h5 --limits ercot_draft"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    parser.add_argument(
        "trace", type=Path, metavar="TRACE.h5", help="a trace, or a recorded power in a file of another kind"
    )
    parser.add_argument("--limits", required=True, metavar="LIMITS", help="a TOML file or the name of a limits preset")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--time-column", default="t_s", metavar="NAME", help="of a recorded power, in s; default: t_s")
    parser.add_argument(
        "--power-column", metavar="NAME", help="of a recorded power; default: p_mw; an .h5 file with it is no trace"
    )
    parser.add_argument("--unit", choices=("w", "kw", "mw"), default="mw", help="of the power column; default: mw")


def run(args: argparse.Namespace) -> int:
    """Judge, print the verdict; returns the exit status."""
    clauses = limits_schema.load(args.limits)
    from emulator import limits, recording
    from emulator.trace import TraceError
    from emulator.traces import hdf5

    try:
        if args.power_column is None and args.trace.suffix.lower() == ".h5":
            recorded = recording.of_trace(hdf5.read(args.trace), str(args.trace))
        else:
            recorded = recording.of_file(args.trace, args.time_column, args.power_column or "p_mw", args.unit)
    except TraceError as error:
        raise UsageError(str(error)) from error
    if recorded.caution:
        print(f"wattswing: {recorded.caution}", file=sys.stderr)
    assessment = limits.assess(recorded, clauses)
    print(json.dumps(assessment.as_json(), indent=2) if args.json else limits.render(assessment))
    return FAILED if assessment.verdict == "fail" else DONE
