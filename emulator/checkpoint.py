"""Checkpoints of a run: all that it needs to go on to the same numbers, bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from emulator import schema
from emulator.account import Account
from emulator.carry import Checkpoint, gather, scatter
from emulator.jobs_schema import ReplayJob
from emulator.rollout import State
from emulator.scenario import jobs_of
from emulator.trace import Header

STATE, ACCOUNT, WALL_S = "state", "account", "wall_s"


def made_with(scenario: schema.Scenario, header: Header) -> dict[str, str]:
    """What the numbers of a run depend on, by name. Another program, compiler or number of processors may round sums
    differently."""
    found = {
        "config": header.config,
        "wattswing": header.emulator_version,
        "jax": jax.__version__,
        "platform": header.platform,
        "devices of JAX": str(jax.device_count()),
        "float": "float64" if header.double else "float32",
    }
    for _, job in jobs_of(scenario):
        if isinstance(job, ReplayJob):
            found[f"SHA-256 of {job.path}"] = hashlib.sha256(Path(job.path).read_bytes()).hexdigest()
    return found


def take(made_with: Mapping[str, str], state: State, account: Account, wall_s: float) -> Checkpoint:
    """Of a run before its next window. wall_s: what it has taken so far."""
    arrays = {f"{STATE}{path}": np.asarray(leaf) for path, leaf in _leaves(state)}
    arrays |= dict(gather(account, ACCOUNT)) | {WALL_S: np.asarray(wall_s)}
    return Checkpoint(made_with, arrays)


def resume(checkpoint: Checkpoint, state: State, account: Account) -> tuple[State, float]:
    """The state and the time taken so far, from a checkpoint; the account goes on from there too.

    Args:
      state, account: new ones of the same scenario.
    """
    arrays = [checkpoint.arrays[f"{STATE}{path}"] for path, _ in _leaves(state)]
    found = jax.tree.unflatten(jax.tree.structure(state), arrays)
    scatter(account, ACCOUNT, checkpoint.arrays)
    return found, float(checkpoint.arrays[WALL_S])


def _leaves(state: State) -> list[tuple[str, jax.Array]]:
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(state)]
