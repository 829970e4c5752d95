"""FILE.h5.state: a checkpoint beside a trace that is being written, and how to put the trace back to that moment.

Behind a checkpoint a trace only grows: chunks with rows are written once and never move. What may change are the other
bytes, HDF5's own structures and the events; the state file keeps a copy of them. So a trace is put back by writing
these bytes and cutting the rest off, whatever a kill, a full disk or a power cut has left of the structures, and as
often as one likes. The file is a SHA-256 and a NumPy .npz; it appears in one move, once the trace is on the disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from emulator.carry import Checkpoint
from emulator.trace import TraceError
from emulator.traces import superblock
from emulator.traces.filesystem import target_of

DIGEST_BYTES = 32
MADE_WITH, CARRIED, TRACE = "made_with", "carried/", "trace/"


@dataclass(frozen=True)
class Surroundings:
    """Bytes of a trace file between and around its chunks of rows."""

    size: int  # of the file
    data_end: int  # end of the last chunk
    offset: np.ndarray  # (stretches,) where each begins
    length: np.ndarray  # (stretches,) bytes
    content: np.ndarray  # all of them, one after another


def path_of(trace: Path) -> Path:
    """The state file of a trace: beside the file itself, whatever links lead there."""
    return Path(f"{target_of(trace)}.state")


def surroundings(path: Path, rows: Iterable[h5py.Dataset]) -> Surroundings:
    """Of a file that is flushed; `rows` are the datasets whose chunks are written once."""
    chunks: list[tuple[int, int]] = []
    for data in rows:
        data.id.chunk_iter(lambda chunk: chunks.append((chunk.byte_offset, chunk.size)))
    chunks.sort()
    size = path.stat().st_size
    starts = np.array([0, *(offset + length for offset, length in chunks)], np.int64)
    lengths = np.array([*(offset for offset, _ in chunks), size], np.int64) - starts
    with path.open("rb") as file:
        content = [_bytes_at(file, start, length) for start, length in zip(starts, lengths, strict=True) if length > 0]
    there = lengths > 0
    whole = np.frombuffer(b"".join(content), np.uint8)
    return Surroundings(size, int(starts[-1]), starts[there], lengths[there], whole)


def _bytes_at(file: io.BufferedReader, start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


def write(path: Path, checkpoint: Checkpoint, around: Surroundings) -> None:
    """Put the state file in its place in one move, safe from a power cut. OSError where that fails."""
    arrays = {MADE_WITH: np.array(json.dumps(checkpoint.made_with))}
    arrays |= {CARRIED + place: value for place, value in checkpoint.arrays.items()}
    arrays |= {TRACE + name: np.asarray(value) for name, value in vars(around).items()}
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **arrays)
    part = Path(f"{path}.tmp")
    try:
        with part.open("wb") as file:
            file.write(hashlib.sha256(packed.getbuffer()).digest())
            file.write(packed.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    sync(path.parent)


def read(path: Path) -> tuple[Checkpoint, Surroundings]:
    """What a state file holds.

    Raises:
      TraceError: there is none, or it is damaged.
    """
    try:
        whole = path.read_bytes()
    except FileNotFoundError as error:
        raise TraceError(f"{path}: no such file, so there is nothing to resume; start anew without --resume") from error
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from error
    digest, packed = whole[:DIGEST_BYTES], whole[DIGEST_BYTES:]
    if hashlib.sha256(packed).digest() != digest:
        raise TraceError(f"{path}: damaged: its contents do not agree with their checksum")
    with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive}
    carried = {name.removeprefix(CARRIED): value for name, value in arrays.items() if name.startswith(CARRIED)}
    around = {name.removeprefix(TRACE): value for name, value in arrays.items() if name.startswith(TRACE)}
    around |= {name: int(around[name]) for name in ("size", "data_end")}
    return Checkpoint(json.loads(str(arrays[MADE_WITH])), carried), Surroundings(**around)


def restore(path: Path, around: Surroundings) -> None:
    """Put a trace back to the moment of a checkpoint, closed.

    Raises:
      TraceError: the trace has lost rows that it held then.
      OSError: it cannot be written; BlockingIOError where another program writes it or holds it open.
    """
    size = path.stat().st_size
    if size < around.data_end:
        raise TraceError(
            f"{path}: holds {size} bytes, but held {around.data_end} bytes of rows at its last checkpoint: it was cut "
            "since then, and cannot be resumed"
        )
    stretches = np.split(around.content, np.cumsum(around.length)[:-1])
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for offset, stretch in zip(around.offset.tolist(), stretches, strict=True):
            file.seek(offset)
            file.write(stretch.tobytes())
        file.truncate(around.size)
        file.seek(0)
        file.write(superblock.closed(around.content[: superblock.SIZE].tobytes(), around.size))
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
