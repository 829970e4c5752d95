"""One tick of nonlinear devices: what `device_power` and its accelerated versions share.

Powers are shares of a device's range, times are ticks. Arrays over devices may have any shape; settings are scalars.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

WORD = 2**5  # ticks that draw from one hash, a bit each
ABSENT: Any = None  # in place of an array that the switches leave unused


class Switches(NamedTuple):
    """Which effects there are; hashable. An effect that is absent costs nothing."""

    noisy: bool
    own: bool  # fluctuation of each device's own
    smoothing: bool
    timers: bool  # smoothing waits before it ramps down
    averaged: bool  # smoothing decides on a running mean
    dummy: bool
    cap: bool


class Settings(NamedTuple):
    """Numbers common to all devices."""

    response: jax.Array  # share of the remaining way that power covers in a tick
    mean_response: jax.Array  # share of that way that it covers in the mean over the tick
    coherent: jax.Array  # sqrt(rho)
    incoherent: jax.Array  # sqrt(1 - rho)
    fade: jax.Array  # exp(-dt/T_n)
    innovation: jax.Array  # sqrt(1 - fade^2)
    floor: jax.Array
    rest_floor: jax.Array  # remains while inactive
    up: jax.Array  # ramp of floor and ceiling, per tick
    down: jax.Array  # likewise
    ceiling: jax.Array  # infinite = none
    width: jax.Array  # of the band between floor and ceiling while these ramp
    active_above: jax.Array
    averaging: jax.Array  # share of the remaining way that the running mean covers in a tick
    stop_ticks: jax.Array  # without activity before the floor ramps down
    hold_ticks: jax.Array  # at the floor before it may ramp down
    dummy_floor: jax.Array
    dummy_ticks: jax.Array  # from dip to filling


class Devices(NamedTuple):
    """What tells devices apart."""

    gain: jax.Array
    weight: jax.Array  # in the sums
    key: jax.Array  # uint32, of the device's own draws


class State(NamedTuple):
    """What a device carries from tick to tick; ABSENT where its effect is."""

    level: jax.Array
    own: jax.Array
    floor: jax.Array
    seen: jax.Array  # running mean of the demand, by which activity is judged
    quiet: jax.Array  # ticks without activity
    held: jax.Array  # ticks at the floor
    dip: jax.Array  # ticks below the dummy work's floor
    filling: jax.Array  # 1 while dummy work runs


class Drive(NamedTuple):
    """What changes in time."""

    tick: jax.Array  # (events, devices) int32, from the window's first tick; may lie outside it
    fraction: jax.Array  # (events, devices) position within that tick, 0 to 1, or below 0 by rounding
    level_step: jax.Array  # (events,)
    noise_step: jax.Array  # (events,) change of the noise amplitude
    common: jax.Array  # (ticks,) fluctuation that all devices share
    cap: jax.Array  # (ticks,)
    poll: jax.Array  # (ticks,) true where dummy work looks at the load


def at_rest(switches: Switches, count: int, dtype: jnp.dtype) -> State:
    """State of devices that have done nothing yet."""
    zero, of = jnp.zeros(count, dtype), switches
    return State(
        level=zero,
        own=zero if of.own else ABSENT,
        floor=zero if of.smoothing else ABSENT,
        seen=zero if of.averaged else ABSENT,
        quiet=zero if of.timers else ABSENT,
        held=zero if of.timers else ABSENT,
        dip=zero if of.dummy else ABSENT,
        filling=zero if of.dummy else ABSENT,
    )


def settled(switches: Switches, settings: Settings, devices: Devices, state: State, level: jax.Array) -> State:
    """State of devices that have drawn this level for long, with a fluctuation drawn by the device's key."""
    demand = devices.gain * level
    state = state._replace(level=level)
    if switches.own:
        word = hashed(devices.key, jnp.asarray(-1, jnp.int32))
        state = state._replace(own=jnp.sqrt(2.0) * jax.lax.erf_inv(even(word, level.dtype)))
    if switches.averaged:
        state = state._replace(seen=demand)
    if switches.smoothing:
        active = demand > settings.active_above
        state = state._replace(floor=jnp.where(active, settings.floor, settings.rest_floor))
        if switches.timers:
            quiet, held = jnp.where(active, 0.0, settings.stop_ticks + 1.0), settings.hold_ticks + 1.0
            state = state._replace(quiet=quiet, held=jnp.where(state.floor >= settings.floor, held, 0.0))
    if switches.dummy:
        dips = demand < settings.dummy_floor
        dip, filling = jnp.where(dips, settings.dummy_ticks + 1.0, 0.0), dips.astype(level.dtype)
        state = state._replace(dip=dip, filling=filling)
    return state


def filled_up(count: int, devices: Devices, state: State, drive: Drive) -> tuple[Devices, State, Drive]:
    """`count` devices: beyond those that there are copies of the last one, with weight 0, so that no sum changes."""

    def copied(x: jax.Array) -> jax.Array:
        return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, beyond)], mode="edge")

    beyond = count - devices.gain.shape[0]
    its, state, tick, fraction = jax.tree.map(copied, (devices, state, drive.tick, drive.fraction))
    its = its._replace(weight=jnp.pad(devices.weight, (0, beyond)))
    return its, state, drive._replace(tick=tick, fraction=fraction)


