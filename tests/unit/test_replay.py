"""Records: what is refused, and exact means of what is accepted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.cluster import replay
from emulator.jobs_schema import ReplayJob


def record(tmp_path, text: str, **keys) -> ReplayJob:
    (tmp_path / "load.csv").write_text(text)
    return ReplayJob(name="r", kind="replay", path=str(tmp_path / "load.csv"), **keys)


def test_reads_named_columns_units_and_scale(tmp_path):
    job = record(
        tmp_path, "note,time,kw\na,10.0,5\nb,10.5,7\n", time_column="time", power_column="kw", unit="kw", scale=2.0
    )
    time_s, power_w = replay.read(job)
    np.testing.assert_array_equal(time_s, [0.0, 0.5])
    np.testing.assert_array_equal(power_w, [10e3, 14e3])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("t_s,p_mw\n0,1\n1,2\n1,3\n", "line 4: t_s repeats 1 s"),
        ("t_s,p_mw\n0,1\n2,2\n1,3\n", "line 4: t_s goes back"),
        ("t_s,p_mw\n0,1\n1,nan\n2,3\n", "line 3: p_mw is not a finite number"),
        ("t_s,p_mw\n0,1\n1,\n2,3\n", "line 3: p_mw is '', must be a number"),
        ("t_s,p_mw\n0,1\n1,2\n2,3\n3,1\n20,1\n21,2\n", "line 6: a gap of 17 s, where samples are 1 s apart"),
        ("t_s,p_mw\n\n0,1\n\n1,2\n1,3\n", "line 6: t_s repeats 1 s"),
        ("t_s,p_mw\n0,1\n1,-2\n2,3\n", "line 3: p_mw is negative"),
        ("t_s,p_mw\n0,1\n", "holds 1 samples, at least 2"),
        ("t_s,p_kw\n0,1\n1,1\n", "no column 'p_mw'; nearest: p_kw"),
        ("", "no column 't_s'"),
    ],
)
def test_refused_in_words(tmp_path, text, says):
    with pytest.raises(replay.RecordError, match=says):
        replay.read(record(tmp_path, text))


def test_missing_file_is_refused(tmp_path):
    job = ReplayJob(name="r", kind="replay", path=str(tmp_path / "none.csv"))
    with pytest.raises(replay.RecordError, match="none.csv cannot be read: No such file"):
        replay.read(job)


def test_a_record_that_ends_early_is_refused_with_the_numbers(tmp_path, scenario):
    from emulator.complaint import ConfigError

    record(tmp_path, "t_s,p_mw\n0,1\n1,2\n2,1\n")
    text = """
        [run]
        duration_s = {duration_s}
        [[site]]
        name = "a"
        [[site.job]]
        name = "r"
        kind = "replay"
        path = "load.csv"
    """
    scenario(text.format(duration_s=3.0))
    with pytest.raises(ConfigError, match="site.0.job.0.path: lasts 3 s, 3.001 s are played: set repeat = true"):
        scenario(text.format(duration_s=3.001))
    scenario(text.format(duration_s=3.001), "site.0.job.0.repeat=true")


TIME_S = np.array([0.0, 0.3, 1.0, 1.1, 2.0])
POWER_W = np.array([5.0, 9.0, 2.0, 2.0, 7.0])  # median interval 0.5 s


def waveform(t_s: np.ndarray, interpolation: str, repeat: bool) -> np.ndarray:
    """The definition, point by point."""
    t_s = np.mod(t_s, 2.5) if repeat else t_s
    if interpolation == "previous":
        return POWER_W[np.clip(np.searchsorted(TIME_S, t_s, side="right") - 1, 0, 4)]
    end = POWER_W[0] if repeat else POWER_W[-1]
    return np.interp(t_s, np.append(TIME_S, 2.5), np.append(POWER_W, end))


@pytest.mark.parametrize("interpolation", ["linear", "previous"])
@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize("dt_s", [0.01, 0.07, 0.25])
def test_ticks_are_means_of_the_waveform(interpolation, repeat, dt_s):
    ticks = int((7.0 if repeat else 2.5) / dt_s)
    means = replay.resample(TIME_S, POWER_W, 0, ticks, dt_s, interpolation, repeat)
    fine = 2000
    points = (np.arange(ticks * fine) + 0.5) * dt_s / fine
    expected = waveform(points, interpolation, repeat).reshape(ticks, fine).mean(axis=1)
    np.testing.assert_allclose(means, expected, atol=7.0 / fine * 1.01)  # a jump anywhere in one of the fine cells


@settings(deadline=None, max_examples=50)
@given(split=st.integers(1, 299), repeat=st.booleans())
def test_windows_give_what_the_whole_gives(split, repeat):
    whole = replay.resample(TIME_S, POWER_W, 0, 300, 0.008, "linear", repeat)
    parts = [
        replay.resample(TIME_S, POWER_W, a, n, 0.008, "linear", repeat) for a, n in ((0, split), (split, 300 - split))
    ]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-9)


@pytest.mark.parametrize("dt_s", [0.001, 0.01, 0.1])
def test_energy_does_not_depend_on_the_tick(dt_s):
    ticks = round(2.5 / dt_s)
    energy = replay.resample(TIME_S, POWER_W, 0, ticks, dt_s, "linear", False).sum() * dt_s
    assert energy == pytest.approx(np.trapezoid(POWER_W, TIME_S) + 0.5 * 7.0, rel=1e-12)


@pytest.mark.parametrize("repeat", [False, True])
def test_hours_keep_their_digits(repeat):
    """After 10 h at 100 MW the integral is 3.6e12 J, in float64 good to 4e-4 J, which is 0.4 W a tick: a window must
    not take it from there. Time is good to 7e-12 s, here 7e-9 of a tick's slope of 100 W."""
    time_s = np.arange(0.0, 101.0 if repeat else 36_001.0)
    power_w = np.where(np.arange(len(time_s)) % 2, 1e8, 1e8 - 1e5)
    means = replay.resample(time_s, power_w, 35_998_005, 1000, 0.001, "linear", repeat)
    middle_s = 35_998.0055 % (101.0 if repeat else np.inf) + np.arange(1000) * 0.001
    np.testing.assert_allclose(means, np.interp(middle_s, time_s, power_w), rtol=1e-11, atol=0.02 * 100.0)


def test_a_window_after_the_end_holds_the_last_sample():
    means = replay.resample(TIME_S, POWER_W, 300, 5, 0.01, "linear", False)
    np.testing.assert_allclose(means, 7.0, rtol=1e-12)


def test_a_name_that_no_file_can_have_is_refused():
    with pytest.raises(replay.RecordError, match="no name of a file"):
        replay.read(ReplayJob(name="r", kind="replay", path="a\0b"))


def test_a_replayed_job_in_a_run(emulate, tmp_path):
    record(tmp_path, "t_s,p_mw\n0,10\n0.5,10\n1.0,30\n1.5,30\n")
    text = """
        [run]
        duration_s = 4.0
        [[site]]
        name = "a"
        [[site.job]]
        name = "r"
        kind = "replay"
        path = "load.csv"
        start_s = 1.0
        stop_s = 3.0
    """
    trace = emulate(text)
    power = trace.job_power_mw[:, 0]
    assert np.all(power[:1000] == 0.0) and np.all(power[3000:] == 0.0)
    assert power[1100] == pytest.approx(10.0) and power[2900] == pytest.approx(30.0)
    assert power[1750] == pytest.approx(10.0 + 40.0 * (0.2505), rel=1e-5)  # mean of the tick's ramp
