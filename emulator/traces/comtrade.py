"""A trace as COMTRADE: a configuration (.cfg), samples (.dat) and, for people, what the trace says of itself (.hdr).

Reference: IEEE C37.111-1999 and C37.111-2013 (IEC 60255-24:2013). A value is a x + b of the number x in the file; for
BINARY x is an integer of 16 bits, -32768 where there is no value; for ASCII one of at most five digits, 99999 likewise;
FLOAT32 (2013 only) holds the value itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from emulator.trace import TraceError
from emulator.traces.columns import Columns
from emulator.traces.filesystem import whole
from emulator.traces.text import ROWS_AT_ONCE, pieces

MOST_CHANNELS = 32  # that playback units take
MOST_NAME = {1999: 64, 2013: 128}  # characters of a channel's name
HIGHEST = {"ASCII": 99_998, "BINARY": 32_767}  # largest number in the file
MISSING = {"ASCII": 99_999, "BINARY": -32_768}
LAST_STAMP = 2**31 - 1  # times in the file, in 1e-6 s x timemult, stay below it
START = datetime(2000, 1, 1)  # when a trace's time is 0
ABOUT = ("emulator_version", "created_utc", "seed", "dt_s", "frequency_hz", "platform", "config")


def write(columns: Columns, path_out: str | os.PathLike[str], revision: int = 1999, kind: str = "BINARY") -> None:
    """Write columns to NAME.cfg, NAME.dat and NAME.hdr.

    With BINARY and ASCII a value is off by at most half of a: its column's range / 131,068 or / 399,992.

    Args:
      revision: 1999 | 2013.
      kind: ASCII | BINARY | FLOAT32, the last in 2013 only.

    Raises:
      TraceError: a name that does not end in .cfg; no rows; over 32 columns; names that the format cannot hold; values
        that are infinite; and as `csv.write`.
    """
    path = Path(path_out)
    if path.suffix != ".cfg":
        raise TraceError(f"{path}: a COMTRADE configuration ends in .cfg; the samples go to the .dat beside it")
    if not 1 <= len(columns.names) <= MOST_CHANNELS:
        raise TraceError(f"{len(columns.names)} columns; playback units take {MOST_CHANNELS}: choose channels")
    _check_names(columns.names, revision)
    if not (rows := columns.count()):
        raise TraceError(f"{columns.path} has no rows")
    scales = [(1.0, 0.0)] * len(columns.names) if kind == "FLOAT32" else _scales(columns, HIGHEST[kind])
    timemult = _timemult(rows, columns.row_s)
    with ExitStack() as stack:  # what is entered first takes its name last: the configuration
        cfg, hdr, dat = (stack.enter_context(whole(path.with_suffix(end))) for end in (".cfg", ".hdr", ".dat"))
        with dat.open("wb") as file:
            for block in _samples(columns, scales, timemult, kind):
                file.write(block)
        encoding = "ascii" if revision == 1999 else "utf-8"
        lines = _configuration(columns, rows, scales, timemult, revision, kind)
        cfg.write_bytes("".join(f"{line}\r\n" for line in lines).encode(encoding))
        about = "".join(f"{name}: {getattr(columns.header, name)}\n" for name in ABOUT)
        hdr.write_text(about, encoding="utf-8")


def _check_names(names: Sequence[str], revision: int) -> None:
    for name in names:
        if "," in name:
            raise TraceError(f"{name} has a comma, which parts the fields of a COMTRADE configuration")
        if len(name) > MOST_NAME[revision]:
            raise TraceError(f"{name}: COMTRADE {revision} takes names of at most {MOST_NAME[revision]} characters")
        if revision == 1999 and not name.isascii():
            raise TraceError(f"{name}: COMTRADE 1999 is ASCII text; the revision of 2013 takes any letter")


def _scales(columns: Columns, highest: int) -> list[tuple[float, float]]:
    """a and b of each column: its smallest value becomes -highest, its largest highest."""
    low, high = (np.full(len(columns.names), sign * np.inf) for sign in (1, -1))
    for _, values in columns.blocks(ROWS_AT_ONCE):
        table = np.array(values, np.float64)
        low, high = np.fmin(low, np.fmin.reduce(table, axis=1)), np.fmax(high, np.fmax.reduce(table, axis=1))
    scales = []
    for name, least, most in zip(columns.names, low.tolist(), high.tolist(), strict=True):
        if least == np.inf:  # nothing but NaN
            scales.append((1.0, 0.0))
        elif not np.isfinite(most - least):
            raise TraceError(f"{name} holds infinite values, which COMTRADE has no number for")
        else:
            scales.append(((most - least) / (2 * highest) or 1.0, 0.5 * (most + least)))
    return scales


def _timemult(rows: int, row_s: float) -> int:
    """Power of ten by which times in the file are multiplied, so that the last one fits."""
    timemult = 1
    while (rows - 1) * row_s / (1e-6 * timemult) > LAST_STAMP:
        timemult *= 10
    return timemult


def _samples(columns: Columns, scales: list[tuple[float, float]], timemult: int, kind: str) -> Iterator[bytes]:
    """The .dat, block by block."""
    a, b = np.array(scales).T[..., None]
    first = 0
    for time_s, values in pieces(columns.blocks(ROWS_AT_ONCE)):
        number = np.arange(first, first + len(time_s))
        first += len(time_s)
        stamp = np.rint(number * (columns.row_s / (1e-6 * timemult))).astype(np.int64)
        if kind == "FLOAT32":
            yield _binary(number + 1, stamp, np.array(values, np.float32), "<f4")
            continue
        table = np.rint((np.array(values, np.float64) - b) / a)
        table[np.isnan(table)] = MISSING[kind]
        if kind == "BINARY":
            yield _binary(number + 1, stamp, table, "<i2")
        else:
            rows = np.vstack([number + 1, stamp, table]).astype(np.int64).T.tolist()
            yield "".join(f"{','.join(map(str, row))}\r\n" for row in rows).encode("ascii")


def _binary(number: np.ndarray, stamp: np.ndarray, table: np.ndarray, dtype: str) -> bytes:
    rows = np.empty(len(number), [("number", "<u4"), ("stamp", "<u4"), ("values", dtype, (len(table),))])
    rows["number"], rows["stamp"], rows["values"] = number, stamp, table.T
    return rows.tobytes()


def _configuration(
    columns: Columns, rows: int, scales: list[tuple[float, float]], timemult: int, revision: int, kind: str
) -> list[str]:
    """Lines of the .cfg."""
    count = len(columns.names)
    lines = [f"wattswing,{columns.header.emulator_version},{revision}", f"{count},{count}A,0D"]
    most = HIGHEST.get(kind, float(np.finfo(np.float32).max))
    for i, (name, (a, b)) in enumerate(zip(columns.names, scales, strict=True)):
        unit = columns.labelled[i][0].unit
        lines.append(f"{i + 1},{name},,,{unit},{a!r},{b!r},0,{-most!r},{most!r},1,1,P")
    start = START + timedelta(seconds=columns.offset_s)
    moment = f"{start:%d/%m/%Y,%H:%M:%S.%f}"
    lines += [f"{columns.header.frequency_hz:g}", "1", f"{1 / columns.row_s:.17g},{rows}", moment, moment, kind]
    lines.append(f"{timemult}")
    if revision == 2013:
        lines += ["0,0", "F,3"]  # UTC; times of a clock that nobody set, no knowledge of leap seconds
    return lines
