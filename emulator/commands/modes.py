"""`wattswing modes`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from emulator import config
from emulator.commands.common import DONE, UsageError, config_arguments, prepare_jax

TEXT = "modes of grid, battery and controller, response to a load's swing, and iteration periods to avoid"
EXAMPLE = "wattswing modes campus_100mw --out modes.png"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    config_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of words")
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="also a picture: PNG, SVG or PDF, by its ending")
    parser.add_argument(
        "--site", metavar="NAME", help="site, or area, whose load swings; default: the first site, else the first area"
    )


def run(args: argparse.Namespace) -> int:
    """Linearise, print, draw; returns the exit status."""
    scenario = config.load(args.config, args.overrides)
    prepare_jax(None, True)
    from emulator import modes_report, plot, plot_modes
    from emulator.trace import TraceError

    try:
        if args.out is not None:
            plot.must_be_drawable(args.out)
        found = modes_report.analyse(scenario, args.site)
        if args.out is not None:
            plot_modes.picture(found, args.out)
    except (modes_report.ModesError, TraceError) as error:
        raise UsageError(str(error)) from error
    print(json.dumps(modes_report.as_json(found), indent=2) if args.json else modes_report.render(found))
    return DONE
