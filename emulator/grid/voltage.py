"""Voltage at a point of common coupling. Per unit on the rating of the point; load positive, lagging Q positive."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from emulator.struct import quantity, struct

NEWTON_STEPS = 8  # from the source's voltage the error falls 1, 0.3, 0.05, 1e-3, 1e-6: below rounding well before


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


class Point(NamedTuple):
    """The point of common coupling in a tick."""

    voltage_pu: jax.Array
    load_factor: jax.Array  # s(V)
    collapsed: jax.Array


class Source(NamedTuple):
    """Changes of the source by disturbances: its voltage, pu, and the short-circuit ratio."""

    voltage_pu: jax.Array
    ratio: jax.Array


def point(
    params: PccParams, source: Source, load_mw: jax.Array, load_mvar: jax.Array, own_mw: jax.Array, own_mvar: jax.Array
) -> Point:
    """Voltage of a load behind a Thevenin source, E = 1 pu plus disturbance, Z = 1/SCR, X = R (X/R).

    V^4 + (2(RP + XQ) - E^2) V^2 + (P^2 + Q^2) Z^2 = 0, upper root; P = s(V) load - own, likewise Q.
    At constant power the root is explicit. Else Newton's method from E downwards: the left side is convex above the
    upper root, so that it falls monotonically onto it. Collapsed where no real root exists; the voltage is then that
    of the nose at constant power, or where Newton stopped.
    Reference: Kundur, Power System Stability and Control, 1994, sec. 7.1.1 and 14.1.

    Args:
      load_mw, load_mvar: at 1 pu; lagging positive.
      own_mw, own_mvar: of the battery, into the point; independent of voltage.
    """
    volts = 1.0 + source.voltage_pu
    z = 1.0 / (params.short_circuit_ratio + source.ratio)
    r = z / jnp.sqrt(1.0 + params.x_over_r**2)
    load = load_mw / params.rated_mw, load_mvar / params.rated_mw
    own = own_mw / params.rated_mw, own_mvar / params.rated_mw
    if params.dependence is None:
        return _constant_power(volts, z, r, params.x_over_r * r, load[0] - own[0], load[1] - own[1])
    return _dependent(params.dependence, volts, z, r, params.x_over_r * r, load, own)


def given(params: PccParams, voltage_pu: jax.Array) -> Point:
    """The point at a voltage that comes from outside, which knows no collapse."""
    factor = jnp.ones_like(voltage_pu) if params.dependence is None else _factor(params.dependence, voltage_pu)
    return Point(voltage_pu, factor, jnp.zeros_like(voltage_pu, bool))


def _factor(dependence: ZipParams, v: jax.Array) -> jax.Array:
    constant = 1.0 - dependence.impedance_share - dependence.current_share
    return constant + v * (dependence.current_share + v * dependence.impedance_share)


def _constant_power(volts: jax.Array, z: jax.Array, r: jax.Array, x: jax.Array, p: jax.Array, q: jax.Array) -> Point:
    half = 0.5 * volts**2 - (r * p + x * q)
    discriminant = half**2 - z**2 * (p**2 + q**2)
    collapsed = (discriminant <= 0.0) | (half <= 0.0)
    root = jnp.where(collapsed, 0.0, jnp.sqrt(jnp.where(collapsed, 1.0, discriminant)))
    squared = half + root
    gone = squared <= 0.0
    voltage = jnp.where(gone, 0.0, jnp.sqrt(jnp.where(gone, 1.0, squared)))
    return Point(voltage, jnp.ones_like(voltage), collapsed)


def _dependent(
    dependence: ZipParams,
    volts: jax.Array,
    z: jax.Array,
    r: jax.Array,
    x: jax.Array,
    load: tuple[jax.Array, jax.Array],
    own: tuple[jax.Array, jax.Array],
) -> Point:
    def mismatch(v: jax.Array) -> jax.Array:
        s = _factor(dependence, v)
        p, q = s * load[0] - own[0], s * load[1] - own[1]
        return v**2 * (v**2 + 2.0 * (r * p + x * q) - volts**2) + z**2 * (p**2 + q**2)

    v = jnp.broadcast_to(volts, load[0].shape)
    for _ in range(NEWTON_STEPS):
        f, slope = jax.jvp(mismatch, (v,), (jnp.ones_like(v),))
        downhill = slope > 0.0  # at and beyond the nose there is no upper root to go to
        v = v - jnp.where(downhill, f / jnp.where(downhill, slope, 1.0), 0.0)
    f, slope = jax.jvp(mismatch, (v,), (jnp.ones_like(v),))
    small = 1e-4  # of the source's voltage: far above rounding in float32, far below a voltage step that matters
    collapsed = ~((slope > 0.0) & (jnp.abs(f) < small * slope))
    return Point(v, _factor(dependence, v), collapsed)
