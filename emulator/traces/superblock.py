"""The first 48 bytes of an HDF5 file of our making, and a view of a file as if its writer had closed it.

A writer marks the superblock; HDF5 then opens the file only as a SWMR reader, which tries again what it cannot read:
for hours where the file is damaged, and there is no setting for it. So a marked file is read through `Closed`, without
marks, where what is damaged is an error at once.
Reference: HDF5 File Format Specification 3.0, sec. II.A (superblock version 3); Jenkins, lookup3.c, 2006 (checksum).
"""

from __future__ import annotations

import io
import os
from typing import Any

SIZE = 48
SIGNATURE = b"\x89HDF\r\n\x1a\n\x03\x08\x08"  # version 3, offsets and lengths of eight bytes
FLAGS, END_OF_FILE, CHECKSUM = 11, slice(28, 36), slice(44, 48)
OPEN_FOR_WRITING, OPEN_FOR_SWMR = 0x01, 0x04
WORD = 0xFFFFFFFF
FAR = 2**60


def is_marked(head: bytes) -> bool:
    """Whether a file that begins so is being written, or was when its writer died."""
    marked = OPEN_FOR_WRITING | OPEN_FOR_SWMR
    return len(head) == SIZE and head.startswith(SIGNATURE) and head[FLAGS] & marked != 0


def closed(head: bytes, size: int) -> bytes:
    """The superblock of the file closed at a length of `size` bytes."""
    new = bytearray(head)
    new[FLAGS] = 0
    new[END_OF_FILE] = size.to_bytes(8, "little")
    new[CHECKSUM] = lookup3(bytes(new[: CHECKSUM.start])).to_bytes(4, "little")
    return bytes(new)


class Closed(io.FileIO):
    """A file for h5py to read as if it were closed. It may grow meanwhile, so it seems to have no end."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._head = closed(super().read(SIZE), FAR)
        self._at_end = False

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file, but for the end."""
        self._at_end = whence == os.SEEK_END
        return FAR if self._at_end else super().seek(offset, whence)

    def tell(self) -> int:
        """Likewise."""
        return FAR if self._at_end else super().tell()

    def readinto(self, buffer: Any) -> int:
        """Fill the whole buffer, since HDF5 takes what it asked for as given: with zeros beyond the end, where it may
        look for more than there is. OSError where there is nothing at all."""
        view = memoryview(buffer).cast("B")
        start = self.tell()
        done = 0
        while more := super().readinto(view[done:]):
            done += more
        if view and not done:
            raise OSError(f"is cut off before byte {start}")
        view[done:] = bytes(len(view) - done)
        if start < SIZE:
            known = self._head[start : start + len(view)]
            view[: len(known)] = known
        return len(view)


def lookup3(data: bytes) -> int:
    """Bob Jenkins' hash of at least one byte, from 0, by which HDF5 checks its metadata."""
    a = b = c = (0xDEADBEEF + len(data)) & WORD
    words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
    words += [0] * (-len(words) % 3)
    for i in range(0, len(words) - 3, 3):
        a, b, c = (x + y & WORD for x, y in zip((a, b, c), words[i : i + 3], strict=True))
        for turns in ((4, 6, 8), (16, 19, 4)):
            a, c = (a - c & WORD) ^ _rotated(c, turns[0]), c + b & WORD
            b, a = (b - a & WORD) ^ _rotated(a, turns[1]), a + c & WORD
            c, b = (c - b & WORD) ^ _rotated(b, turns[2]), b + a & WORD
    a, b, c = (x + y & WORD for x, y in zip((a, b, c), words[-3:], strict=True))
    c = (c ^ b) - _rotated(b, 14) & WORD
    a = (a ^ c) - _rotated(c, 11) & WORD
    b = (b ^ a) - _rotated(a, 25) & WORD
    c = (c ^ b) - _rotated(b, 16) & WORD
    a = (a ^ c) - _rotated(c, 4) & WORD
    b = (b ^ a) - _rotated(a, 14) & WORD
    return (c ^ b) - _rotated(b, 24) & WORD


def _rotated(x: int, by: int) -> int:
    return (x << by | x >> 32 - by) & WORD
