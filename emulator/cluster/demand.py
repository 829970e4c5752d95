"""Power of one training job over a window of ticks. Load positive, W.

Two paths. By events (`events.py`), where devices are linear: linear devices may be summed before they are filtered. So
the job's level is a weighted histogram of its devices' events, passed once through the devices' response, at a cost of
O(devices x events + ticks). By devices (`devices.py`), tick by tick, where a floor, a ceiling, dummy work or a cap
makes each device's power depend on its own past.
"""

from __future__ import annotations

from itertools import accumulate as running_sum
from typing import Literal

import jax
import jax.numpy as jnp

from emulator.blocks import lag_gain
from emulator.cluster import devices, iteration
from emulator.cluster import workload as wl
from emulator.cluster.devices import Carry, Group, Setting
from emulator.cluster.events import Overshoot, Part, accumulate
from emulator.cluster.fluctuation import fluctuation
from emulator.cluster.iteration import Job, JobLayout, JobParams, Marks, Progress, Window
from emulator.cluster.smoothing import DummyParams, LimitLayout, SmoothingParams, settings
from emulator.draws import even, folds
from emulator.kernels import device_tick as kernel
from emulator.struct import quantity, static, struct


@struct
class TrainingLayout:
    """Sizes and switches of a training job."""

    job: JobLayout = static()
    path: Literal["events", "devices"] = static()
    groups: tuple[int, ...] = static()  # devices in each power group (hall) that the job is in, in order
    overshoot_ticks: tuple[int, int] | None = static()  # EDP: length of the overshoot, time over which it averages out
    noisy: bool = static()
    own_noise: bool = static()  # part of the noise is each device's own
    limits: LimitLayout = static()
    watched: tuple[int, ...] = static()  # devices whose power is recorded one by one
    watch_every: int = static()  # ticks over which it is averaged
    shards: int = static()  # processors that share the path by devices
    summed_every: int = static()  # the sum is over one in so many devices; barriers wait for all of them


@struct
class DeviceParams:
    """Numbers of an accelerator and its share of the server."""

    idle_w: jax.Array = quantity("W", "", "accelerator at rest")
    tdp_w: jax.Array = quantity("W", "", "accelerator at level 1")
    server_fixed_w: jax.Array = quantity("W")
    server_fraction: jax.Array = quantity("1")
    gain_spread: jax.Array = quantity("1")
    response_s: jax.Array = quantity("s")
    edp_fraction: jax.Array = quantity("1")


@struct
class TrainingParams:
    """Numbers of a training job. None stands for a mitigation that the job does not use."""

    job: JobParams = quantity("")
    device: DeviceParams = quantity("")
    smoothing: SmoothingParams | None = quantity("")
    dummy: DummyParams | None = quantity("")


@struct
class TrainingState:
    """What a job carries from window to window; the fields of the path not taken are empty."""

    progress: Progress = quantity("")
    common: jax.Array = quantity("1", "", "unit-variance fluctuation common to all devices, in the last tick")
    level: jax.Array = quantity("1", "groups", "by events: filtered level at the end of the last tick")
    own: jax.Array = quantity("1", "groups", "by events: unit-variance sum of the devices' own fluctuations")
    devices: tuple[kernel.State, ...] = quantity("1", "groups, devices", "by devices")
    watched: tuple[Progress, kernel.State] | None = quantity("1", "devices", "recorded one by one")


@struct
class Demand:
    """What a job draws in a window; tick means at the accelerators' servers."""

    power_w: jax.Array = quantity("W", "ticks, groups")
    wanted_w: jax.Array = quantity("W", "ticks, groups", "without floor, ceiling, dummy work and cap")
    bits: jax.Array = quantity("1", "ticks", "int32: what begins in the tick, bits of `pauses`")
    lost_s: jax.Array = quantity("s", "ticks", "how much longer caps, ceilings and dummy work made what ends")
    watched_w: jax.Array = quantity("W", "ticks / watch_every, watched devices")
    overflow: jax.Array = quantity("1", "", "true where there were more iterations than planned for")


def initial(layout: TrainingLayout, dtype: jnp.dtype) -> TrainingState:
    """Idle, before the first tick. The filters settle at the first tick's level when that tick is computed."""
    progress = iteration.initial(layout.job, layout.limits.smoothing, dtype)
    by_events = layout.path == "events"
    groups = jnp.zeros(len(layout.groups) if by_events else 0, dtype)
    switches = _switches(layout)
    return TrainingState(
        progress=progress,
        common=jnp.zeros((), dtype),
        level=groups,
        own=groups,
        devices=() if by_events else tuple(kernel.at_rest(switches, n, dtype) for n in _row_counts(layout)),
        watched=(progress, kernel.at_rest(switches, len(layout.watched), dtype)) if layout.watched else None,
    )


