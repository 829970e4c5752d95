"""The command as a user types it, in a folder of his own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from emulator.traces import hdf5

ROOT = Path(__file__).parents[1]
LONG = """
[run]
name = "long"
duration_s = {duration_s}
[[site]]
name = "campus"
area = "main"
job = [{{name = "base", kind = "constant", power_mw = 50.0}}]
[site.bess]
power_mw = 30.0
energy_mwh = 60.0
[site.controller]
kind = "low_pass"
cutoff_hz = 0.1
[[grid.area]]
name = "main"
inertia_s = 4.0
"""


ROOT_ATTRIBUTES = (
    "schema_version", "emulator_version", "config", "seed", "dt_s", "frequency_hz", "platform", "complete",
    "stop_reason", "created_utc",
)  # fmt: skip
CHANNELS = (
    "time_s", "site_it_power_mw", "site_facility_power_mw", "site_bess_power_mw", "site_pcc_power_mw",
    "site_pcc_reactive_mvar", "site_pcc_voltage_pu", "site_connected_fraction", "bess_soc", "bess_command_mw",
    "job_power_mw", "area_frequency_hz", "area_mechanical_power_mw",
)  # fmt: skip


def environment(cache: Path) -> dict[str, str]:
    """As a shell outside the project has it, with a compilation cache of the tests'."""
    return {**os.environ, "XDG_CACHE_HOME": str(cache), "XLA_FLAGS": ""}


@pytest.fixture
def wattswing(tmp_path):
    """Run the command in an empty folder."""

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "emulator", *args],
            cwd=tmp_path,
            env=environment(ROOT / ".jax_cache"),
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_run_plot_export(wattswing, tmp_path):
    done = wattswing("run", "campus_100mw", "--out", "a/c.h5", "--set", "run.duration_s=2", "--platform", "cpu")
    assert done.returncode == 0, done.stderr
    for text in ("MW", "battery SOC", "frequency", "emulated 2 s", "x real time", "trace in a/c.h5"):
        assert text in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80 and done.stdout.count("\n") <= 24
    with h5py.File(tmp_path / "a/c.h5") as file:
        assert file.attrs["complete"] == 1
        assert file.attrs["platform"] == "cpu"
        assert file["trace/site_pcc_power_mw"].shape == (2000, 1)
    assert wattswing("plot", "a/c.h5", "--out", "c.png").returncode == 0
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    done = wattswing("export", "a/c.h5", "--format", "csv", "--out", "c.csv", "--every", "10", "--channels", "bess_soc")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "c.csv").read_text().startswith("time_s,bess_soc[campus]\n0.0,0.5\n0.01,")


def test_the_trace_holds_the_contract(wattswing, tmp_path):
    """Datasets, attributes and the balance of powers, read by h5py alone."""
    assert wattswing("run", "campus_100mw", "--out", "c.h5", "--set", "run.duration_s=1", "--quiet").returncode == 0
    with h5py.File(tmp_path / "c.h5") as file:
        for name in ROOT_ATTRIBUTES:
            assert name in file.attrs, name
        trace = file["trace"]
        for name in CHANNELS:
            assert "units" in trace[name].attrs and "long_name" in trace[name].attrs, name
        assert trace["time_s"].dtype == np.float64 and trace["area_frequency_hz"].dtype == np.float64
        difference = trace["site_facility_power_mw"][:] - trace["site_bess_power_mw"][:]
        np.testing.assert_allclose(trace["site_pcc_power_mw"][:], difference, atol=1e-5)
        assert len(file["event/time_s"]) >= 1 and "metrics" in file
    (tmp_path / "again.toml").write_text(hdf5.read(tmp_path / "c.h5").header.config)
    assert wattswing("run", "again.toml", "--out", "d.h5", "--quiet").returncode == 0
    one, other = (hdf5.read(tmp_path / name).site_pcc_power_mw for name in ("c.h5", "d.h5"))
    np.testing.assert_array_equal(one, other)


LIMIT = """
[[limit]]
name = "a swing"
kind = "dynamic_range"
max_mw = {max_mw}
source = "made"
status = "example"
"""


def test_assess_a_run(wattswing, tmp_path):
    """Status 3 where a limit fails, 0 where all pass and where some cannot be judged; JSON as the contract has it."""
    assert wattswing("run", "campus_100mw", "--out", "c.h5", "--set", "run.duration_s=2", "--quiet").returncode == 0
    with h5py.File(tmp_path / "c.h5") as file:
        power = file["trace/site_pcc_power_mw"][:, 0]
    swing = float(power.max()) - float(power.min())
    for max_mw, verdict, status in ((0.9 * swing, "fail", 3), (1.1 * swing, "pass", 0)):
        (tmp_path / "limits.toml").write_text(LIMIT.format(max_mw=max_mw))
        done = wattswing("assess", "c.h5", "--limits", "limits.toml", "--json")
        assert done.returncode == status, done.stderr
        found = json.loads(done.stdout)
        assert (found["trace"], found["complete"], found["verdict"]) == ("c.h5", True, verdict)
        (row,) = found["limits"]
        assert row["measured"] == pytest.approx(swing) and row["margin"] == pytest.approx(max_mw - swing)
        assert (row["passed"], row["where"]) == (verdict == "pass", "campus")
    done = wattswing("assess", "c.h5", "--limits", "iec_61000_3_7")
    assert done.returncode == 0 and "verdict: not assessable" in done.stdout and "600 s" in done.stdout


