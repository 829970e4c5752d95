"""Temperature of a battery: one heat capacity, heated by its losses, cooled towards the ambient.

    C dT/dt = losses - G (T - ambient)
Rated power falls in a straight line from `derate_from_k` to nothing at `derate_to_k`. Temperatures in K above ambient.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.blocks import Compensated, compensated_add
from emulator.struct import quantity, struct
from emulator.units import S_PER_H


@struct
class ThermalParams:
    heat_capacity_mwh_per_k: jax.Array = quantity("MWh/K")
    cooling_mw_per_k: jax.Array = quantity("MW/K")
    ambient_c: jax.Array = quantity("degC")
    derate_from_k: jax.Array = quantity("K", "", "above the ambient")
    derate_to_k: jax.Array = quantity("K", "", "above the ambient")


def power_share(params: ThermalParams, warmer_k: jax.Array) -> jax.Array:
    """Share of rated power that the temperature allows."""
    return jnp.clip((params.derate_to_k - warmer_k) / (params.derate_to_k - params.derate_from_k), 0.0, 1.0)


def step(
    params: ThermalParams, warmer_k: Compensated[jax.Array], heat_mw: jax.Array, dt_s: float
) -> Compensated[jax.Array]:
    """Temperature after a tick of constant losses: exact."""
    rate = params.cooling_mw_per_k / (params.heat_capacity_mwh_per_k * S_PER_H)
    settled_k = heat_mw / params.cooling_mw_per_k
    return compensated_add(warmer_k, -jnp.expm1(-rate * dt_s) * (settled_k - warmer_k.value))
