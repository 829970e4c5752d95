"""The path by events: level and noise of a job as weighted histograms of its devices' events. Shares of their range.

Each iteration writes its own steps and takes back its last level at its end, so that sums do not drift.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from emulator.cluster.iteration import Job, JobLayout, JobParams, Live, Marks, Progress, Window, walk
from emulator.cluster.schedule import JobTime, later, waits
from emulator.kernels.passed_share import passed_share_increments


class Increments(NamedTuple):
    """Changes from tick to tick, (ticks, groups) each; their running sums are tick means."""

    level: jax.Array
    noise: jax.Array  # amplitude of the fluctuation
    square: jax.Array  # of the amplitude


class Part(NamedTuple):
    """Devices of one power group."""

    rows: slice  # of the job's fleet
    weight: jax.Array  # (devices,) of each in the group's level


class Overshoot(NamedTuple):
    """EDP: a rise r overshoots by `height` r for `ticks[0]` ticks, then stays below by as much as makes the mean over
    `ticks[1]` ticks that of the rise alone."""

    height: jax.Array
    ticks: tuple[int, int]


def accumulate(
    layout: JobLayout,
    params: JobParams,
    progress: Progress,
    job: Job,
    parts: tuple[Part, ...],
    overshoot: Overshoot | None,
    ordered: jax.Array,
    window: Window,
) -> tuple[Increments, Marks, Progress, jax.Array]:
    """Increments of a window, its marks, progress after it and the overflow flag as `iteration.walk` has them.

    Args:
      parts: one per power group.
    """
    tail = layout.tail_ticks
    wide = Window(window.first - tail, window.ticks + tail, window.dt_s)
    dtype = parts[0].weight.dtype
    nothing = jnp.zeros((4, len(parts), wide.ticks), dtype)

    def add(total: jax.Array, visit: jax.Array, live: Live, start: JobTime) -> jax.Array:
        start = JobTime(tick=start.tick + tail, fraction=start.fraction)
        return total + _written(layout, live, start, parts, overshoot is not None, wide)

    total, marks, after, overflow = walk(layout, params, job, progress, ordered, window, add, nothing)
    level, noise, square, rise = total
    if overshoot is not None:
        level = level + _overshooting(rise, overshoot)
    first = jnp.sum(jnp.stack([level, noise, square])[:, :, : tail + 1], axis=2, keepdims=True)
    rest = jnp.stack([level, noise, square])[:, :, tail + 1 :]
    narrow = jnp.concatenate([first, rest], axis=2)
    return Increments(*(x.T for x in narrow)), marks, after, overflow


def _overshooting(rise: jax.Array, overshoot: Overshoot) -> jax.Array:
    """(groups, ticks) what rises add to the level's increments: up, down below, back."""
    over, window = overshoot.ticks
    below = over / (window - over)

    def delayed(ticks: int) -> jax.Array:
        return jnp.pad(rise, ((0, 0), (ticks, 0)))[:, : rise.shape[1]]

    return overshoot.height * (rise - (1.0 + below) * delayed(over) + below * delayed(window))


def _written(
    layout: JobLayout, live: Live, start: JobTime, parts: tuple[Part, ...], rises: bool, window: Window
) -> jax.Array:
    """Increments of level, noise, its square and rises, (4, groups, ticks), that one iteration writes."""
    steps, times = steps_of(live, rises, cuts(layout))
    total = jnp.zeros((4, len(parts), window.ticks), parts[0].weight.dtype)
    for together in (True, False):
        which = [i for i, t in enumerate(times) if (t.ndim == 0) == together]
        if not which:
            continue
        step, shares = jnp.stack([steps[:, i] for i in which], axis=1), []
        for rows, weight in parts:
            rows, weight = (slice(None), jnp.sum(weight)[None]) if together else (rows, weight)
            at = later(start, jnp.stack([jnp.atleast_1d(times[i])[rows] for i in which]), window.dt_s)
            share = passed_share_increments(at.tick, at.fraction, weight, window.ticks)
            shares.append(jnp.matmul(step, share, precision="highest"))  # a GPU would round to 10 bits, a TPU to 7
        total = total + jnp.stack(shares, axis=1)
    return total


def cuts(layout: JobLayout) -> bool:
    """True where an iteration may be cut short."""
    return layout.stops or layout.pauses.fault


def steps_in(layout: JobLayout, rises: bool) -> int:
    """Steps that `steps_of` makes of an iteration."""
    held_up = layout.pauses
    pauses = sum((held_up.fault, held_up.ramp, held_up.checkpoint, held_up.evaluation_every > 0, held_up.stall))
    plain = 2 + pauses + len(layout.phases) + waits(layout.phases, layout.slow)
    return plain * (2 if rises and cuts(layout) else 1)


def steps_of(live: Live, rises: bool, cut: bool) -> tuple[jax.Array, list[jax.Array]]:
    """Steps (4, steps) of level, noise, its square and rises, and when each happens, () or (devices,).

    The first step takes over the level that the last iteration ended with. A device that leaves the iteration early
    makes its remaining steps all at that moment, where they sum to what the next iteration takes over; a rise among
    them does not happen.
    """
    quiet = jnp.zeros_like(live.following.level)
    level = jnp.stack([live.before, *(event.level for event in live.events), quiet])
    noise = jnp.stack([quiet, *(event.noise for event in live.events), quiet])
    plain = [jnp.diff(x, prepend=0.0) for x in (level, noise, noise**2)]
    after = [quiet, *(event.after_s for event in live.events), live.until_s]
    times = [jnp.minimum(at, live.until_s) for at in after] if cut else after
    none = jnp.zeros_like(plain[0])
    if not rises:
        return jnp.stack([*plain, none]), times
    up = jnp.maximum(plain[0], 0.0).at[jnp.array([0, -1])].set(0.0)
    if not cut:
        return jnp.stack([*plain, up]), times
    real = [jnp.where(at < live.until_s, at, jnp.inf) for at in after]
    doubled = jnp.concatenate([jnp.stack([*plain, none]), jnp.stack([none, none, none, up])], axis=1)
    return doubled, [*times, *real]
