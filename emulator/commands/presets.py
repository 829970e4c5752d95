"""`wattswing presets`."""

from __future__ import annotations

import argparse
import difflib

from emulator import catalog
from emulator.commands.common import DONE, UsageError

TEXT = "what ships, in a line each: accelerators, workloads, batteries, grids, limits, whole scenarios; or one of them"
EXAMPLE = """wattswing presets batteries
wattswing presets megapack_2_xl
wattswing presets ercot_draft > my_limits.toml"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    kinds = ", ".join(catalog.kinds())
    parser.add_argument(
        "what",
        nargs="?",
        metavar="KIND or NAME",
        help=f"{kinds}; default: all. The name of a preset prints its file: numbers, and where each is from",
    )


def run(args: argparse.Namespace) -> int:
    """List presets, or print one; returns the exit status."""
    if args.what and args.what not in catalog.kinds():
        print(_file(args.what), end="")
        return DONE
    kinds = [args.what] if args.what else catalog.kinds()
    width = max(len(name) for kind in kinds for name in catalog.names(kind))
    for kind in kinds:
        print(f"{kind}:")
        for name in catalog.names(kind):
            print(f"  {name:{width}s}  {catalog.describe(kind, name)}")
    return DONE


def _file(name: str) -> str:
    """What stands in the file of a preset. UsageError where there is none."""
    names = {name: kind for kind in catalog.kinds() for name in catalog.names(kind)}
    if name not in names:
        near = difflib.get_close_matches(name, [*catalog.kinds(), *names], n=1)
        hint = f"nearest: {near[0]}" if near else f"allowed: a preset's name, or one of {', '.join(catalog.kinds())}"
        raise UsageError(f"presets: {name!r} is unknown; {hint}")
    return catalog.path_of(names[name], name).read_text("utf-8")
