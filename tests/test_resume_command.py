"""`wattswing run --resume` as a user meets it: after kills, Ctrl-C, a full disk, with another configuration."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import h5py
import pytest

from emulator.traces import hdf5, state_file

from .test_cli import LONG, ROOT, command_in, environment
from .unit.test_resume import contents

# The command, with checkpoints every tenth of a second.
COMMAND = "import sys; from emulator.traces import hdf5; hdf5.CHECKPOINT_S = 0.1; hdf5.CHECKPOINT_SHARE = 0.0; \
from emulator.__main__ import entry; entry()"
DURATION_S = 3000.0  # 150 windows: over a second


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "run", "long.toml", *args],
        cwd=folder, env=environment(ROOT / ".jax_cache") | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def stop(process: subprocess.Popen[str], trace: Path, how: Sequence[signal.Signals], checkpoints: int) -> str:
    """Send signals once so many new checkpoints were kept; returns what was said."""
    kept, seen = state_file.path_of(trace), set()
    while len(seen) <= checkpoints and process.poll() is None:
        if kept.exists():
            seen.add(kept.stat().st_mtime_ns)
        time.sleep(0.002)
    assert process.poll() is None, process.communicate()
    for its in how:
        process.send_signal(its)
    return process.communicate(timeout=60)[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """With a configuration and the trace of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "long.toml").write_text(LONG.format(duration_s=DURATION_S))
    done = start(folder, "--out", "whole.h5", "--quiet")
    assert done.communicate() == ("", "") and done.returncode == 0
    assert not state_file.path_of(folder / "whole.h5").exists()
    return folder


# What is sent, and said. A scheduler may send several, and none of them cuts short how the trace is closed.
ENDINGS = (
    ([signal.SIGINT], "\ninterrupted: k.h5 holds all rows up to here"),
    (
        [signal.SIGTERM, signal.SIGTERM],
        "\nwattswing: told to stop (SIGTERM)\n\ninterrupted: k.h5 holds all rows up to here",
    ),
)


def test_killed_interrupted_resumed(folder):
    """Ends bit for bit as without; in between, the trace reads, and another run is refused and touches nothing."""
    path = folder / "k.h5"
    stop(start(folder, "--out", "k.h5"), path, [signal.SIGKILL], 2)
    rows = len(hdf5.read(path).time_s)
    assert rows > 0
    for how, said in ENDINGS:
        process = start(folder, "--out", "k.h5", "--resume")
        words = stop(process, path, how, 2)
        assert process.returncode == 130 and words.startswith(said) and words.endswith("go on with --resume\n"), words
        assert not hdf5.read(path).complete and hdf5.read(path).stop_reason == "interrupted"
        with h5py.File(path) as file:  # closed properly: opens without SWMR
            assert len(file["trace/time_s"]) > rows
            rows = len(file["trace/time_s"])

    before = path.read_bytes()
    other = start(folder, "--out", "k.h5", "--resume", "--set", "site.0.bess.power_mw=31", "--x64")
    _, said = other.communicate()
    assert other.returncode == 2
    assert "float was float32, now float64; site.0.bess.power_mw was 30.0, now 31.0" in said
    assert path.read_bytes() == before

    done = start(folder, "--out", "k.h5", "--resume")
    out, said = done.communicate()
    assert done.returncode == 0, said
    assert f"emulated {DURATION_S:g} s in" in out
    assert contents(path) == contents(folder / "whole.h5")
    assert not state_file.path_of(path).exists()


def test_resuming_what_needs_none(folder):
    run = command_in(folder)
    done = run("run", "long.toml", "--out", "whole.h5", "--resume")
    assert done == SimpleNamespace(returncode=0, stdout="whole.h5 is complete: nothing to resume\n", stderr="")
    done = run("run", "long.toml", "--out", "none.h5", "--resume")
    assert "none.h5: no such file; start anew without --resume" in done.stderr and done.returncode == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB: room for the trace and for two checkpoints, which hold a minute of rows each."""
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4096k", "tmpfs", tmp_path], capture_output=True, text=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"no file system may be mounted here: {mount.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no way here to fill a disk at once")
def test_full_disk_is_status_4_and_resumes(folder, small_disk):
    (small_disk / "long.toml").write_text((folder / "long.toml").read_text())
    filler = os.open(small_disk / "filler", os.O_CREAT | os.O_WRONLY)
    os.posix_fallocate(filler, 0, 7 * 2**19)  # 512 KiB are left
    os.close(filler)
    done = start(small_disk, "--out", "d.h5")
    _, said = done.communicate()
    assert done.returncode == 4, said
    assert "cannot write d.h5: No space left on device" in said and "make room and go on with --resume" in said
    assert "Traceback" not in said
    rows = len(hdf5.read(small_disk / "d.h5").time_s)
    assert 0 < rows < DURATION_S * 1000 and f"d.h5 holds all rows up to here, {rows / 1000:.12g} s" in said
    (small_disk / "filler").unlink()
    done = start(small_disk, "--out", "d.h5", "--resume", "--quiet")
    assert done.communicate() == ("", "") and done.returncode == 0
    assert contents(small_disk / "d.h5") == contents(folder / "whole.h5")
