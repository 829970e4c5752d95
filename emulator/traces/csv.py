"""A trace as plain CSV: a column of times, then one column per channel and place."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from emulator.trace import CHANNELS, Channel, Header, Trace, TraceError
from emulator.traces.hdf5 import open_rows, read

ROWS_AT_ONCE = 8192  # bounds memory: a number takes some 100 bytes while it is text


def write(
    path_in: str | os.PathLike[str],
    path_out: str | os.PathLike[str],
    channels: Sequence[str] | None = None,
    every: int = 1,
) -> None:
    """Write an HDF5 trace to a CSV file, in one step at the end: there is never half a file of that name.

    Columns are `time_s` and `channel[label]`, as in `site_pcc_power_mw[campus]`. Numbers are as short as reads back to
    the very same value. Memory does not grow with the length of the trace.

    Args:
      channels: names from trace.CHANNELS, in the order wanted; all that the trace has if left out.
      every: rows merged into one. Powers, voltage and connected share become means over them, so that energy and
        average are kept; states (frequency, mechanical power, tie flow, state of charge) are taken at their start,
        which is also the time. The last row may cover fewer.

    Raises:
      TraceError: no such trace or channel, `every` below 1, or a file that cannot be written.
    """
    if every < 1:
        raise TraceError(f"every {every}: at least 1 row makes a row")
    header = read(path_in, slice(0, 0)).header
    wanted = [_channel(name, header) for name in channels] if channels else _with_columns(header)
    part = Path(f"{path_out}.tmp")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["time_s", *(f"{c.name}[{label}]" for c in wanted for label in header.labels[c.axis])])
            for trace in open_rows(path_in, every * max(1, ROWS_AT_ONCE // every)):
                rows.writerows(zip(*_columns(trace, wanted, every), strict=True))
        os.replace(part, path_out)
    except OSError as error:
        raise TraceError(f"cannot write {path_out}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _with_columns(header: Header) -> list[Channel]:
    return [channel for channel in CHANNELS if header.labels[channel.axis]]


def _channel(name: str, header: Header) -> Channel:
    known = {channel.name: channel for channel in _with_columns(header)}
    if name in known:
        return known[name]
    if any(channel.name == name for channel in CHANNELS):
        raise TraceError(f"channel {name} has no columns in this trace; it has {', '.join(known)}")
    near = "".join(f"; nearest is {match}" for match in get_close_matches(name, known, n=1, cutoff=0.0))
    raise TraceError(f"no channel {name}{near}; all: {', '.join(known)}")


def _columns(trace: Trace, wanted: Sequence[Channel], every: int) -> Iterator[list[str]]:
    yield _texts(trace.time_s[::every])
    for channel in wanted:
        values = _merged(channel, getattr(trace, channel.name), every)
        yield from (_texts(column) for column in values.T)


def _merged(channel: Channel, values: np.ndarray, every: int) -> np.ndarray:
    """One row for `every` rows of (rows, columns): their mean, or the first value of a state."""
    starts = np.arange(0, len(values), every)
    if channel.state or every == 1:
        return values[starts]
    counts = np.minimum(every, len(values) - starts)[:, None]
    return (np.add.reduceat(values.astype(np.float64), starts) / counts).astype(values.dtype)


def _texts(column: np.ndarray) -> list[str]:
    """The shortest decimal that reads back to the same value in the column's own type."""
    return column.astype("U").tolist()
