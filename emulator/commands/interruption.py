"""What ends a command early: Ctrl-C, and the signals by which batch schedulers (SIGTERM) and terminals that close
(SIGHUP) stop a process. All become one thing, KeyboardInterrupt, and that once: repeated, as schedulers, shells and
the impatient do, it would cut short how the command ends.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN_S = 0.05


def listen() -> None:
    """From now on SIGNALS end the command, but for those that the process was started to ignore, as by `nohup`."""
    for number in SIGNALS:
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(number, _interrupt)


def not_lost(raised: sys.UnraisableHookArgs) -> None:
    """Python drops an exception that meets a callback of its garbage collector, JAX has one: Ctrl-C comes again."""
    if not issubclass(raised.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(raised)
        return
    for number in SIGNALS:
        if signal.getsignal(number) is _while_ending:
            signal.signal(number, _interrupt)
    threading.Timer(AGAIN_S, os.kill, (os.getpid(), _taken()[0])).start()


def came() -> bool:
    """Whether one has come, and what is raised now may be what it has become: modules that are being imported, above
    all compiled ones, make other errors of it."""
    return any(signal.getsignal(number) is _while_ending for number in SIGNALS)


@contextmanager
def interrupts_later() -> Iterator[None]:
    """What comes within counts at the end: a compiled module whose import is interrupted aborts, or says another error,
    and a file that is being made would not be closed."""
    taken = _taken()
    if not taken or threading.current_thread() is not threading.main_thread():
        yield
        return
    found: list[int] = []
    usual = {number: signal.getsignal(number) for number in taken}
    for number in taken:
        signal.signal(number, lambda number, frame: found.append(number))
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
    if found:
        signal.raise_signal(found[0])


def _interrupt(number: int, frame: object) -> None:
    for its in _taken():
        signal.signal(its, _while_ending)
    if number != signal.SIGINT:
        _say(f"told to stop ({signal.Signals(number).name})")
    raise KeyboardInterrupt


def _while_ending(number: int, frame: object) -> None:
    """Only Ctrl-C can cut short how a command ends, and says so before."""
    if number == signal.SIGINT:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _say("is ending; Ctrl-C again ends at once")


def _taken() -> list[signal.Signals]:
    """Those that would raise KeyboardInterrupt; of Python's own handlers only that of Ctrl-C does."""
    return [number for number in SIGNALS if signal.getsignal(number) in (signal.default_int_handler, _interrupt)]


def _say(text: str) -> None:
    """Past Python's buffers, into which the signal may have come. Where a terminal has gone, all goes nowhere."""
    for stream in (sys.stdout, sys.stderr):
        try:
            os.write(stream.fileno(), b"")
        except OSError as error:
            if error.errno == errno.EIO:
                drop(stream)
    with suppress(OSError):
        os.write(sys.stderr.fileno(), f"\nwattswing: {text}\n".encode())


def drop(stream: TextIO) -> None:
    """What is still to be written to an output goes nowhere: Python would try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
