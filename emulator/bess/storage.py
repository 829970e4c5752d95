"""A site's batteries and their controller. Discharge positive, MW.

    load, frequency -> measurement -> controller -> order, split over the batteries -> in each: delay, limits, store
The first battery is the main one, [site.bess]. Others, [[site.store]], share its orders: in their sequence, each
battery with a crossover takes what of the order lies above that frequency; the rest is shared by rated power.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from emulator.bess import battery, controller, reactive
from emulator.blocks import Compensated, compensated, compensated_add, lag_gain
from emulator.struct import quantity, static, struct

POWER_LIMIT, SOC_LIMIT = 1, 2  # status bits


@struct
class StorageLayout:
    controller: controller.ControllerLayout = static()
    period_ticks: int = static()  # the controller acts once in so many ticks
    delay_ticks: tuple[int, ...] = static()  # of each battery, the main one first
    has_crossover: tuple[bool, ...] = static()  # of each battery, whether it has a crossover
    forming: bool = static()  # the main battery is grid-forming
    reactive_first: bool = static()  # reactive power has priority at the converter's limit
    listed: bool = static()  # the batteries are recorded one by one


@struct
class MeasurementParams:
    filter_s: jax.Array = quantity("s", "", "lag of the measured load")
    pll_s: jax.Array = quantity("s", "", "lag of the measured frequency")


@struct
class StorageParams:
    """None stands for a part that the site does not have."""

    batteries: tuple[battery.BatteryParams, ...] = quantity("")
    crossover_hz: jax.Array = quantity("Hz", "batteries", "0 where there is none")
    measurement: MeasurementParams | None = quantity("")
    controller: controller.ControllerParams | None = quantity("")
    reactive: reactive.ReactiveParams | None = quantity("")


@struct
class StorageState:
    batteries: tuple[battery.BatteryState, ...] = quantity("")
    reference_mw: jax.Array | None = quantity("MW", "", "P_ref of a grid-forming main battery; None = grid-following")
    bess_mvar: jax.Array | None = quantity("Mvar", "", "of the main battery's converter, into the grid")
    measurement: MeasurementState | None = quantity("")
    controller: controller.ControllerState = quantity("")
    order_mw: jax.Array | None = quantity(
        "MW", "", "held until the controller acts again; None = it acts in every tick"
    )
    slow_mw: Compensated[jax.Array] = quantity("MW", "crossovers", "part of the order below each crossover")


@struct
class MeasurementState:
    load_mw: jax.Array = quantity("MW")
    speed_pu: jax.Array = quantity("pu")


class StorageInputs(NamedTuple):
    """Inputs of a site's storage in a tick."""

    load_mw: jax.Array  # consumption of the site, tick mean
    speed_pu: jax.Array  # speed deviation of its area at the tick's start
    voltage_pu: jax.Array  # at the PCC in the tick before
    voltage_change_pu: jax.Array  # the same, less the voltage at the start of the run
    lost_share: jax.Array  # share of the converters that have tripped
    iteration_starts: jax.Array  # (planned jobs,) whether an iteration begins in the tick
    grid_states: jax.Array  # (grid states,) for a controller that feeds them back


class BatteryReadings(NamedTuple):
    """The batteries one by one: (batteries,) where they are recorded so, else (0,)."""

    power_mw: jax.Array  # at the terminals
    soc: jax.Array  # at the tick's start
    celsius: jax.Array  # at the tick's start, NaN without a thermal model


class StorageOutputs(NamedTuple):
    """Outputs of a site's storage in a tick."""

    order_mw: jax.Array  # sum of the orders to all batteries
    power_mw: jax.Array  # sum at the terminals, auxiliaries taken off
    mvar: jax.Array  # into the grid
    soc: jax.Array  # at the tick's start, mean over the batteries weighted by energy
    status: jax.Array  # POWER_LIMIT | SOC_LIMIT
    low_mw: jax.Array  # lowest and highest power of a grid-forming battery's converter; 0 without one
    high_mw: jax.Array
    batteries: BatteryReadings


def initial(layout: StorageLayout, params: StorageParams, load_mw: jax.Array) -> StorageState:
    """At rest, with the controller settled under a load that has always been there."""
    rest = jnp.zeros_like(load_mw)
    return StorageState(
        batteries=tuple(battery.initial(b, n) for b, n in zip(params.batteries, layout.delay_ticks, strict=True)),
        reference_mw=rest if layout.forming else None,
        bess_mvar=None if params.reactive is None else rest,
        measurement=None if params.measurement is None else MeasurementState(load_mw, rest),
        controller=None
        if params.controller is None
        else controller.initial(layout.controller, params.controller, load_mw, _rated_mw(params)),
        order_mw=rest if layout.period_ticks > 1 else None,
        slow_mw=compensated(jnp.zeros(sum(layout.has_crossover), rest.dtype)),
    )


