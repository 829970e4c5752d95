"""Inference jobs against queueing theory, and their draws against themselves."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emulator import simulate
from emulator.cluster import serving as inference
from emulator.cluster.iteration import Window

SERVED = """
    [run]
    duration_s = 100.0
    dt_s = 0.005
    [[site]]
    name = "campus"
    [[site.job]]
    name = "chat"
    kind = "inference"
    devices = 1600
    accelerator = {idle_w = 100.0, tdp_w = 700.0}
    [site.job.service]
    devices_per_replica = 8
    requests_per_s = 2.0
    prefill_s = 0.2
    decode_s = 3.0
    batch = 100
    prefill_level = 1.0
    decode_level_min = 0.4
    decode_level_max = 0.4
"""
REPLICAS, IDLE_MW, PEAK_MW = 200, 0.16, 1.12


def settled(emulate, *overrides: str) -> np.ndarray:
    """Level of the job after 20 s, when the queues have filled."""
    power = emulate(SERVED, *overrides).job_power_mw[4000:, 0].astype(np.float64)
    return (power - IDLE_MW) / (PEAK_MW - IDLE_MW)


def states(scenario, ticks: int, *overrides: str, seed: int = 0) -> inference.InferenceState:
    layout, params, state, _ = simulate.build(scenario(SERVED, *overrides), ticks=100)
    window = Window(jnp.int32(0), ticks, 0.005)
    call = jax.jit(lambda p, s: inference.advance(layout.inference[0], p, s, jax.random.key(seed), window)[0])
    return call(params.inference[0], state.inference[0])


def test_utilisation_and_littles_law(scenario):
    """Prefill is M/M/1 with utilisation 0.4, decode M/M/infinity with 2 x 3 = 6 requests on average.

    200 replicas: s.d. of the mean sqrt(0.24/200) = 0.035 and sqrt(6/200) = 0.17; ticks of 5 ms at 1/0.2 s cost
    2.5 % of a rate. Three s.d. over four seeds.
    """
    found = [states(scenario, 8000, seed=seed) for seed in range(4)]
    busy = np.mean([np.mean(s.prefilling) for s in found])
    assert busy == pytest.approx(0.4, abs=3 * 0.035 / 2 + 0.01)
    assert np.mean([np.mean(s.decoding) for s in found]) == pytest.approx(6.0, abs=3 * 0.17 / 2 + 0.15)
    # Waiting in M/M/1: rho^2/(1 - rho) = 0.267, s.d. of one replica near 0.75.
    assert np.mean([np.mean(s.waiting) for s in found]) == pytest.approx(0.267, abs=3 * 0.75 / 28 + 0.02)
    for s in found:
        assert set(np.unique(s.prefilling)) <= {0.0, 1.0} and float(jnp.min(s.waiting)) >= 0.0


def test_number_in_decoding_is_poisson(scenario):
    """Departures of M/M/1 are Poisson (Burke), so M/M/infinity behind it holds a Poisson number: variance = mean."""
    decoding = np.concatenate([np.asarray(states(scenario, 8000, seed=seed).decoding) for seed in range(5)])
    # s.d. of a variance of 1000 Poisson numbers of mean 6: sqrt((2 x 36 + 6)/1000) = 0.28
    assert decoding.var() == pytest.approx(decoding.mean(), abs=3 * 0.28)


def test_mean_power(emulate):
    """Prefilling 0.4 of the time at level 1; else at 0.4 unless nothing decodes, e^-6 of the time."""
    level = settled(emulate)
    expected = 0.4 + 0.6 * 0.4 * (1.0 - np.exp(-6.0))
    # A replica's level has s.d. 0.3 and forgets in 1 s: 200 replicas over 80 s.
    assert level.mean() == pytest.approx(expected, abs=3 * 0.3 / np.sqrt(200 * 80 / 2) + 0.01)


def test_batch_limits_what_is_decoded(scenario):
    """Room for three requests of 3 s each: one a second, half of what arrives; the rest waits."""
    state = states(scenario, 8000, "site.0.job.0.service.batch=3")
    assert float(jnp.max(state.decoding)) <= 3.0 + 1.0  # one more may end its prefill after the batch was full
    served = 40.0 * 1.0
    assert float(jnp.mean(state.waiting)) == pytest.approx(40.0 * 2.0 - served, rel=0.1)


def test_bursts_are_common_and_keep_the_mean(emulate):
    """Bursts reach all replicas at once: the level's variance is far above that of independent replicas."""
    bursts = [
        'site.0.job.0.service.arrivals="bursty"',
        "site.0.job.0.service.burst_s=2.0",
        "site.0.job.0.service.burst_fraction=0.3",
        "site.0.job.0.service.requests_per_s=0.5",
    ]
    quiet = settled(emulate, "site.0.job.0.service.requests_per_s=0.5")
    bursty = settled(emulate, *bursts)
    assert bursty.std() > 4 * quiet.std()
    # Bursts and pauses of 2 s and 4.7 s: some 12 cycles in 80 s; the mean number prefilled is good to 20 %.
    assert bursty.mean() == pytest.approx(quiet.mean(), rel=0.25)


