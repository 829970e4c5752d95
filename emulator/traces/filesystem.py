"""Whether a path can be written, and which file system it lies on: HDF5's readers beside a writer (SWMR) need writes
that others see in order.

Reference: The HDF Group, "Introduction to SWMR": not over NFS, SMB and the like.
"""

from __future__ import annotations

import re
from pathlib import Path

from emulator.trace import TraceError

NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "afs")
MOUNTS = Path("/proc/mounts")


def must_be_writable(path: Path) -> None:
    """For who emulates long before writing.

    Raises:
      TraceError: the file cannot be written.
    """
    part = Path(f"{path}.tmp")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        part.unlink()
    except OSError as error:
        raise TraceError(f"cannot write {path}: {error.strerror}") from error


def network_filesystem(path: Path) -> str:
    """Kind of the network file system that a file lies, or would lie, on; "" for a local one. Only Linux tells."""
    if not MOUNTS.is_file():
        return ""
    kind = _kind_of(path.resolve(), MOUNTS.read_text())
    return kind if kind in NETWORK else ""


def _kind_of(path: Path, mounts: str) -> str:
    """By a table of mounts as in proc(5): the innermost above the path, of several at one place the last."""
    innermost, found = -1, ""
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split(" ")
        place = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), point))
        if path.is_relative_to(place) and len(place.parts) >= innermost:
            innermost, found = len(place.parts), kind
    return found
