"""Losses and constant auxiliaries of a site. Load positive, MW and Mvar."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.struct import quantity, struct


@struct
class FacilityParams:
    """Constant-efficiency chain of one site."""

    server_efficiency: jax.Array = quantity("1")
    psu_efficiency: jax.Array = quantity("1")
    ups_efficiency: jax.Array = quantity("1")
    transformer_efficiency: jax.Array = quantity("1")
    auxiliary_mw: jax.Array = quantity("MW", "", "constant draw of cooling, pumps, lighting")
    power_factor: jax.Array = quantity("1", "", "lagging")


def facility_power(params: FacilityParams, it_mw: jax.Array) -> jax.Array:
    """Draw of the site without battery: IT power over the chain's efficiency, plus auxiliaries."""
    chain = params.server_efficiency * params.psu_efficiency * params.ups_efficiency * params.transformer_efficiency
    return it_mw / chain + params.auxiliary_mw


def reactive_power(params: FacilityParams, facility_mw: jax.Array) -> jax.Array:
    """Q = P tan(arccos(pf)), lagging positive; written so that its gradient is finite at pf = 1 - 0."""
    sine_squared = (1.0 - params.power_factor) * (1.0 + params.power_factor)
    unity = sine_squared <= 0.0
    sine = jnp.sqrt(jnp.where(unity, 1.0, sine_squared))
    return jnp.where(unity, 0.0, facility_mw * sine / params.power_factor)
