"""Random draws, in float32 whatever the precision of the run: in float64 JAX draws other numbers from the same key, and
a run under `--x64` would be another realisation."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def folds(key: jax.Array, data: jax.Array) -> jax.Array:
    """Keys of several streams: one key with several numbers, or several keys with one. Each is that of `fold_in` alone;
    XLA compiles one loop for all of them, and not one for each."""
    return jax.vmap(jax.random.fold_in, (0, None) if key.ndim else (None, 0))(key, data)


def normal(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    """Standard normal draws."""
    return jax.random.normal(key, shape, jnp.float32).astype(dtype)


def uniform(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    """Draws that are even on [0, 1)."""
    return jax.random.uniform(key, shape, jnp.float32).astype(dtype)


def even(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    """Draws that are even on (-1, 1), open at both ends."""
    lowest = jnp.nextafter(jnp.float32(-1.0), jnp.float32(0.0))
    return jax.random.uniform(key, shape, jnp.float32, minval=lowest, maxval=1.0).astype(dtype)
