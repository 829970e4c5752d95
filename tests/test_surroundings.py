"""The command in surroundings that it did not choose: encodings, outputs that are closed or full, no home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import emulator
from emulator.commands import common

CONFIG = """
[run]
duration_s = 1.0
[[site]]
name = "Zürich"
[[site.job]]
name = "base"
kind = "replay"
path = "load.csv"
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "c.toml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "load.csv").write_text("t_s,p_mw\n0,1\n2,3\n")
    return tmp_path


def check(folder: Path, redirection: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """`wattswing check` by a shell, in a process of its own."""
    return subprocess.run(
        f"'{sys.executable}' -m emulator check c.toml {redirection}", shell=True, cwd=folder, text=True,
        capture_output=True, check=False, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **variables},
    )  # fmt: skip


def test_letters_that_the_encoding_lacks_are_escaped(folder):
    done = check(folder, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Z\\xfcrich" in done.stdout


def test_a_full_output_is_said(folder):
    done = check(folder, "> /dev/full")
    assert done.returncode == 4
    assert done.stderr == "wattswing: what was to be printed is not all there: No space left on device\n"


def test_closed_outputs(folder):
    assert check(folder, ">&-").returncode == 0
    assert check(folder, ">&- 2>&-").returncode == 0


def test_check_flags_what_a_replayed_file_is_not(folder):
    """On the error's side: what is printed stays a configuration."""
    whole = check(folder)
    assert (whole.returncode, whole.stderr) == (0, "")
    (folder / "load.csv").write_text("t_s,p_mw\n0,1\n2,3")
    cut = check(folder)
    assert (cut.returncode, cut.stdout) == (0, whole.stdout)
    assert cut.stderr.startswith(f"wattswing: warning: {folder / 'load.csv'}: the last line does not end")


def test_the_package_lists_what_it_has():
    """For whoever completes a name by a key: names load on first use, but are there before."""
    assert set(emulator.__all__) <= set(dir(emulator))


def test_without_a_home_there_is_no_cache(monkeypatch):
    """A user whom the machine does not know, as in containers."""

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert common._cache() is None
