"""Traces in HDF5: what is written is read back, at any moment and after any end of the writer."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import pytest
import xarray
from hypothesis import given
from hypothesis import strategies as st

from emulator import metrics
from emulator.clock import seconds_at
from emulator.trace import AXES, CHANNELS, Event, Trace, TraceError, row_times
from emulator.traces import hdf5, hdf5_layout, system
from emulator.traces.columns import columns_of
from emulator.traces.hdf5 import BLOCKS_WAITING, TraceWriter, count_rows, open_rows, read

from .synthetic import ONE_SITE, TWO_SITES, block, write

CONTRACT = {
    "site_it_power_mw", "site_facility_power_mw", "site_bess_power_mw", "site_pcc_power_mw", "site_pcc_reactive_mvar",
    "site_pcc_voltage_pu", "site_connected_fraction", "bess_soc", "bess_command_mw", "job_power_mw",
    "battery_power_mw", "battery_soc", "battery_temperature_c",
    "job_wanted_power_mw", "hall_power_mw", "area_frequency_hz", "area_mechanical_power_mw", "tie_power_mw",
    "reserve_inverter_power_mw", "reserve_agc_order_mw", "reserve_shed_load_mw", "shaft_torque_pu",
}  # fmt: skip
ROOT_ATTRIBUTES = {
    "schema_version", "emulator_version", "config", "seed", "dt_s", "frequency_hz", "platform", "complete",
    "stop_reason", "created_utc",
}  # fmt: skip
EVENTS = (Event(0.0, "job_start", "west/a", 1.0), Event(0.012, "load_step", "öst", -20.5))

# A program that writes a block after another and says so, until it is stopped. A value is its row's number.
ENDLESS = """
    import sys
    import numpy as np
    from dataclasses import replace
    from emulator.trace import CHANNELS, WATCHED, Event, TraceError
    from emulator.traces.hdf5 import TraceWriter
    from tests.unit.synthetic import TWO_SITES

    header = replace(TWO_SITES, compression=sys.argv[2])
    with TraceWriter(sys.argv[1], header, 500) as writer:
        for first in range(0, 10**7, 500):
            row = np.arange(first, first + 500.0)[:, None]
            writer.append(
                first,
                {c.name: np.repeat(row, len(header.labels[c.axis]), axis=1) for c in (*CHANNELS, *WATCHED)},
                [Event(first * 0.001, "tick", "west", float(first))],
            )
            print(first + 500, flush=True)