def absent(load_mw: jax.Array) -> StorageOutputs:
    """Outputs of a site without batteries."""
    zero, none = jnp.zeros_like(load_mw), jnp.zeros(0, load_mw.dtype)
    soc, status = jnp.full_like(load_mw, jnp.nan), jnp.zeros((), jnp.int32)
    return StorageOutputs(zero, zero, zero, soc, status, zero, zero, BatteryReadings(none, none, none))


def auxiliary_mw(params: StorageParams) -> jax.Array:
    """Draw of all batteries' auxiliaries."""
    return _total([b.auxiliary_mw for b in params.batteries])


def step(
    layout: StorageLayout,
    params: StorageParams,
    state: StorageState,
    tick: jax.Array,
    inputs: StorageInputs,
    dt_s: float,
) -> tuple[StorageState, StorageOutputs]:
    """One tick. The power of a grid-forming battery is found later, by the grid: see `after_forming`."""
    start = state.batteries
    soc = _by_energy(params, [b.soc.value for b in start])
    state, order_mw = _ordered(layout, params, state, tick, inputs, soc, dt_s)
    state, orders = _split(layout, params, state, order_mw, dt_s)
    order_mw = _total(orders)
    mvar = jnp.zeros_like(inputs.load_mw)
    reactive_first = layout.reactive_first and params.reactive is not None
    if reactive_first:
        mvar = _reactive_support(params, state, inputs, jnp.zeros_like(mvar), dt_s)
    stores, powers, status = [], [], jnp.zeros((), jnp.int32)
    low_mw = high_mw = jnp.zeros_like(mvar)
    for i, (b, store, order) in enumerate(zip(params.batteries, state.batteries, orders, strict=True)):
        taken = mvar if i == 0 else jnp.zeros_like(mvar)
        bounds = battery.bounds(b, store, inputs.lost_share, inputs.voltage_pu, taken, dt_s)
        if state.reference_mw is not None and i == 0:
            # Lag and ramp act on P_ref: droop and inertia come on top of it, at once (`grid.forming`).
            at_reference = replace(store, power_mw=state.reference_mw)
            moved, order_mw, _ = battery.follow_command(b, at_reference, order, bounds.converter_mw, tick, dt_s)
            store, state = replace(store, pending_mw=moved.pending_mw), replace(state, reference_mw=order_mw)
            low_mw, high_mw = (
                jnp.maximum(bounds.low_mw, -bounds.converter_mw),
                jnp.minimum(bounds.high_mw, bounds.converter_mw),
            )
        else:
            store, limits = battery.step(b, store, order, bounds, tick, dt_s)
            status = status | jnp.where(limits.power, POWER_LIMIT, 0) | jnp.where(limits.soc, SOC_LIMIT, 0)
        stores.append(store)
        powers.append(store.power_mw)
    if params.reactive is not None and not reactive_first:
        mvar = _reactive_support(params, state, inputs, powers[0], dt_s)
    state = replace(state, batteries=tuple(stores), bess_mvar=None if params.reactive is None else mvar)
    power_mw = _total(powers) - auxiliary_mw(params)
    none = jnp.zeros(0, power_mw.dtype)
    listed = _readings(params, start, powers) if layout.listed else BatteryReadings(none, none, none)
    return state, StorageOutputs(order_mw, power_mw, mvar, soc, status, low_mw, high_mw, listed)


def after_forming(
    params: StorageParams, state: StorageState, power_mw: jax.Array, dt_s: float
) -> tuple[StorageState, jax.Array]:
    """State, and power at the terminals, once the grid has found the power of the grid-forming main battery."""
    store = battery.apply_power(params.batteries[0], state.batteries[0], power_mw, dt_s)
    return replace(state, batteries=(store, *state.batteries[1:])), power_mw - auxiliary_mw(params)


