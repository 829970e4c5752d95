"""A trace as Apache Parquet: a column of times, then one column per channel and place, with units.

Needs the package `pyarrow`: the extra `parquet`.
"""

from __future__ import annotations

import os

from emulator.trace import TraceError
from emulator.traces.columns import Columns
from emulator.traces.filesystem import whole

ROWS_AT_ONCE = 131_072  # of a row group
ATTRIBUTES = ("config", "seed", "dt_s", "frequency_hz", "emulator_version", "schema_version", "created_utc", "platform")


def write(columns: Columns, path_out: str | os.PathLike[str]) -> None:
    """Write columns to a Parquet file, values as they are, pages with checksums. The file's metadata hold what the
    trace says of its run, each column's its `units` and `long_name`.

    Raises:
      TraceError: pyarrow is not installed; and as `csv.write`.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise TraceError("Parquet needs pyarrow: pip install 'wattswing[parquet]'") from error
    fields = [pa.field("time_s", pa.float64(), metadata={"units": "s", "long_name": "start of the row"})]
    for (pick, _), name in zip(columns.labelled, columns.names, strict=True):
        kind = pa.from_numpy_dtype(columns.header.dtype_of(pick.channel))
        fields.append(pa.field(name, kind, metadata={"units": pick.unit, "long_name": pick.channel.long_name}))
    about = {name: str(getattr(columns.header, name)) for name in ATTRIBUTES}
    schema = pa.schema(fields, metadata=about)
    # Bytes of a float side by side with those of its neighbours: half the size that dictionaries come to.
    packing = {"compression": "zstd", "use_dictionary": False, "use_byte_stream_split": True}
    with (
        whole(path_out) as part,
        pq.ParquetWriter(part, schema, write_page_checksum=True, **packing) as file,
    ):
        for time_s, values in columns.blocks(ROWS_AT_ONCE):
            file.write_table(pa.table([time_s, *values], schema=schema))
