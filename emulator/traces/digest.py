"""Checksums of what a trace file holds outside its compressed chunks and HDF5's checked structures: the labels and the
attributes, which are strings of variable length, and the metrics. A damaged byte there would change them unnoticed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

HEADER, METRICS = "header_sha256", "metrics_sha256"
BYTES = 64
CHANGING = (HEADER, METRICS, "complete", "stop_reason")  # short ones of fixed length, which HDF5 checks


def of_header(file: h5py.File) -> str:
    """Of the root's attributes and all labels of a file that is laid out."""
    found = hashlib.sha256()
    for name in sorted(set(file.attrs) - set(CHANGING)):
        found.update(f"{name}={file.attrs[name]}\n".encode())
    for group in ("trace", "device", "rack"):
        for name, data in _fixed(file, group):
            found.update(f"{group}/{name}=".encode() + data[()].tobytes())
    return found.hexdigest()


def _fixed(file: h5py.File, group: str) -> list[tuple[str, Any]]:
    """Datasets of a group that do not grow, by name."""
    there: Any = file.get(group, {})
    return [(name, there[name]) for name in sorted(there) if there[name].maxshape[:1] != (None,)]


def of_metrics(metrics: Mapping[str, float]) -> str:
    """Of the summary."""
    found = hashlib.sha256()
    for name in sorted(metrics):
        found.update(f"{name}=".encode() + np.float64(metrics[name]).tobytes())
    return found.hexdigest()


def check(file: h5py.File, name: str, found: str) -> None:
    """Compare a checksum with that in the file, where there is one: older files have none, nor has a summary before
    its end. ValueError where they differ."""
    kept = file.attrs.get(name, b"")
    if kept and kept != found.encode():
        raise ValueError(f"its contents do not agree with {name}")