def _ordered(
    layout: StorageLayout,
    params: StorageParams,
    state: StorageState,
    tick: jax.Array,
    inputs: StorageInputs,
    soc: jax.Array,
    dt_s: float,
) -> tuple[StorageState, jax.Array]:
    """The controller's order from what it measures, without restoration of the states of charge."""
    load_mw, speed_pu, before = inputs.load_mw, inputs.speed_pu, state.measurement
    if params.measurement is not None and before is not None:
        load_mw = before.load_mw + lag_gain(params.measurement.filter_s, dt_s) * (load_mw - before.load_mw)
        speed_pu = before.speed_pu + lag_gain(params.measurement.pll_s, dt_s) * (speed_pu - before.speed_pu)
        state = replace(state, measurement=MeasurementState(load_mw, speed_pu))
    if params.controller is None:
        return state, jnp.zeros_like(load_mw)
    error = soc - _by_energy(params, [b.soc_initial for b in params.batteries])
    measured = controller.Measured(
        load_mw=load_mw,
        speed_pu=speed_pu,
        soc_error=error,
        rated_mw=_rated_mw(params),
        energy_mwh=_total([b.energy_mwh for b in params.batteries]),
        battery=state.batteries[0],
        iteration_starts=inputs.iteration_starts,
        grid_states=inputs.grid_states,
    )
    every = layout.period_ticks
    after, order_mw = controller.command(
        layout.controller, params.controller, state.controller, measured, tick // every, every * dt_s
    )
    if state.order_mw is not None:
        acts = tick % every == 0
        after = jax.tree.map(lambda new, old: jnp.where(acts, new, old), after, state.controller)
        order_mw = jnp.where(acts, order_mw, state.order_mw)
        state = replace(state, order_mw=order_mw)
    return replace(state, controller=after), order_mw


def _split(
    layout: StorageLayout, params: StorageParams, state: StorageState, order_mw: jax.Array, dt_s: float
) -> tuple[StorageState, list[jax.Array]]:
    """Order of each battery, with the restoration of its own state of charge: a battery above its target discharges."""
    orders = [jnp.zeros_like(order_mw) for _ in params.batteries]
    rest_mw, slow, place = order_mw, state.slow_mw, 0
    turns = -jnp.expm1(-2.0 * jnp.pi * dt_s * params.crossover_hz)
    steps = []
    for i, crosses in enumerate(layout.has_crossover):
        if crosses:
            steps.append(turns[i] * (rest_mw - slow.value[place]))
            below_mw = slow.value[place] + steps[-1]
            orders[i], rest_mw = rest_mw - below_mw, below_mw
            place += 1
    if steps:
        state = replace(state, slow_mw=compensated_add(slow, jnp.stack(steps)))
    shared = [i for i, crosses in enumerate(layout.has_crossover) if not crosses]
    if len(shared) == 1:
        orders[shared[0]] = rest_mw
    else:
        together_mw = sum((params.batteries[i].power_mw for i in shared), jnp.zeros_like(order_mw))
        for i in shared:
            orders[i] = rest_mw * params.batteries[i].power_mw / together_mw
    if params.controller is None:
        return state, orders
    gain = controller.soc_gain(params.controller)
    pairs = zip(orders, params.batteries, state.batteries, strict=True)
    return state, [order + gain * b.power_mw * (s.soc.value - b.soc_initial) for order, b, s in pairs]


def _reactive_support(
    params: StorageParams,
    state: StorageState,
    inputs: StorageInputs,
    power_mw: jax.Array,
    dt_s: float,
) -> jax.Array:
    """Mvar of the main battery in a tick, into the grid, within what `power_mw` leaves of its converter."""
    assert params.reactive is not None and state.bess_mvar is not None
    limit = params.batteries[0].apparent_mva
    apparent = params.reactive.rated_mva if limit is None else limit * inputs.voltage_pu
    room = reactive.room_mvar(apparent * (1.0 - inputs.lost_share), power_mw)
    return reactive.step(params.reactive, state.bess_mvar, inputs.voltage_change_pu, room, dt_s)


def _readings(
    params: StorageParams, start: tuple[battery.BatteryState, ...], powers: list[jax.Array]
) -> BatteryReadings:
    def celsius(b: battery.BatteryParams, s: battery.BatteryState) -> jax.Array:
        if b.thermal is None or s.warmer_k is None:
            return jnp.full_like(s.power_mw, jnp.nan)
        return b.thermal.ambient_c + s.warmer_k.value

    return BatteryReadings(
        power_mw=jnp.stack([mw - b.auxiliary_mw for mw, b in zip(powers, params.batteries, strict=True)]),
        soc=jnp.stack([s.soc.value for s in start]),
        celsius=jnp.stack([celsius(b, s) for b, s in zip(params.batteries, start, strict=True)]),
    )


def _rated_mw(params: StorageParams) -> jax.Array:
    return _total([b.power_mw for b in params.batteries])


def _total(values: list[jax.Array]) -> jax.Array:
    return sum(values[1:], values[0])


def _by_energy(params: StorageParams, values: list[jax.Array]) -> jax.Array:
    """Mean over the batteries, weighted with their energy."""
    if len(values) == 1:
        return values[0]
    energies = [b.energy_mwh for b in params.batteries]
    return _total([v * e for v, e in zip(values, energies, strict=True)]) / _total(energies)
