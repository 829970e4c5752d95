"""Running the plant: one chunk, and many. Streaming, tuning and sweeping all call `rollout`, nothing else.

A rollout first computes all jobs' power in its window, open loop and in parallel, then scans the closed loop over it,
chunk by chunk. A chunk is rematerialised in the backward pass: a gradient holds one state per chunk, not per tick.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator import plant
from emulator.cluster import demand
from emulator.plant import Frame, Inputs, Layout, Params, PlantState
from emulator.struct import quantity, struct
from emulator.units import W_PER_MW

STATES = ("soc", "speed_pu", "mechanical_mw", "tie_mw")


@struct
class State:
    """All that a run carries from one window to the next."""

    tick: jax.Array = quantity("tick", "", "next tick, int32")
    training: tuple[demand.TrainingState, ...] = quantity("")
    plant: PlantState = quantity("")
    overflow: jax.Array = quantity("1", "", "true once a window held more iterations than planned for")


def job_power(
    layout: Layout, params: Params, training: tuple[demand.TrainingState, ...], tick: jax.Array, inputs: Inputs
) -> tuple[tuple[demand.TrainingState, ...], jax.Array, jax.Array]:
    """(ticks, jobs) MW of all jobs in a window, the training states after it, and the overflow flag."""
    ticks = inputs.given_mw.shape[0]
    key = jax.random.key(inputs.seed)
    columns = {job: inputs.given_mw[:, i] for i, job in enumerate(layout.given_job)}
    after, overflow = [], jnp.asarray(False)
    for job, at, p, s in zip(layout.training_job, layout.training, params.training, training, strict=True):
        with jax.named_scope(f"job{job}"):
            s, power_w, over = demand.advance(at, p, s, key, tick, ticks, layout.dt_s)
        columns[job] = power_w / W_PER_MW
        overflow = overflow | over
        after.append(s)
    power = jnp.stack([columns[job] for job in range(layout.jobs)], axis=1) if columns else jnp.zeros((ticks, 0))
    return tuple(after), power, overflow


def initial_state(layout: Layout, params: Params) -> State:
    """Before the first tick. The plant has no state yet: `rollout` settles it under the first tick's load."""
    dtype = params.step_mw.dtype
    shape = jax.eval_shape(lambda p, power: plant.equilibrium(layout, p, power), params, jnp.zeros(layout.jobs, dtype))
    return State(
        tick=jnp.zeros((), jnp.int32),
        training=tuple(demand.initial(at, dtype) for at in layout.training),
        plant=jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shape),
        overflow=jnp.asarray(False),
    )


def advance(
    layout: Layout, params: Params, state: PlantState, first_tick: jax.Array, job_mw: jax.Array
) -> tuple[PlantState, Frame]:
    """The closed loop over one chunk. job_mw: (chunk_ticks, jobs). Frames come out every `every_ticks`."""

    def one(carry: PlantState, xs: tuple[jax.Array, jax.Array]) -> tuple[PlantState, Frame]:
        return plant.tick(layout, params, carry, *xs)

    ticks = first_tick + jnp.arange(layout.chunk_ticks, dtype=jnp.int32)
    state, frames = jax.lax.scan(one, state, (ticks, job_mw))
    return state, thinned(frames, layout.every_ticks)


def thinned(frames: Frame, every: int) -> Frame:
    """Means of powers, first values of states, union of status bits over every so many ticks."""
    if every == 1:
        return frames

    def groups(x: jax.Array) -> jax.Array:
        return x.reshape(x.shape[0] // every, every, *x.shape[1:])

    parts = {name: groups(getattr(frames, name)) for name in Frame.__dataclass_fields__}
    thin = {name: x[:, 0] if name in STATES else jnp.mean(x, axis=1) for name, x in parts.items() if name != "status"}
    return Frame(**thin, status=jax.lax.reduce_or(parts["status"], (1,)))


def rollout(layout: Layout, params: Params, state: State, inputs: Inputs) -> tuple[State, Frame]:
    """Emulate the window that `inputs` covers, a whole number of chunks. Pure and differentiable.

    Before tick 0 the plant is put into equilibrium under the load of that tick.
    Returns the state after it and the frames, (rows, ...) with rows = ticks / every_ticks.
    """
    ticks = inputs.given_mw.shape[0]
    training, power, overflow = job_power(layout, params, state.training, state.tick, inputs)
    settled = plant.equilibrium(layout, params, power[0])
    start = jax.tree.map(lambda new, old: jnp.where(state.tick == 0, new, old), settled, state.plant)
    chunks = ticks // layout.chunk_ticks
    firsts = state.tick + layout.chunk_ticks * jnp.arange(chunks, dtype=jnp.int32)
    chunked = power.reshape(chunks, layout.chunk_ticks, layout.jobs)

    @jax.checkpoint
    def one(carry: PlantState, xs: tuple[jax.Array, jax.Array]) -> tuple[PlantState, Frame]:
        return advance(layout, params, carry, *xs)

    after, frames = jax.lax.scan(one, start, (firsts, chunked))
    frames = jax.tree.map(lambda x: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), frames)
    state = State(tick=state.tick + ticks, training=training, plant=after, overflow=state.overflow | overflow)
    return state, frames
