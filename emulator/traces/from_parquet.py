"""Samples from Apache Parquet. Needs the extra `parquet`."""

from __future__ import annotations

from typing import Any

import numpy as np

from emulator.traces.samples import RecordError, Samples, find
from emulator.units import counted

TICKS_PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # of moments and durations


def read(path: str, time_column: str, power_column: str) -> Samples:
    """Two columns of a Parquet file: numbers, or moments as times. Checksums of pages are verified if there are any.

    Raises:
      RecordError: pyarrow is not installed; no Parquet file, or a damaged one; no such column; columns of other types.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise RecordError("Parquet needs pyarrow: pip install 'wattswing[parquet]'") from error
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            at = [find(names, time_column, "time_column"), find(names, power_column, "power_column")]
            units = [
                (file.schema_arrow.field(i).metadata or {}).get(b"units", b"").decode(errors="replace") for i in at
            ]
            table = file.read(columns=[time_column, power_column])
            time_s = _values(table.column(time_column), time_column, "time_column")
            power = _values(table.column(power_column), power_column, "power_column")
    except RecordError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    return Samples(time_s, power, np.arange(1, len(time_s) + 1), "row", *units)


def _values(column: Any, name: str, key: str) -> np.ndarray:
    """(rows,) float64: numbers, or moments in s from the first on; NaN for null."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64()).to_numpy()
    if key == "time_column" and (pa.types.is_timestamp(kind) or pa.types.is_duration(kind)):
        if column.null_count:
            raise RecordError(f"{name} lacks {counted(column.null_count, 'moment')}", key)
        ticks = column.cast(pa.int64()).to_numpy()
        return (ticks - ticks[:1]) / TICKS_PER_S[kind.unit]
    raise RecordError(f"{name} holds {kind}, must be numbers", key)
