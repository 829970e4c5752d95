"""The path by events and the path by devices are the same job: whatever the job, without noise to rounding, and with
noise in mean, variance and spectrum."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal, stats

from emulator import config, simulate, waveform
from emulator.cluster import demand
from emulator.cluster.iteration import Window, draw_job
from emulator.rollout import rollout
from tests.compiling import QUICKLY

EVERYTHING = """
    [run]
    duration_s = 3.0
    dt_s = 0.005
    [[site]]
    name = "campus"
    [[site.job]]
    name = "train"
    kind = "training"
    devices = 70
    runs_s = [[0.3, 1.7], [2.0, 2.6]]
    stage_in_s = 0.15
    stage_out_s = 0.1
    [site.job.accelerator]
    idle_w = 100.0
    tdp_w = 700.0
    gain_spread = 0.05
    response_s = 0.01
    edp_fraction = 1.3
    edp_duration_s = 0.05
    edp_window_s = 0.3
    [site.job.workload]
    pipeline_stages = 3
    slow_fraction = 0.1
    slow_by = 0.2
    jitter = 0.02
    checkpoint = {period_s = 0.5, duration_s = 0.07, level = 0.2}
    evaluation = {every = 3, duration_s = 0.05, level = 0.4}
    stall = {probability = 0.3, duration_s = 0.05}
    fault = {rate_per_device_hour = 20.0, stall_s = 0.1, ramp_s = 0.1, ramp_level = 0.3}
    [[site.job.workload.phase]]
    name = "forward"
    duration_s = 0.1
    level = 0.9
    spread_s = 0.01
    stage_delay_s = 0.012
    [[site.job.workload.phase]]
    name = "backward"
    duration_s = 0.15
    level = 0.7
    level_jitter = 0.05
    spread_s = 0.02
    barrier = true
    wait_level = 0.2
    [[site.job.workload.phase]]
    name = "exchange"
    duration_s = 0.06
    level = 0.05
    release_skew_s = 0.03
