"""`wattswing report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from emulator import limits_schema
from emulator.commands.common import DONE, LIMITS_HELP, UsageError, prepare_jax

TEXT = "one self-contained HTML page of a trace, or of several side by side: verdict, plots, battery, grid, costs"
EXAMPLE = """wattswing run campus_100mw
wattswing report campus_100mw.h5 --limits ercot_draft --out campus.html"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    parser.add_argument(
        "traces", nargs="+", type=Path, metavar="TRACE.h5", help="of a run; several are compared, before and after"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="REPORT.html", help="page to write")
    parser.add_argument("--limits", metavar="LIMITS", help=LIMITS_HELP)


def run(args: argparse.Namespace) -> int:
    """Gather, judge, write the page; returns the exit status."""
    if args.out.suffix not in (".html", ".htm"):
        raise UsageError(f"--out {args.out}: a report ends in .html")
    clauses = None if args.limits is None else limits_schema.load(args.limits)
    prepare_jax("cpu", True)
    from emulator.report import page
    from emulator.trace import TraceError

    try:
        page.write(args.traces, args.out, clauses, args.limits or "")
    except TraceError as error:
        raise UsageError(str(error)) from error
    return DONE
