"""Limits and lags that turbine models share."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def non_windup(rate: jax.Array, state: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """The rate of a state, zero where it points beyond a limit at which the state is.

    Reference: IEEE Std 421.5-2016, annex E.3 (non-windup limiter).
    """
    blocked = ((state >= high) & (rate > 0.0)) | ((state <= low) & (rate < 0.0))
    return jnp.where(blocked, 0.0, rate)


def lagged(state: jax.Array, given: jax.Array, time_s: jax.Array) -> jax.Array:
    """Output of 1/(1 + T s): its state, or what it is given where T = 0."""
    return jnp.where(time_s > 0.0, state, given)


def lag_rate(state: jax.Array, given: jax.Array, time_s: jax.Array) -> jax.Array:
    """Rate of its state, 1/s; zero where T = 0."""
    real = time_s > 0.0
    return jnp.where(real, (given - state) / jnp.where(real, time_s, 1.0), 0.0)
