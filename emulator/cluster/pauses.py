"""Pauses of a whole training job between iterations, and faults. Times in s, levels as shares of a device's range.

In order: what follows a fault or a start (rest, then a ramp in which devices come in one after the other), checkpoint,
evaluation, waiting for data.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from emulator.draws import uniform
from emulator.struct import quantity, static, struct

# Bits of a job's event channel: what begins in a tick.
ITERATION, CHECKPOINT, EVALUATION, STALL, FAULT, RESTART = 1, 2, 4, 8, 16, 32
UNMARKED = 0  # rest after a fault and coming in: the fault, its restart and the start are what is told


@struct
class PauseLayout:
    """Which pauses a job can have."""

    ramp: bool = static()  # devices come in one after the other, at the start or after a fault
    checkpoint: bool = static()
    evaluation_every: int = static()  # iterations; 0 = never
    stall: bool = static()
    fault: bool = static()


@struct
class PauseParams:
    """Numbers of the pauses; those of a pause that the layout lacks are zero and not used."""

    stage_in_s: jax.Array = quantity("s", "", "over which devices come in at the start")
    checkpoint_period_s: jax.Array = quantity("s")
    checkpoint_s: jax.Array = quantity("s")
    checkpoint_level: jax.Array = quantity("1")
    evaluation_s: jax.Array = quantity("s")
    evaluation_level: jax.Array = quantity("1")
    stall_probability: jax.Array = quantity("1")
    stall_s: jax.Array = quantity("s", "", "mean")
    stall_level: jax.Array = quantity("1")
    fault_per_s: jax.Array = quantity("1/s", "", "of the whole job")
    fault_rest_s: jax.Array = quantity("s")
    fault_level: jax.Array = quantity("1")
    fault_ramp_s: jax.Array = quantity("s")
    fault_ramp_level: jax.Array = quantity("1")


@struct
class Standing:
    """What decides on an iteration's pauses: carried from one iteration to the next."""

    starts: jax.Array = quantity("1", "", "true for the first iteration of a run")
    failed: jax.Array = quantity("1", "", "true where a fault ended the iteration before")
    unsaved_s: jax.Array = quantity("s", "", "time since the last checkpoint, or since work began")


class Pause(NamedTuple):
    """One pause of one iteration; of length 0 where it does not occur."""

    occurs: jax.Array
    duration_s: jax.Array
    level: jax.Array
    bit: int
    staged: bool = False  # devices enter it evenly over its length


def initial(dtype: jnp.dtype) -> Standing:
    """Before a run."""
    return Standing(starts=jnp.asarray(True), failed=jnp.asarray(False), unsaved_s=jnp.zeros((), dtype))


def draw(
    layout: PauseLayout, params: PauseParams, standing: Standing, number: jax.Array, key: jax.Array, first: jax.Array
) -> list[Pause]:
    """The pauses at the start of iteration `number`, whose random stream is `key`; `first` is its first level."""

    def pause(occurs: jax.Array, duration_s: jax.Array, level: jax.Array, bit: int, staged: bool = False) -> Pause:
        return Pause(occurs, jnp.where(occurs, duration_s, 0.0), level, bit, staged)

    pauses = []
    if layout.fault:
        pauses.append(pause(standing.failed, params.fault_rest_s, params.fault_level, UNMARKED))
    if layout.ramp:
        ramp_s = jnp.where(standing.failed, params.fault_ramp_s, params.stage_in_s)
        level = jnp.where(standing.failed, params.fault_ramp_level, first)
        occurs = (standing.failed | standing.starts) & (ramp_s > 0.0)
        pauses.append(pause(occurs, ramp_s, level, UNMARKED, staged=True))
    if layout.checkpoint:
        due = standing.unsaved_s >= params.checkpoint_period_s
        pauses.append(pause(due, params.checkpoint_s, params.checkpoint_level, CHECKPOINT))
    if layout.evaluation_every:
        due = (number % layout.evaluation_every == 0) & (number > 0)
        pauses.append(pause(due, params.evaluation_s, params.evaluation_level, EVALUATION))
    if layout.stall:
        chance, length = uniform(key, (2,), params.stall_s.dtype)
        pauses.append(
            pause(chance < params.stall_probability, -params.stall_s * jnp.log1p(-length), params.stall_level, STALL)
        )
    return pauses


def time_to_fault(params: PauseParams, key: jax.Array) -> jax.Array:
    """Time from an iteration's start to the job's next fault: exponential, so that drawing it anew for every iteration
    leaves faults a Poisson process."""
    draw = uniform(key, (), params.fault_per_s.dtype)
    return -jnp.log1p(-draw) / params.fault_per_s


def after(
    standing: Standing, pauses: list[Pause], length_s: jax.Array, failed: jax.Array, stopped: jax.Array
) -> Standing:
    """Standing of the next iteration. What was not saved is lost with a fault, and with it the time since then;
    there is nothing to save before devices are back."""
    unsaved_s = standing.unsaved_s + length_s
    for pause in pauses:
        if pause.bit == UNMARKED:
            unsaved_s = unsaved_s - pause.duration_s
        if pause.bit == CHECKPOINT:
            unsaved_s = jnp.where(pause.occurs, length_s - pause.duration_s, unsaved_s)  # counts from its end
    return Standing(starts=stopped, failed=failed & ~stopped, unsaved_s=jnp.where(failed | stopped, 0.0, unsaved_s))
