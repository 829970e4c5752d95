"""The path by devices: nonlinear devices tick by tick, and devices recorded one by one. Shares of a device's range.

A window is cut into spans: for each the events of its iterations are laid out once, (events, devices), and handed to
the kernel `device_power`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from emulator.cluster.events import Overshoot, cuts, steps_in, steps_of
from emulator.cluster.iteration import Job, JobLayout, JobParams, Live, Marks, Progress, Window, most_iterations, walk
from emulator.cluster.schedule import JobTime, later
from emulator.kernels import device_tick as kernel
from emulator.kernels.device_power import device_power

SPAN_TICKS = 4096  # whose events are laid out at a time, at most


class Group(NamedTuple):
    """Devices that are summed together, or recorded one by one."""

    rows: slice | jax.Array  # of the job's fleet
    devices: kernel.Devices


class Setting(NamedTuple):
    """What a job's devices do with their demand."""

    switches: kernel.Switches
    settings: kernel.Settings
    overshoot: Overshoot | None
    poll_ticks: int
    shards: int


class Carry(NamedTuple):
    """Progress of a job and state of its devices."""

    progress: Progress
    devices: tuple[kernel.State, ...]  # one per group


def advance(
    layout: JobLayout,
    params: JobParams,
    job: Job,
    setting: Setting,
    groups: tuple[Group, ...],
    carry: Carry,
    ordered: jax.Array,
    common: jax.Array,
    cap: jax.Array,
    window: Window,
    keep: bool = False,
) -> tuple[Carry, jax.Array, Marks, jax.Array]:
    """Pass devices through a window.

    Args:
      ordered: power cap that the site's controller has ordered; infinite = none.
      common: (ticks,) fluctuation that all devices share.
      cap: (ticks,) power cap.
      keep: return each device's power; there is one group then.

    Returns:
      the carry after it, (ticks, groups, 2) sums of power and demand or with `keep` (ticks, devices) powers, the
      window's marks and the overflow flag.
    """
    length = _span_ticks(window.ticks)
    spans = window.ticks // length

    @jax.checkpoint
    def one(state: tuple[Carry, jax.Array], xs: tuple[jax.Array, ...]) -> tuple[tuple, tuple]:
        (progress, before), overflow = state
        first, *series = xs
        span = Window(first, length, window.dt_s)
        events, marks, progress, over = _laid_out(
            layout, params, job, setting.overshoot, groups, progress, ordered, span
        )
        at = first + jnp.arange(length, dtype=jnp.int32)
        after, out = [], []
        for group, its, laid_out in zip(groups, before, events, strict=True):
            drive = kernel.Drive(
                **laid_out._asdict(),
                common=series[0],
                cap=series[1],
                poll=at % setting.poll_ticks == 0,
            )
            ready = _settled(setting, group.devices, its, drive, first)
            its, power = _spread(setting, group.devices, ready, drive, first, keep)
            after.append(its)
            out.append(power)
        return (Carry(progress, tuple(after)), overflow | over), (out[0] if keep else jnp.stack(out, axis=1), marks)

    firsts = window.first + length * jnp.arange(spans, dtype=jnp.int32)
    (carry, overflow), (power, marks) = jax.lax.scan(
        one, (carry, jnp.asarray(False)), (firsts, common.reshape(spans, length), cap.reshape(spans, length))
    )
    marks = jax.tree.map(lambda x: x.reshape(-1), marks)
    return carry, power.reshape(window.ticks, *power.shape[2:]), marks, overflow


def _span_ticks(window_ticks: int) -> int:
    """Length of the spans: divides the window, and is a multiple of the kernel's WORD where one is."""
    parts = [n for n in range(1, SPAN_TICKS + 1) if window_ticks % n == 0]
    return max(parts, key=lambda n: (n % kernel.WORD == 0, n))


