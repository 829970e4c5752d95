"""Disturbances from outside, all as steps that stay: a voltage sag is a step down and a step back up.

A step that begins within a tick counts there in part, so that energy does not depend on the tick.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from emulator.struct import static, struct

# What steps, and where: load of a site or an area, MW; generation and inertia that an area loses, MW and MW s; voltage
# and short-circuit ratio of the source behind a site's point of common coupling, pu and 1; share of a site's battery
# converters that have tripped; share of a tie that is out.
Signal = Literal[
    "site_load",
    "area_load",
    "generation_lost",
    "inertia_lost",
    "source_voltage",
    "short_circuit_ratio",
    "bess_lost",
    "tie_lost",
]


@struct
class StepLayout:
    """From `tick` + `fraction` on, at a site, in an area or on a tie."""

    signal: Signal = static()
    place: int = static()
    tick: int = static()
    fraction: float = static()


class Steps:
    """The steps of a run as they stand in one tick."""

    def __init__(self, layout: tuple[StepLayout, ...], size: jax.Array, number: jax.Array) -> None:
        """size: (steps,) how far each goes, in the unit of its signal. number: int32, the tick."""
        self._layout = layout
        self._zero = jnp.zeros((), size.dtype)
        self._now = [
            size[i] * jnp.where(number > at.tick, 1.0, jnp.where(number == at.tick, 1.0 - at.fraction, 0.0))
            for i, at in enumerate(layout)
        ]

    def at(self, signal: Signal, place: int) -> jax.Array:
        """Sum of the steps of a signal at one place."""
        pairs = zip(self._now, self._layout, strict=True)
        found = (now for now, its in pairs if its.signal == signal and its.place == place)
        return sum(found, self._zero)

    def of_all(self, signal: Signal, places: int) -> jax.Array:
        """(places,) likewise in all areas, or on all ties."""
        return jnp.stack([self.at(signal, at) for at in range(places)]) if places else jnp.zeros(0, self._zero.dtype)
