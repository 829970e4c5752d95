"""The command as a user types it, in a folder of his own."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import h5py
import jax
import numpy as np
import pytest

from emulator import catalog, cli, simulate
from emulator.account import Account
from emulator.commands import interruption
from emulator.commands.common import prepare_jax
from emulator.trace import TraceError
from emulator.traces import hdf5
from emulator.xla import compile_loops_whole

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


JAX_SETTINGS = (
    "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs", "jax_enable_x64", "jax_platforms",
)  # fmt: skip
Command = Callable[..., SimpleNamespace]


def command_in(folder: Path) -> Command:
    """The command in a folder, in this process, which has loaded JAX; its settings of JAX do not stay."""

    def run(*args: str) -> SimpleNamespace:
        before = {name: getattr(jax.config, name) for name in JAX_SETTINGS}
        cache = patch.dict(os.environ, XDG_CACHE_HOME=str(ROOT / ".jax_cache"))
        out, err = StringIO(), StringIO()
        with chdir(folder), cache, redirect_stdout(out), redirect_stderr(err):
            try:
                status = cli.main(args)
            except SystemExit as end:  # of --help and of arguments that do not parse
                status = end.code
            finally:
                for name, value in before.items():
                    jax.config.update(name, value)
        return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=err.getvalue())

    return run


@pytest.fixture
def wattswing(tmp_path) -> Command:
    """The command in an empty folder."""
    return command_in(tmp_path)


def alone(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "emulator", *args],
        cwd=folder,
        env=environment(ROOT / ".jax_cache"),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> SimpleNamespace:
    """Two seconds of the demo: its trace, and what the command said."""
    folder = tmp_path_factory.mktemp("demo")
    args = ("run", "campus_100mw", "--set", "run.duration_s=2", "--platform", "cpu", "--out", "a/campus_100mw.h5")
    done = command_in(folder)(*args)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(trace=folder / "a" / "campus_100mw.h5", stdout=done.stdout)


@pytest.fixture
def demo(ran, tmp_path) -> Path:
    """Its trace in the folder of the test."""
    return Path(shutil.copy(ran.trace, tmp_path))


def test_run_plot_export(wattswing, tmp_path, ran, demo):
    for text in ("MW", "battery SOC", "frequency", "emulated 2 s", "x real time", "trace in a/campus_100mw.h5"):
        assert text in ran.stdout
    assert max(len(line) for line in ran.stdout.splitlines()) <= 80 and ran.stdout.count("\n") <= 24
    with h5py.File(demo) as file:
        assert file.attrs["complete"] == 1
        assert file.attrs["platform"] == "cpu"
        assert file["trace/site_pcc_power_mw"].shape == (2000, 1)
    assert wattswing("plot", demo.name, "--out", "c.png").returncode == 0
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    words = ["--format", "csv", "--out", "c.csv", "--every", "10", "--channels", "bess_soc"]
    done = wattswing("export", demo.name, *words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "c.csv").read_text().startswith("time_s,bess_soc[campus]\n0.0,0.5\n0.01,")


def test_the_trace_holds_the_contract(wattswing, tmp_path, demo):
    """Datasets, attributes and the balance of powers, read by h5py alone."""
    with h5py.File(demo) as file:
        for name in ROOT_ATTRIBUTES:
            assert name in file.attrs, name
        trace = file["trace"]
        for name in CHANNELS:
            assert "units" in trace[name].attrs and "long_name" in trace[name].attrs, name
        assert trace["time_s"].dtype == np.float64 and trace["area_frequency_hz"].dtype == np.float64
        difference = trace["site_facility_power_mw"][:] - trace["site_bess_power_mw"][:]
        np.testing.assert_allclose(trace["site_pcc_power_mw"][:], difference, atol=1e-5)
        assert len(file["event/time_s"]) >= 1 and "metrics" in file
    (tmp_path / "again.toml").write_text(hdf5.read(demo).header.config)
    assert wattswing("run", "again.toml", "--out", "d.h5", "--quiet").returncode == 0
    one, other = (hdf5.read(path).site_pcc_power_mw for path in (demo, tmp_path / "d.h5"))
    np.testing.assert_array_equal(one, other)


LIMIT = """
[[limit]]
name = "a swing"
kind = "dynamic_range"
max_mw = {max_mw}
source = "made"
status = "example"
"""


def test_assess_a_run(wattswing, tmp_path, demo):
    """Status 3 where a limit fails, 0 where all pass and where some cannot be judged; JSON as the contract has it."""
    with h5py.File(demo) as file:
        power = file["trace/site_pcc_power_mw"][:, 0]
    swing = float(power.max()) - float(power.min())
    for max_mw, verdict, status in ((0.9 * swing, "fail", 3), (1.1 * swing, "pass", 0)):
        (tmp_path / "limits.toml").write_text(LIMIT.format(max_mw=max_mw))
        done = wattswing("assess", demo.name, "--limits", "limits.toml", "--json")
        assert done.returncode == status, done.stderr
        found = json.loads(done.stdout)
        assert (found["trace"], found["complete"], found["verdict"]) == (demo.name, True, verdict)
        (row,) = found["limits"]
        assert row["measured"] == pytest.approx(swing) and row["margin"] == pytest.approx(max_mw - swing)
        assert (row["passed"], row["where"]) == (verdict == "pass", "campus")
    done = wattswing("assess", demo.name, "--limits", "iec_61000_3_7")
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
    assert tomllib.loads(wattswing("presets", "gb200").stdout)["tdp_w"] == 1200.0
    assert json.loads(wattswing("schema").stdout)["properties"]["run"]


def examples(command: str, help_text: str) -> list[list[str]]:
    """Command lines below "example:", as argparse prints them: the words after `wattswing`."""
    lines = [line.strip() for line in help_text.partition("example:\n")[2].splitlines()]
    assert any(line.startswith(f"wattswing {command}") for line in lines), help_text
    return [shlex.split(line.partition(">")[0])[1:] for line in lines]


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_help_has_an_example_that_has_what_it_needs(wattswing, command):
    """Parses as printed, and reads presets and what its own earlier lines write."""
    made: set[str] = set()
    for words in examples(command, wattswing(command, "--help").stdout):
        args = cli.parser().parse_args(words)
        needs = [getattr(args, "trace", None), *getattr(args, "traces", ())]
        assert {str(path) for path in needs if path is not None} <= made, words
        config, limits = getattr(args, "config", None), getattr(args, "limits", None)
        assert config is None or config in catalog.names("scenarios")
        assert limits is None or limits in catalog.names("limits")
        made |= {str(getattr(args, "out", None) or f"{config}.h5")}


@pytest.mark.parametrize("command", ["plot", "export", "assess", "report", "presets", "schema", "check"])
def test_examples_run(wattswing, command, demo):
    """Two seconds of the demo stand for it; commands that compute have tests of their own."""
    for words in examples(command, wattswing(command, "--help").stdout):
        if words[0] != "run":
            done = wattswing(*words)
            assert done.returncode == (3 if command == "assess" else 0), done.stderr


def test_every_argument_says_what_it_is():
    """And commands that read a configuration or limits say how to list those that ship."""
    (commands,) = (its.choices for its in cli.parser()._actions if isinstance(its, argparse._SubParsersAction))
    assert tuple(commands) == tuple(cli.COMMANDS)
    for name, parser in commands.items():
        arguments, told = {its.dest: its for its in parser._actions}, " ".join(parser.format_help().split())
        assert [dest for dest, its in arguments.items() if not its.help] == [], name
        for dest, kind in (("config", "scenarios"), ("limits", "limits")):
            assert dest not in arguments or f"`wattswing presets {kind}`" in told, name


def test_a_lone_help_line_is_not_broken(wattswing):
    """As wide as it is: a line that argparse breaks cannot be pasted."""
    assert (
        "\n  wattswing export campus_100mw.h5 --format csv --out campus.csv --every 100\n"
        in wattswing("export", "--help").stdout
    )


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("run", "campus_10mw"), "nearest: campus_100mw"),
        (("run", "campus_100mw", "--out", "c.toml"), "--out c.toml: must end in .h5"),
        (("run", "campus_100mw", "--set", "run.duration_s=-1"), "--set: run.duration_s: is -1, must be > 0"),
        (("plot", "none.h5", "--out", "c.png"), "none.h5"),
        (("plot", f"{'n' * 300}.h5", "--out", "c.png"), "nnn.h5: File name too long"),
        (("export", "none.h5", "--format", "csv", "--out", "c.csv"), "none.h5"),
        (("assess", "none.h5", "--limits", "ercot_draft"), "none.h5: no such file"),
        (("assess", "none.csv", "--limits", "ercot_draft"), "none.csv cannot be read"),
        (("assess", "none.h5", "--limits", "ercot"), "nearest: ercot_draft"),
        (("assess", "none.h5"), "--limits LIMITS to judge by, or --metrics"),
        (("assess", "none.h5", "--limits", "ercot_draft", "--bands", "0.1-2"), "go with --metrics"),
        (("assess", "none.h5", "--metrics", "--bands", "0.1-2,2"), "'0.1-2,2' must be like 0.1-2,0.2-3"),
        (("assess", "none.h5", "--metrics", "--shaft-strength", "0.1,-1,6"), "three positive numbers"),
        (("presets", "bateries"), "'bateries' is unknown; nearest: batteries"),
        (("plot", "none.h5", "--out", "c.png", "--window", "1", "inf"), "'inf' must be a number of seconds"),
        (("presets", "ercot_drafts"), "'ercot_drafts' is unknown; nearest: ercot_draft"),
        (("rnu",), "'rnu' is unknown; nearest: run"),
        (("run", "campus_100mw", "--uot", "c.h5"), "wattswing run: --uot c.h5: unknown; nearest: --out"),
        (("run", "campus_100mw", "--set", "site=[{name=campus}]"), "did the shell take its quotes?"),
        (("run", "campus_100mw", "--resume"), "no such file; start anew without --resume"),
        (("assess", "load.dat", "--limits", "ercot_draft"), "wattswing: load.dat: the ending tells the format"),
        (("sweep", "battery_sizes", "--out", "s.csv"), "must end in .h5"),
        (("sweep", "battery_sizes", "--limits", "ercot"), "wattswing: ercot: no such file, and no limits preset"),
        (("sweep", "battery_sizes", "--out", "/proc/none/s.h5"), "cannot write /proc/none/s.h5"),
        (("sweep", "battery_sizes", "--set", "sweep.values.x=1"), "--set: sweep.values.x: is 1, must be a list"),
    ],
)
def test_mistakes_end_in_words_and_status_2(wattswing, args, says):
    done = wattswing(*args)
    assert done.returncode == 2
    assert says in done.stderr and "Traceback" not in done.stderr


def test_no_trace_to_export_onto_an_old_file(wattswing, tmp_path):
    (tmp_path / "c.csv").write_text("old")
    done = wattswing("export", "none.h5", "--format", "csv", "--out", "c.csv")
    assert (done.returncode, done.stderr) == (2, "wattswing: none.h5: no such file\n")
    assert (tmp_path / "c.csv").read_text() == "old"


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_a_device_that_is_not_there_is_status_2(tmp_path, platform):
    done = alone(tmp_path, "run", "campus_100mw", "--platform", platform)
    assert done.returncode == 2 and f"--platform {platform}: JAX finds no such device here" in done.stderr
    assert "rocm" not in done.stderr, "of gpu JAX wants all makes at once"


def test_of_gpu_any_make_will_do(monkeypatch):
    """Of jax_platforms = gpu JAX wants CUDA and ROCm (its issue 12335), and fails where there is but one."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    before = {name: getattr(jax.config, name) for name in JAX_SETTINGS}
    try:
        prepare_jax("gpu", jax.config.jax_enable_x64)
        assert jax.config.jax_platforms is None
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def test_settings_of_xla_leave_the_users_alone(monkeypatch):
    theirs = "--xla_gpu_deterministic_ops=false --xla_force_host_platform_device_count=3"
    monkeypatch.setenv("XLA_FLAGS", theirs)
    for _ in range(2):
        compile_loops_whole()
        names = [flag.split("=")[0] for flag in os.environ["XLA_FLAGS"].split()]
        assert os.environ["XLA_FLAGS"].startswith(theirs) and len(set(names)) == len(names) == 4
    monkeypatch.setenv("XLA_FLAGS", "")
    compile_loops_whole()
    assert "--xla_gpu_deterministic_ops=true" in os.environ["XLA_FLAGS"]


