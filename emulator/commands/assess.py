"""`wattswing assess`."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from emulator import limits_schema
from emulator.commands.common import DONE, FAILED, LIMITS_HELP, UsageError

if TYPE_CHECKING:
    from emulator.limits import Assessment
    from emulator.measures import Figure
    from emulator.recording import Quantity, Recording

TEXT = "judge a trace, or a recorded power, by a utility's limits, and measure it"
EXAMPLE = """wattswing run campus_100mw
wattswing assess campus_100mw.h5 --limits ercot_draft"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    parser.add_argument(
        "trace", type=Path, metavar="TRACE.h5", help="a trace, or a recorded power in a file of another kind"
    )
    parser.add_argument("--limits", metavar="LIMITS", help=LIMITS_HELP)
    parser.add_argument("--metrics", action="store_true", help="all metrics, beside the limits or without any")
    parser.add_argument(
        "--bands",
        type=_bands,
        metavar="LOW-HIGH,...",
        help="of the metrics' spectrum, in Hz; default: 0-0.1,0.1-2,0.2-3,0.1-20,3-30",
    )
    parser.add_argument(
        "--shaft-strength",
        type=_strength,
        metavar="PU,CYCLES,EXPONENT",
        help="S-N curve of the metrics' shaft fatigue: so many cycles of this amplitude use up a life, smaller ones "
        "never do, and larger ones by this exponent; default: 0.1,1e7,6, assumed",
    )
    parser.add_argument("--csv", action="store_true", help="TRACE is a CSV file, whatever its ending")
    parser.add_argument("--json", action="store_true", help="print JSON instead of words")
    parser.add_argument("--time-column", default="t_s", metavar="NAME", help="of a recorded power, in s; default: t_s")
    parser.add_argument(
        "--power-column", metavar="NAME", help="of a recorded power; default: p_mw; an .h5 file with it is no trace"
    )
    parser.add_argument("--unit", choices=("w", "kw", "mw"), default="mw", help="of the power column; default: mw")


def run(args: argparse.Namespace) -> int:
    """Judge and measure, print; returns the exit status."""
    if not (args.limits or args.metrics):
        raise UsageError("assess needs --limits LIMITS to judge by, or --metrics to measure")
    if not args.metrics and (args.bands or args.shaft_strength):
        raise UsageError("--bands and --shaft-strength go with --metrics")
    clauses = limits_schema.load(args.limits) if args.limits else None
    from emulator import limits

    recording = _recording(args, limits.quantities(clauses) if clauses and not args.metrics else None)
    assessment = limits.assess(recording, clauses) if clauses else None
    figures = _measured(args, recording) if args.metrics else None
    (_print_json if args.json else _print_text)(recording, assessment, figures)
    return FAILED if assessment and assessment.verdict == "fail" else DONE


def _recording(args: argparse.Namespace, wanted: set[Quantity] | None) -> Recording:
    """Of the file; of a trace only the quantities wanted, None being all."""
    from emulator import recording
    from emulator.trace import TraceError
    from emulator.traces import hdf5

    try:
        if not args.csv and args.power_column is None and args.trace.suffix.lower() == ".h5":
            channels = recording.channels_of(recording.CHANNELS if wanted is None else wanted)
            return recording.of_trace(hdf5.read(args.trace, channels=channels), str(args.trace))
        columns = args.time_column, args.power_column or "p_mw"
        recorded = recording.of_file(args.trace, *columns, args.unit, ".csv" if args.csv else None)
    except TraceError as error:
        raise UsageError(str(error)) from error
    if recorded.caution:
        print(f"wattswing: {recorded.caution}", file=sys.stderr)
    return recorded


def _measured(args: argparse.Namespace, recording: Recording) -> tuple[Figure, ...]:
    from emulator import measures, shaft_fatigue, spectrum

    numbers = args.shaft_strength
    strength = shaft_fatigue.Strength(*numbers, source="given") if numbers else shaft_fatigue.ASSUMED
    return measures.measure(recording, args.bands or spectrum.BANDS, strength)


def _print_json(recording: Recording, assessment: Assessment | None, figures: tuple[Figure, ...] | None) -> None:
    from emulator import limits

    found = assessment.as_json() if assessment else limits.about(*_extent(recording))
    if figures is not None:
        found["metrics"] = [figure.as_json() for figure in figures]
    print(json.dumps(found, indent=2))


def _print_text(recording: Recording, assessment: Assessment | None, figures: tuple[Figure, ...] | None) -> None:
    from emulator import limits, measures

    print(limits.render(assessment) if assessment else limits.headline(*_extent(recording)))
    if figures is not None:
        print(measures.render(figures))


def _extent(recording: Recording) -> tuple[str, bool, str, float]:
    return recording.name, recording.complete, recording.stop_reason, recording.span_s


def _bands(text: str) -> tuple[tuple[float, float], ...]:
    """Of "0.1-2,0.2-3"."""
    found = [re.fullmatch(r"\s*([\d.]+)\s*-\s*([\d.]+)\s*", part) for part in text.split(",")]
    try:
        bands = tuple((float(band[1]), float(band[2])) for band in found if band)
    except ValueError:
        bands = ()
    if len(bands) < len(found) or any(low >= high for low, high in bands):
        raise argparse.ArgumentTypeError(f"{text!r} must be like 0.1-2,0.2-3: LOW-HIGH in Hz, low below high")
    return bands


def _strength(text: str) -> tuple[float, ...]:
    """Of "0.1,1e7,6"."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 3 or not all(0.0 < number < float("inf") for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} must be like 0.1,1e7,6: three positive numbers")
    return numbers
