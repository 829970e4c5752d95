"""Keyed draws, `device_tick.hashed`: even, uncorrelated from tick to tick (or device to device, where these are
counted) and from key to key.

Tolerances are 4.5 standard errors of the statistic under independent even draws, one in 150,000.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from emulator.kernels import device_tick

KEYS, TICKS = 512, 8192


def even(seed: int, first: int) -> np.ndarray:
    """(ticks, keys) on (-1, 1)."""
    keys = jax.random.bits(jax.random.key(seed), (KEYS,), jnp.uint32)
    ticks = jnp.arange(first, first + TICKS, dtype=jnp.int32)
    words = device_tick.hashed(keys[None, :], ticks[:, None])
    return np.asarray(device_tick.even(words, jnp.dtype("float32")), np.float64)


@pytest.fixture(scope="module")
def draws() -> np.ndarray:
    return even(5, 0)


def test_mean_and_variance(draws):
    """Even on (-1, 1): mean 0, variance 1/3, fourth moment 1/5; each of 1000 bins as often as the others."""
    counts = np.histogram(draws, 1000, (-1.0, 1.0))[0]
    assert stats.chisquare(counts).pvalue > 1e-4 and np.abs(draws).max() < 1.0
    assert abs(draws.mean()) < 4.5 * np.sqrt(1 / 3 / draws.size)
    assert abs((draws**2).mean() - 1 / 3) < 4.5 * np.sqrt((1 / 5 - 1 / 9) / draws.size)
    # Of each key alone: the largest of 512, hence 5.5 standard errors.
    assert np.abs(draws.mean(axis=0)).max() < 5.5 * np.sqrt(1 / 3 / TICKS)


def test_uncorrelated_in_time(draws):
    """Correlation of a draw with that `lag` ticks before: 0, s.d. 1 / sqrt(pairs)."""
    for lag in [*range(1, 65), 128, 256, 1024, 4096]:
        pairs = draws[lag:] * draws[:-lag]
        assert abs(3 * pairs.mean()) < 4.5 / np.sqrt(pairs.size), lag


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_uncorrelated_from_key_to_key(draws, lag):
    """All pairs of 512 keys: 131,000 correlations of s.d. 1 / sqrt(ticks), the largest near 4.6 of them."""
    early, late = draws[: TICKS - lag], draws[lag:]
    correlation = 3 * (early.T @ late) / len(early)
    off = correlation[~np.eye(KEYS, dtype=bool)] * np.sqrt(len(early))
    assert np.abs(off).max() < 6.0
    assert off.var() == pytest.approx(1.0, abs=4.5 * np.sqrt(4 / off.size))  # each pair twice


def test_rare_events_come_independently(draws):
    """A chance of 1e-3 a tick: events in stretches of 512 ticks are binomial."""
    chance, stretch = 1e-3, 512
    counts = (draws < 2 * chance - 1).reshape(TICKS // stretch, stretch, KEYS).sum(axis=1).ravel()
    most = 4
    seen = np.bincount(np.minimum(counts, most), minlength=most + 1)
    expected = stats.binom.pmf(np.arange(most), stretch, chance)
    expected = np.append(expected, 1 - expected.sum()) * counts.size
    assert stats.chisquare(seen, expected).pvalue > 1e-4


def test_late_ticks_are_as_good():
    """Up to the last tick that int32 holds."""
    late = even(6, 2**31 - TICKS)
    assert abs((late**2).mean() - 1 / 3) < 4.5 * np.sqrt((1 / 5 - 1 / 9) / late.size)
    assert abs(3 * (late[1:] * late[:-1]).mean()) < 4.5 / np.sqrt(late.size)
