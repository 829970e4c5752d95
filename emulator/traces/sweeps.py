"""What a sweep found, as HDF5: one row a scenario. `xarray.open_dataset(FILE, group="sweep")` opens it.

Columns are the seed, the values by their dotted path, every metric that the scenarios have in common or NaN where one
lacks it, and of each clause of the limits, where there were some, what was measured and how it was judged.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

import emulator
from emulator.limits import Assessment
from emulator.metrics import unit_of
from emulator.recording import printable
from emulator.sweep_report import room, share, tightest
from emulator.trace import SCHEMA_VERSION, TraceError
from emulator.traces.filesystem import whole
from emulator.traces.hdf5_layout import text_type
from emulator.traces.opening import DAMAGE, at, cause, string
from emulator.tunables import unit_at

if TYPE_CHECKING:
    from emulator.sweep import Result

VERDICTS = {True: "pass", False: "fail", None: "not assessable"}


@dataclass(frozen=True)
class Swept:
    """What a sweep's file holds."""

    config: Mapping[str, Any]  # of the batch
    values: tuple[str, ...]  # columns of swept values; the last one varies fastest
    columns: Mapping[str, np.ndarray]  # (scenarios,), texts as objects
    units: Mapping[str, str]


def is_sweep(path: Path) -> bool:
    """Whether a file is HDF5 with a sweep in it."""
    if not (path.is_file() and h5py.is_hdf5(path)):
        return False
    with suppress(*DAMAGE), h5py.File(path, "r", locking=False) as file:
        return "sweep" in file
    return False


def read(path: Path) -> Swept:
    """What was written.

    Raises:
      TraceError: the file is damaged, or of a newer schema version.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            version = file.attrs["schema_version"]
            if version != SCHEMA_VERSION:
                raise TraceError(f"{path}: sweep of schema version {version}; this program reads {SCHEMA_VERSION}")
            group, config = at(file, "sweep"), tomllib.loads(string(file.attrs["config"]))
            data = {name: group[name] for name in group if name != "scenario"}
            columns = {name: its.asstr()[:] if its.dtype.kind == "S" else its[:] for name, its in data.items()}
            units = {name: string(its.attrs["units"]) for name, its in data.items()}
    except DAMAGE as error:
        raise TraceError(f"{path}: cannot be read as a sweep: {cause(error)}") from error
    return Swept(config, tuple(config["sweep"].get("values", ())), columns, units)


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
    judged = [result.assessment for result in results if result.assessment]
    for name, values, unit, long_name in _judged(judged) if judged else ():
        column(name, values, unit, long_name)


def _judged(judged: Sequence[Assessment]) -> Iterator[tuple[str, list[Any], str, str]]:
    """Name, values, unit and long name of each column that limits make."""
    least = [tightest(assessment) for assessment in judged]
    yield "verdict", [assessment.verdict for assessment in judged], "1", "of all clauses"
    shares = [share(its) if its else np.nan for its in least]
    yield "least_margin_share", shares, "1", "least margin over what its clause allows"
    yield "least_margin_clause", [printable(its.name) if its else "" for its in least], "1", "clause with that margin"
    for name, findings in zip(_names(judged[0]), zip(*(its.limits for its in judged), strict=True), strict=True):
        clause, unit = printable(findings[0].name), findings[0].unit
        yield f"limit.{name}.verdict", [VERDICTS[its.passed] for its in findings], "1", clause
        yield f"limit.{name}.margin", [room(its) for its in findings], unit, f"room left: {clause}"
        yield f"limit.{name}.measured", [its.measured for its in findings], unit, f"measured: {clause}"
        yield f"limit.{name}.allowed", [its.allowed for its in findings], unit, f"allowed: {clause}"


def _names(assessment: Assessment) -> list[str]:
    """Of the clauses, each once and without a slash, which in HDF5 would make a group."""
    found: list[str] = []
    for finding in assessment.limits:
        name = printable(finding.name).replace("/", "|")
        names = itertools.chain([name], (f"{name} ({number})" for number in itertools.count(2)))
        found.append(next(its for its in names if its not in found))
    return found


def _plain(value: Any) -> Any:
    """A number as it is, anything else as text."""
    return value if isinstance(value, int | float) else str(value)


def _texts(values: list[Any]) -> np.ndarray:
    texts = [str(value) for value in values]
    return np.array([text.encode() for text in texts], text_type(texts))
