"""A site that leaves the grid when its voltage falls too low, and comes back. Share of the load connected, 0 to 1.

    V < trip: off at once;   V >= return for the waiting time: back up along a ramp
Off the grid the load goes on from its own supplies, which are not emulated, nor is what they take to charge again.
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
    waited: jax.Array = quantity("ticks", "", "int32, with voltage back")


def initial(dtype: jnp.dtype) -> RideThroughState:
    """All on the grid."""
    return RideThroughState(connected=jnp.ones((), dtype), waited=jnp.zeros((), jnp.int32))


def trips(params: RideThroughParams, voltage_pu: jax.Array, collapsed: jax.Array) -> jax.Array:
    """True where the voltage with the load on the grid is too low, or does not exist."""
    return (voltage_pu < params.trip_below_pu) | collapsed


def step(
    params: RideThroughParams,
    wait_ticks: int,
    state: RideThroughState,
    tripped: jax.Array,
    voltage_pu: jax.Array,
    dt_s: float,
) -> RideThroughState:
    """After a tick at this voltage, in which the load has tripped or not."""
    waited = jnp.where(voltage_pu >= params.return_above_pu, state.waited + 1, 0)
    risen = jnp.minimum(state.connected + dt_s / params.return_ramp_s, 1.0)
    connected = jnp.where(waited > wait_ticks, risen, state.connected)
    return RideThroughState(connected=jnp.where(tripped, 0.0, connected), waited=jnp.where(tripped, 0, waited))
