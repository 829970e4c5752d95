"""When each device does what: the events of one bulk-synchronous iteration. Times in s from the iteration's start.

An iteration may begin with pauses of the whole job (restart after a fault, checkpoint, evaluation, waiting for data).
Then all devices leave the barrier together, live through the phases at their own pace and wait, where a phase ends at a
barrier, for the slowest. A fault or the job's stop cuts it short.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from emulator.blocks import largest
from emulator.cluster.pauses import Pause
from emulator.cluster.workload import Iteration, WorkloadParams, normal_of
from emulator.draws import even
from emulator.kernels import device_tick
from emulator.struct import quantity, static, struct


@struct
class PhaseLayout:
    """Which effects a phase has; an effect that is absent costs nothing."""

    barrier: bool = static()
    spread: bool = static()
    skew: bool = static()
    staged: bool = static()


@struct
class JobTime:
    """A point in time that keeps its precision for days: whole ticks and the fraction of the next."""

    tick: jax.Array = quantity("tick")
    fraction: jax.Array = quantity("tick")


class Event(NamedTuple):
    """A change of what devices draw: from `after_s` on, level and noise are these."""

    after_s: jax.Array  # (devices,), or () where all devices change together
    level: jax.Array  # ()
    noise: jax.Array  # ()


class Fleet(NamedTuple):
    """What tells the devices of a job apart, the same in every iteration."""

    number: jax.Array  # (devices,) int32, counted through the job
    stage: jax.Array  # (devices,) pipeline stage, as float
    pace: jax.Array | None  # (devices,) duration over the nominal one; None where nobody is slow


NEVER = 2**30  # ticks after the start: what lies further away does not happen


def later(start: JobTime, after_s: jax.Array, dt_s: float) -> JobTime:
    """The point in time `after_s` after `start`, element by element; infinite = never.

    XLA may compute `ticks` twice, in two fusions that round differently. On the edge of a tick the whole part could
    then be of the tick before and the fraction of the one after, off by a tick; so what lies below an edge by rounding
    alone is of the tick after it, with a fraction as little below 0.
    """
    ticks = jnp.minimum(start.fraction + after_s / dt_s, NEVER)
    whole = jnp.floor(ticks * (1.0 + 4.0 * float(jnp.finfo(ticks.dtype).eps)))
    return JobTime(tick=start.tick + whole.astype(start.tick.dtype), fraction=ticks - whole)


def draw_fleet(key: jax.Array, params: WorkloadParams, devices: int, stages: int, slow: bool, alike: bool) -> Fleet:
    """Stages are runs of consecutive devices; slow devices are drawn once, each with probability `slow_fraction`.
    Where devices of a stage are alike, only the first of each."""
    length = -(-devices // stages)
    number = jnp.arange(0, devices, length if alike else 1, dtype=jnp.int32)
    dtype = params.slow_by.dtype
    pace = None
    if slow:
        chance = 0.5 * (1.0 + even(key, (devices,), dtype))
        pace = 1.0 + jnp.where(chance < params.slow_fraction, params.slow_by, 0.0)
    return Fleet(number=number, stage=(number // length).astype(dtype), pace=pace)


def paused(pauses: list[Pause], fleet: Fleet, devices: int, level_before: jax.Array) -> tuple[list[Event], jax.Array]:
    """Events of the pauses in order, and how long they take together. A pause that does not occur leaves no step."""
    quiet = jnp.zeros((), level_before.dtype)
    clock_s, level, events = quiet, level_before, []
    for pause in pauses:
        level = jnp.where(pause.occurs, pause.level, level)
        after_s = clock_s
        if pause.staged:
            share = (fleet.number.astype(clock_s.dtype) + 0.5) / devices
            after_s = clock_s + share * pause.duration_s
        events.append(Event(after_s, level, quiet))
        clock_s = clock_s + pause.duration_s
    return events, clock_s


def passages(
    phases: tuple[PhaseLayout, ...],
    params: WorkloadParams,
    iteration: Iteration,
    key: jax.Array,
    fleet: Fleet,
    begin_s: jax.Array,
) -> tuple[list[Event], jax.Array]:
    """Events of the phases in order, and the iteration's length: the time at which the slowest device is done.

    With c_p the clock when the phase before ended, a device enters phase p at c_p + skew_p u + delay_p k (after a
    barrier; k its pipeline stage), leaves it (d_p + spread_p z) pace later and, where the phase ends at a barrier,
    waits until max over devices: where all come to it together nobody does. u is even on (0, 1), z standard normal,
    both per device and iteration.
    """
    # One hash a draw, by the device's number: a tenth of the cost of JAX's generator, from which its key comes.
    keys = jax.random.bits(key, (sum(p.skew + p.spread for p in phases),), jnp.uint32)
    row = iter([device_tick.even(device_tick.hashed(k, fleet.number), params.duration_s.dtype) for k in keys])
    events: list[Event] = []
    clock_s = begin_s
    for p, phase in enumerate(phases):
        if phase.skew:
            clock_s = clock_s + params.release_skew_s[p] * 0.5 * (1.0 + next(row))
        if phase.staged:
            clock_s = clock_s + params.stage_delay_s[p] * fleet.stage
        events.append(Event(clock_s, iteration.level[p], params.noise[p]))
        length_s = iteration.duration_s[p]
        if phase.spread:
            length_s = length_s + params.spread_s[p] * normal_of(next(row))
        clock_s = clock_s + (length_s if fleet.pace is None else length_s * fleet.pace)
        if phase.barrier and clock_s.ndim:
            events.append(Event(clock_s, iteration.wait_level[p], jnp.zeros_like(params.noise[p])))
            clock_s = largest(clock_s)
    return events, clock_s


def waits(phases: tuple[PhaseLayout, ...], slow: bool) -> int:
    """Barriers at which devices wait, in an iteration: not where all come to it together."""
    count, apart = 0, slow
    for phase in phases:
        apart = apart or phase.spread or phase.skew or phase.staged
        count += phase.barrier and apart
        apart = slow if phase.barrier else apart
    return count
