"""Grid-forming converters: batteries that carry an area's inertia and droop, alone or beside its machines.

    P = P_ref - (w/R + 2 H dw/dt) P_rated,   held within what the battery can deliver               (virtual machine)
Droop behind a power filter of time constant T_f is the same with 2 H = T_f / R: D'Arco & Suul, IEEE Trans. Smart Grid
5(1):394, 2014. The converter is a voltage source, so its power follows from the area's balance within the tick. Its
inner control loops (some hundreds of Hz) are taken as instantaneous. Discharge positive, MW.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from emulator.blocks import pick, sum_at
from emulator.struct import quantity, struct


@struct
class FormingParams:
    power_mw: jax.Array = quantity("MW", "grid-forming batteries", "rated: base of gain and inertia")
    gain_pu: jax.Array = quantity("pu", "grid-forming batteries", "1/R")
    inertia_s: jax.Array = quantity("s", "grid-forming batteries", "virtual H")


@struct
class FormingLimits:
    """Operating point of the grid-forming batteries in a tick, and how far their power may move from it."""

    reference_mw: jax.Array = quantity("MW", "grid-forming batteries", "P_ref")
    low_mw: jax.Array = quantity("MW", "grid-forming batteries")
    high_mw: jax.Array = quantity("MW", "grid-forming batteries")


def speed_rate(
    areas: tuple[int, ...],
    params: FormingParams,
    limits: FormingLimits,
    speed_pu: jax.Array,
    others_mw: jax.Array,
    momentum_mws: jax.Array,
) -> jax.Array:
    """(areas,) dw/dt in pu/s where grid-forming batteries take part in the swing.

    First all share the imbalance by inertia. What a battery at its limit then cannot deliver is left to the machines;
    where there are none, the frequency falls or rises at the rate of the virtual inertia, and the caller reports that
    the island is overloaded.

    Args:
      areas: the area of each battery.
      others_mw: (areas,) accelerating power without the batteries.
      momentum_mws: (areas,) 2 H S of the machines; 0 = there are none.
    """
    count = speed_pu.shape[0]
    virtual = 2.0 * params.inertia_s * params.power_mw
    speed = pick(speed_pu, areas)
    steady = limits.reference_mw - params.gain_pu * params.power_mw * speed
    both = momentum_mws + sum_at(virtual, areas, count)
    any_mass = both > 0.0
    unlimited = (others_mw + sum_at(steady, areas, count)) / jnp.where(any_mass, both, 1.0)
    wanted = steady - virtual * pick(unlimited, areas)
    power = jnp.clip(wanted, limits.low_mw, limits.high_mw)
    mass = jnp.where(momentum_mws > 0.0, momentum_mws, jnp.where(any_mass, both, 1.0))
    return unlimited + sum_at(power - wanted, areas, count) / mass


class FormingPower(NamedTuple):
    """What the grid-forming batteries did in a tick, (batteries,) each."""

    mw: jax.Array  # tick mean
    limited: jax.Array  # true where a limit held it


def mean_power(
    areas: tuple[int, ...],
    params: FormingParams,
    limits: FormingLimits,
    before_pu: jax.Array,
    after_pu: jax.Array,
    dt_s: float,
) -> FormingPower:
    """Mean power in a tick from the areas' speed deviations (areas,) at its start and end; error O(dt^2)."""
    speed = pick(0.5 * (before_pu + after_pu), areas)
    rate = pick((after_pu - before_pu) / dt_s, areas)
    wanted = limits.reference_mw - params.power_mw * (params.gain_pu * speed + 2.0 * params.inertia_s * rate)
    power = jnp.clip(wanted, limits.low_mw, limits.high_mw)
    return FormingPower(power, limited=power != wanted)
