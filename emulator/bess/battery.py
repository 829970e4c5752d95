"""One battery with its converter. Discharge positive, MW and MWh, all units together.

    tau dP/dt = sat(command) - P,  |P| <= P_max,  |dP/dt| <= ramp
    E dSOC/dt = -P / eta_d (P > 0),  -P eta_c (P < 0),  less self-discharge;  with cells: of the charge that they give
Reference: arXiv 2512.08076, Table I and its storage model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from emulator.bess import cell, thermal
from emulator.blocks import Compensated, compensated, compensated_add, lag_gain
from emulator.struct import quantity, struct
from emulator.units import S_PER_H


@struct
class BatteryParams:
    """None stands for a part that is left out."""

    power_mw: jax.Array = quantity("MW")
    energy_mwh: jax.Array = quantity("MWh", "", "between SOC 0 and 1")
    soc_initial: jax.Array = quantity("1")
    soc_min: jax.Array = quantity("1")
    soc_max: jax.Array = quantity("1")
    charge_efficiency: jax.Array = quantity("1")
    discharge_efficiency: jax.Array = quantity("1")
    auxiliary_mw: jax.Array = quantity("MW", "", "drawn at the terminals at all times")
    self_discharge_per_h: jax.Array = quantity("1/h")
    response_s: jax.Array = quantity("s")
    ramp_mw_per_s: jax.Array = quantity("MW/s", "", "infinite = no limit")
    apparent_mva: jax.Array | None = quantity("MVA", "", "the converter's largest current at 1 pu; None = no limit")
    cell: cell.CellParams | None = quantity("")
    thermal: thermal.ThermalParams | None = quantity("")


@struct
class BatteryState:
    power_mw: jax.Array = quantity("MW", "", "of the converter, without auxiliaries")
    soc: Compensated[jax.Array] = quantity("1")
    pending_mw: jax.Array = quantity("MW", "delay ticks", "commands on their way, a ring indexed by tick")
    warmer_k: Compensated[jax.Array] | None = quantity("K", "", "than the ambient")


class Bounds(NamedTuple):
    """What limits a battery in a tick: its converter either way, and what store and cells can take and give."""

    converter_mw: jax.Array
    low_mw: jax.Array
    high_mw: jax.Array


class BatteryLimits(NamedTuple):
    """Which limits acted in a tick."""

    power: jax.Array
    soc: jax.Array


def initial(params: BatteryParams, delay_ticks: int) -> BatteryState:
    """At rest, with no command on its way, as warm as the ambient."""
    rest = jnp.zeros_like(params.power_mw)
    return BatteryState(
        power_mw=rest,
        soc=compensated(params.soc_initial),
        pending_mw=jnp.zeros(delay_ticks, rest.dtype),
        warmer_k=None if params.thermal is None else compensated(rest),
    )


def delayed(pending: jax.Array, command_mw: jax.Array, tick: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Put a command into the ring and take out the one given len(ring) ticks ago; no ring, no delay."""
    size = pending.shape[0]
    if size == 0:
        return pending, command_mw
    slot = tick % size
    return pending.at[slot].set(command_mw), pending[slot]


def bounds(
    params: BatteryParams, state: BatteryState, lost: jax.Array, voltage_pu: jax.Array, mvar: jax.Array, dt_s: float
) -> Bounds:
    """In a whole tick.

    Args:
      lost: share of the converters that have tripped.
      voltage_pu: at the terminals; the converter's limit is one of current.
      mvar: reactive power that has priority.
    """
    most_mw = params.power_mw
    if params.thermal is not None and state.warmer_k is not None:
        most_mw = most_mw * thermal.share(params.thermal, state.warmer_k.value)
    if params.apparent_mva is not None:
        squared = (params.apparent_mva * voltage_pu) ** 2 - mvar**2
        none = squared <= 0.0
        most_mw = jnp.minimum(most_mw, jnp.where(none, 0.0, jnp.sqrt(jnp.where(none, 1.0, squared))))
    return Bounds(most_mw * (1.0 - lost), *_available(params, state, dt_s))


