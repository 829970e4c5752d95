"""Scenarios of one structure run side by side: one compiled call per window, spread over all JAX devices."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from emulator import schema
from emulator.frame import Frame
from emulator.plant import Inputs, Layout, Params
from emulator.reading import once
from emulator.rollout import State, batch, initial_state
from emulator.scenario import Records, inputs_of, layout_of, params_of, records_of
from emulator.simulate import WINDOW_TICKS, run_ticks, structure_of, whole_chunks
from emulator.struct import stacked

ROWS_AT_ONCE = 1_000_000  # scenario-rows of a call: some 120 bytes each, twice
CUT = PartitionSpec("scenarios")


@dataclass(frozen=True)
class Group:
    """Scenarios of one structure."""

    places: list[int]  # of each in the sequence that was grouped; scenarios beyond these only fill up
    scenarios: list[schema.Scenario]
    layout: Layout
    records: list[Records]
    params: list[Params]


@once()
def groups_of(scenarios: Sequence[schema.Scenario]) -> list[Group]:
    """The scenarios in groups of one structure, in the order of their first ones."""
    groups: dict[Hashable, Group] = {}
    for i, scenario in enumerate(scenarios):
        records = records_of(scenario)
        layout, params = layout_of(scenario), params_of(scenario, records)
        group = groups.setdefault(structure_of(scenario, params), Group([], [], layout, [], []))
        group.places.append(i)
        group.scenarios.append(scenario)
        group.records.append(records)
        group.params.append(params)
    return list(groups.values())


def parts_of(group: Group, most: int) -> list[Group]:
    """The group in as few parts as there can be with at most `most` scenarios, or one for each device. All are of one
    size, for which a program is compiled once: the last one is filled up with repeats of its last scenario."""
    count = len(group.scenarios)
    parts = -(-count // max(most, jax.device_count()))
    size = -(-count // parts)

    def filled(its: list[Any], first: int) -> list[Any]:
        part = its[first : first + size]
        return [*part, *part[-1:] * (size - len(part))]

    return [
        Group(
            places=group.places[first : first + size],
            scenarios=filled(group.scenarios, first),
            layout=group.layout,
            records=filled(group.records, first),
            params=filled(group.params, first),
        )
        for first in range(0, count, size)
    ]


def windows(group: Group) -> Iterator[tuple[int, State, Frame]]:
    """Run a group. Yields the first tick of each window, the states after it and its frames.

    Both are on the host, with a leading axis of scenarios: those of the group, then repeats of the last one, so that
    every device has as many.
    """
    spare = -len(group.scenarios) % jax.device_count()
    scenarios = [*group.scenarios, *group.scenarios[-1:] * spare]
    records, each = [*group.records, *group.records[-1:] * spare], [*group.params, *group.params[-1:] * spare]
    layout, total = group.layout, run_ticks(scenarios[0])
    ticks = whole_chunks(layout, max(1, min(total, WINDOW_TICKS, ROWS_AT_ONCE * layout.every_ticks // len(scenarios))))

    def spread(trees: list[Any]) -> Any:
        return jax.device_put(stacked(trees), NamedSharding(_mesh(), CUT))

    step = jax.jit(_window, static_argnums=0)
    params, state = spread(each), spread([initial_state(layout, each[0])] * len(each))  # which no number is part of
    for first in range(0, total, ticks):
        inputs = spread([inputs_of(s, r, first, ticks) for s, r in zip(scenarios, records, strict=True)])
        state, frames = step(layout, params, state, inputs)
        yield first, *(jax.tree.map(np.asarray, tree) for tree in (state, frames))


def _mesh() -> Mesh:
    return Mesh(np.array(jax.devices()), ("scenarios",))


def _window(layout: Layout, params: Params, state: State, inputs: Inputs) -> tuple[State, Frame]:
    """All scenarios through a window, each device with its share of them."""
    share = jax.shard_map(partial(batch, layout), mesh=_mesh(), in_specs=CUT, out_specs=CUT, check_vma=False)
    return share(params, state, inputs)
