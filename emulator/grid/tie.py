"""Ties between areas, as deviations from the flows of the start. Flow positive from the first area to the second, MW.

    P = K sin(delta),   d(delta)/dt = w0 (w_first - w_second)
Losses c P^2, half of them at either end. Reference: Kundur, 1994, sec. 12.2.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.blocks import sum_at
from emulator.struct import quantity, static, struct


@struct
class TieLayout:
    """Areas at both ends of each tie, by place."""

    first: tuple[int, ...] = static()
    second: tuple[int, ...] = static()
    areas: int = static()


@struct
class TieParams:
    synchronizing_mw_per_rad: jax.Array = quantity("MW/rad", "ties")
    initial_mw: jax.Array = quantity("MW", "ties")
    loss_per_mw: jax.Array = quantity("1/MW", "ties", "losses over the square of the flow")


def initial_angle_rad(params: TieParams) -> jax.Array:
    """(ties,) angle across each tie at the start."""
    return jnp.arcsin(params.initial_mw / params.synchronizing_mw_per_rad)


def change_mw(params: TieParams, angle_rad: jax.Array, closed: jax.Array) -> jax.Array:
    """(ties,) change of flow since the start. An open tie carries nothing, one of which circuits are out their rest's
    share of K sin(delta).

    K (sin(delta0 + a) - sin(delta0)) without the cancellation: K (cos(delta0) sin a - 2 sin(delta0) sin^2(a/2)).
    Args:
      angle_rad: change of angle since the start.
      closed: share of K that is in service; 0 once its relay has opened it.
    """
    k = params.synchronizing_mw_per_rad
    sine = params.initial_mw / k
    cosine = jnp.sqrt((1.0 - sine) * (1.0 + sine))
    change = k * (cosine * jnp.sin(angle_rad) - 2.0 * sine * jnp.sin(angle_rad / 2.0) ** 2)
    return closed * change - (1.0 - closed) * params.initial_mw


def exports_mw(layout: TieLayout, params: TieParams, initial: jax.Array, change: jax.Array) -> jax.Array:
    """(areas,) change of what leaves each area over its ties, its half of their losses included.

    Args:
      initial, change: (ties,) flows: c ((P0 + dP)^2 - P0^2) = c dP (2 P0 + dP).
    """
    half_loss = 0.5 * params.loss_per_mw * change * (2.0 * initial + change)
    return sum_at(half_loss + change, layout.first, layout.areas) + sum_at(
        half_loss - change, layout.second, layout.areas
    )
