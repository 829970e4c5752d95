"""Recorded powers from files of other tools: read right, or refused in words, damaged files too."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulator import record, recording
from emulator.cli import main
from emulator.record import RecordError
from emulator.trace import TraceError
from emulator.traces import comtrade, csv, matlab, netcdf, parquet
from emulator.traces.columns import columns_of

from .synthetic import ONE_SITE, block, write

SAMPLES = 60
COLUMN = "site_pcc_power_mw[campus]"
KINDS = ("csv", "parquet", "h5", "cfg-BINARY", "cfg-ASCII")


@pytest.fixture(scope="module")
def power() -> np.ndarray:
    return block(ONE_SITE, SAMPLES)["site_pcc_power_mw"][:, 0].astype(float)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """One recording in every format that is read, most of them by our own exports."""
    folder = tmp_path_factory.mktemp("records")
    trace = write(folder / "t.h5", ONE_SITE, block(ONE_SITE, SAMPLES))
    columns = columns_of(trace, ["site_pcc_power_mw"])
    csv.write(columns, folder / "t.csv")
    parquet.write(columns, folder / "t.parquet")
    found = {"csv": folder / "t.csv", "parquet": folder / "t.parquet", "h5": trace}
    for kind in ("BINARY", "ASCII"):
        found[f"cfg-{kind}"] = folder / f"{kind}.cfg"
        comtrade.write(columns, folder / f"{kind}.cfg", kind=kind)
    return found


def names(kind: str) -> tuple[str, str]:
    """Columns of time and power."""
    if kind == "h5":
        return "trace/time_s", f"trace/{COLUMN}"
    return ("t_s" if kind.startswith("cfg") else "time_s"), COLUMN


def allowed(power: np.ndarray, kind: str) -> float:
    """In MW: half of COMTRADE's step; the decimals of a float32, read as those of a float64; products with 1e6."""
    steps = {"cfg-BINARY": 131_068, "cfg-ASCII": 399_992}
    rounding = power.max() * (2.0**-24 if kind == "csv" else 2.0**-51)
    return rounding + (np.ptp(power) / steps[kind] if kind in steps else 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same(files, power, kind):
    time_s, power_w = record.read(str(files[kind]), *names(kind), "mw")
    np.testing.assert_allclose(time_s, np.arange(SAMPLES) / 1000, atol=1e-15)
    assert np.abs(power_w / 1e6 - power).max() <= allowed(power, kind)


def test_a_replayed_job_and_limits_read_alike(files, scenario, power):
    """The keys of a replayed job, for a file that is not CSV; a missing channel is refused with the config's line."""
    from emulator.complaint import ConfigError

    text = f"""
        [run]
        duration_s = 0.06
        [[site]]
        name = "a"
        [[site.job]]
        name = "r"
        kind = "replay"
        path = "{files["parquet"]}"
        time_column = "time_s"
        power_column = "{COLUMN}"
    """
    (job,) = scenario(text).site[0].job
    found = recording.of_file(job.path, job.time_column, job.power_column, "mw")
    np.testing.assert_allclose(found.values["power"][COLUMN], power, rtol=1e-15)
    assert found.even and found.row_s == pytest.approx(0.001) and not found.caution
    with pytest.raises(
        ConfigError, match=r"scenario.toml:11: site.0.job.0.power_column: .* nearest: site_pcc_power_mw"
    ):
        scenario(text.replace("mw[campus]", "mw[campsu]"))
    with pytest.raises(ConfigError, match=r"--set: site.0.job.0.unit: .*site_pcc.* is in MW there, not in kw"):
        scenario(text, "site.0.job.0.unit='kw'")


@pytest.mark.parametrize("ending", ["h5", "hdf5"])
def test_what_is_not_hdf5_is_said(tmp_path, ending):
    path = tmp_path / f"r.{ending}"
    path.write_text("t_s,p_mw\n0,1\n1,2\n")
    with pytest.raises(RecordError, match=rf"r\.{ending} is not HDF5, whatever its ending says: .* --csv"):
        record.read(str(path), "t_s", "p_mw", "mw")


def foreign(path: Path, **data: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in data.items():
            file[name.replace("__", "/")] = values
    return path


def test_hdf5_of_others(tmp_path):
    """Groups, tables with and without labels, integers; and what is unclear is refused with what there is."""
    table = np.arange(12).reshape(4, 3)
    path = str(foreign(tmp_path / "o.h5", log__t=[0, 1, 2, 3], log__kw=table, one=table[:, :1], short=[1, 2]))
    for name, values in (("log/kw[2]", table[:, 2]), ("log/kw[0]", table[:, 0]), ("one", table[:, 0])):
        time_s, power_w = record.read(path, "log/t", name, "kw")
        assert time_s.tolist() == [0, 1, 2, 3] and power_w.tolist() == (values * 1e3).tolist()
    for name, says in (
        ("log/kw", r"a table of 3 columns: say which, as in log/kw\[0\]"),
        ("log/kW", "no column 'log/kW'; nearest: log/kw"),
        ("log/kw[3]", r"no column 'log/kw\[3\]'; nearest: log/kw"),
        ("short", "log/t has 4 values, short 2"),
        ("log", "no column 'log'"),
    ):
        with pytest.raises(RecordError, match=says):
            record.read(path, "log/t", name, "kw")


def test_hdf5_that_was_never_written_is_refused(tmp_path):
    """HDF5 itself gives zeros for both."""
    with h5py.File(tmp_path / "h.h5", "w") as file:
        file["t"] = np.arange(1000.0)
        data = file.create_dataset("p", (1000,), "f8", chunks=(100,))
        data[:300] = 1.0
        file.create_dataset("q", (1000,), "f8")
    for name, says in (("p", "only 3 of 10 chunks came to be written"), ("q", "does not hold the 8,000 bytes")):
        with pytest.raises(RecordError, match=says):
            record.read(str(tmp_path / "h.h5"), "t", name, "mw")


def test_a_heap_without_end_is_refused(tmp_path):
    """HDF5 itself reads on for ever in it, and Ctrl-C does not stop it: so a process with a time limit looks."""
    path = foreign(tmp_path / "h.h5", t=np.arange(10.0), p=np.ones(10))
    with h5py.File(path, "r+") as file:
        file["p"].attrs["units"] = "MW"  # text of variable length lies in such a heap
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    content[heap + 16 : heap + 128] = bytes(112)
    path.write_bytes(content)
    code = "import sys; from emulator import record; record.read(sys.argv[1], 't', 'p', 'mw')"
    reading = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60)
    assert f"h.h5 is damaged: a heap of HDF5's, at byte {heap}, has lost a length" in reading.stderr


def test_netcdf_and_matlab_73_are_hdf5(tmp_path, files, power):
    columns = columns_of(files["h5"], ["site_pcc_power_mw"])
    netcdf.write(columns, tmp_path / "nc.h5")
    time_s, power_w = record.read(str(tmp_path / "nc.h5"), "time_s", COLUMN, "mw")
    np.testing.assert_allclose(power_w / 1e6, power, rtol=1e-15)
    matlab.write(columns, tmp_path / "mat.h5", "7.3")
    with pytest.raises(RecordError, match=r"time_s is a table of 60 columns: say which"):
        record.read(str(tmp_path / "mat.h5"), "time_s", COLUMN, "mw")


def test_parquet_of_others(tmp_path):
    """Moments with a zone, decimals, integers; nulls and texts are refused."""
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    frame = pandas.DataFrame(
        {
            "when": [start + datetime.timedelta(milliseconds=20 * i) for i in range(4)],
            "watt": [1, 2, 3, 4],
            "gap": [1.0, None, 3.0, 4.0],
            "text": list("abcd"),
        }
    )
    path = str(tmp_path / "o.parquet")
    frame.to_parquet(path)
    time_s, power_w = record.read(path, "when", "watt", "w")
    assert time_s.tolist() == [0.0, 0.02, 0.04, 0.06] and power_w.tolist() == [1.0, 2.0, 3.0, 4.0]
    for columns, says in (
        (("when", "gap"), "row 2: gap is nan, must be a finite number"),
        (("when", "text"), "text holds .*string, must be numbers"),
        (("when", "when"), "when holds timestamp.*, must be numbers"),
        (("when", "wat"), "no column 'wat'; nearest: watt"),
    ):
        with pytest.raises(RecordError, match=says):
            record.read(path, *columns, "w")


@pytest.mark.parametrize(
    ("time_unit", "power_unit", "unit", "says"),
    [
        ("s", "kW", "kw", None),
        ("seconds since 2026-01-01", "pu", "mw", None),
        ("s", "kW", "mw", "p is in kW there, not in mw"),
        ("s", "mW", "mw", "p is in mW there, not in mw"),
        ("s", "Hz", "mw", "p is in Hz there, not in mw"),
        ("ms", "MW", "mw", "t is in ms there, must be in s"),
    ],
)
def test_a_unit_that_the_file_states_is_heeded(tmp_path, time_unit, power_unit, unit, says):
    fields = [
        pa.field(name, pa.float64(), metadata={"units": text}) for name, text in (("t", time_unit), ("p", power_unit))
    ]
    path = tmp_path / "u.parquet"
    pq.write_table(pa.table([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]], schema=pa.schema(fields)), path)
    if says is None:
        assert record.read(str(path), "t", "p", unit)[1].tolist() == [record.WATTS[unit] * k for k in (1, 2, 3)]
    else:
        with pytest.raises(RecordError, match=says):
            record.read(str(path), "t", "p", unit)


