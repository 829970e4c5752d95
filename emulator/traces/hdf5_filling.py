"""A new HDF5 file that is filled block by block and given up without a crash where it cannot be written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from emulator.traces.columns import Columns
from emulator.traces.system import drain
from emulator.traces.text import ROWS_AT_ONCE

# Nothing newer than HDF5 1.8. MATLAB's `load` refuses files of 1.10, though its library reads them: "Not a binary
# MAT-file" in R2023a, says hdf5-pure, docs/interop/matlab.md.
FORMAT = ("earliest", "v108")


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
            drain(file)
            raise


def fill(columns: Columns, time: h5py.Dataset, data: Mapping[str, h5py.Dataset], axis: int) -> None:
    """Let datasets grow along their axis of time, by all rows of the columns.

    Args:
      data: by name, with an axis of places beside that of time; `time` has it too, of length 1, or not at all.
    """
    first = 0
    for time_s, values in columns.blocks(ROWS_AT_ONCE):
        at = slice(first, first + len(time_s))
        first = at.stop
        for grown in (time, *data.values()):
            grown.resize(first, axis)
        time[at if time.ndim == 1 else (0, at)] = time_s
        for (pick, label), column in zip(columns.labelled, values, strict=True):
            place = pick.labels.index(label)
            data[pick.name][(at, place) if axis == 0 else (place, at)] = column
