"""A site that leaves the grid when its voltage falls too low, and comes back. Share of the load connected, 0 to 1.

    V < trip: off at once;   V >= return throughout the return delay: back along a ramp
While off the grid the load runs from its own supplies. These are not emulated, nor is their recharging.
Reference: NERC, Incident Review: simultaneous load losses, 2025; trip at 0.65 pu and return over 8 s after Entergy [S].
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.struct import quantity, struct


@struct
class RideThroughParams:
    trip_below_pu: jax.Array = quantity("pu")
    return_above_pu: jax.Array = quantity("pu")
    return_ramp_s: jax.Array = quantity("s")


@struct
class RideThroughState:
    connected: jax.Array = quantity("1", "", "share of the load on the grid")
    waited: jax.Array = quantity("ticks", "", "int32, for how long the voltage has been back")


def initial(dtype: jnp.dtype) -> RideThroughState:
    """All on the grid."""
    return RideThroughState(connected=jnp.ones((), dtype), waited=jnp.zeros((), jnp.int32))


def trips(params: RideThroughParams, voltage_pu: jax.Array, collapsed: jax.Array) -> jax.Array:
    """Whether the load trips: its voltage while on the grid is too low, or has no solution."""
    return (voltage_pu < params.trip_below_pu) | collapsed


def step(
    params: RideThroughParams,
    return_delay_ticks: int,
    state: RideThroughState,
    tripped: jax.Array,
    voltage_pu: jax.Array,
    dt_s: float,
) -> RideThroughState:
    """State after a tick at this voltage; `tripped`: whether the load has tripped in it."""
    waited = jnp.where(voltage_pu >= params.return_above_pu, state.waited + 1, 0)
    risen = jnp.minimum(state.connected + dt_s / params.return_ramp_s, 1.0)
    connected = jnp.where(waited > return_delay_ticks, risen, state.connected)
    return RideThroughState(connected=jnp.where(tripped, 0.0, connected), waited=jnp.where(tripped, 0, waited))