def _spread(
    setting: Setting,
    devices: kernel.Devices,
    state: kernel.State,
    drive: kernel.Drive,
    first: jax.Array,
    keep: bool,
) -> tuple[kernel.State, jax.Array]:
    """The kernel, with its devices spread over the processors of the machine where they are told to share the work: in
    equal parts, filled up with devices that weigh nothing. No more processors than devices; `keep` takes one."""
    count = devices.gain.shape[0]
    shards = min(setting.shards, count)
    if keep or shards == 1:
        return device_power(setting.switches, setting.settings, devices, state, drive, first, keep)
    mesh = Mesh(np.array(jax.devices()[:shards]), ("devices",))
    one, every, wide = PartitionSpec("devices"), PartitionSpec(), PartitionSpec(None, "devices")

    def part(*args: Any) -> tuple[kernel.State, jax.Array]:
        state, sums = device_power(setting.switches, *args)
        return state, jax.lax.psum(sums, "devices")

    drives: Any = kernel.Drive(*(cast(Any, spec) for spec in (wide, wide, every, every, every, every, every)))
    run = jax.shard_map(
        part, mesh=mesh, in_specs=(every, one, one, drives, every), out_specs=(one, every), check_vma=False
    )
    after, sums = run(setting.settings, *kernel.filled_up(-(-count // shards) * shards, devices, state, drive), first)
    return jax.tree.map(lambda x: x[:count], after), sums


class _Events(NamedTuple):
    """Events of a group in a span: when, (events, devices), and what, (events,)."""

    tick: jax.Array  # from the span's first
    fraction: jax.Array
    level_step: jax.Array
    noise_step: jax.Array


def _laid_out(
    layout: JobLayout,
    params: JobParams,
    job: Job,
    overshoot: Overshoot | None,
    groups: tuple[Group, ...],
    progress: Progress,
    ordered: jax.Array,
    span: Window,
) -> tuple[tuple[_Events, ...], Marks, Progress, jax.Array]:
    """All events of a span's iterations, for each group; then as `walk` has it: marks, progress, overflow."""
    dtype = progress.level.dtype

    def of(group: Group, live: Live, start: JobTime) -> _Events:
        steps, times = steps_of(live, overshoot is not None, cuts(layout))
        each = group.devices.gain.shape
        after_s = jnp.stack([t[group.rows] if t.ndim else jnp.broadcast_to(t, each) for t in times])
        at = later(start, after_s, span.dt_s)
        made = _Events(at.tick, at.fraction, steps[0], steps[1])
        return made if overshoot is None else _overshooting(made, steps[3], overshoot)

    def write(events: tuple[_Events, ...], visit: jax.Array, live: Live, start: JobTime) -> tuple[_Events, ...]:
        new = tuple(of(group, live, start) for group in groups)
        return jax.tree.map(lambda all_, its: all_.at[visit].set(its), events, new)

    visits = most_iterations(layout, span)
    count = steps_in(layout, overshoot is not None) * (1 if overshoot is None else 3)

    def nothing(group: Group) -> _Events:
        wide = visits, count, *group.devices.gain.shape
        return _Events(
            tick=jnp.full(wide, -1, jnp.int32),  # passed before; no step
            fraction=jnp.zeros(wide, dtype),
            level_step=jnp.zeros((visits, count), dtype),
            noise_step=jnp.zeros((visits, count), dtype),
        )

    start = tuple(nothing(group) for group in groups)
    events, marks, progress, overflow = walk(layout, params, job, progress, ordered, span, write, start)
    return jax.tree.map(lambda x: x.reshape(visits * count, *x.shape[2:]), events), marks, progress, overflow


def _overshooting(events: _Events, rise: jax.Array, overshoot: Overshoot) -> _Events:
    """Each rise goes higher, falls below and comes back, as in `events.Overshoot`."""
    over, window = overshoot.ticks
    below = over / (window - over)
    pulse = overshoot.height * rise
    none = jnp.zeros_like(pulse)
    return _Events(
        tick=jnp.concatenate([events.tick, events.tick + over, events.tick + window]),
        fraction=jnp.concatenate([events.fraction] * 3),
        level_step=jnp.concatenate([events.level_step + pulse, -(1.0 + below) * pulse, below * pulse]),
        noise_step=jnp.concatenate([events.noise_step, none, none]),
    )


def _settled(
    setting: Setting,
    devices: kernel.Devices,
    state: kernel.State,
    drive: kernel.Drive,
    first: jax.Array,
) -> kernel.State:
    """The state as it is, or in the run's first tick settled under that tick's load."""

    def settle(state: kernel.State) -> kernel.State:
        level, _ = kernel.tick_means(drive, jnp.zeros((), jnp.int32))
        return kernel.settled(setting.switches, setting.settings, devices, state, level)

    return jax.lax.cond(first == 0, settle, lambda same: same, state)
