"""When each device does what: the events of one bulk-synchronous iteration.

All devices leave the barrier that starts the iteration, live through the phases at their own pace and wait, where a
phase ends at a barrier, for the slowest. Times count from the iteration's start.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from emulator.cluster.workload import Iteration, WorkloadParams, even, normal_of
from emulator.struct import quantity, static, struct


@struct
class PhaseLayout:
    """Which effects a phase has; an effect that is absent costs nothing."""

    barrier: bool = static()
    spread: bool = static()
    skew: bool = static()


@struct
class JobTime:
    """A point in time that keeps its precision for days: whole ticks and the fraction of the next."""

    tick: jax.Array = quantity("tick")
    fraction: jax.Array = quantity("tick")


class Passage(NamedTuple):
    """An event of an iteration: entering a phase, or beginning to wait at its end."""

    after_s: jax.Array  # from the iteration's start: (devices,), or () where all devices pass together
    phase: int
    waits: bool


def later(start: JobTime, after_s: jax.Array, dt_s: float) -> JobTime:
    """The point in time `after_s` after `start`, element by element."""
    ticks = start.fraction + after_s / dt_s
    whole = jnp.floor(ticks)
    return JobTime(tick=start.tick + whole.astype(start.tick.dtype), fraction=ticks - whole)


def passages(
    phases: tuple[PhaseLayout, ...], params: WorkloadParams, iteration: Iteration, key: jax.Array, devices: int
) -> tuple[list[Passage], jax.Array]:
    """Events of an iteration in order, and its length: the time at which the slowest device is done.

    A device enters phase p at c_p + skew_p u (after a barrier), leaves it d_p + spread_p z later and, where the phase
    ends at a barrier, waits until max over devices. u is even on (0, 1), z standard normal, both per device.
    """
    # A row a device, so that a device's draws do not depend on how many others there are.
    draws = even(key, (devices, sum(p.skew + p.spread for p in phases)), params.duration_s.dtype).T
    row = iter(draws)
    events: list[Passage] = []
    clock_s = jnp.zeros((), params.duration_s.dtype)
    for p, phase in enumerate(phases):
        if phase.skew:
            clock_s = clock_s + params.release_skew_s[p] * 0.5 * (1.0 + next(row))
        events.append(Passage(clock_s, p, waits=False))
        clock_s = clock_s + iteration.duration_s[p]
        if phase.spread:
            clock_s = clock_s + params.spread_s[p] * normal_of(next(row))
        if phase.barrier:
            events.append(Passage(clock_s, p, waits=True))
            clock_s = jnp.max(clock_s)
    return events, clock_s
