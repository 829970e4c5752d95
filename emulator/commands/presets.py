"""`wattswing presets`."""

from __future__ import annotations

import argparse

from emulator import catalog
from emulator.commands.common import DONE

TEXT = "what ships, in a line each: accelerators, workloads, batteries, grids, limits, whole scenarios"
EXAMPLE = "wattswing presets batteries"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    kinds = ", ".join(catalog.kinds())
    parser.add_argument("kind", nargs="?", choices=catalog.kinds(), metavar="KIND", help=f"{kinds}; default: all")


def run(args: argparse.Namespace) -> int:
    """List presets; returns the exit status."""
    kinds = [args.kind] if args.kind else catalog.kinds()
    width = max(len(name) for kind in kinds for name in catalog.names(kind))
    for kind in kinds:
        print(f"{kind}:")
        for name in catalog.names(kind):
            print(f"  {name:{width}s}  {catalog.describe(kind, name)}")
    return DONE
