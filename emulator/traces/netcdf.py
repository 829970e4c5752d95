"""A trace as NetCDF-4: a variable (time, place) per channel, with units, and what the trace says of its run.

Reference: NetCDF-4 format specification (Unidata, "File Format Specifications"): an HDF5 file in which dimensions are
scales, attached to what they measure; one that grows is unlimited. Conventions: CF-1.8.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

from emulator.traces.columns import Columns, Pick
from emulator.traces.filesystem import whole
from emulator.traces.hdf5_filling import fill, filling
from emulator.traces.parquet import ATTRIBUTES

CHUNK_ROWS = 16_384


def write(columns: Columns, path_out: str | os.PathLike[str]) -> None:
    """Write columns to a NetCDF file, values as they are.

    A channel's second dimension is its axis (`site`), with the names as its coordinate; where only some of the places
    were chosen it is `site_of_CHANNEL`.

    Raises:
      TraceError: the trace cannot be read or the file not be written.
    """
    with whole(path_out) as part, filling(part, track_order=True) as file:
        file.attrs["Conventions"] = "CF-1.8"
        for name in ATTRIBUTES:
            file.attrs[name] = getattr(columns.header, name)
        time = _variable(file, "time_s", [], np.float64, "s", "start of the row")
        time.make_scale("time_s")
        data = {pick.name: _lay_out(file, pick, columns) for pick in columns.picks}
        fill(columns, time, data, axis=0)


def _lay_out(file: h5py.File, pick: Pick, columns: Columns) -> h5py.Dataset:
    axis = pick.channel.axis
    dimension = axis if pick.labels == columns.header.labels[axis] else f"{axis}_of_{pick.name}"
    if dimension not in file:
        labels = file.create_dataset(dimension, data=list(pick.labels), dtype=h5py.string_dtype())
        labels.make_scale(dimension)
        labels.attrs["long_name"] = f"names along the {axis} axis"
    dtype = columns.header.dtype_of(pick.channel)
    data = _variable(file, pick.name, [len(pick.labels)], dtype, pick.unit, pick.channel.long_name)
    for i, name in enumerate(("time_s", dimension)):
        data.dims[i].attach_scale(file[name])
    return data


def _variable(file: h5py.File, name: str, places: Sequence[int], dtype: Any, unit: str, long_name: str) -> h5py.Dataset:
    data = file.create_dataset(
        name,
        (0, *places),
        dtype,
        maxshape=(None, *places),
        chunks=(CHUNK_ROWS, *(1 for _ in places)),
        shuffle=True,
        compression=1,
    )
    data.attrs["units"], data.attrs["long_name"] = unit, long_name
    return data
