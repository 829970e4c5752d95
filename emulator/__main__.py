"""`python -m emulator` and the command `wattswing`: the process around `cli.main`, and what Ctrl-C does to it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from io import TextIOWrapper

from emulator.cli import main
from emulator.commands.common import INTERRUPTED

AGAIN_S = 0.05


def entry() -> None:
    """Run the command line and leave with its status."""
    sys.unraisablehook = _not_lost
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


def _not_lost(raised: sys.UnraisableHookArgs) -> None:
    """Python drops an exception that meets a callback of its garbage collector, JAX has one: Ctrl-C comes again."""
    if issubclass(raised.exc_type, KeyboardInterrupt):
        threading.Timer(AGAIN_S, os.kill, (os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(raised)


if __name__ == "__main__":
    entry()