def tick_means(drive: Drive, n: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean level and noise amplitude of every device in tick n of the window.

    A step at tick + fraction counts in its own tick for the part that is left: clip(n + 1 - t, 0, 1) as in
    `passed_share`.
    """
    level = noise = jnp.zeros(drive.tick.shape[1:], drive.fraction.dtype)
    for k in range(drive.tick.shape[0]):
        passed = share_passed(drive.tick[k], drive.fraction[k], n)
        level = level + drive.level_step[k] * passed
        noise = noise + drive.noise_step[k] * passed
    return level, noise


def share_passed(tick: jax.Array, fraction: jax.Array, n: jax.Array) -> jax.Array:
    """Share of tick n for which an event has passed."""
    return jnp.clip((n + 1 - tick).astype(fraction.dtype) - fraction, 0.0, 1.0)


def hashed(key: jax.Array, count: jax.Array) -> jax.Array:
    """32 bits that depend on key and count alone. Reference: lowbias32, Wellons, nullprogram.com/blog/2018/07/31."""
    x = key ^ (count.astype(jnp.uint32) * jnp.uint32(0x9E3779B9))
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def even(word: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Draws even on (-1, 1) from words: the middles of 2^23 bins, exact in float32 and never an end."""
    return ((word >> 9).astype(jnp.int32).astype(dtype) + 0.5) * 2.0**-22 - 1.0


def signed(word: jax.Array, bit: jax.Array, size: jax.Array) -> jax.Array:
    """+size or -size by a bit of the word."""
    up = (word >> bit.astype(jnp.uint32)) & jnp.uint32(1)
    return jnp.where(up == 1, size, -size)


def innovations(settings: Settings, key: jax.Array, tick: jax.Array) -> jax.Array:
    """Each device's own innovation in a tick."""
    return signed(hashed(key, tick >> 5), tick & 31, settings.innovation)


def device_tick(
    switches: Switches,
    settings: Settings,
    gain: jax.Array,
    state: State,
    target: tuple[jax.Array, jax.Array],
    common: jax.Array,
    own_innovation: jax.Array,
    cap: jax.Array,
    poll: jax.Array,
    steady: bool = False,
) -> tuple[State, jax.Array, jax.Array]:
    """State after the tick, power and demand. `target` holds tick means of level and noise amplitude; `steady` says
    that the caller knows all devices to be active with their floors at the top, and keeps their timers.

    Smoothing: the floor ramps up while the device is active and down once it has been inactive for `stop_ticks` and at
    the floor for `hold_ticks`; while it is below its full height it goes down at once when activity ends. Meanwhile a
    ceiling moves with it. Reference: arXiv 2508.14318, section IV-B, Figures 4 and 6. Power is limited by floor and
    ceiling in the middle of the tick, and activity is told by the tick's mean level, though its end is taken for power:
    so ramps have their energy whatever the tick, and begin up to half a tick early as often as late.
    """
    way = target[0] - state.level
    level = state.level + settings.response * way
    state = state._replace(level=level)
    if switches.noisy:
        mix = settings.coherent * common
        if switches.own:
            own = settings.fade * state.own + own_innovation
            state = state._replace(own=own)
            mix = mix + settings.incoherent * own
        level = level + target[1] * mix
    power = demand = gain * level
    if switches.smoothing:
        later = gain * (settings.response - settings.mean_response) * way
        state, power = _smoothed(switches, settings, state, demand, demand - later, steady)
    if switches.dummy:
        dip = jnp.where(demand < settings.dummy_floor, state.dip + 1.0, 0.0)
        filling = jnp.where(poll, (dip > settings.dummy_ticks).astype(dip.dtype), state.filling)
        power = jnp.where(filling > 0.0, jnp.maximum(power, settings.dummy_floor), power)
        state = state._replace(dip=dip, filling=filling)
    if switches.cap:
        power = jnp.minimum(power, cap)
    return state, power, demand


def _smoothed(
    switches: Switches, settings: Settings, state: State, demand: jax.Array, seen: jax.Array, steady: bool
) -> tuple[State, jax.Array]:
    if switches.averaged:
        seen = state.seen + settings.averaging * (seen - state.seen)
        state = state._replace(seen=seen)
    if steady:
        return state, limited(demand, settings.floor, settings.ceiling)
    active = seen > settings.active_above
    step = jnp.where(active, settings.up, -settings.down)
    if switches.timers:
        at_top = state.floor >= settings.floor
        quiet = jnp.where(active, 0.0, state.quiet + 1.0)
        held = jnp.where(at_top, state.held + 1.0, 0.0)
        waits = at_top & ((quiet <= settings.stop_ticks) | (held <= settings.hold_ticks))
        step = jnp.where(waits & ~active, 0.0, step)
        state = state._replace(quiet=quiet, held=held)
    floor = jnp.clip(state.floor + step, settings.rest_floor, settings.floor)
    middle = 0.5 * (state.floor + floor)
    ceiling = jnp.minimum(jnp.where(floor < settings.floor, middle + settings.width, jnp.inf), settings.ceiling)
    return state._replace(floor=floor), limited(demand, middle, ceiling)


def limited(demand: jax.Array, floor: jax.Array, ceiling: jax.Array) -> jax.Array:
    """Demand held between floor and ceiling; the floor wins."""
    return jnp.maximum(jnp.minimum(demand, ceiling), floor)
