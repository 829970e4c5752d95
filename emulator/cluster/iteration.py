"""One iteration of a training job (`live_iteration`), and the walk through all iterations of a window (`walk`).

Levels are shares of a device's range, idle to TDP; times in s from the iteration's start, unless they are a `JobTime`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from emulator.cluster import pauses, slowdown
from emulator.cluster import workload as wl
from emulator.cluster.pauses import Pause, PauseLayout, PauseParams, Standing
from emulator.cluster.schedule import Event, Fleet, JobTime, PhaseLayout, draw_fleet, later, passages, paused
from emulator.cluster.slowdown import Floor, Piece
from emulator.draws import folds
from emulator.kernels.device_tick import Settings
from emulator.struct import quantity, static, struct


@struct
class JobLayout:
    """Sizes and switches of a job's schedule."""

    stream: int = static()  # of its random draws, from the names of site and job
    devices: int = static()
    runs: tuple[tuple[int, int], ...] = static()  # first tick of each run and the one after its last, in order
    stops: bool = static()  # a run ends within the emulated time
    phases: tuple[PhaseLayout, ...] = static()
    stages: int = static()  # pipeline stages
    slow: bool = static()  # some devices are slow throughout
    pauses: PauseLayout = static()
    shortest_s: float = static()  # least expected length of an iteration: bounds their number in a window
    cap_ticks: tuple[int, ...] = static()  # from which each of the job's orders for a power cap holds
    alike: bool = static()  # devices of a pipeline stage do not differ: one of each stage is emulated
    tail_ticks: int = static()  # how long an event has consequences: the window of the EDP overshoot


@struct
class JobParams:
    """Numbers of a job's schedule."""

    workload: wl.WorkloadParams = quantity("")
    pauses: PauseParams = quantity("")
    stage_out_s: jax.Array = quantity("s", "", "over which devices stop")
    stretch: jax.Array = quantity("1", "", "length of an iteration with dummy work, over that without")
    cap: jax.Array = quantity("1", "orders", "power cap as a share of a device's range; infinite = none")
    power_exponent: jax.Array = quantity("1", "", "power above idle grows with clock speed to this power")


@struct
class Progress:
    """Where a job stands: the iteration under way and what it takes over from the one before."""

    number: jax.Array = quantity("1", "", "iteration under way")
    start: JobTime = quantity("tick", "", "when it started")
    level: jax.Array = quantity("1", "", "level at which the iteration before ended")
    standing: Standing = quantity("", "", "decides on the pauses to come")
    ordered: jax.Array = quantity("1", "iterations", "site's power caps at the latest iterations' starts, a ring")
    floor: Floor | None = quantity("", "", "smoothing floor of a nominal device; None without smoothing")


class Window(NamedTuple):
    """Ticks to compute."""

    first: jax.Array  # int32
    ticks: int
    dt_s: float


class Job(NamedTuple):
    """What is the same in all iterations of a job."""

    fleet: Fleet
    rate: jax.Array  # of iterations, over the nominal one
    streams: jax.Array  # (STREAMS,) keys, one for each that `workload` names
    smoothing: Settings | None  # None without power smoothing


class Marks(NamedTuple):
    """What happens in each tick, (ticks,)."""

    bits: jax.Array  # of what begins, as `pauses` has them
    lost_s: jax.Array  # how much longer caps, ceilings and dummy work have made the iteration that ends


class Live(NamedTuple):
    """One iteration, drawn and laid out in time."""

    before: jax.Array  # level at which the iteration before ended
    events: list[Event]  # in order, as if the iteration ran to its end
    until_s: jax.Array  # when devices leave it: () at its end, or (devices,) where the job stops during it
    following: Progress  # of the next iteration
    marks: list[tuple[jax.Array, int]]  # (time, or negative where it does not occur; bit)
    ends_s: jax.Array  # when it ends; negative where it is cut short
    lost_s: jax.Array  # how much longer caps, ceilings and dummy work make it


