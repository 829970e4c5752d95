"""A site's storage: what is measured, the controller's order, its batteries. Discharge positive, MW.

    load, frequency -> measurement -> controller -> order, split over the batteries -> each: delay, limits, store
The first battery is the site's main one, [site.bess]; with others beside it the order is split from the fastest on:
one with a crossover takes what lies above, the rest is shared by rated power.
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
    period_ticks: int = static()  # between two actions of the controller
    delay_ticks: tuple[int, ...] = static()  # of each battery, the main one first
    crossing: tuple[bool, ...] = static()  # of each battery, whether it has a crossover
    forming: bool = static()  # the main battery makes the grid's voltage
    reactive_first: bool = static()
    listed: bool = static()  # its batteries are recorded one by one


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
    bess_mvar: jax.Array | None = quantity("Mvar", "", "the main converter's, into the grid")
    seen: SeenState | None = quantity("")
    controller: controller.ControllerState = quantity("")
    order_mw: jax.Array | None = quantity("MW", "", "held between two actions; None = one in every tick")
    slow_mw: Compensated[jax.Array] = quantity("MW", "crossovers", "what lies below each")


@struct
class SeenState:
    load_mw: jax.Array = quantity("MW")
    speed_pu: jax.Array = quantity("pu")


class Surroundings(NamedTuple):
    """What storage meets in a tick."""

    load_mw: jax.Array  # what the site consumes, tick mean
    speed_pu: jax.Array  # deviation of its area at the tick's start
    voltage_pu: jax.Array  # of the tick before
    support_pu: jax.Array  # the same less that of the start
    lost: jax.Array  # share of the converters that have tripped
    starts: jax.Array  # (planned jobs,) whether an iteration begins in the tick
    motion: jax.Array  # (grid states,) for a controller that feeds them back


class Each(NamedTuple):
    """The batteries one by one, (batteries,) where they are listed, else (0,)."""

    mw: jax.Array  # at the terminals
    soc: jax.Array  # at the tick's start
    celsius: jax.Array  # at the tick's start, NaN where no temperature is followed


class Given(NamedTuple):
    """What storage does in a tick; arrays over the batteries at the end."""

    order_mw: jax.Array  # all batteries together
    power_mw: jax.Array  # at the terminals
    mvar: jax.Array
    soc: jax.Array  # at the tick's start, by energy
    status: jax.Array
    low_mw: jax.Array  # of the main battery: least and greatest power of its converter
    high_mw: jax.Array
    each: Each


def initial(layout: StorageLayout, params: StorageParams, load_mw: jax.Array) -> StorageState:
    """At rest; the controller settled under a load that has always been there."""
    rest = jnp.zeros_like(load_mw)
    return StorageState(
        batteries=tuple(battery.initial(b, n) for b, n in zip(params.batteries, layout.delay_ticks, strict=True)),
        bess_mvar=None if params.reactive is None else rest,
        seen=None if params.measurement is None else SeenState(load_mw, rest),
        controller=None
        if params.controller is None
        else controller.initial(layout.controller, params.controller, load_mw, _rated_mw(params)),
        order_mw=rest if layout.period_ticks > 1 else None,
        slow_mw=compensated(jnp.zeros(sum(layout.crossing), rest.dtype)),
    )


def absent(load_mw: jax.Array) -> Given:
    """Of a site without batteries."""
    zero, none = jnp.zeros_like(load_mw), jnp.zeros(0, load_mw.dtype)
    soc, status = jnp.full_like(load_mw, jnp.nan), jnp.zeros((), jnp.int32)
    return Given(zero, zero, zero, soc, status, zero, zero, Each(none, none, none))


def auxiliary_mw(params: StorageParams) -> jax.Array:
    """Draw of all batteries at rest."""
    return _total([b.auxiliary_mw for b in params.batteries])


def step(
    layout: StorageLayout,
    params: StorageParams,
    state: StorageState,
    number: jax.Array,
    meets: Surroundings,
    dt_s: float,
) -> tuple[StorageState, Given]:
    """One tick. A grid-forming battery is not yet settled: what it gives is the grid's to say, see `formed`."""
    start = state.batteries
    soc = _by_energy(params, [b.soc.value for b in start])
    state, order_mw = _ordered(layout, params, state, number, meets, soc, dt_s)
    state, orders = _split(layout, params, state, order_mw, dt_s)
    order_mw = _total(orders)
    mvar = jnp.zeros_like(meets.load_mw)
    first = layout.reactive_first and params.reactive is not None
    if first:
        mvar = _mvar(params, state, meets, jnp.zeros_like(mvar), dt_s)
    stores, powers, status = [], [], jnp.zeros((), jnp.int32)
    low_mw = high_mw = jnp.zeros_like(mvar)
    for i, (b, store, order) in enumerate(zip(params.batteries, state.batteries, orders, strict=True)):
        taken = mvar if i == 0 else jnp.zeros_like(mvar)
        its = battery.bounds(b, store, meets.lost, meets.voltage_pu, taken, dt_s)
        if layout.forming and i == 0:
            store, order_mw, _ = battery.answer(b, store, order, its.converter_mw, number, dt_s)
            low_mw, high_mw = jnp.maximum(its.low_mw, -its.converter_mw), jnp.minimum(its.high_mw, its.converter_mw)
        else:
            store, limits = battery.step(b, store, order, its, number, dt_s)
            status = status | jnp.where(limits.power, POWER_LIMIT, 0) | jnp.where(limits.soc, SOC_LIMIT, 0)
        stores.append(store)
        powers.append(store.power_mw)
    if params.reactive is not None and not first:
        mvar = _mvar(params, state, meets, powers[0], dt_s)
    state = replace(state, batteries=tuple(stores), bess_mvar=None if params.reactive is None else mvar)
    power_mw = _total(powers) - auxiliary_mw(params)
    each = _each(params, start, powers) if layout.listed else Each(*(jnp.zeros(0, power_mw.dtype) for _ in range(3)))
    return state, Given(order_mw, power_mw, mvar, soc, status, low_mw, high_mw, each)


