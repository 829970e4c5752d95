"""Every export, read back by a program or library that is not ours, with the error that its format allows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import comtrade as reader
import h5py
import mat73
import netCDF4
import numpy as np
import opendssdirect
import pandas
import pytest
import scipy.io
import xarray
from comtrade_io.parser.comtrade_file import ComtradeFile

import emulator as em
from emulator.cli import main
from emulator.commands.export import FORMATS
from emulator.trace import TraceError
from emulator.traces import andes, comtrade, gridlabd, hdf5_filling, matlab, netcdf, opendss, powerfactory, pscad, psse
from emulator.traces.columns import columns_of

from .synthetic import ONE_SITE, TWO_SITES, block, write

ROWS = 500
HEADER = replace(TWO_SITES, labels={**TWO_SITES.labels, "site": ("west", "east")})  # COMTRADE 1999 is ASCII
POWERS = ["site_pcc_power_mw", "site_pcc_reactive_mvar"]


@pytest.fixture(scope="module")
def rows() -> dict[str, np.ndarray]:
    made = block(HEADER, ROWS)
    made["site_pcc_power_mw"][7, 0] = -1e-3
    made["site_connected_fraction"][:] = 1.0  # a constant column has no range to scale by
    return made


@pytest.fixture(scope="module")
def trace(tmp_path_factory, rows) -> Path:
    return write(tmp_path_factory.mktemp("exports") / "t.h5", HEADER, rows)


@pytest.fixture(params=[400, 131_072], ids=["blocks", "whole"])
def at_once(request, monkeypatch):
    """In several blocks and in one: a place between blocks must not show."""
    for module in (comtrade, hdf5_filling, matlab, opendss):
        monkeypatch.setattr(module, "ROWS_AT_ONCE", request.param)


def assert_equal(found: Mapping[str, np.ndarray], rows: Mapping[str, np.ndarray]) -> None:
    """Every channel bit for bit, in its own type."""
    for name, values in rows.items():
        if name in ("device_power_w", "rack_power_kw"):
            continue
        np.testing.assert_array_equal(np.asarray(found[name]).reshape(values.shape), values, err_msg=name)
        assert np.asarray(found[name]).dtype == values.dtype


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_netcdf_by_xarray(tmp_path, trace, rows, at_once, engine):
    netcdf.write(columns_of(trace, every=1), tmp_path / "t.nc")
    with xarray.open_dataset(tmp_path / "t.nc", engine=engine) as found:
        assert_equal({str(name): values.values for name, values in found.data_vars.items()}, rows)
        assert found.time_s.values.tolist() == [i / 1000 for i in range(ROWS)]
        assert found.site.values.tolist() == ["west", "east"] and found.job.values.tolist() == list(
            HEADER.labels["job"]
        )
        assert (
            found.site_pcc_power_mw.attrs["units"] == "MW"
            and "drawn from the grid" in found.site_pcc_power_mw.long_name
        )
        assert found.attrs["config"] == HEADER.config and int(found.attrs["seed"]) == 7


def test_netcdf_of_some_places(tmp_path, trace, rows):
    netcdf.write(columns_of(trace, ["bess_soc[east]", "job_power_mw"], unit="kw"), tmp_path / "t.nc")
    with netCDF4.Dataset(tmp_path / "t.nc") as found:
        assert (
            found["bess_soc"].dimensions == ("time_s", "site_of_bess_soc") and found.dimensions["time_s"].isunlimited()
        )
        assert found["site_of_bess_soc"][:].tolist() == ["east"] and found["job_power_kw"].units == "kW"
        np.testing.assert_array_equal(found["bess_soc"][:, 0], rows["bess_soc"][:, 1])


def test_mat_73_by_mat73(tmp_path, trace, rows, at_once):
    matlab.write(columns_of(trace), tmp_path / "t.mat", "7.3")
    found = mat73.loadmat(str(tmp_path / "t.mat"))
    assert_equal(found, rows)
    assert found["time_s"].tolist() == [i / 1000 for i in range(ROWS)]
    assert found["about"]["config"] == HEADER.config and found["about"]["seed"] == 7
    places = found["job_power_mw_places"]  # a matrix of characters, which this reader strings up column by column
    assert [places[i::3].rstrip() for i in range(3)] == list(HEADER.labels["job"])
    head = (tmp_path / "t.mat").read_bytes()[:128]
    assert head.startswith(b"MATLAB 7.3 MAT-file") and head[124:] == b"\x00\x02IM"
    with h5py.File(tmp_path / "t.mat") as file:
        about = file["about"]
        assert {b"".join(name).decode() for name in about.attrs["MATLAB_fields"]} == set(about)


@pytest.mark.parametrize(("write", "start"), [(partial(matlab.write, version="7.3"), 512), (netcdf.write, 0)])
def test_hdf5_files_for_others_are_of_the_format_of_hdf5_1_8(tmp_path, trace, write, start):
    """MATLAB's `load` refuses the superblock of 1.10 (version 3); what MATLAB writes itself has version 0."""
    write(columns_of(trace), tmp_path / "t")
    superblock = (tmp_path / "t").read_bytes()[start:]
    assert superblock[:8] == b"\x89HDF\r\n\x1a\n" and superblock[8] == 0


