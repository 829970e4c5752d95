"""Relays of the grid: frequency stages that shed load or generation, and ties that open when overloaded.

A relay picks up while its quantity, at the start of the tick, is beyond the set point, and acts once it has done so for
its delay: seen first at tick k, a relay of n ticks acts from tick k + n on. A stage of shedding returns by the same
rule once the frequency has come back to its restoring value; an opened tie stays open.
Counters and positions are integers: no derivative goes through them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from emulator.blocks import sum_at
from emulator.struct import quantity, static, struct

OVERLOADED, OPEN, OUT_OF_STEP = 1, 2, 4  # bits of a tie


@struct
class ProtectionLayout:
    """Frequency stages and ties; delays in ticks, -1 = never."""

    stage_area: tuple[int, ...] = static()
    stage_under: tuple[bool, ...] = static()  # sheds load below its set point; else generation above it
    stage_ticks: tuple[int, ...] = static()
    restore_ticks: tuple[int, ...] = static()
    tie_ticks: tuple[int, ...] = static()


@struct
class ProtectionParams:
    stage_speed_pu: jax.Array = quantity("pu", "stages", "set point, deviation")
    restore_speed_pu: jax.Array = quantity("pu", "stages")
    share: jax.Array = quantity("1", "stages", "of the area's other load or of its generation, at the start")
    tie_limit_mw: jax.Array = quantity("MW", "ties", "infinite = none")


@struct
class ProtectionState:
    stage_count: jax.Array = quantity("ticks", "stages", "int32, for how long the stage has asked to change")
    shed: jax.Array = quantity("1", "stages", "int32, 1 = has shed")
    tie_count: jax.Array = quantity("ticks", "ties", "int32")
    opened: jax.Array = quantity("1", "ties", "int32, 1 = open")


def initial(layout: ProtectionLayout) -> ProtectionState:
    """Nothing picked up."""
    stages, ties = (jnp.zeros(len(x), jnp.int32) for x in (layout.stage_area, layout.tie_ticks))
    return ProtectionState(stage_count=stages, shed=stages, tie_count=ties, opened=ties)


def step(
    layout: ProtectionLayout,
    params: ProtectionParams,
    state: ProtectionState,
    speed_pu: jax.Array,
    tie_mw: jax.Array,
) -> ProtectionState:
    """Positions for the tick that begins with these (stages,) speed deviations and (ties,) flows."""
    sign = np.where(layout.stage_under, 1.0, -1.0).astype(speed_pu.dtype)
    shed = state.shed > 0
    low = sign * speed_pu <= sign * params.stage_speed_pu
    back = sign * speed_pu >= sign * params.restore_speed_pu
    stage_count = jnp.where(jnp.where(shed, back, low), state.stage_count + 1, 0)
    changes = stage_count > jnp.where(shed, _ticks(layout.restore_ticks), _ticks(layout.stage_ticks))
    tie_count = jnp.where(jnp.abs(tie_mw) > params.tie_limit_mw, state.tie_count + 1, 0)
    return ProtectionState(
        stage_count=jnp.where(changes, 0, stage_count),
        shed=jnp.where(changes, 1 - state.shed, state.shed),
        tie_count=tie_count,
        opened=state.opened | (tie_count > _ticks(layout.tie_ticks)).astype(jnp.int32),
    )


def _ticks(delays: tuple[int, ...]) -> np.ndarray:
    """Delays as a counter compares with them."""
    return np.array([np.iinfo(np.int32).max if ticks < 0 else ticks for ticks in delays], np.int32)


def shed_mw(
    layout: ProtectionLayout,
    params: ProtectionParams,
    state: ProtectionState,
    load_mw: jax.Array,
    generation_mw: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """(areas,) load and (areas,) generation shed, from (areas,) those of the start."""
    part = params.share * state.shed.astype(params.share.dtype)
    found = []
    for under, whole in ((True, load_mw), (False, generation_mw)):
        places = [i for i, it in enumerate(layout.stage_under) if it is under]
        parts = jnp.stack([part[i] for i in places]) if places else jnp.zeros(0, part.dtype)
        found.append(whole * sum_at(parts, tuple(layout.stage_area[i] for i in places), whole.shape[0]))
    return found[0], found[1]


def stage_bits(layout: ProtectionLayout, state: ProtectionState, areas: int) -> jax.Array:
    """(areas,) int32, a bit for each of an area's stages that has shed, in the order of the configuration."""
    place = [layout.stage_area[:i].count(area) for i, area in enumerate(layout.stage_area)]
    return (
        sum_at(state.shed << np.array(place, np.int32), layout.stage_area, areas)
        if place
        else jnp.zeros(areas, jnp.int32)
    )


def tie_bits(state: ProtectionState, params: ProtectionParams, tie_mw: jax.Array, angle_rad: jax.Array) -> jax.Array:
    """(ties,) int32 bits; out of step = the angle across a closed tie has passed 180 degrees."""
    over = jnp.where(jnp.abs(tie_mw) > params.tie_limit_mw, OVERLOADED, 0)
    slips = jnp.where((jnp.abs(angle_rad) > jnp.pi) & (state.opened == 0), OUT_OF_STEP, 0)
    return over | OPEN * state.opened | slips
