"""Traces in HDF5: written while the run goes on, readable at any moment, also after a kill.

Every object and attribute that a file will ever hold exists before its first row. From then on the file is in SWMR
mode (single writer, multiple readers), in which values may change and datasets grow but nothing may appear: a reader
finds a valid file at any time. Readers here open a file that is being written, or whose writer was killed, as if it
were closed, and try twice more what they find half written.
"""

from __future__ import annotations

import fcntl
import math
import os
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import h5py
import numpy as np

from emulator.carry import Checkpoint
from emulator.trace import AXES, CHANNELS, WATCHED, Event, Header, Trace, TraceError, row_times
from emulator.traces import checked, state_file
from emulator.traces.chunks import growing, write_rows
from emulator.traces.filesystem import file_at, network_filesystem, target_of
from emulator.traces.hdf5_layout import (
    ATTRIBUTES,
    STOP_REASON_BYTES,
    TIME_BYTES,
    dataset_of,
    device_rows,
    fixed_text,
    lay_out,
    present,
    watched,
)
from emulator.traces.opening import at, cause, opened, steadily, string
from emulator.traces.system import begin_to_store, drain, give_way, must_be_idle

# The format of HDF5 1.10: the first that knows SWMR, the last that all tools in use open.
FORMAT = ("v110", "v110")
MOST_CHUNK_ROWS = 65_536
BLOCKS_WAITING = 3
# Wall time between checkpoints, and how many times as long as the last one took, whichever is more.
CHECKPOINT_S, CHECKPOINT_SHARE = 5.0, 20.0