CFG = """a,b,1999
2,1A,1D
1,feeder,,,{unit},0.5,10,0,-32767,32767,{primary},{secondary},{pors}
1,trip,,,0
50
{rates}
01/01/2026,00:00:00.000000
01/01/2026,00:00:00.000000
ASCII
{mult}
"""


def hand_made(folder: Path, rows: str, **keys: str) -> str:
    keys = {"unit": "kW", "primary": "1", "secondary": "1", "pors": "P", "rates": "0\n0,4", "mult": "1"} | keys
    (folder / "r.cfg").write_text(CFG.format(**keys))
    (folder / "r.dat").write_text(rows)
    return str(folder / "r.cfg")


FOUR = "1,0,0,0\n2,20000,2,0\n3,50000,4,1\n4,90000,6,1\n"


def test_comtrade_by_time_stamps(tmp_path):
    """No sample rate: stamps in 1e-6 s, here doubled; uneven. A status channel beside it. 0.5 x + 10."""
    time_s, power_w = record.read(hand_made(tmp_path, FOUR, mult="2"), "t_s", "feeder", "kw")
    np.testing.assert_allclose(time_s, [0.0, 0.04, 0.1, 0.18], rtol=1e-14)
    assert power_w.tolist() == [10e3, 11e3, 12e3, 13e3]


