"""Columns as lines of text: what the formats of several tools share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from emulator.trace import TraceError
from emulator.traces.columns import Columns
from emulator.traces.filesystem import whole

ROWS_AT_ONCE = 131_072  # that are read: fewer would unpack chunks of the trace again and again
LINES_AT_ONCE = 8192  # bounds memory: a number takes some 100 bytes while it is text
Block = tuple[np.ndarray, Sequence[np.ndarray]]  # times, columns


def shortest(column: np.ndarray) -> list[str]:
    """The shortest decimals that read back to the same values in the column's own type."""
    return column.astype("U").tolist()


def write_lines(
    path_out: str | os.PathLike[str],
    head: str,
    blocks: Iterable[Block],
    separator: str,
    times: Callable[[np.ndarray], list[str]] = shortest,
) -> None:
    """A head, then a line for every row: its time, its columns.

    Raises:
      TraceError: the file cannot be written.
    """
    with whole(path_out) as part, part.open("w", newline="", encoding="utf-8") as file:
        file.write(head)
        for time_s, values in pieces(blocks):
            rows = zip(times(time_s), *map(shortest, values), strict=True)
            file.writelines(f"{separator.join(row)}\n" for row in rows)


def pieces(blocks: Iterable[Block]) -> Iterator[Block]:
    """Blocks in pieces that are small as text."""
    for time_s, values in blocks:
        for first in range(0, len(time_s), LINES_AT_ONCE):
            at = slice(first, first + LINES_AT_ONCE)
            yield time_s[at], [column[at] for column in values]


def numbers(columns: Columns, tool: str, rows: int = ROWS_AT_ONCE) -> Iterator[Block]:
    """Blocks of columns, for a tool that plays numbers only.

    Raises:
      TraceError: a value that is none.
    """
    for time_s, values in columns.blocks(rows):
        for name, column in zip(columns.names, values, strict=True):
            if not (finite := np.isfinite(column)).all():
                at_s = time_s[np.argmin(finite)]
                raise TraceError(f"{name} is no finite number at {at_s:g} s, which {tool} cannot play")
        yield time_s, values
