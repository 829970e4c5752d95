"""A trace for the model TimeSeries of ANDES: CSV with a column `t` and powers in per unit of the system's base.

Reference: `andes/models/timeseries.py` of ANDES 2.0. It applies a row at exactly its time, at which the solver then
stops, and holds it until the next: rows of 10 ms or more keep that fast.
"""

from __future__ import annotations

import os

from emulator.trace import TraceError
from emulator.traces import csv
from emulator.traces.columns import Columns


def write(columns: Columns, path_out: str | os.PathLike[str]) -> None:
    """Write columns to a CSV file that `path`, `fields` and `tkey = t` of a TimeSeries device take.

    Raises:
      TraceError: a name with a comma, at which `fields` is split; a file whose name does not end in csv, by which ANDES
        knows it; and as `csv.write`.
    """
    if not str(path_out).endswith("csv"):
        raise TraceError(f"{path_out}: ANDES reads files that end in .csv")
    if split := [name for name in columns.names if "," in name]:
        raise TraceError(f"{split[0]} has a comma, at which ANDES would split it")
    csv.write(columns, path_out, time_name="t")
