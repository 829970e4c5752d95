"""A trace's header and summary, so that a damaged byte in them shows.

HDF5 has checksums for its structures, and gzip one for rows. It has none for text of variable length, which attributes
are, and reads damaged ones for ever; nor for single numbers. So the header is there once more, as JSON in a packed
dataset, which readers here take, and the summary has a checksum.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import h5py
import numpy as np

from emulator.trace import Header

HEADER, METRICS = "header", "metrics_sha256"
DIGEST_BYTES = 64


def header_bytes(header: Header) -> np.ndarray:
    """(bytes,) uint8 of a header."""
    return np.frombuffer(json.dumps(asdict(header)).encode(), np.uint8)


def header_of(packed: np.ndarray) -> Header:
    """The header that the bytes hold."""
    fields: dict[str, Any] = json.loads(packed.tobytes())
    labels = {axis: tuple(names) for axis, names in fields.pop("labels").items()}
    return Header(labels=labels, nominal_kv=tuple(fields.pop("nominal_kv")), **fields)


def digest_of(metrics: Mapping[str, float]) -> str:
    """SHA-256 of a summary."""
    found = hashlib.sha256()
    for name in sorted(metrics):
        found.update(f"{name}=".encode() + np.float64(metrics[name]).tobytes())
    return found.hexdigest()


def checked_metrics(file: h5py.File, metrics: Mapping[str, float]) -> dict[str, float]:
    """A summary as it is if it agrees with its checksum, NaN before there is one; files of older programs have none.
    ValueError where it does not agree."""
    if METRICS not in file.attrs:
        return dict(metrics)
    if not file.attrs[METRICS]:
        return dict.fromkeys(metrics, np.nan)
    if file.attrs[METRICS] != digest_of(metrics).encode():
        raise ValueError(f"the metrics do not agree with {METRICS}")
    return dict(metrics)