def test_comtrade_of_two_rates_and_secondary_values(tmp_path):
    keys = {"rates": "2\n100,2\n50,4", "primary": "600", "secondary": "3", "pors": "S"}
    time_s, power_w = record.read(hand_made(tmp_path, FOUR, **keys), "t_s", "feeder", "kw")
    np.testing.assert_allclose(time_s, [0.0, 0.01, 0.03, 0.05], rtol=1e-14)
    assert power_w.tolist() == [2e6, 2.2e6, 2.4e6, 2.6e6]


@pytest.mark.parametrize(
    ("rows", "keys", "columns", "says"),
    [
        (FOUR[:-12], {}, ("t_s", "feeder"), "r.dat holds 3, the configuration says 4 samples"),
        (FOUR + FOUR, {}, ("t_s", "feeder"), "r.dat holds 8, the configuration says 4 samples"),
        (FOUR[:-1], {}, ("t_s", "feeder"), "r.dat: the last line does not end"),
        (FOUR.replace("4,1", "99999,1"), {}, ("t_s", "feeder"), "sample 3: feeder is nan, must be a finite number"),
        (FOUR, {"unit": "kV"}, ("t_s", "feeder"), "feeder is in kV there"),
        (FOUR, {"pors": "S", "secondary": "0"}, ("t_s", "feeder"), "no ratio to primary"),
        (
            FOUR,
            {"rates": "0\n0,999999999999"},
            ("t_s", "feeder"),
            "holds 4, the configuration says 999,999,999,999 samples",
        ),
        (FOUR, {}, ("t_s", "feder"), "no column 'feder'; nearest: feeder"),
        (FOUR, {}, ("time_s", "feeder"), "the time of a COMTRADE file is called 't_s'"),
    ],
)
def test_what_comtrade_lacks_is_said(tmp_path, rows, keys, columns, says):
    with pytest.raises(RecordError, match=says):
        record.read(hand_made(tmp_path, rows, **keys), *columns, "kw")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("t_s,p_mw\n0,1\n1,22,3\n3,4\n", "line 3 has 3 fields, the first line 2"),
        ("t_s,p_mw\n0,1\n1\n3,4\n", "line 3 has 1 field,"),
        ("t_s;p_mw\n0;1,5\n1;2\n", "columns are parted by ';'; wanted: commas, and decimal points"),
        ("t_s,p_mw\n0,1\n2026-01-01 00:00:01,2\n", "line 3: t_s is '2026-01-01 00:00:01', must be a number of seconds"),
        ("t_s,p_mw\n0,1\n1,2_0\n", "line 3: p_mw is '2_0', must be a number"),
        ("t_s,p_mw,p_mw\n0,1,2\n1,2,2\n", "2 columns of the file are called 'p_mw'"),
        ('t_s,p_mw\n0,1\n"1,2\n2,3\n3,4\n', "is no CSV text"),
        ("\x00\x01\x02", "no column"),
    ],
)
def test_csv_that_is_not_whole(tmp_path, text, says):
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(RecordError, match=says):
        record.read(str(tmp_path / "l.csv"), "t_s", "p_mw", "mw")


