"""Samples from CSV: a head with names, then lines of numbers, parted by commas.

Two ways give the same: block by block where lines are plain; else row by row, which alone says what is wrong.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emulator.traces.samples import RecordError, Samples, find
from emulator.units import counted

BLOCK = 2**16  # bytes that are read at once: stays in the cache
ORDINARY = bytes(set(range(256)) - set(b',"\r\n'))  # bytes that part no fields and no lines


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
            if (plain := _by_blocks(Path(path), len(names), wanted)) is not None:
                return Samples(plain[0], plain[1], np.arange(2, 2 + len(plain[0])), "line")
            rows = ((reader.line_num, *_numbers(row, wanted, names, reader.line_num)) for row in reader if row)
            table = np.fromiter(rows, np.dtype((np.float64, 3)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise RecordError(f"{path} is no CSV text: {error}") from error
    return Samples(table[:, 1].copy(), table[:, 2].copy(), table[:, 0].astype(np.int64), "line")


def _by_blocks(path: Path, count: int, wanted: Sequence[int]) -> list[np.ndarray] | None:
    """(lines,) values of each column wanted, if all lines below the first are plain; else None. A head of several lines
    ends in a quote, so that they are not."""
    blocks = []
    with path.open("rb") as file:
        if b"\r" in file.readline().removesuffix(b"\n").removesuffix(b"\r"):
            return None
        while block := file.read(BLOCK) + file.readline():
            if not file.peek(1):
                block = block.rstrip(b"\r\n")  # the last line need not end, and blank ones may follow
            if (columns := _columns(block, count, wanted)) is None:
                return None
            blocks.append(columns)
    return [np.concatenate(parts) for parts in zip(*blocks, strict=True)] if blocks else [np.empty(0)] * len(wanted)


def _columns(block: bytes, count: int, wanted: Sequence[int]) -> list[np.ndarray] | None:
    """(lines,) values of each column wanted, if all lines of a block are plain: `count` fields without quotes, none
    longer than `csv` takes, and numbers in those columns. Else None."""
    end = b"\r\n" if b"\r" in block else b"\n"
    text = block if block.endswith(end) else block + end
    lines = text.count(b"\n")
    if len(text) > csv.field_size_limit() or text.translate(None, ORDINARY) != (b"," * (count - 1) + end) * lines:
        return None
    try:
        fields = text.decode().replace(end.decode(), ",").split(",")
        columns = [fields[i : count * lines : count] for i in wanted]
        if b"_" in text and any("_" in field for column in columns for field in column):
            return None
        return [np.fromiter(map(float, column), np.float64, lines) for column in columns]
    except ValueError:  # no UTF-8, or no number
        return None


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
