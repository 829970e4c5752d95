"""A trace as a player of GridLAB-D: a time and one value a line, W, or W and var as one complex number.

Reference: GridLAB-D, `tape/player.c`: absolute times as year-month-day hour:minute:second with a fraction, lines that
start with # are skipped, `flags DELTAMODE` for steps below a second.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from emulator.trace import TraceError
from emulator.traces.columns import Columns
from emulator.traces.text import Block, numbers, shortest, write_lines

START = np.datetime64("2000-01-01T00:00:00", "ns")  # when a trace's time is 0; `starttime` of the clock there
COMPLEX = ("site_pcc_power_mw", "site_pcc_reactive_mvar")


def write(columns: Columns, path_out: str | os.PathLike[str]) -> None:
    """Write one column, or power and reactive power of one site, to a player file.

    Raises:
      TraceError: other columns than that; values that are no numbers; and as `csv.write`.
    """
    chosen = columns.labelled
    pair = tuple(pick.channel.name for pick, _ in chosen) == COMPLEX and chosen[0][1] == chosen[1][1]
    if len(chosen) != 1 and not pair:
        wanted = " ".join(f"{name}[NAME]" for name in COMPLEX)
        raise TraceError(f"a player holds one value a line, not {', '.join(columns.names)}: choose one, or {wanted}")
    head = f"# timestamp,{' + j '.join(columns.names)}\n"
    write_lines(path_out, head, _values(columns), ",", times=_stamps)


def _stamps(time_s: np.ndarray) -> list[str]:
    moments = START + np.rint(time_s * 1e9).astype("timedelta64[ns]")
    return [text.replace("T", " ") for text in np.datetime_as_string(moments).tolist()]


def _values(columns: Columns) -> Iterator[Block]:
    for time_s, values in numbers(columns, "GridLAB-D"):
        if len(values) == 1:
            yield time_s, values
        else:
            parts = zip(*map(shortest, values), strict=True)
            yield time_s, [np.array([f"{p}{'' if q.startswith('-') else '+'}{q}j" for p, q in parts])]
