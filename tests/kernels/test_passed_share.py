"""The accelerated kernel equals its definition, values and gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emulator.kernels.passed_share import passed_share_increments

TICKS = 40


def draws(seed: int, dtype) -> tuple[jax.Array, jax.Array, jax.Array]:
    rng = np.random.default_rng(seed)
    tick = rng.integers(-20, TICKS + 20, (3, 200))
    fraction, weight = rng.uniform(0, 1, (3, 200)), rng.uniform(0.5, 1.5, 200) / 200
    return jnp.asarray(tick, jnp.int32), jnp.asarray(fraction, dtype), jnp.asarray(weight, dtype)


@pytest.mark.parametrize("seed", range(5))
def test_parity(x64, seed):
    tick, fraction, weight = draws(seed, jnp.float64)
    scatter, dense = (passed_share_increments(tick, fraction, weight, TICKS, m) for m in ("scatter", "dense"))
    np.testing.assert_allclose(scatter, dense, atol=1e-14)  # sums of 200 terms of 0.01: 200 x 0.01 x 1e-16


def test_parity_in_float32():
    tick, fraction, weight = draws(0, jnp.float32)
    scatter, dense = (passed_share_increments(tick, fraction, weight, TICKS, m) for m in ("scatter", "dense"))
    np.testing.assert_allclose(scatter, dense, atol=5e-6)  # the definition differences sums of order 1


def test_parity_of_gradients(x64):
    tick, fraction, weight = draws(1, jnp.float64)
    probe = jnp.asarray(np.random.default_rng(2).normal(size=(3, TICKS)))

    def gradient(method: str) -> tuple[jax.Array, jax.Array]:
        return jax.grad(
            lambda f, w: jnp.sum(probe * passed_share_increments(tick, f, w, TICKS, method)), argnums=(0, 1)
        )(fraction, weight)

    for scatter, dense in zip(gradient("scatter"), gradient("dense"), strict=True):
        np.testing.assert_allclose(scatter, dense, atol=1e-13)
        assert np.abs(scatter).max() > 1e-3


def test_ends_of_the_window(x64):
    """Before: whole in the first tick. In the last tick: its early part. After: nothing."""
    tick = jnp.array([[-5], [TICKS - 1], [TICKS]], jnp.int32)
    fraction = jnp.full((3, 1), 0.25)
    increments = passed_share_increments(tick, fraction, jnp.ones(1), TICKS)
    expected = np.zeros((3, TICKS))
    expected[0, 0], expected[1, -1] = 1.0, 0.75
    np.testing.assert_array_equal(increments, expected)


def test_order_of_devices_does_not_matter(x64):
    tick, fraction, weight = draws(3, jnp.float64)
    order = np.random.default_rng(4).permutation(200)
    one = passed_share_increments(tick, fraction, weight, TICKS)
    other = passed_share_increments(tick[:, order], fraction[:, order], weight[order], TICKS)
    np.testing.assert_allclose(one, other, atol=1e-14)
