"""Records: what is refused, and exact means of what is accepted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from emulator.cluster import replay
from emulator.jobs_schema import ReplayJob
from emulator.record import RecordError


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
        ("t_s,p_mw\n0,1\n1,nan\n2,3\n", "line 3: p_mw is nan, must be a finite number"),
        ("t_s,p_mw\n0,1\n1,\n2,3\n", "line 3: p_mw is missing; fill it, or leave lines and gap out"),
        ("t_s,p_mw\n0,1\n1,2\n2,3\n3,1\n20,1\n21,2\n", "line 6: a gap of 17 s, where samples are 1 s apart"),
        ("t_s,p_mw\n\n0,1\n\n1,2\n1,3\n", "line 6: t_s repeats 1 s"),
        ("t_s,p_mw\n0,1\n1,-2\n2,3\n", "line 3: p_mw is -2, must be >= 0"),
        ("t_s,p_mw\n0,1\n", "holds 1 sample, at least 2"),
        ("t_s,p_kw\n0,1\n1,1\n", "no column 'p_mw'; nearest: p_kw"),
        ("\n", "no column 't_s'"),
        ("", "load.csv is empty"),
    ],
)
def test_refused_in_words(tmp_path, text, says):
    with pytest.raises(RecordError, match=says):
        replay.read(record(tmp_path, text))


def test_a_made_record_has_no_gaps(tmp_path):
    """Break-points, and samples at random moments, of which 1 in 1000 comes after over ten medians: wide steps are no
    holes where there is no pace. One wide step among even ones is a hole (above)."""
    time_s, _ = replay.read(record(tmp_path, "t_s,p_mw\n0,50\n2,50\n2.001,80\n30,80\n"))
    assert time_s.tolist() == [0.0, 2.0, 2.001, 30.0]
    waits_s = np.random.default_rng(0).exponential(1.0, 10_000)
    assert waits_s.max() > 10 * np.median(waits_s)
    rows = "\n".join(f"{at:.6f},1" for at in np.cumsum(waits_s))
    assert len(replay.read(record(tmp_path, f"t_s,p_mw\n{rows}\n"))[0]) == 10_000


def test_missing_file_is_refused(tmp_path):
    job = ReplayJob(name="r", kind="replay", path=str(tmp_path / "none.csv"))
    with pytest.raises(RecordError, match="none.csv cannot be read: No such file"):
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
    with pytest.raises(RecordError, match="no name of a file"):
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


BEND_W_PER_S = 4.0 / 0.3 + 7.0 / 0.7  # largest difference of slopes of the waveform above, at 0.3 s


def brute_force(shift_s, first_tick, ticks, dt_s, interpolation, repeat) -> np.ndarray:
    """Tick means of the sum over copies by the definition: the antiderivative of every copy's waveform, on its own."""
    edges_s = (first_tick + np.arange(ticks + 1)) * dt_s
    if repeat:  # whole turns before and after, so that the antiderivative need not be periodic
        turns = np.arange(-8, 9)[:, None] * 2.5
        time_s, power_w = (TIME_S + turns).ravel(), np.tile(POWER_W, 17)
    else:
        time_s, power_w = (
            np.concatenate([[-50.0], TIME_S, [50.0]]),
            np.concatenate([POWER_W[:1], POWER_W, POWER_W[-1:]]),
        )
    ends_w = power_w[1:] if interpolation == "linear" else power_w[:-1]
    slope = (ends_w - power_w[:-1]) / np.diff(time_s)
    energy_j = np.concatenate([[0.0], np.cumsum(0.5 * (power_w[:-1] + ends_w) * np.diff(time_s))])
    total = np.zeros(ticks)
    for s in shift_s:
        i = np.searchsorted(time_s, edges_s - s, side="right") - 1
        since_s = edges_s - s - time_s[i]
        total += np.diff(energy_j[i] + since_s * (power_w[i] + 0.5 * slope[i] * since_s)) / dt_s
    return total


def copies_of(shift_s, first_tick, ticks, dt_s, interpolation, repeat) -> np.ndarray:
    shifts = replay.gathered(shift_s, dt_s)
    return replay.resample_copies(TIME_S, POWER_W, first_tick, ticks, dt_s, interpolation, repeat, len(shift_s), shifts)


@pytest.mark.parametrize("interpolation", ["linear", "previous"])
@pytest.mark.parametrize("repeat", [False, True])
def test_copies_in_step_are_so_many_times_one(interpolation, repeat):
    job = ReplayJob(name="r", kind="replay", path="x")
    assert replay.shifts_of(job, TIME_S, 0, 1, 0.01) is None
    one = replay.resample(TIME_S, POWER_W, 37, 400, 0.01, interpolation, repeat)
    for copies in (1, 1000):
        together = replay.resample_copies(TIME_S, POWER_W, 37, 400, 0.01, interpolation, repeat, copies, None)
        np.testing.assert_array_equal(together, copies * one)


