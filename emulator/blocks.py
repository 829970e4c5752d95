"""Control blocks, compensated sums and an integrator: pure functions, each with its transfer function or rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import jax
import jax.numpy as jnp

from emulator.struct import quantity, struct

Tree = TypeVar("Tree")


@struct
class Compensated(Generic[Tree]):
    """A sum, or a tree of sums, that keeps what rounding would lose: true value = value + rest."""

    value: Tree = quantity("of the summand")
    rest: Tree = quantity("of the summand")


def compensated(value: Tree) -> Compensated[Tree]:
    """Start a compensated sum."""
    return Compensated(value=value, rest=jax.tree.map(jnp.zeros_like, value))


def compensated_add(total: Compensated[Tree], increment: Tree) -> Compensated[Tree]:
    """Add an increment that may be below the rounding of the sum.

    In plain float32 a one-hour battery at 0.05 pu and ticks of 1 ms would never discharge: 1.4e-8 is lost beside 0.5.
    Reference: Kahan, Comm. ACM 8(1):40, 1965.
    """
    summand = jax.tree.map(jnp.add, increment, total.rest)
    value = jax.tree.map(jnp.add, total.value, summand)
    rest = jax.tree.map(lambda s, after, before: s - (after - before), summand, value, total.value)
    return Compensated(value=value, rest=rest)


def lag_gain(time_constant_s: jax.Array, dt_s: float) -> jax.Array:
    """Step response of 1/(1 + T s) after one tick: 1 - exp(-dt/T); 1 for T = 0."""
    instantaneous = time_constant_s <= 0.0
    safe = jnp.where(instantaneous, 1.0, time_constant_s)
    return jnp.where(instantaneous, 1.0, -jnp.expm1(-dt_s / safe))


def lag_mean_gain(time_constant_s: jax.Array, dt_s: float) -> jax.Array:
    """Mean over one tick of the step response of 1/(1 + T s): 1 - T/dt (1 - exp(-dt/T)); 1 for T = 0."""
    instantaneous = time_constant_s <= 0.0
    x = dt_s / jnp.where(instantaneous, 1.0, time_constant_s)
    # For a short tick the exact form cancels in float32: a series there, whose error is x^6/720.
    exact, short = 1.0 + jnp.expm1(-x) / x, x * (1 / 2 - x * (1 / 6 - x * (1 / 24 - x / 120)))
    return jnp.where(instantaneous, 1.0, jnp.where(x < 0.1, short, exact))


@jax.custom_jvp
def largest(values: jax.Array) -> jax.Array:
    """(...) of (n, ...), with the slope of the largest, of the first of equal ones. JAX's own counts those that equal
    the largest: none where XLA computes them twice, in two fusions that round differently, and 0/0 is no number."""
    return jnp.max(values, axis=0)


@largest.defjvp
def _largest_jvp(values: tuple[jax.Array], change: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    at = jnp.argmax(values[0], axis=0, keepdims=True)
    return largest(*values), jnp.take_along_axis(change[0], at, axis=0)[0]


def deadband(value: jax.Array, half_width: jax.Array) -> jax.Array:
    """The part of a value that lies beyond a dead-band, without a step at its edges. Without width, the value itself.

    Reference: IEEE Std 1207-2011 (intentional dead-band).
    """
    # Not value - clip(value): without width, at value 0, JAX would take its slope from both limits at once.
    return jnp.where(jnp.abs(value) >= half_width, value - jnp.sign(value) * half_width, 0.0)


def rk4_increment(derivative: Callable[[Tree], Tree], x: Tree, dt_s: float) -> Tree:
    """Change of x over one tick by the classical Runge-Kutta method; error O(dt^5) a tick.

    Reference: Hairer, Norsett, Wanner, Solving Ordinary Differential Equations I, 2nd ed., table II.1.2.
    """

    def ahead(slope: Tree, by_s: float) -> Tree:
        return jax.tree.map(lambda a, b: a + by_s * b, x, slope)

    k1 = derivative(x)
    k2 = derivative(ahead(k1, dt_s / 2))
    k3 = derivative(ahead(k2, dt_s / 2))
    k4 = derivative(ahead(k3, dt_s))
    return jax.tree.map(lambda a, b, c, d: dt_s / 6 * (a + 2 * (b + c) + d), k1, k2, k3, k4)


def pick(values: jax.Array, index: tuple[int, ...]) -> jax.Array:
    """values[index] for a static index, as slices: XLA fuses these, but not a gather."""
    if index == tuple(range(values.shape[0])):
        return values
    return jnp.stack([values[i] for i in index]) if index else jnp.zeros(0, values.dtype)


def sum_at(values: jax.Array, index: tuple[int, ...], size: int) -> jax.Array:
    """(size,) sums of the values with equal index: result[i] = sum of values[j] where index[j] == i; static index."""
    if index == tuple(range(size)):
        return values
    zero = jnp.zeros((), values.dtype)
    return jnp.stack([sum((values[j] for j, at in enumerate(index) if at == i), zero) for i in range(size)])


def stacked(values: list[jax.Array]) -> jax.Array:
    """(n,) from n scalars; n may be 0."""
    return jnp.stack(values) if values else jnp.zeros(0)
