"""Orders of a site to its training jobs: power caps that hold its draw at a limit, decided once a chunk."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.struct import quantity, struct


@struct
class PowerLimitParams:
    """Orders of power caps to a site's training jobs."""

    max_mw: jax.Array = quantity("MW")
    gain: jax.Array = quantity("1", "", "of TDP, per chunk and relative excess")
    tdp_w: jax.Array = quantity("W", "training jobs of the site", "of their accelerators")
    least_w: jax.Array = quantity("W", "training jobs of the site", "lowest cap that they take")


def caps_w(limit: PowerLimitParams, before_w: jax.Array, draw_mw: jax.Array) -> jax.Array:
    """(training jobs of the site,) caps for the chunk after one of this mean draw; infinite = none.

    An integral controller on the relative excess, from the accelerators' TDP downwards; a cap that has come back to TDP
    is lifted.
    """
    excess = draw_mw / limit.max_mw - 1.0
    cap_w = jnp.minimum(before_w, limit.tdp_w) - limit.gain * excess * limit.tdp_w
    cap_w = jnp.maximum(cap_w, limit.least_w)
    return jnp.where(cap_w >= limit.tdp_w, jnp.inf, cap_w)
