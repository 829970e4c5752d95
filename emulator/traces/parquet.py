"""A trace as Apache Parquet: a column of times, then one column per channel and place, with units.

Needs the package `pyarrow`: the extra `parquet`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from emulator.trace import TraceError
from emulator.traces.columns import columns_of, whole

ROWS_AT_ONCE = 131_072  # of a row group
ATTRIBUTES = ("config", "seed", "dt_s", "frequency_hz", "emulator_version", "schema_version", "created_utc", "platform")


def write(
    path_in: str | os.PathLike[str],
    path_out: str | os.PathLike[str],
    channels: Sequence[str] | None = None,
    every: int = 1,
) -> None:
    """Write an HDF5 trace to a Parquet file, values as they are. The file's metadata hold what the trace says of its
    run, each column's its `units` and `long_name`.

    Args and errors: see `columns.columns_of` and `columns.whole`.

    Raises:
      TraceError: besides those, pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise TraceError("Parquet needs pyarrow: pip install 'wattswing[parquet]'") from error
    columns = columns_of(path_in, channels, every)
    fields = [pa.field("time_s", pa.float64(), metadata={"units": "s", "long_name": "start of the row"})]
    for (channel, _), name in zip(columns.labelled, columns.names, strict=True):
        kind = pa.from_numpy_dtype(columns.header.dtype_of(channel))
        fields.append(pa.field(name, kind, metadata={"units": channel.unit, "long_name": channel.long_name}))
    about = {name: str(getattr(columns.header, name)) for name in ATTRIBUTES}
    schema = pa.schema(fields, metadata=about)
    # Bytes of a float side by side with those of its neighbours: half the size that dictionaries come to.
    with (
        whole(path_out) as part,
        pq.ParquetWriter(part, schema, compression="zstd", use_dictionary=False, use_byte_stream_split=True) as file,
    ):
        for time_s, values in columns.blocks(ROWS_AT_ONCE):
            file.write_table(pa.table([time_s, *values], schema=schema))
