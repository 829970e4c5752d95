"""Voltage at a point of common coupling (PCC). Per unit on the PCC's rating; load positive, lagging Q positive."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from emulator.struct import quantity, struct

NEWTON_STEPS = 8  # the error falls from 1 to 0.3, 0.05, 1e-3, 1e-6: below rounding before the eighth step


@struct
class PccParams:
    short_circuit_ratio: jax.Array = quantity("1")
    x_over_r: jax.Array = quantity("1")
    rated_mw: jax.Array = quantity("MW")
    dependence: ZipParams | None = quantity("", "", "None = all constant power")


@struct
class ZipParams:
    """How the site's load depends on its voltage: s(V) = p + i V + z V^2, the rest p at constant power."""

    impedance_share: jax.Array = quantity("1")
    current_share: jax.Array = quantity("1")


class PccVoltage(NamedTuple):
    """The point of common coupling in a tick, at its voltage V."""

    voltage_pu: jax.Array
    load_factor: jax.Array  # s(V): load over that at 1 pu
    collapsed: jax.Array


class Source(NamedTuple):
    """Changes of the Thevenin source by disturbances."""

    voltage_pu: jax.Array
    short_circuit_ratio: jax.Array


def solve(
    params: PccParams,
    source: Source,
    load_mw: jax.Array,
    load_mvar: jax.Array,
    bess_mw: jax.Array,
    bess_mvar: jax.Array,
) -> PccVoltage:
    """Voltage of a load behind a Thevenin source, E = 1 pu plus disturbance, Z = 1/SCR, X = R (X/R).

    V^4 + (2(RP + XQ) - E^2) V^2 + (P^2 + Q^2) Z^2 = 0, upper root; P = s(V) load - battery, likewise Q.
    For a constant-power load the root is explicit. Otherwise Newton's method, from E downwards: the left side is convex
    above the upper root, so the iterates fall onto it monotonically. Without a real root the voltage has collapsed; it
    is then that of the nose (constant power) or the last iterate of Newton's method.
    Reference: Kundur, Power System Stability and Control, 1994, sec. 7.1.1 and 14.1.

    Args:
      load_mw, load_mvar: draw of the load at 1 pu.
      bess_mw, bess_mvar: injection of the battery, independent of voltage.
    """
    e = 1.0 + source.voltage_pu
    z = 1.0 / (params.short_circuit_ratio + source.short_circuit_ratio)
    r = z / jnp.sqrt(1.0 + params.x_over_r**2)
    load = load_mw / params.rated_mw, load_mvar / params.rated_mw
    bess = bess_mw / params.rated_mw, bess_mvar / params.rated_mw
    if params.dependence is None:
        return _constant_power(e, z, r, params.x_over_r * r, load[0] - bess[0], load[1] - bess[1])
    return _dependent(params.dependence, e, z, r, params.x_over_r * r, load, bess)


def imposed(params: PccParams, voltage_pu: jax.Array) -> PccVoltage:
    """The PCC at a voltage that another program computes; a collapse is for that program to find."""
    factor = jnp.ones_like(voltage_pu) if params.dependence is None else _factor(params.dependence, voltage_pu)
    return PccVoltage(voltage_pu, factor, jnp.zeros_like(voltage_pu, bool))


def _factor(dependence: ZipParams, v: jax.Array) -> jax.Array:
    constant = 1.0 - dependence.impedance_share - dependence.current_share
    return constant + v * (dependence.current_share + v * dependence.impedance_share)


def _constant_power(e: jax.Array, z: jax.Array, r: jax.Array, x: jax.Array, p: jax.Array, q: jax.Array) -> PccVoltage:
    half = 0.5 * e**2 - (r * p + x * q)
    discriminant = half**2 - z**2 * (p**2 + q**2)
    collapsed = (discriminant <= 0.0) | (half <= 0.0)
    root = jnp.where(collapsed, 0.0, jnp.sqrt(jnp.where(collapsed, 1.0, discriminant)))
    squared = half + root
    gone = squared <= 0.0
    voltage = jnp.where(gone, 0.0, jnp.sqrt(jnp.where(gone, 1.0, squared)))
    return PccVoltage(voltage, jnp.ones_like(voltage), collapsed)


def _dependent(
    dependence: ZipParams,
    e: jax.Array,
    z: jax.Array,
    r: jax.Array,
    x: jax.Array,
    load: tuple[jax.Array, jax.Array],
    bess: tuple[jax.Array, jax.Array],
) -> PccVoltage:
    def mismatch(v: jax.Array) -> jax.Array:
        s = _factor(dependence, v)
        p, q = s * load[0] - bess[0], s * load[1] - bess[1]
        return v**2 * (v**2 + 2.0 * (r * p + x * q) - e**2) + z**2 * (p**2 + q**2)

    v = jnp.broadcast_to(e, load[0].shape)
    for _ in range(NEWTON_STEPS):
        f, slope = jax.jvp(mismatch, (v,), (jnp.ones_like(v),))
        downhill = slope > 0.0  # at and below the nose there is no upper root
        v = v - jnp.where(downhill, f / jnp.where(downhill, slope, 1.0), 0.0)
    f, slope = jax.jvp(mismatch, (v,), (jnp.ones_like(v),))
    small = 1e-4  # of the source's voltage: far above rounding in float32, far below a voltage step that matters
    collapsed = ~((slope > 0.0) & (jnp.abs(f) < small * slope))
    return PccVoltage(v, _factor(dependence, v), collapsed)
