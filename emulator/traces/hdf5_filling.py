"""A new HDF5 file that is filled block by block and given up without a crash where it cannot be written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py

# The format of HDF5 1.10, which all tools in use open.
FORMAT = ("v110", "v110")


@contextmanager
def filling(path: Path, **options: Any) -> Iterator[h5py.File]:
    """A file to fill. Hold its datasets meanwhile: closing one writes what it has left, and an error then is lost.

    Args:
      options: of h5py.File.

    Raises:
      OSError, RuntimeError: it cannot be written; nothing more is written to it then.
    """
    with h5py.File(path, "w", libver=FORMAT, **options) as file:
        try:
            yield file
            file.flush()
        except (OSError, RuntimeError):
            _drain(file)
            raise


def _drain(file: h5py.File) -> None:
    """Let what HDF5 still holds go to the null device: on a full disk it would try again on close, and crash."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, file.id.get_vfd_handle())
    os.close(null)
    with suppress(RuntimeError):  # a flush that failed half way makes HDF5 refuse the next one, but only that
        file.flush()
