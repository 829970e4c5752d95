"""Judging tuned scenarios by the limits themselves, in NumPy, at any tick: nothing of the search's own measures.

Of each run only the quantities that clauses look at are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter

import jax
import jax.numpy as jnp
import numpy as np

from emulator import limits, limits_schema, plant, schema
from emulator.frame import Frame
from emulator.limits import Assessment
from emulator.recording import Quantity, Recording
from emulator.side_by_side import Group, groups_of, windows
from emulator.simulate import check, header_of, run_ticks
from emulator.storages import soc_places
from emulator.trace import row_times


def judged(scenarios: Sequence[schema.Scenario], clauses: limits_schema.Limits) -> list[Assessment]:
    """What each scenario's run comes to, clause by clause.

    Raises:
      SimulationError: a scenario asks for what the emulation cannot do.
    """
    found: dict[int, Assessment] = {}
    for group in groups_of(scenarios):
        assessments = (limits.assess(recording, clauses) for recording in _recordings(group))
        found |= zip(group.places, assessments, strict=True)
    return [found[i] for i in range(len(scenarios))]


def _recordings(group: Group) -> list[Recording]:
    """Of all scenarios of a group."""
    parts = []
    for first, states, kept in windows(group, keep=_kept):
        parts.append(kept)
        for i, scenario in enumerate(group.scenarios):
            check(scenario, group.params[i], first, jax.tree.map(itemgetter(i), states))
    rows = run_ticks(group.scenarios[0]) // group.layout.every_ticks
    whole = {name: np.concatenate([part[name] for part in parts], axis=1)[:, :rows] for name in parts[0]}
    return [_recording(s, {name: values[i] for name, values in whole.items()}) for i, s in enumerate(group.scenarios)]


def _kept(frames: Frame) -> dict[str, jax.Array]:
    """(scenarios, rows, places) of each quantity, and whether a voltage has collapsed."""
    return {
        "power": frames.pcc_mw,
        "voltage": frames.voltage_pu,
        "soc": jnp.concatenate([frames.soc, frames.battery_soc], axis=-1),
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
    batteries = soc_places(scenario)
    kept = {**kept, "frequency": nominal_hz * (1.0 + kept["frequency"].astype(np.float64))}

    def places(name: str, labels: Sequence[str]) -> dict[str, np.ndarray]:
        return dict(zip(labels, kept[name].T, strict=True))

    values: dict[Quantity, Mapping[str, np.ndarray]] = {
        "power": places("power", sites),
        "voltage": {at: v for at, v in places("voltage", sites).items() if at in with_pcc},
        "soc": {at: v for at, v in places("soc", tuple(batteries)).items() if batteries[at]},
        "frequency": places("frequency", header.labels["area"]),
        "tie flow": places("tie flow", header.labels["tie"]),
        "shaft torque": places("shaft torque", header.labels["section"]),
    }
    collapsed = bool(kept["collapse"].any())
    time_s = row_times(header, 0, len(kept["power"]))
    reason = "voltage collapse" if collapsed else ""
    return Recording(f"seed {scenario.run.seed}", time_s, header.row_s, True, nominal_hz, not collapsed, reason, values)
