"""history.h5: every step of a search, and its whole state, so that it can go on to the same numbers.

`/step` has one row a step, `/state` the arrays that the search carries, in order. A file is written beside the old one
and put in its place in one move: a kill leaves the old or the new one, never a part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import emulator
from emulator.trace import SCHEMA_VERSION, TraceError
from emulator.traces.filesystem import whole
from emulator.traces.opening import cause

MEANING = {  # of each column: unit, long name
    "objective": ("1", "weighted sum of the terms over the training scenarios"),
    "value": ("1", "tuned parameters, each in its own unit"),
    "excess": ("1", "excess of each clause over the scenarios, as a share of what it allows; negative = room"),
    "room": ("1", "margin of each clause in the worst scenario, in the clause's unit"),
    "cost": ("1", "costs, mean over the scenarios"),
    "gradient": ("1", "of the Lagrangian, by unbounded place"),
}


@dataclass(frozen=True)
class History:
    """A search so far."""

    fingerprint: str  # of what was searched for: resolved configuration and version
    columns: Mapping[str, np.ndarray]  # (steps, starts, ...) by name, see MEANING
    state: Sequence[np.ndarray]  # leaves of what the search carries
    labels: Mapping[str, Sequence[str]]  # names of parameters, clauses and costs


def write(path: Path, history: History) -> None:
    """Write the file in one move.

    Raises:
      TraceError: it cannot be written.
    """
    with whole(path) as part, h5py.File(part, "w", libver=("v110", "v110")) as file:
        _fill(file, history)


def _fill(file: h5py.File, history: History) -> None:
    file.attrs["schema_version"] = SCHEMA_VERSION
    file.attrs["emulator_version"] = emulator.__version__
    file.attrs["created_utc"] = datetime.now(UTC).isoformat(timespec="seconds")
    file.create_dataset("config", data=history.fingerprint)
    steps = file.create_group("step")
    rows = len(history.columns["objective"])
    scale = steps.create_dataset("step", data=np.arange(rows))
    scale.make_scale("step")
    for name, values in history.columns.items():
        data = steps.create_dataset(name, data=values)
        data.attrs["units"], data.attrs["long_name"] = MEANING[name]
        data.dims[0].attach_scale(scale)
    for name, labels in history.labels.items():
        steps.attrs[name] = list(labels)
    state = file.create_group("state")
    for i, leaf in enumerate(history.state):
        state.create_dataset(f"{i:04d}", data=leaf)


def read(path: Path) -> History:
    """Read a file back, every bit of it.

    Raises:
      TraceError: there is none, or it is none of ours.
    """
    try:
        with h5py.File(path, "r") as file:
            steps: Any = file["step"]
            state: Any = file["state"]
            config: Any = file["config"]
            return History(
                fingerprint=config[()].decode(),
                columns={name: steps[name][...] for name in MEANING},
                state=[state[name][()] for name in sorted(state)],
                labels={name: list(steps.attrs[name]) for name in steps.attrs},
            )
    except FileNotFoundError as error:
        raise TraceError(f"{path}: no such file: nothing to resume") from error
    except (OSError, KeyError) as error:
        raise TraceError(f"{path}: is no history of a search ({cause(error)})") from error
