"""How long phases take where power is withheld, by a cap or by the ceiling of power smoothing.

Power above idle goes with clock speed to the power `exponent`, and work with clock speed. The ceiling moves with the
smoothing floor. That is followed here for a nominal device (gain 1, no noise, no overshoot, no waiting, activity not
averaged) through its pauses and phases, before the devices are emulated; their own floors are in
`kernels/device_tick.py`, with the same settings. Levels are shares of a device's range; times are in ticks.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.kernels.device_tick import Settings
from emulator.struct import quantity, struct


@struct
class Floor:
    """Floor of a nominal device, and the timers that decide when it comes down."""

    height: jax.Array = quantity("1")
    quiet: jax.Array = quantity("tick", "", "without activity")
    held: jax.Array = quantity("tick", "", "at the top")


Piece = tuple[jax.Array, jax.Array]  # a level and how long it lasts


def at_rest(dtype: jnp.dtype) -> Floor:
    """Before a run."""
    zero = jnp.zeros((), dtype)
    return Floor(height=zero, quiet=zero, held=zero)


def settled(settings: Settings, active: jax.Array) -> Floor:
    """After a long time of activity, or without any."""
    return Floor(
        height=jnp.where(active, settings.floor, settings.rest_floor),
        quiet=jnp.where(active, 0.0, settings.stop_ticks),
        held=jnp.where(active, settings.hold_ticks, 0.0),
    )


def slowed(
    settings: Settings | None,
    floor: Floor | None,
    cap: jax.Array,
    exponent: jax.Array,
    before: list[Piece],
    level: jax.Array,
    work_s: jax.Array,
    dt_s: float,
) -> jax.Array:
    """(phases,) s that phases take, after pauses, under a cap and a ceiling.

    Args:
      settings, floor: None without smoothing.
      before: the pauses.
      level, work_s: (phases,) of the phases; `work_s` is how long each takes where nothing is withheld.
    """
    if settings is None or floor is None:
        return work_s * jnp.maximum(level / cap, 1.0) ** (1.0 / exponent)
    floor, ticks = followed(settings, floor, before), []
    for p in range(work_s.shape[0]):
        ticks.append(_lasting(settings, floor, cap, exponent, level[p], work_s[p] / dt_s))
        floor = _after(settings, floor, level[p], ticks[p])
    return dt_s * jnp.stack(ticks)


def _lasting(
    settings: Settings, floor: Floor, cap: jax.Array, exponent: jax.Array, level: jax.Array, work: jax.Array
) -> jax.Array:
    """Ticks of one phase.

    While the floor rises from h the ceiling is c(t) = h + width + up t, and work goes on at (c(t) / level)^(1/exponent)
    until the floor is at its top or the ceiling above what is let through then; from then on at a constant speed.
    """
    most = jnp.minimum(cap, settings.ceiling)
    slower = jnp.maximum(level / most, 1.0) ** (1.0 / exponent)
    start = floor.height + settings.width
    way = jnp.minimum(settings.floor - floor.height, jnp.minimum(level, most) - start)
    rises = (level > settings.active_above) & (way > 0.0)
    way, level = jnp.where(rises, way, 0.0), jnp.where(rises, level, 1.0)
    power = 1.0 + 1.0 / exponent  # of c in the integral of its speed
    rate = settings.up * power / level
    begun = (start / level) ** power
    done = (((start + way) / level) ** power - begun) / rate
    within = (level * (begun + work * rate) ** (1.0 / power) - start) / settings.up
    beyond = way / settings.up + (work - done) * slower
    return jnp.where(rises & (work < done), within, beyond)


def followed(settings: Settings, floor: Floor, pieces: list[Piece], until: jax.Array | float = jnp.inf) -> Floor:
    """The floor after all pieces in order, or at `until`, whichever comes first."""
    clock = jnp.zeros_like(floor.height)
    for level, ticks in pieces:
        floor = _after(settings, floor, level, jnp.clip(until - clock, 0.0, ticks))
        clock = clock + ticks
    return floor


def _after(settings: Settings, floor: Floor, level: jax.Array, ticks: jax.Array) -> Floor:
    """The floor after one piece, by the rules of `device_tick`."""
    active = level > settings.active_above
    missing = settings.floor - floor.height
    at_top = missing <= 0.0
    rest = jnp.maximum(settings.stop_ticks - floor.quiet, settings.hold_ticks - floor.held)
    wait = jnp.where(at_top, jnp.maximum(rest, 0.0), 0.0)
    up = jnp.minimum(floor.height + settings.up * ticks, settings.floor)
    down = jnp.maximum(floor.height - settings.down * jnp.maximum(ticks - wait, 0.0), settings.rest_floor)
    height = jnp.where(active, up, down)
    held = floor.held + jnp.maximum(ticks - missing / settings.up, 0.0)
    new = Floor(
        height=height,
        quiet=jnp.where(active, 0.0, floor.quiet + ticks),
        held=jnp.where(height >= settings.floor, held, 0.0),
    )
    return jax.tree.map(lambda new, old: jnp.where(ticks > 0.0, new, old), new, floor)