class TraceWriter:
    """Writes a trace from a thread of its own, block by block. A context manager.

    Leaving the context early, Ctrl-C included, closes the file with all rows so far, `complete` = 0 and the reason.
    When writing fails (disk full), the next call raises TraceError and the file stays as of the last whole block.
    Checkpoints, once there is one, stay in the state file until the run ends.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        header: Header,
        rows_per_block: int,
        around: state_file.Surroundings | None = None,
    ) -> None:
        """Create the file, replacing any of that name, where a link leads to, and its folder; or open it, put back to a
        checkpoint.

        Args:
          rows_per_block: rows that most calls of `append` will bring; chunks of the file hold as many, or an even part.
          around: of the checkpoint to go on from; the header then is that of the file.

        Raises:
          TraceError: the file cannot be created or put back.
        """
        self._path = target_of(path)
        self._state_path = state_file.path_of(self._path)
        self._header = header
        self._healthy = True
        self._waiting: deque[Future[None]] = deque()
        self.network = network_filesystem(self._path)  # its kind; "" for a local disk
        try:
            self._file = self._created() if around is None else self._restored(around)
        except BlockingIOError as error:
            raise TraceError(f"cannot write {self._path}: another program writes it or holds it open") from error
        except OSError as error:
            raise TraceError(f"cannot create {self._path}: {cause(error)}") from error
        if around is None:
            lay_out(self._file, header, _chunk_rows(rows_per_block))
        # Held open: closing a dataset writes its chunks, and h5py swallows the error of a full disk there.
        self._data = {
            f"{group}/{name}": growing(data)
            for group in ("trace", "event", *(channel.axis for channel in watched(header)))
            for name, data in at(self._file, group).items()
        }
        self._rows = len(self._data["trace/time_s"])
        self._device_rows = max((len(self._data[f"{c.axis}/time_s"]) for c in watched(header)), default=0)
        if not self.network:
            self._file.swmr_mode = True  # which gives HDF5's lock up
            fcntl.flock(self._file.id.get_vfd_handle(), fcntl.LOCK_SH)  # readers share it, other writers do not
        self._due_s = 0.0
        self._stored = self._path.stat().st_size  # bytes that are on the disk or on their way to it
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="trace", initializer=give_way)

    def _created(self) -> h5py.File:
        file_at(self._path)
        if self._state_path.exists():  # of a run that was cut short or goes on
            must_be_idle(self._path)
        self._state_path.unlink(missing_ok=True)  # before the trace that it belongs to
        self._path.unlink(missing_ok=True)  # a program that has the old file open keeps it
        return h5py.File(self._path, "x", libver=FORMAT)

    def _restored(self, around: state_file.Surroundings) -> h5py.File:
        state_file.restore(self._path, around)
        file = h5py.File(self._path, "r+", libver=FORMAT)
        file.attrs.modify("resumed_utc", fixed_text(datetime.now(UTC).isoformat(), TIME_BYTES))
        file.flush()  # before the first row: a reader that had the file open must not take new rows for old ones
        return file

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if not self._file:
            return
        interrupted = isinstance(error, KeyboardInterrupt)
        reason = "interrupted" if interrupted else f"error: {error}" if error else "not finished"
        self._close({}, reason, complete=False)

    def append(self, first_tick: int, block: Mapping[str, np.ndarray], events: Sequence[Event]) -> None:
        """Hand over consecutive rows from `first_tick` on. Waits while several blocks are still to be written.

        Args:
          block: every channel as (rows, length of its axis); copied where it can be written to, so the caller may reuse
            the arrays.
          events: those within the rows.

        Raises:
          TraceError: an earlier block could not be written.
          ValueError: channels of different length.
        """
        arrays = {c.name: _own(block[c.name], self._header.dtype_of(c)) for c in present(self._header)}
        rows = len(next(iter(block.values())))
        uneven = [name for name, values in arrays.items() if len(values) != rows]
        arrays |= {c.name: _own(block[c.name], self._header.dtype_of(c)) for c in watched(self._header)}
        if uneven:
            raise ValueError(f"a block of {rows} rows, but not in {', '.join(uneven)}")
        self._hand_over(self._write, first_tick, rows, arrays, tuple(events))

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() >= self._due_s

    def keep(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint of the run after the rows appended so far. Raises as `append`."""
        self._due_s = math.inf
        self._hand_over(self._keep, checkpoint)

    def finish(self, metrics: Mapping[str, float], stop_reason: str, complete: bool) -> None:
        """Write what is still waiting and the summary, close the file and remove its checkpoint.

        Args:
          metrics: by the names of metrics.names.
          stop_reason: why the run ended; kept up to 256 bytes.
          complete: whether it got to its end.

        Raises:
          TraceError: something could not be written.
        """
        self._close(metrics, stop_reason, complete)
        self._state_path.unlink(missing_ok=True)

    def _close(self, metrics: Mapping[str, float], stop_reason: str, complete: bool) -> None:
        with self._failing_in_words():
            while self._waiting:
                self._waiting.popleft().result()
            self._pool.shutdown()
            for key, value in metrics.items():  # not by h5py's names and slices, at a tenth of the time
                number = h5py.h5d.open(self._file.id, f"metrics/{key}".encode())
                number.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array(value, np.float64))
            self._file.flush()  # values are on disk before their checksum is, and that before the file is complete
            if metrics:
                digest = fixed_text(checked.digest_of(metrics), checked.DIGEST_BYTES)
                self._file.attrs.modify(checked.METRICS, digest)
            reason = stop_reason.encode()[:STOP_REASON_BYTES].decode(errors="ignore")
            self._file.attrs.modify("stop_reason", fixed_text(reason, STOP_REASON_BYTES))
            self._file.attrs.modify("complete", np.int64(complete))
            self._file.flush()
            self._file.close()
            state_file.sync(self._path)

    def _hand_over(self, work: Callable[..., None], *arguments: object) -> None:
        """To the thread. Waits while several things are still to be done there."""
        with self._failing_in_words():
            while self._waiting and (self._waiting[0].done() or len(self._waiting) >= BLOCKS_WAITING):
                self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._in_turn, work, *arguments))

    def _in_turn(self, work: Callable[..., None], *arguments: object) -> None:
        if not self._healthy:  # a block after one that failed would leave a gap
            return
        self._healthy = False
        work(*arguments)
        self._healthy = True

    def _keep(self, checkpoint: Checkpoint) -> None:
        begun = time.monotonic()
        descriptor = self._file.id.get_vfd_handle()
        if not os.path.samestat(os.fstat(descriptor), self._path.stat()):
            raise OSError("another program has replaced it")  # and the state file is that one's
        os.fsync(descriptor)
        rows = [its.data for place, its in self._data.items() if its.data.chunks and not place.startswith("event/")]
        around = state_file.surroundings(self._path, rows)
        state_file.write(self._state_path, checkpoint, around)
        now = time.monotonic()
        self._due_s = now + max(CHECKPOINT_S, CHECKPOINT_SHARE * (now - begun))

    def _write(self, first_tick: int, rows: int, arrays: dict[str, np.ndarray], events: tuple[Event, ...]) -> None:
        for channel in present(self._header):
            write_rows(self._data[f"trace/{channel.name}"], self._rows, arrays[channel.name])
        self._write_watched(first_tick, arrays)
        self._write_events(events)
        self._file.flush()
        # A row counts once its time is there, so its values are on disk before its time is.
        write_rows(self._data["trace/time_s"], self._rows, row_times(self._header, first_tick, rows))
        self._file.flush()
        self._rows += rows
        self._stored = begin_to_store(self._file, self._stored)

    def _write_watched(self, first_tick: int, arrays: dict[str, np.ndarray]) -> None:
        rows = 0
        for channel in watched(self._header):
            values = arrays[channel.name]
            rows = len(values)
            write_rows(self._data[f"{channel.axis}/{dataset_of(channel)}"], self._device_rows, values)
            times = row_times(self._header, first_tick, rows, self._header.device_every_ticks)
            write_rows(self._data[f"{channel.axis}/time_s"], self._device_rows, times)
        self._device_rows += rows

    def _write_events(self, events: Sequence[Event]) -> None:
        if not events:
            return
        first = len(self._data["event/time_s"])
        for name in ("kind", "where"):
            its = self._data[f"event/{name}"]
            texts = [fixed_text(getattr(event, name), its.dtype.itemsize) for event in events]
            write_rows(its, first, np.array(texts, its.dtype))
        for name in ("value", "time_s"):
            write_rows(self._data[f"event/{name}"], first, np.array([getattr(event, name) for event in events]))

    @contextmanager
    def _failing_in_words(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:  # h5py reports a full disk as RuntimeError
            self._abandon()
            raise TraceError(f"cannot write {self._path}: {cause(error)}") from error

    def _abandon(self) -> None:
        """Close the file without another byte to it."""
        self._pool.shutdown()
        if self._file:
            drain(self._file)
            with suppress(RuntimeError):  # the null device has no length, of which HDF5 complains once
                self._file.close()
            self._file.close()


def read(path: str | os.PathLike[str], rows: slice | None = None, channels: Collection[str] | None = None) -> Trace:
    """Trace from a file, also from one that is being written or whose writer was killed.

    Args:
      rows: which rows, without a step; all of them if left out. Events are those within the rows.
      channels: names of those to read; all of them if left out. Others come without columns, as if nothing had them.

    Raises:
      TraceError: no file, or none that holds a trace.
    """
    if rows is not None and rows.step not in (None, 1):
        raise ValueError("rows are read without a step")

    def wanted(file: h5py.File) -> Trace:
        start, stop, _ = (rows or slice(None)).indices(_whole_rows(file))
        return _window(file, _header(file), start, max(start, stop), channels)

    return steadily(path, wanted)


def read_events(path: str | os.PathLike[str]) -> tuple[Event, ...]:
    """All events of a file, and nothing else of it; see `read` for what it raises."""
    return steadily(path, lambda file: _events(file, -np.inf, np.inf))


def open_rows(
    path: str | os.PathLike[str], block_rows: int, channels: Collection[str] | None = None
) -> Iterator[Trace]:
    """Successive windows of a file, each of `block_rows` rows or, at the end, what is left. `channels` as of `read`,
    which see for what it raises."""
    with opened(path) as file:
        header = _header(file)
        total = _whole_rows(file)
        for start in range(0, total, block_rows):
            yield _window(file, header, start, min(start + block_rows, total), channels)


def count_rows(path: str | os.PathLike[str]) -> int:
    """Rows that a file holds. Raises as `read`."""
    return steadily(path, _whole_rows)


def _own(values: np.ndarray, dtype: np.dtype[Any] | type) -> np.ndarray:
    """Values that nobody changes any more: a copy, but for read-only ones, as those from the device are."""
    return np.array(values, dtype, copy=True if values.flags.writeable else None)


def _chunk_rows(rows_per_block: int) -> int:
    """Rows of a chunk: an even part of a block, so that no chunk is written, hence compressed, twice."""
    parts = -(-rows_per_block // MOST_CHUNK_ROWS)
    return -(-rows_per_block // parts)


def _header(file: h5py.File) -> Header:
    if checked.HEADER in file:
        return checked.header_of(at(file, checked.HEADER)[:])
    # A file of an older program.
    fields: dict[str, Any] = {
        name: string(file.attrs[name]) if kind is str else kind(file.attrs[name]) for name, kind in ATTRIBUTES.items()
    }
    places = {axis: f"trace/{axis}" for axis in AXES} | {c.axis: f"{c.axis}/{c.axis}" for c in WATCHED}
    labels = {axis: tuple(at(file, name).asstr()[:]) if name in file else () for axis, name in places.items()}
    kv = tuple(at(file, "trace/site_nominal_kv")[:].tolist()) if labels["site"] else ()
    return Header(labels=labels, nominal_kv=kv, **fields)


def _whole_rows(file: h5py.File) -> int:
    """Rows that every channel has in full; a row without a time was being written when the writer died."""
    time_s = at(file, "trace/time_s")
    rows = min([len(time_s), *(len(at(file, f"trace/{c.name}")) for c in CHANNELS if f"trace/{c.axis}" in file)])
    return bisect_left(range(rows), True, key=lambda row: math.isnan(time_s[row]))


def _window(file: h5py.File, header: Header, start: int, stop: int, wanted: Collection[str] | None) -> Trace:
    time_s = at(file, "trace/time_s")[start:stop]
    values = {c.name: np.zeros((len(time_s), 0), header.dtype_of(c)) for c in CHANNELS}
    for channel in present(header):
        if wanted is None or channel.name in wanted:
            values[channel.name] = at(file, f"trace/{channel.name}")[start:stop]
    return Trace(
        header=header,
        time_s=time_s,
        **values,
        **_watched_window(file, header, start, stop, wanted),
        events=_events(file, time_s[0], time_s[-1] + header.row_s) if len(time_s) else (),
        metrics=_metrics(file),
        complete=bool(file.attrs["complete"]),
        stop_reason=string(file.attrs["stop_reason"]),
    )


def _metrics(file: h5py.File) -> dict[str, float]:
    group, names = at(file, "metrics"), []
    group.visit(names.append)  # also in groups, which a slash in the name of a place has made
    numbers = {name: group[name] for name in names if not isinstance(group[name], h5py.Group)}
    for name, number in numbers.items():
        if not isinstance(number, h5py.Dataset) or number.shape != () or number.dtype.kind not in "iuf":
            raise ValueError(f"metrics/{name} is not a number")
    return checked.checked_metrics(file, {name: float(number[()]) for name, number in numbers.items()})


def _watched_window(
    file: h5py.File, header: Header, start: int, stop: int, wanted: Collection[str] | None
) -> dict[str, np.ndarray]:
    """Devices and racks in the rows of the trace from start to stop; their rows may have another length."""
    first, end = (device_rows(header, row) for row in (start, stop))
    found = {c.name: np.zeros((0, 0), header.dtype_of(c)) for c in WATCHED} | {"device_time_s": np.zeros(0)}
    for channel in watched(header):
        if wanted is not None and channel.name not in wanted:
            continue
        data, time_s = at(file, f"{channel.axis}/{dataset_of(channel)}"), at(file, f"{channel.axis}/time_s")
        rows = slice(first, min(end, len(data), len(time_s)))
        found |= {channel.name: data[rows], "device_time_s": time_s[rows]}
    return found


def _events(file: h5py.File, from_s: float, to_s: float) -> tuple[Event, ...]:
    columns = [at(file, f"event/{name}") for name in ("time_s", "kind", "where", "value")]
    rows = min(len(data) for data in columns)
    texts = [data.asstr()[:rows] if data.dtype.kind == "S" else data[:rows].tolist() for data in columns]
    # An event without a kind was being written when the writer died.
    return tuple(Event(*row) for row in zip(*texts, strict=True) if row[1] and from_s <= row[0] < to_s)