@pytest.mark.parametrize(
    ("asked", "platforms", "said"),
    [
        ("", "cpu", ""),
        ("cpu", "cpu", ""),
        ("cuda,cpu", "cuda,cpu", ""),
        ("cuda", "cuda,cpu", "JAX_PLATFORMS=cuda: JAX"),
    ],
)
def test_it_computes_on_the_cpu_unless_told(asked, platforms, said):
    """JAX itself passes over a CUDA that is not there."""
    code = """import jax; from emulator.commands.common import UsageError, prepare_jax
try:
    prepare_jax(None, False)
except UsageError as error:
    print(error)
print(jax.config.jax_platforms)"""
    its = {**os.environ, "JAX_PLATFORMS": asked}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=its, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(said) and done.stdout.splitlines()[-1] == platforms


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


def interrupt(*args: object, **others: object) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_before_the_first_checkpoint(wattswing, tmp_path, monkeypatch):
    """Nobody is told to resume what cannot be resumed."""
    (tmp_path / "long.toml").write_text(LONG.format(duration_s=1.0))
    monkeypatch.setattr(simulate, "stream", interrupt)
    done = wattswing("run", "long.toml")
    assert (done.returncode, done.stderr) == (130, "\ninterrupted: long.h5 holds all rows up to here, 0 s\n")
    done = wattswing("run", "long.toml", "--resume")
    assert done.returncode == 2 and "interrupted before its first checkpoint; start anew" in done.stderr


