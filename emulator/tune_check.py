"""Judging a tuned scenario by the limits themselves, in NumPy, at any tick: nothing of the search's own measures.

Runs of one structure go side by side, window by window; of each only the quantities that clauses look at are kept.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from emulator import limits, limits_schema, plant, schema
from emulator.frame import Frame
from emulator.limits import Assessment
from emulator.plant import Inputs, Params
from emulator.recording import Quantity, Recording
from emulator.rollout import State, batch, initial_state
from emulator.scenario import Records, inputs_of, layout_of, params_of, records_of
from emulator.simulate import WINDOW_TICKS, check, header_of, run_ticks, structure_of, whole_chunks
from emulator.struct import stacked
from emulator.trace import row_times

ROWS_AT_ONCE = 1_000_000  # scenario-rows of a call


def judged(scenarios: Sequence[schema.Scenario], clauses: limits_schema.Limits) -> list[Assessment]:
    """What each scenario's run comes to, clause by clause.

    Raises:
      SimulationError: a scenario asks for what the emulation cannot do.
    """
    records = [records_of(scenario) for scenario in scenarios]
    groups: dict[Hashable, list[int]] = {}
    for i, (scenario, its) in enumerate(zip(scenarios, records, strict=True)):
        groups.setdefault(structure_of(scenario, params_of(scenario, its)), []).append(i)
    found: dict[int, Assessment] = {}
    for places in groups.values():
        recordings = _recordings([scenarios[i] for i in places], [records[i] for i in places])
        found |= zip(places, (limits.assess(recording, clauses) for recording in recordings), strict=True)
    return [found[i] for i in range(len(scenarios))]


def _recordings(scenarios: Sequence[schema.Scenario], its: Sequence[Records]) -> list[Recording]:
    """Of scenarios of one structure."""
    spare = -len(scenarios) % jax.device_count()
    padded, records = [*scenarios, *[scenarios[-1]] * spare], [*its, *[its[-1]] * spare]
    layout, total = layout_of(scenarios[0]), run_ticks(scenarios[0])
    mesh, cut = Mesh(np.array(jax.devices()), ("scenarios",)), PartitionSpec("scenarios")

    def spread(trees: list[Any]) -> Any:
        return jax.device_put(stacked(trees), NamedSharding(mesh, cut))

    def window(params: Params, state: State, inputs: Inputs) -> tuple[State, dict[str, jax.Array]]:
        state, frames = batch(layout, params, state, inputs)
        return state, _kept(frames)

    step = jax.jit(jax.shard_map(window, mesh=mesh, in_specs=cut, out_specs=cut, check_vma=False))
    each = [params_of(s, r) for s, r in zip(padded, records, strict=True)]
    params, state = spread(each), spread([initial_state(layout, p) for p in each])
    ticks = whole_chunks(layout, max(1, min(total, WINDOW_TICKS, ROWS_AT_ONCE * layout.every_ticks // len(padded))))
    parts = []
    for first in range(0, total, ticks):
        inputs = spread([inputs_of(s, r, first, ticks) for s, r in zip(padded, records, strict=True)])
        state, kept = step(params, state, inputs)
        parts.append(jax.tree.map(np.asarray, kept))
        here = jax.tree.map(np.asarray, state)
        for i, scenario in enumerate(scenarios):
            check(scenario, each[i], first, jax.tree.map(lambda x, i=i: x[i], here))
    rows = total // layout.every_ticks
    whole = {name: np.concatenate([part[name] for part in parts], axis=1)[:, :rows] for name in parts[0]}
    return [_recording(s, {name: values[i] for name, values in whole.items()}) for i, s in enumerate(scenarios)]


def _kept(frames: Frame) -> dict[str, jax.Array]:
    """(scenarios, rows, places) of each quantity, and whether a voltage has collapsed."""
    return {
        "power": frames.pcc_mw,
        "voltage": frames.voltage_pu,
        "soc": frames.soc,
        "frequency": frames.speed_pu,
        "tie flow": frames.tie_mw,
        "shaft torque": frames.shaft_torque_pu,
        "collapse": (frames.status & plant.VOLTAGE_COLLAPSE) > 0,
    }


def _recording(scenario: schema.Scenario, kept: Mapping[str, np.ndarray]) -> Recording:
    """As `recording.of_trace` of the scenario's trace."""
    header = header_of(scenario)
    nominal_hz, sites = header.frequency_hz, header.labels["site"]
    with_pcc = {site.name for site in scenario.site if site.pcc}
    with_battery = {site.name for site in scenario.site if site.bess}

    kept = {**kept, "frequency": nominal_hz * (1.0 + kept["frequency"].astype(np.float64))}

    def places(name: str, labels: Sequence[str]) -> dict[str, np.ndarray]:
        return dict(zip(labels, kept[name].T, strict=True))

    values: dict[Quantity, Mapping[str, np.ndarray]] = {
        "power": places("power", sites),
        "voltage": {at: v for at, v in places("voltage", sites).items() if at in with_pcc},
        "soc": {at: v for at, v in places("soc", sites).items() if at in with_battery},
        "frequency": places("frequency", header.labels["area"]),
        "tie flow": places("tie flow", header.labels["tie"]),
        "shaft torque": places("shaft torque", header.labels["section"]),
    }
    collapsed = bool(kept["collapse"].any())
    time_s = row_times(header, 0, len(kept["power"]))
    reason = "voltage collapse" if collapsed else ""
    return Recording(f"seed {scenario.run.seed}", time_s, header.row_s, True, nominal_hz, not collapsed, reason, values)
