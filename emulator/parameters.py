"""The plant's numbers as a function of some of them, by dotted path: for gradients of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import jax
import numpy as np

from emulator import schema, tunables
from emulator.complaint import Path, must_be
from emulator.plant import Params
from emulator.scenario import Records, layout_of, params_of, records_of, shortest

if TYPE_CHECKING:
    from jax.typing import ArrayLike

STEP = 1e-3  # by which a number is moved to see what depends on it: any step that float32 resolves


def parameters(scenario: schema.Scenario) -> Callable[[Mapping[str, ArrayLike]], Params]:
    """What `rollout` takes as params, as a differentiable function of any of its numbers by their dotted paths.

        params_of = em.parameters(scenario)
        peak = lambda its: em.rollout(layout, params_of(its), state, inputs)[1].pcc_mw.max()
        jax.grad(peak)({"site.campus.controller.cutoff_hz": 0.01})

    Paths are those of `--set`, values in the unit of the key; all other numbers are the scenario's. A mapping is a
    pytree: gradients, optimizers and `vmap` take it as it is. Values are not checked against the key's range. Where
    they make iterations of a job less than half as long as the scenario's, its power is NaN.

    Raises (the function that is returned):
      PathError: no such key, or none that a gradient can follow: whole numbers, delays, whatever changes the structure.
    """
    must_be(scenario, schema.Scenario, "em.load(CONFIG)")
    records = records_of(scenario)
    known: dict[str, Path] = {}

    def params(values: Mapping[str, ArrayLike]) -> Params:
        for dotted in values:
            if dotted not in known:
                known[dotted] = _followed(scenario, records, dotted)
        return params_of(tunables.with_values(scenario, {known[k]: v for k, v in values.items()}), records)

    return params


def _followed(scenario: schema.Scenario, records: Records, dotted: str) -> Path:
    """Resolved path of a number that the plant's parameters depend on, and its structure does not."""
    path = tunables.tunable(scenario, dotted)
    layout = layout_of(scenario)
    if any(site.state_feedback for site in layout.sites):
        raise tunables.PathError(f"{dotted!r}: gains of 'lqr' are designed for each plant anew, no gradient follows")
    if "job" in path and any(site.planned_jobs for site in layout.sites):
        raise tunables.PathError(f"{dotted!r}: the schedule that 'feed_forward' plays would change with it")
    value = tunables.value_at(scenario, path)
    moved = tunables.replaced(scenario, path, value * (1.0 + STEP) or STEP)
    if shortest([layout_of(moved), layout]) != shortest([layout, layout_of(moved)]):
        message = f"{dotted!r} is static at {value:g}: it changes the structure of what is emulated"
        raise tunables.PathError(message if value else f"{message}; load the scenario with a value above 0")
    with jax.ensure_compile_time_eval():
        here, there = (jax.tree.leaves(params_of(each, records)) for each in (scenario, moved))
    if all(np.array_equal(a, b, equal_nan=True) for a, b in zip(here, there, strict=True)):
        raise tunables.PathError(f"{dotted!r} is static: no parameter of the plant depends on it")
    return path