def _available(params: BatteryParams, state: BatteryState, dt_s: float) -> tuple[jax.Array, jax.Array]:
    """Lowest and highest power of a whole tick: an empty battery does not discharge, a full one does not charge."""
    mw_per_soc = params.energy_mwh * S_PER_H / dt_s
    soc = state.soc.value
    # Within rounding of an end of the window the room may come out below zero; the battery then rests.
    out_mw, in_mw = (
        jnp.maximum(soc - params.soc_min, 0.0) * mw_per_soc,
        jnp.maximum(params.soc_max - soc, 0.0) * mw_per_soc,
    )
    if params.cell is not None:
        its, rated = params.cell, params.power_mw
        least, greatest = cell.power_range_pu(its, cell.open_circuit_pu(its, soc))
        # To an end of the window in one tick, by the midpoint rule as in `_from_cells`.
        ends = [cell.open_circuit_pu(its, 0.5 * (soc + end)) for end in (params.soc_min, params.soc_max)]
        out_mw = rated * jnp.minimum(greatest, cell.power_pu(its, ends[0], out_mw / rated))
        in_mw = rated * jnp.minimum(-least, -cell.power_pu(its, ends[1], -in_mw / rated))
    return -in_mw / params.charge_efficiency, out_mw * params.discharge_efficiency


def answer(
    params: BatteryParams, state: BatteryState, command_mw: jax.Array, most_mw: jax.Array, tick: jax.Array, dt_s: float
) -> tuple[BatteryState, jax.Array, jax.Array]:
    """A command through delay, rating, lag and ramp: state with the command on its way, power to come, and whether the
    rating held it. Converters that trip or must give way do so at once."""
    pending, ordered_mw = delayed(state.pending_mw, command_mw, tick)
    target_mw = jnp.clip(ordered_mw, -most_mw, most_mw)
    change_mw = lag_gain(params.response_s, dt_s) * (target_mw - state.power_mw)
    able_mw = state.power_mw + jnp.clip(change_mw, -params.ramp_mw_per_s * dt_s, params.ramp_mw_per_s * dt_s)
    able_mw = jnp.clip(able_mw, -most_mw, most_mw)
    return replace(state, pending_mw=pending), able_mw, jnp.abs(ordered_mw) > most_mw


def stored_mwh(params: BatteryParams, soc: jax.Array) -> jax.Array:
    """Energy above SOC 0; cells give less of it per charge where their voltage is low."""
    return params.energy_mwh * (soc if params.cell is None else cell.stored(params.cell, soc))


def settle(params: BatteryParams, state: BatteryState, power_mw: jax.Array, dt_s: float) -> BatteryState:
    """After a tick of this mean power, so that energy and power agree to rounding."""
    mw_per_soc = params.energy_mwh * S_PER_H / dt_s
    store_mw = jnp.where(power_mw > 0, power_mw / params.discharge_efficiency, power_mw * params.charge_efficiency)
    charge_mw = store_mw  # by which the state of charge goes: with cells current at mean voltage
    if params.cell is not None:
        charge_mw, store_mw = _from_cells(params, params.cell, state.soc.value, store_mw, mw_per_soc)
    leak = params.self_discharge_per_h / S_PER_H * dt_s * state.soc.value
    warmer_k = state.warmer_k
    if params.thermal is not None and warmer_k is not None:
        warmer_k = thermal.step(params.thermal, warmer_k, store_mw - power_mw, dt_s)
    soc = compensated_add(state.soc, -charge_mw / mw_per_soc - leak)
    return replace(state, power_mw=power_mw, soc=soc, warmer_k=warmer_k)


def _from_cells(
    params: BatteryParams, cells: cell.CellParams, soc: jax.Array, terminal_mw: jax.Array, mw_per_soc: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Charge at mean voltage and energy that a tick takes out of the cells, MW; midpoint rule."""
    drawn = terminal_mw / params.power_mw
    charge_mw = params.power_mw * cell.current_pu(cells, cell.open_circuit_pu(cells, soc), drawn)
    v = cell.open_circuit_pu(cells, soc - 0.5 * charge_mw / mw_per_soc)
    charge_mw = params.power_mw * cell.current_pu(cells, v, drawn)
    return charge_mw, v * charge_mw


def step(
    params: BatteryParams, state: BatteryState, command_mw: jax.Array, limits: Bounds, tick: jax.Array, dt_s: float
) -> tuple[BatteryState, BatteryLimits]:
    """One tick of a grid-following battery.

    An empty or full battery stops at once, ahead of ramp and response: it has nothing left to deliver.
    """
    state, able_mw, held = answer(params, state, command_mw, limits.converter_mw, tick, dt_s)
    power_mw = jnp.clip(able_mw, limits.low_mw, limits.high_mw)
    return settle(params, state, power_mw, dt_s), BatteryLimits(power=held, soc=power_mw != able_mw)