def initial(layout: JobLayout, smoothing: bool, dtype: jnp.dtype) -> Progress:
    """Before the first run. With `smoothing` the floor of a nominal device is carried along."""
    zero = jnp.zeros((), dtype)
    start = JobTime(tick=jnp.asarray(layout.runs[0][0], jnp.int32), fraction=zero)
    return Progress(
        number=jnp.zeros((), jnp.int32),
        start=start,
        level=zero,
        standing=pauses.initial(dtype),
        ordered=jnp.full(layout.tail_ticks + 2, jnp.inf, dtype),  # no iteration is shorter than a tick
        floor=slowdown.at_rest(dtype) if smoothing else None,
    )


def draw_job(layout: JobLayout, params: JobParams, smoothing: Settings | None, seed_key: jax.Array) -> Job:
    """Draw what is the same in all iterations of a job: its devices, its rate, its random streams."""
    streams = folds(jax.random.fold_in(seed_key, layout.stream), jnp.arange(wl.STREAMS))
    fleet = draw_fleet(streams[wl.SLOW], params.workload, layout.devices, layout.stages, layout.slow, layout.alike)
    return Job(fleet, wl.job_rate(params.workload, streams[wl.JOB]), streams, smoothing)


def cap_at(layout: JobLayout, params: JobParams, ordered: jax.Array, tick: jax.Array) -> jax.Array:
    """Power cap that holds in a tick: the lower one of the job's own orders and `ordered`, the site's."""
    cap = ordered
    for i, since in enumerate(layout.cap_ticks):
        until = layout.cap_ticks[i + 1] if i + 1 < len(layout.cap_ticks) else 2**31 - 1
        cap = jnp.where((tick >= since) & (tick < until), jnp.minimum(cap, params.cap[i]), cap)
    return cap


def live_iteration(layout: JobLayout, params: JobParams, job: Job, here: Progress, cap: jax.Array, dt_s: float) -> Live:
    """The iteration that starts at progress `here`, under the power cap that holds then."""
    workload, streams = params.workload, folds(job.streams, here.number)
    asked = wl.draw_iteration(workload, job.rate, streams[wl.ITERATIONS])
    held_up = pauses.draw(layout.pauses, params.pauses, here.standing, here.number, streams[wl.PAUSES], asked.level[0])
    rests, floor = _rests(here, held_up, dt_s), _floor_before(job, here, held_up, asked.level[0])
    duration_s = slowdown.slowed(
        job.smoothing, floor, cap, params.power_exponent, rests, asked.level, asked.duration_s * params.stretch, dt_s
    )
    drawn = replace(asked, duration_s=duration_s)
    before, begin_s = paused(held_up, job.fleet, layout.devices, here.level)
    during, length_s = passages(layout.phases, workload, drawn, streams[wl.DEVICES], job.fleet, begin_s)
    events = [*before, *during]
    marks = [
        (jnp.where(p.occurs, at.after_s.reshape(-1)[0], -1.0), p.bit) for p, at in zip(held_up, before, strict=True)
    ]
    marks.append((begin_s, pauses.ITERATION))

    failed = jnp.asarray(False)
    if layout.pauses.fault:
        marks.append((jnp.where(here.standing.failed, params.pauses.fault_rest_s, -1.0), pauses.RESTART))
        fault_s = pauses.time_to_fault(params.pauses, streams[wl.FAULTS])
        failed = fault_s < length_s
        length_s = jnp.minimum(length_s, fault_s)
        marks = [(jnp.where(at < length_s, at, -1.0), bit) for at, bit in marks]
    until_s, start, over = length_s, later(here.start, length_s, dt_s), jnp.asarray(False)
    if layout.stops:
        until_s, start, over = _stopped(layout, params, job.fleet, here.start, length_s, start, dt_s)
        marks = [(jnp.where(at < jnp.max(until_s), at, -1.0), bit) for at, bit in marks]
    if layout.pauses.fault:
        marks.append((jnp.where(failed & (jnp.max(until_s) == length_s), length_s, -1.0), pauses.FAULT))
    ended = jnp.where(failed, params.pauses.fault_level, events[-1].level)  # all fall to the fault's level
    following = Progress(
        number=here.number + 1,
        start=start,
        level=jnp.where(over, 0.0, ended),
        standing=pauses.after(here.standing, held_up, length_s, failed, over),
        ordered=here.ordered,
        floor=_floor_after(job, floor, rests, drawn, until_s, here.start, start, over, dt_s),
    )
    ends_s, lost_s = jnp.where(failed | over, -1.0, length_s), jnp.sum(drawn.duration_s - asked.duration_s)
    return Live(here.level, events, until_s, following, marks, ends_s, lost_s)


