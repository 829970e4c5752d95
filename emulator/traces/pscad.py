"""A trace to play into PSCAD by its component File Read: a line of names, then times and at most ten columns."""

from __future__ import annotations

import os

from emulator.trace import TraceError
from emulator.traces.columns import Columns
from emulator.traces.text import numbers, write_lines

MOST_COLUMNS = 10  # besides the time


def write(columns: Columns, path_out: str | os.PathLike[str]) -> None:
    """Write columns to a text file. Its first line, which PSCAD skips, names them.

    Raises:
      TraceError: more than ten columns; times that do not start at 0; values that are no numbers; and as `csv.write`.
    """
    if len(columns.names) > MOST_COLUMNS:
        count = len(columns.names)
        raise TraceError(f"PSCAD reads at most {MOST_COLUMNS} columns from a file, not {count}: choose channels")
    if start_s := columns.start_s:
        needed = f"a time offset of {columns.offset_s - start_s!r} s makes it 0"
        raise TraceError(f"PSCAD plays a file from 0 s on, and this one starts at {start_s:.10g} s: {needed}")
    head = " ".join(["! time_s", *(name.replace(" ", "_") for name in columns.names)])
    write_lines(path_out, f"{head}\n", numbers(columns, "PSCAD"), " ")
