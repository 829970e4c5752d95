"""Parquet: the very numbers of the trace, read back by pandas, with units and the run's own words."""

from __future__ import annotations

import sys

import numpy as np
import pandas
import pyarrow.parquet as pq
import pytest

from emulator.trace import CHANNELS, TraceError
from emulator.traces import csv, parquet
from emulator.traces.columns import columns_of

from .synthetic import TWO_SITES, block, write


@pytest.fixture
def rows():
    made = block(TWO_SITES, 2500)
    made["site_pcc_power_mw"][:4, 0] = [np.nan, 1e-30, 1 / 3, 16777217.0]
    return made


@pytest.fixture
def trace(tmp_path, rows):
    return write(tmp_path / "t.h5", TWO_SITES, rows)


def test_numbers_come_back_exactly(tmp_path, trace, rows, monkeypatch):
    monkeypatch.setattr(parquet, "ROWS_AT_ONCE", 700)  # several row groups
    parquet.write(columns_of(trace), tmp_path / "t.parquet")
    found = pandas.read_parquet(tmp_path / "t.parquet")
    assert found.pop("time_s").tolist() == [i / 1000 for i in range(2500)]
    for channel in CHANNELS:
        for i, label in enumerate(TWO_SITES.labels[channel.axis]):
            values = found.pop(f"{channel.name}[{label}]").to_numpy()
            assert values.dtype == TWO_SITES.dtype_of(channel)
            assert np.array_equal(values, rows[channel.name][:, i], equal_nan=True), channel.name
    assert not len(found.columns)


def test_what_the_trace_says_of_itself_survives(tmp_path, trace):
    parquet.write(columns_of(trace, ["site_pcc_power_mw", "bess_soc"]), tmp_path / "t.parquet")
    schema = pq.read_schema(tmp_path / "t.parquet")
    assert schema.metadata[b"config"].decode() == TWO_SITES.config and schema.metadata[b"seed"] == b"7"
    column = schema.field("bess_soc[öst]")
    assert column.metadata[b"units"] == b"1" and b"state of charge" in column.metadata[b"long_name"]


def test_merged_rows_are_those_of_csv(tmp_path, trace):
    parquet.write(columns_of(trace, ["site_pcc_power_mw", "tie_power_mw"], every=7), tmp_path / "t.parquet")
    csv.write(columns_of(trace, ["site_pcc_power_mw", "tie_power_mw"], every=7), tmp_path / "t.csv")
    text = pandas.read_csv(tmp_path / "t.csv", dtype=np.float32)
    np.testing.assert_array_equal(pandas.read_parquet(tmp_path / "t.parquet").astype(np.float32), text)


def test_nothing_half_is_left(tmp_path, trace, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(TraceError, match="cannot write .*t.parquet: No space left on device"):
        parquet.write(columns_of(trace), tmp_path / "t.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["t.h5"]


def test_without_pyarrow_it_says_how_to_get_it(tmp_path, trace, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(TraceError, match=r"pip install 'wattswing\[parquet\]'"):
        parquet.write(columns_of(trace), tmp_path / "t.parquet")
