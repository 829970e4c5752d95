"""Opening a trace file: a finished one, one that is being written, one whose writer was killed; never for long, never
without a word about what is damaged."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import h5py

from emulator.trace import CHANNELS, SCHEMA_VERSION, TraceError
from emulator.traces import state_file, superblock
from emulator.traces.hdf5_layout import ATTRIBUTES

PAUSES_S = (0.01, 0.05)  # before another look at a file that is being written

# What reading raises, by what is damaged: data, a dataset, names, text; what has become another kind of thing, as a
# group for data; a length.
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)

T = TypeVar("T")

_NO_HDF5 = (
    "is not HDF5, so no trace; `wattswing assess` judges a recording in another format by its file's ending (.csv, "
    ".parquet, .cfg), and any file as CSV with --csv"
)


def steadily(path: str | os.PathLike[str], look: Callable[[h5py.File], T]) -> T:
    """What one sees in a file. While it is being written, or put back to a checkpoint, one may meet what is half
    written, but not again."""
    for pause_s in PAUSES_S:
        being_written = _is_marked(path) or state_file.path_of(Path(path)).is_file()
        try:
            with opened(path) as file:
                return look(file)
        except TraceError:
            if not being_written:
                raise
            time.sleep(pause_s)
    with opened(path) as file:
        return look(file)


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """A trace file for reading.

    Raises:
      TraceError: no file, none that holds a trace, or a damaged one, also where that shows while it is being read.
    """
    if not Path(path).is_file():
        raise TraceError(f"{path}: no such file")
    try:
        with _open(path) as file:
            _check(file, path)
            resumed = _resumed(file)
            yield file
        if _is_marked(path):
            with _open(path) as file:
                if _resumed(file) != resumed:
                    raise TraceError(f"{path}: was put back to a checkpoint while it was read")
    except DAMAGE as error:
        raise TraceError(f"{path}: cannot be read as HDF5: {cause(error)}{_way_back(path)}") from error


@contextmanager
def _open(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    if not _is_marked(path):
        if not h5py.is_hdf5(path):
            raise TraceError(f"{path}: {_NO_HDF5}")
        with h5py.File(path, "r", locking=False) as file:  # a reader never keeps a run from going on
            yield file
        return
    with superblock.Closed(path) as still, h5py.File(still, "r") as file:
        yield file


def _is_marked(path: str | os.PathLike[str]) -> bool:
    """Whether a file is being written, or was when its writer died."""
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return superblock.is_marked(file.read(superblock.SIZE))


def _resumed(file: h5py.File) -> str:
    return string(file.attrs.get("resumed_utc", b""))


def _way_back(path: str | os.PathLike[str]) -> str:
    kept = state_file.path_of(Path(path))
    if not kept.is_file():
        return ""
    return f"; {kept} holds its last checkpoint, from which `wattswing run CONFIG --out {path} --resume` goes on"


def _check(file: h5py.File, path: str | os.PathLike[str]) -> None:
    version = file.attrs.get("schema_version")
    if "trace/time_s" not in file or version is None:
        raise TraceError(f"{path}: an HDF5 file, but not a trace of wattswing: it lacks trace/time_s or schema_version")
    if version != SCHEMA_VERSION:
        raise TraceError(f"{path}: trace of schema version {version}; this program reads version {SCHEMA_VERSION}")
    expected = [f"trace/{c.name}" for c in CHANNELS if f"trace/{c.axis}" in file]
    lacking = [name for name in [*expected, *ATTRIBUTES] if name not in file and name not in file.attrs]
    if lacking:
        raise TraceError(f"{path}: a damaged trace: it lacks {', '.join(lacking)}")


def cause(error: BaseException) -> str:
    """The system's own words within HDF5's."""
    words = re.search(r"error message = '([^']*)'", str(error))
    if words is None and isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return words[1] if words else str(error)


def at(group: h5py.Group, name: str) -> Any:
    """What a group or file holds under a name."""
    return group[name]


def string(value: Any) -> str:
    """An attribute's text, of fixed or of variable length."""
    return value.decode() if isinstance(value, bytes) else str(value)
