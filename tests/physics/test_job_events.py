"""Every event of a training job: pauses, faults, staged starts and stops, stages, stragglers, clocks, overshoot."""

from __future__ import annotations

from itertools import pairwise
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emulator import jobs, simulate
from emulator.cluster import demand, pauses
from emulator.cluster.iteration import Window
from emulator.coherence import in_bands

BASE = """
    [run]
    duration_s = 30.0
    dt_s = 0.01
    [[site]]
    name = "campus"
    [[site.job]]
    name = "train"
    kind = "training"
    devices = 100
    accelerator = {idle_w = 100.0, tdp_w = 1100.0}
    [site.job.workload]
    MORE
    [[site.job.workload.phase]]
    name = "compute"
    duration_s = 0.8
    level = 1.0
    [[site.job.workload.phase]]
    name = "exchange"
    duration_s = 0.2
    level = 0.0
"""
JOB = "site.0.job.0"


def level(trace, job: int = 0) -> np.ndarray:
    """Share of the range that 100 devices draw."""
    return (trace.job_power_mw[:, job].astype(np.float64) - 0.01) / 0.1


def times(trace, kind: str) -> np.ndarray:
    return np.array([event.time_s for event in trace.events if event.kind == kind])


def test_checkpoints_keep_their_period_at_barriers(emulate):
    """Due 4.5 s after the last one, kept at the first barrier after it: 5 s of work and 0.7 s of pause at level 0.3."""
    trace = emulate(BASE.replace("MORE", "checkpoint = {period_s = 4.5, duration_s = 0.7, level = 0.3}"))
    found = times(trace, "checkpoint")
    np.testing.assert_allclose(found, [5.0, 10.7, 16.4, 22.1, 27.8], atol=1e-6)
    assert trace.metrics["job.campus.train.checkpoints"] == 5.0
    pause = (trace.time_s > 5.005) & (trace.time_s < 5.695)
    np.testing.assert_allclose(level(trace)[pause], 0.3, atol=1e-5)


def test_young_daly(scenario):
    """sqrt(2 x 10 s x 3600 s / (100 x 0.1)) = 84.85 s."""
    pauses = 'checkpoint = {period_s = "young_daly", duration_s = 10.0, level = 0.1}\n    ' \
        "fault = {rate_per_device_hour = 0.1, stall_s = 1.0}"  # fmt: skip
    job = scenario(BASE.replace("MORE", pauses)).site[0].job[0]
    assert jobs.checkpoint_period_s(job) == pytest.approx(84.853, abs=1e-3)


def test_llama_3_faults_come_every_three_hours(scenario):
    """419 in 54 days of 16,384 accelerators."""
    job = scenario(
        BASE.replace("MORE", "fault = {rate_per_device_hour = 1.97e-5, stall_s = 900.0}"), f"{JOB}.devices=16384"
    ).site[0].job[0]  # fmt: skip
    assert 1 / jobs.faults_per_s(job) / 3600 == pytest.approx(54 * 24 / 419, rel=0.005)


LLAMA_3 = """
    [run]
    duration_s = 100.0
    dt_s = 5.0
    chunk_ticks = 1
    [[site]]
    name = "campus"
    [[site.job]]
    name = "train"
    kind = "training"
    devices = 16384
    accelerator = {idle_w = 100.0, tdp_w = 700.0}
    [site.job.workload]
    checkpoint = {period_s = "young_daly", duration_s = 30.0, level = 0.1}
    fault = {rate_per_device_hour = 1.97e-5, stall_s = 900.0}
    [[site.job.workload.phase]]
    name = "compute"
    duration_s = 60.0
    level = 1.0
"""


def long_bits(loaded, windows: int, ticks: int) -> np.ndarray:
    """(windows ticks,) bits of a job's schedule alone."""
    layout, params, _, _ = simulate.build(loaded)
    its, numbers = layout.training[0], params.training[0]

    @jax.jit
    def one(state: demand.TrainingState, first: jax.Array):
        window = Window(first, ticks, loaded.run.dt_s)
        state, found = demand.advance(its, numbers, state, jax.random.key(7), jnp.asarray(jnp.inf), window)
        return state, found.bits, found.overflow

    state, bits = demand.initial(its, jnp.float32), []
    for i in range(windows):
        state, part, overflow = one(state, jnp.int32(i * ticks))
        assert not overflow
        bits.append(np.asarray(part))
    return np.concatenate(bits)


