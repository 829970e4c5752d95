"""Power smoothing against the published trace (R12), and of a job from TOML against closed forms."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from emulator.cluster import smoothing
from emulator.kernels.device_tick import limited

# Ceiling of arXiv 2508.14318 Figure 6, break-points read off the vector figure; the floor lies 0.2 below it.
CEILING = [
    (0, 0.2), (6.7, 0.679), (7.475, 0.623), (11.225, 0.891), (11.975, 0.837), (14.275, 1), (74.25, 1), (74.95, 0.95),
    (75.675, 1), (136.775, 1), (137.75, 0.93), (138.75, 1), (188.875, 1), (191.85, 1), (203.075, 0.2), (213.15, 0.2),
]  # fmt: skip


def test_published_limits_make_the_published_trace(reference):
    """R12: RMSE 0.0036; mean + 15.0 %; s.d. from 0.247 to 0.045, read to a thousandth."""
    t_s, power = np.loadtxt(reference / "fig1_production_trace.csv", delimiter=",", skiprows=1).T
    smooth_s, smooth = np.loadtxt(reference / "fig6_smoothed_trace.csv", delimiter=",", skiprows=1, usecols=(0, 4)).T
    ceiling = np.interp(t_s, *np.array(CEILING).T)
    found = np.asarray(limited(jnp.asarray(power), jnp.asarray(ceiling - 0.2), jnp.asarray(ceiling)))
    assert np.sqrt(np.mean((np.interp(smooth_s, t_s, found) - smooth) ** 2)) <= 0.004
    assert found.mean() / power.mean() == pytest.approx(1.150, abs=0.003)
    # The figures of R12 are those between the end of the first ramp and the beginning of the last.
    steady = (t_s >= 14.275) & (t_s <= 188.875)
    assert power[steady].std() == pytest.approx(0.247, abs=0.001)
    assert found[steady].std() == pytest.approx(0.045, abs=0.001)


# Iterations of 1 s: 0.7 s at 1000 W, then 0.3 s at 150 W. Runs from 1.0 to 5.5 s, so that it stops in the middle of
# computing. Floor 0.6 x 1100 = 660 W, ceiling 440 W above it while it moves.
JOB = """
    [run]
    duration_s = 9.0
    dt_s = 0.001
    [[site]]
    name = "campus"
    [[site.job]]
    name = "train"
    kind = "training"
    devices = 1000
    start_s = 1.0
    stop_s = 5.5
    accelerator = {idle_w = 100.0, tdp_w = 1100.0, server_fixed_w = 40.0, server_fraction = 0.25}
    [site.job.smoothing]
    floor_fraction = 0.6
    ramp_up_w_per_s = 800.0
    ramp_down_w_per_s = 400.0
    stop_delay_s = 0.43
    [[site.job.workload.phase]]
    name = "compute"
    duration_s = 0.7
    level = 0.9
    [[site.job.workload.phase]]
    name = "exchange"
    duration_s = 0.3
    level = 0.05
"""
MW_PER_W = 1000 * (1 + 0.25) * 1e-6  # of the job, per W of an accelerator
IDLE_W, FLOOR_W, UP, DOWN, DELAY_S = 100.0, 660.0, 800.0, 400.0, 0.43


def accelerator_w(power_mw: np.ndarray) -> np.ndarray:
    """From the job's power: N (server_fixed_w + (1 + server_fraction) accelerator)."""
    return (power_mw[:, 0].astype(np.float64) - 1000 * 40e-6) / MW_PER_W


@pytest.fixture
def smoothed(emulate):
    return emulate(JOB)


def test_ramps_are_those_of_the_table_times_the_job(smoothed):
    """N ramp (1 + server_fraction): 1.0 MW/s up, 0.5 MW/s down. A float32 power of 1.4 MW is good to 1e-7 MW, and 200
    steps of the floor to 200 x 3e-8 of 1.25 MW: 8e-6 MW over 0.2 s."""
    t, power = smoothed.time_s, smoothed.job_power_mw[:, 0].astype(np.float64)
    up = (t >= 1.02) & (t < 1.3)  # floor + 440 W, below 1000 W for the first 0.575 s
    down = (t >= 6.1) & (t < 7.1)  # no activity since 5.5 s, held for 0.43 s
    assert np.polyfit(t[up], power[up], 1)[0] == pytest.approx(UP * MW_PER_W, rel=2e-4)
    assert np.polyfit(t[down], power[down], 1)[0] == pytest.approx(-DOWN * MW_PER_W, rel=2e-4)
    assert np.ptp(np.diff(power[up])) < 1e-6 and np.ptp(np.diff(power[down])) < 1e-6


