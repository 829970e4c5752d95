"""`wattswing assess`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from emulator import limits_schema
from emulator.commands.common import DONE, FAILED, UsageError

TEXT = "judge a trace, or a recorded power, by a utility's limits"
EXAMPLE = "wattswing assess campus_100mw.h5 --limits ercot_draft"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    parser.add_argument("trace", type=Path, metavar="TRACE.h5", help="a trace, or with --csv a CSV file")
    parser.add_argument("--limits", required=True, metavar="LIMITS", help="a TOML file or the name of a limits preset")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--csv", action="store_true", help="TRACE is a CSV file with a time and a power column")
    parser.add_argument("--time-column", default="t_s", metavar="NAME", help="of the CSV file, in s; default: t_s")
    parser.add_argument("--power-column", default="p_mw", metavar="NAME", help="of the CSV file; default: p_mw")
    parser.add_argument("--unit", choices=("w", "kw", "mw"), default="mw", help="of the power column; default: mw")


def run(args: argparse.Namespace) -> int:
    """Judge, print the verdict; returns the exit status."""
    clauses = limits_schema.load(args.limits)
    from emulator import limits, recording
    from emulator.trace import TraceError
    from emulator.traces import hdf5

    try:
        if args.csv:
            recorded = recording.of_csv(args.trace, args.time_column, args.power_column, args.unit)
        else:
            recorded = recording.of_trace(hdf5.read(args.trace), str(args.trace))
    except TraceError as error:
        raise UsageError(str(error)) from error
    assessment = limits.assess(recorded, clauses)
    print(json.dumps(assessment.as_json(), indent=2) if args.json else limits.render(assessment))
    return FAILED if assessment.verdict == "fail" else DONE