"""
# Layouts compile once each; the numbers within them are drawn.
PLAIN = [
    "site.0.job.0.runs_s=[]",
    "site.0.job.0.stage_in_s=0.0",
    "site.0.job.0.stage_out_s=0.0",
    "site.0.job.0.accelerator.edp_fraction=1.0",
    'site.0.job.0.workload={phase=[{name="a",duration_s=0.2,level=0.9},{name="b",duration_s=0.1,level=0.1}]}',
]
LAYOUTS = {"everything": [], "plain": PLAIN, "no overshoot": ["site.0.job.0.accelerator.edp_fraction=1.0"]}
TICKS = 600


def loaded(*overrides: str):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "job.toml"
        path.write_text(EVERYTHING)
        return config.load(path, overrides)


@cache
def built(name):
    """Layout, parameters and compiled powers of both paths, in float64."""
    with jax.enable_x64(True):
        layout, params, _, _ = simulate.build(loaded(*LAYOUTS[name]), ticks=100)
        return layout.training[0], params.training[0], {way: compiled(way) for way in ("events", "devices")}


def compiled(way: str):
    def power(layout, params, seed, first, state):
        window = Window(first, TICKS // 3, 0.005)
        after, found = demand.advance(layout, params, state, jax.random.key(seed), jnp.asarray(jnp.inf), window)
        return after, found.power_w[:, 0], found.bits, found.overflow

    return jax.jit(power, static_argnums=0, compiler_options=QUICKLY)


def run(layout, params, way, call, seed):
    """Power and bits of three windows, one after the other."""
    layout = replace(layout, path=way)
    state = demand.initial(layout, jnp.result_type(float))
    powers, bits = [], []
    for i in range(3):
        state, power, bit, overflow = call(layout, params, seed, jnp.int32(i * TICKS // 3), state)
        assert not overflow
        powers.append(np.asarray(power))
        bits.append(np.asarray(bit))
    return np.concatenate(powers), np.concatenate(bits)


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_the_two_paths_are_one_job(name, seed):
    """60 random jobs; sums of 70 devices over some hundred events in float64: 1e-15 of the peak, allowed 1e-9."""
    layout, params, calls = built(name)
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        leaves, tree = jax.tree.flatten(params)
        params = jax.tree.unflatten(tree, [leaf * rng.uniform(0.6, 1.4) if leaf.size else leaf for leaf in leaves])
        workload = replace(params.job.workload, noise_coherence=jnp.ones(()), rate_spread=jnp.zeros(()))
        params = replace(params, job=replace(params.job, workload=workload, stretch=jnp.ones(())))
        (events, bits), (devices, same) = (run(layout, params, way, call, seed) for way, call in calls.items())
    peak_w = layout.job.devices * float(params.device.tdp_w)
    np.testing.assert_array_equal(bits, same)
    np.testing.assert_allclose(events, devices, rtol=0, atol=1e-9 * peak_w)
    assert np.ptp(events) > 0.05 * peak_w


@pytest.mark.parametrize("name", LAYOUTS)
def test_in_float32_to_its_rounding(name):
    """60 random jobs. Times within an iteration carry 2^-24 of some 100 ticks, 6e-6 of a tick: that share of a step of
    one device, and 70 additions of 6e-8."""
    layout, params, _ = built(name)
    calls, rng = {way: compiled(way) for way in ("events", "devices")}, np.random.default_rng(1)
    leaves, tree = jax.tree.flatten(params)
    for seed in range(20):
        drawn = [jnp.asarray(np.asarray(leaf, np.float32) * np.float32(rng.uniform(0.6, 1.4))) for leaf in leaves]
        its = jax.tree.unflatten(tree, drawn)
        one = jnp.ones((), jnp.float32)
        workload = replace(its.job.workload, noise_coherence=one, rate_spread=jnp.zeros((), jnp.float32))
        its = replace(its, job=replace(its.job, workload=workload, stretch=one))
        (events, _), (devices, _) = (run(layout, its, way, call, seed) for way, call in calls.items())
        peak_w = layout.job.devices * float(its.device.tdp_w)
        assert np.abs(events - devices).max() < 1e-5 * peak_w and np.ptp(events) > 0.05 * peak_w


MANY, SPREAD_S = 20_000, 0.02
OF_MANY = [
    *PLAIN,
    f"site.0.job.0.devices={MANY}",
    f'site.0.job.0.workload={{phase=[{{name="a",duration_s=1.0,level=0.9,spread_s={SPREAD_S},wait_level=0.1}}]}}',
]


def test_paths_sum_the_same_few_of_many_devices_and_wait_for_all():
    with jax.enable_x64(True):
        layout, params, _, _ = simulate.build(loaded(*OF_MANY), ticks=100)
        few, numbers = waveform.sampled(layout, 1000).training[0], params.training[0]
        (events, bits), (devices, same) = (run(few, numbers, way, compiled(way), 3) for way in ("events", "devices"))
        _, of_all = run(layout.training[0], numbers, "events", compiled("events"), 3)
    np.testing.assert_array_equal(bits, same)
    np.testing.assert_array_equal(bits, of_all)
    np.testing.assert_allclose(events, devices, rtol=0, atol=1e-9 * MANY * 700.0)


def test_iterations_of_devices_one_by_one_take_what_the_slowest_of_all_takes():
    """N int z phi(z) Phi(z)^(N - 1) dz s.d. more than one device takes: 4.02 for 20,000, 3.55 for the 4096 that are
    emulated at most. A maximum's s.d. is 0.3 of one device's; 4 of the mean's allowed, and the tick of a start."""
    smoothing = "site.0.job.0.smoothing={floor_fraction=0.3,ramp_up_w_per_s=1e4,ramp_down_w_per_s=1e4}"
    its = loaded(*OF_MANY, smoothing, "run.dt_s=0.01")
    period_s, _ = waveform.nominal_iteration(its, its.site[0], its.site[0].job[0])
    z = np.linspace(-8.0, 8.0, 20_001)
    slowest = np.trapezoid(MANY * z * stats.norm.pdf(z) * stats.norm.cdf(z) ** (MANY - 1), z)
    count = waveform.SETTLING_S / 1.1
    error_s = 4 * 0.3 * SPREAD_S / np.sqrt(count) + 0.01 / count
    assert period_s - 1.0 == pytest.approx(SPREAD_S * slowest, abs=error_s) and error_s < 0.2 * SPREAD_S


