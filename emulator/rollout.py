"""Running the plant through a window of ticks: `rollout`. Streaming, tuning and sweeping have no other way to do it.

    job_power     power of all jobs in the window: open loop, all ticks and devices in parallel
    closed_loop   the plant under that power, tick by tick: a scan over chunks, each a scan over ticks (`advance`)
A chunk is recomputed in the backward pass: a gradient holds one state per chunk, not one per tick.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from emulator import plant
from emulator.cluster import demand, serving
from emulator.cluster.iteration import Window
from emulator.frame import AT_START, COUNTED, OF_WINDOW, ExternalGrid, Frame, Jobs
from emulator.plant import Inputs, Layout, Params, PlantState
from emulator.struct import quantity, struct
from emulator.units import W_PER_MW

FLAGS = ("status", "job_bits")  # fields of a frame that are bits, some of which may be set in single ticks only
Tree = TypeVar("Tree")


@struct
class State:
    """All that a run carries from one window to the next."""

    tick: jax.Array = quantity("tick", "", "next tick, int32")
    training: tuple[demand.TrainingState, ...] = quantity("")
    inference: tuple[serving.InferenceState, ...] = quantity("")
    ordered_w: jax.Array = quantity("W", "training jobs", "power cap per accelerator that the site orders")
    plant: PlantState = quantity("")
    overflow: jax.Array = quantity("1", "", "true once a window has held more iterations than planned for")


class JobWork(NamedTuple):
    """What all jobs do in a window of ticks."""

    states: tuple[tuple[demand.TrainingState, ...], tuple[serving.InferenceState, ...]]  # after the window
    jobs: Jobs  # with a leading axis of ticks
    watched_w: jax.Array  # (rows, watched devices), in rows of their own
    overflow: jax.Array  # true where the window held more iterations than planned for
    counts: jax.Array  # (rows, jobs, COUNTED) how much of each there was in a row


def job_power(layout: Layout, params: Params, state: State, inputs: Inputs) -> JobWork:
    """Power of all jobs in the window that `inputs` covers, from `state.tick` on: open loop, all ticks at once.

    That of a job with more iterations in it than planned for would be wrong: it is NaN.
    """
    window = Window(state.tick, inputs.given_mw.shape[0], layout.dt_s)
    key = jax.random.key(inputs.seed)
    dtype = inputs.given_mw.dtype
    power = {job: inputs.given_mw[:, i] for i, job in enumerate(layout.given_job)}
    serving_after, counts = [], {}
    for i, job in enumerate(layout.inference_job):
        with jax.named_scope(f"job{job}"):
            its, numbers = layout.inference[i], params.inference[i]
            after, power_w, requests = serving.advance(its, numbers, state.inference[i], key, window)
        serving_after.append(after)
        counts[job] = jnp.pad(requests.astype(dtype), ((0, 0), (len(COUNTED) - 2, 0)))
        power[job] = power_w / W_PER_MW
    wanted, bits = dict(power), {job: jnp.zeros(window.ticks, jnp.int32) for job in power}
    halls = [jnp.zeros(window.ticks, dtype) for _ in range(layout.halls)]
    whole_jobs = (*layout.given_job, *layout.inference_job)  # each in one hall
    for job, hall in zip(
        whole_jobs, (*layout.given_hall, *layout.inference_hall), strict=False
    ):  # none unless recorded
        halls[hall] = halls[hall] + power[job]
    training_after, watched, overflow = [], [], jnp.asarray(False)
    for i, job in enumerate(layout.training_job):
        with jax.named_scope(f"job{job}"):
            job_layout, p, ordered_w = layout.training[i], params.training[i], state.ordered_w[i]
            after, found = demand.advance(job_layout, p, state.training[i], key, ordered_w, window)
        power[job] = jnp.where(found.overflow, jnp.nan, jnp.sum(found.power_w, axis=1) / W_PER_MW)
        wanted[job] = jnp.sum(found.wanted_w, axis=1) / W_PER_MW
        bits[job] = found.bits
        counts[job] = _counts(found)
        for group, hall in enumerate(layout.training_halls[i]):
            halls[hall] = halls[hall] + found.power_w[:, group] / W_PER_MW
        overflow = overflow | found.overflow
        training_after.append(after)
        if job_layout.watched:
            watched.append(found.watched_w)

    def columns(parts: list[jax.Array], kind: jnp.dtype) -> jax.Array:
        return jnp.stack(parts, axis=1) if parts else jnp.zeros((window.ticks, 0), kind)

    every_job = range(layout.jobs)
    jobs = Jobs(
        mw=columns([power[job] for job in every_job], dtype),
        wanted_mw=columns([wanted[job] for job in every_job], dtype),
        bits=columns([bits[job] for job in every_job], jnp.int32),
        hall_mw=columns(halls, dtype),
    )
    watched_w = jnp.concatenate(watched, axis=1) if watched else jnp.zeros((0, 0), dtype)
    none = jnp.zeros((window.ticks, len(COUNTED)), dtype)
    rows = jnp.zeros((window.ticks // layout.every_ticks, 0, len(COUNTED)), dtype)
    for job in every_job:
        counted = counts.get(job, none).reshape(rows.shape[0], layout.every_ticks, 1, len(COUNTED)).sum(axis=1)
        rows = jnp.concatenate([rows, counted], axis=1)
    return JobWork((tuple(training_after), tuple(serving_after)), jobs, watched_w, overflow, rows)


def _counts(found: demand.Demand) -> jax.Array:
    """(ticks, COUNTED) of a training job."""
    begin = [(found.bits >> place) & 1 for place in range(COUNTED.index("lost_iteration_s"))]
    none = jnp.zeros_like(found.lost_s)
    return jnp.stack([*(its.astype(none.dtype) for its in begin), found.lost_s, none, none], axis=1)


def initial_state(layout: Layout, params: Params) -> State:
    """Before the first tick. The plant is all zeros yet: `rollout` puts it into equilibrium at tick 0."""
    dtype = params.step_size.dtype
    shape = jax.eval_shape(lambda p, power: plant.equilibrium(layout, p, power), params, jnp.zeros(layout.jobs, dtype))
    return State(
        tick=jnp.zeros((), jnp.int32),
        training=tuple(demand.initial(at, dtype) for at in layout.training),
        inference=tuple(serving.initial(at, dtype) for at in layout.inference),
        ordered_w=jnp.full(len(layout.training), jnp.inf, dtype),
        plant=jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shape),
        overflow=jnp.asarray(False),
    )


def advance(
    layout: Layout, params: Params, state: PlantState, first_tick: jax.Array, jobs: Jobs, external: ExternalGrid | None
) -> tuple[PlantState, Frame]:
    """The closed loop over one chunk of ticks; `jobs` and `external` have a leading axis of ticks.

    Returns the state after it and (chunk_ticks / every_ticks, ...) frames.
    """

    def one(carry: PlantState, xs: tuple[jax.Array, Jobs, ExternalGrid | None]) -> tuple[PlantState, Frame]:
        return plant.tick(layout, params, carry, *xs)

    ticks = first_tick + jnp.arange(layout.chunk_ticks, dtype=jnp.int32)
    state, frames = jax.lax.scan(one, state, (ticks, jobs, external))
    return state, thinned(frames, layout.every_ticks)


def thinned(frames: Frame, every: int) -> Frame:
    """Frames of rows of so many ticks each: means of powers, first values of states, union of bits."""
    if every == 1:
        return frames

    def groups(x: jax.Array) -> jax.Array:
        return x.reshape(x.shape[0] // every, every, *x.shape[1:])

    parts = {name: groups(getattr(frames, name)) for name in Frame.__dataclass_fields__ if name not in OF_WINDOW}
    thin = {
        name: x[:, 0] if name in AT_START else jnp.mean(x, axis=1) for name, x in parts.items() if name not in FLAGS
    }
    flags = {name: jax.lax.reduce_or(parts[name], (1,)) for name in FLAGS}
    return Frame(**thin, **flags, watched_w=frames.watched_w, job_counts=frames.job_counts)


def rollout(layout: Layout, params: Params, state: State, inputs: Inputs) -> tuple[State, Frame]:
    """Emulate the window that `inputs` covers, a whole number of chunks. Pure and differentiable.

    At tick 0 the plant is put into equilibrium under the load of that tick. Where a site orders power caps, its jobs
    are computed chunk by chunk, each under the orders that follow from the chunk before.

    Returns the state after the window, and the frames: (rows, ...) with rows = ticks / every_ticks.
    """
    if all(site.power_limit is None for site in params.sites):
        return _window(layout, params, state, inputs)

    def chunk(state: State, xs: tuple[jax.Array, ExternalGrid | None]) -> tuple[State, Frame]:
        return _window(layout, params, state, Inputs(inputs.seed, *xs))

    state, frames = jax.lax.scan(chunk, state, _in_chunks(layout, (inputs.given_mw, inputs.external)))
    return state, _joined(frames)


def batch(layout: Layout, params: Params, state: State, inputs: Inputs) -> tuple[State, Frame]:
    """`rollout` of many scenarios: all arguments and results have a leading axis of scenarios.

    Job power is computed scenario by scenario, since scattering events is no faster for many scenarios at once. The
    closed loop runs for all of them side by side.
    """
    if any(site.power_limit is not None for site in params.sites):
        return jax.lax.map(lambda each: rollout(layout, *each), (params, state, inputs))
    work = jax.lax.map(lambda each: job_power(layout, *each), (params, state, inputs))
    return jax.vmap(partial(closed_loop, layout))(params, state, work, inputs.external)


def slice_of(work: JobWork, begin: jax.Array, ticks: int) -> JobWork:
    """Some ticks of a window, from tick `begin` of it on, for drivers that learn of the grid step by step.

    The jobs' states stay those after the whole window: only its last slice may be followed by another window.
    """
    states, jobs, watched_w, overflow, counts = work
    whole = jobs.mw.shape[0]

    def cut(x: jax.Array) -> jax.Array:
        rows = x.shape[0] * ticks // whole
        return jax.lax.dynamic_slice_in_dim(x, begin * rows // ticks, rows)

    return JobWork(states, jax.tree.map(cut, jobs), cut(watched_w), overflow, cut(counts))


def _window(layout: Layout, params: Params, state: State, inputs: Inputs) -> tuple[State, Frame]:
    """A window throughout which the same orders to the jobs hold."""
    return closed_loop(layout, params, state, job_power(layout, params, state, inputs), inputs.external)


def closed_loop(
    layout: Layout, params: Params, state: State, work: JobWork, external: ExternalGrid | None
) -> tuple[State, Frame]:
    """The plant under the power of its jobs in a window, and the power caps that its sites order from that."""
    (training, inference), jobs, watched_w, overflow, counts = work
    settled = plant.equilibrium(layout, params, jobs.mw[0], jax.tree.map(lambda x: x[0], external))
    start = jax.tree.map(lambda new, old: jnp.where(state.tick == 0, new, old), settled, state.plant)
    ticks = jobs.mw.shape[0]
    firsts = state.tick + jnp.arange(0, ticks, layout.chunk_ticks, dtype=jnp.int32)

    @jax.checkpoint
    def one(carry: PlantState, xs: tuple[jax.Array, Jobs, ExternalGrid | None]) -> tuple[PlantState, Frame]:
        return advance(layout, params, carry, *xs)

    after, frames = jax.lax.scan(one, start, (firsts, *_in_chunks(layout, (jobs, external))))
    frames = replace(_joined(frames), watched_w=watched_w, job_counts=counts)
    state = State(
        tick=state.tick + ticks,
        training=training,
        inference=inference,
        ordered_w=plant.orders(layout, params, state.ordered_w, frames),
        plant=after,
        overflow=state.overflow | overflow,
    )
    return state, frames


def _in_chunks(layout: Layout, tree: Tree) -> Tree:
    """Leaves (ticks, ...) to (chunks, chunk_ticks, ...)."""
    return jax.tree.map(lambda x: x.reshape(x.shape[0] // layout.chunk_ticks, layout.chunk_ticks, *x.shape[1:]), tree)


def _joined(frames: Frame) -> Frame:
    """(chunks, rows, ...) to (all rows, ...)."""
    return jax.tree.map(lambda x: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), frames)
