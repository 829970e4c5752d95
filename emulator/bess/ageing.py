"""Wear of a battery by its cycles, as a sum over the half cycles between reversals: differentiable, for tuning.

    fade = EOL sum 1/2 d^k / N,   d: depth of a half cycle, N: full cycles to the end of life, EOL: fade that then is
Between two reversals the sum grows with the depth. It is the rainflow count (`emulator.wear`) as long as no cycle lies
within another; one that does cuts the larger one in two, which counts less.
Reference: Xu et al., IEEE Trans. Smart Grid 9(2):1131, 2018 (cycle depth stress), N(d) = N_100 d^-k.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def cycle_fade(soc: jax.Array, cycles: jax.Array, exponent: jax.Array, end_of_life_fade: jax.Array) -> jax.Array:
    """Share of capacity lost over (rows,) states of charge."""

    def one(carry: tuple[jax.Array, ...], now: jax.Array) -> tuple[tuple[jax.Array, ...], None]:
        turned, before, way, ended = carry
        step = now - before
        turns = step * way < 0.0
        ended = ended + jnp.where(turns, _half(jnp.abs(before - turned), exponent), 0.0)
        way = jnp.where(step == 0.0, way, jnp.sign(step))
        return (jnp.where(turns, before, turned), now, way, ended), None

    zero = jnp.zeros_like(soc[0])
    (turned, last, _, ended), _ = jax.lax.scan(one, (soc[0], soc[0], zero, zero), soc[1:])
    return end_of_life_fade / cycles * (ended + _half(jnp.abs(last - turned), exponent))


def _half(depth: jax.Array, exponent: jax.Array) -> jax.Array:
    none = depth <= 0.0
    return 0.5 * jnp.where(none, 0.0, jnp.where(none, 1.0, depth) ** exponent)
