"""Tuning by gradient: the controller, and the battery's size, that meet limits at least cost, on scenarios not seen.

The search (`tune_search`) runs on the training seeds. What it found is then judged by the limits themselves on the
held-out seeds, at the tuning tick and at the configuration's own (`tune_result`). They enter nothing before that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import emulator
from emulator import schema, toml_text, tunables, tune_report, tune_result, tune_search
from emulator.complaint import must_be
from emulator.reading import once
from emulator.struct import as_array
from emulator.trace import TraceError
from emulator.traces import history as histories
from emulator.traces.filesystem import must_be_writable
from emulator.traces.history import History
from emulator.tune_batch import Batches, batch_of, measures, separately
from emulator.tune_problem import Task, named, task_of
from emulator.tune_schema import Term
from emulator.tune_search import AIM, Carry, Record

PARETO_AIMS = (AIM, 0.1, 0.3)  # how far inside the limits the searches of a front aim
HISTORY = "history.h5"  # in the folder of results
COLUMNS = ("objective", "value", "excess", "room", "cost", "gradient")  # of a record, into the history


class TuningError(Exception):
    """The search cannot go on; says where."""


@dataclass(frozen=True)
class Progress:
    """Of a search, after a step. Figures are those of the best start."""

    steps: int
    objective: float
    worst_margin: float  # as a share of what its clause allows; positive = room; NaN without limits
    step_s: float


@dataclass(frozen=True)
class Tuned:
    """What a search found."""

    scenario: schema.Scenario  # the configuration with the tuned values, at its own tick
    parameters: Mapping[str, float]
    summary: Mapping[str, Any]  # as summary.json
    history: History
    complete: bool  # False where Ctrl-C ended it early


def _silent(_: Any) -> None:
    """Nobody listens."""


@once()
def tune(
    scenario: schema.Scenario,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    pareto: int = 0,
    progress: Callable[[Progress], object] = _silent,
    warn: Callable[[str], object] = _silent,
) -> Tuned:
    """Search as [tune] says. With `out`, a folder, the files of docs/tuning.md are written there as the search goes.

    Ctrl-C ends the search; what was best so far is then the result, not judged on held-out seeds.

    Args:
      resume: go on from the history in `out`, to the same numbers as without the interruption.
      pareto: searches along a front of battery power against energy, 0 = none.

    Raises:
      ConfigError: a [tune] that cannot be computed, or limits that nothing at the bounds comes near to.
      TuningError: a gradient that is not finite.
      SimulationError: a scenario asks for what the emulation cannot do.
      TraceError: a history that cannot be written or resumed.
      TypeError: no scenario.
    """
    must_be(scenario, schema.Scenario, "em.load(CONFIG)")
    begun, folder = time.perf_counter(), None if out is None else Path(out)
    task = task_of(_for_front(scenario, pareto))
    if task.tune.optimizer not in (names := tune_search.optimizers()):
        raise tune_result.refused("tune.optimizer", f"{task.tune.optimizer!r} is unknown", names)
    old = _earlier(folder) if resume else None
    if folder is not None:
        must_be_writable(folder / HISTORY)
    train = batch_of(task, task.tune.train_seeds)
    evaluate = jax.jit(lambda values, scenarios: measures(task, values, scenarios))
    before = evaluate(as_array(task.start), train)
    warnings = tune_result.corner_warnings(task, lambda values: evaluate(values, train), before)
    for warning in warnings:
        warn(warning)
    search = _Search(task, train, max(abs(tune_result.objective(task, before)), 1e-12), pareto, folder)
    if old is not None:
        search.resume(old)
    complete = search.run(progress)
    values = best(task, search.history())
    tuned = tunables.with_values(scenario, dict(zip(task.paths, map(float, values), strict=True)))
    summary = tune_result.summary(task, evaluate, train, before, values, search.steps)
    summary |= {"complete": complete, "warnings": warnings}
    if pareto:
        summary["pareto"] = tune_result.front(task, search.history())
    if complete:
        summary |= tune_result.judged(scenario, task, evaluate, values)
    summary["seconds"] = time.perf_counter() - begun
    result = Tuned(tuned, summary["parameters"], summary, search.history(), complete)
    if folder is not None:
        tune_report.write(folder, scenario, tuned, task, summary, result.history)
    return result


def _earlier(out: Path | None) -> History:
    """History of a search that ended before its last step."""
    if out is None:
        raise TraceError("nothing to resume: no folder is given")
    return histories.read(out / HISTORY)


def best(task: Task, history: History) -> np.ndarray:
    """(parameters,) values of the best step, rounded to single precision's seven digits within the bounds."""
    found = [float(f"{value:.7g}") for value in history.columns["value"][tune_result.best_place(task, history)]]
    return np.clip(found, task.low, task.high)


def _for_front(scenario: schema.Scenario, searches: int) -> schema.Scenario:
    """The scenario with both sizes among the terms, and a start for every search of a front."""
    tune = scenario.tune
    if tune is None or not searches:
        return scenario
    has = {term.term for term in tune.objective}
    sizes = tuple(Term(term=name, weight=0.0) for name in ("bess_power", "bess_energy") if name not in has)
    starts = searches * len(PARETO_AIMS)
    wider = tune.model_copy(update={"objective": (*tune.objective, *sizes), "starts": starts})
    return scenario.model_copy(update={"tune": wider})


