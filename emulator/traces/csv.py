"""A trace as plain CSV: a column of times, then one column per channel and place."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence

import numpy as np

from emulator.traces.columns import columns_of, whole

ROWS_AT_ONCE = 8192  # bounds memory: a number takes some 100 bytes while it is text


def write(
    path_in: str | os.PathLike[str],
    path_out: str | os.PathLike[str],
    channels: Sequence[str] | None = None,
    every: int = 1,
) -> None:
    """Write an HDF5 trace to a CSV file. Numbers are as short as reads back to the very same value.

    Args and errors: see `columns.columns_of` and `columns.whole`.
    """
    columns = columns_of(path_in, channels, every)
    with whole(path_out) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["time_s", *columns.names])
        for time_s, values in columns.blocks(ROWS_AT_ONCE):
            rows.writerows(zip(*map(_texts, (time_s, *values)), strict=True))


def _texts(column: np.ndarray) -> list[str]:
    """The shortest decimal that reads back to the same value in the column's own type."""
    return column.astype("U").tolist()
