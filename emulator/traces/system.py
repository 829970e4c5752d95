"""What a writer of files asks of the operating system, beside HDF5."""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

import h5py

NICENESS = 5  # a third of the processor time of the others, where cores are short
AT_ONCE_BYTES = 2**23  # sent to the disk: smaller pieces cost more processor time than they save


def give_way() -> None:
    """Let the other threads go first from now on: one that writes may wait until its queue is full."""
    if sys.platform == "linux":  # where each thread has a priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def must_be_idle(path: Path) -> None:
    """BlockingIOError where a program holds a file's lock, as HDF5 and a writer do that have it open."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def begin_to_store(file: h5py.File, first: int) -> int:
    """Send a file's bytes from `first` on, once they are many, on their way to the disk, so that a later fsync need not
    wait for all of them; returns where those begin that were not sent. What is under way stays in memory: the advice
    drops only what is on the disk already."""
    descriptor = file.id.get_vfd_handle()
    end = os.fstat(descriptor).st_size
    if end - first < AT_ONCE_BYTES or not hasattr(os, "posix_fadvise"):  # as on macOS
        return first
    os.posix_fadvise(descriptor, first, end - first, os.POSIX_FADV_DONTNEED)
    return end


def drain(file: h5py.File) -> None:
    """Let what HDF5 still holds go to the null device: on a full disk it would try again on close and, in vain, once
    more at exit, where it crashes. The file stays as of its last flush, as after a kill."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, file.id.get_vfd_handle())
    os.close(null)
    with suppress(RuntimeError):  # a flush that failed half way makes HDF5 refuse the next one, but only that
        file.flush()
