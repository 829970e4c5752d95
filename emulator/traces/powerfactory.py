"""A trace to play into DIgSILENT PowerFactory by its measurement file, ElmFile: outputs y1, y2, ... are its columns.

Reference: DIgSILENT, "Technical Reference Documentation, Measurement File (ElmFile)", r607, 2011, sec. 1.1: the first
line is the number of variables, each other one a time in s and their values, parted by blanks; 24 outputs at most.
"""

from __future__ import annotations

import os

from emulator.trace import TraceError
from emulator.traces.columns import Columns
from emulator.traces.text import numbers, write_lines

MOST_COLUMNS = 24  # outputs y1 to y24, besides the time


def write(columns: Columns, path_out: str | os.PathLike[str]) -> None:
    """Write columns to a text file, which has no place for names: y1 is the first of `columns.names`.

    Raises:
      TraceError: more columns than outputs; values that are no numbers; and as `csv.write`.
    """
    count = len(columns.names)
    if count > MOST_COLUMNS:
        raise TraceError(f"PowerFactory reads at most {MOST_COLUMNS} columns from a file, not {count}: choose channels")
    write_lines(path_out, f"{count}\n", numbers(columns, "PowerFactory"), " ")