"""


def program(text: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip


def same_rows(trace: Trace, rows: dict[str, np.ndarray]) -> bool:
    there = {name: values for name, values in rows.items() if values.shape[1]}
    return all(np.array_equal(getattr(trace, name), values) for name, values in there.items())


def test_channels_are_those_of_the_contract():
    assert {channel.name for channel in CHANNELS} == CONTRACT
    assert {field.name for field in fields(Trace)} >= CONTRACT


@given(
    st.sampled_from([0.001, 1e-4, 0.0005, 1 / 3, 0.00033333, 0.02, 5.0]),
    st.integers(0, 10**10), st.integers(0, 30), st.integers(1, 50),
)  # fmt: skip
def test_times_are_exact(dt_s, first, rows, every):
    header = replace(ONE_SITE, dt_s=dt_s, every_ticks=every)
    assert row_times(header, first, rows).tolist() == [seconds_at(first + every * i, dt_s) for i in range(rows)]


@pytest.mark.parametrize("compression", ["gzip", "lzf", "none"])
@pytest.mark.parametrize("double", [False, True])
def test_what_is_written_is_read(tmp_path, compression, double):
    header = replace(TWO_SITES, compression=compression, double=double, every_ticks=2)
    rows = block(header, 2500)
    trace = read(write(tmp_path / "t.h5", header, rows, EVENTS))
    assert same_rows(trace, rows)
    assert {c.name: getattr(trace, c.name).dtype for c in CHANNELS} == {c.name: header.dtype_of(c) for c in CHANNELS}
    assert trace.time_s.tolist() == [seconds_at(2 * i, 0.001) for i in range(2500)]
    assert trace.events == EVENTS
    assert trace.complete and trace.stop_reason == "end of run"
    assert replace(trace.header, nominal_kv=()) == replace(header, nominal_kv=())
    assert trace.header.nominal_kv[0] == 138.0 and np.isnan(trace.header.nominal_kv[1])
    assert set(trace.metrics) == set(metrics.names(header))
    missing = {key for key, value in trace.metrics.items() if np.isnan(value)}
    without = ("iteration", "fade", "ramp_5s", "ramp_60s")  # 5 s of rows have no two that lie 5 s apart
    assert all(any(word in key for word in without) for key in missing), missing


def test_float32_but_for_frequency_and_charge():
    wide = {c.name for c in CHANNELS if ONE_SITE.dtype_of(c) == np.float64}
    assert wide == {"area_frequency_hz", "bess_soc", "battery_soc"}


def test_file_describes_itself(tmp_path):
    path = write(tmp_path / "t.h5", TWO_SITES, block(TWO_SITES, 10), EVENTS)
    assert path.read_bytes()[8] == 3, "superblock of HDF5 1.10, which its tools open"
    described = []
    with h5py.File(path) as file:
        assert set(file.attrs) >= ROOT_ATTRIBUTES
        file.visititems(lambda name, item: described.append((name, item)))
        for name, item in described:
            if isinstance(item, h5py.Dataset):
                assert {"units", "long_name"} <= set(item.attrs), name
                assert not h5py.check_string_dtype(item.dtype) or h5py.check_string_dtype(item.dtype).length, name
        for channel in CHANNELS:
            data = file[f"trace/{channel.name}"]
            assert [scale.keys() for scale in data.dims] == [["time_s"], [channel.axis]]
            assert [scale.label for scale in data.dims] == ["time_s", channel.axis]
            assert data.maxshape[0] is None and data.attrs["units"] == channel.unit
        assert file["metrics/site.west.pcc_energy_mwh"].attrs["units"] == "MWh"


def test_axes_without_members_are_left_out(tmp_path):
    header = replace(
        ONE_SITE,
        labels={axis: () for axis in (*AXES, "device", "rack")} | {"area": ("main",)},
        nominal_kv=(),
    )
    path = write(tmp_path / "t.h5", header, block(header, 10))
    with h5py.File(path) as file:
        assert set(file["trace"]) == {"time_s", "area", "area_frequency_hz", "area_mechanical_power_mw"}
    trace = read(path)
    assert trace.site_it_power_mw.shape == (10, 0) and trace.tie_power_mw.shape == (10, 0)


def test_xarray_opens_it_with_its_coordinates(tmp_path):
    rows = block(TWO_SITES, 100)
    path = write(tmp_path / "t.h5", TWO_SITES, rows, EVENTS)
    with xarray.open_dataset(path, group="trace", engine="h5netcdf") as data:
        assert set(data.coords) == {"time_s", "site", "battery", "job", "hall", "area", "tie", "reserve", "section"}
        assert data.sizes == {
            "time_s": 100,
            "site": 2,
            "battery": 2,
            "job": 3,
            "hall": 1,
            "area": 2,
            "tie": 1,
            "reserve": 1,
            "section": 2,
        }
        assert data.time_s.dtype == np.float64 and data.time_s.values[37] == 0.037
        assert list(data.site.values) == ["west", "öst"]
        power = data.site_pcc_power_mw.sel(site="öst")
        assert np.array_equal(power.values, rows["site_pcc_power_mw"][:, 1])
        assert power.attrs["units"] == "MW" and "grid" in power.attrs["long_name"]
        assert set(data.data_vars) == CONTRACT | {"site_nominal_kv"}
    with xarray.open_dataset(path, group="event", engine="h5netcdf") as data:
        assert list(data["where"].values) == ["west/a", "öst"]


def test_xarray_opens_it_lazily_with_dask(tmp_path):
    rows = block(TWO_SITES, 3000)
    path = write(tmp_path / "t.h5", TWO_SITES, rows)
    with xarray.open_dataset(path, group="trace", engine="h5netcdf", chunks={}) as data:
        assert data.job_power_mw.chunks[0] == (1000, 1000, 1000)  # those of the file
        assert dict(data.sizes)["time_s"] == 3000 and list(data.job.values) == ["west/a", "öst/b", "öst/c"]
        mean = data.job_power_mw.mean("time_s").sel(job="öst/c").compute().item()
    assert mean == pytest.approx(rows["job_power_mw"][:, 2].mean(dtype=np.float64), rel=1e-6)  # float32 sums


def test_tools_of_hdf5_1_10_dump_it(tmp_path):
    """Debian's h5dump is of version 1.10, as MATLAB's and Octave's library is."""
    if shutil.which("h5dump") is None:
        pytest.skip("no h5dump here (Debian: hdf5-tools)")
    path = write(tmp_path / "t.h5", TWO_SITES, block(TWO_SITES, 10) | {"bess_soc": np.full((10, 2), 0.375)}, EVENTS)

    def dump(*what: str) -> str:
        return subprocess.run(["h5dump", *what, path], capture_output=True, text=True, check=True).stdout

    assert dump("-d", "/trace/bess_soc", "-y", "-w", "80").count("0.375, 0.375") == 10
    assert "CSET H5T_CSET_UTF8" in dump("-d", "/trace/site") and "STRSIZE 4;" in dump("-d", "/trace/site")
    assert all(f'"{kind}' in dump("-d", "/event/kind") for kind in ("job_start", "load_step"))