def test_assess_a_recorded_power_without_jax(tmp_path):
    """From a CSV file alone, and without the seconds that JAX takes to load."""
    rows = (f"{0.1 * i:.1f},{50e3 + 2e3 * (i > 50)}\n" for i in range(100))
    (tmp_path / "load.csv").write_text("time,kw\n" + "".join(rows))
    (tmp_path / "limits.toml").write_text(LIMIT.format(max_mw=1.5))
    args = ["assess", "load.csv", "--time-column", "time", "--power-column", "kw", "--unit", "kw"]
    code = (
        "import sys; from emulator.cli import main;"
        f"status = main({[*args, '--limits', 'limits.toml']}); print('jax' in sys.modules); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "FAIL" in done.stdout and "5.100" in done.stdout and done.stdout.endswith("verdict: fail\nFalse\n")


def test_measure_a_recorded_power(wattswing, tmp_path):
    """Metrics beside the contract's keys, or alone; a reader that has enough is no error."""
    rows = (f"{0.1 * i:.1f},{50 + 2 * (i > 50)}\n" for i in range(100))
    (tmp_path / "load.csv").write_text("t_s,p_mw\n" + "".join(rows))
    (tmp_path / "limits.toml").write_text(LIMIT.format(max_mw=1.5))
    measure = ("assess", "load.csv", "--csv", "--metrics", "--bands", "0.1-1,0.2-4")
    done = wattswing(*measure, "--limits", "limits.toml", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 3 and found["verdict"] == "fail" and len(found["limits"]) == 1
    figures = {row["name"]: row for row in found["metrics"]}
    assert figures["swing_mw"] == {"quantity": "power", "where": "p_mw", "name": "swing_mw", "value": 2.0,
                                   "unit": "MW", "at_s": 5.1, "remark": ""}  # fmt: skip
    assert {name for name in figures if "variance" in name} == {"variance_0.1_to_1hz", "variance_0.2_to_4hz"}
    alone = wattswing(*measure)
    assert alone.returncode == 0 and "verdict" not in alone.stdout
    assert "load.csv: 10 s\npower, p_mw\n  energy_mwh " in alone.stdout
    command = f"{sys.executable} -m emulator {' '.join(measure)} | head -1"
    environ = environment(ROOT / ".jax_cache")
    cut = subprocess.run(command, shell=True, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert cut.stdout == "load.csv: 10 s\n" and cut.stderr == ""


def test_x64(wattswing, tmp_path):
    done = wattswing("run", "r1_load_step", "--x64", "--set", "run.duration_s=4", "--out", "r.h5")
    assert done.returncode == 0, done.stderr
    trace = hdf5.read(tmp_path / "r.h5")
    assert trace.area_mechanical_power_mw.dtype == np.float64
    assert trace.area_frequency_hz.min() == pytest.approx(60.0 - 1.2998, abs=1e-4)


def test_check_prints_what_runs_with_sources(wattswing):
    done = wattswing("check", "campus_100mw", "--set", "run.seed=5")
    assert done.returncode == 0
    assert re.search(r"seed = 5 +# --set", done.stdout)
    assert re.search(r"tdp_w = 700.0 +# W; preset h100: 700 W \[S\]", done.stdout)
    assert re.search(r"droop_pu = 0.05 +# pu; default: Anderson", done.stdout)


def test_presets_and_schema(wattswing):
    assert "megapack_2_xl" in wattswing("presets", "batteries").stdout
    assert "dgx_h100_frontier" in wattswing("presets").stdout
    assert json.loads(wattswing("schema").stdout)["properties"]["run"]


COMMANDS = ("run", "check", "presets", "plot", "report", "export", "assess", "schema", "bench")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example(wattswing, command):
    assert f"example: wattswing {command}" in wattswing(command, "--help").stdout


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("run", "campus_10mw"), "nearest: campus_100mw"),
        (("run", "campus_100mw", "--out", "c.toml"), "a trace ends in .h5"),
        (("run", "campus_100mw", "--set", "run.duration_s=-1"), "--set: run.duration_s: is -1, must be > 0"),
        (("run", "campus_100mw", "--platform", "tpu"), "JAX finds no such device here"),
        (("plot", "none.h5", "--out", "c.png"), "none.h5"),
        (("export", "none.h5", "--format", "csv", "--out", "c.csv"), "none.h5"),
        (("assess", "none.h5", "--limits", "ercot_draft"), "none.h5: no such file"),
        (("assess", "none.csv", "--limits", "ercot_draft"), "none.csv cannot be read"),
        (("assess", "none.h5", "--limits", "ercot"), "nearest: ercot_draft"),
        (("assess", "none.h5"), "--limits LIMITS to judge by, or --metrics"),
        (("assess", "none.h5", "--limits", "ercot_draft", "--bands", "0.1-2"), "go with --metrics"),
        (("assess", "none.h5", "--metrics", "--bands", "0.1-2,2"), "'0.1-2,2' must be like 0.1-2,0.2-3"),
        (("assess", "none.h5", "--metrics", "--shaft-strength", "0.1,-1,6"), "three positive numbers"),
        (("presets", "bateries"), "invalid choice"),
        (("fly",), "invalid choice"),
    ],
)
def test_mistakes_end_in_words_and_status_2(wattswing, args, says):
    done = wattswing(*args)
    assert done.returncode == 2
    assert says in done.stderr and "Traceback" not in done.stderr


