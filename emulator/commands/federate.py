"""`wattswing federate`."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from emulator import config
from emulator.commands.common import UsageError, config_arguments, prepare_jax
from emulator.commands.run import out_of, write

TEXT = "one emulation in co-simulation: the sites here, the grid in other HELICS federates, as [cosim] says"
EXAMPLE = "wattswing federate cosimulation --out campus.h5"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    config_arguments(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE.h5", help="trace to write, replacing it; default: CONFIG's name .h5"
    )
    parser.add_argument("--x64", action="store_true", help="compute in float64")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no summary")


def run(args: argparse.Namespace) -> int:
    """Join, emulate, write, summarise; returns the exit status."""
    scenario, out = config.load(args.config, args.overrides), out_of(args)
    if scenario.cosim is None:
        raise UsageError(f"{args.config}: nobody to federate with: it has no table [cosim]")
    if find_spec("helics") is None:
        raise UsageError("co-simulation needs the package helics: pip install 'wattswing[helics]'")
    prepare_jax(None, args.x64)
    from emulator.cosimulate import cosimulate, not_used, sites_here
    from emulator.federation import Federation, FederationError

    for what in not_used(scenario, scenario.cosim):
        print(f"wattswing: left to the grid outside: {what}", file=sys.stderr)
    try:
        with Federation(scenario) as grid:
            sites = sites_here(scenario, scenario.cosim)
            status = write(args, out, sites, partial(cosimulate, partner=grid), resumable=False)
            if not args.quiet:
                for key, time_s in grid.ages().items():
                    print(f"{key}: last value at {time_s:g} s")
    except FederationError as error:
        raise UsageError(str(error)) from error
    return status
