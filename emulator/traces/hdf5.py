"""Traces in HDF5: written while the run goes on, readable at any moment, also after a kill.

Every object and attribute that a file will ever hold exists before its first row. From then on the file is in SWMR
mode (single writer, multiple readers), in which values may change and datasets grow but nothing may appear: a reader
finds a valid file at any time. A killed writer leaves one that opens with `swmr=True`, as `read` does.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from math import isnan
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from emulator.trace import AXES, CHANNELS, SCHEMA_VERSION, WATCHED, Event, Header, Trace, TraceError, row_times
from emulator.traces.hdf5_layout import ATTRIBUTES, STOP_REASON_BYTES, dataset_of, fixed_text, lay_out, present, watched

# The format of HDF5 1.10: the first that knows SWMR, the last that all tools in use open.
FORMAT = ("v110", "v110")
MOST_CHUNK_ROWS = 65_536
BLOCKS_WAITING = 3
# Superblock of version 3: place of the byte with the consistency flags, and the flag that a SWMR writer sets.
CONSISTENCY_FLAGS, SWMR_FLAG = 11, 0x04


class TraceWriter:
    """Writes a trace from a thread of its own, block by block. A context manager.

    Leaving the context early, Ctrl-C included, closes the file with all rows so far, `complete` = 0 and the reason.
    When writing fails (disk full), the next call raises TraceError and the file stays as of the last whole block.
    """

    def __init__(self, path: str | os.PathLike[str], header: Header, rows_per_block: int) -> None:
        """Create the file, replacing any of that name, and its folder.

        Args:
          rows_per_block: rows that most calls of `append` will bring; chunks of the file hold as many, or an even part.

        Raises:
          TraceError: the file cannot be created.
        """
        self._path = Path(path)
        self._header = header
        self._rows = self._device_rows = 0
        self._healthy = True
        self._waiting: deque[Future[None]] = deque()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.unlink(missing_ok=True)  # a program that has the old file open keeps it
            self._file = h5py.File(self._path, "x", libver=FORMAT)
        except OSError as error:
            raise TraceError(f"cannot create {self._path}: {_cause(error)}") from error
        self._groups = ["trace", "event", *(channel.axis for channel in watched(header))]
        lay_out(self._file, header, _chunk_rows(rows_per_block))
        # Held open: closing a dataset writes its chunks, and h5py swallows the error of a full disk there.
        self._growing = [data for group in self._groups for data in _at(self._file, group).values()]
        self._file.swmr_mode = True
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="trace")

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if not self._file:
            return
        interrupted = isinstance(error, KeyboardInterrupt)
        reason = "interrupted" if interrupted else f"error: {error}" if error else "not finished"
        self.finish({}, reason, complete=False)

    def append(self, first_tick: int, block: Mapping[str, np.ndarray], events: Sequence[Event]) -> None:
        """Hand over consecutive rows from `first_tick` on. Waits while several blocks are still to be written.

        Args:
          block: every channel as (rows, length of its axis); copied, so the caller may reuse the arrays.
          events: those within the rows.

        Raises:
          TraceError: an earlier block could not be written.
          ValueError: channels of different length.
        """
        with self._failing_in_words():
            while self._waiting and (self._waiting[0].done() or len(self._waiting) >= BLOCKS_WAITING):
                self._waiting.popleft().result()
        arrays = {c.name: np.array(block[c.name], self._header.dtype_of(c)) for c in present(self._header)}
        rows = len(next(iter(block.values())))
        uneven = [name for name, values in arrays.items() if len(values) != rows]
        arrays |= {c.name: np.array(block[c.name], self._header.dtype_of(c)) for c in watched(self._header)}
        if uneven:
            raise ValueError(f"a block of {rows} rows, but not in {', '.join(uneven)}")
        self._waiting.append(self._pool.submit(self._write, first_tick, rows, arrays, tuple(events)))

    def finish(self, metrics: Mapping[str, float], stop_reason: str, complete: bool) -> None:
        """Write what is still waiting and the summary, and close the file.

        Args:
          metrics: by the names of metrics.names.
          stop_reason: why the run ended; kept up to 256 bytes.
          complete: whether it got to its end.

        Raises:
          TraceError: something could not be written.
        """
        with self._failing_in_words():
            while self._waiting:
                self._waiting.popleft().result()
            self._pool.shutdown()
            for key, value in metrics.items():
                _at(self._file, f"metrics/{key}")[...] = value
            reason = stop_reason.encode()[:STOP_REASON_BYTES].decode(errors="ignore")
            self._file.attrs.modify("stop_reason", fixed_text(reason, STOP_REASON_BYTES))
            self._file.attrs.modify("complete", np.int64(complete))
            self._file.flush()
            self._file.close()

    def _write(self, first_tick: int, rows: int, arrays: dict[str, np.ndarray], events: tuple[Event, ...]) -> None:
        if not self._healthy:  # a block after one that failed would leave a gap
            return
        self._healthy = False
        for channel in present(self._header):
            _write_rows(_at(self._file, f"trace/{channel.name}"), self._rows, arrays[channel.name])
        self._write_watched(first_tick, arrays)
        _write_events(_at(self._file, "event"), events)
        self._file.flush()
        # A row counts once its time is there, so its values are on disk before its time is.
        _write_rows(_at(self._file, "trace/time_s"), self._rows, row_times(self._header, first_tick, rows))
        self._file.flush()
        self._rows += rows
        self._healthy = True

    def _write_watched(self, first_tick: int, arrays: dict[str, np.ndarray]) -> None:
        rows = 0
        for channel in watched(self._header):
            values = arrays[channel.name]
            rows = len(values)
            _write_rows(_at(self._file, f"{channel.axis}/{dataset_of(channel)}"), self._device_rows, values)
            times = row_times(self._header, first_tick, rows, self._header.device_every_ticks)
            _write_rows(_at(self._file, f"{channel.axis}/time_s"), self._device_rows, times)
        self._device_rows += rows

    @contextmanager
    def _failing_in_words(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:  # h5py reports a full disk as RuntimeError
            self._abandon()
            raise TraceError(f"cannot write {self._path}: {_cause(error)}") from error

    def _abandon(self) -> None:
        """Close the file without another byte to it.

        After a failed write HDF5 would try again on close and, in vain, once more at exit, where it crashes. So what it
        has left goes to the null device, and the file stays as of its last flush, as after a kill.
        """
        self._pool.shutdown()
        if self._file:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, self._file.id.get_vfd_handle())
            os.close(null)
            with suppress(RuntimeError):  # a flush that failed half way makes HDF5 refuse the next one, but only that
                self._file.flush()
            self._file.close()


def read(path: str | os.PathLike[str], rows: slice | None = None) -> Trace:
    """Trace from a file, also from one that is being written or whose writer was killed.

    Args:
      rows: which rows, without a step; all of them if left out. Events are those within the rows.

    Raises:
      TraceError: no file, or none that holds a trace.
    """
    with _opened(path) as file:
        start, stop, step = (rows or slice(None)).indices(_whole_rows(file))
        if step != 1:
            raise ValueError("rows are read without a step")
        return _window(file, _header(file), start, max(start, stop))


def open_rows(path: str | os.PathLike[str], block_rows: int) -> Iterator[Trace]:
    """Successive windows of a file, each of `block_rows` rows or, at the end, what is left. Raises as `read`."""
    with _opened(path) as file:
        header = _header(file)
        total = _whole_rows(file)
        for start in range(0, total, block_rows):
            yield _window(file, header, start, min(start + block_rows, total))


def count_rows(path: str | os.PathLike[str]) -> int:
    """Rows that a file holds. Raises as `read`."""
    with _opened(path) as file:
        return _whole_rows(file)


def _chunk_rows(rows_per_block: int) -> int:
    """Rows of a chunk: an even part of a block, so that no chunk is written, hence compressed, twice."""
    parts = -(-rows_per_block // MOST_CHUNK_ROWS)
    return -(-rows_per_block // parts)


def _write_rows(data: h5py.Dataset, first: int, values: np.ndarray) -> None:
    data.resize(first + len(values), axis=0)
    data[first:] = values


def _write_events(group: h5py.Group, events: Sequence[Event]) -> None:
    if not events:
        return
    first = len(_at(group, "time_s"))
    for name in ("kind", "where"):
        data = _at(group, name)
        _write_rows(data, first, np.array([fixed_text(getattr(event, name), data.dtype.itemsize) for event in events]))
    for name in ("value", "time_s"):
        _write_rows(_at(group, name), first, np.array([getattr(event, name) for event in events]))


def _cause(error: BaseException) -> str:
    """The system's own words within HDF5's."""
    words = re.search(r"error message = '([^']*)'", str(error))
    return words[1] if words else str(error)


def _at(group: h5py.Group, name: str) -> Any:
    return group[name]


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    if not Path(path).is_file():
        raise TraceError(f"{path}: no such file")
    try:
        with _open(path) as file:
            _check(file, path)
            yield file
    except (OSError, RuntimeError, KeyError) as error:  # by what is damaged: data, a dataset, a list of names
        raise TraceError(f"{path}: cannot be read as HDF5: {_cause(error)}") from error


def _open(path: str | os.PathLike[str]) -> h5py.File:
    """A finished file as it is; one that is being written, or whose writer was killed, by SWMR.

    Not all by SWMR: there HDF5 tries again what it cannot read, on a damaged file for hours.
    """
    with Path(path).open("rb") as file:
        start = file.read(CONSISTENCY_FLAGS + 1)
    written_by_swmr = len(start) > CONSISTENCY_FLAGS and start[CONSISTENCY_FLAGS] & SWMR_FLAG
    return h5py.File(path, "r", swmr=bool(written_by_swmr))


def _check(file: h5py.File, path: str | os.PathLike[str]) -> None:
    version = file.attrs.get("schema_version")
    if "trace/time_s" not in file or version is None:
        raise TraceError(f"{path}: an HDF5 file, but not a trace of wattswing: it lacks trace/time_s or schema_version")
    if version != SCHEMA_VERSION:
        raise TraceError(f"{path}: trace of schema version {version}; this program reads version {SCHEMA_VERSION}")
    expected = [f"trace/{c.name}" for c in CHANNELS if f"trace/{c.axis}" in file]
    lacking = [name for name in [*expected, *ATTRIBUTES] if name not in file and name not in file.attrs]
    if lacking:
        raise TraceError(f"{path}: a damaged trace: it lacks {', '.join(lacking)}")


def _header(file: h5py.File) -> Header:
    fields: dict[str, Any] = {
        name: _string(file.attrs[name]) if kind is str else kind(file.attrs[name]) for name, kind in ATTRIBUTES.items()
    }
    places = {axis: f"trace/{axis}" for axis in AXES} | {c.axis: f"{c.axis}/{c.axis}" for c in WATCHED}
    labels = {axis: tuple(_at(file, at).asstr()[:]) if at in file else () for axis, at in places.items()}
    kv = tuple(_at(file, "trace/site_nominal_kv")[:].tolist()) if labels["site"] else ()
    return Header(labels=labels, nominal_kv=kv, **fields)


def _string(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _whole_rows(file: h5py.File) -> int:
    """Rows that every channel has in full; a row without a time was being written when the writer died."""
    time = _at(file, "trace/time_s")
    rows = min([len(time), *(len(_at(file, f"trace/{c.name}")) for c in CHANNELS if f"trace/{c.axis}" in file)])
    return bisect_left(range(rows), True, key=lambda row: isnan(time[row]))


def _window(file: h5py.File, header: Header, start: int, stop: int) -> Trace:
    time_s = _at(file, "trace/time_s")[start:stop]
    channels = {c.name: np.zeros((len(time_s), 0), header.dtype_of(c)) for c in CHANNELS}
    channels |= {c.name: _at(file, f"trace/{c.name}")[start:stop] for c in present(header)}
    return Trace(
        header=header,
        time_s=time_s,
        **channels,
        **_watched_window(file, header, start, stop),
        events=_events(file, time_s[0], time_s[-1] + header.row_s) if len(time_s) else (),
        # Not items(): h5py holds its lock while one iterates, and an error there would leave it locked.
        metrics={key: float(_at(file, f"metrics/{key}")[()]) for key in list(_at(file, "metrics"))},
        complete=bool(file.attrs["complete"]),
        stop_reason=_string(file.attrs["stop_reason"]),
    )


def _watched_window(file: h5py.File, header: Header, start: int, stop: int) -> dict[str, np.ndarray]:
    """Devices and racks in the rows of the trace from start to stop; their rows may have another length."""
    first, end = (-(-row * header.every_ticks // header.device_every_ticks) for row in (start, stop))
    found = {c.name: np.zeros((0, 0), header.dtype_of(c)) for c in WATCHED} | {"device_time_s": np.zeros(0)}
    for channel in watched(header):
        data, time = _at(file, f"{channel.axis}/{dataset_of(channel)}"), _at(file, f"{channel.axis}/time_s")
        rows = slice(first, min(end, len(data), len(time)))
        found |= {channel.name: data[rows], "device_time_s": time[rows]}
    return found


def _events(file: h5py.File, from_s: float, to_s: float) -> tuple[Event, ...]:
    columns = [_at(file, f"event/{name}") for name in ("time_s", "kind", "where", "value")]
    rows = min(len(data) for data in columns)
    texts = [data.asstr()[:rows] if data.dtype.kind == "S" else data[:rows].tolist() for data in columns]
    # An event without a kind was being written when the writer died.
    return tuple(Event(*row) for row in zip(*texts, strict=True) if row[1] and from_s <= row[0] < to_s)
