"""Voltage at a point of common coupling. Per unit on the rating of the point; load positive, lagging Q positive."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.struct import quantity, struct


@struct
class PccParams:
    short_circuit_ratio: jax.Array = quantity("1")
    x_over_r: jax.Array = quantity("1")
    rated_mw: jax.Array = quantity("MW")


def pcc_voltage(params: PccParams, draw_mw: jax.Array, draw_mvar: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Voltage of a constant-power draw behind a Thevenin source of 1 pu.

    V^4 + (2(RP + XQ) - E^2) V^2 + (P^2 + Q^2) Z^2 = 0, upper root; Z = 1/SCR, X = R (X/R).
    Returns V in pu, and true where no real root exists: the voltage has collapsed (V is then the nose of the curve).
    Reference: Kundur, Power System Stability and Control, 1994, sec. 14.1.
    """
    z = 1.0 / params.short_circuit_ratio
    r = z / jnp.sqrt(1.0 + params.x_over_r**2)
    p, q = draw_mw / params.rated_mw, draw_mvar / params.rated_mw
    half = 0.5 - r * (p + params.x_over_r * q)
    discriminant = half**2 - z**2 * (p**2 + q**2)
    collapsed = discriminant <= 0.0
    root = jnp.where(collapsed, 0.0, jnp.sqrt(jnp.where(collapsed, 1.0, discriminant)))
    squared = half + root
    gone = squared <= 0.0
    return jnp.where(gone, 0.0, jnp.sqrt(jnp.where(gone, 1.0, squared))), collapsed