def test_csv_whose_last_line_does_not_end(tmp_path):
    """Taken, as many programs write them, and flagged: nobody sees whether it was cut off."""
    path = tmp_path / "l.csv"
    for text, flagged in (("t_s,p_mw\r\n0,1\r\n1,25", True), ("t_s,p_mw\n0,1\n1,25\n", False)):
        path.write_bytes(text.encode())
        assert record.read(str(path), "t_s", "p_mw", "w")[1].tolist() == [1.0, 25.0]
        words = f"{path}: the last line does not end: if the file was cut off there, its last value is wrong"
        assert record.caution(str(path)) == (words if flagged else "")
        assert recording.of_file(path, "t_s", "p_mw", "w").caution == (words if flagged else "")


def test_times_too_uneven_to_judge(tmp_path):
    """Five samples would be a thousand even rows."""
    path = tmp_path / "l.csv"
    path.write_text("t_s,p_mw\n0,1\n1e-6,2\n1e-3,2\n2,2\n1000,1\n")
    with pytest.raises(TraceError, match="times are too uneven to judge: .* apart in the median; resample the file"):
        recording.of_file(path, "t_s", "p_mw", "mw")


def test_the_ending_tells_the_format(tmp_path):
    (tmp_path / "l.TXT").write_text("t_s,p_mw\n0,1\n1,2\n")
    assert record.read(str(tmp_path / "l.TXT"), "t_s", "p_mw", "w")[1].tolist() == [1.0, 2.0]
    with pytest.raises(RecordError, match=r"l.xlsx: the ending tells the format; known are .csv, .txt, .parquet"):
        record.read(str(tmp_path / "l.xlsx"), "t_s", "p_mw", "w")
    with pytest.raises(RecordError, match=r"cannot be read: No such file"):
        record.read(str(tmp_path / "none.cfg"), "t_s", "p_mw", "w")
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(RecordError, match=r"cannot be read: Is a directory"):
        record.read(str(tmp_path / "d.csv"), "t_s", "p_mw", "w")


@pytest.mark.parametrize(("kind", "module"), [("parquet", "pyarrow"), ("cfg-BINARY", "comtrade")])
def test_without_a_library_it_says_how_to_get_it(files, monkeypatch, kind, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RecordError, match=r"pip install 'wattswing\["):
        record.read(str(files[kind]), *names(kind), "mw")


def test_a_meter_that_repeats_is_flagged_and_judged_by_its_refresh(tmp_path):
    """Polled every 20 ms, new every 100 ms: what a clause within 0.5 s needs, it has not."""
    from emulator import limits
    from emulator.limits_schema import load

    rng = np.random.default_rng(0)
    values = 50 + rng.normal(size=400).repeat(5)
    (tmp_path / "n.csv").write_text("t_s,p_mw\n" + "".join(f"{0.02 * i:.2f},{p:.4f}\n" for i, p in enumerate(values)))
    found = recording.of_file(tmp_path / "n.csv", "t_s", "p_mw", "mw")
    assert found.row_s == pytest.approx(0.02) and found.resolution_s == pytest.approx(0.1)
    assert "values change only every 0.1 s (80% repeat the one before)" in found.caution
    (tmp_path / "limits.toml").write_text(
        '[[limit]]\nname = "a"\nkind = "sliding_window_change"\nwindow_s = 0.5\nmax_mw = 900.0\n'
        'source = "x"\nstatus = "draft"\n'
    )
    (judged,) = limits.assess(found, load(tmp_path / "limits.toml")).limits
    assert judged.passed is None and "rows of 0.1 s hide what happens within 0.5 s" in judged.reason


