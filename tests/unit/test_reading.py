"""Files are read once within `once`, and every time outside of it."""

from __future__ import annotations

import pytest

from emulator import config, power_file
from emulator.cli import main
from emulator.cluster import replay
from emulator.complaint import ConfigError
from emulator.jobs_schema import ReplayJob
from emulator.power_file import RecordError
from emulator.reading import once
from emulator.traces import from_csv
from emulator.tune import tune

CONFIG = """[run]
duration_s = 1.0
[[site]]
name = "s"
job = [
  {name = "r", kind = "replay", path = "load.csv", bandwidth_hz = 100.0},
  {name = "q", kind = "replay", path = "load.csv", scale = 2.0},
]
"""
TUNE = """bess = {power_mw = 1.0, energy_mwh = 1.0}
controller = {kind = "low_pass", cutoff_hz = 0.1}
[tune]
parameters = [{path = "site.0.bess.delay_s", low = 0.0, high = 0.2, scale = "linear"}]
train_seeds = [0]
objective = [{term = "bess_energy", weight = 1.0}]
"""


@pytest.fixture
def job(tmp_path) -> ReplayJob:
    """Of a file of three samples."""
    (tmp_path / "load.csv").write_text("t_s,p_mw\n0,1\n1,2\n2,1\n")
    return ReplayJob(name="r", kind="replay", path=str(tmp_path / "load.csv"))


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Paths, whenever a file is read."""
    calls, read = [], from_csv.read
    monkeypatch.setattr(from_csv, "read", lambda path, *columns: calls.append(path) or read(path, *columns))
    return calls


def test_outside_every_reading_sees_the_file_as_it_is(job, reads, tmp_path):
    time_s, power_w = replay.read(job)
    power_w[:] = 0.0  # one's own
    (tmp_path / "load.csv").write_text("t_s,p_mw\n0,3\n1,2\n2,1\n")  # as long as before
    assert replay.read(job)[1].tolist() == [3e6, 2e6, 1e6] and len(reads) == 2
    with once():
        replay.read(job)
    (tmp_path / "load.csv").write_text("t_s,p_mw\n0,4\n1,2\n2,1\n")
    with once():
        assert replay.read(job)[1][0] == 4e6
    assert replay.read(job)[1][0] == 4e6 and len(reads) == 5


def test_within_it_is_read_once_and_shared(job, reads):
    """At any scale, not in another unit; nobody can write into what others look at."""
    doubled = job.model_copy(update={"scale": 2.0, "name": "q"})
    with once():
        time_s, power_w = replay.read(job)
        with once():
            assert replay.read(doubled)[1].tolist() == [2e6, 4e6, 2e6]
        assert replay.read(doubled)[1] is replay.read(doubled)[1] and replay.read(job)[1] is power_w
        assert len(reads) == 1
        assert power_file.read(job.path, "t_s", "p_mw", "kw")[1].tolist() == [1e3, 2e3, 1e3] and len(reads) == 2
    for values in (time_s, power_w):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1.0


def test_what_cannot_be_read_is_not_kept(job, reads, tmp_path):
    (tmp_path / "load.csv").write_text("t_s,p_mw\n0,1\n1,x\n2,1\n")
    with once():
        with pytest.raises(RecordError, match="line 3: p_mw is 'x'"):
            replay.read(job)
        (tmp_path / "load.csv").write_text("t_s,p_mw\n0,1\n1,5\n2,1\n")
        assert replay.read(job)[1][1] == 5e6
    with pytest.raises(KeyError), once():
        replay.read(job)
        raise KeyError
    replay.read(job)
    assert len(reads) == 4


def test_a_search_reads_a_file_once(job, reads, tmp_path):
    """For its rules at the tuning tick and at bounds, and for what it emulates; here a static key is its end."""
    (tmp_path / "c.toml").write_text(CONFIG + TUNE)
    scenario = config.load(tmp_path / "c.toml")
    reads.clear()
    with pytest.raises(ConfigError, match="'site.0.bess.delay_s' is static"):
        tune(scenario)
    assert reads == [job.path]


def test_a_command_reads_a_file_once(job, reads, tmp_path, capsys):
    """For the rules of two jobs and for what is warned of."""
    (tmp_path / "c.toml").write_text(CONFIG)
    assert main(["check", str(tmp_path / "c.toml")]) == 0
    assert "it carries at most 0.5 Hz, bandwidth_hz asks for 100 Hz" in capsys.readouterr().err
    assert reads == [job.path]
    main(["check", str(tmp_path / "c.toml")])
    assert len(reads) == 2
