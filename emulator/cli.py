"""The `wattswing` command. Parses, calls a command, turns errors into one paragraph and an exit status.

Exit status: 0 done; 2 bad config or arguments; 3 a limit failed; 4 the emulation stopped physically; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from emulator import __version__
from emulator.commands import (
    assess,
    bench,
    check,
    export,
    federate,
    fit,
    modes,
    plot,
    presets,
    report,
    run,
    schema,
    sweep,
    tune,
)
from emulator.commands.common import BAD, DONE, INTERRUPTED, UsageError
from emulator.complaint import ConfigError

COMMANDS = (run, sweep, tune, federate, check, presets, plot, export, assess, report, modes, fit, schema, bench)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    args = _parser().parse_args(arguments)
    try:
        status = args.command(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader has enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    except (ConfigError, UsageError) as error:
        if args.debug:
            raise
        print(f"wattswing: {error}", file=sys.stderr)
        return BAD


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wattswing",
        description="Emulates large AI computing sites on a power grid.",
        epilog="example: wattswing run campus_100mw --out campus.h5",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        text = f"{command.TEXT[0].upper()}{command.TEXT[1:]}."
        sub = commands.add_parser(name, help=command.TEXT, description=text, epilog=f"example: {command.EXAMPLE}")
        sub.add_argument("--debug", action="store_true", help="show the Python traceback of an error")
        sub.set_defaults(command=command.run)
        command.arguments(sub)
    return parser
