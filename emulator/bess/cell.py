"""Cells of a battery: open-circuit voltage behind a resistance. Per unit on rated power and mean open-circuit voltage.

    p = v(s) i - r i^2,   u = v(s) - r i within the lowest and highest terminal voltage
Discharge positive. Near an empty cell the lowest voltage, near a full one the highest takes the power away.
Reference: Plett, Battery Management Systems I, 2015, sec. 2.1 to 2.3 (the Rint model).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.struct import quantity, struct


@struct
class CellParams:
    open_circuit_pu: jax.Array = quantity("pu", "points", "at even steps of the state of charge from 0 to 1; mean 1")
    lowest_pu: jax.Array = quantity("pu")
    highest_pu: jax.Array = quantity("pu")
    resistance_pu: jax.Array = quantity("pu")


def open_circuit_pu(params: CellParams, soc: jax.Array) -> jax.Array:
    """v(s), linear between the points."""
    points = params.open_circuit_pu
    count = points.shape[0]
    position = jnp.clip(soc * (count - 1), 0.0, count - 1.0)
    left = jnp.minimum(jnp.floor(position), count - 2.0)
    at = left.astype(jnp.int32)
    return points[at] + (position - left) * (points[at + 1] - points[at])


def current_pu(params: CellParams, voltage_pu: jax.Array, power_pu: jax.Array) -> jax.Array:
    """i for a terminal power p: the root with the smaller loss, without cancellation at small p."""
    square = voltage_pu**2 - 4.0 * params.resistance_pu * power_pu
    # `power_range_pu` keeps p below v^2/4r; the bound only keeps the slope finite where it is reached to rounding.
    return 2.0 * power_pu / (voltage_pu + jnp.sqrt(jnp.maximum(square, jnp.finfo(square.dtype).eps)))


def power_pu(params: CellParams, voltage_pu: jax.Array, current: jax.Array) -> jax.Array:
    """p of a current, up to that of the most power."""
    current = jnp.minimum(current, 0.5 * voltage_pu / params.resistance_pu)
    return current * (voltage_pu - params.resistance_pu * current)


def power_range_pu(params: CellParams, voltage_pu: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Least and greatest power within the terminal voltages."""
    out = jnp.maximum(voltage_pu - params.lowest_pu, 0.0) / params.resistance_pu
    into = jnp.maximum(params.highest_pu - voltage_pu, 0.0) / params.resistance_pu
    return -into * (voltage_pu + params.resistance_pu * into), power_pu(params, voltage_pu, out)
