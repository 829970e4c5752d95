"""A trace as plain CSV: a column of times, then one column per channel and place."""

from __future__ import annotations

import csv
import io
import os

from emulator.traces.columns import Columns
from emulator.traces.text import ROWS_AT_ONCE, write_lines


def write(columns: Columns, path_out: str | os.PathLike[str], time_name: str = "time_s") -> None:
    """Write columns to a CSV file. Numbers are as short as reads back to the very same value.

    Raises:
      TraceError: the trace cannot be read or the file not be written.
    """
    head = io.StringIO()
    csv.writer(head, lineterminator="\n").writerow([time_name, *columns.names])
    write_lines(path_out, head.getvalue(), columns.blocks(ROWS_AT_ONCE), ",")