def test_the_netcdf_library_reads_it(tmp_path):
    rows = block(TWO_SITES, 10)
    path = write(tmp_path / "t.h5", TWO_SITES, rows, EVENTS)
    with netCDF4.Dataset(path) as file:
        trace, event = file["trace"], file["event"]
        assert list(trace["site"][:]) == ["west", "öst"] and list(event["where"][:]) == ["west/a", "öst"]
        power = trace["site_pcc_power_mw"]
        assert power.dimensions == ("time_s", "site") and power.units == "MW"
        assert np.array_equal(power[:], rows["site_pcc_power_mw"])


@pytest.mark.skipif(shutil.which("octave") is None, reason="Octave is a large program that few machines have")
def test_octave_loads_it(tmp_path):
    """Where names are ASCII. Octave turns axes around, as MATLAB's h5read does."""
    rows = block(ONE_SITE, 10)
    write(
        tmp_path / "t.h5", ONE_SITE, rows, (Event(0.0, "job_start", "campus", 1.0), Event(0.004, "fault", "main", 2.0))
    )
    code = """a = load('-hdf5', 't.h5');
        printf('%.17g ', a.trace.area_frequency_hz'); printf('\\n%s', a.trace.site, a.event.kind');"""
    done = subprocess.run(
        ["octave", "--no-gui", "-q", "--eval", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    numbers, site, kinds = done.stdout.split("\n")
    assert np.array_equal(np.float64(numbers.split()), rows["area_frequency_hz"].ravel())
    assert site == "campus" and kinds.split() == ["job_start", "fault"], done.stderr


def test_windows_make_up_the_whole(tmp_path):
    header = replace(ONE_SITE, dt_s=0.01)
    events = (Event(0.005, "a", "", 0.0), Event(5.0, "b", "campus", 1.0), Event(5.05, "c", "main", 2.0))
    path = write(tmp_path / "t.h5", header, block(header, 1300), events)
    whole, windows = read(path), list(open_rows(path, 500))
    assert [len(w.time_s) for w in windows] == [500, 500, 300] and count_rows(path) == 1300
    for channel in CHANNELS:
        parts = np.concatenate([getattr(w, channel.name) for w in windows])
        assert np.array_equal(parts, getattr(whole, channel.name))
    assert [w.events for w in windows] == [events[:1], events[1:], ()]
    assert np.array_equal(read(path, slice(-5, None)).time_s, whole.time_s[-5:])
    assert len(read(path, slice(2000, 3000)).time_s) == 0
    with pytest.raises(ValueError, match="step"):
        read(path, slice(0, 10, 2))


def test_only_the_channels_asked_for_are_read(tmp_path, monkeypatch):
    rows = block(TWO_SITES, 1300)
    path = write(tmp_path / "t.h5", TWO_SITES, rows, EVENTS)
    wanted, unpacked, honest = {"tie_power_mw", "bess_soc", "rack_power_kw"}, set(), h5py.Dataset.__getitem__

    def noting(data, place, **options):
        unpacked.add(data.name)
        return honest(data, place, **options)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", noting)
    traces = [read(path, slice(0, 500), wanted), *open_rows(path, 500, wanted)]
    touched = {name for name in unpacked if name.split("/")[1] in ("trace", "device", "rack")} - {"/trace/time_s"}
    assert touched == {"/trace/tie_power_mw", "/trace/bess_soc", "/rack/power_kw", "/rack/time_s"}
    assert [len(trace.time_s) for trace in traces] == [500, 500, 500, 300]
    for trace, start in zip(traces, (0, 0, 500, 1000), strict=True):
        for name in wanted:
            assert np.array_equal(getattr(trace, name), rows[name][start : start + 500])
        assert trace.site_pcc_power_mw.shape == (len(trace.time_s), 0) and trace.device_power_w.size == 0


@pytest.mark.parametrize("site", ["a/b", "/", "a//b", "a/", "", ".", "..", "x" * 5000, "a\nb"])
def test_odd_names_of_others_read_or_are_refused(tmp_path, site):
    """A slash makes groups of the metrics. Our own configurations refuse such names."""
    header = replace(ONE_SITE, labels={**ONE_SITE.labels, "site": (site,), "job": (f"{site}/job",)})
    rows = block(header, 10)
    path = write(tmp_path / "t.h5", header, rows)
    if "//" in site:  # which HDF5 takes for one
        with pytest.raises(TraceError, match=r"t\.h5: .*metrics"):
            read(path)
        return
    trace = read(path)
    assert trace.header.labels["site"] == (site,) and same_rows(trace, rows)
    assert set(trace.metrics) == set(metrics.names(header))
    if not site.isprintable():
        with pytest.raises(TraceError, match=r"site 'a\\nb': a name with control characters"):
            columns_of(path)


@pytest.mark.parametrize("place", ["metrics", "event", "trace/time_s", "trace/bess_soc", "event/kind", "header"])
@pytest.mark.parametrize("other", ["group", "number", "type"])
def test_what_has_become_something_else_is_refused(tmp_path, place, other):
    path = write(tmp_path / "t.h5", ONE_SITE, block(ONE_SITE, 10))
    with h5py.File(path, "r+") as file:
        del file[place]
        if other == "group":
            file.create_group(place)
        else:
            file[place] = 1.0 if other == "number" else np.dtype("f8")
    with pytest.raises(TraceError, match=r"t\.h5: cannot be read as HDF5"):
        read(path)


def test_metrics_that_are_no_numbers_are_refused(tmp_path):
    path = write(tmp_path / "t.h5", ONE_SITE, block(ONE_SITE, 10))
    with h5py.File(path, "r+") as file:
        file["metrics/odd"] = "text"
    with pytest.raises(TraceError, match=r"t\.h5: .*metrics/odd is not a number"):
        read(path)


def test_rows_show_while_the_writer_is_open(tmp_path):
    """`append` lets at most so many blocks wait: the ones before are in the file, for another process too."""
    path, rows = tmp_path / "t.h5", block(ONE_SITE, 100)
    code = "import sys; from emulator.traces.hdf5 import read; t = read(sys.argv[1]); print(len(t.time_s), t.complete)"
    with TraceWriter(path, ONE_SITE, 100) as writer:
        for i in range(BLOCKS_WAITING + 4):
            writer.append(100 * i, rows, [])
        seen, complete = program(code, path).communicate()[0].split()
        assert int(seen) >= 400 and complete == "False"
        assert np.array_equal(read(path, slice(100, 200)).job_power_mw, rows["job_power_mw"])
        writer.finish({}, "end of run", complete=True)
    assert count_rows(path) == 100 * (BLOCKS_WAITING + 4)


@pytest.mark.parametrize(("compression", "blocks"), [("none", 1), ("none", 40), ("gzip", 9), ("gzip", 30), ("lzf", 17)])
def test_kill_leaves_a_file_that_reads(tmp_path, compression, blocks):
    writing = program(ENDLESS, tmp_path / "t.h5", compression)
    assert writing.stdout is not None
    promised = [int(writing.stdout.readline()) for _ in range(blocks)][-1]
    writing.send_signal(signal.SIGKILL)
    writing.communicate()
    trace = read(tmp_path / "t.h5")
    rows = len(trace.time_s)
    assert rows >= promised - 500 * BLOCKS_WAITING and rows % 500 == 0
    assert not trace.complete and trace.stop_reason == ""
    assert np.array_equal(trace.time_s, np.arange(rows) / 1000)
    for channel in CHANNELS:
        values = getattr(trace, channel.name)
        assert np.array_equal(values, np.repeat(np.arange(rows)[:, None], values.shape[1], axis=1)), channel.name
    assert [event.value for event in trace.events] == list(range(0, rows, 500))


def test_interrupt_leaves_a_closed_file(tmp_path):
    rows = block(ONE_SITE, 100)
    with pytest.raises(KeyboardInterrupt), TraceWriter(tmp_path / "t.h5", ONE_SITE, 100) as writer:
        for i in range(5):
            writer.append(100 * i, rows, [])
        raise KeyboardInterrupt
    h5py.File(tmp_path / "t.h5", "r+").close()  # closed properly: not even SWMR is needed
    trace = read(tmp_path / "t.h5")
    assert len(trace.time_s) == 500 and not trace.complete and trace.stop_reason == "interrupted"


@pytest.mark.parametrize(("error", "reason"), [(ArithmeticError("odd"), "error: odd"), (None, "not finished")])
def test_leaving_early_says_why(tmp_path, error, reason):
    def leave():
        with TraceWriter(tmp_path / "t.h5", ONE_SITE, 100) as writer:
            writer.append(0, block(ONE_SITE, 3), [])
            if error:
                raise error

    if error:
        with pytest.raises(ArithmeticError):
            leave()
    else:
        leave()
    trace = read(tmp_path / "t.h5")
    assert (len(trace.time_s), trace.complete, trace.stop_reason) == (3, False, reason)


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_full_disk_is_said_and_the_file_reads(tmp_path, compression):
    """A limit on the size of files stands for the full disk. HDF5 left to itself crashes at exit."""
    limited = textwrap.dedent("""
        import resource
        from emulator.trace import TraceError
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
        try:
            exec(compile(PROGRAM, "program", "exec"))
        except TraceError as error:
            print(type(error).__name__, error, "from", type(error.__cause__).__name__)
    """)
    writing = program(f"PROGRAM = {textwrap.dedent(ENDLESS)!r}\n{limited}", tmp_path / "t.h5", compression)
    out, errors = writing.communicate()
    last = out.splitlines()[-1]
    assert re.fullmatch(
        r"TraceError cannot write .*t\.h5: File too large from (RuntimeError|KeyError|OSError)", last
    ), out + errors
    assert writing.returncode == 0 and errors == ""
    trace = read(tmp_path / "t.h5")
    rows = len(trace.time_s)
    assert rows >= 500 and not trace.complete
    for channel in CHANNELS:
        assert np.array_equal(getattr(trace, channel.name)[:, 0], np.arange(rows)), channel.name


def test_no_block_follows_one_that_failed(tmp_path, monkeypatch):
    """Otherwise later rows would lie where the lost ones belong."""
    honest, failing = hdf5.write_rows, threading.Event()

    def write_rows(data, first, values):
        if not failing.is_set() and len(values) == 7:
            failing.set()
            raise OSError(28, "No space left on device")
        honest(data, first, values)

    monkeypatch.setattr(hdf5, "write_rows", write_rows)
    with (
        pytest.raises(TraceError, match="cannot write .*: .*No space left") as caught,
        TraceWriter(tmp_path / "t.h5", ONE_SITE, 10) as writer,
    ):
        for rows in (10, 7, 10):
            writer.append(0, block(ONE_SITE, rows), [])
        writer.finish({}, "end of run", complete=True)
    assert isinstance(caught.value.__cause__, OSError)
    trace = read(tmp_path / "t.h5")
    assert len(trace.time_s) == 10 and not trace.complete


def test_a_slow_disk_holds_the_run_back(tmp_path, monkeypatch):
    """Blocks wait in a bounded queue: no more than so many are alive at once."""
    honest, appended, written, alive = TraceWriter._write, [], [], []

    def write_slowly(self, *arguments):
        time.sleep(0.002)
        alive.append(len(appended) - len(written))
        honest(self, *arguments)
        written.append(1)

    monkeypatch.setattr(TraceWriter, "_write", write_slowly)
    with TraceWriter(tmp_path / "t.h5", ONE_SITE, 10) as writer:
        for i in range(60):
            writer.append(10 * i, block(ONE_SITE, 10), [])
            appended.append(1)
        writer.finish({}, "end of run", complete=True)
    assert len(written) == 60 and max(alive) <= 4


def test_blocks_may_be_reused_by_the_caller(tmp_path):
    rows = block(ONE_SITE, 50)
    kept = {name: values.copy() for name, values in rows.items()}
    with TraceWriter(tmp_path / "t.h5", ONE_SITE, 50) as writer:
        writer.append(0, rows, [])
        for values in rows.values():
            values[:] = 0
        writer.finish({}, "end of run", complete=True)
    assert same_rows(read(tmp_path / "t.h5"), kept)


def test_rows_are_on_their_way_to_the_disk_before_the_end(tmp_path, monkeypatch):
    """Each byte once, in order, in pieces that are not small."""
    if not hasattr(os, "posix_fadvise"):
        pytest.skip("no such call on this system")
    sent = []
    monkeypatch.setattr(system, "AT_ONCE_BYTES", 20_000)
    monkeypatch.setattr(os, "posix_fadvise", lambda file, first, length, advice: sent.append((first, length)))
    rows = block(ONE_SITE, 100)
    with TraceWriter(tmp_path / "t.h5", ONE_SITE, 100) as writer:
        for i in range(20):
            writer.append(100 * i, rows, [])
        writer.finish({}, "end of run", complete=True)
    assert len(sent) > 3 and all(length >= 20_000 for _, length in sent)
    assert all(first + length == then for (first, length), (then, _) in pairwise(sent))


@pytest.mark.skipif(sys.platform != "linux", reason="only there a thread has a priority of its own")
def test_the_writer_goes_behind_the_emulation(tmp_path):
    with TraceWriter(tmp_path / "t.h5", ONE_SITE, 100) as writer:
        thread = writer._pool.submit(threading.current_thread).result()
        own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        assert os.getpriority(os.PRIO_PROCESS, thread.native_id) == own + system.NICENESS


def test_read_only_blocks_are_not_copied(tmp_path, monkeypatch):
    """As those from the device are: a copy would cost a tenth of the writing."""
    rows, seen = block(ONE_SITE, 50), []
    for name in ("job_power_mw", "area_frequency_hz"):
        rows[name].flags.writeable = False
    monkeypatch.setattr(TraceWriter, "_write", lambda self, first, count, arrays, events: seen.append(arrays))
    with TraceWriter(tmp_path / "t.h5", ONE_SITE, 50) as writer:
        writer.append(0, rows, [])
    shared = {name for name, values in seen[0].items() if np.shares_memory(values, rows[name])}
    assert shared == {"job_power_mw", "area_frequency_hz"}


def test_uneven_block_is_refused(tmp_path):
    rows = block(ONE_SITE, 50) | {"bess_soc": np.zeros((49, 1))}
    with pytest.raises(ValueError, match="bess_soc"), TraceWriter(tmp_path / "t.h5", ONE_SITE, 50) as writer:
        writer.append(0, rows, [])


@pytest.mark.parametrize("cut", ["job_power_mw", "time_s", "tie_power_mw"])
def test_channels_are_cut_to_the_shortest(tmp_path, cut):
    rows = block(TWO_SITES, 100)
    path = write(tmp_path / "t.h5", TWO_SITES, rows)
    with h5py.File(path, "r+") as file:
        file[f"trace/{cut}"].resize(83, axis=0)
    trace = read(path)
    assert len(trace.time_s) == 83 and same_rows(trace, {name: values[:83] for name, values in rows.items()})


def test_rows_without_a_time_do_not_count(tmp_path):
    path = write(tmp_path / "t.h5", ONE_SITE, block(ONE_SITE, 100))
    with h5py.File(path, "r+") as file:
        for data in file["trace"].values():
            if data.maxshape[0] is None:
                data.resize(150, axis=0)
    assert len(read(path).time_s) == count_rows(path) == 100


def test_events_without_a_kind_do_not_count(tmp_path):
    path = write(tmp_path / "t.h5", TWO_SITES, block(TWO_SITES, 100), EVENTS)
    with h5py.File(path, "r+") as file:
        for data in file["event"].values():
            data.resize(5, axis=0)
    assert read(path).events == EVENTS


def test_long_words_in_events_are_refused(tmp_path):
    event = Event(0.0, "x" * 33, "campus", 0.0)
    with pytest.raises(ValueError, match="longer"), TraceWriter(tmp_path / "t.h5", ONE_SITE, 10) as writer:
        writer.append(0, block(ONE_SITE, 10), [event])
        writer.finish({}, "end of run", complete=True)


def test_long_stop_reason_is_cut(tmp_path):
    with TraceWriter(tmp_path / "t.h5", ONE_SITE, 10) as writer:
        writer.finish({}, "ö" * 300, complete=False)
    assert read(tmp_path / "t.h5").stop_reason == "ö" * 128


def test_large_configuration_fits(tmp_path):
    header = replace(ONE_SITE, config="# " + "é" * 200_000)
    assert read(write(tmp_path / "t.h5", header, block(header, 3))).header.config == header.config


def test_many_columns_are_chunked(tmp_path):
    labels = {**ONE_SITE.labels, "job": tuple(f"campus/{i}" for i in range(300))}
    header = replace(ONE_SITE, labels=labels)
    rows = block(header, 3)
    with TraceWriter(tmp_path / "t.h5", header, 200_000) as writer:
        writer.append(0, rows, [])
    with h5py.File(tmp_path / "t.h5") as file:
        height, width = file["trace/job_power_mw"].chunks
    assert height <= hdf5.MOST_CHUNK_ROWS and 200_000 % height == 0
    assert height * width * 4 <= hdf5_layout.MOST_CHUNK_BYTES
    assert same_rows(read(tmp_path / "t.h5"), rows)


def spoilt(path: Path, how: str) -> None:
    if how == "text":
        path.write_text("time,power\n0,1\n")
    elif how == "half":
        write(path, ONE_SITE, block(ONE_SITE, 5000))
        os.truncate(path, 3000)
    elif how == "other":
        with h5py.File(path, "w") as file:
            file["x"] = 1.0
    elif how != "missing":
        write(path, ONE_SITE, block(ONE_SITE, 5))
        with h5py.File(path, "r+") as file:
            if how == "newer":
                file.attrs["schema_version"] = 2
            else:
                del file["trace/bess_soc"]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing", "no such file"), ("text", "is not HDF5, so no trace; .* --csv"), ("half", "cannot be read as HDF5"),
        ("other", "not a trace"), ("newer", "schema version 2"), ("lacking", "lacks trace/bess_soc"),
    ],
)  # fmt: skip
def test_what_is_no_trace_is_refused_in_words(tmp_path, how, words):
    spoilt(tmp_path / "t.h5", how)
    with pytest.raises(TraceError, match=words) as caught:
        read(tmp_path / "t.h5")
    assert "t.h5" in str(caught.value)


