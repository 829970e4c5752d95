"""What a trace file holds before its first row: groups, datasets, scales, attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

from emulator import metrics as run_metrics
from emulator.trace import AXES, CHANNELS, WATCHED, Channel, Header
from emulator.traces import checked

# Each with a checksum: gzip brings its own, the others take HDF5's.
COMPRESSION: dict[str, dict[str, Any]] = {
    "gzip": {"compression": "gzip", "compression_opts": 1, "shuffle": True},
    "lzf": {"compression": "lzf", "shuffle": True, "fletcher32": True},
    "none": {"fletcher32": True},
}
MOST_CHUNK_BYTES = 2**22
EVENT_CHUNK_ROWS = 256
KIND_BYTES, STOP_REASON_BYTES, TIME_BYTES = 32, 256, 32


# Root attributes that are fields of the header, with the type that a reader gives them back.
ATTRIBUTES = {
    "schema_version": int, "emulator_version": str, "config": str, "seed": int, "dt_s": float, "frequency_hz": float,
    "platform": str, "created_utc": str, "every_ticks": int,
    "device_every_ticks": int, "double": bool, "compression": str,
}  # fmt: skip


def present(header: Header) -> list[Channel]:
    """Channels with at least one column: the others have no dataset."""
    return [channel for channel in CHANNELS if header.labels[channel.axis]]


def watched(header: Header) -> list[Channel]:
    """Likewise of devices and racks."""
    return [channel for channel in WATCHED if header.labels[channel.axis]]


def device_rows(header: Header, rows: int) -> int:
    """Rows of devices and racks that begin in the first `rows` rows of the trace."""
    return -(-rows * header.every_ticks // header.device_every_ticks)


def dataset_of(channel: Channel) -> str:
    """Name of a watched channel within its group: device_power_w is power_w of the group device."""
    return channel.name.removeprefix(f"{channel.axis}_")


def lay_out(file: h5py.File, header: Header, chunk_rows: int) -> None:
    """Everything that the file will hold, without rows."""
    for name in ATTRIBUTES:
        value = getattr(header, name)
        file.attrs[name] = int(value) if isinstance(value, bool) else value
    # These change at the end, under SWMR, which rules out strings of variable length.
    file.attrs["complete"] = np.int64(0)
    file.attrs["stop_reason"] = fixed_text("", STOP_REASON_BYTES)
    file.attrs["resumed_utc"] = fixed_text("", TIME_BYTES)
    file.attrs[checked.METRICS] = fixed_text("", checked.DIGEST_BYTES)
    text = file.create_dataset(checked.HEADER, data=checked.header_bytes(header), **COMPRESSION["gzip"])
    text.make_scale(checked.HEADER)  # of its own axis, which else would have no name
    _describe(text, "1", "attributes and labels once more, as JSON in UTF-8")
    packing = COMPRESSION[header.compression]

    trace = file.create_group("trace")
    time = _growing(trace, "time_s", "f8", (), chunk_rows, fillvalue=np.nan, **packing)
    time.make_scale("time_s")
    _describe(time, "s", "start of the row")
    scales = {axis: _labels(trace, axis, header.labels[axis]) for axis in AXES if header.labels[axis]}
    for channel in present(header):
        columns = [len(header.labels[channel.axis])]
        data = _growing(trace, channel.name, header.dtype_of(channel), columns, chunk_rows, **packing)
        _describe(data, channel.unit, channel.long_name)
        _lie_along(data, time, scales[channel.axis])
    for channel in watched(header):
        rows = device_rows(header, chunk_rows)
        _lay_out_watched(file.create_group(channel.axis), channel, header, rows, packing)
    if header.labels["site"]:
        kv = trace.create_dataset("site_nominal_kv", data=np.array(header.nominal_kv, np.float64))
        _describe(kv, "kV", "nominal voltage at the point of common coupling, NaN where there is none")
        _lie_along(kv, scales["site"])

    _lay_out_events(file.create_group("event"), header)
    metrics = file.create_group("metrics")
    for key in run_metrics.names(header):
        _describe(metrics.create_dataset(key, data=np.nan), run_metrics.unit_of(key), key.replace("_", " "))


def _lay_out_watched(
    group: h5py.Group, channel: Channel, header: Header, chunk_rows: int, packing: dict[str, Any]
) -> None:
    """Devices or racks one by one, with a time of their own."""
    time = _growing(group, "time_s", "f8", (), chunk_rows, fillvalue=np.nan, **packing)
    time.make_scale("time_s")
    _describe(time, "s", "start of the row")
    names = header.labels[channel.axis]
    data = _growing(group, dataset_of(channel), header.dtype_of(channel), [len(names)], chunk_rows, **packing)
    _describe(data, channel.unit, channel.long_name)
    _lie_along(data, time, _labels(group, channel.axis, names))


def _lay_out_events(event: h5py.Group, header: Header) -> None:
    where = text_type(["", *(label for labels in header.labels.values() for label in labels)])
    time = _growing(event, "time_s", "f8", (), EVENT_CHUNK_ROWS, **COMPRESSION["gzip"])
    time.make_scale("time_s")
    _describe(time, "s", "when")
    for name, dtype, long_name in (
        ("kind", h5py.string_dtype("ascii", KIND_BYTES), "what happened"),
        ("where", where, "site, job or area"),
        ("value", np.dtype("f8"), "how much, in the unit of the kind"),
    ):
        data = _growing(event, name, dtype, (), EVENT_CHUNK_ROWS, **COMPRESSION["gzip"])
        _describe(data, "1", long_name)
        _lie_along(data, time)
        if dtype.kind == "S":
            data.attrs["_Encoding"] = "utf-8"


def _growing(
    group: h5py.Group, name: str, dtype: Any, columns: Sequence[int], chunk_rows: int, **options: Any
) -> h5py.Dataset:
    """An empty dataset that grows along its first axis. columns: its width, empty where it has but one axis."""
    most_columns = max(1, MOST_CHUNK_BYTES // (chunk_rows * np.dtype(dtype).itemsize))
    chunks = (chunk_rows, *(min(n, most_columns) for n in columns))
    return group.create_dataset(name, (0, *columns), dtype, maxshape=(None, *columns), chunks=chunks, **options)


def _labels(trace: h5py.Group, axis: str, labels: Sequence[str]) -> h5py.Dataset:
    """The names along an axis."""
    scale = trace.create_dataset(axis, data=np.array([label.encode() for label in labels], text_type(labels)))
    scale.attrs["_Encoding"] = "utf-8"  # xarray then gives text, not bytes
    scale.make_scale(axis)
    _describe(scale, "1", f"names of the {axis} axis")
    return scale


def _lie_along(data: h5py.Dataset, *scales: h5py.Dataset) -> None:
    """Give each axis its scale, and the scale's name for a label."""
    for axis, scale in zip(data.dims, scales, strict=True):
        axis.attach_scale(scale)
        axis.label = str(scale.name).rsplit("/", 1)[-1]


def _describe(data: h5py.Dataset, unit: str, long_name: str) -> None:
    data.attrs["units"], data.attrs["long_name"] = unit, long_name


def text_type(texts: Sequence[str]) -> np.dtype[Any]:
    """Fixed-length strings for `texts`, marked UTF-8 only where one needs it: Octave cannot read those, nor strings of
    variable length."""
    charset = "ascii" if all(text.isascii() for text in texts) else "utf-8"
    return h5py.string_dtype(charset, max(1, *(len(text.encode()) for text in texts)))


def fixed_text(text: str, size: int) -> np.ndarray:
    """A fixed-length UTF-8 string of `size` bytes. ValueError where it does not fit."""
    raw = text.encode()
    if len(raw) > size:
        raise ValueError(f"{text!r} is longer than {size} bytes")
    return np.array(raw, h5py.string_dtype("utf-8", size))