def advance(
    layout: TrainingLayout,
    params: TrainingParams,
    state: TrainingState,
    seed_key: jax.Array,
    ordered_w: jax.Array,
    window: Window,
) -> tuple[TrainingState, Demand]:
    """Power of the job in a window of ticks, and its state after it.

    Args:
      ordered_w: power cap per accelerator that the site's controller has ordered; infinite = none.
    """
    smoothing = _setting(layout, params, window.dt_s).settings if layout.limits.smoothing else None
    job = iteration.draw_job(layout.job, params.job, smoothing, seed_key)
    limited = jnp.isfinite(ordered_w)
    above_idle_w = jnp.where(limited, ordered_w, 0.0) - params.device.idle_w
    ordered = jnp.where(limited, above_idle_w / (params.device.tdp_w - params.device.idle_w), jnp.inf)
    common, series = state.common, jnp.zeros(window.ticks, state.common.dtype)
    if layout.noisy:
        common, series = fluctuation(job.streams[wl.NOISE], params.job.workload.noise_correlation_s, common, window)
    path = _by_events if layout.path == "events" else _by_devices
    after, power, wanted, marks, overflow = path(layout, params, state, job, ordered, series, window)
    watched, watched_share = _watch(layout, params, state, job, ordered, series, window)
    counts = jnp.asarray(layout.groups, power.dtype)[None, :]
    after = TrainingState(**{**after, "common": common, "watched": watched})
    demand = Demand(
        power_w=counts * _server_w(params.device, power),
        wanted_w=counts * _server_w(params.device, wanted),
        bits=marks.bits,
        lost_s=marks.lost_s,
        watched_w=_server_w(params.device, watched_share),
        overflow=overflow,
    )
    return after, demand


def _server_w(device: DeviceParams, share: jax.Array) -> jax.Array:
    """Power of a device's server from the share of the device's range that it draws."""
    accelerator_w = device.idle_w + (device.tdp_w - device.idle_w) * share
    return device.server_fixed_w + (1.0 + device.server_fraction) * accelerator_w


def _by_events(
    layout: TrainingLayout,
    params: TrainingParams,
    state: TrainingState,
    job: Job,
    ordered: jax.Array,
    common: jax.Array,
    window: Window,
) -> tuple[dict, jax.Array, jax.Array, Marks, jax.Array]:
    """Fields of the state after it, (ticks, groups) power and wanted power as shares of the range, marks, overflow.

    Power follows the level through 1/(1 + s T), exact for a level that is constant within the tick. The devices' own
    fluctuations sum to one whose variance is the sum of theirs.
    """
    workload, gains = params.job.workload, _gains(layout, params, job)
    parts = tuple(Part(rows, count * gains[rows]) for rows, count in _rows(layout))
    increments, marks, progress, overflow = accumulate(
        layout.job, params.job, state.progress, job, parts, _overshoot(layout, params), ordered, window
    )
    response = lag_gain(params.device.response_s, window.dt_s)
    own, own_series = state.own, jnp.zeros((window.ticks, len(parts)), common.dtype)
    if layout.own_noise:
        keys = folds(job.streams[wl.OWN_NOISE], jnp.arange(len(parts)))
        own, own_series = jax.vmap(fluctuation, (0, None, 0, None), (0, 1))(
            keys, workload.noise_correlation_s, own, window
        )
    # Sum of w^2 a^2 over devices, from that of w a^2: exact while all have the same amplitude a, so not in transitions.
    spread = jnp.stack([jnp.sum(p.weight**2) / jnp.sum(p.weight) for p in parts])

    def one(carry: tuple, xs: tuple) -> tuple[tuple, jax.Array]:
        target, amplitude, square, level = carry
        level_step, amplitude_step, square_step, common, own = xs
        target, amplitude, square = target + level_step, amplitude + amplitude_step, square + square_step
        level = level + response * (target - level)
        power = level
        if layout.noisy:
            power = power + jnp.sqrt(workload.noise_coherence) * amplitude * common
        if layout.own_noise:
            power = power + _root((1.0 - workload.noise_coherence) * spread * square) * own
        return (target, amplitude, square, level), power

    zero = jnp.zeros_like(state.level)
    level = jnp.where(window.first == 0, increments.level[0], state.level)
    (*_, level), power = jax.lax.scan(one, (zero, zero, zero, level), (*increments, common, own_series))
    after = {"progress": progress, "level": level, "own": own, "devices": ()}
    return after, power, power, marks, overflow


def _root(square: jax.Array) -> jax.Array:
    """Square root with slope 0 at and below 0, which rounding may reach."""
    some = square > 1e-12
    return jnp.where(some, jnp.sqrt(jnp.where(some, square, 1.0)), 0.0)


def _by_devices(
    layout: TrainingLayout,
    params: TrainingParams,
    state: TrainingState,
    job: Job,
    ordered: jax.Array,
    common: jax.Array,
    window: Window,
) -> tuple[dict, jax.Array, jax.Array, Marks, jax.Array]:
    """As `_by_events`."""
    gains = _gains(layout, params, job)
    keys = _own_keys(layout, job)
    groups = tuple(
        Group(rows, kernel.Devices(gains[rows], jnp.broadcast_to(count, gains[rows].shape), keys[rows]))
        for rows, count in _rows(layout)
    )
    carry, sums, marks, overflow = devices.advance(
        layout.job,
        params.job,
        job,
        _setting(layout, params, window.dt_s),
        groups,
        Carry(state.progress, state.devices),
        ordered,
        common,
        _cap(layout, params, ordered, window),
        window,
    )
    after = {"progress": carry.progress, "level": state.level, "own": state.own, "devices": carry.devices}
    return after, sums[..., 0], sums[..., 1], marks, overflow


