"""The `wattswing` command. Parses, calls a command, turns errors into one paragraph and an exit status.

130 is the status whoever interrupts, Ctrl-C or a signal: one word for one thing. 143, a shell's word for SIGTERM, would
make a script that resumes know two.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import sys
import textwrap
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from emulator import __version__
from emulator.commands import interruption
from emulator.commands.common import BAD, DONE, INTERRUPTED, STOPPED, UsageError
from emulator.reading import once

COMMANDS = (
    "run", "sweep", "tune", "federate", "check", "presets", "plot", "export", "assess", "report", "modes", "fit",
    "schema", "bench",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. What takes long to import is imported here, where Ctrl-C is met."""
    try:
        return _printed(arguments)
    except BaseException as error:
        if not (isinstance(error, KeyboardInterrupt) or interruption.came()):
            raise
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED


def _printed(arguments: Sequence[str] | None) -> int:
    """As `main`, where what is printed cannot all be."""
    try:
        return _main(arguments)
    except BrokenPipeError:  # the reader has enough, as `head` has
        interruption.drop(sys.stdout)
        return DONE
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        interruption.drop(sys.stdout)
        print(f"wattswing: what was to be printed is not all there: {error.strerror}", file=sys.stderr)
        return STOPPED


def _main(arguments: Sequence[str] | None) -> int:
    from emulator.complaint import ConfigError

    args = parser().parse_args(arguments)
    try:
        with once():
            status = args.command(args)
        sys.stdout.flush()
        return status
    except (ConfigError, UsageError) as error:
        return _refused(args, error, str(error))
    except OSError as error:  # in whose way nobody expected it, as a name that is too long, or a folder that is closed
        if error.filename is None:
            raise
        return _refused(args, error, f"{error.filename}: {error.strerror}")
    except KeyboardInterrupt:  # where the command had nothing to say: files appear whole in the end, or not at all
        out: Path | None = getattr(args, "out", None)
        kept = "" if out is None else f": {out} keeps what was in it" if out.is_dir() else f": {out} is as it was"
        print(f"\ninterrupted{kept}", file=sys.stderr)
        return INTERRUPTED


def _refused(args: argparse.Namespace, error: Exception, words: str) -> int:
    if args.debug or interruption.came():
        raise error
    print(f"wattswing: {words}", file=sys.stderr)
    return BAD


class _Parser(argparse.ArgumentParser):
    """One whose errors are a paragraph, with the nearest option, and whose examples are not broken into lines."""

    def __init__(self, description: str, examples: str, **others: Any) -> None:
        lines = "\n".join(f"  {line}" for line in examples.splitlines())
        super().__init__(
            description=textwrap.fill(description, 78),
            epilog=f"example:\n{lines}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **others,
        )

    def parse_args(self, args: Sequence[str] | None = None) -> argparse.Namespace:  # type: ignore[override]
        """As argparse does; what the command does not know is told by the command itself."""
        found, unknown = self.parse_known_args(args)
        if unknown:
            found.parser.unknown(unknown)
        return found

    def unknown(self, words: Sequence[str]) -> NoReturn:
        """End: so many words are no options."""
        near = difflib.get_close_matches(words[0].partition("=")[0], self._option_string_actions, n=1)
        self.error(f"{' '.join(words)}: unknown{f'; nearest: {near[0]}' if near else ''}")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        from emulator.complaint import choice

        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, f"{value!r} is unknown{choice(str(value), action.choices)}")

    def error(self, message: str) -> NoReturn:
        self.exit(BAD, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """Of the whole command line; `command` of what it finds is the function to call."""
    top = _Parser(
        "Emulates large AI computing sites on a power grid. `wattswing COMMAND --help` shows a command's arguments. "
        "Exit status: 0 done; 2 bad configuration or arguments; 3 a limit failed; 4 the emulation stopped physically; "
        "130 interrupted, by Ctrl-C, SIGTERM or SIGHUP.",
        "wattswing run campus_100mw --out campus.h5",
        prog="wattswing",
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        command = import_module(f"emulator.commands.{name}")
        text = f"{command.TEXT[0].upper()}{command.TEXT[1:]}."
        sub = commands.add_parser(name, help=command.TEXT, description=text, examples=command.EXAMPLE)
        sub.add_argument("--debug", action="store_true", help="show the Python traceback of an error")
        sub.set_defaults(command=command.run, parser=sub)
        command.arguments(sub)
    return top
