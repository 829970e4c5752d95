"""Training jobs: waveforms that are known, energies that do not depend on the tick, statistics of the draws."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from emulator.cluster.fluctuation import correlated

TWO_PHASES = """
    [run]
    duration_s = 6.0
    [[site]]
    name = "campus"
    [[site.job]]
    name = "train"
    kind = "training"
    devices = 1000
    start_s = 1.0
    stop_s = 5.0
    accelerator = {idle_w = 100.0, tdp_w = 600.0, server_fixed_w = 50.0, server_fraction = 0.5}
    [[site.job.workload.phase]]
    name = "compute"
    duration_s = 0.7337
    level = 0.9
    [[site.job.workload.phase]]
    name = "exchange"
    duration_s = 0.3111
    level = 0.1
"""
IDLE_MW, PEAK_MW = 0.2, 0.95  # 1000 x (50 + 1.5 x 100) W and 1000 x (50 + 1.5 x 600) W


def level_mw(share: float) -> float:
    return IDLE_MW + share * (PEAK_MW - IDLE_MW)


def mean_level(edges_s: list[float], levels: list[float], time_s: np.ndarray, dt_s: float) -> np.ndarray:
    """Tick means of a piecewise constant power, by integrating it."""
    knots = np.array([0.0, *edges_s, 1e3])
    energy = np.concatenate([[0.0], np.cumsum(np.diff(knots) * np.array(levels))])
    return np.diff(np.interp(np.append(time_s, time_s[-1] + dt_s), knots, energy)) / dt_s


@pytest.mark.parametrize("dt_s", [0.0005, 0.001, 0.01])
def test_waveform_of_devices_in_step(emulate, dt_s):
    """Idle, then phases in turn from start to stop, each tick its mean."""
    trace = emulate(TWO_PHASES, f"run.dt_s={dt_s}")
    edges, levels, t = [1.0], [level_mw(0.0)], 1.0
    while t < 5.0:
        levels += [level_mw(0.9), level_mw(0.1)]
        edges += [t + 0.7337, t + 1.0448]
        t += 1.0448
    edges = [min(e, 5.0) for e in edges]
    expected = mean_level(edges, [*levels, level_mw(0.0)], trace.time_s, dt_s)
    # An event's time in ticks is rounded to 2^-12 once an iteration, four in all: that share of a step goes astray.
    np.testing.assert_allclose(trace.job_power_mw[:, 0], expected, atol=4 * 2.0**-12 * 0.8 * (PEAK_MW - IDLE_MW))
    np.testing.assert_allclose(trace.job_power_mw.sum(), expected.sum(), rtol=1e-6)


@pytest.mark.parametrize("dt_s", [0.0005, 0.002, 0.005, 0.01])
def test_energy_does_not_depend_on_the_tick(emulate, dt_s):
    """With spread, skew, response and gain spread; within 0.01 %."""
    drawn = [
        "site.0.job.0.accelerator.response_s=0.02",
        "site.0.job.0.accelerator.gain_spread=0.05",
        "site.0.job.0.workload.phase.0.spread_s=0.05",
        "site.0.job.0.workload.phase.0.release_skew_s=0.1",
        "site.0.job.0.workload.phase.0.barrier=true",
        "site.0.job.0.workload.phase.0.wait_level=0.3",
    ]
    energies = []
    for step in (0.001, dt_s):
        trace = emulate(TWO_PHASES, *drawn, f"run.dt_s={step}")
        energies.append(trace.job_power_mw.sum(dtype=np.float64) * step)
    assert energies[0] == pytest.approx(energies[1], rel=1e-4)


def test_energy_is_the_sum_over_phases(emulate):
    trace = emulate(TWO_PHASES, "site.0.job.0.stop_s=1e9", "run.duration_s=11.448")
    running = trace.time_s >= 1.0  # ten iterations
    energy = trace.job_power_mw[running].sum(dtype=np.float64) * 0.001
    assert energy == pytest.approx(10 * (0.7337 * level_mw(0.9) + 0.3111 * level_mw(0.1)), rel=1e-5)


def test_barrier_waits_for_the_slowest(emulate):
    """The iteration takes as long as the slowest of 1000 devices: mean + E[max of 1000 normals] s.d. = + 3.241 s.d."""
    trace = emulate(
        TWO_PHASES,
        "run.duration_s=60.0",
        "site.0.job.0.stop_s=1e9",
        "site.0.job.0.workload.phase.0.spread_s=0.05",
        "site.0.job.0.workload.phase.0.barrier=true",
        "site.0.job.0.workload.phase.0.wait_level=0.3",
    )
    power = trace.job_power_mw[:, 0]
    starts = trace.time_s[1:][(power[1:] > level_mw(0.5)) & (power[:-1] <= level_mw(0.5))]
    periods = np.diff(starts)
    grid = np.linspace(-8, 8, 16001)
    largest = np.trapezoid(grid * np.gradient(stats.norm.cdf(grid) ** 1000, grid), grid)
    # The largest of 1000 varies with s.d. 0.35 s.d.; over 40 iterations its mean is good to 3 x 0.35 x 0.05 / sqrt(40).
    assert np.mean(periods) == pytest.approx(1.0448 + 0.05 * largest, abs=0.009)
    assert power.min() < level_mw(0.31)


def test_finish_times_shape_the_falling_edge(emulate):
    """The power falls as devices finish: with normal finish times the edge is their distribution."""
    trace = emulate(
        TWO_PHASES,
        "site.0.job.0.devices=20000",
        "site.0.job.0.workload.phase.0.spread_s=0.05",
        "site.0.job.0.workload.phase.0.barrier=true",
        "site.0.job.0.workload.phase.0.wait_level=0.1",
    )
    share = (trace.job_power_mw[1000:1950, 0] / 20 - level_mw(0.1)) / (level_mw(0.9) - level_mw(0.1))
    expected = 1.0 - stats.norm.cdf(trace.time_s[1000:1950] + 0.0005, 1.7337, 0.05)
    assert np.abs(share - expected).max() < 1.63 / np.sqrt(20000) * 1.5  # Kolmogorov-Smirnov, 1 %, and margin


def test_gain_spread_changes_shares_not_the_mean(emulate):
    spread = emulate(TWO_PHASES, "site.0.job.0.accelerator.gain_spread=0.1").job_power_mw.max() - IDLE_MW
    same = emulate(TWO_PHASES).job_power_mw.max() - IDLE_MW
    assert spread != same
    assert spread == pytest.approx(same, rel=4 * 0.1 / np.sqrt(1000))


def test_response_is_first_order(emulate):
    trace = emulate(TWO_PHASES, "site.0.job.0.accelerator.response_s=0.1")
    rise = trace.job_power_mw[1000:1700, 0]
    expected = level_mw(0.0) + (level_mw(0.9) - level_mw(0.0)) * -np.expm1(-np.arange(1, 701) * 0.001 / 0.1)
    np.testing.assert_allclose(rise, expected, rtol=1e-5)


NOISY = """
    [run]
    duration_s = 400.0
    [[site]]
    name = "campus"
    [[site.job]]
    name = "train"
    kind = "training"
    devices = 1
    accelerator = {idle_w = 100.0, tdp_w = 1000100.0}
    [site.job.workload]
    noise_correlation_s = 0.1
    [[site.job.workload.phase]]
    name = "compute"
    duration_s = 100.0
    level = 0.5
    noise = 0.1