def test_a_day_swings_by_its_amplitude(emulate):
    """Prefill only: the level is the utilisation, 0.4 (1 + 0.5 sin), but for its delay of 0.3 s in a period of 40 s."""
    day = [
        'site.0.job.0.service.arrivals="diurnal"',
        "site.0.job.0.service.day_s=40.0",
        "site.0.job.0.service.decode_level_min=0.0",
        "site.0.job.0.service.decode_level_max=0.0",
    ]
    level = settled(emulate, *day)
    t = 20.0 + 0.005 * np.arange(len(level))
    line = 2 * np.mean(level * np.exp(-2j * np.pi * t / 40.0))
    assert abs(line) == pytest.approx(0.2, abs=0.02)  # 200 replicas over 80 s: 0.006


def test_windows_and_company_change_no_draw(scenario):
    """Bit by bit: one window or three, 200 replicas or the first 50 of them."""
    layout, params, state, _ = simulate.build(scenario(SERVED), ticks=100)
    at, numbers, key = layout.inference[0], params.inference[0], jax.random.key(1)
    whole, _ = inference.advance(at, numbers, state.inference[0], key, Window(jnp.int32(0), 900, 0.005))
    part = state.inference[0]
    for first in (0, 300, 600):
        part, _ = inference.advance(at, numbers, part, key, Window(jnp.int32(first), 300, 0.005))
    fewer = replace(at, replicas=50)
    few, _ = inference.advance(
        fewer, numbers, inference.initial(fewer, jnp.float32), key, Window(jnp.int32(0), 900, 0.005)
    )
    for name in ("waiting", "prefilling", "decoding"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(part, name))
        np.testing.assert_array_equal(getattr(whole, name)[:50], getattr(few, name))


def test_outside_its_time_it_idles(emulate):
    trace = emulate(SERVED, "site.0.job.0.start_s=1.0", "site.0.job.0.stop_s=1.5", "run.duration_s=60.0")
    np.testing.assert_allclose(trace.job_power_mw[:200, 0], IDLE_MW, rtol=1e-6)
    assert trace.job_power_mw[290, 0] > 1.2 * IDLE_MW
    np.testing.assert_allclose(trace.job_power_mw[-200:, 0], IDLE_MW, rtol=1e-6)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("devices=1601", "no multiple of service.devices_per_replica = 8"),
        ('service.arrivals="bursty"', None),
        ("service.prefill_s=0.01", "too many for ticks of 0.005 s"),
    ],
)
def test_refusals(scenario, override, said):
    from emulator.complaint import ConfigError

    if said is None:
        with pytest.raises(ConfigError, match="at most 1 / burst_fraction"):
            scenario(SERVED, f"site.0.job.0.{override}", "site.0.job.0.service.burst_fraction=0.5")
        return
    with pytest.raises(ConfigError, match=said):
        scenario(SERVED, f"site.0.job.0.{override}")
