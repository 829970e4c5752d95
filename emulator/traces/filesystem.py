"""Where a path leads, whether it can be written, and how it appears whole; which file system it lies on: HDF5's readers
beside a writer (SWMR) need writes that others see in order.

Reference: The HDF Group, "Introduction to SWMR": not over NFS, SMB and the like.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from emulator.trace import TraceError

NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "afs")
MOUNTS = Path("/proc/mounts")


def target_of(path: str | os.PathLike[str]) -> Path:
    """Where what is written to a path goes: through symbolic links to their file, there or not yet."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)


def file_at(path: str | os.PathLike[str]) -> Path:
    """The file to make anew at a path, in a folder that is there then.

    Raises:
      TraceError: a pipe or a device is there.
      OSError: a folder is, or what else the system says.
    """
    target = target_of(path)
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if _takes_a_stream(Path(path)):
        raise TraceError(f"cannot write {path}: is a pipe or a device, must be a file")
    Path(os.path.realpath(target.parent)).mkdir(parents=True, exist_ok=True)  # also where a link leads to none yet
    return target


def must_be_writable(path: Path) -> None:
    """For who emulates long before writing.

    Raises:
      TraceError: the file cannot be written.
    """
    try:
        part = Path(f"{file_at(path)}.tmp")
        part.touch()
        part.unlink()
    except OSError as error:
        raise TraceError(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def whole(path_out: str | os.PathLike[str]) -> Iterator[Path]:
    """A path to write to; what is there in the end takes the wanted name, what an error leaves is removed.

    Raises:
      TraceError: it cannot be written.
    """
    part: Path | None = None
    try:
        if _takes_a_stream(Path(path_out)):
            yield Path(path_out)
            return
        target = file_at(path_out)
        part = Path(f"{target}.tmp")
        yield part
        os.replace(part, target)
    except BrokenPipeError:  # its reader has enough
        raise
    except (OSError, RuntimeError) as error:  # h5py reports a full disk as either, in many words
        cause = re.search(r"error message = '([^']*)'", str(error))
        said = cause[1] if cause else getattr(error, "strerror", None) or error
        raise TraceError(f"cannot write {path_out}: {said}") from error
    finally:
        if part is not None:
            with suppress(OSError):  # where it could not be made either
                part.unlink()


def _takes_a_stream(path: Path) -> bool:
    """Whether a path is a pipe, a device, or an output that is open already, as /dev/stdout: nothing takes its name."""
    by = [path, path.parent / os.readlink(path)] if path.is_symlink() else [path]
    is_open = any(os.path.realpath(its.parent).startswith("/proc/") for its in by)
    return path.exists() and (is_open or not (path.is_file() or path.is_dir()))


def network_filesystem(path: Path) -> str:
    """Kind of the network file system that a file lies, or would lie, on; "" for a local one. Only Linux tells."""
    if not MOUNTS.is_file():
        return ""
    kind = _kind_of(Path(os.path.realpath(path)), MOUNTS.read_text())
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
