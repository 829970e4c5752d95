"""Accelerated `device_power`: blocks of devices small enough for the cache pass through all ticks, block by block.

Ticks go in groups of up to 32: one hash gives a device its innovations for a group, and a group in which no device of
the block has an event takes its levels as given. Blocks are spread over the host's devices where there are several.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from emulator.kernels.device_tick import (
    ABSENT,
    Devices,
    Drive,
    Settings,
    State,
    Switches,
    device_tick,
    hashed,
    signed,
)

BLOCK = 512  # devices: their state and events stay in the first and second cache
LANES = 64  # sums are taken over rows of so many devices, and over the lanes at the end
WORD = 32
FEW = 4  # events under way in a group: more are rare, and cost what all of them cost


Means = tuple[jax.Array, jax.Array]  # of level and noise amplitude


def blocked_device_power(
    switches: Switches, settings: Settings, devices: Devices, state: State, drive: Drive, first_tick: jax.Array
) -> tuple[State, jax.Array]:
    """As `device_power.device_power`, sums only."""
    count = devices.gain.shape[0]
    lanes = min(LANES, count)
    rows = _rows(count, lanes)
    block = rows * lanes
    blocks = -(-count // block)
    padding = blocks * block - count

    def cut(x: jax.Array) -> jax.Array:
        """(..., devices) to (blocks, ..., rows, lanes), filled up with copies of the last device."""
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, padding)], mode="edge")
        return jnp.moveaxis(x.reshape(*x.shape[:-1], blocks, rows, lanes), -3, 0)

    def nothing(weight: jax.Array) -> jax.Array:
        """Weights, with none for what was filled up."""
        return jnp.where(jnp.arange(blocks * block).reshape(weight.shape) < count, weight, 0.0)

    def join(x: jax.Array) -> jax.Array:
        return x.reshape(-1)[:count]

    parts = jax.tree.map(cut, (devices, state, drive.tick, drive.fraction))

    def one(total: jax.Array, part: tuple) -> tuple[jax.Array, State]:
        its, before, tick, fraction = part
        after, sums = _block(switches, settings, its, before, drive._replace(tick=tick, fraction=fraction), first_tick)
        return total + sums, after

    parts = (parts[0]._replace(weight=nothing(parts[0].weight)), *parts[1:])
    ticks = drive.common.shape[0]
    total, after = jax.lax.scan(one, jnp.zeros((ticks, 2), devices.gain.dtype), parts)
    return jax.tree.map(join, after), total


def _rows(count: int, lanes: int) -> int:
    """Rows of a block: a power of two, so that sums halve."""
    rows = 1
    while rows * lanes < min(count, BLOCK):
        rows *= 2
    return rows


def _block(
    switches: Switches, settings: Settings, devices: Devices, state: State, drive: Drive, first_tick: jax.Array
) -> tuple[State, jax.Array]:
    """One block of devices, (rows, lanes), through all ticks: its state, and sums (ticks, 2)."""
    ticks = drive.common.shape[0]
    length = max(g for g in range(1, WORD + 1) if ticks % g == 0)
    first = length * jnp.arange(ticks // length, dtype=jnp.int32)
    earliest, latest = (reduce(drive.tick, axis=(1, 2)) for reduce in (jnp.min, jnp.max))
    passed = latest[None, :] < first[:, None]
    under_way = ~passed & (earliest[None, :] < first[:, None] + length)

    def group(state: State, xs: tuple) -> tuple[State, jax.Array]:
        return _group(switches, settings, devices, drive, first_tick, state, xs)

    grouped = [x.reshape(-1, length) for x in (drive.common, drive.cap, drive.poll)]
    state, sums = jax.lax.scan(group, state, (first, passed, under_way, jnp.argsort(~under_way, axis=1), *grouped))
    return state, sums.reshape(ticks, 2)


def _group(
    switches: Switches,
    settings: Settings,
    devices: Devices,
    drive: Drive,
    first_tick: jax.Array,
    state: State,
    xs: tuple[jax.Array, ...],
) -> tuple[State, jax.Array]:
    """One block through one group of ticks: its state, and sums (length, 2).

    Args:
      xs: the group's first tick; (events,) whether all devices have passed each event before, whether some pass it
        within, and the order in which those come first; (length,) series.
    """
    start, is_passed, is_under_way, which, *series = xs
    tick, length = first_tick + start, series[0].shape[0]
    words = (hashed(devices.key, tick >> 5), hashed(devices.key, (tick >> 5) + 1)) if switches.own else ABSENT
    before = (_sum_where(is_passed, drive.level_step), _sum_where(is_passed, drive.noise_step))
    steps = [jnp.where(is_under_way, x, 0.0)[which] for x in (drive.level_step, drive.noise_step)]
    few = min(FEW, drive.tick.shape[0])

    def through(target: Callable[[jax.Array], Means], steady: bool, state: State) -> tuple[State, jax.Array]:
        """All ticks, with levels by `target`."""

        def step(state: State, ys: tuple[jax.Array, ...]) -> tuple[State, jax.Array]:
            k, *given = ys
            own = _innovations(settings, words, (tick & 31) + k) if switches.own else ABSENT
            args = switches, settings, devices.gain, state, target(k), given[0], own, given[1], given[2], steady
            state, power, demand = device_tick(*args)
            return state, jnp.stack([_halved(devices.weight * power), _halved(devices.weight * demand)])

        after, sums = jax.lax.scan(step, state, (jnp.arange(length, dtype=jnp.int32), *series))
        if steady:
            after = after._replace(floor=jnp.broadcast_to(settings.floor, after.floor.shape))
        if steady and switches.timers:
            after = after._replace(quiet=jnp.zeros_like(after.quiet), held=after.held + length)
        return after, sums

    def times(events: int) -> jax.Array:
        """From the group's start: within it float32 keeps them to 2e-6 of a tick."""
        near = which[:events]
        since = (drive.tick[near] - start).astype(drive.fraction.dtype) + drive.fraction[near]
        return jnp.where(is_under_way[near][:, None, None], since, -1.0)

    def calm(steady: bool, state: State) -> tuple[State, jax.Array]:
        return through(lambda k: before, steady, state)

    def often(state: State) -> tuple[State, jax.Array]:
        at = times(drive.tick.shape[0])
        return through(lambda k: _means(before, at, steps, k), False, state)

    def busy(steady: bool, state: State) -> tuple[State, jax.Array]:
        single, alone = _single(before, times(few), [x[:few] for x in steps], length)
        return jax.lax.cond(alone, functools.partial(through, single.means, steady), often, state)

    branches = [functools.partial(calm, False), functools.partial(busy, False), often]
    under = jnp.sum(is_under_way)
    branch = jnp.where(under == 0, 0, jnp.where(under <= few, 1, 2))
    if switches.smoothing:
        branches += [functools.partial(calm, True), functools.partial(busy, True)]
        steady = _steady(switches, settings, devices.gain, state, drive, is_under_way, before, series[0])
        branch = jnp.where(steady & (branch < 2), branch + 3, branch)
    after, sums = jax.lax.switch(branch, branches, state)
    return after, jnp.sum(sums, axis=2)