def test_ctrl_c_in_a_sweep(wattswing, tmp_path, monkeypatch):
    """At the second of three scenarios: the first has ended, the third nothing yet."""
    (tmp_path / "three.toml").write_text(LONG.format(duration_s=1.0) + "[sweep]\nseeds = 3\n")
    (tmp_path / "s.h5").symlink_to("kept.h5")
    (tmp_path / "kept.h5").write_text("old")
    taken = Account.take
    monkeypatch.setattr(Account, "take", interrupt)
    done = wattswing("sweep", "three.toml", "--out", "s.h5")
    assert done.returncode == 130 and "interrupted: nothing emulated yet, s.h5 is as it was" in done.stderr
    assert (tmp_path / "s.h5").read_text() == "old"
    seen: list[Account] = []

    def take(account: Account, *rest):
        seen.append(account)
        return interrupt() if len(seen) == 2 else taken(account, *rest)

    monkeypatch.setattr(Account, "take", take)
    done = wattswing("sweep", "three.toml", "--out", "s.h5")
    assert done.returncode == 130 and "s.h5 holds 1 of 3 scenarios whole and 0 up to here" in done.stderr
    with h5py.File(tmp_path / "kept.h5") as file:
        assert file["sweep/seed"][:].tolist() == [0] and file["sweep/complete"][:].tolist() == [1]