def test_no_equilibrium_is_status_2(wattswing):
    done = wattswing("run", "r1_load_step", "--set", 'grid.area=[{name="main", inertia_s=4.0, load_mw=2000.0, '
                     'governor=[{model="tgov1"}]}]')  # fmt: skip
    assert done.returncode == 2 and "outside its valve limits" in done.stderr


def test_collapse_is_status_4_with_the_trace_kept(wattswing, tmp_path):
    (tmp_path / "c.toml").write_text(
        LONG.format(duration_s=2.0) + '[[disturbance]]\nkind = "load_step"\nat_s = 1.0\nsite = "campus"\nmw = 60.0\n'
    )
    pcc = "site.0.pcc={short_circuit_ratio=1.2, x_over_r=10.0, nominal_kv=138.0, rated_mw=100.0}"
    done = wattswing("run", "c.toml", "--set", pcc, "--set", "site.0.bess.power_mw=0")
    assert done.returncode == 4
    assert "voltage collapse at site campus" in done.stderr
    trace = hdf5.read(tmp_path / "c.h5")
    assert not trace.complete and "voltage collapse" in trace.stop_reason and len(trace.time_s) == 1001


def test_ctrl_c_leaves_a_readable_trace(tmp_path):
    (tmp_path / "long.toml").write_text(LONG.format(duration_s=1_000_000.0))  # minutes: never over before the signal
    process = subprocess.Popen(
        [sys.executable, "-m", "emulator", "run", "long.toml"],
        cwd=tmp_path, env=environment(ROOT / ".jax_cache"), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    path = tmp_path / "long.h5"
    deadline = time.monotonic() + 60.0
    while not (path.exists() and path.stat().st_size > 200_000) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "long.h5 holds all rows up to here" in stderr and "Traceback" not in stderr
    with h5py.File(path) as file:  # closed properly: opens without SWMR
        assert file.attrs["complete"] == 0
        rows = len(file["trace/time_s"])
        assert rows > 0
        assert file["trace/site_pcc_power_mw"].shape == (rows, 1)


MEASURE = """
import resource, sys
from emulator.cli import main
status = main(["run", "long.toml", "--quiet", "--out", "long.h5", "--set", "run.duration_s=" + sys.argv[1]])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(status)
"""


def test_memory_does_not_grow_with_duration(tmp_path):
    """Five times the rows: 9.6 million more of 12 channels, 56 bytes each, 540 MB if they were held. Allowed: a fifth
    of that, for what the allocator keeps; the shorter run is long enough for buffers to have filled."""
    (tmp_path / "long.toml").write_text(LONG.format(duration_s=1.0))
    peaks = []
    for duration_s in ("2400.0", "12000.0"):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, duration_s],
            cwd=tmp_path, env=environment(ROOT / ".jax_cache"), capture_output=True, text=True, check=True,
        )  # fmt: skip
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] - peaks[0] < 108.0, peaks


def test_from_a_wheel_outside_the_repository(tmp_path):
    """The wheel carries kernels, presets and the template of the report."""
    build = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "-q", "-w", "dist"]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("wattswing-*.whl")
    site = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-index",
        "-q",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(install, cwd=tmp_path, check=True, capture_output=True)
    code = (
        "import emulator, sys; from emulator.cli import main; print(emulator.__file__);"
        "sys.exit(main(['run', 'campus_100mw', '--set', 'run.duration_s=0.2', '--quiet', '--out', 'c.h5']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**environment(ROOT / ".jax_cache"), "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(site))
    assert {path.suffix for path in (site / "emulator" / "report").glob("page.*")} == {".py", ".html", ".css", ".js"}
    assert hdf5.read(tmp_path / "c.h5").complete
