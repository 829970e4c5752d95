"""`python -m emulator` and the command `wattswing`: the process around `cli.main`, and what Ctrl-C does to it."""

from __future__ import annotations

import os
import signal
import sys
import threading

from emulator.cli import main
from emulator.commands.common import INTERRUPTED

AGAIN_S = 0.05


def entry() -> None:
    """Run the command line and leave with its status."""
    sys.unraisablehook = _not_lost
    status = main()
    if status == INTERRUPTED:  # at once: what JAX's threads still compute was waited for, and has crashed Python's end
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _not_lost(raised: sys.UnraisableHookArgs) -> None:
    """Python drops an exception that meets a callback of its garbage collector, JAX has one: Ctrl-C comes again."""
    if issubclass(raised.exc_type, KeyboardInterrupt):
        threading.Timer(AGAIN_S, os.kill, (os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(raised)


if __name__ == "__main__":
    entry()
