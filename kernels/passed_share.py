"""Share of devices that have passed an event, as increments of its tick means: definition and dispatch.

Devices pass an event at real times. With H the unit step, the share passed at time t is
    s(t) = sum_i w_i H(t - t_i),
and its mean over tick n (from n to n + 1) is
    S_n = sum_i w_i clip(n + 1 - t_i, 0, 1).
Both versions return the increments S_n - S_(n-1) with S_(-1) = 0, so that several events can be combined before
one running sum. Taking tick means keeps energy exact at any tick length and lets gradients reach t_i.

Times come split as t_i = tick + fraction (0 <= fraction < 1): one float32 would lose the fraction after 2^14 ticks.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from emulator.kernels.passed_share_scatter import scatter_increments

Method = Literal["scatter", "dense"]


def passed_share_increments(
    tick: jax.Array, fraction: jax.Array, weight: jax.Array, ticks: int, method: Method = "scatter"
) -> jax.Array:
    """Increments of the share passed in a window of ticks, for several events.

    Args:
      tick: (events, devices) int32, tick of the passage counted from the window's first tick; may lie outside it.
      fraction: (events, devices) position within that tick, 0 to 1.
      weight: (devices,) weight of each device, usually gain / devices.
      ticks: length of the window.
      method: "scatter" costs O(events (devices + ticks)), "dense", the definition, O(events devices ticks).

    Returns:
      (events, ticks) increments; passages before the window count whole in its first tick, later ones not at all.
    """
    if method == "scatter":
        return scatter_increments(tick, fraction, weight, ticks)
    return dense_increments(tick, fraction, weight, ticks)


def dense_increments(tick: jax.Array, fraction: jax.Array, weight: jax.Array, ticks: int) -> jax.Array:
    """The definition, written out: every device in every tick."""
    window = jnp.arange(ticks, dtype=tick.dtype)[None, :, None]
    since = (window + 1 - tick[:, None, :]).astype(fraction.dtype) - fraction[:, None, :]
    mean = jnp.sum(weight[None, None, :] * jnp.clip(since, 0.0, 1.0), axis=2)
    return jnp.diff(mean, prepend=0.0)