class _Search:
    """The loop over steps: state, records, saves."""

    def __init__(self, task: Task, train: Batches, scale: float, pareto: int, out: Path | None) -> None:
        self._task, self._train, self._out = task, train, out
        places = tune_search.places_of(task)
        weights, aims = jnp.tile(tune_search.weights_of(task), (len(places), 1)), jnp.full(len(places), AIM)
        if pareto:
            places = jnp.tile(places[:1], (len(places), 1))
            weights, aims = _front_wishes(task, weights, pareto)
        self._step = tune_search.step_of(task, scale, weights, as_array(aims))
        self._carry: Carry = tune_search.start_of(task, places)
        self._records: list[dict[str, np.ndarray]] = []
        self._fingerprint = f"# wattswing {emulator.__version__}, front of {pareto}\n{toml_text.to_toml(task.scenario)}"

    @property
    def steps(self) -> int:
        """Steps done."""
        return len(self._records)

    def history(self) -> History:
        """All steps so far and the state after them."""
        task = self._task
        columns = {name: np.stack([record[name] for record in self._records]) for name in COLUMNS}
        labels = {"value": task.names, "room": [c.limit.name for c in task.clauses], "cost": task.costs}
        return History(self._fingerprint, columns, [np.asarray(x) for x in jax.tree.leaves(self._carry)], labels)

    def resume(self, old: History) -> None:
        """Go on where the history in the folder ends."""
        if old.fingerprint != self._fingerprint:
            said = f"{HISTORY} is of another configuration or version"
            raise TraceError(f"{self._out}: {said}: start anew without --resume")
        leaves, tree = jax.tree.flatten(self._carry)
        same = [np.asarray(new, leaf.dtype) for new, leaf in zip(old.state, leaves, strict=True)]
        self._carry = jax.device_put(jax.tree.unflatten(tree, same), leaves[0].sharding)
        self._records = [{n: old.columns[n][i] for n in COLUMNS} for i in range(len(old.columns["objective"]))]

    def run(self, progress: Callable[[Progress], object]) -> bool:
        """Steps up to the last; False where Ctrl-C came before it."""
        try:
            while self.steps < self._task.tune.steps:
                begun = time.perf_counter()
                carry, record = self._step(self._carry, self._train)
                found = {name: np.asarray(getattr(record, name)) for name in COLUMNS}
                self._check(record)
                # In one statement: Python looks for Ctrl-C at calls, so that both are of the same step.
                self._carry, self._records = carry, [*self._records, found]
                if self.steps % self._task.tune.save_every == 0:
                    self._save()
                progress(self._progress(found, time.perf_counter() - begun))
        except KeyboardInterrupt:
            if not self._records:
                raise
        self._save()
        return self.steps == self._task.tune.steps

    def _save(self) -> None:
        if self._out is not None:
            histories.write(self._out / HISTORY, self.history())

    def _progress(self, found: Mapping[str, np.ndarray], step_s: float) -> Progress:
        excess = found["excess"].max(axis=1, initial=-np.inf)
        start = np.lexsort((found["objective"], np.maximum(excess, 0.0)))[0]
        margin = -float(excess[start]) if np.isfinite(excess[start]) else np.nan
        return Progress(self.steps, float(found["objective"][start]), margin, step_s)

    def _check(self, record: Record) -> None:
        """Every slope is a number; else says of which parameter it is none, and in which scenario."""
        gradient, value = np.asarray(record.gradient), np.asarray(record.value)
        if np.isfinite(gradient).all():
            return
        start = int(np.argmin(np.isfinite(gradient).all(axis=1)))
        slopes = np.asarray(jax.jit(lambda x: separately(self._task, x, self._train))(value[start]))
        task = self._task
        names = [name for name, bad in zip(task.names, ~np.isfinite(gradient[start]), strict=True) if bad]
        broken = ~np.isfinite(slopes).all(axis=1)
        each = [values for group in task.groups for values in group.combinations]
        cases = [named(task.tune, values, seed) for values in each for seed in task.tune.train_seeds]
        where = cases[int(np.argmax(broken))] if broken.any() else "no single scenario"
        raise TuningError(
            f"step {self.steps + 1}: the gradient of {', '.join(names)} is not finite, in {where}, at "
            + ", ".join(f"{name} = {x:.6g}" for name, x in zip(task.names, value[start], strict=True))
        )


def _front_wishes(task: Task, weights: jax.Array, searches: int) -> tuple[jax.Array, np.ndarray]:
    """Weights (starts, terms) and aims (starts,) of a front: shares of power and energy from all the one to all the
    other, each per size at the start, at every aim."""
    terms = [term.term for term in task.tune.objective]
    sizes = np.maximum(tune_result.sizes(task), 1e-9)
    shares = np.tile(np.linspace(0.02, 0.98, searches), len(PARETO_AIMS))
    whole = float(np.sum(np.asarray(tune_search.weights_of(task)) > 0) or 1) * sizes.sum()
    wished = np.array(weights)
    wished[:, terms.index("bess_power")] = whole * shares / sizes[0]
    wished[:, terms.index("bess_energy")] = whole * (1.0 - shares) / sizes[1]
    return as_array(wished), np.repeat(PARETO_AIMS, searches)