def formed(
    params: StorageParams, state: StorageState, power_mw: jax.Array, dt_s: float
) -> tuple[StorageState, jax.Array]:
    """Once the grid has said what the grid-forming main battery gave: state, and power at the terminals."""
    store = battery.settle(params.batteries[0], state.batteries[0], power_mw, dt_s)
    return replace(state, batteries=(store, *state.batteries[1:])), power_mw - auxiliary_mw(params)


def _ordered(
    layout: StorageLayout,
    params: StorageParams,
    state: StorageState,
    number: jax.Array,
    meets: Surroundings,
    soc: jax.Array,
    dt_s: float,
) -> tuple[StorageState, jax.Array]:
    """The controller's order from what it sees, without restoration of the states of charge."""
    load_mw, speed_pu, seen = meets.load_mw, meets.speed_pu, state.seen
    if params.measurement is not None and seen is not None:
        load_mw = seen.load_mw + lag_gain(params.measurement.filter_s, dt_s) * (load_mw - seen.load_mw)
        speed_pu = seen.speed_pu + lag_gain(params.measurement.pll_s, dt_s) * (speed_pu - seen.speed_pu)
        state = replace(state, seen=SeenState(load_mw, speed_pu))
    if params.controller is None:
        return state, jnp.zeros_like(load_mw)
    error = soc - _by_energy(params, [b.soc_initial for b in params.batteries])
    sees = controller.Seen(
        load_mw=load_mw,
        speed_pu=speed_pu,
        soc_error=error,
        rated_mw=_rated_mw(params),
        energy_mwh=_total([b.energy_mwh for b in params.batteries]),
        battery=state.batteries[0],
        starts=meets.starts,
        motion=meets.motion,
    )
    every = layout.period_ticks
    after, order_mw = controller.command(
        layout.controller, params.controller, state.controller, sees, number // every, every * dt_s
    )
    if state.order_mw is not None:
        acts = number % every == 0
        after = jax.tree.map(lambda new, old: jnp.where(acts, new, old), after, state.controller)
        order_mw = jnp.where(acts, order_mw, state.order_mw)
        state = replace(state, order_mw=order_mw)
    return replace(state, controller=after), order_mw


def _split(
    layout: StorageLayout, params: StorageParams, state: StorageState, order_mw: jax.Array, dt_s: float
) -> tuple[StorageState, list[jax.Array]]:
    """Order of each battery, its own restoration included: full batteries discharge."""
    orders = [jnp.zeros_like(order_mw) for _ in params.batteries]
    rest_mw, slow, place = order_mw, state.slow_mw, 0
    turns = -jnp.expm1(-2.0 * jnp.pi * dt_s * params.crossover_hz)
    steps = []
    for i, crosses in enumerate(layout.crossing):
        if crosses:
            steps.append(turns[i] * (rest_mw - slow.value[place]))
            below_mw = slow.value[place] + steps[-1]
            orders[i], rest_mw = rest_mw - below_mw, below_mw
            place += 1
    if steps:
        state = replace(state, slow_mw=compensated_add(slow, jnp.stack(steps)))
    shared = [i for i, crosses in enumerate(layout.crossing) if not crosses]
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


def _mvar(
    params: StorageParams,
    state: StorageState,
    meets: Surroundings,
    power_mw: jax.Array,
    dt_s: float,
) -> jax.Array:
    assert params.reactive is not None and state.bess_mvar is not None
    limit = params.batteries[0].apparent_mva
    apparent = params.reactive.rated_mva if limit is None else limit * meets.voltage_pu
    room = reactive.room_mvar(apparent * (1.0 - meets.lost), power_mw)
    return reactive.step(params.reactive, state.bess_mvar, meets.support_pu, room, dt_s)


def _each(params: StorageParams, start: tuple[battery.BatteryState, ...], powers: list[jax.Array]) -> Each:
    def celsius(b: battery.BatteryParams, s: battery.BatteryState) -> jax.Array:
        if b.thermal is None or s.warmer_k is None:
            return jnp.full_like(s.power_mw, jnp.nan)
        return b.thermal.ambient_c + s.warmer_k.value

    return Each(
        mw=jnp.stack([mw - b.auxiliary_mw for mw, b in zip(powers, params.batteries, strict=True)]),
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