@pytest.mark.parametrize("interpolation", ["linear", "previous"])
@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize("dt_s", [0.01, 0.04])
@pytest.mark.parametrize("first_tick", [0, 45])
@pytest.mark.parametrize("copies", [1, 3, 300])
def test_sum_over_copies_by_brute_force(interpolation, repeat, dt_s, first_tick, copies):
    """Within resample_copies' bounds, each copy in its worst place: D dt/512 and J/32 with J = 7; bends and jumps are
    further apart than the two ticks that one of them reaches."""
    shift_s = 0.6 * np.random.default_rng(copies).normal(size=copies)
    found = copies_of(shift_s, first_tick, 55, dt_s, interpolation, repeat)
    expected = brute_force(shift_s, first_tick, 55, dt_s, interpolation, repeat)
    bound = BEND_W_PER_S * dt_s / 512 if interpolation == "linear" else 7.0 / 32
    assert np.abs(found - expected).max() <= copies * bound * (1 + 1e-9)


@pytest.mark.parametrize("interpolation", ["linear", "previous"])
@pytest.mark.parametrize("repeat", [False, True])
def test_shifts_by_whole_places_are_exact(interpolation, repeat):
    """Nothing is joined by lines there: rounding only. Shifts beyond both ends of the record among them."""
    dt_s = 0.03125  # places are binary fractions
    shift_s = np.array([0, 8, -8, 5, 13, -1003, 700, -2000, 2500]) * dt_s / replay.SUBTICKS
    found = copies_of(shift_s, 3, 60, dt_s, interpolation, repeat)
    expected = brute_force(shift_s, 3, 60, dt_s, interpolation, repeat)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_copies_beyond_the_ends_hold_its_first_or_last_value():
    late, early = (copies_of(np.array([s]), 0, 200, 0.01, "linear", False) for s in (5.0, -5.0))
    np.testing.assert_allclose(late, POWER_W[0], rtol=1e-12)
    np.testing.assert_allclose(early, POWER_W[-1], rtol=1e-12)


def test_blocks_of_shifts_give_what_one_transform_gives(monkeypatch):
    """Blocks of 64 places, some without copies, against one. Rounding: 1002 copies x 9 W x 2^-52 a step."""
    shift_s = np.concatenate([0.3 * np.random.default_rng(0).normal(size=1000), [-1.9, 2.0]])
    whole = copies_of(shift_s, 10, 100, 0.01, "linear", True)
    monkeypatch.setattr(replay, "BLOCK", 64)
    blocks = [copies for _, copies in replay._blocks(replay.gathered(shift_s, 0.01), (-10_000, 10_000))]
    assert max(map(len, blocks)) == 64 and sum(copies.sum() for copies in blocks) == pytest.approx(1002, rel=1e-12)
    np.testing.assert_allclose(copies_of(shift_s, 10, 100, 0.01, "linear", True), whole, atol=1002 * 9 * 2.0**-52 * 40)


@settings(deadline=None, max_examples=25)
@given(split=st.integers(1, 299), repeat=st.booleans())
def test_windows_of_copies_give_what_the_whole_gives(split, repeat):
    shift_s = 0.4 * np.random.default_rng(7).normal(size=200)
    whole = copies_of(shift_s, 0, 300, 0.008, "linear", repeat)
    parts = [copies_of(shift_s, a, n, 0.008, "linear", repeat) for a, n in ((0, split), (split, 300 - split))]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=200 * 1e-9)


@pytest.mark.parametrize("interpolation", ["linear", "previous"])
def test_copies_of_a_periodic_record_keep_its_mean(interpolation):
    """Over a whole period, 250 ticks; shifts of many periods too."""
    found = copies_of(4.0 * np.random.default_rng(1).normal(size=50), 0, 250, 0.01, interpolation, True)
    one = replay.resample(TIME_S, POWER_W, 0, 250, 0.01, interpolation, True)
    assert found.mean() == pytest.approx(50 * one.mean(), rel=1e-12)