def test_limits_judge_a_recording_of_any_kind(files, tmp_path, capsys):
    """By the file's ending; an .h5 file is a trace unless a power column is named."""
    (tmp_path / "limits.toml").write_text(
        '[[limit]]\nname = "a"\nkind = "dynamic_range"\nmax_mw = 1.0\nsource = "x"\nstatus = "draft"\n'
    )
    said = []
    for kind in KINDS:
        time_column, power_column = names(kind)
        args = ["--time-column", time_column, "--power-column", power_column, "--limits", str(tmp_path / "limits.toml")]
        assert main(["assess", str(files[kind]), *args, "--json"]) == 3
        said.append(json.loads(capsys.readouterr().out)["limits"][0])
    assert main(["assess", str(files["h5"]), "--limits", str(tmp_path / "limits.toml"), "--json"]) == 3
    said.append(json.loads(capsys.readouterr().out)["limits"][0])
    assert [found["where"] for found in said] == [names(kind)[1] for kind in KINDS] + ["campus"]
    assert np.ptp([found["measured"] for found in said]) < 1e-3  # COMTRADE's steps of its range, 60 MW / 65,534


def refused_or(path: Path, kind: str) -> tuple[np.ndarray, np.ndarray] | None:
    """What a damaged file gives: None where it is refused in words."""
    try:
        time_s, power_w = record.read(str(path), *names(kind), "mw")
    except RecordError as error:
        assert str(error) and "\n" not in str(error)
        return None
    assert np.isfinite(time_s).all() and np.isfinite(power_w).all() and (np.diff(time_s) > 0).all()
    return time_s, power_w / 1e6


@contextmanager
def spoiled(path: Path, data: bytes) -> Iterator[None]:
    before = path.read_bytes()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(before)


def drawn_file(data: st.DataObject, path: Path, kind: str) -> Path:
    """Of COMTRADE the configuration or the samples."""
    return path.with_suffix(".dat") if kind.startswith("cfg") and data.draw(st.booleans()) else path


FUZZ = settings(
    max_examples=110, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@FUZZ
@given(data=st.data())
def test_truncated_files(files, power, kind, data):
    """Cut off anywhere: refused, or the samples up to there, none of them another one."""
    path = drawn_file(data, files[kind], kind)
    whole = path.read_bytes()
    with spoiled(path, whole[: data.draw(st.integers(0, len(whole) - 1))]):
        if (found := refused_or(files[kind], kind)) is not None:
            time_s, values = found
            assert len(values) <= len(power)
            if record.caution(str(files[kind])):  # flagged: the last one may have lost digits
                time_s, values = time_s[:-1], values[:-1]
            assert np.abs(values - power[: len(values)]).max() <= allowed(power, kind)
            np.testing.assert_allclose(time_s, np.arange(len(time_s)) / 1000, atol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
@FUZZ
@given(data=st.data())
def test_corrupted_files(files, power, kind, data):
    """A few bytes changed anywhere. Our Parquet and HDF5 hold checksums: refused, or every value as it was. CSV and
    the samples of COMTRADE hold none: no more samples change than bytes did, nor intervals than twice that. The scale
    that a COMTRADE configuration gives is believed."""
    path = drawn_file(data, files[kind], kind)
    whole = bytearray(path.read_bytes())
    changes = data.draw(st.integers(1, 4))
    for _ in range(changes):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with spoiled(path, bytes(whole)):
        found = refused_or(files[kind], kind)
    if found is None or path.suffix == ".cfg":
        return
    time_s, values = found
    assert len(values) == len(power)
    most = 0 if kind in ("parquet", "h5") else changes
    assert (np.abs(values - power) > allowed(power, kind)).sum() <= most
    assert (np.abs(np.diff(time_s) - 1e-3) > 1e-12).sum() <= 2 * most
