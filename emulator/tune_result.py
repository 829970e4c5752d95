"""What a search came to: its measures before and after, what the limits say on held-out seeds, how sharp it is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emulator import limits_schema, schema, tunables, tune_search
from emulator.complaint import ConfigError, Problem, nearest
from emulator.limits import Assessment, Finding
from emulator.storages import batteries_of
from emulator.struct import as_array
from emulator.sweep import judged as judge
from emulator.traces.history import History
from emulator.tune_batch import Batches, Measures, batch_of, measures
from emulator.tune_problem import Task, named, variant_of

Evaluate = Callable[[jax.Array, Batches], Measures]

MOST_CORNERS = 16  # tried before a search
HOPELESS = 1.0  # excess, as a share of what is allowed, beyond which at every end no search is begun


def refused(path: str, message: str, names: Iterable[str] = ()) -> ConfigError:
    """A [tune] that cannot be used."""
    wrong = message.split("'")[1] if names else ""
    return ConfigError([Problem("config", None, path, message + (nearest(wrong, names) if names else ""))])


def objective(task: Task, found: Measures) -> float:
    """Of [tune], on the scenarios measured."""
    return float(tune_search.objective(task, found, tune_search.weights_of(task)))


def sizes(task: Task) -> np.ndarray:
    """MW and MWh of all batteries at the start."""
    its = [battery for site in task.scenario.site for battery in batteries_of(site)]
    return np.array([sum(b.units * getattr(b, name) for b in its) for name in ("power_mw", "energy_mwh")], float)


def corner_warnings(task: Task, evaluate: Callable[[jax.Array], Measures], before: Measures) -> list[str]:
    """Constraints that hold neither at the start nor at some ends of the bounds, in words.

    Raises:
      ConfigError: one is exceeded everywhere there by more than as much again as is allowed.
    """
    held = tune_search.constrained(task)
    if not held.any():
        return []
    found = [before, *(evaluate(as_array(point)) for point in _ends(task))]
    least = np.min([np.asarray(tune_search.excess_of(task, each)) for each in found], axis=0)
    warnings = []
    for clause, excess in zip(np.flatnonzero(held), least[held], strict=True):
        limit = task.clauses[clause].limit
        if excess > 0.0:
            said = f"clause {limit.name!r} is exceeded by at least {excess:.0%} of what it allows at the start and at "
            said += f"{len(found) - 1} ends of the bounds"
            if excess > HOPELESS:
                raise refused("tune.parameters", f"{said}: widen the bounds or tune more")
            warnings.append(f"{said}: the search may not find values that meet it")
    return warnings


def _ends(task: Task) -> np.ndarray:
    """(points, parameters): all corners; of many parameters, the start with each one at either of its bounds."""
    count = len(task.paths)
    if 2**count <= MOST_CORNERS:
        return np.array(list(itertools.product(*zip(task.low, task.high, strict=True))))
    alone = np.eye(count, dtype=bool)
    return np.concatenate([np.where(alone, end, task.start) for end in (task.low, task.high)])


def summary(
    task: Task, evaluate: Evaluate, train: Batches, before: Measures, values: np.ndarray, steps: int
) -> dict[str, Any]:
    """What summary.json says of the training scenarios, and what there is if nothing else gets judged."""
    after = evaluate(as_array(values), train)
    each = {"before": before, "after": after}
    names = [clause.limit.name for clause in task.clauses]
    rooms = {when: np.min(np.asarray(found.room), axis=0) for when, found in each.items()}
    costs = {when: np.mean(np.asarray(found.cost), axis=0) for when, found in each.items()}
    return {
        "objective_before": objective(task, before),
        "objective_after": objective(task, after),
        "held_out_before": None,
        "held_out_after": None,
        "parameters": dict(zip(task.names, map(float, values), strict=True)),
        "start": dict(zip(task.names, map(float, task.start), strict=True)),
        "limits": [],
        "steps": steps,
        "train": {
            "seeds": list(task.tune.train_seeds),
            "worst_margin": _named(names, rooms),
            "mean_cost": _named(task.costs, costs),
        },
        "sensitivities": sensitivities(task, train, values),
    }


def _named(names: Sequence[str], rows: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    return {when: dict(zip(names, map(float, row), strict=True)) for when, row in rows.items()}


def sensitivities(task: Task, scenarios: Batches, values: np.ndarray) -> dict[str, dict[str, float]]:
    """d(margin)/d(parameter) of each clause in its worst scenario, in the clause's unit per the parameter's."""

    def rooms(x: jax.Array) -> jax.Array:
        return jnp.min(measures(task, x, scenarios).room, axis=0)

    def slopes(x: jax.Array) -> jax.Array:
        room, back = jax.vjp(rooms, x)
        return jax.lax.map(lambda clause: back(clause)[0], jnp.eye(len(room), dtype=room.dtype))

    if not task.clauses:
        return {}
    found = np.asarray(jax.jit(slopes)(as_array(values)))
    names = [clause.limit.name for clause in task.clauses]
    return {n: dict(zip(task.names, map(float, row), strict=True)) for n, row in zip(names, found, strict=True)}


def judged(scenario: schema.Scenario, task: Task, evaluate: Evaluate, values: np.ndarray) -> dict[str, Any]:
    """What summary.json says of the held-out seeds; without any, the limits are judged on the training seeds."""
    tune, found = task.tune, {}
    if tune.held_out_seeds:
        unseen = batch_of(task, tune.held_out_seeds)
        found["held_out_before"] = objective(task, evaluate(as_array(task.start), unseen))
        found["held_out_after"] = objective(task, evaluate(as_array(values), unseen))
    if tune.limits is None:
        return found
    clauses = limits_schema.load(tune.limits)
    seeds = tune.held_out_seeds or tune.train_seeds
    found["judged_on"] = "held_out_seeds" if tune.held_out_seeds else "train_seeds"
    own = scenario.model_copy(update={"record": schema.Record(every_ticks=scenario.record.every_ticks)})
    ticks = {"tuning_tick": task.scenario, "own_tick": own}
    if task.scenario.run.dt_s == own.run.dt_s and own.record.every_ticks == 1:
        del ticks["tuning_tick"]
    verdicts = {name: _at_tick(task, base, values, seeds, clauses) for name, base in ticks.items()}
    verdicts.setdefault("tuning_tick", verdicts["own_tick"])
    found["held_out"] = verdicts
    found["limits"] = verdicts["own_tick"]["limits"]
    found["ticks_agree"] = verdicts["own_tick"]["verdict"] == verdicts["tuning_tick"]["verdict"]
    return found


def _at_tick(
    task: Task, base: schema.Scenario, found: np.ndarray, seeds: Sequence[int], clauses: limits_schema.Limits
) -> dict[str, Any]:
    """Verdicts before and after, of every combination of values and seed, and the worst of each clause after."""
    before, after, names = [], [], []
    for group in task.groups:
        tuned = dict(zip(group.paths, map(float, found), strict=True))
        for values in group.combinations:
            variant = variant_of(base, values)
            for seed in seeds:
                before.append(tunables.replaced(variant, ("run", "seed"), seed))
                after.append(tunables.with_values(before[-1], tuned))
                names.append(named(task.tune, values, seed))
    both = judge([*before, *after], clauses)
    before, after = both[: len(names)], both[len(names) :]
    return {
        "dt_s": base.run.dt_s,
        "verdict_before": _verdict(before),
        "verdict": _verdict(after),
        "passed_before": sum(each.verdict == "pass" for each in before),
        "passed": sum(each.verdict == "pass" for each in after),
        "scenarios": len(after),
        "limits": [_worst(names, after, i) for i in range(len(clauses.limit))],
    }


def _verdict(found: Sequence[Assessment]) -> str:
    verdicts = {each.verdict for each in found}
    return "fail" if "fail" in verdicts else "not assessable" if "not assessable" in verdicts else "pass"


def _worst(names: Sequence[str], found: Sequence[Assessment], clause: int) -> dict[str, Any]:
    """A clause in the scenario where it fares worst, as `assess --json` has it, with that scenario's name."""
    ranks = {False: 0, None: 1, True: 2}

    def order(each: Assessment) -> tuple[int, float]:
        finding: Finding = each.limits[clause]
        return ranks[finding.passed], float(np.nan_to_num(finding.margin, nan=np.inf))

    worst = min(range(len(found)), key=lambda i: order(found[i]))
    return {**found[worst].as_json()["limits"][clause], "scenario": names[worst]}


