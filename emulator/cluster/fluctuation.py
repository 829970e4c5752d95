"""Fluctuations of unit variance with correlation exp(-|t|/T), whatever the tick."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.blocks import lag_gain
from emulator.cluster.iteration import Window
from emulator.draws import folds, normal


def fluctuation(
    key: jax.Array, correlation_s: jax.Array, before: jax.Array, window: Window
) -> tuple[jax.Array, jax.Array]:
    """Value in the window's last tick, and (ticks,) values; `before` is the value in the tick before the window.

    Draws are keyed by tick; stationary from the run's first tick on.
    """
    at = window.first + jnp.arange(window.ticks, dtype=jnp.int32)
    stream, first = folds(key, jnp.arange(2))
    draws = jax.vmap(lambda key: normal(key, (), before.dtype))(folds(stream, at))
    begin = jnp.where(window.first == 0, normal(first, (), before.dtype), before)
    return correlated(draws, correlation_s, begin, window.dt_s)


def correlated(
    draws: jax.Array, correlation_s: jax.Array, before: jax.Array, dt_s: float
) -> tuple[jax.Array, jax.Array]:
    """Last value, and (ticks,) values, from (ticks,) standard normal draws: an exact Ornstein-Uhlenbeck recurrence.

    Reference: Gillespie, Phys. Rev. E 54:2084, 1996.
    """
    gain = lag_gain(correlation_s, dt_s)
    drive = jnp.sqrt(gain * (2.0 - gain))  # 1 - (1 - gain)^2, which float32 would cancel at long correlations

    def one(value: jax.Array, draw: jax.Array) -> tuple[jax.Array, jax.Array]:
        value = value + drive * draw - gain * value
        return value, value

    return jax.lax.scan(one, before, draws)
