"""Accelerated `device_power`: blocks of devices small enough for the cache pass through all ticks, block by block.

Ticks go in groups of up to 32: one hash gives a device its innovations for a group, and a group in which no device of
the block has an event takes its levels as given. Blocks are spread over the host's devices where there are several.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from emulator.kernels.device_tick import (
    ABSENT,
    WORD,
    Devices,
    Drive,
    Settings,
    State,
    Switches,
    device_tick,
    filled_up,
    hashed,
    signed,
)

BLOCK = 512  # devices: their state and events stay in the first and second cache
LANES = 64  # sums are taken tick by tick over rows of so many devices,
KEPT = 16  # group by group over lanes until so many are left, and over those at the end
FEW = 4  # events under way in a group: more are rare, and cost what all of them cost


Means = tuple[jax.Array, jax.Array]  # of level and noise amplitude


def blocked_device_power(
    switches: Switches, settings: Settings, devices: Devices, state: State, drive: Drive, first_tick: jax.Array
) -> tuple[State, jax.Array]:
    """As `device_power.device_power`, sums only."""
    count = devices.gain.shape[0]
    rows = _rows(count)
    block = rows * LANES
    blocks = -(-count // block)

    def cut(x: jax.Array) -> jax.Array:
        """(..., devices) to (blocks, ..., rows, LANES)."""
        return jnp.moveaxis(x.reshape(*x.shape[:-1], blocks, rows, LANES), -3, 0)

    def join(x: jax.Array) -> jax.Array:
        return x.reshape(-1)[:count]

    its, before, wide = filled_up(blocks * block, devices, state, drive)
    parts = jax.tree.map(cut, (its, before, wide.tick, wide.fraction))

    def one(total: jax.Array, part: tuple) -> tuple[jax.Array, State]:
        its, before, tick, fraction = part
        after, sums = _block(switches, settings, its, before, drive._replace(tick=tick, fraction=fraction), first_tick)
        return total + sums, after

    ticks = drive.common.shape[0]
    total, after = jax.lax.scan(one, jnp.zeros((ticks, 2, KEPT), devices.gain.dtype), parts)
    return jax.tree.map(join, after), jnp.sum(total, axis=2)


def _rows(count: int) -> int:
    """Rows of a block: a power of two, so that sums halve."""
    rows = 1
    while rows * LANES < min(count, BLOCK):
        rows *= 2
    return rows


def _block(
    switches: Switches, settings: Settings, devices: Devices, state: State, drive: Drive, first_tick: jax.Array
) -> tuple[State, jax.Array]:
    """One block of devices, (rows, lanes), through all ticks: its state, and sums (ticks, 2, KEPT)."""
    ticks = drive.common.shape[0]
    length = max(g for g in range(1, WORD + 1) if ticks % g == 0)
    first = length * jnp.arange(ticks // length, dtype=jnp.int32)
    by_rows = jnp.moveaxis(drive.tick, 1, 0)
    earliest = jnp.min(_halved(by_rows, jnp.minimum), axis=1)
    latest = jnp.max(_halved(by_rows, jnp.maximum), axis=1)
    passed = latest[None, :] < first[:, None]
    under_way = ~passed & (earliest[None, :] < first[:, None] + length)

    def group(state: State, xs: tuple) -> tuple[State, jax.Array]:
        return _group(switches, settings, devices, drive, first_tick, state, xs)

    grouped = [x.reshape(-1, length) for x in (drive.common, drive.cap, drive.poll)]
    state, sums = jax.lax.scan(group, state, (first, passed, under_way, _first_few(under_way), *grouped))
    return state, sums.reshape(ticks, *sums.shape[2:])


def _first_few(marked: jax.Array) -> jax.Array:
    """(groups, FEW or less) which of (groups, events) are marked, in order; beyond their number anything."""
    events = marked.shape[1]
    place = jnp.where(marked, jnp.arange(events, dtype=jnp.int32), events)
    found = [jnp.min(place, axis=1)]
    for _ in range(min(FEW, events) - 1):
        found.append(jnp.min(jnp.where(place > found[-1][:, None], place, events), axis=1))
    return jnp.minimum(jnp.stack(found, axis=1), events - 1)


def _group(
    switches: Switches,
    settings: Settings,
    devices: Devices,
    drive: Drive,
    first_tick: jax.Array,
    state: State,
    xs: tuple[jax.Array, ...],
) -> tuple[State, jax.Array]:
    """One block through one group of ticks: its state, and sums (length, 2, KEPT).

    Args:
      xs: the group's first tick; (events,) whether all devices have passed each event before, and whether some pass it
        within; (FEW or less,) the first of those; (length,) series.
    """
    start, is_passed, is_under_way, which, *series = xs
    tick, length = first_tick + start, series[0].shape[0]
    word = _word(devices.key, tick) if switches.own else ABSENT
    before = (_sum_where(is_passed, drive.level_step), _sum_where(is_passed, drive.noise_step))

    def through(target: Callable[[jax.Array], Means], steady: bool, state: State) -> tuple[State, jax.Array]:
        """All ticks, with levels by `target`."""

        def step(state: State, ys: tuple[jax.Array, ...]) -> tuple[State, jax.Array]:
            k, *given = ys
            own = signed(word, k, settings.innovation) if switches.own else ABSENT
            args = switches, settings, devices.gain, state, target(k), given[0], own, given[1], given[2], steady
            state, power, demand = device_tick(*args)
            return state, jnp.stack([_halved(devices.weight * power), _halved(devices.weight * demand)])

        after, sums = jax.lax.scan(step, state, (jnp.arange(length, dtype=jnp.int32), *series))
        if steady:
            after = after._replace(floor=jnp.broadcast_to(settings.floor, after.floor.shape))
        if steady and switches.timers:
            after = after._replace(quiet=jnp.zeros_like(after.quiet), held=after.held + length)
        return after, sums

    def events(of: jax.Array | slice, here: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        """Times from the group's start, within it good to 2e-6 of a tick in float32, and steps where they are here."""
        since = (drive.tick[of] - start).astype(drive.fraction.dtype) + drive.fraction[of]
        return since, [jnp.where(here, x[of], 0.0) for x in (drive.level_step, drive.noise_step)]

    def calm(steady: bool, state: State) -> tuple[State, jax.Array]:
        return through(lambda k: before, steady, state)

    def one(steady: bool, state: State) -> tuple[State, jax.Array]:
        at, steps = events(which[0], jnp.asarray(True))
        return through(lambda k: _passing(before, at, steps, k), steady, state)

    def few(state: State) -> tuple[State, jax.Array]:
        at, steps = events(which, jnp.arange(which.shape[0]) < count)
        return through(lambda k: _means(before, at, steps, k), False, state)

    def many(state: State) -> tuple[State, jax.Array]:
        at, steps = events(slice(None), is_under_way)
        return through(lambda k: _means(before, at, steps, k), False, state)

    count = jnp.sum(is_under_way)
    branches = [functools.partial(calm, False), functools.partial(one, False), few, many]
    branch = jnp.where(count > FEW, 3, jnp.minimum(count, 2))
    if switches.smoothing:
        branches += [functools.partial(calm, True), functools.partial(one, True)]
        steady = _steady(switches, settings, devices.gain, state, drive, is_under_way, before, series[0])
        branch = jnp.where(steady & (count < 2), count + 4, branch)
    after, sums = jax.lax.switch(branch, branches, state)
    return after, _halved(jnp.moveaxis(sums.reshape(length, 2, LANES // KEPT, KEPT), 2, 0))


def _word(key: jax.Array, tick: jax.Array) -> jax.Array:
    """Bits of 32 ticks from `tick` on, the lowest first: the end of one hash and the beginning of the next."""
    at = (tick & 31).astype(jnp.uint32)
    return (hashed(key, tick >> 5) >> at) | (hashed(key, (tick >> 5) + 1) << 1 << (31 - at))


def _sum_where(which: jax.Array, values: jax.Array) -> jax.Array:
    return jnp.sum(jnp.where(which, values, 0.0))


def _steady(
    switches: Switches,
    settings: Settings,
    gain: jax.Array,
    state: State,
    drive: Drive,
    under_way: jax.Array,
    before: Means,
    common: jax.Array,
) -> jax.Array:
    """True where all devices have their floors at the top and, whatever their own fluctuations, stay active."""
    lowest = before[0] + _sum_where(under_way, jnp.minimum(drive.level_step, 0.0))
    amplitude = jnp.abs(before[1]) + _sum_where(under_way, jnp.abs(drive.noise_step))
    swing = settings.coherent * jnp.max(jnp.abs(common))
    if switches.own:
        swing = swing + settings.incoherent * (jnp.abs(state.own) + common.shape[0] * settings.innovation)
    least = gain * (jnp.minimum(state.level, lowest) - amplitude * swing)
    seen = least if not switches.averaged else jnp.minimum(least, state.seen)
    so = (state.floor >= settings.floor) & (gain > 0.0) & (seen > settings.active_above)
    return jnp.all(_halved(so, jnp.logical_and))


def _passing(before: Means, at: jax.Array, steps: list[jax.Array], k: jax.Array) -> Means:
    """As `_means`, with one event."""
    share = jnp.clip((k + 1).astype(at.dtype) - at, 0.0, 1.0)
    return before[0] + steps[0] * share, before[1] + steps[1] * share


def _means(before: Means, at: jax.Array, steps: list[jax.Array], k: jax.Array) -> Means:
    """As `tick_means` in tick k of the group, on top of what all devices have passed before it.

    Args:
      at: (events, rows, lanes) time of each event from the group's start, ticks.
      steps: (events,) changes of level and noise amplitude.
    """
    zero = jnp.zeros(at.shape[1:], at.dtype)

    def event(means: Means, xs: tuple[jax.Array, ...]) -> tuple[Means, None]:
        since, *steps = xs
        return _passing(means, since, steps, k), None

    # A loop, not a sum: fused into its several uses a sum would be computed once for each.
    return jax.lax.scan(event, (before[0] + zero, before[1] + zero), (at, *steps))[0]


def _halved(x: jax.Array, add: Callable[[jax.Array, jax.Array], jax.Array] = jnp.add) -> jax.Array:
    """Sum over rows, (rows, ...) to (...), as a tree: vectorises where a reduction would not."""
    while x.shape[0] > 1:
        half = x.shape[0] // 2
        x = add(x[:half], x[half:])
    return x[0]
