"""Grid-forming converters: batteries that carry an area's inertia and droop, alone or beside its machines.

    P = P_ref - (w/R + 2 H dw/dt) P_rated,   held to what the battery can deliver                  (virtual machine)
Droop behind a power filter of T_f is the same with 2 H = T_f / R: D'Arco & Suul, IEEE Trans. Smart Grid 5(1):394, 2014.
The converter is a voltage source, so that its power follows from the area's balance within the tick; inner loops, some
hundreds of Hz, are instantaneous here. Discharge positive, MW.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from emulator.blocks import pick, sum_at
from emulator.struct import quantity, struct


@struct
class FormingParams:
    power_mw: jax.Array = quantity("MW", "formers", "base of gain and inertia")
    gain_pu: jax.Array = quantity("pu", "formers", "1/R")
    inertia_s: jax.Array = quantity("s", "formers", "virtual H")


@struct
class Forming:
    """What the formers may do in a tick."""

    reference_mw: jax.Array = quantity("MW", "formers")
    low_mw: jax.Array = quantity("MW", "formers")
    high_mw: jax.Array = quantity("MW", "formers")


class Answer(NamedTuple):
    """Rate of an area's speed with its formers, and their power before and after their limits."""

    rate_pu_per_s: jax.Array  # (areas,)
    wanted_mw: jax.Array
    power_mw: jax.Array


def answer(
    areas: tuple[int, ...],
    params: FormingParams,
    limits: Forming,
    speed_pu: jax.Array,
    others_mw: jax.Array,
    momentum_mws: jax.Array,
) -> Answer:
    """Swing of areas that have formers.

    A former at its limit leaves the rest to the machines; where there are none the frequency falls or rises by the
    virtual inertia, for the caller to see that the island is overloaded.
    Args:
      others_mw: (areas,) accelerating power without the formers.
      momentum_mws: (areas,) 2 H S of the machines; 0 = there are none.
    """
    count = speed_pu.shape[0]
    virtual = 2.0 * params.inertia_s * params.power_mw
    speed = pick(speed_pu, areas)
    steady = limits.reference_mw - params.gain_pu * params.power_mw * speed
    both = momentum_mws + sum_at(virtual, areas, count)
    any_mass = both > 0.0
    free = (others_mw + sum_at(steady, areas, count)) / jnp.where(any_mass, both, 1.0)
    wanted = steady - virtual * pick(free, areas)
    power = jnp.clip(wanted, limits.low_mw, limits.high_mw)
    mass = jnp.where(momentum_mws > 0.0, momentum_mws, jnp.where(any_mass, both, 1.0))
    return Answer(free + sum_at(power - wanted, areas, count) / mass, wanted, power)
