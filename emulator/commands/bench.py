"""`wattswing bench`."""

from __future__ import annotations

import argparse
import json

from emulator.commands.common import DONE, prepare_jax

TEXT = "speed of this machine, measured in about a minute"
EXAMPLE = "wattswing bench --json"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")


def run(args: argparse.Namespace) -> int:
    """Measure, print; returns the exit status."""
    prepare_jax(None, False)
    from emulator import bench

    figures = bench.measure()
    print(json.dumps(figures, indent=2) if args.json else bench.render(figures))
    return DONE
