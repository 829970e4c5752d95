"""`wattswing export`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from emulator.commands.common import DONE, UsageError

TEXT = "a trace for other tools"
EXAMPLE = """wattswing run campus_100mw
wattswing export campus_100mw.h5 --format csv --out campus.csv --every 100"""


@dataclass(frozen=True)
class Format:
    """Who writes it, and what it holds unless one asks for something else."""

    module: str  # of emulator.traces
    options: Mapping[str, object] = field(default_factory=dict)
    channels: tuple[str, ...] = ()  # empty: all
    unit: str | None = None  # None: as in the trace


DRAWN = ("site_pcc_power_mw", "site_pcc_reactive_mvar")
FORMATS = {
    "csv": Format("csv"),
    "parquet": Format("parquet"),
    "netcdf": Format("netcdf"),
    "mat": Format("matlab"),
    "mat73": Format("matlab", {"version": "7.3"}),
    "comtrade": Format("comtrade"),
    "comtrade-ascii": Format("comtrade", {"kind": "ASCII"}),
    "comtrade-2013": Format("comtrade", {"revision": 2013}),
    "comtrade-2013-ascii": Format("comtrade", {"revision": 2013, "kind": "ASCII"}),
    "comtrade-2013-float32": Format("comtrade", {"revision": 2013, "kind": "FLOAT32"}),
    "opendss": Format("opendss", channels=DRAWN, unit="kw"),
    "gridlabd": Format("gridlabd", channels=DRAWN, unit="w"),
    "andes": Format("andes", channels=DRAWN, unit="pu"),
    "psse": Format("psse", channels=("site_pcc_voltage_pu", "area_frequency_hz")),
    "pscad": Format("pscad", channels=DRAWN),
    "powerfactory": Format("powerfactory", channels=DRAWN),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    parser.add_argument("trace", type=Path, metavar="TRACE.h5", help="of a run")
    parser.add_argument("--format", choices=tuple(FORMATS), required=True, metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help="replaced if it is there")
    parser.add_argument(
        "--channels",
        nargs="+",
        metavar="NAME",
        help="site_pcc_power_mw, or site_pcc_power_mw[campus] for one place; default: all, or what the format is for",
    )
    parser.add_argument(
        "--every",
        type=int,
        default=1,
        metavar="N",
        help="rows to merge into one: powers are averaged, states filtered (docs/export.md)",
    )
    parser.add_argument("--unit", choices=("w", "kw", "mw", "pu"), help="of powers; default: mw, or the format's own")
    parser.add_argument("--base-mva", type=float, metavar="MVA", help="of --unit pu; default: the run's grid.base_mva")
    parser.add_argument("--time-offset-s", type=float, default=0.0, metavar="S", help="added to all times")


def run(args: argparse.Namespace) -> int:
    """Write the other file; returns the exit status."""
    if args.out.exists() and args.trace.exists() and args.out.samefile(args.trace):
        raise UsageError(f"--out {args.out} is the trace itself")
    from emulator.trace import TraceError
    from emulator.traces.columns import columns_of

    wanted = FORMATS[args.format]
    channels, unit = args.channels or wanted.channels, args.unit or wanted.unit
    try:
        columns = columns_of(args.trace, channels, args.every, unit, args.base_mva, args.time_offset_s)
        import_module(f"emulator.traces.{wanted.module}").write(columns, args.out, **wanted.options)
    except TraceError as error:
        raise UsageError(str(error)) from error
    return DONE