def saved_between(bits: np.ndarray, faults: np.ndarray) -> np.ndarray:
    """Iterations that a whole checkpoint has saved, between each fault and the next. All else in a fault's tick came
    before it; a checkpoint is whole when an iteration begins after it."""
    iterations, checkpoints = (np.flatnonzero(bits & bit) for bit in (pauses.ITERATION, pauses.CHECKPOINT))
    saved = []
    for begin, end in pairwise(faults):
        begun = iterations[(iterations > begin) & (iterations <= end)]
        whole = checkpoints[(checkpoints > begin) & (checkpoints < (begun[-1] if len(begun) else begin))]
        saved.append(np.count_nonzero(begun <= whole[-1]) if len(whole) else 0)
    return np.array(saved)


def test_goodput_of_llama_3_is_dalys(scenario):
    """16,384 devices for 81 days at their fault rate; a checkpoint of 30 s every sqrt(2 x 30 s x 3.1 h) = 818 s, at
    the first barrier after it, so 14 iterations of 60 s; 900 s to restart. Between faults X is exponential, rate l, and
    n T floor((X - R)/(n T + d)) of it is saved, on average n T e^(-l R)/(e^(l (n T + d)) - 1): Daly, Future Gener.
    Comput. Syst. 22(3):303, 2006, eq. 20. Standard error of the ratio from the cycles themselves (renewal-reward)."""
    loaded = scenario(LLAMA_3)
    rate = jobs.faults_per_s(loaded.site[0].job[0])
    assert jobs.checkpoint_period_s(loaded.site[0].job[0]) == pytest.approx(818.1, abs=0.1)
    bits = long_bits(loaded, 70, 20_000)
    faults = np.flatnonzero(bits & pauses.FAULT)
    between_s, saved_s = 5.0 * np.diff(faults), 60.0 * saved_between(bits, faults)
    goodput = saved_s.sum() / between_s.sum()
    error = (saved_s - goodput * between_s).std() / between_s.mean() / np.sqrt(len(between_s))
    worked_s = 14 * 60.0
    expected = rate * worked_s * np.exp(-rate * 900.0) / (np.exp(rate * (worked_s + 30.0)) - 1.0)
    assert error < 0.005 and expected == pytest.approx(0.85, abs=0.02)
    assert goodput == pytest.approx(expected, abs=3 * error)
    # Faults in 500 stretches of time: Poisson, variance = mean; s.d. of their ratio sqrt(2/500).
    counts = np.add.reduceat((bits & pauses.FAULT) > 0, np.arange(0, len(bits), len(bits) // 500))
    assert len(faults) == pytest.approx(rate * 5.0 * len(bits), abs=3 * np.sqrt(len(faults)))
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=3 * np.sqrt(2 / 500))


def test_evaluation_every_few_iterations(emulate):
    trace = emulate(BASE.replace("MORE", "evaluation = {every = 4, duration_s = 0.5, level = 0.6}"))
    np.testing.assert_allclose(times(trace, "evaluation"), 4.0 + 4.5 * np.arange(6), atol=1e-6)


def test_data_stalls_strike_their_share(emulate):
    """A quarter of some 480 iterations (s.d. 2 %), exponential of mean 0.2 s (s.d. of the mean 0.2/sqrt(120))."""
    trace = emulate(BASE.replace("MORE", "stall = {probability = 0.25, duration_s = 0.2}"), "run.duration_s=500.0")
    iterations = trace.metrics["job.campus.train.iterations"]
    stalls = trace.metrics["job.campus.train.data_stalls"]
    assert stalls / iterations == pytest.approx(0.25, abs=0.06)
    assert (500.0 - iterations) / stalls == pytest.approx(0.2, abs=0.06)


def test_faults_are_poisson_and_cost_what_they_say(emulate):
    """One per 50 s on average over 20,000 s of 1 s iterations, each with 5 s of rest and 2 s of ramp: 20000/57 = 351
    faults, s.d. 15 (rest does not fail less). Time between them is exponential: its s.d. equals its mean."""
    fault = "fault = {rate_per_device_hour = 0.72, stall_s = 5.0, ramp_s = 2.0, ramp_level = 0.5}"
    trace = emulate(BASE.replace("MORE", fault), "run.duration_s=20000.0", "run.dt_s=0.05", "record.every_ticks=2")
    found = times(trace, "fault")
    # Faults in rest or ramp restart it; the process itself never pauses: 400 expected, s.d. 20.
    assert len(found) == pytest.approx(400, abs=60)
    between = np.diff(found)
    assert between.std() == pytest.approx(between.mean(), rel=0.2)
    # Of 50 s between faults, min(T, 5) rest and min(T, 7) - min(T, 5) ramp to half: 4.76 and 1.77 s on average.
    rest, ramp = 50 * (1 - np.exp(-0.1)), 50 * (np.exp(-0.1) - np.exp(-0.14))
    expected = (0.8 * (50 - rest - ramp) + 0.25 * ramp) / 50
    assert level(trace).mean() == pytest.approx(expected, abs=3 * 0.8 * (rest + ramp) / 50 / 20)


def test_a_fault_falls_at_once_rests_and_ramps(emulate):
    fault = "fault = {rate_per_device_hour = 1.8, stall_s = 3.0, ramp_s = 2.0, ramp_level = 0.5}"
    trace = emulate(BASE.replace("MORE", fault), "run.seed=3", "run.duration_s=100.0")
    found = times(trace, "fault")
    alone = [at for at in found if at < 93.0 and not np.any((found > at) & (found < at + 6.0))]
    assert alone
    t, drawn = trace.time_s, level(trace)
    for at in alone:
        np.testing.assert_allclose(drawn[(t > at + 0.02) & (t < at + 2.98)], 0.0, atol=1e-4)
        ramp = (t > at + 3.02) & (t < at + 4.97)
        np.testing.assert_allclose(drawn[ramp], 0.5 * (t[ramp] + 0.005 - at - 3.0) / 2.0, atol=0.5 / 100 + 0.5 * 0.006)
        np.testing.assert_allclose(drawn[(t > at + 5.02) & (t < at + 5.77)], 1.0, atol=1e-4)


def test_staged_start_and_stop_are_ramps(emulate):
    """Devices come in and leave one by one: a staircase of 1 % steps."""
    trace = emulate(BASE.replace("MORE", ""), f"{JOB}.stage_in_s=5.0", f"{JOB}.start_s=1.0", f"{JOB}.stop_s=10.0",
                    f"{JOB}.stage_out_s=4.0", f"{JOB}.workload.phase.1.level=1.0")  # fmt: skip
    t, drawn = trace.time_s + 0.005, level(trace)
    expected = np.clip((t - 1.0) / 5.0, 0, 1) * np.clip((14.0 - t) / 4.0, 0, 1)
    np.testing.assert_allclose(drawn, expected, atol=0.0051)
    assert drawn.sum() * 0.01 == pytest.approx(expected.sum() * 0.01, rel=1e-4)


def test_an_arrival_list_runs_and_rests(emulate):
    trace = emulate(BASE.replace("MORE", ""), f"{JOB}.runs_s=[[2.0, 5.4], [8.0, 9.0]]")
    t, drawn = trace.time_s, level(trace)
    inside = ((t >= 2.0) & (t < 5.395) | (t >= 8.0) & (t < 8.995)) & ((t % 1.0) < 0.795)
    outside = (t < 1.99) | (t > 5.405) & (t < 7.99) | (t > 9.005)
    np.testing.assert_allclose(drawn[inside], 1.0, atol=1e-4)
    np.testing.assert_allclose(drawn[outside], 0.0, atol=1e-4)
    assert times(trace, "job_start").tolist() == [2.0, 8.0]


def test_pipeline_stages_make_a_staircase(emulate):
    """Four stages of 25 devices enter 50 ms after each other; the iteration is 150 ms longer."""
    trace = emulate(BASE.replace("MORE", "pipeline_stages = 4"), f"{JOB}.workload.phase.0.stage_delay_s=0.05")
    t, drawn = trace.time_s, level(trace)
    for k in range(4):
        np.testing.assert_allclose(drawn[(t > 0.05 * k + 0.005) & (t < 0.05 * k + 0.045)], 0.25 * (k + 1), atol=1e-5)
    assert trace.metrics["job.campus.train.iteration_mean_s"] == pytest.approx(1.15, abs=1e-6)


def test_slow_devices_are_the_same_ones_and_hold_all_up(emulate):
    """30 of 100 (s.d. 4.6) take 1.2 times as long, in every iteration."""
    trace = emulate(BASE.replace("MORE", "slow_fraction = 0.3\n    slow_by = 0.2"))
    assert trace.metrics["job.campus.train.iteration_mean_s"] == pytest.approx(1.2, abs=1e-6)
    t, drawn = trace.time_s, level(trace)
    shares = [drawn[(t > 1.2 * k + 0.82) & (t < 1.2 * k + 0.94)].mean() for k in range(10)]
    assert np.ptp(shares) < 1e-4 and shares[0] == pytest.approx(0.3, abs=0.14)


def test_a_common_clock_keeps_jobs_in_step(emulate):
    text = BASE.replace("MORE", "jitter = 0.05")
    job = text[text.index("    [[site.job]]") :]
    both = text + job.replace('name = "train"', 'name = "other"')
    drift = emulate(both)
    step = emulate(both, f"{JOB}.clock='one'", "site.0.job.1.clock='one'")
    np.testing.assert_allclose(level(step, 0), level(step, 1), atol=1e-6)
    assert np.abs(level(drift, 0) - level(drift, 1)).max() > 0.5


def test_coherence_of_jobs_with_one_clock_is_that_of_their_starts(emulate):
    """R19. Twelve jobs of one clock whose starts t_i are normal with s.d. s = 0.06 s: at f each is e^(-2 pi j f t_i) of
    one, so rho = (|sum|^2 - n)/(n (n - 1)). The sum is n exp(-(2 pi f s)^2/2) for many jobs; starts at the middles of
    twelve equal shares have an s.d. of 0.057 s, which makes up to 0.03 of rho. Lines of 20 whole iterations of 1 s."""
    n, spread_s = 12, 0.06
    starts = 1.5 + np.array([spread_s * NormalDist().inv_cdf((k + 0.5) / n) for k in range(n)]).round(3)
    text = BASE.replace("MORE", "")
    head, job = text[: text.index("    [[site.job]]")], text[text.index("    [[site.job]]") :]
    given = [f'"job{k}"\n    clock = "one"\n    start_s = {start:.3f}' for k, start in enumerate(starts)]
    trace = emulate(head + "".join(job.replace('"train"', each) for each in given), "run.dt_s=0.001")
    power = trace.job_power_mw[5000:25000]
    for f_hz in (1.0, 2.0, 3.0):
        phasors = np.exp(-2j * np.pi * f_hz * starts)
        exact = (abs(phasors.sum()) ** 2 - n) / (n * (n - 1))
        found = in_bands(power, 0.001, [(f_hz - 0.2, f_hz + 0.2)])[0].rho
        assert found == pytest.approx(exact, abs=1e-5)
        assert found == pytest.approx((n * np.exp(-((2 * np.pi * f_hz * spread_s) ** 2)) - 1) / (n - 1), abs=0.03)


EDP = [f"{JOB}.accelerator.edp_fraction=1.2", f"{JOB}.accelerator.edp_duration_s=0.05",
       f"{JOB}.accelerator.edp_window_s=0.5"]  # fmt: skip


def test_overshoot_at_a_rising_edge(emulate):
    """1.2 TDP = 0.22 of the range above level 1, for 50 ms; then 0.22/9 below for 450 ms; the mean over 500 ms is 1."""
    trace = emulate(BASE.replace("MORE", ""), *EDP, f"{JOB}.start_s=1.0")
    drawn = level(trace)
    np.testing.assert_allclose(drawn[100:105], 1.22, atol=1e-5)
    np.testing.assert_allclose(drawn[105:150], 1 - 0.22 / 9, atol=1e-5)
    np.testing.assert_allclose(drawn[150:180], 1.0, atol=1e-5)
    assert drawn[100:150].mean() == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(drawn[180:200], 0.0, atol=1e-5)  # none on a fall


@pytest.mark.parametrize(
    "more", [(), (f"{JOB}.smoothing={{floor_fraction=0.2,ramp_up_w_per_s=1e6,ramp_down_w_per_s=1e6}}",)]
)
def test_overshoot_reaches_over_barriers_and_keeps_energy(emulate, more):
    """A window of 2 s over iterations of 1 s, in windows of the emulation that cut it; smaller rises in proportion."""
    edp = [*EDP[:2], f"{JOB}.accelerator.edp_window_s=2.0", f"{JOB}.workload.phase.1.level=0.5"]
    trace = emulate(BASE.replace("MORE", ""), *edp, *more)
    plain = emulate(BASE.replace("MORE", ""), f"{JOB}.workload.phase.1.level=0.5")
    drawn, without = level(trace), level(plain)
    # The rise two seconds ago comes back from below at the same time, by 0.11 x 0.05/1.95.
    rise = 0.5 + 0.11 * (1 + 0.05 / 1.95)
    assert drawn[500:505].mean() - drawn[495:500].mean() == pytest.approx(rise, abs=1e-4)
    if not more:
        assert drawn[500:2500].sum() == pytest.approx(without[500:2500].sum(), rel=1e-6)


@pytest.mark.parametrize("dt_s", [0.0005, 0.002, 0.005, 0.01])
def test_energy_with_everything_on_does_not_depend_on_the_tick(emulate, dt_s):
    more = """jitter = 0.02
    checkpoint = {period_s = 2.5, duration_s = 0.333, level = 0.3}
    evaluation = {every = 3, duration_s = 0.111, level = 0.6}
    stall = {probability = 0.3, duration_s = 0.1}
    slow_fraction = 0.1
    slow_by = 0.07"""
    overrides = [*EDP, f"{JOB}.stage_in_s=1.3", f"{JOB}.stop_s=7.777", "run.duration_s=10.0",
                 f"{JOB}.accelerator.response_s=0.02"]  # fmt: skip
    energies = []
    for step in (0.001, dt_s):
        trace = emulate(BASE.replace("MORE", more), *overrides, f"run.dt_s={step}")
        energies.append(trace.job_power_mw.sum(dtype=np.float64) * step)
    assert energies[0] == pytest.approx(energies[1], rel=1e-3)


def test_synchronous_devices_add_up_and_independent_jobs_do_not(emulate):
    """Ten jobs with clocks of their own: the swing grows with sqrt(10) where ten times the devices give 10."""
    text = BASE.replace("MORE", "jitter = 0.1")
    job = text[text.index("    [[site.job]]") :]
    ten = text[: text.index("    [[site.job]]")] + "".join(job.replace('"train"', f'"train{k}"') for k in range(10))
    one, apart = (emulate(t, "run.duration_s=200.0", "run.dt_s=0.02") for t in (text, ten))
    together = emulate(text, f"{JOB}.devices=1000", "run.duration_s=200.0", "run.dt_s=0.02")
    swing = [t.site_it_power_mw[2000:, 0].astype(np.float64).std() for t in (one, apart, together)]
    assert swing[2] / swing[0] == pytest.approx(10.0, rel=1e-3)
    # Phases decorrelate within 1/(2 pi 0.1)^2 = 2.5 periods of jitter; 160 s hold some 60 looks: 10 % of a s.d.
    assert swing[1] / swing[0] == pytest.approx(np.sqrt(10), rel=0.3)


@pytest.mark.parametrize("every", [1, 250])
def test_rows_hold_as_many_iterations_as_there_are(emulate, every):
    """30 of 1 s, in rows of 10 ms and of 2.5 s; each has a stall."""
    rows = (f"record.every_ticks={every}", "run.chunk_ticks=250")
    stalls = "stall = {probability = 1.0, duration_s = 1e-6}"
    found = emulate(BASE.replace("MORE", stalls), *rows).metrics
    assert found["job.campus.train.iterations"] == found["job.campus.train.data_stalls"] == 30.0
    mean_s = found["job.campus.train.iteration_mean_s"]
    assert mean_s == pytest.approx(1.0, abs=every * 0.01 / 29)  # starts are known to a row


def test_what_comes_after_the_end_of_the_run_is_not_lost(emulate):
    """Iterations of 1.1 s: 27 end in 30 s. The last window is computed up to 40 s."""
    dummy = f"{JOB}.dummy_work={{floor_fraction=0.5, period_s=0.01, cost_fraction=0.1}}"
    found = emulate(BASE.replace("MORE", ""), dummy, "run.chunk_ticks=2000").metrics
    assert found["job.campus.train.iterations"] == 28.0
    assert found["job.campus.train.lost_iteration_s"] == pytest.approx(2.7, rel=1e-6)


@pytest.mark.parametrize("ramp_s", [0.0, 2.0])
def test_every_restart_is_told_and_no_start(emulate, ramp_s):
    """30 faults an hour and device make 0.83 a second; a restart follows each after 0.5 s, if no other fault does."""
    fault = f"fault = {{rate_per_device_hour = 30.0, stall_s = 0.5, ramp_s = {ramp_s}}}"
    trace = emulate(BASE.replace("MORE", fault), f"{JOB}.stage_in_s=1.5")
    faults, restarts = times(trace, "fault"), times(trace, "restart")
    assert len(faults) > 10
    followed = np.diff(np.append(faults, 30.0)) > 0.5
    np.testing.assert_allclose(restarts, faults[followed] + 0.5, atol=0.011)  # both in whole ticks
    assert trace.metrics["job.campus.train.restarts"] == len(restarts)