@pytest.mark.parametrize(("f_hz", "spread_s", "gain"), [(1.0, 0.02, 0.9921), (1.0, 0.1, 0.8209), (3.0, 0.05, 0.6414)])
def test_spread_takes_from_a_swing_what_theory_says(f_hz, spread_s, gain):
    """R19: exp(-(2 pi f s)^2/2) of the amplitude. 40,000 copies leave their mean phasor an error of s.d.
    (1 - g^2)/sqrt(2 N) along it; lines between 1000 samples a period, subticks and tick means lose below
    (pi/1000)^2/3 + (2 pi f dt/8)^2/12 + (pi f dt)^2/6 = 3.3e-6 + 5e-7 + 1.5e-5."""
    time_s = np.arange(1000) / (1000 * f_hz)
    power_w = 500.0 + 300.0 * np.sin(2 * np.pi * f_hz * time_s)
    job = ReplayJob(name="r", kind="replay", path="x", copies=40_000, phase_spread_s=spread_s, repeat=True)
    shifts = replay.shifts_of(job, time_s, 0, 1, 0.001)
    found = replay.resample_copies(time_s, power_w, 0, 3000, 0.001, "linear", True, job.copies, shifts) / job.copies
    amplitude = 2 * np.abs(np.mean((found - 500.0) * np.exp(-2j * np.pi * f_hz * np.arange(3000) * 0.001)))
    exact = np.exp(-0.5 * (2 * np.pi * f_hz * spread_s) ** 2)
    assert exact == pytest.approx(gain, abs=5e-5)
    assert amplitude / 300.0 == pytest.approx(exact, abs=3 * (1 - exact**2) / np.sqrt(80_000) + 2e-5)


def test_shifts_are_normal_and_keyed():
    """By seed, stream and number of the copy, not by how many there are; Kolmogorov-Smirnov at 0.1 %: 1.95/sqrt(N)."""
    drawn = replay.drawn_shifts_s(20_000, 0.5, 3, 4)
    np.testing.assert_array_equal(replay.drawn_shifts_s(77, 0.5, 3, 4), drawn[:77])
    edges = np.sort(drawn)
    assert np.abs(stats.norm.cdf(edges, 0.0, 0.5) - (np.arange(20_000) + 0.5) / 20_000).max() < 1.95 / np.sqrt(20_000)
    for seed, stream in ((4, 4), (3, 5), (4, 3)):
        other = replay.drawn_shifts_s(20_000, 0.5, seed, stream)
        assert abs(np.corrcoef(drawn, other)[0, 1]) < 4 / np.sqrt(20_000)


def test_shifts_of_a_repeated_record_are_taken_modulo_its_period():
    """Same sum, but places of one period only: memory does not grow with the spread."""
    job = ReplayJob(name="r", kind="replay", path="x", copies=500, phase_spread_s=1e3, repeat=True)
    shifts = replay.shifts_of(job, TIME_S, 0, 1, 0.01)
    assert shifts.place.max() - shifts.place.min() <= 2.5 / 0.01 * replay.SUBTICKS + 1
    assert shifts.copies.sum() == pytest.approx(500, rel=1e-12)
    found = replay.resample_copies(TIME_S, POWER_W, 0, 100, 0.01, "linear", True, 500, shifts)
    unfolded = replay.gathered(replay.drawn_shifts_s(500, 1e3, 0, 1), 0.01)
    expected = replay.resample_copies(TIME_S, POWER_W, 0, 100, 0.01, "linear", True, 500, unfolded)
    # 2.5 s are 2000 places exactly: the same places but for the rounding of 1e3 s, 1e-13 s x 84 W/s x 500.
    np.testing.assert_allclose(found, expected, atol=1e-8)


