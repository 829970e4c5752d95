"""What a sweep found, as HDF5: one row a scenario. `xarray.open_dataset(FILE, group="sweep")` opens it.

Columns are the seed, the values by their dotted path, and every metric that the scenarios have in common or NaN where
one lacks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import emulator
from emulator.metrics import unit_of
from emulator.sweep import Result
from emulator.trace import SCHEMA_VERSION
from emulator.traces.filesystem import whole
from emulator.traces.hdf5_layout import text_type
from emulator.tunables import unit_at


def write(path: Path, results: Sequence[Result], config: str) -> None:
    """Write a file in one step at the end. `config`: of the batch, TOML.

    Raises:
      TraceError: the file cannot be written.
    """
    with whole(path) as part, h5py.File(part, "w", libver=("v110", "v110")) as file:
        _fill(file, results, config)


def _fill(file: h5py.File, results: Sequence[Result], config: str) -> None:
    file.attrs["schema_version"] = SCHEMA_VERSION
    file.attrs["emulator_version"] = emulator.__version__
    file.attrs["created_utc"] = datetime.now(UTC).isoformat(timespec="seconds")
    file.attrs["config"] = config
    group = file.create_group("sweep")
    scale = group.create_dataset("scenario", data=np.arange(len(results)))
    scale.make_scale("scenario")

    def column(name: str, values: list[Any], unit: str, long_name: str) -> None:
        texts = any(isinstance(value, str) for value in values)
        data = group.create_dataset(name, data=_texts(values) if texts else np.array(values))
        data.attrs["units"], data.attrs["long_name"] = unit, long_name
        if texts:
            data.attrs["_Encoding"] = "utf-8"
        data.dims[0].attach_scale(scale)

    column("seed", [result.case.seed for result in results], "1", "root of the draws")
    for name in results[0].case.values:
        unit = unit_at(results[0].case.scenario, name)
        column(name, [_plain(result.case.values[name]) for result in results], unit, f"value of {name}")
    column("complete", [int(result.complete) for result in results], "1", "1 where the run came to its end")
    column("stop_reason", [result.stop_reason for result in results], "1", "why it ended")
    for name in dict.fromkeys(name for result in results for name in result.metrics):
        values = [result.metrics.get(name, np.nan) for result in results]
        column(name, values, unit_of(name), name.replace("_", " "))


def _plain(value: Any) -> Any:
    """A number as it is, anything else as text."""
    return value if isinstance(value, int | float) else str(value)


def _texts(values: list[Any]) -> np.ndarray:
    texts = [str(value) for value in values]
    return np.array([text.encode() for text in texts], text_type(texts))
