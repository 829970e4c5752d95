"""Samples from CSV: a head with names, then lines of numbers, parted by commas."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from emulator.traces.samples import RecordError, Samples, find
from emulator.units import counted


def read(path: str, time_column: str, power_column: str) -> Samples:
    """Two columns of a CSV file.

    The last line need not end (RFC 4180, section 2.2); `samples.ends` tells.

    Raises:
      RecordError: no CSV text; other signs than commas between columns; no such column; a line of another length; a
        field that is missing or no number.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            names = [name.strip() for name in next(reader, [])]
            if len(names) == 1 and (apart := [sign for sign in ";\t|" if sign in names[0]]):
                raise RecordError(f"{path}: columns are parted by {apart[0]!r}; wanted: commas, and decimal points")
            wanted = [find(names, time_column, "time_column"), find(names, power_column, "power_column")]
            values = [(reader.line_num, *_numbers(row, wanted, names, reader.line_num)) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise RecordError(f"{path} is no CSV text: {error}") from error
    table = np.array(values, np.float64).reshape(-1, 3)
    return Samples(table[:, 1].copy(), table[:, 2].copy(), table[:, 0].astype(np.int64), "line")


def _numbers(row: list[str], wanted: list[int], names: list[str], line: int) -> list[float]:
    if len(row) != len(names):
        raise RecordError(f"line {line} has {counted(len(row), 'field')}, the first line {len(names)}")
    numbers = []
    for i, meant in zip(wanted, ("a number of seconds", "a number"), strict=True):
        if not row[i].strip():
            raise RecordError(f"line {line}: {names[i]} is missing; fill it, or leave lines and gap out of the file")
        try:
            if "_" in row[i]:  # Python's own way to part digits
                raise ValueError
            numbers.append(float(row[i]))
        except ValueError as error:
            raise RecordError(f"line {line}: {names[i]} is {row[i]!r}, must be {meant}") from error
    return numbers
