"""`python -m emulator` and the command `wattswing`: the process around `cli.main`, and what ends it early."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper

from emulator.cli import main
from emulator.commands import interruption
from emulator.commands.common import INTERRUPTED


def entry() -> None:
    """Run the command line and leave with its status."""
    sys.unraisablehook = interruption.not_lost
    interruption.listen()
    _mend_outputs()
    status = main()
    if status == INTERRUPTED:  # at once: what JAX's threads still compute was waited for, and has crashed Python's end
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _mend_outputs() -> None:
    """Where whoever started us closed an output, what is said there goes nowhere; letters of a name that the terminal's
    encoding lacks are escaped."""
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (open until the end)
    sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    entry()