NOISY = """
    [run]
    duration_s = 1.0
    dt_s = 0.01
    [[site]]
    name = "campus"
    [[site.job]]
    name = "train"
    kind = "training"
    devices = 70
    accelerator = {idle_w = 0.0, tdp_w = 1000.0, gain_spread = 0.1}
    [site.job.workload]
    noise_correlation_s = 0.05
    noise_coherence = 0.03
    [[site.job.workload.phase]]
    name = "compute"
    duration_s = 1e5
    level = 0.5
    noise = 0.1
"""
HALLS = (20, 50)  # the common part of the noise has 0.4 and 0.6 of their variance
DT_S, CORRELATION_S, COHERENCE, AMPLITUDE = 0.01, 0.05, 0.03, 0.1
NOISY_TICKS, SEGMENT = 80_000, 400
SEGMENTS = NOISY_TICKS // SEGMENT
# S.d. of a variance over its value: root of 2 x the integral of the correlation's square, T, over the length; and of a
# mean over the series' s.d.: of the integral of the correlation, 2 T, over the length.
ERROR = np.sqrt(2 * CORRELATION_S / (NOISY_TICKS * DT_S))
ODDS = 1e-5  # per bin of a spectrum, on either side: 800 bins below


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """Power of both halls by either path, as a share of theirs, and the gains of their devices."""
    path = tmp_path_factory.mktemp("noisy") / "job.toml"
    path.write_text(NOISY)
    layout, params, _, _ = simulate.build(config.load(path), ticks=100)
    layout, params, key = replace(layout.training[0], groups=HALLS), params.training[0], jax.random.key(4)
    gains = demand._gains(layout, params, draw_job(layout.job, params.job, None, key))
    series = {}
    for way in ("events", "devices"):
        its = replace(layout, path=way)
        call = jax.jit(partial(demand.advance, its, window=Window(jnp.int32(0), NOISY_TICKS, DT_S)))
        found = call(params, demand.initial(its, jnp.float32), key, jnp.asarray(jnp.inf))[1]
        series[way] = np.asarray(found.power_w, np.float64) / (1000.0 * np.array(HALLS))
    return series, np.split(np.asarray(gains, np.float64), [HALLS[0]])


def spectrum(series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of (ticks, halls) from segments side by side: a bin is its mean times a chi-square of 2 SEGMENTS, over these.
    The mean is that of a segment without its own, and the last bin is real: both ends are left out."""
    f_hz, density = signal.welch(series, 1 / DT_S, nperseg=SEGMENT, noverlap=0, axis=0)
    return f_hz[2:-1], density[2:-1]


def test_noisy_means_and_variances_of_the_paths_are_one(noisy):
    """What devices have in common is the same series on both paths, what is their own is drawn anew; 4 s.d. of both."""
    (events, devices), gains = noisy[0].values(), noisy[1]
    own = AMPLITUDE**2 * (1 - COHERENCE) * np.array([np.sum(g**2) / len(g) ** 2 for g in gains])
    shared = AMPLITUDE**2 * COHERENCE * np.array([g.mean() ** 2 for g in gains])
    assert (own > 0.3 * shared).all() and (shared > 0.3 * own).all()
    apart = np.abs(events.mean(axis=0) - devices.mean(axis=0))
    assert (apart < 4 * np.sqrt(2 * own) * ERROR).all() and (apart > 0).all()
    for series in (events, devices):
        mean = 0.5 * np.array([g.mean() for g in gains])
        np.testing.assert_array_less(np.abs(series.mean(axis=0) - mean), 4 * np.sqrt(own + shared) * ERROR)
        np.testing.assert_allclose(series.var(axis=0), own + shared, rtol=4 * ERROR)
        # Between halls only what is common: s.d. of a covariance, (s1^2 s2^2 + c^2) T / length.
        error = np.sqrt((np.prod(own + shared) + np.prod(shared)) / 2) * ERROR
        assert np.cov(series.T)[0, 1] == pytest.approx(np.sqrt(np.prod(shared)), abs=4 * error)


def test_noisy_spectra_of_the_paths_are_one(noisy):
    """Bin by bin against each other and against that of a first-order recurrence; the ratio of two bins is F."""
    (f_hz, events), (_, devices) = (spectrum(series) for series in noisy[0].values())
    low, high = stats.f.isf([1 - ODDS, ODDS], 2 * SEGMENTS, 2 * SEGMENTS)
    assert (low < events / devices).all() and (events / devices < high).all()
    fade = np.exp(-DT_S / CORRELATION_S)
    shape = 2 * DT_S * (1 - fade**2) / np.abs(1 - fade * np.exp(-2j * np.pi * f_hz * DT_S)) ** 2
    low, high = stats.chi2.isf([1 - ODDS, ODDS], 2 * SEGMENTS) / (2 * SEGMENTS)
    for series, density in zip(noisy[0].values(), (events, devices), strict=True):
        ratio = density / (shape[:, None] * series.var(axis=0))
        assert (low < ratio).all() and (ratio < high).all()


def test_sums_of_events_are_exact_on_any_device():
    """Unless told, a GPU multiplies float32 matrices with 10 bits and a TPU with 7: too few for a path to 1e-5."""
    layout, *args = simulate.build(config.load("campus_100mw"), 1000)
    text = str(jax.make_jaxpr(partial(rollout, layout))(*args))
    assert text.count("dot_general[") == text.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") > 0
