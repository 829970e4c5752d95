"""A trace as named columns, row after row, for files of other tools; and files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from emulator.trace import CHANNELS, Channel, Header, TraceError
from emulator.traces.hdf5 import open_rows, read


@dataclass(frozen=True)
class Columns:
    """What of a trace is wanted, and how many of its rows make one.

    Powers, voltage and connected share become means over `every` rows, so that energy and average are kept: a boxcar,
    zero at the new rate and its multiples, by which what lies above half the new rate is damped to 64 % there and less
    beyond. States (frequency, mechanical power, tie flow, state of charge) are taken at their start, which is also the
    time. The last row may cover fewer.
    """

    path: Path
    header: Header
    channels: tuple[Channel, ...]
    every: int

    @property
    def labelled(self) -> list[tuple[Channel, str]]:
        """(columns,) channel and place of each."""
        return [(channel, label) for channel in self.channels for label in self.header.labels[channel.axis]]

    @property
    def names(self) -> list[str]:
        """(columns,) `channel[label]`, as in `site_pcc_power_mw[campus]`."""
        return [f"{channel.name}[{label}]" for channel, label in self.labelled]

    def blocks(self, rows: int) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """Times and columns of about so many rows of the trace at a time. Memory does not grow with its length."""
        for trace in open_rows(self.path, self.every * max(1, rows // self.every)):
            columns = [column for c in self.channels for column in _merged(c, getattr(trace, c.name), self.every).T]
            yield trace.time_s[:: self.every], columns


def columns_of(path: str | os.PathLike[str], channels: Sequence[str] | None, every: int) -> Columns:
    """Columns of an HDF5 trace.

    Args:
      channels: names from trace.CHANNELS, in the order wanted; all that the trace has if left out.

    Raises:
      TraceError: no such trace or channel, `every` below 1.
    """
    if every < 1:
        raise TraceError(f"every {every}: at least 1 row makes a row")
    header = read(path, slice(0, 0)).header
    wanted = [_channel(name, header) for name in channels] if channels else _with_columns(header)
    return Columns(Path(path), header, tuple(wanted), every)


@contextmanager
def whole(path_out: str | os.PathLike[str]) -> Iterator[Path]:
    """A path to write to; what is there in the end takes the wanted name, what an error leaves is removed.

    Raises:
      TraceError: it cannot be written.
    """
    part = Path(f"{path_out}.tmp")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path_out)
    except OSError as error:
        raise TraceError(f"cannot write {path_out}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # where it could not be made either
            part.unlink()


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


def _merged(channel: Channel, values: np.ndarray, every: int) -> np.ndarray:
    """One row for `every` rows of (rows, columns): their mean, or the first value of a state."""
    starts = np.arange(0, len(values), every)
    if channel.state or every == 1:
        return values[starts]
    counts = np.minimum(every, len(values) - starts)[:, None]
    return (np.add.reduceat(values.astype(np.float64), starts) / counts).astype(values.dtype)
