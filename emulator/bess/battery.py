"""Battery and grid-following converter. Discharge positive, MW and MWh.

    tau dP/dt = sat(command) - P,  |P| <= P_max,  |dP/dt| <= ramp
    E dSOC/dt = -P / eta_d (P > 0),  -P eta_c (P < 0)
Reference: arXiv 2512.08076, Table I and its storage model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from emulator.blocks import Compensated, compensated, compensated_add, lag_gain
from emulator.struct import quantity, struct
from emulator.units import S_PER_H


@struct
class BatteryParams:
    """One site's battery, all units together."""

    power_mw: jax.Array = quantity("MW")
    energy_mwh: jax.Array = quantity("MWh")
    soc_initial: jax.Array = quantity("1")
    soc_min: jax.Array = quantity("1")
    soc_max: jax.Array = quantity("1")
    charge_efficiency: jax.Array = quantity("1")
    discharge_efficiency: jax.Array = quantity("1")
    response_s: jax.Array = quantity("s")
    ramp_mw_per_s: jax.Array = quantity("MW/s", "", "infinite = no limit")


@struct
class BatteryState:
    power_mw: jax.Array = quantity("MW")
    soc: Compensated[jax.Array] = quantity("1")
    pending_mw: jax.Array = quantity("MW", "delay ticks", "commands on their way, a ring indexed by tick")


class BatteryLimits(NamedTuple):
    """Which limits acted in a tick."""

    power: jax.Array
    soc: jax.Array


def initial(params: BatteryParams, delay_ticks: int) -> BatteryState:
    """At rest, with no command on its way."""
    rest = jnp.zeros_like(params.power_mw)
    return BatteryState(
        power_mw=rest, soc=compensated(params.soc_initial), pending_mw=jnp.zeros(delay_ticks, rest.dtype)
    )


def delayed(pending: jax.Array, command_mw: jax.Array, tick: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Put a command into the ring and take out the one given len(ring) ticks ago; no ring, no delay."""
    size = pending.shape[0]
    if size == 0:
        return pending, command_mw
    slot = tick % size
    return pending.at[slot].set(command_mw), pending[slot]


def available(params: BatteryParams, state: BatteryState, dt_s: float) -> tuple[jax.Array, jax.Array]:
    """Lowest and highest power of a whole tick: an empty battery does not discharge, a full one does not charge."""
    mw_per_soc = params.energy_mwh * S_PER_H / dt_s
    out_mw = (state.soc.value - params.soc_min) * mw_per_soc * params.discharge_efficiency
    in_mw = (params.soc_max - state.soc.value) * mw_per_soc / params.charge_efficiency
    # Within rounding of an end of the window the room may come out below zero; the battery then rests.
    return -jnp.maximum(in_mw, 0.0), jnp.maximum(out_mw, 0.0)


def answer(
    params: BatteryParams, state: BatteryState, command_mw: jax.Array, tick: jax.Array, dt_s: float
) -> tuple[BatteryState, jax.Array, jax.Array]:
    """A command through delay, rating, lag and ramp: state with the command on its way, power to come, and whether the
    rating held it."""
    pending, ordered_mw = delayed(state.pending_mw, command_mw, tick)
    target_mw = jnp.clip(ordered_mw, -params.power_mw, params.power_mw)
    change_mw = lag_gain(params.response_s, dt_s) * (target_mw - state.power_mw)
    able_mw = state.power_mw + jnp.clip(change_mw, -params.ramp_mw_per_s * dt_s, params.ramp_mw_per_s * dt_s)

    return replace(state, pending_mw=pending), able_mw, jnp.abs(ordered_mw) > params.power_mw


def settle(params: BatteryParams, state: BatteryState, power_mw: jax.Array, dt_s: float) -> BatteryState:
    """After a tick of this mean power, so that energy and power agree to rounding."""
    mw_per_soc = params.energy_mwh * S_PER_H / dt_s
    store_mw = jnp.where(power_mw > 0, power_mw / params.discharge_efficiency, power_mw * params.charge_efficiency)
    soc = compensated_add(state.soc, -store_mw / mw_per_soc)
    return replace(state, power_mw=power_mw, soc=soc)


def step(
    params: BatteryParams, state: BatteryState, command_mw: jax.Array, tick: jax.Array, dt_s: float
) -> tuple[BatteryState, BatteryLimits]:
    """One tick of a grid-following battery.

    An empty or full battery stops at once, ahead of ramp and response: it has nothing left to deliver.
    """
    state, able_mw, held = answer(params, state, command_mw, tick, dt_s)
    power_mw = jnp.clip(able_mw, *available(params, state, dt_s))
    return settle(params, state, power_mw, dt_s), BatteryLimits(power=held, soc=power_mw != able_mw)