def test_damage_never_ends_in_another_error(tmp_path):
    """A byte changed anywhere: the trace reads, or is refused in words, at once."""
    path = write(tmp_path / "t.h5", ONE_SITE, block(ONE_SITE, 50))
    whole, refused = path.read_bytes(), 0
    for at in np.random.default_rng(0).integers(12, len(whole), 60):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        try:
            read(path)
        except TraceError:
            refused += 1
    assert refused > 10


def test_folders_are_made(tmp_path):
    write(tmp_path / "a" / "b" / "t.h5", ONE_SITE, block(ONE_SITE, 3))
    assert count_rows(tmp_path / "a" / "b" / "t.h5") == 3


def test_a_folder_in_its_place_is_refused(tmp_path):
    (tmp_path / "t.h5").mkdir()
    with pytest.raises(TraceError, match="cannot create"):
        TraceWriter(tmp_path / "t.h5", ONE_SITE, 10)


def test_an_old_trace_in_use_can_be_replaced(tmp_path):
    path = write(tmp_path / "t.h5", ONE_SITE, block(ONE_SITE, 7))
    with h5py.File(path) as used:
        write(path, ONE_SITE, block(ONE_SITE, 9))
        assert len(used["trace/time_s"]) == 7
    assert count_rows(path) == 9