def polled(refresh_s: float, poll_s: float, lasting_s: float = 60.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A noisy, swinging load as a meter holds it, polled with 1 ms of jitter."""
    rng = np.random.default_rng(seed)
    time_s = np.cumsum(poll_s + 0.001 * rng.uniform(-1, 1, int(lasting_s / poll_s)))
    held = np.floor(time_s / refresh_s).astype(int)
    values = 400 + 200 * np.sin(2 * np.pi * 0.3 * np.arange(held[-1] + 1) * refresh_s) + rng.normal(size=held[-1] + 1)
    return time_s, np.round(values, 3)[held]


@pytest.mark.parametrize(("refresh_s", "poll_s"), [(0.103, 0.02), (0.5, 0.05), (0.1, 0.033), (0.02, 0.002), (0.1, 0.1)])
def test_refresh_is_found(refresh_s, poll_s):
    """Runs begin and end within a poll: their mean over n runs is good to a poll by n."""
    time_s, power_w = polled(refresh_s, poll_s)
    assert replay.refresh_s(time_s, power_w) == pytest.approx(refresh_s, abs=2 * poll_s * refresh_s / 60 + 1e-4)


def test_refresh_is_found_beside_idling_and_chance():
    """An hour at rest is one run; a fifth of the values that repeat by chance make runs of twice the length."""
    time_s, power_w = polled(0.103, 0.02)
    power_w[300:1500] = 75.0
    assert replay.refresh_s(time_s, power_w) == pytest.approx(0.103, abs=0.001)
    time_s, power_w = polled(0.103, 0.02)
    chance = np.random.default_rng(1).random(700) < 0.2
    held = np.floor(time_s / 0.103).astype(int)
    source = np.maximum.accumulate(np.where(chance, 0, np.arange(700)))
    first = np.array([np.argmax(held == k) for k in range(held[-1] + 1)])
    assert replay.refresh_s(time_s, power_w[first][source[held]]) == pytest.approx(0.103, abs=0.001)


NOT_HELD = {
    "noise": lambda rng, t: 400 + rng.normal(size=len(t)),
    "mostly idle": lambda rng, t: np.where(t % 20 < 18, 75.0, 400 + rng.normal(size=len(t))),
    "whole watts": lambda rng, t: np.round(400 + 0.4 * rng.normal(size=len(t))) + 50 * np.round(np.sin(t)),
    "by chance 50": lambda rng, t: repeated_by_chance(rng, t, 0.5),
    "by chance 75": lambda rng, t: repeated_by_chance(rng, t, 0.75),
    "by chance 90": lambda rng, t: repeated_by_chance(rng, t, 0.9),
    "few levels": lambda rng, t: np.array([10.0, 40.0, 20.0])[np.arange(len(t)) // 25 % 3],
    "few digits": lambda rng, t: np.round(100 + 0.3 * t, 1),
    "constant": lambda rng, t: np.full(len(t), 5.0),
}


def repeated_by_chance(rng: np.random.Generator, t: np.ndarray, q: float) -> np.ndarray:
    fresh = np.maximum.accumulate(np.where(rng.random(len(t)) < q, 0, np.arange(len(t))))
    return rng.normal(size=len(t))[fresh] + 400


@pytest.mark.parametrize("kind", NOT_HELD)
@pytest.mark.parametrize("seed", range(3))
def test_repeats_that_no_meter_made_are_not_taken_for_one(kind, seed):
    t = np.arange(6000) * 0.02
    assert replay.refresh_s(t, NOT_HELD[kind](np.random.default_rng(seed), t)) == pytest.approx(0.02, rel=1e-9)


def test_warnings_in_words():
    held, plain = polled(0.103, 0.02), polled(0.1, 0.1)
    job = ReplayJob(name="r", kind="replay", path="nvml.csv")
    (warning,) = replay.warnings(job, *held, 0.001)
    assert warning.startswith("nvml.csv: samples are 0.02 s apart, but values change only every 0.103 s (81% repeat")
    assert "it carries at most 4.8" in warning and warning.endswith(
        " Hz, ticks of 0.001 s would show 500 Hz; set bandwidth_hz to what you need"
    )
    assert replay.warnings(job, *plain, 0.001) == []  # left out: samples that are what they say are the user's choice
    assert replay.warnings(job, *held, 0.2) == []  # ticks of 0.2 s show 2.5 Hz
    for record, least, most in ((held, 4.8, 4.9), (plain, 4.99, 5.02)):
        assert replay.warnings(job.model_copy(update={"bandwidth_hz": least}), *record, 0.001) == []
        (warning,) = replay.warnings(job.model_copy(update={"bandwidth_hz": most}), *record, 0.001)
        assert f"bandwidth_hz asks for {most:g} Hz" in warning
    assert "values change" not in warning


def test_copies_in_a_run(emulate, tmp_path):
    """Three in step draw three times as much; spread out they draw nothing outside start_s to stop_s, and between their
    powers' extremes within."""
    record(tmp_path, "t_s,p_mw\n0,10\n0.5,10\n1.0,30\n1.5,30\n")
    text = """
        [run]
        duration_s = 3.0
        dt_s = 0.01
        [[site]]
        name = "a"
        [[site.job]]
        name = "r"
        kind = "replay"
        path = "load.csv"
        start_s = 1.0
        stop_s = 2.5
    """
    one, three, spread, again = (
        emulate(text, *more).job_power_mw[:, 0]
        for more in (
            (),
            ("site.0.job.0.copies=3",),
            ("site.0.job.0.copies=3", "site.0.job.0.phase_spread_s=0.2"),
            ("site.0.job.0.copies=3", "site.0.job.0.phase_spread_s=0.2", "run.seed=1"),
        )
    )
    np.testing.assert_allclose(three, 3 * one, rtol=1e-6)
    assert np.all(spread[:100] == 0.0) and np.all(spread[250:] == 0.0)
    assert spread[100:250].min() >= 30.0 and spread[100:250].max() <= 90.0
    assert np.abs(spread - three).max() > 1.0 and np.abs(spread - again).max() > 1.0