def best_place(task: Task, history: History) -> tuple[int, int]:
    """Step and start that met all constraints at the least objective, or came nearest to meeting them."""
    excess = history.columns["excess"][..., tune_search.constrained(task)]
    worst, objective = np.max(excess, axis=-1, initial=-np.inf), history.columns["objective"]
    met = worst <= 0.0
    rank = np.where(met, objective, np.inf) if met.any() else np.maximum(worst, 0.0)
    step, start = np.unravel_index(np.nanargmin(rank), rank.shape)
    return int(step), int(start)


def front(task: Task, history: History) -> list[dict[str, float]]:
    """All steps of which none other has less power, less energy and more margin: by power, smallest first.

    Margin is the least over clauses, as a share of what each allows.
    """
    costs, excess = history.columns["cost"], history.columns["excess"]
    power, energy = (costs[..., task.costs.index(name)].ravel() for name in ("bess_power", "bess_energy"))
    margin = -np.max(excess, axis=-1, initial=-np.inf).ravel()
    values = history.columns["value"].reshape(-1, len(task.names))
    points = np.stack([power, energy, -margin], axis=1)
    order = np.lexsort((points[:, 2], points[:, 1], points[:, 0]))
    kept: list[int] = []
    for i in order:
        if not any((points[j] <= points[i]).all() for j in kept):
            kept.append(int(i))
    return [
        {"bess_power_mw": float(power[i]), "bess_energy_mwh": float(energy[i]), "worst_margin": float(margin[i])}
        | dict(zip(task.names, map(float, values[i]), strict=True))
        for i in kept
    ]