def test_mat_5_by_scipy(tmp_path, trace, rows, at_once):
    matlab.write(columns_of(trace), tmp_path / "t.mat")
    found = scipy.io.loadmat(tmp_path / "t.mat")
    assert_equal(found, rows)
    assert [text.rstrip() for text in found["job_power_mw_places"]] == list(HEADER.labels["job"])
    assert found["about"]["config"][0, 0][0] == HEADER.config


def test_why_a_mat_file_cannot_be_written_is_said(trace):
    with pytest.raises(TraceError, match="cannot write /proc/t.mat: No such file or directory"):
        matlab.write(columns_of(trace), Path("/proc/t.mat"))


@pytest.mark.skipif(shutil.which("octave") is None, reason="Octave is a large program that few machines have")
@pytest.mark.parametrize("version", ["5", "7.3"])
def test_mat_by_octave(tmp_path, trace, rows, version):
    matlab.write(columns_of(trace, POWERS), tmp_path / "t.mat", version)
    code = "a = load('t.mat'); printf('%.9g ', a.site_pcc_power_mw'); printf('\\n%s', a.site_pcc_power_mw_places');"
    done = subprocess.run(
        ["octave", "--no-gui", "-q", "--eval", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    numbers, _, places = done.stdout.partition("\n")
    np.testing.assert_array_equal(np.float32(numbers.split()), rows["site_pcc_power_mw"].ravel())
    assert places == "westeast"


def test_mat_5_ends_in_words(tmp_path, trace, monkeypatch):
    monkeypatch.setattr(matlab, "MOST_BYTES_5", 1000)
    with pytest.raises(TraceError, match="too much for a MATLAB 5 file: use mat73, fewer channels or every N"):
        matlab.write(columns_of(trace), tmp_path / "t.mat")
    assert not list(tmp_path.iterdir())


COMTRADES = [(1999, "ASCII"), (1999, "BINARY"), (2013, "ASCII"), (2013, "BINARY"), (2013, "FLOAT32")]


def allowed(values: np.ndarray, kind: str) -> float:
    """Half a step of the column's range, and the rounding of a x + b in float64; of FLOAT32 its own rounding."""
    if kind == "FLOAT32":
        return np.abs(values).max() * 2.0**-24
    steps = {"ASCII": 2 * 99_998, "BINARY": 2 * 32_767}[kind]
    return 0.5 * np.ptp(values.astype(float)) / steps + 4 * np.abs(values).max() * 2.0**-53


@pytest.mark.parametrize(("revision", "kind"), COMTRADES)
def test_comtrade_by_comtrade(tmp_path, trace, rows, at_once, revision, kind):
    channels = ["site_pcc_power_mw", "site_connected_fraction", "area_frequency_hz"]
    comtrade.write(columns_of(trace, channels, offset_s=90.5), tmp_path / "t.cfg", revision, kind)
    found = reader.load(str(tmp_path / "t.cfg"), use_numpy_arrays=True, use_double_precision=True)
    assert (found.rev_year, found.ft, found.frequency, found.total_samples) == (str(revision), kind, 60.0, ROWS)
    np.testing.assert_allclose(found.time, np.arange(ROWS) / 1000, atol=1e-12)
    assert str(found.start_timestamp) == "2000-01-01 00:01:30.500000"
    expected = {f"{name}[{label}]": rows[name][:, i] for name in channels for i, label in
                enumerate(HEADER.labels["area" if "area" in name else "site"])}  # fmt: skip
    assert found.analog_channel_ids == list(expected)
    for values, name in zip(found.analog, expected, strict=True):
        assert np.abs(values - expected[name]).max() <= allowed(expected[name], kind), name
    assert [c.uu for c in found.cfg.analog_channels] == ["MW", "MW", "1", "1", "Hz", "Hz"]
    assert "config: [run]" in (tmp_path / "t.hdr").read_text()


@pytest.mark.parametrize(("revision", "kind"), COMTRADES[:-1])
def test_comtrade_by_comtrade_io(tmp_path, trace, rows, revision, kind):
    """But for FLOAT32, whose numbers release 0.3.0 of that reader takes for integers."""
    comtrade.write(columns_of(trace, ["site_pcc_power_mw"]), tmp_path / "t.cfg", revision, kind)
    found = ComtradeFile.from_file(str(tmp_path / "t.cfg"))
    assert found.sampling.segments[0].samp == 1000
    for i, expected in enumerate(rows["site_pcc_power_mw"].T):
        values = found.get_data().to_numpy()[:, 2 + i]
        assert np.abs(values - expected).max() <= allowed(expected, kind)


def test_comtrade_marks_what_is_no_number(tmp_path, rows):
    made = {**rows, "bess_soc": rows["bess_soc"].copy()}
    made["bess_soc"][:, 0], made["bess_soc"][3, 1] = np.nan, np.nan
    columns = columns_of(write(tmp_path / "t.h5", HEADER, made), ["bess_soc"])
    for revision, kind in COMTRADES:
        comtrade.write(columns, tmp_path / "t.cfg", revision, kind)
        west, east = reader.load(str(tmp_path / "t.cfg"), use_numpy_arrays=True, use_double_precision=True).analog
        assert np.isnan(west).all() and np.flatnonzero(np.isnan(east)).tolist() == [3]


def test_comtrade_times_of_an_hour_stay_below_2_31(tmp_path, trace):
    """4,000 s in rows of 8 s and a day in rows of 172.8 s, by the stamps in the file."""
    for row_s, timemult, unit_s in ((8.0, 10, 1e-5), (172.8, 100, 1e-4)):
        header = replace(HEADER, dt_s=row_s)
        path = write(tmp_path / "t.h5", header, block(header, ROWS))
        comtrade.write(columns_of(path, ["bess_soc"]), tmp_path / "t.cfg")
        assert (tmp_path / "t.cfg").read_text().splitlines()[-1] == str(timemult)
        found = np.frombuffer((tmp_path / "t.dat").read_bytes(), [("n", "<u4"), ("t", "<u4"), ("x", "<i2", (2,))])
        assert found["n"].tolist() == list(range(1, ROWS + 1))
        np.testing.assert_allclose(found["t"] * unit_s, np.arange(ROWS) * row_s, atol=0.5 * unit_s)


def labelled(**labels):
    return replace(HEADER, labels={**HEADER.labels, **labels})


@pytest.mark.parametrize(
    ("header", "revision", "out", "says"),
    [
        (labelled(site=("a,b", "c")), 2013, "t.cfg", r"bess_soc\[a,b\] has a comma"),
        (labelled(site=("ä", "c")), 1999, "t.cfg", "1999 is ASCII text; the revision of 2013 takes any letter"),
        (labelled(site=("a" * 60, "c")), 1999, "t.cfg", "takes names of at most 64 characters"),
        (labelled(site=tuple(f"s{i}" for i in range(33))), 1999, "t.cfg", "33 columns; playback units take 32"),
        (HEADER, 1999, "t.dat", "configuration ends in .cfg"),
    ],
)  # fmt: skip
def test_what_comtrade_cannot_hold_is_refused(tmp_path, header, revision, out, says):
    header = replace(header, nominal_kv=(1.0,) * len(header.labels["site"]))
    columns = columns_of(write(tmp_path / "t.h5", header, block(header, 3)), ["bess_soc"])
    with pytest.raises(TraceError, match=says):
        comtrade.write(columns, tmp_path / out, revision)
    assert [path.name for path in tmp_path.iterdir()] == ["t.h5"]


def test_opendss_draws_what_the_trace_says(tmp_path, trace, rows, at_once):
    """In the program itself: a load that follows the shape at a bus without impedance. Its answer is good to 1e-6."""
    opendss.write(columns_of(trace, POWERS, unit="kw"), tmp_path / "t.dss")
    say = opendssdirect.Text.Command
    say("clear")
    say("new circuit.c basekv=12.47 pu=1 phases=3 bus1=source mvasc3=1e9 mvasc1=1e9")
    say(f"redirect {tmp_path / 't.dss'}")
    say("new load.l bus1=source phases=3 kv=12.47 kw=7 kvar=3 model=1 vminpu=0.1 daily=site_pcc_power_kw_east")
    say("set mode=daily stepsize=0.001s number=1")
    for row in range(5):
        opendssdirect.Solution.Solve()
        opendssdirect.Circuit.SetActiveElement("load.l")
        powers = np.array(opendssdirect.CktElement.Powers())
        assert opendssdirect.Solution.DblHour() * 3600 == pytest.approx((row + 1) / 1000)
        for i, channel in enumerate(POWERS):
            assert powers[i::2].sum() == pytest.approx(1e3 * rows[channel][row, 1], rel=1e-6)
    opendssdirect.LoadShape.Name("site_pcc_power_kw_west")
    assert opendssdirect.LoadShape.Npts() == ROWS and opendssdirect.LoadShape.SInterval() == pytest.approx(0.001)
    shape = np.array(opendssdirect.LoadShape.PMult())
    np.testing.assert_allclose(shape, 1e3 * rows["site_pcc_power_mw"][:, 0].astype(float), rtol=2.0**-24)
    say("clear")


def test_pscad_by_numpy(tmp_path, trace, rows):
    pscad.write(columns_of(trace, POWERS), tmp_path / "t.txt")
    lines = (tmp_path / "t.txt").read_text().splitlines()
    assert lines[0] == "! time_s " + " ".join(columns_of(trace, POWERS).names)
    table = np.loadtxt(tmp_path / "t.txt", skiprows=1)
    assert table[:, 0].tolist() == [i / 1000 for i in range(ROWS)]
    np.testing.assert_array_equal(table[:, 1:].astype(np.float32), np.hstack([rows[name] for name in POWERS]))


def test_powerfactory_by_numpy(tmp_path, trace, rows):
    """As its reference tells: how many values, then a time and so many on every line, of 1024 characters at most."""
    columns = columns_of(trace, POWERS, offset_s=-0.002)
    powerfactory.write(columns, tmp_path / "t.txt")
    head, *lines = (tmp_path / "t.txt").read_text().splitlines()
    assert int(head) == len(columns.names) == 4 and len(lines) == ROWS
    table = np.array([[float(word) for word in line.split(" ")] for line in lines])
    assert table[:, 0] == pytest.approx(np.arange(-2, ROWS - 2) / 1000, abs=1e-12)
    np.testing.assert_array_equal(table[:, 1:].astype(np.float32), np.hstack([rows[name] for name in POWERS]))
    longest = " ".join(["-1.2345678901234567e-300"] * (powerfactory.MOST_COLUMNS + 1))  # float64, all digits
    assert len(longest) < 1024


def test_psse_by_numpy(tmp_path, trace, rows):
    psse.write(
        columns_of(trace, ["site_pcc_voltage_pu[east]", "area_frequency_hz[w]"], offset_s=1.0), tmp_path / "t.plb"
    )
    table = np.loadtxt(tmp_path / "t.plb")
    assert table[:, 0].tolist() == [i / 1000 + 1.0 for i in range(ROWS)]
    np.testing.assert_array_equal(table[:, 1].astype(np.float32), rows["site_pcc_voltage_pu"][:, 1])
    np.testing.assert_array_equal(table[:, 2], rows["area_frequency_hz"][:, 0] / 60)


def test_gridlabd_by_its_grammar(tmp_path, trace, rows):
    """As `tape/player.c` takes lines apart: a time to its fraction, a value as real and imaginary part."""
    wanted = ["site_pcc_power_mw[west]", "site_pcc_reactive_mvar[west]"]
    gridlabd.write(columns_of(trace, wanted, unit="w", offset_s=59.9), tmp_path / "t.player")
    head, *lines = (tmp_path / "t.player").read_text().splitlines()
    assert head.startswith("#") and len(lines) == ROWS
    for row, line in enumerate(lines):
        found = re.fullmatch(r"(\d+)-(\d+)-(\d+) (\d+):(\d+):([\d.]+),([-+.\de]+?)([-+][.\d]+(?:e[-+]\d+)?)j", line)
        assert found is not None, line
        year, month, day, hour, minute = map(int, found.groups()[:5])
        assert (year, month, day, hour) == (2000, 1, 1, 0)
        assert 60 * minute + float(found[6]) == pytest.approx(59.9 + row / 1000, abs=1e-9)
        for text, channel in zip(found.groups()[6:], POWERS, strict=True):
            assert float(text) == pytest.approx(1e6 * float(rows[channel][row, 0]), rel=2.0**-23)
    gridlabd.write(columns_of(trace, ["job_power_mw[west/a]"]), tmp_path / "one.player")
    table = pandas.read_csv(tmp_path / "one.player", comment="#", header=None, dtype={1: np.float32})
    np.testing.assert_array_equal(table[1], rows["job_power_mw"][:, 0])


def test_andes_by_pandas(tmp_path, trace, rows):
    """As `andes/models/timeseries.py` reads it; ANDES itself is too large a package for this suite."""
    columns = columns_of(trace, POWERS, unit="pu", base_mva=100.0)
    andes.write(columns, tmp_path / "t.csv")
    table = pandas.read_csv(tmp_path / "t.csv")
    assert list(table.columns) == ["t", *columns.names] and table["t"].tolist() == [i / 1000 for i in range(ROWS)]
    powers = table["site_pcc_power_pu[east]"]
    np.testing.assert_allclose(powers, rows["site_pcc_power_mw"][:, 1].astype(float) / 100, rtol=2.0**-23)


def test_a_part_is_played_into_pscad_from_zero(tmp_path, trace):
    """As it lies in the run it is refused, in words that say what to do."""
    part = tmp_path / "part.h5"
    em.write(em.read(trace, slice(40, 60)), part)
    with pytest.raises(TraceError, match="starts at 0.04 s: a time offset of -0.04 s makes it 0"):
        pscad.write(columns_of(part, POWERS), tmp_path / "t.txt")
    pscad.write(columns_of(part, POWERS, offset_s=-0.04), tmp_path / "t.txt")
    table = np.loadtxt(tmp_path / "t.txt", skiprows=1)
    assert table[0, 0] == 0.0 and table.shape == (20, 1 + len(columns_of(part, POWERS).names))


@pytest.mark.parametrize(
    ("module", "options", "out", "says"),
    [
        (opendss, {"channels": POWERS}, "t.csv", "ends in .dss"),
        (opendss, {"channels": POWERS, "offset_s": 1.0}, "t.dss", "leave the time offset out"),
        (pscad, {"channels": POWERS, "offset_s": 1.0}, "t.txt", "starts at 1 s: a time offset of 0.0 s makes it 0"),
        (pscad, {}, "t.txt", "at most 10 columns from a file, not 41: choose channels"),
        (powerfactory, {}, "t.txt", "at most 24 columns from a file, not 41: choose channels"),
        (psse, {"channels": ["site_pcc_voltage_pu"]}, "t.plb", r"choose site_pcc_voltage_pu\[NAME\] area_frequency_hz"),
        (gridlabd, {"channels": POWERS}, "t.player", "one value a line, not .*: choose one, or site_pcc_power_mw"),
        (andes, {"channels": POWERS}, "t.xlsx", "files that end in .csv"),
    ],
)  # fmt: skip
def test_what_a_tool_cannot_play_is_refused(tmp_path, trace, module, options, out, says):
    with pytest.raises(TraceError, match=says):
        module.write(columns_of(trace, **options), tmp_path / out)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "out"),
    [(opendss, "t.dss"), (pscad, "t.txt"), (powerfactory, "t.txt"), (gridlabd, "t.player")],
)
def test_a_value_that_is_no_number_is_not_played(tmp_path, rows, module, out):
    made = {**rows, "bess_soc": rows["bess_soc"].copy()}
    made["bess_soc"][40, 0] = np.nan
    path = write(tmp_path / "t.h5", HEADER, made)
    with pytest.raises(TraceError, match=r"bess_soc\[west\] is no finite number at 0.04 s, which .* cannot play"):
        module.write(columns_of(path, ["bess_soc[west]"]), tmp_path / out)
    assert [found.name for found in tmp_path.iterdir()] == ["t.h5"]


