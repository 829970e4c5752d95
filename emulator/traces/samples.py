"""What the readers of recorded powers have in common: samples of two columns, as a file holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emulator.complaint import nearest


class RecordError(ValueError):
    """A record that cannot be used, in words; `key` is the key of a replayed job to look at."""

    def __init__(self, message: str, key: str = "path") -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True)
class Samples:
    """Two columns of a file, before anybody has looked at their values."""

    time_s: np.ndarray  # (samples,) float64; a missing value is NaN
    power: np.ndarray  # (samples,) float64, in the file's unit
    place: np.ndarray  # (samples,) number of each in the file, for people: from 1 on, lines with the head
    place_name: str  # line | row | sample
    time_unit: str = ""  # as the file states it; "" where it does not
    power_unit: str = ""


def find(names: Sequence[str], name: str, key: str) -> int:
    """Index of a column.

    Raises:
      RecordError: there is none of that name, or there are several.
    """
    if name not in names:
        raise RecordError(f"the file has no column {name!r}{nearest(name, names)}", key)
    if names.count(name) > 1:
        raise RecordError(f"{names.count(name)} columns of the file are called {name!r}", key)
    return names.index(name)


def ends(path: Path) -> bool:
    """Whether a text's last line ends. One that does not may be a copy that was cut off within a number."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2))
        return file.read().rstrip(b"\x1a").endswith((b"\n", b"\r"))


def check_end(path: Path) -> None:
    """For formats whose lines all end.

    Raises:
      RecordError: the last one does not.
    """
    if not ends(path):
        raise RecordError(f"{path}: the last line does not end: it may be cut off; if it is whole, add a line end")
