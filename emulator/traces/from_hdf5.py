"""Samples from HDF5 files of any tool: datasets by their paths, `group/data`, or `group/data[label]` of a table.

A trace of ours is read in the same way: `trace/time_s`, `trace/site_pcc_power_mw[campus]`.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from emulator.traces.opening import DAMAGE
from emulator.traces.samples import RecordError, Samples, find
from emulator.units import counted

HEAP, HEAP_HEAD, OBJECT_HEAD = b"GCOL\x01\0\0\0", 16, 16  # a global heap begins so; bytes before its objects, of each's
MOST_PACKED = 1100  # bytes from one byte of the file: deflate makes at most 1,032 of one


def read(path: str, time_column: str, power_column: str) -> Samples:
    """Two columns of an HDF5 file.

    Raises:
      RecordError: no HDF5 file, a damaged one, or one that was never closed; no such dataset or label; data that are no
        numbers, not of one length, or not all there.
    """
    if not h5py.is_hdf5(path):
        raise RecordError(
            f"{path} is not HDF5, whatever its ending says: name it by its format (.csv, .txt, .parquet, .cfg); "
            "`wattswing assess` reads any file as CSV with --csv"
        )
    _check_heaps(path)
    try:
        with h5py.File(path, "r") as file:
            time_s, time_unit = _column(file, time_column, "time_column")
            power, power_unit = _column(file, power_column, "power_column")
    except RecordError:
        raise
    except DAMAGE as error:
        raise RecordError(f"{path} cannot be read as HDF5: {_cause(error)}") from error
    if len(time_s) != len(power):
        message = f"{time_column} has {counted(len(time_s), 'value')}, {power_column} {len(power):,}"
        raise RecordError(message, "power_column")
    return Samples(time_s, power, np.arange(1, len(time_s) + 1), "row", time_unit, power_unit)


def _check_heaps(path: str) -> None:
    """HDF5 reads for ever, and does not even stop at Ctrl-C, where an object of a heap has lost its length.

    Reference: HDF5 File Format Specification 3.0, sec. III.E: number, count, four bytes unused, length; then its bytes,
    of which there are a multiple of eight. The length of the free rest, number 0, is that of all of it.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        heap = content.find(HEAP)
        while heap >= 0:
            at, end = heap + HEAP_HEAD, heap + int.from_bytes(content[heap + 8 : heap + HEAP_HEAD], "little")
            while at + OBJECT_HEAD <= min(end, len(content)):
                number, length = (int.from_bytes(content[at + i : at + j], "little") for i, j in ((0, 2), (8, 16)))
                if not number and not length:
                    raise RecordError(f"{path} is damaged: a heap of HDF5's, at byte {heap}, has lost a length")
                at += length if not number else OBJECT_HEAD + -(-length // 8) * 8
            heap = content.find(HEAP, heap + 1)


def _column(file: h5py.File, name: str, key: str) -> tuple[np.ndarray, str]:
    """(rows,) values and their unit."""
    names, labels = _tables(file)
    at = find([*names, *labels], name, key)
    dataset, column = (name, None) if at < len(names) else labels[name]
    data: Any = file[dataset]
    if data.ndim > 1 and column is None:
        if len(of := [label for label, (table, _) in labels.items() if table == dataset]) != 1:
            raise RecordError(
                f"{name} is a table of {data.shape[1]} columns: say which, as in {of[0] if of else 'a[b]'}", key
            )
        column = 0
    _check_stored(data, name, key)
    values = data[:] if column is None else data[:, column]
    unit = data.attrs.get("units", "")
    return values.astype(np.float64), unit.decode() if isinstance(unit, bytes) else str(unit)


def _tables(file: h5py.File) -> tuple[list[str], dict[str, tuple[str, int]]]:
    """Names of all columns of numbers, and of the columns of tables: their dataset and place in it."""
    found: list[str] = []

    def note(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf" and item.ndim in (1, 2):
            found.append(name)

    file.visititems(note)
    labelled = {}
    for name in found:
        for place, label in enumerate(_labels(file, name)):
            labelled[f"{name}[{label}]"] = name, place
    return found, labelled


def _labels(file: h5py.File, name: str) -> Iterator[str]:
    """Names of a table's columns: of the scale on its second axis, else numbers from 0 on."""
    data: Any = file[name]
    if data.ndim == 1:
        return
    scales = [scale for scale in data.dims[1].values() if scale.shape == (data.shape[1],)]
    texts = [scale for scale in scales if scale.dtype.kind in "SO"]
    for place in range(data.shape[1]):
        yield _text(texts[0][place]) if texts else str(place)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _check_stored(data: h5py.Dataset, name: str, key: str) -> None:
    """HDF5 makes up what was never written: such data are no record."""
    if data.chunks is not None:
        expected = int(np.prod([-(-size // chunk) for size, chunk in zip(data.shape, data.chunks, strict=True)]))
        if (stored := data.id.get_num_chunks()) < expected:
            raise RecordError(f"{name}: only {stored:,} of {counted(expected, 'chunk')} came to be written", key)
    if data.nbytes > MOST_PACKED * data.id.get_storage_size():
        raise RecordError(f"{name}: the file does not hold the {data.nbytes:,} bytes that it says it has", key)


def _cause(error: BaseException) -> str:
    words = re.search(r"error message = '([^']*)'", str(error))
    return words[1] if words else str(error).strip("'\"").splitlines()[0] if str(error) else type(error).__name__