FULL = """
import resource, signal, sys
import emulator as em
from emulator.cli import main
from emulator.commands.export import FORMATS
from emulator.trace import TraceError
from emulator.traces import comtrade, csv, matlab, netcdf, opendss, parquet
from emulator.traces.columns import columns_of
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
for module, out, options in (
    (csv, "a.csv", {}), (parquet, "a.parquet", {}), (netcdf, "a.nc", {}), (matlab, "a.mat", {}),
    (matlab, "a.mat", {"version": "7.3"}), (comtrade, "a.cfg", {}), (opendss, "a.dss", {}),
):
    try:
        module.write(columns_of("t.h5", ["site_it_power_mw"]), out, **options)
    except TraceError as error:
        print(error)
"""


def test_a_file_that_cannot_grow_is_given_up_in_words(tmp_path):
    """By a limit on the size of files, which says File too large where a full disk says No space left on device."""
    write(tmp_path / "t.h5", HEADER, block(HEADER, 20_000), at_once=20_000)
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", FULL], cwd=tmp_path, env=here, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == 7 and all(line.lower().endswith("file too large") for line in said), said
    assert [path.name for path in tmp_path.iterdir()] == ["t.h5"]


ONE = replace(ONE_SITE, config="[grid]\nbase_mva = 500.0\n")
OUT = {"comtrade": "cfg", "opendss": "dss", "andes": "csv"}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_of_the_command(tmp_path, name, capsys):
    """As one types it, with nothing but what is required; twice over, the second time in place of the first."""
    path = write(tmp_path / "t.h5", ONE, block(ONE, 20))
    out = tmp_path / "new" / f"t.{OUT.get(name.split('-')[0], 'x')}"
    for _ in range(2):
        assert main(["export", str(path), "--format", name, "--out", str(out), "--every", "2"]) == 0
    assert out.stat().st_size > 0 and not list(tmp_path.rglob("*.tmp")) and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--channels", "site_pcc_powr_mw", "--out", "x.csv"], "nearest is site_pcc_power_mw"),
        (["--channels", "site_pcc_power_mw[campsu]", "--out", "x.csv"], "has no site campsu; nearest is campus"),
        (["--unit", "pu", "--base-mva", "-3", "--out", "x.csv"], "base -3 MVA: must be above 0"),
        (["--out", "t.h5"], "--out t.h5 is the trace itself"),
    ],
)
def test_mistakes_of_the_command(tmp_path, monkeypatch, capsys, args, says):
    monkeypatch.chdir(tmp_path)
    before = write(tmp_path / "t.h5", ONE, block(ONE, 5)).read_bytes()
    assert main(["export", "t.h5", "--format", "csv", *args]) == 2
    assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["t.h5"] and (tmp_path / "t.h5").read_bytes() == before