def _rests(here: Progress, held_up: list[Pause], dt_s: float) -> list[Piece]:
    """The pauses as a nominal device has them; it enters a staged pause in the middle of its length."""
    pieces, level = [], here.level
    for pause in held_up:
        ticks = pause.duration_s / dt_s
        pieces += [(level, 0.5 * ticks), (pause.level, 0.5 * ticks)] if pause.staged else [(pause.level, ticks)]
        level = jnp.where(pause.occurs, pause.level, level)
    return pieces


def _floor_before(job: Job, here: Progress, held_up: list[Pause], level: jax.Array) -> Floor | None:
    """Smoothing floor of a nominal device at the iteration's start; `level` is that of the first phase.

    Before its first iteration a job is idle; one that starts at tick 0 is settled at its first level.
    """
    if job.smoothing is None or here.floor is None:
        return None
    for pause in reversed(held_up):
        level = jnp.where(pause.occurs, here.level if pause.staged else pause.level, level)
    active = (here.start.tick == 0) & (level > job.smoothing.active_above)
    first = slowdown.settled(job.smoothing, active)
    return jax.tree.map(lambda first, later: jnp.where(here.number == 0, first, later), first, here.floor)


def _floor_after(
    job: Job,
    floor: Floor | None,
    rests: list[Piece],
    drawn: wl.Iteration,
    until_s: jax.Array,
    begin: JobTime,
    end: JobTime,
    over: jax.Array,
    dt_s: float,
) -> Floor | None:
    """Smoothing floor of a nominal device at the start of the next iteration.

    That is after this one, cut short at `until_s`, and after the idle time that follows the last one of a run (`over`).
    """
    if job.smoothing is None or floor is None:
        return None
    until = jnp.mean(until_s) / dt_s
    gone = (end.tick - begin.tick).astype(until.dtype) + end.fraction - begin.fraction
    idle = jnp.where(over, gone - until, 0.0)
    phases = zip(drawn.level, drawn.duration_s / dt_s, strict=True)
    floor = slowdown.followed(job.smoothing, floor, [*rests, *phases], until)
    return slowdown.followed(job.smoothing, floor, [(jnp.zeros_like(idle), idle)])


def _stopped(
    layout: JobLayout, params: JobParams, fleet: Fleet, start: JobTime, length_s: jax.Array, end: JobTime, dt_s: float
) -> tuple[jax.Array, JobTime, jax.Array]:
    """When each device leaves an iteration, when the next one starts, and whether that is in the next run."""
    begins = jnp.asarray([begin for begin, _ in layout.runs] + [2**31 - 1], jnp.int32)
    stops = jnp.asarray([stop for _, stop in layout.runs], jnp.int32)
    run = jnp.sum(start.tick >= begins) - 1
    stop_s = ((stops[run] - start.tick).astype(length_s.dtype) - start.fraction) * dt_s
    share = (fleet.number.astype(length_s.dtype) + 0.5) / layout.devices
    until_s = jnp.clip(stop_s + share * params.stage_out_s, 0.0, length_s)
    over = stop_s + params.stage_out_s <= length_s
    resumed = JobTime(tick=begins[run + 1], fraction=jnp.zeros_like(end.fraction))
    return until_s, jax.tree.map(lambda a, b: jnp.where(over, a, b), resumed, end), over