def test_a_sweep_with_limits_ends_well_where_they_fail(wattswing, tmp_path):
    """That is what one looks for; and what it found can be drawn."""
    (tmp_path / "three.toml").write_text(LONG.format(duration_s=1.0) + "[sweep]\nseeds = 3\n")
    (tmp_path / "l.toml").write_text('[[limit]]\nname = "charge"\nkind = "soc_window"\nlow = 0.6\nhigh = 0.9\n')
    done = wattswing("sweep", "three.toml", "--limits", "l.toml", "--out", "s.h5")
    assert done.returncode == 0 and "3 scenarios in s.h5: 3 fail" in done.stdout
    assert done.stdout.splitlines()[1].endswith("FAIL          -0.1  charge")  # starts at half charge
    assert wattswing("plot", "s.h5", "--out", "s.png").returncode == 0 and (tmp_path / "s.png").is_file()
    done = wattswing("plot", "s.h5", "--out", "s.png", "--window", "0", "1")
    assert done.returncode == 2 and "s.h5 is of a sweep, which has no time: --window" in done.stderr


@pytest.mark.parametrize(
    ("where", "args", "says"),
    [
        ("emulator.cli.parser", ("run", "campus_100mw"), "\ninterrupted\n"),  # while modules load
        ("emulator.plot.overview", ("plot", "c.h5", "--out", "c.png"), "\ninterrupted: c.png is as it was\n"),
    ],
)
def test_ctrl_c_elsewhere_is_a_line(wattswing, monkeypatch, where, args, says):
    monkeypatch.setattr(where, interrupt)
    done = wattswing(*args)
    assert (done.returncode, done.stderr) == (130, says)


def test_ctrl_c_while_compiled_modules_load_waits_for_them():
    reached = False
    with pytest.raises(KeyboardInterrupt), interruption.interrupts_later():
        signal.raise_signal(signal.SIGINT)
        reached = True
    assert reached and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_that_python_dropped_comes_again(monkeypatch):
    """As what a destructor raises, and JAX has many, or a callback of the garbage collector."""

    class Gone:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(sys, "unraisablehook", interruption.not_lost)
    with pytest.raises(KeyboardInterrupt):
        Gone()
        time.sleep(10.0)


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put back what the test changes."""
    before = {number: signal.getsignal(number) for number in interruption.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_interrupts_once(handlers, capfd):
    """Schedulers and shells repeat it; only Ctrl-C, and that once more than usual, cuts short how a command ends."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    interruption.listen()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    for again in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.raise_signal(again)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    says = "\nwattswing: told to stop (SIGTERM)\n\nwattswing: is ending; Ctrl-C again ends at once\n"
    assert capfd.readouterr().err == says