def test_waveform_of_a_smoothed_job(smoothed):
    """Idle; ramp with its ceiling; floor in the dips; held for the delay, 430 ticks and not one less; ramp; idle."""
    t, power = smoothed.time_s, accelerator_w(smoothed.job_power_mw)
    wanted = np.where((t < 0.9995) | (t > 5.4995), IDLE_W, np.where((t - 1.0 + 5e-4) % 1.0 < 0.7, 1000.0, 150.0))
    ramp = (t - 1.0 + 0.001).clip(0) * UP
    # The first dip begins at 1.7 s at the top (560/800 = 0.7 s): the floor stays there until 0.43 s after 5.5 s.
    floor = np.minimum(IDLE_W + ramp, FLOOR_W)
    floor = np.minimum(floor, FLOOR_W - DOWN * (t - 5.5 - DELAY_S + 0.001).clip(0)).clip(IDLE_W)
    ceiling = np.where(floor < FLOOR_W - 1e-3, floor + 440.0, np.inf)
    # Ticks of 1 ms: events fall on ticks but for 2^-12 of one each; the floor's 700 steps of float32 sum to 0.02 W.
    np.testing.assert_allclose(power, np.maximum(np.minimum(wanted, ceiling), floor), atol=850 * 4 * 2.0**-12 + 0.1)
    assert np.count_nonzero(np.abs(power[5500:7000] - FLOOR_W) < 0.2) == 430


def test_added_energy_is_the_floor_less_the_level_in_dips(emulate):
    """From the first tick at the floor, whole iterations: 0.3 s x (660 - 150) W each, 10.2 % of what they want."""
    trace = emulate(JOB.replace("start_s = 1.0", "start_s = 0.0").replace("stop_s = 5.5", "stop_s = 1e9"))
    power, wanted = (x[:, 0].astype(np.float64) for x in (trace.job_power_mw, trace.job_wanted_power_mw))
    added = (power - wanted).sum() * 0.001
    assert added == pytest.approx(9 * 0.3 * (FLOOR_W - 150.0) * MW_PER_W, rel=1e-5)
    dips_w, peaks_w = 0.3 * 150.0, 0.7 * 1000.0
    overhead = 0.3 * (FLOOR_W - 150.0) / (dips_w + peaks_w + 40.0 / 1.25)
    assert power.sum() / wanted.sum() - 1.0 == pytest.approx(overhead, rel=1e-5)
    assert trace.metrics["job.campus.train.added_energy_mwh"] == pytest.approx(added / 3600, rel=1e-4)


def test_energy_does_not_depend_on_the_tick(emulate, smoothed):
    """1 and 5 ms. A tick takes the floor as it is at its end, half a tick early: 2 ms of difference x 560 W at each of
    two ramps, of opposite sign, 1.1 J of some 5 kJ: 0.02 %."""
    other = emulate(JOB, "run.dt_s=0.005")
    energy = [x.job_power_mw.sum(dtype=np.float64) * dt for x, dt in ((smoothed, 0.001), (other, 0.005))]
    assert energy[0] == pytest.approx(energy[1], rel=1e-3)


def test_wanted_power_is_that_of_the_job_without_smoothing(emulate, smoothed):
    """To rounding of sums of 1000 shares in float32, and of event times to 2^-12 of a tick."""
    text = JOB[: JOB.index("    [site.job.smoothing]")] + JOB[JOB.index("    [[site.job.workload.phase]]") :]
    plain = emulate(text)
    np.testing.assert_allclose(plain.job_power_mw, plain.job_wanted_power_mw, atol=0)
    np.testing.assert_allclose(smoothed.job_wanted_power_mw, plain.job_power_mw, rtol=0, atol=2e-6)
    assert np.abs(smoothed.job_power_mw - plain.job_power_mw).max() > 0.5


@pytest.mark.parametrize("dt_s", [0.0005, 0.001, 0.002, 0.003, 0.005, 0.01])
def test_times_in_ticks_lose_none_to_rounding(dt_s):
    """In float32 0.01 s over 0.001 s is 9.9999998: it is 10 ticks all the same."""
    f32, times = jnp.float32, np.arange(1, 200) * dt_s
    one = jnp.ones(len(times), f32)
    limits = smoothing.SmoothingParams(*(one for _ in range(9)))
    limits = smoothing.SmoothingParams(**{**vars(limits), "stop_delay_s": jnp.asarray(times, f32),
                                          "min_floor_s": jnp.asarray(times, f32)})  # fmt: skip
    dummy = smoothing.DummyParams(floor_fraction=one, latency_s=jnp.asarray(times, f32))
    made = smoothing.settings(0.0 * one, one, one, one, one, limits, dummy, dt_s)
    for found in (made.stop_ticks, made.hold_ticks, made.dummy_ticks):
        np.testing.assert_array_equal(found, np.arange(1, 200))