def _innovations(settings: Settings, words: tuple[jax.Array, jax.Array], place: jax.Array) -> jax.Array:
    """Those of one tick from the hashes of its 32 ticks and the 32 after them."""
    return signed(jnp.where(place < WORD, words[0], words[1]), place & 31, settings.innovation)


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
    return jnp.all((state.floor >= settings.floor) & (gain > 0.0) & (seen > settings.active_above))


class _Single(NamedTuple):
    """Devices of which each has at most one event in the group."""

    before: Means  # (rows, lanes) each
    at: jax.Array  # of the event, from the group's start
    step: Means

    def means(self, k: jax.Array) -> Means:
        """As `tick_means` in tick k of the group."""
        share = jnp.clip((k + 1).astype(self.at.dtype) - self.at, 0.0, 1.0)
        return self.before[0] + self.step[0] * share, self.before[1] + self.step[1] * share


def _single(before: Means, at: jax.Array, steps: list[jax.Array], length: int) -> tuple[_Single, jax.Array]:
    """The one event of each device, and whether indeed none has more. Arguments as of `_means`."""
    zero = jnp.zeros(at.shape[1:], at.dtype)
    level, noise, when, level_step, noise_step, count = before[0] + zero, before[1] + zero, zero, zero, zero, zero
    for k in range(at.shape[0]):
        over = at[k] < 0.0
        inside = ~over & (at[k] < length)
        level = level + jnp.where(over, steps[0][k], 0.0)
        noise = noise + jnp.where(over, steps[1][k], 0.0)
        level_step = jnp.where(inside, steps[0][k], level_step)
        noise_step = jnp.where(inside, steps[1][k], noise_step)
        when = jnp.where(inside, at[k], when)
        count = count + jnp.where(inside, 1.0, 0.0)
    return _Single((level, noise), when, (level_step, noise_step)), jnp.all(count <= 1.0)


def _means(before: Means, at: jax.Array, steps: list[jax.Array], k: jax.Array) -> Means:
    """As `tick_means` in tick k of the group, on top of what all devices have passed before it.

    Args:
      at: (events, rows, lanes) time of each event from the group's start, ticks.
      steps: (events,) changes of level and noise amplitude.
    """
    zero = jnp.zeros(at.shape[1:], at.dtype)

    def event(means: Means, xs: tuple[jax.Array, ...]) -> tuple[Means, None]:
        since, level_step, noise_step = xs
        share = jnp.clip((k + 1).astype(since.dtype) - since, 0.0, 1.0)
        return (means[0] + level_step * share, means[1] + noise_step * share), None

    # A loop, not a sum: fused into its several uses a sum would be computed once for each.
    return jax.lax.scan(event, (before[0] + zero, before[1] + zero), (at, *steps))[0]


def _halved(x: jax.Array) -> jax.Array:
    """Sum over rows, (rows, lanes) to (lanes,), as a tree: vectorises where a reduction would not."""
    while x.shape[0] > 1:
        half = x.shape[0] // 2
        x = x[:half] + x[half:]
    return x[0]