def test_a_signal_in_the_background_of_a_script(handlers):
    """Where Ctrl-C is ignored, SIGTERM is not, also one that Python dropped."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interruption.listen()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        interruption.not_lost(SimpleNamespace(exc_type=KeyboardInterrupt))
        time.sleep(10.0)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_what_an_import_makes_of_a_signal_is_an_interruption(wattswing, handlers, monkeypatch):
    """As pydantic's and PyArrow's do, and then even a friend's words would be wrong."""

    def imported(*args: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as error:
            raise TraceError("it needs what is not installed") from error

    interruption.listen()
    monkeypatch.setattr("emulator.plot.overview", imported)
    done = wattswing("plot", "c.h5", "--out", "c.png")
    assert done.returncode == 130 and done.stderr.endswith("\ninterrupted\n")


HALF_WAY = """
import os, signal
from emulator.traces import text
shortest = text.shortest
def told(column):
    os.kill(os.getpid(), signal.SIGTERM)
    return shortest(column)
text.shortest = told
from emulator.__main__ import entry
entry()
"""


def test_sigterm_while_exporting_leaves_what_was_there(wattswing, tmp_path):
    (tmp_path / "c.toml").write_text(LONG.format(duration_s=1.0))
    assert wattswing("run", "c.toml", "--quiet").returncode == 0
    (tmp_path / "c.csv").write_text("old")
    command = [sys.executable, "-c", HALF_WAY, "export", "c.h5", "--format", "csv", "--out", "c.csv"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(ROOT / ".jax_cache"), capture_output=True, text=True)
    says = "\nwattswing: told to stop (SIGTERM)\n\ninterrupted: c.csv is as it was\n"
    assert (done.returncode, done.stdout, done.stderr) == (130, "", says)
    assert (tmp_path / "c.csv").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"c.toml", "c.h5", "c.csv"}


MEASURE = """
import resource
from emulator.cli import main
for duration_s in (2400, 12000):
    assert main(["run", "long.toml", "--quiet", "--out", "long.h5", "--set", f"run.duration_s={duration_s}"]) == 0
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_duration(tmp_path):
    """Five times the rows: 9.6 million more of 12 channels, 56 bytes each, 540 MB if they were held. Allowed: a fifth
    of that, for what the allocator keeps; the shorter run is long enough for buffers to have filled."""
    (tmp_path / "long.toml").write_text(LONG.format(duration_s=1.0))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        cwd=tmp_path, env=environment(ROOT / ".jax_cache"), capture_output=True, text=True, check=True,
    )  # fmt: skip
    shorter, longer = (int(line) / 1024 for line in done.stdout.split())
    assert longer - shorter < 108.0


EVERYTHING = """
import importlib, pkgutil, sys
import emulator
from emulator.cli import main
print(emulator.__file__)
for module in pkgutil.walk_packages(emulator.__path__, "emulator."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
assert main(["check", "campus_100mw"]) == 0
sys.exit(main(["run", "r1_load_step", "--set", "run.duration_s=2", "--quiet", "--out", "c.h5"]))
"""


def test_from_a_wheel_outside_the_repository(tmp_path):
    """The wheel carries all modules, kernels among them, presets and the template of the report, and emulates."""
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
    done = subprocess.run(
        [sys.executable, "-c", EVERYTHING],
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


def test_run_says_what_no_planner_wants(wattswing, tmp_path):
    """Sin of 90 degrees carries 100 MW; a step of 300 MW is more than the tie's share of it."""
    area = '[[grid.area]]\nname = "{}"\nrated_mva = 100.0\ninertia_s = 2.0\n'
    areas = area.format("west") + area.format("east")
    tie = '[[grid.tie]]\nbetween = ["west", "east"]\nsynchronizing_mw_per_rad = 100.0\n'
    step = '[[disturbance]]\nkind = "load_step"\nat_s = 0.1\narea = "east"\nmw = 300.0\n'
    (tmp_path / "c.toml").write_text(f"[run]\nduration_s = 2.0\n{areas}{tie}{step}")
    done = wattswing("run", "c.toml")
    assert done.returncode == 0, done.stderr
    assert "\nloss of synchronism      1 x, first west-east at 0." in done.stdout
