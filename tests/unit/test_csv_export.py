"""CSV: the very numbers of the trace, merged honestly, written whole or not at all."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emulator.trace import CHANNELS, TraceError
from emulator.traces import columns as columns_module
from emulator.traces import csv as export
from emulator.traces.columns import columns_of

from .synthetic import ONE_SITE, TWO_SITES, block, write


def columns(path: Path) -> dict[str, list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    return dict(zip(head, map(list, zip(*rows, strict=True)), strict=True))


@pytest.fixture
def rows():
    """2,500 rows, with values that plain decimals of six digits would not bring back."""
    made = block(TWO_SITES, 2500)
    made["site_pcc_power_mw"][:4, 0] = [np.nan, 1e-30, 1 / 3, 16777217.0]
    return made


@pytest.fixture
def trace(tmp_path, rows):
    return write(tmp_path / "t.h5", TWO_SITES, rows)


def test_numbers_come_back_exactly(tmp_path, trace, rows):
    export.write(columns_of(trace), tmp_path / "t.csv")
    found = columns(tmp_path / "t.csv")
    assert list(map(float, found.pop("time_s"))) == [i / 1000 for i in range(2500)]
    for channel in CHANNELS:
        for i, label in enumerate(TWO_SITES.labels[channel.axis]):
            values = np.array(found.pop(f"{channel.name}[{label}]"), TWO_SITES.dtype_of(channel))
            assert np.array_equal(values, rows[channel.name][:, i], equal_nan=True), channel.name
    assert not found


def test_numbers_are_short(tmp_path):
    rows = block(ONE_SITE, 2)
    rows["site_pcc_power_mw"][:, 0] = [0.1, 100.25]
    export.write(columns_of(write(tmp_path / "t.h5", ONE_SITE, rows), ["site_pcc_power_mw"]), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "time_s,site_pcc_power_mw[campus]\n0.0,0.1\n0.001,100.25\n"


def test_channels_are_chosen_in_order(tmp_path, trace):
    export.write(columns_of(trace, ["tie_power_mw", "bess_soc"]), tmp_path / "t.csv")
    assert list(columns(tmp_path / "t.csv")) == ["time_s", "tie_power_mw[w-e]", "bess_soc[west]", "bess_soc[öst]"]


def test_labels_with_commas_are_quoted(tmp_path):
    header = replace(ONE_SITE, labels={**ONE_SITE.labels, "site": ("a,b",)})
    export.write(columns_of(write(tmp_path / "t.h5", header, block(header, 3)), ["bess_soc"]), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().startswith('time_s,"bess_soc[a,b]"\n')
    assert list(columns(tmp_path / "t.csv")) == ["time_s", "bess_soc[a,b]"]


def test_a_trace_without_rows_is_a_head(tmp_path):
    path = write(tmp_path / "t.h5", ONE_SITE, block(ONE_SITE, 0))
    export.write(columns_of(path, ["bess_soc"]), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "time_s,bess_soc[campus]\n"


@pytest.mark.parametrize(
    ("channels", "every", "words"),
    [
        (["site_pcc_power"], 1, "no channel site_pcc_power; nearest is site_pcc_power_mw; all: .*bess_soc"),
        (["tie_power_mw"], 1, "tie_power_mw has no columns in this trace; it has .*bess_soc"),
        (None, 0, "every 0"),
    ],
)
def test_wrong_wishes_are_refused_in_words(tmp_path, channels, every, words):
    path = write(tmp_path / "t.h5", ONE_SITE, block(ONE_SITE, 3))
    with pytest.raises(TraceError, match=words):
        export.write(columns_of(path, channels, every), tmp_path / "t.csv")
    assert not (tmp_path / "t.csv").exists()


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, trace, monkeypatch):
    honest = columns_module.open_rows

    def fails_half_way(path, block_rows, channels):
        yield next(honest(path, block_rows, channels))
        raise TraceError("damaged")

    (tmp_path / "t.csv").write_text("old\n")
    monkeypatch.setattr(columns_module, "open_rows", fails_half_way)
    with pytest.raises(TraceError, match="damaged"):
        export.write(columns_of(trace), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "old\n"
    assert {path.name for path in tmp_path.iterdir()} == {"t.h5", "t.csv"}


def test_a_place_that_cannot_be_written_is_said(tmp_path, trace):
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(TraceError, match="cannot write .*t.csv"):
        export.write(columns_of(trace), tmp_path / "t.csv")
