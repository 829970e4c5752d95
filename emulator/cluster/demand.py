"""Power of one training job over a window of ticks, by events. Load positive, W.

A linear device may be summed before it is filtered: the job's level is a weighted histogram of its devices' events,
accumulated once and passed once through the devices' first-order response. Cost O(devices x events + ticks).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from emulator.blocks import lag_gain
from emulator.cluster import workload as wl
from emulator.cluster.schedule import JobTime, PhaseLayout, later, passages
from emulator.kernels.passed_share import Method, passed_share_increments
from emulator.struct import quantity, static, struct


@struct
class TrainingLayout:
    """Sizes and switches of a training job."""

    stream: int = static()  # of its random draws, from the names of site and job
    devices: int = static()
    start_tick: int = static()
    stop_tick: int = static()
    phases: tuple[PhaseLayout, ...] = static()
    shortest_s: float = static()  # no iteration is expected to be shorter; bounds the iterations in a window
    noisy: bool = static()
    method: Method = static()


@struct
class TrainingParams:
    """Numbers of a training job: its workload and its devices (with their share of the server)."""

    workload: wl.WorkloadParams = quantity("")
    idle_w: jax.Array = quantity("W", "", "server power per device at rest")
    peak_w: jax.Array = quantity("W", "", "server power per device at level 1")
    gain_spread: jax.Array = quantity("1")
    response_s: jax.Array = quantity("s")


@struct
class TrainingState:
    """Iteration in progress and the two filters."""

    number: jax.Array = quantity("1", "", "iteration in progress")
    start: JobTime = quantity("tick", "", "when it started")
    level_before: jax.Array = quantity("1", "", "with which the one before it ended")
    level: jax.Array = quantity("1", "", "filtered level at the end of the last tick")
    noise: jax.Array = quantity("1", "", "unit-variance fluctuation in the last tick")


def initial(layout: TrainingLayout, dtype: jnp.dtype) -> TrainingState:
    """Idle, before the first tick. The filters settle at the first tick's level when that tick is computed."""
    zero = jnp.zeros((), dtype)
    start = JobTime(tick=jnp.asarray(layout.start_tick, jnp.int32), fraction=zero)
    return TrainingState(number=jnp.zeros((), jnp.int32), start=start, level_before=zero, level=zero, noise=zero)


def advance(
    layout: TrainingLayout,
    params: TrainingParams,
    state: TrainingState,
    seed_key: jax.Array,
    first_tick: jax.Array,
    ticks: int,
    dt_s: float,
) -> tuple[TrainingState, jax.Array, jax.Array]:
    """Power of the job in `ticks` ticks from `first_tick` on.

    Returns the state after them, (ticks,) W as tick means, and a flag that is true where the window held more
    iterations than its bound allows (the power is then wrong).
    """
    key = jax.random.fold_in(seed_key, layout.stream)
    window = _Window(first_tick, ticks, dt_s)
    increments, here, overflow = accumulate(layout, params, state, key, window)
    at_start = first_tick == 0
    draws, noise = jnp.zeros(ticks, state.noise.dtype), state.noise
    if layout.noisy:
        draws = noise_draws(key, window, noise.dtype)
        noise = jnp.where(
            at_start, jax.random.normal(jax.random.fold_in(key, wl.NOISE_AT_START), (), noise.dtype), noise
        )
    level = jnp.where(at_start, increments[0, 0], state.level)
    (level, noise), power = respond(layout, params, increments, draws, (level, noise), window)
    power_w = layout.devices * (params.idle_w + (params.peak_w - params.idle_w) * power)
    after = TrainingState(number=here.number, start=here.start, level_before=here.level, level=level, noise=noise)
    return after, power_w, overflow


def noise_draws(key: jax.Array, window: _Window, dtype: jnp.dtype) -> jax.Array:
    """(ticks,) standard normal draws, each keyed by its tick."""
    stream = jax.random.fold_in(key, wl.NOISE)
    at = window.first + jnp.arange(window.ticks, dtype=jnp.int32)
    return jax.vmap(lambda tick: jax.random.normal(jax.random.fold_in(stream, tick), (), dtype))(at)


def respond(
    layout: TrainingLayout,
    params: TrainingParams,
    increments: jax.Array,
    draws: jax.Array,
    before: tuple[jax.Array, jax.Array],
    window: _Window,
) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """Sum the increments (2, ticks) and pass them through the devices: (level, noise) after the window, and (ticks,)
    power as a share of the range.

    Power follows the level through 1/(1 + s T), exact for a level that is constant within the tick. The fluctuation has
    unit variance and correlation exp(-|t|/T_n) whatever the tick: an exact Ornstein-Uhlenbeck recurrence.
    Reference: Gillespie, Phys. Rev. E 54:2084, 1996.
    """
    gain = lag_gain(params.response_s, window.dt_s)
    fade = lag_gain(params.workload.noise_correlation_s, window.dt_s)
    drive = jnp.sqrt(fade * (2.0 - fade))  # 1 - (1 - fade)^2, which float32 would cancel at long correlations
    on = window.first + jnp.arange(window.ticks, dtype=jnp.int32) < layout.stop_tick

    def one(carry, xs):
        target, amplitude, level, noise = carry
        (target_step, amplitude_step), draw, runs = xs
        target, amplitude = target + target_step, amplitude + amplitude_step
        level = level + gain * (jnp.where(runs, target, 0.0) - level)
        noise = noise + drive * draw - fade * noise
        return (target, amplitude, level, noise), level + jnp.where(runs, amplitude * noise, 0.0)

    zero = jnp.zeros((), draws.dtype)
    (_, _, level, noise), power = jax.lax.scan(one, (zero, zero, *before), (tuple(increments), draws, on))
    return (level, noise), power