def _watch(
    layout: TrainingLayout,
    params: TrainingParams,
    state: TrainingState,
    job: Job,
    ordered: jax.Array,
    common: jax.Array,
    window: Window,
) -> tuple[tuple[Progress, kernel.State] | None, jax.Array]:
    """The watched devices after the window, and (ticks / watch_every, devices) their power as a share of the range."""
    if state.watched is None:
        return None, jnp.zeros((0, 0), common.dtype)
    number = jnp.asarray(layout.watched, jnp.int32)
    rows = number // _stage_length(layout) if layout.job.alike else number
    gains, keys = _gains(layout, params, job)[rows], _own_keys(layout, job)[rows]
    group = Group(rows, kernel.Devices(gains, jnp.ones_like(gains), keys))
    carry, power, _, _ = devices.advance(
        layout.job,
        params.job,
        job,
        _setting(layout, params, window.dt_s),
        (group,),
        Carry(state.watched[0], (state.watched[1],)),
        ordered,
        common,
        _cap(layout, params, ordered, window),
        window,
        keep=True,
    )
    power = jnp.mean(power.reshape(-1, layout.watch_every, power.shape[1]), axis=1)
    return (carry.progress, carry.devices[0]), power


def _cap(layout: TrainingLayout, params: TrainingParams, ordered: jax.Array, window: Window) -> jax.Array:
    """(ticks,) power cap."""
    at = window.first + jnp.arange(window.ticks, dtype=jnp.int32)
    return iteration.cap_at(layout.job, params.job, jnp.broadcast_to(ordered, at.shape), at)


def _stage_length(layout: TrainingLayout) -> int:
    return -(-layout.job.devices // layout.job.stages)


def _rows(layout: TrainingLayout) -> list[tuple[slice, jax.Array]]:
    """For each group: its rows of the fleet, and the share of the group's devices that each row stands for."""
    dtype = jnp.result_type(float)
    if not layout.job.alike:
        every = layout.summed_every
        return [(slice(b, e, every), jnp.asarray(1.0 / len(range(b, e, every)), dtype)) for b, e in _borders(layout)]
    length, devices_ = _stage_length(layout), layout.job.devices
    stages = [(s, min(s + length, devices_)) for s in range(0, devices_, length)]
    return [
        (slice(None), jnp.asarray([max(min(e, t) - max(b, s), 0) / (e - b) for s, t in stages], dtype))
        for b, e in _borders(layout)
    ]


def _row_counts(layout: TrainingLayout) -> list[int]:
    """Devices that are emulated for each group."""
    if layout.job.alike:
        return [-(-layout.job.devices // _stage_length(layout))] * len(layout.groups)
    return [len(range(begin, end, layout.summed_every)) for begin, end in _borders(layout)]


def _borders(layout: TrainingLayout) -> list[tuple[int, int]]:
    """First device of each group, and the one after its last."""
    ends = list(running_sum(layout.groups))
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _gains(layout: TrainingLayout, params: TrainingParams, job: Job) -> jax.Array:
    """(rows of the fleet,) gain of each device: its power above idle over the nominal one."""
    spread = params.device.gain_spread
    if layout.job.alike:
        return jnp.ones(job.fleet.number.shape, spread.dtype)
    draws = even(job.streams[wl.GAINS], (layout.job.devices,), spread.dtype)
    return 1.0 + spread * wl.normal_of(draws)


def _own_keys(layout: TrainingLayout, job: Job) -> jax.Array:
    """(rows of the fleet,) keys of the devices' own draws."""
    return jax.random.bits(job.streams[wl.DEVICE_KEYS], job.fleet.number.shape, jnp.uint32)


def _switches(layout: TrainingLayout) -> kernel.Switches:
    limits = layout.limits
    return kernel.Switches(
        noisy=layout.noisy,
        own=layout.own_noise,
        smoothing=limits.smoothing,
        timers=limits.timers,
        averaged=limits.averaged,
        dummy=limits.dummy,
        cap=limits.cap,
    )


def _setting(layout: TrainingLayout, params: TrainingParams, dt_s: float) -> Setting:
    device, workload = params.device, params.job.workload
    made = settings(
        device.idle_w,
        device.tdp_w,
        device.response_s,
        workload.noise_correlation_s,
        workload.noise_coherence,
        params.smoothing,
        params.dummy,
        dt_s,
    )
    return Setting(_switches(layout), made, _overshoot(layout, params), layout.limits.dummy_period_ticks, layout.shards)


def _overshoot(layout: TrainingLayout, params: TrainingParams) -> Overshoot | None:
    """A rise from idle to TDP peaks at EDP."""
    if layout.overshoot_ticks is None:
        return None
    device = params.device
    height = (device.edp_fraction - 1.0) * device.tdp_w / (device.tdp_w - device.idle_w)
    return Overshoot(height, layout.overshoot_ticks)
