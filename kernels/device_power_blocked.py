"""Accelerated `device_power`: blocks of devices small enough for the cache pass through all ticks, block by block.

Ticks go in groups of up to 32: one hash gives a device its innovations for a group, and a group in which no device of
the block has an event takes its levels as given. Blocks are spread over the host's devices where there are several.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from emulator.kernels.device_tick import (
    Devices,
    Drive,
    Settings,
    State,
    Switches,
    device_tick,
    hashed,
    share_passed,
    signed,
)

BLOCK = 1024  # devices: their state and events stay in the first and second cache
LANES = 64  # sums are taken over rows of so many devices, and over the lanes at the end
WORD = 32
FEW = 3  # events under way at a time: more are rare, and cost what all of them cost


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
    total, after = jax.lax.scan(one, jnp.zeros((ticks, 2, lanes), devices.gain.dtype), parts)
    return jax.tree.map(join, after), jnp.sum(total, axis=2)


def _rows(count: int, lanes: int) -> int:
    """Rows of a block: a power of two, so that sums halve."""
    rows = 1
    while rows * lanes < min(count, BLOCK):
        rows *= 2
    return rows


def _block(
    switches: Switches, settings: Settings, devices: Devices, state: State, drive: Drive, first_tick: jax.Array
) -> tuple[State, jax.Array]:
    """One block of devices, (rows, lanes), through all ticks: its state, and sums (ticks, 2, lanes)."""
    ticks = drive.common.shape[0]
    length = max(g for g in range(1, WORD + 1) if ticks % g == 0)
    first = length * jnp.arange(ticks // length, dtype=jnp.int32)
    earliest, latest = (reduce(drive.tick, axis=(1, 2)) for reduce in (jnp.min, jnp.max))
    passed = latest[None, :] < first[:, None]
    under_way = ~passed & (earliest[None, :] < first[:, None] + length)
    within = jnp.arange(length, dtype=jnp.int32)

    def group(state: State, xs: tuple) -> tuple[State, jax.Array]:
        start, is_passed, is_under_way, *given = xs
        tick = first_tick + start
        words = (hashed(devices.key, tick >> 5), hashed(devices.key, (tick >> 5) + 1)) if switches.own else None
        before = tuple(jnp.sum(jnp.where(is_passed, step, 0.0)) for step in (drive.level_step, drive.noise_step))

        def step(state: State, target: tuple[jax.Array, jax.Array], ys: tuple) -> tuple[State, jax.Array]:
            k, common, cap, poll = ys
            own = None
            if words is not None:
                place = (tick & 31) + k
                own = signed(jnp.where(place < WORD, words[0], words[1]), place & 31, settings.innovation)
            state, power, demand = device_tick(switches, settings, devices.gain, state, target, common, own, cap, poll)
            return state, jnp.stack([_halved(devices.weight * power), _halved(devices.weight * demand)])

        def calm(state: State) -> tuple[State, jax.Array]:
            return jax.lax.scan(lambda s, ys: step(s, before, ys), state, inner)

        def busy(slots: int, state: State) -> tuple[State, jax.Array]:
            which = jnp.argsort(~is_under_way)[:slots]
            few = Drive(
                tick=drive.tick[which],
                fraction=drive.fraction[which],
                level_step=jnp.where(is_under_way, drive.level_step, 0.0)[which],
                noise_step=jnp.where(is_under_way, drive.noise_step, 0.0)[which],
                common=drive.common,
                cap=drive.cap,
                poll=drive.poll,
            )
            return jax.lax.scan(lambda s, ys: step(s, _means(few, start + ys[0], before), ys), state, inner)

        inner = (within, *given)
        events = drive.tick.shape[0]
        branches = [calm, *(functools.partial(busy, slots) for slots in sorted({min(FEW, events), events}))]
        count = jnp.sum(is_under_way)
        branch = jnp.where(count == 0, 0, jnp.where(count <= FEW, 1, len(branches) - 1))
        return jax.lax.switch(branch, branches, state)

    grouped = [x.reshape(-1, length) for x in (drive.common, drive.cap, drive.poll)]
    state, sums = jax.lax.scan(group, state, (first, passed, under_way, *grouped))
    return state, sums.reshape(ticks, 2, -1)


def _means(drive: Drive, n: jax.Array, before: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """As `tick_means`, on top of what all devices have passed before the group."""
    zero = jnp.zeros(drive.tick.shape[1:], drive.fraction.dtype)

    def event(means: tuple[jax.Array, jax.Array], xs: tuple) -> tuple[tuple[jax.Array, jax.Array], None]:
        tick, fraction, level_step, noise_step = xs
        share = share_passed(tick, fraction, n)
        return (means[0] + level_step * share, means[1] + noise_step * share), None

    # A loop, not a sum: fused into its several uses a sum would be computed once for each.
    xs = (drive.tick, drive.fraction, drive.level_step, drive.noise_step)
    return jax.lax.scan(event, (before[0] + zero, before[1] + zero), xs)[0]


def _halved(x: jax.Array) -> jax.Array:
    """Sum over rows, (rows, lanes) to (lanes,), as a tree: vectorises where a reduction would not."""
    while x.shape[0] > 1:
        half = x.shape[0] // 2
        x = x[:half] + x[half:]
    return x[0]