def walk(
    layout: JobLayout,
    params: JobParams,
    job: Job,
    progress: Progress,
    ordered: jax.Array,
    window: Window,
    fold: Callable[[Any, jax.Array, Live, JobTime], Any],
    nothing: Any,
) -> tuple[Any, Marks, Progress, jax.Array]:
    """Visit all iterations that have an event, or the consequence of one, in the window, and fold over them.

    Args:
      ordered: power cap that the site's controller has ordered; infinite = none.
      fold: (result so far, number of the visit, iteration, its start counted from the window's first tick) -> result.
      nothing: the result before the first visit.

    Returns:
      the result; what begins in each tick; the progress to go on from in the next window; and a flag,
      true where the window held more iterations than `most_iterations`: the result is then wrong.
    """
    end = window.first + window.ticks
    bound = most_iterations(layout, window)

    def one(carry: tuple, visit: jax.Array) -> tuple[tuple, None]:
        here, resume, settled, result, marks, more = carry
        runs = more & (here.start.tick < end)

        def visited(result: Any, marks: Marks) -> tuple[Any, Marks, Progress]:
            # An iteration that began in an earlier window keeps the order under which it began.
            place = here.number % here.ordered.shape[0]
            began = jnp.where(here.start.tick >= window.first, ordered, here.ordered[place])
            cap = cap_at(layout, params, began, here.start.tick)
            live = live_iteration(layout, params, job, here, cap, window.dt_s)
            live = live._replace(following=replace(live.following, ordered=here.ordered.at[place].set(began)))
            start = JobTime(tick=here.start.tick - window.first, fraction=here.start.fraction)
            return fold(result, visit, live, start), _marked(marks, live, start, window), live.following

        def left(result: Any, marks: Marks) -> tuple[Any, Marks, Progress]:
            return result, marks, here

        result, marks, following = jax.lax.cond(runs, visited, left, result, marks)
        lasting = following.start.tick >= end - layout.tail_ticks
        resume = jax.tree.map(lambda old, new: jnp.where(settled, old, new), resume, here)
        settled = settled | ~runs | lasting
        more = runs & (following.start.tick < end)
        here = jax.tree.map(lambda new, old: jnp.where(more, new, old), following, here)
        here = replace(here, ordered=following.ordered)
        return (here, resume, settled, result, marks, more), None

    none = Marks(jnp.zeros(window.ticks, jnp.int32), jnp.zeros(window.ticks, progress.level.dtype))
    start = (progress, progress, jnp.asarray(False), nothing, none, jnp.asarray(True))
    (last, resume, _, result, marks, overflow), _ = jax.lax.scan(one, start, jnp.arange(bound, dtype=jnp.int32))
    return result, marks, replace(resume, ordered=last.ordered), overflow


def most_iterations(layout: JobLayout, window: Window) -> int:
    """Bound on the iterations in a window: twice the expected number, one more for each run that begins in it, and for
    faults two and one per 10 s."""
    ticks = window.ticks + layout.tail_ticks
    length_s = ticks * window.dt_s
    begins = [begin for begin, _ in layout.runs]
    runs = max(sum(first <= begin < first + ticks for begin in begins) for first in begins)
    faults = 2 + int(length_s / 10.0) if layout.pauses.fault else 0
    return 2 * int(length_s / layout.shortest_s) + 1 + runs + faults


def _marked(marks: Marks, live: Live, start: JobTime, window: Window) -> Marks:
    def placed(at_s: jax.Array) -> tuple[jax.Array, jax.Array]:
        tick = later(start, at_s, window.dt_s).tick
        outside = (at_s < 0.0) | (tick < 0) | (tick >= window.ticks)
        return outside, jnp.where(outside, 0, tick)

    bits, lost_s = marks
    for at_s, bit in live.marks:
        if bit:
            outside, place = placed(at_s)
            bits = bits.at[place].set(bits[place] | jnp.where(outside, 0, bit))
    outside, place = placed(live.ends_s)
    return Marks(bits, lost_s.at[place].add(jnp.where(outside, 0.0, live.lost_s)))