class _Job(NamedTuple):
    """What a job keeps from its random streams for all iterations."""

    weight: jax.Array
    rate: jax.Array
    iterations: jax.Array  # key
    devices: jax.Array  # key


class _Progress(NamedTuple):
    """Iteration in progress: number, start, and the level that the one before ended with."""

    number: jax.Array
    start: JobTime
    level: jax.Array


class _Window(NamedTuple):
    first: jax.Array
    ticks: int
    dt_s: float


def accumulate(
    layout: TrainingLayout, params: TrainingParams, state: TrainingState, key: jax.Array, window: _Window
) -> tuple[jax.Array, _Progress, jax.Array]:
    """Increments of level and noise amplitude, (2, ticks), iteration by iteration.

    Each iteration writes its own stretch: sums are anchored anew at every barrier and do not drift.
    Returns them with the iteration in progress at the window's end and the overflow flag.
    """
    end = window.first + window.ticks
    stop = jnp.minimum(end, layout.stop_tick)
    weight = device_weights(layout, params, key)
    fold = jax.random.fold_in
    job = _Job(weight, wl.job_rate(params.workload, key), fold(key, wl.ITERATIONS), fold(key, wl.DEVICES))
    bound = 2 * int(window.ticks * window.dt_s / layout.shortest_s) + 2
    nothing = jnp.zeros((2, window.ticks), weight.dtype)

    def one(carry: tuple[_Progress, jax.Array, jax.Array], _: None):
        here, total, more = carry
        runs = more & (here.start.tick < stop)
        increments, following = jax.lax.cond(
            runs, lambda h: iteration_increments(layout, params, job, h, window), lambda h: (nothing, h), here
        )
        more = runs & (following.start.tick < end)
        here = jax.tree.map(lambda new, old: jnp.where(more, new, old), following, here)
        return (here, total + increments, more), None

    start = _Progress(state.number, state.start, state.level_before), nothing, jnp.asarray(True)
    (here, total, overflow), _ = jax.lax.scan(one, start, length=bound)
    return total, here, overflow


def device_weights(layout: TrainingLayout, params: TrainingParams, key: jax.Array) -> jax.Array:
    """(devices,) share of each device in the job's power above idle: its gain over the number of devices."""
    draws = wl.even(jax.random.fold_in(key, wl.GAINS), (layout.devices,), params.gain_spread.dtype)
    return (1.0 + params.gain_spread * wl.normal_of(draws)) / layout.devices


def iteration_increments(
    layout: TrainingLayout, params: TrainingParams, job: _Job, here: _Progress, window: _Window
) -> tuple[jax.Array, _Progress]:
    """Increments of level and noise amplitude, (2, ticks), that one iteration writes into a window, and what follows.

    The iteration takes over the level that the last one ended with and takes its own last level away at its end.
    """
    drawn = wl.draw_iteration(params.workload, job.rate, jax.random.fold_in(job.iterations, here.number))
    stream = jax.random.fold_in(job.devices, here.number)
    events, length_s = passages(layout.phases, params.workload, drawn, stream, layout.devices)

    quiet = jnp.zeros((), job.weight.dtype)
    level, noise = [here.level], [quiet]
    for event in events:
        level.append(drawn.wait_level[event.phase] if event.waits else drawn.level[event.phase])
        noise.append(quiet if event.waits else params.workload.noise[event.phase])
    after_s = [quiet, *(event.after_s for event in events), length_s]
    value = jnp.stack([jnp.stack([*level, quiet]), jnp.stack([*noise, quiet])])
    step = jnp.diff(value, axis=1, prepend=0.0)

    increments = jnp.zeros((2, window.ticks), job.weight.dtype)
    for together in (True, False):
        which = [i for i, t in enumerate(after_s) if (t.ndim == 0) == together]
        if which:
            weight = jnp.sum(job.weight)[None] if together else job.weight
            at = later(here.start, jnp.stack([jnp.atleast_1d(after_s[i]) for i in which]), window.dt_s)
            share = passed_share_increments(at.tick - window.first, at.fraction, weight, window.ticks, layout.method)
            increments = increments + jnp.stack([step[:, i] for i in which], axis=1) @ share
    after = _Progress(here.number + 1, later(here.start, length_s, window.dt_s), level[-1])
    return increments, after
