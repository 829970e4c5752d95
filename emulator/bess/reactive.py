"""Reactive support of a battery's converter: voltage droop within its rating.

    Q = -k (V - V0) S,   P^2 + Q^2 <= S^2; a limit of current shrinks the circle with the voltage.
Positive = into the grid, Mvar. Reference: IEEE Std 1547-2018, sec. 5.3.3 (voltage-reactive power mode), here without
dead-band, about the voltage of the start.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.blocks import lag_gain
from emulator.struct import quantity, struct


@struct
class ReactiveParams:
    rated_mva: jax.Array = quantity("Mvar")
    gain_pu: jax.Array = quantity("pu", "", "k, on rated_mva")
    response_s: jax.Array = quantity("s")


def room_mvar(apparent_mva: jax.Array, power_mw: jax.Array) -> jax.Array:
    """What active power leaves of the circle."""
    squared = apparent_mva**2 - power_mw**2
    none = squared <= 0.0
    return jnp.where(none, 0.0, jnp.sqrt(jnp.where(none, 1.0, squared)))


def step(
    params: ReactiveParams, before_mvar: jax.Array, change_pu: jax.Array, most_mvar: jax.Array, dt_s: float
) -> jax.Array:
    """Mvar in a tick, from the voltage's change V - V0 in the tick before."""
    wanted = -params.gain_pu * change_pu * params.rated_mva
    moved = before_mvar + lag_gain(params.response_s, dt_s) * (wanted - before_mvar)
    return jnp.clip(moved, -most_mvar, most_mvar)
