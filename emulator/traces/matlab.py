"""A trace as a MATLAB file: `time_s`, one matrix (rows, places) per channel, the places' names, and `about`.

Version 5 is read by everything that reads .mat files, is made in memory and ends at 2 GB; version 7.3, an HDF5 file
with a head of MATLAB's, is written block by block and has no such end.

Reference: MathWorks, "MAT-File Format", R2023b, and what MATLAB writes with `save -v7.3`: HDF5 behind 512 bytes, of
which 116 are text, an attribute MATLAB_class on each variable and MATLAB_fields on each structure; arrays in the order
of columns, so that HDF5's dimensions are MATLAB's reversed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from emulator.trace import TraceError
from emulator.traces.columns import Columns
from emulator.traces.filesystem import whole
from emulator.traces.hdf5_filling import fill, filling
from emulator.traces.text import ROWS_AT_ONCE

MOST_BYTES_5 = 2**28  # in memory, far below the end of the format
USER_BLOCK = 512
CHUNK_ROWS = 16_384
TEXTS = ("config", "created_utc", "emulator_version", "platform")
NUMBERS = ("seed", "dt_s", "frequency_hz", "schema_version")


def write(columns: Columns, path_out: str | os.PathLike[str], version: str = "5") -> None:
    """Write columns to a MATLAB file, values as they are: `channel(row, place)`, names in `channel_places`.

    Args:
      version: 5 | 7.3.

    Raises:
      TraceError: a version 5 file of more than 256 MB; and as `csv.write`.
    """
    with whole(path_out) as part:
        if version == "5":
            _write_5(columns, part)
        else:
            _write_73(columns, part)


def _write_5(columns: Columns, part: Path) -> None:
    from scipy.io import savemat

    rows = columns.count()
    found = {"time_s": np.empty((rows, 1))}
    found |= {pick.name: np.empty((rows, len(pick.places)), _dtype(columns, pick)) for pick in columns.picks}
    size = sum(values.nbytes for values in found.values())
    if size > MOST_BYTES_5:
        raise TraceError(f"{size / 1e6:.0f} MB are too much for a MATLAB 5 file: use mat73, fewer channels or every N")
    first = 0
    for time_s, values in columns.blocks(ROWS_AT_ONCE):
        at = slice(first, first + len(time_s))
        first += len(time_s)
        found["time_s"][at, 0] = time_s
        for (pick, label), column in zip(columns.labelled, values, strict=True):
            found[pick.name][at, pick.labels.index(label)] = column
    places = {f"{pick.name}_places": np.array(pick.labels) for pick in columns.picks}
    about = {name: getattr(columns.header, name) for name in (*TEXTS, *NUMBERS)}
    with part.open("wb") as file:  # SciPy would hide why it cannot
        savemat(file, {**found, **places, "about": about}, do_compression=True)


def _write_73(columns: Columns, part: Path) -> None:
    with filling(part, userblock_size=USER_BLOCK) as file:
        time = _growing(file, "time_s", 1, np.float64)
        data = {pick.name: _growing(file, pick.name, len(pick.places), _dtype(columns, pick)) for pick in columns.picks}
        for pick in columns.picks:
            _text(file, f"{pick.name}_places", pick.labels)
        _about(file.create_group("about"), columns)
        fill(columns, time, data, axis=1)
    with part.open("r+b") as raw:
        text = f"MATLAB 7.3 MAT-file, Platform: wattswing, Created on: {columns.header.created_utc} HDF5 schema 1.00 ."
        raw.write(text.encode("ascii", "replace")[:116].ljust(116) + bytes(8) + b"\x00\x02IM")


def _dtype(columns: Columns, pick: Any) -> np.dtype:
    return columns.header.dtype_of(pick.channel)


def _growing(file: h5py.File, name: str, places: int, dtype: Any) -> h5py.Dataset:
    data = file.create_dataset(
        name, (places, 0), dtype, maxshape=(places, None), chunks=(1, CHUNK_ROWS), shuffle=True, compression=1
    )
    data.attrs["MATLAB_class"] = np.bytes_("double" if np.dtype(dtype) == np.float64 else "single")
    return data


def _about(group: h5py.Group, columns: Columns) -> None:
    group.attrs["MATLAB_class"] = np.bytes_("struct")
    letters = h5py.vlen_dtype(np.dtype("S1"))
    fields = np.array([np.array(list(name), "S1") for name in (*TEXTS, *NUMBERS)], letters)
    group.attrs.create("MATLAB_fields", fields, dtype=letters)
    for name in TEXTS:
        _text(group, name, [getattr(columns.header, name)])
    for name in NUMBERS:
        data = group.create_dataset(name, data=np.array([[getattr(columns.header, name)]], np.float64))
        data.attrs["MATLAB_class"] = np.bytes_("double")


def _text(group: h5py.Group, name: str, lines: Any) -> None:
    """Lines of text as MATLAB's matrix of characters, a line a row, blanks at their ends."""
    length = max(map(len, lines))
    units = np.array([list(line.ljust(length).encode("utf-16-le")) for line in lines], np.uint8)
    data = group.create_dataset(name, data=np.ascontiguousarray(units.view("<u2").T))
    data.attrs["MATLAB_class"] = np.bytes_("char")
    data.attrs["MATLAB_int_decode"] = np.int32(2)
