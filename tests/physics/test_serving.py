"""Inference jobs against queueing theory: M/M/1, M/M/infinity, stationary distributions of small chains, bursts, days.

Replicas are independent under Poisson arrivals: a snapshot of N of them is a sample of size N, and tolerances are 4
standard errors of the mean of N, unless they say otherwise. Seeds are fixed.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal, stats

from emulator import simulate
from emulator.cluster import serving
from emulator.cluster.iteration import Window
from emulator.cluster.stationary import stationary
from emulator.complaint import ConfigError
from emulator.kernels.device_tick import hashed
from emulator.metrics import render
from emulator.struct import as_array

SE = 4.0  # standard errors
NEVER = 2**31 - 1
Arrivals = Literal["poisson", "bursty", "diurnal"]
SERVICE = {
    "requests_per_s": 4.0,
    "burst_factor": 3.0,
    "burst_s": 0.5,
    "burst_fraction": 0.2,
    "day_s": 10.0,
    "day_swing": 0.5,
    "day_phase": 0.25,
    "prefill_s": 0.1,
    "decode_s": 1.0,
    "prefill_level": 0.9,
    "decode_level_min": 0.3,
    "decode_level_max": 1.1,
    "idle_w": 200.0,
    "peak_w": 1200.0,
    "response_s": 0.0,
}
RHO, REQUESTS = 0.4, 4.0  # share of time in prefill, mean requests in decode


@functools.partial(jax.jit, static_argnums=(0, 5, 6))
def advance(of, numbers, state, seed, first, ticks, dt_s):
    return serving.advance(of, numbers, state, jax.random.key(seed), Window(first, ticks, dt_s))[:2]


def layout(replicas: int, arrivals: Arrivals = "poisson", batch: int = 200, start=0, stop=NEVER, stream=11):
    return serving.InferenceLayout(stream, replicas, 8, start, stop, arrivals, batch)


def params(settled_for: int | None = None, **changes: float) -> serving.InferenceParams:
    """Replicas start empty, or in the stationary state of a batch."""
    values, chances = {**SERVICE, **changes}, np.ones((1, 1))
    if settled_for is not None:
        chances = exact(values["requests_per_s"], values["prefill_s"], values["decode_s"], settled_for)
    start = as_array(np.minimum(np.cumsum(chances), 1.0).reshape(chances.shape))
    return serving.InferenceParams(start=start, **{name: as_array(value) for name, value in values.items()})


def initial(of: serving.InferenceLayout) -> serving.InferenceState:
    return serving.initial(of, jnp.result_type(float))


def run(of, numbers, ticks: int, dt_s=0.001, windows: int = 1, state=None, first=0, seed=0):
    """State after the run, (windows,) states after each window, and (windows x ticks,) power."""
    state = initial(of) if state is None else state
    states, powers = [], []
    for k in range(windows):
        state, power = advance(of, numbers, state, seed, jnp.asarray(first + k * ticks, jnp.int32), ticks, dt_s)
        states.append(state)
        powers.append(np.asarray(power, np.float64))
    return state, states, np.concatenate(powers)


def settled(replicas: int):
    """Replicas after 12 s: over ten times what M/M/1 and M/M/infinity take to forget that they were empty."""
    return run(layout(replicas), params(), 12_000)


def mean_level(power_w: np.ndarray, replicas: int) -> np.ndarray:
    return (power_w / (8 * replicas) - SERVICE["idle_w"]) / (SERVICE["peak_w"] - SERVICE["idle_w"])


def levels(waiting: np.ndarray, decoding: np.ndarray, batch: int) -> np.ndarray:
    """The level, as the documentation has it."""
    slope = (SERVICE["decode_level_max"] - SERVICE["decode_level_min"]) / max(batch - 1, 1)
    low = SERVICE["decode_level_min"] if batch > 1 else SERVICE["decode_level_max"]
    decode = np.where(decoding > 0, low + slope * (decoding - 1), 0.0)
    return np.where((waiting > 0) & (decoding < batch), SERVICE["prefill_level"], decode)


def moments(chances: np.ndarray, of_state, replicas: int) -> tuple[float, float]:
    """Mean of a function of waiting and decoding, and the standard error of that of so many replicas."""
    value = of_state(*np.meshgrid(*(np.arange(n) for n in chances.shape), indexing="ij"))
    mean = (chances * value).sum()
    return mean, np.sqrt(((chances * value**2).sum() - mean**2) / replicas)


def fits(counts: np.ndarray, probability: np.ndarray) -> float:
    """p-value of counts 0, 1, ... under probabilities; the last bin holds all beyond."""
    last = len(probability)
    seen = np.bincount(np.minimum(counts, last), minlength=last + 1)
    expected = np.append(probability, 1.0 - probability.sum()) * len(counts)
    assert expected.min() > 5.0
    return stats.chisquare(seen, expected).pvalue


@pytest.fixture(scope="module")
def roomy():
    """20,000 replicas whose batch never fills, long after they were empty."""
    state, _, power = settled(20_000)
    return np.asarray(state.waiting), np.asarray(state.decoding), power


def test_prefill_is_a_queue_with_one_server(roomy):
    """M/M/1: busy for lambda prefill_s of the time, queue geometric, (1 - rho) rho^n."""
    waiting, _, _ = roomy
    assert (waiting > 0).mean() == pytest.approx(RHO, abs=SE * np.sqrt(RHO * (1 - RHO) / len(waiting)))
    assert fits(waiting, (1 - RHO) * RHO ** np.arange(8)) > 1e-3


def test_decode_is_a_queue_with_servers_without_end(roomy):
    """M/M/infinity behind M/M/1: Little, lambda decode_s in it; Poisson; independent of the queue (Burke, 1956)."""
    waiting, decoding, _ = roomy
    assert decoding.mean() == pytest.approx(REQUESTS, abs=SE * np.sqrt(REQUESTS / len(decoding)))
    assert fits(decoding, stats.poisson.pmf(np.arange(10), REQUESTS)) > 1e-3
    assert abs(np.corrcoef(waiting, decoding)[0, 1]) < SE / np.sqrt(len(decoding))


def product(rho: float, requests: float, most: int) -> np.ndarray:
    """(waiting, decoding) chances where the batch never fills."""
    number = np.arange(most + 1)
    return np.outer((1 - rho) * rho**number, stats.poisson.pmf(number, requests))


def test_mean_power(roomy):
    """Levels under the product of the two distributions."""
    mean, error = moments(product(RHO, REQUESTS, 40), lambda n, b: levels(n, b, 200), 20_000)
    assert error < 0.01 * mean
    assert mean_level(roomy[2][-1:], 20_000)[0] == pytest.approx(mean, abs=SE * error)


def exact(rate: float, prefill_s: float, decode_s: float, batch: int, most: int = 120) -> np.ndarray:
    """(waiting, decoding) chances of the continuous chain, from its dense generator, waiting cut off."""
    batch = min(batch, 30)
    index = np.arange((most + 1) * (batch + 1)).reshape(most + 1, batch + 1)
    generator = np.zeros((index.size, index.size))
    for n in range(most + 1):
        for b in range(batch + 1):
            here = index[n, b]
            if n < most:
                generator[here, index[n + 1, b]] += rate
            if n and b < batch:
                generator[here, index[n - 1, b + 1]] += 1 / prefill_s
            if b:
                generator[here, index[n, b - 1]] += b / decode_s
    generator -= np.diag(generator.sum(axis=1))
    generator[:, 0] = 1.0  # one equation of balance is redundant: probabilities add up to 1
    right = np.zeros(index.size)
    right[0] = 1.0
    return np.linalg.solve(generator.T, right).reshape(index.shape)


CHAINS = [(0.5, 0.1, 1.0, 1), (2.0, 0.1, 1.0, 4), (2.0, 0.3, 3.0, 12)]


@pytest.mark.parametrize("chain", CHAINS)
def test_stationary_states_of_small_chains(chain):
    """Against a dense solution with a longer queue. Throughput: prefill busy for lambda prefill_s of the time; Little:
    lambda decode_s in decode. Left out: 1e-9 of the chances, weighted by numbers up to 100."""
    found, expected = stationary(*chain), exact(*chain)
    assert found is not None
    rows = min(len(found), len(expected))
    np.testing.assert_allclose(found[:rows], expected[:rows], atol=1e-8)
    rate, prefill_s, decode_s, batch = chain
    n, b = np.meshgrid(*(np.arange(k) for k in found.shape), indexing="ij")
    assert found.sum() == pytest.approx(1.0, rel=1e-12)
    assert (found * ((n > 0) & (b < batch))).sum() == pytest.approx(rate * prefill_s, abs=1e-7)
    assert (found * b).sum() == pytest.approx(rate * decode_s, abs=1e-7)


def test_stationary_states_where_the_batch_never_fills():
    """The product of M/M/1 and M/M/infinity; 1,000 requests in decode, of which none at all has a chance of e^-1000."""
    for rate, prefill_s, decode_s, batch in ((4.0, 0.1, 1.0, 200), (20.0, 0.03, 50.0, 100_000)):
        found = stationary(rate, prefill_s, decode_s, batch)
        assert found is not None
        number = np.arange(len(found))[:, None], np.arange(found.shape[1])[None, :]
        rho = rate * prefill_s
        expected = (1 - rho) * rho ** number[0] * stats.poisson.pmf(number[1], rate * decode_s)
        np.testing.assert_allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize(("batch", "decode_s"), [(1, 1.0), (6, 1.0), (40, 3.0)])
def test_no_stationary_state_beyond_what_a_replica_can_serve(batch, decode_s):
    """Never out of requests, prefill and decode are M/M/batch/batch: served are (1 - Erlang's B) / prefill_s."""
    offered = decode_s / 0.1
    lost = float(stats.poisson.pmf(batch, offered) / stats.poisson.cdf(batch, offered))
    most_per_s = (1 - lost) / 0.1
    assert stationary(1.001 * most_per_s, 0.1, decode_s, batch) is None
    found = stationary(0.9 * most_per_s, 0.1, decode_s, batch)
    assert found is not None and found[-1].sum() < 1e-8
    assert stationary(0.0, 0.1, decode_s, batch) == np.ones((1, 1))


@pytest.mark.parametrize(
    ("rate", "batch", "start", "dt_s"),
    [
        (0.5, 1, "empty", 0.02),
        (2.0, 4, "empty", 0.001),
        (2.0, 4, "empty", 0.005),
        (2.0, 4, "empty", 0.02),
        (0.5, 1, "stationary", 0.005),
        (2.0, 4, "stationary", 0.02),
    ],
)
def test_full_batch_holds_prefill_up_whatever_the_tick(rate, batch, start, dt_s):
    """The batch is full for a good part of the time; no bias from ticks of a fifth of a prefill. From empty 60 s settle
    it; from the stationary state half a second must not move it."""
    replicas = 4000 if dt_s < 0.005 and start == "empty" else 20_000
    of, numbers = layout(replicas, batch=batch), params(batch if start == "stationary" else None, requests_per_s=rate)
    state, _, power = run(of, numbers, round((60.0 if start == "empty" else 0.5) / dt_s), dt_s)
    waiting, decoding = np.asarray(state.waiting), np.asarray(state.decoding)
    expected = exact(rate, 0.1, 1.0, batch)
    assert expected[:, batch].sum() > 0.1
    for of_state in (
        lambda n, b: n,
        lambda n, b: b,
        lambda n, b: b == batch,
        lambda n, b: (n > 0) & (b < batch),
        lambda n, b: levels(n, b, batch),
    ):
        mean, error = moments(expected, of_state, replicas)
        assert of_state(waiting, decoding).mean() == pytest.approx(mean, abs=SE * error)
    if start == "stationary":  # each tick is such a snapshot, and their mean varies no more than one
        assert mean_level(power[:1], replicas)[0] == pytest.approx(mean, abs=SE * error)
        assert mean_level(power, replicas).mean() == pytest.approx(mean, abs=SE * error)


@pytest.mark.parametrize("dt_s", [0.001, 0.005, 0.02])
def test_energy_does_not_depend_on_the_tick(dt_s):
    """500 replicas over 40 s. Levels forget within the second that a decode takes at most: 20 independent snapshots."""
    mean, error = moments(product(RHO, REQUESTS, 40), lambda n, b: levels(n, b, 200), 500)
    *_, power = run(layout(500), params(200), round(40.0 / dt_s), dt_s)
    assert mean_level(power, 500).mean() == pytest.approx(mean, abs=SE * error / np.sqrt(20))


@pytest.mark.parametrize("batch", [1, 5])
def test_batch_limit(batch):
    """Overloaded: batches fill up, never overflow, and no prefill begins while they are full."""
    of, numbers = layout(50, batch=batch), params(requests_per_s=10.0, prefill_level=0.0)
    _, states, power = run(of, numbers, 1, dt_s=0.005, windows=2000)
    decoding = np.array([np.asarray(s.decoding) for s in states])
    assert decoding.max() == batch and decoding.min() == 0
    waiting = np.array([np.asarray(s.waiting) for s in states])
    began = (waiting[:-1] > 0) & (decoding[:-1] == batch)
    assert began.mean() > 0.5  # the case occurs
    assert (np.diff(decoding, axis=0)[began] <= 0).all()
    # All wait with full batches, or prefill at level 0: no other power than that of full batches.
    full = (began * SERVICE["decode_level_max"]).mean(axis=1)
    others = np.where((waiting[:-1] == 0), levels(waiting[:-1], decoding[:-1], batch), 0.0).mean(axis=1)
    np.testing.assert_allclose(mean_level(power[1:], 50), full + others, atol=2e-6)  # float32


def by_hand(of, numbers, ticks: int, dt_s: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ticks, replicas) requests waiting and in decode at the start of each tick, and final counts: one replica and one
    tick after the other."""
    key = jax.random.fold_in(jax.random.key(seed), of.stream)
    keys = jax.random.bits(jax.random.fold_in(key, serving.REPLICAS), (of.replicas,), jnp.uint32)
    draws = np.asarray(hashed(keys[None, :], jnp.arange(ticks, dtype=jnp.int32)[:, None])) / 2.0**32
    chances = [float(x) * dt_s for x in (numbers.requests_per_s, 1 / numbers.prefill_s, 1 / numbers.decode_s)]
    waiting, decoding = np.zeros((2, ticks + 1, of.replicas), int)
    counts = np.zeros((2, of.replicas), int)
    for i in range(of.replicas):
        n = b = 0
        for k in range(ticks):
            waiting[k, i], decoding[k, i] = n, b
            prefilling = n > 0 and b < of.batch
            if draws[k, i] < chances[0]:
                n, counts[0, i] = n + 1, counts[0, i] + 1
            elif draws[k, i] < chances[0] + chances[1]:
                n, b = (n - 1, b + 1) if prefilling else (n, b)
            elif draws[k, i] < chances[0] + chances[1] + b * chances[2]:
                b, counts[1, i] = b - 1, counts[1, i] + 1
    return waiting[:ticks], decoding[:ticks], counts


@pytest.mark.parametrize("batch", [1, 3])
def test_energy_is_the_sum_of_level_shares(x64, batch):
    """Tick by tick as in a program without vectors, and request by request in the counts."""
    of, numbers = layout(5, batch=batch), params(requests_per_s=2.0)
    state, _, power = run(of, numbers, 4000, dt_s=0.01, seed=3)
    waiting, decoding, counts = by_hand(of, numbers, 4000, 0.01, seed=3)
    shares = levels(waiting, decoding, batch)
    assert counts.min() > 10
    np.testing.assert_allclose(power, 8 * (5 * 200.0 + 1000.0 * shares.sum(axis=1)), rtol=1e-12)
    np.testing.assert_array_equal(state.arrived, counts[0])
    np.testing.assert_array_equal(state.completed, counts[1])


def test_no_request_is_lost():
    """What was there at the start and what arrived is served, in service, or waits."""
    of, numbers = layout(300, batch=3), params(3, requests_per_s=1.5)
    begin, end = (run(of, numbers, ticks)[0] for ticks in (1, 5000))
    there = begin.waiting + begin.decoding - begin.arrived + begin.completed
    assert int(there.sum()) > 300
    np.testing.assert_array_equal(there + end.arrived, end.completed + end.waiting + end.decoding)
    assert int(end.completed.sum()) > 1000


def test_power_follows_with_the_response_of_the_devices(x64):
    """1/(1 + s T), exact for power constant within a tick, by scipy; settled at the first tick's load."""
    of, time_s = layout(20, batch=4), 0.08
    numbers = params(4, requests_per_s=2.0)
    at_once = run(of, numbers, 3000)[2]
    assert at_once[0] != 8 * 20 * SERVICE["idle_w"]
    *_, slow = run(of, replace(numbers, response_s=jnp.asarray(time_s)), 1000, windows=3)
    keep = np.exp(-0.001 / time_s)
    expected, _ = signal.lfilter([1 - keep], [1, -keep], at_once, zi=[keep * at_once[0]])
    np.testing.assert_allclose(slow, expected, rtol=1e-12)


@pytest.mark.parametrize(("arrivals", "settled_for"), [("poisson", None), ("bursty", 4), ("diurnal", 4)])
def test_windows_do_not_matter(arrivals, settled_for):
    """Counts bit by bit, power to rounding, with start and stop in the midst of windows."""
    of = layout(37, arrivals, batch=4, start=300 if settled_for is None else 0, stop=5500)
    numbers = params(settled_for, requests_per_s=3.0, burst_fraction=0.3, response_s=0.02)
    whole, _, power = run(of, numbers, 7000)
    state, parts, bursts = initial(of), [], []
    for first, ticks in ((0, 1000), (1000, 1), (1001, 999), *((k, 1000) for k in range(2000, 7000, 1000))):
        state, _, part = run(of, numbers, ticks, state=state, first=first)
        parts.append(part)
        bursts.append(bool(state.bursting))
    assert len(set(bursts)) == (2 if arrivals == "bursty" else 1)  # windows end within and between bursts
    np.testing.assert_allclose(power, np.concatenate(parts), rtol=2e-6)
    for name in ("waiting", "decoding", "arrived", "completed", "bursting"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(state, name))
    assert len(np.unique(power[:5500])) > 50


@pytest.mark.parametrize("arrivals", ["poisson", "bursty"])
def test_other_replicas_do_not_matter(arrivals):
    numbers = params(30)
    few, many = (run(layout(n, arrivals), numbers, 3000)[0] for n in (5, 23))
    for name in ("waiting", "decoding", "arrived", "completed"):
        np.testing.assert_array_equal(getattr(few, name), getattr(many, name)[:5])
    other = run(layout(5, arrivals, stream=12), numbers, 3000)[0]
    assert not np.array_equal(few.arrived, other.arrived)


def test_idle_before_the_start_and_once_all_is_served():
    of = layout(20, batch=4, start=1000, stop=2750)
    state, states, power = run(of, params(requests_per_s=20.0, prefill_s=0.02, decode_s=0.1), 500, windows=20)
    idle = 8 * 20 * SERVICE["idle_w"]
    assert (power[:1001] == idle).all()  # the first request arrives in tick 1000
    assert power[1100:2750].min() > idle
    # At 40 a second and replica the 20 or so that wait take half a second; all are served within 7 s.
    assert power[2800] > idle and (power[-500:] == idle).all()
    np.testing.assert_array_equal(states[5].arrived, state.arrived)
    np.testing.assert_array_equal(state.arrived, state.completed)
    assert int(states[5].completed.sum()) < int(state.arrived.sum())


def arrivals_in(states) -> np.ndarray:
    """(windows, replicas) requests that arrived in each window."""
    return np.diff([np.zeros_like(states[0].arrived), *(np.asarray(s.arrived) for s in states)], axis=0).astype(float)


def test_bursts_keep_the_mean_and_move_all_replicas_together():
    """Variance of a window's arrivals: N lambda t of chance, and N^2 times that of the rate's integral over it,
    2 f (1 - f) (r1 - r0)^2 T (t - T (1 - exp(-t / T))), T = (1 - f) burst_s, for two states that alternate."""
    fraction, time_s, window_s = 0.2, 0.8 * 0.5, 0.5
    low, high = 4.0 * (1 - 3.0 * fraction) / (1 - fraction), 4.0 * 3.0
    decay = 1 - np.exp(-window_s / time_s)
    rate_square = 2 * fraction * (1 - fraction) * (high - low) ** 2 * time_s * (window_s - time_s * decay)
    for replicas in (4, 64):
        _, states, _ = run(layout(replicas, "bursty"), params(), 500, windows=1600)
        counts = arrivals_in(states).sum(axis=1)
        # Twenty stretches of 40 s, a hundred times T: independent, so their spread gives the standard errors.
        stretches = counts.reshape(20, 80)
        mean = stretches.mean(axis=1)
        square = ((stretches - counts.mean()) ** 2).mean(axis=1)
        expected = replicas * 4.0 * window_s + replicas**2 * rate_square
        for seen, known in ((mean, replicas * 4.0 * window_s), (square, expected)):
            error = seen.std(ddof=1) / np.sqrt(20)
            assert error < 0.08 * known
            assert seen.mean() == pytest.approx(known, abs=SE * error)
    assert replicas * rate_square > 5 * 4.0 * window_s  # bursts, not chance, make the sum of 64 vary


def test_without_bursts_replicas_are_independent():
    """Variance N lambda t; that of 800 counts has the relative standard error sqrt(2 / 800)."""
    _, states, _ = run(layout(64), params(), 500, windows=800)
    counts = arrivals_in(states).sum(axis=1)
    assert counts.var(ddof=1) == pytest.approx(128.0, rel=SE * np.sqrt(2 / 800))


@pytest.mark.parametrize("dt_s", [0.01, 0.5])
def test_bursts_last_and_recur_as_told(dt_s):
    """2,000,000 ticks with bursts of 2 s a fifth of the time: correlation r = exp(-dt / 1.6 s) from tick to tick,
    whatever the tick. Standard errors over n ticks: of the share f, sqrt(f (1 - f) (1 + r) / (1 - r) / n); of 1 - r,
    relative, that of the number of cycles, n f (1 - f) (1 - r), each of two exponential stays: their length has the
    relative variance f^2 + (1 - f)^2 (less where stays are geometric)."""
    numbers = params(burst_s=2.0)
    at, word = jnp.arange(2_000_000, dtype=jnp.int32), jax.random.bits(jax.random.key(2), (), jnp.uint32)

    @jax.jit
    def rates(numbers):
        window = Window(jnp.int32(0), len(at), dt_s)
        return serving._arrival_rate(layout(1, "bursty"), numbers, jnp.asarray(False), word, at, window)[1]

    rate = np.asarray(rates(numbers), np.float64)
    assert set(np.round(np.unique(rate), 5)) == {2.0, 12.0}
    inside = (rate > 4.0).astype(float)
    keeps = np.exp(-dt_s / 1.6)
    assert inside.mean() == pytest.approx(0.2, abs=SE * np.sqrt(0.16 * (1 + keeps) / (1 - keeps) / len(at)))
    seen = np.mean((inside[1:] - 0.2) * (inside[:-1] - 0.2)) / np.mean((inside - 0.2) ** 2)
    cycles = len(at) * 0.16 * (1 - keeps)
    assert 1 - seen == pytest.approx(1 - keeps, rel=SE * np.sqrt(0.68 / cycles))


def test_bursts_are_stationary_from_the_first_tick():
    """In a burst with probability f; otherwise the first seconds of all runs would be alike."""
    begins = [bool(run(layout(1, "bursty"), params(), 1, seed=k)[0].bursting) for k in range(400)]
    assert np.mean(begins) == pytest.approx(0.2, abs=SE * np.sqrt(0.2 * 0.8 / 400))


def test_day():
    """Arrivals in a second are N lambda (1 + swing sin) integrated, with that variance; the phase is a quarter."""
    replicas = 20_000
    _, states, _ = run(layout(replicas, "diurnal"), params(), 1000, windows=10)
    edges = np.arange(11.0)
    swing = 0.5 * 10.0 / (2 * np.pi) * -np.diff(np.cos(2 * np.pi * (edges / 10.0 + 0.25)))
    expected = replicas * 4.0 * (1.0 + swing)
    assert expected.max() / expected.min() > 2.5
    np.testing.assert_allclose(arrivals_in(states).sum(axis=1), expected, atol=SE * np.sqrt(expected.max()))


def test_both_precisions_agree(x64):
    """The same draws meet chances that differ by 2^-24: only rare replicas go another way."""
    wide, _, wide_power = settled(2000)
    with jax.enable_x64(False):
        narrow, _, narrow_power = settled(2000)
    assert wide_power.max() > wide_power.min()
    # 12,000 draws a replica, each near one of some twenty bounds with a chance of 2^-24 of each: 1 in 100.
    same = np.mean(np.asarray(wide.arrived) == np.asarray(narrow.arrived))
    assert same > 0.98
    error = 0.3 * np.sqrt(2 / 2000)
    assert mean_level(wide_power[-1:], 2000) == pytest.approx(mean_level(narrow_power[-1:], 2000), abs=error)


def test_power_has_derivatives_by_its_numbers(x64):
    """The energy is linear in idle_w, peak_w and levels; by response_s against central differences."""
    of, numbers = layout(10, batch=4), params(4, requests_per_s=2.0, response_s=0.2)

    def energy(numbers):
        return jnp.sum(advance(of, numbers, initial(of), 1, jnp.int32(0), 3000, 1e-3)[1])

    total, slope = jax.value_and_grad(energy)(numbers)
    assert float(slope.peak_w) > 0
    assert float(numbers.peak_w * slope.peak_w + numbers.idle_w * slope.idle_w) == pytest.approx(float(total), rel=1e-9)
    parts = ("prefill_level", "decode_level_min", "decode_level_max")
    levelled = sum(float(getattr(numbers, name) * getattr(slope, name)) for name in parts)
    assert levelled == pytest.approx(float((numbers.peak_w - numbers.idle_w) * slope.peak_w), rel=1e-9)
    low, high = (float(energy(replace(numbers, response_s=numbers.response_s + by))) for by in (-1e-5, 1e-5))
    assert float(slope.response_s) == pytest.approx((high - low) / 2e-5, rel=1e-4)
    assert float(slope.decode_s) == 0.0 and not np.asarray(slope.start).any()  # events are counted, not moved


SERVED = """
    [run]
    duration_s = 2.0
    dt_s = 0.005
    [[site]]
    name = "campus"
    [[site.job]]
    name = "chat"
    kind = "inference"
    devices = 16000
    accelerator = {idle_w = 100.0, tdp_w = 700.0, server_fixed_w = 50.0, server_fraction = 0.1}
    [site.job.service]
    devices_per_replica = 8
    requests_per_s = 2.0
    prefill_s = 0.2
    decode_s = 3.0
    batch = 8
    prefill_level = 0.9
    decode_level_min = 0.3
    decode_level_max = 1.1
"""
IDLE_MW, PEAK_MW = 16e-3 * (50.0 + 1.1 * 100.0), 16e-3 * (50.0 + 1.1 * 700.0)
JOB = "site.0.job.0"


@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_is_stationary_from_its_first_tick(emulate, seed):
    """Power of 2,000 replicas in the first half second; in the product of both queues it would be 10 errors off."""
    power_mw = emulate(SERVED, f"run.seed={seed}").job_power_mw[:100, 0].astype(np.float64)
    mean, error = moments(exact(2.0, 0.2, 3.0, 8), lambda n, b: levels(n, b, 8), 2000)
    found = (np.array([power_mw[0], power_mw.mean()]) - IDLE_MW) / (PEAK_MW - IDLE_MW)
    np.testing.assert_allclose(found, mean, atol=SE * error)
    apart = product(0.4, 6.0, 8)
    assert abs(moments(apart / apart.sum(), lambda n, b: levels(n, b, 8), 2000)[0] - mean) > 2 * SE * error


def test_a_day_begins_in_the_state_of_its_hour(scenario):
    """At a quarter of the period the rate is 1.5 times its mean; a flat rate of as much starts alike."""
    day = [f'{JOB}.service.arrivals="diurnal"', f"{JOB}.service.day_phase=0.25", f"{JOB}.service.day_swing=0.2"]
    starts = [
        simulate.build(scenario(SERVED, *overrides), ticks=100)[1].inference[0].start
        for overrides in (day, [f"{JOB}.service.requests_per_s=2.4"], [])
    ]
    np.testing.assert_allclose(starts[0], starts[1], rtol=1e-6)
    assert starts[0].shape != starts[2].shape


def test_response_of_the_accelerator_reaches_the_job(emulate):
    at_once = emulate(SERVED).job_power_mw[:, 0].astype(np.float64)
    slow = emulate(SERVED, f"{JOB}.accelerator.response_s=0.05").job_power_mw[:, 0]
    keep = np.exp(-0.005 / 0.05)
    expected, _ = signal.lfilter([1 - keep], [1, -keep], at_once, zi=[keep * at_once[0]])
    np.testing.assert_allclose(slow, expected, rtol=2e-6)  # float32
    assert np.abs(np.diff(slow)).max() < 0.3 * np.abs(np.diff(at_once)).max()


def test_a_job_that_starts_later_starts_empty(emulate):
    times = (f"{JOB}.start_s=1.0", f"{JOB}.stop_s=1.5", "run.duration_s=40.0")
    power_mw = emulate(SERVED, *times).job_power_mw[:, 0]
    np.testing.assert_allclose(power_mw[:201], IDLE_MW, rtol=1e-6)
    assert power_mw[290] > 1.2 * IDLE_MW
    np.testing.assert_allclose(power_mw[-200:], IDLE_MW, rtol=1e-6)


def test_requests_are_counted_in_metrics_and_summary(scenario):
    """2,000 replicas at 0.6 requests a second over 2 s: Poisson; in the stationary state as many leave as come, and by
    Burke their number is Poisson as well."""
    trace = simulate.run(scenario(SERVED, f"{JOB}.service.requests_per_s=0.6"))
    arrived, completed = (trace.metrics[f"job.campus.chat.requests_{end}"] for end in ("arrived", "completed"))
    assert arrived == pytest.approx(2400, abs=SE * np.sqrt(2400))
    assert completed == pytest.approx(2400, abs=SE * np.sqrt(2400)) and completed != arrived
    text = render(trace.metrics, trace.header, 2.0, 1.0)
    assert f"{arrived:,.0f} arrived, {completed:,.0f} completed" in text


def test_requests_after_the_end_of_the_run_are_not_counted(emulate):
    """The last window is computed to the end of a chunk of 300 ticks: 600 ticks, of which the run has 400."""
    whole, longer = (emulate(SERVED, f"run.chunk_ticks={ticks}").metrics for ticks in (400, 300))
    names = [f"job.campus.chat.requests_{end}" for end in ("arrived", "completed")]
    assert [longer[name] for name in names] == [whole[name] for name in names]
    assert whole[names[0]] > 100


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ((f"{JOB}.devices=16001",), "no multiple of service.devices_per_replica = 8"),
        ((f'{JOB}.service.arrivals="bursty"', f"{JOB}.service.burst_fraction=0.5"), "at most 1 / burst_fraction"),
        # 2 + 1 / 0.0051 + 8 / 3 = 200.7 events a second
        ((f"{JOB}.service.prefill_s=0.0051",), r"make 200.745 events/s .* run.dt_s = 0.00493 is short enough"),
        ((f"{JOB}.service.requests_per_s=193.0",), "too many for ticks of 0.005 s"),
        ((f"{JOB}.service.batch=580",), "too many for ticks of 0.005 s"),
    ],
)
def test_refusals(scenario, overrides, said):
    with pytest.raises(ConfigError, match=said):
        scenario(SERVED, *overrides)


def test_ticks_that_are_just_short_enough(scenario):
    scenario(SERVED, f"{JOB}.service.prefill_s=0.0052")  # 2 + 192.3 + 2.7 = 197 events a second
    scenario(SERVED, f"{JOB}.service.prefill_s=0.0051", "run.dt_s=0.004")
