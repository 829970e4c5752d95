"""Kernel `device_power`: accelerated versions equal the definition; its draws; its state machine."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emulator.kernels import device_power_blocked as blocked
from emulator.kernels.device_power import device_power
from emulator.kernels.device_tick import (
    Devices,
    Drive,
    Settings,
    State,
    Switches,
    at_rest,
    settled,
)

NONE = Switches(noisy=False, own=False, smoothing=False, timers=False, averaged=False, dummy=False, cap=False)
ALL = Switches(*(True for _ in Switches._fields))
FIRST = 32 * 7 + 13  # of the window: words of the hash end within groups of ticks

# (what there is, devices, ticks). 192 ticks go in groups of 32, 97 is prime: groups of 1.
CASES = {
    "linear": (NONE, 1000, 96),
    "common noise, cap": (NONE._replace(noisy=True, cap=True), 63, 96),
    "own noise": (NONE._replace(noisy=True, own=True), 1500, 96),
    "smoothing": (NONE._replace(smoothing=True), 1, 192),
    "smoothing, waits, dummy": (NONE._replace(smoothing=True, timers=True, dummy=True), 63, 97),
    "smoothing, averaged, own noise, cap": (ALL._replace(timers=False, dummy=False), 600, 192),
}

# Ticks of the events before spreading, and their steps of level and noise amplitude. In groups of 32 ticks from 0: one
# event under way; a fall and a rise; more than FEW, all small; none, steady; two of one device in a group, steady; a
# fall in the end.
EVENTS = [
    (-60, 0.9, 0.02), (-20, -0.8, -0.01), (-9, 0.8, 0.01), (20, 0.05, 0.0), (36, -0.75, 0.01), (52, 0.65, -0.01),
    *((64 + 5 * k, 0.02 * (-1) ** k, 0.002) for k in range(5)), (130, 0.04, 0.0), (140, -0.03, 0.0),
    (165, -0.75, -0.01), (189, 0.5, 0.0), (230, 0.4, 0.1),
]  # fmt: skip


class Made(NamedTuple):
    """Arguments of the kernel between its switches and its first tick."""

    settings: Settings
    devices: Devices
    state: State
    drive: Drive


def made(switches: Switches, count: int, ticks: int) -> Made:
    dtype = jnp.result_type(float)
    rng = np.random.default_rng(count + ticks)
    settings = Settings(
        response=0.3, coherent=0.6, incoherent=0.8, fade=0.95, innovation=np.sqrt(1 - 0.95**2), floor=0.6,
        rest_floor=0.05, up=0.03, down=0.02, ceiling=0.93, width=0.2, active_above=0.3, averaging=0.4, stop_ticks=3.0,
        hold_ticks=115.0, dummy_floor=0.5, dummy_ticks=4.0,
    )  # fmt: skip
    at, level, noise = (np.array(x) for x in zip(*EVENTS, strict=True))
    device = Devices(
        gain=jnp.asarray(1 + 0.03 * rng.normal(size=count), dtype),
        weight=jnp.asarray(rng.uniform(0.5, 1.5, count) / count, dtype),
        key=jnp.asarray(rng.integers(0, 2**32, count, dtype=np.uint32)),
    )
    drive = Drive(
        tick=jnp.asarray(at[:, None] + rng.integers(0, 4, (len(EVENTS), count)), jnp.int32),
        fraction=jnp.asarray(rng.uniform(size=(len(EVENTS), count)), dtype),
        level_step=jnp.asarray(level, dtype),
        noise_step=jnp.asarray(noise, dtype),
        common=jnp.asarray(rng.normal(size=ticks), dtype),
        cap=jnp.asarray(np.where(np.arange(ticks) % 50 < 20, 0.72, np.inf), dtype),
        poll=jnp.arange(ticks) % 7 == 0,
    )
    numbers = Settings(*(jnp.asarray(x, dtype) for x in settings))
    start = settled(switches, numbers, device, at_rest(switches, count, dtype), jnp.full(count, 0.9, dtype))
    return Made(numbers, device, start, drive)


@functools.partial(jax.jit, static_argnums=0, static_argnames=("method", "keep"))
def power_of(switches: Switches, args: Made, first: jax.Array, method: str, keep: bool = False):
    return device_power(switches, *args, first, keep, method)


def assert_close(one, other, atol: float) -> None:
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


def test_events_reach_every_branch():
    """Groups of 32 ticks with 0, 1 to FEW and more events under way."""
    tick = np.asarray(made(NONE, 63, 192).drive.tick)
    first = 32 * np.arange(6)[:, None]
    under_way = ((tick.max(1) >= first) & (tick.min(1) < first + 32)).sum(1)
    assert 0 in under_way and under_way.max() > blocked.FEW and ((under_way > 0) & (under_way < blocked.FEW)).any()


@pytest.mark.parametrize("case", CASES)
def test_parity(x64, case):
    """Blocks against the definition: sums, and the state that every device is left in.

    Some hundred roundings of numbers of order 1 in each device's recurrences, some thousand in the sums: 1e-13. Times
    from the group's start instead of the window's: 200 x 1e-16. Counters go to 200 by whole numbers.
    """
    switches, count, ticks = CASES[case]
    args = made(switches, count, ticks)
    found, expected = (power_of(switches, args, FIRST, method=m) for m in ("blocked", "dense"))
    assert found[1].shape == (ticks, 2)
    assert_close(found, expected, 1e-12)
    power, demand = np.asarray(expected[1]).T
    assert np.ptp(demand) > 0.3 and (np.abs(power - demand).max() > 0.05) == (switches.smoothing or switches.cap)


def test_parity_in_float32():
    """Times within a group of 32 are good to 2^-19 of a tick, 2e-6, steps are 0.8 at most, slopes of the limits 1."""
    args = made(ALL, 100, 96)
    found, expected = (power_of(ALL, args, FIRST, method=m)[1] for m in ("blocked", "dense"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=4e-6)


def slopes(switches: Switches, args: Made, method: str):
    """State, sums, and the gradient of a sum of them all, each with its own factor, to everything that is a float."""

    def total(args: Made) -> tuple[jax.Array, tuple]:
        state, sums = device_power(switches, *args, jnp.int32(FIRST), method=method)
        rng = np.random.default_rng(5)
        parts = [sums, state.level, *(x for x in (state.own, state.floor, state.seen) if x is not None)]
        return sum(jnp.vdot(jnp.asarray(rng.normal(size=x.shape), x.dtype), x) for x in parts), (state, sums)

    found, values = jax.jit(jax.grad(total, allow_int=True, has_aux=True))(args)
    return jax.tree.map(lambda x: x if jnp.issubdtype(x.dtype, jnp.floating) else None, found), values


def test_parity_with_gradients(x64):
    """All effects, two blocks. To settings, gains, weights, first states, fractions, steps, fluctuation and cap.

    A slope adds up 192 ticks x (devices or events) terms of order 1: 1e-11.
    """
    args = made(ALL, 600, 192)
    (found, values), (expected, its) = (slopes(ALL, args, m) for m in ("blocked", "dense"))
    assert_close(values, its, 1e-12)
    assert_close(found, expected, 1e-10)
    of = expected[0]
    moved = [of.response, of.coherent, of.incoherent, of.fade, of.innovation, of.floor, of.up, of.down, of.ceiling]
    assert np.abs([*moved, of.width, of.dummy_floor]).min() > 1e-6
    assert all(np.abs(x).max() > 1e-6 for x in (expected[1].gain, expected[3].fraction, expected[3].level_step))