"""


@pytest.mark.parametrize("dt_s", [0.002, 0.01, 0.05])
def test_noise_does_not_depend_on_the_tick(emulate, dt_s):
    """S.d. 0.1 MW and correlation exp(-t/0.1 s) at any tick. 400 s hold 2000 independent values: s.d. good to 1.6 %,
    correlation to 0.022 (one s.d.)."""
    trace = emulate(NOISY, f"run.dt_s={dt_s}")
    noise = trace.job_power_mw[:, 0].astype(np.float64) - trace.job_power_mw.mean(dtype=np.float64)
    assert noise.std() == pytest.approx(0.1, rel=3 * 0.016)
    lag = round(0.1 / dt_s)
    correlation = np.mean(noise[lag:] * noise[:-lag]) / noise.var()
    assert correlation == pytest.approx(np.exp(-1), abs=3 * 0.022)


def test_ko_zhu_moments(emulate):
    """R16, arXiv 2508.16457 Table I at mid-range: mean 0.9025, fundamental 0.163, ripple 0.141 of the peak."""
    text = """
        [run]
        duration_s = 600.0
        dt_s = 0.01
        [[site]]
        name = "campus"
        [[site.job]]
        name = "train"
        kind = "training"
        devices = 1000
        accelerator = {idle_w = 300.0, tdp_w = 1000.0}
        workload = "ko_zhu_training"
    """
    means, ripples, fundamentals = [], [], []
    for seed in range(6):
        power = emulate(text, f"run.seed={seed}").job_power_mw[100:, 0].astype(np.float64)
        means.append(power.mean())
        # Take the published noise and level jitter out of the variance: what is left is the two-level wave.
        up = power > 0.85
        inside = np.mean(up) * power[up].var() + np.mean(~up) * power[~up].var()
        ripples.append(np.sqrt(power.var() - inside))
        r = np.mean(up)
        fundamentals.append(2 * (power[up].mean() - power[~up].mean()) / np.pi * np.sin(np.pi * r))
    # Six jobs of some 600 iterations: r is even on 0.675 +- 0.125, s.d. 0.072; its mean is good to 0.072/sqrt(3600).
    assert np.mean(means) == pytest.approx(0.9025, abs=0.003)
    assert np.mean(ripples) == pytest.approx(0.141, rel=0.03)
    assert np.mean(fundamentals) == pytest.approx(0.163, rel=0.03)


def test_slow_noise_keeps_its_variance_in_float32():
    """1000 s correlation at 1 ms: the drive is sqrt(2e-6), where 1 - decay^2 in float32 is wrong by 3 % and more."""
    one_draw = jnp.zeros(1000).at[0].set(1.0)
    noise, _ = correlated(one_draw, jnp.float32(1000.0), jnp.zeros(()), 0.001)
    assert float(noise) == pytest.approx(
        np.sqrt(-np.expm1(-2e-6)) * np.exp(-0.999e-3), rel=6e-5
    )  # 1000 roundings of 6e-8
