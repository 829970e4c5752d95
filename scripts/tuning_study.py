"""What tuning finds on a campus of 100 MW, and what the search costs beside searches without gradients.

    python scripts/tuning_study.py PART [--out DIR]
Searches by gradient: low_pass, composite, two_areas. With the first two: hour_composite, hour_by_hand, hour_low_pass;
grid; cma_es_low_pass, cma_es_composite, differential_evolution_low_pass, differential_evolution_composite. Each writes
DIR/PART.json and is left out where that stands; `table` prints what there is. docs/tuning.md has the results.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy.optimize import differential_evolution

import emulator as em
from emulator import config, limits_schema, modes_report, schema, tunables, tune_search
from emulator.controller_schema import NoController
from emulator.modes import SWINGS_HZ
from emulator.struct import as_array
from emulator.sweep import judged as judge
from emulator.traces import history as histories
from emulator.tune import tune
from emulator.tune_batch import batch_of, measures
from emulator.tune_problem import Task, task_of

HOUR_S = 3600.0
HOUR_ROWS = 5  # ticks of 1 ms in a row that is judged: the rule looks at 5 s
MOST_EVALUATIONS = 1500  # of each rival
NEAR = 1.01  # a rival has caught up within so much of the gradient's objective
PENALTY = 10.0  # objective, as a share of its start, per share by which a clause is exceeded
SPREAD = 0.3  # of CMA-ES' first places about the start; 1.0 found nothing in 21 dimensions
LEAST_MW, MOST_MW, BISECTIONS = 35.0, 75.0, 7  # of the grid: to 0.3 MW


def searched(name: str, out: Path) -> dict[str, Any]:
    """A search by gradient, as `wattswing tune` runs it; where one was stopped it goes on."""
    folder = out / name
    path, history = folder / "summary.json", folder / "history.h5"
    if not path.exists() or not json.loads(path.read_text())["complete"]:
        tune(config.load(f"tune_{name}"), folder, resume=history.exists())
    reached = histories.read(history).columns
    met = np.where(reached["excess"].max(axis=2) <= 0.0, reached["objective"], np.inf).min(axis=1)
    return json.loads(path.read_text()) | {"best_by_step": np.minimum.accumulate(met).tolist()}


def at(scenario: schema.Scenario, parameters: dict[str, float]) -> schema.Scenario:
    """The scenario with values by dotted path."""
    return tunables.with_values(scenario, {tunables.resolve(scenario, k): v for k, v in parameters.items()})


def result_of(part: str, out: Path) -> dict[str, Any]:
    """What a part has left."""
    return json.loads((out / f"{part}.json").read_text())


def two_areas(out: Path) -> dict[str, Any]:
    """The search; tie swing on held-out seeds and damping of the mode without battery, at the start and at the end."""
    found, start = searched("two_areas", out), config.load("tune_two_areas")
    idle = start.site[0].model_copy(update={"controller": NoController(kind="none")})
    cases = {
        "no battery": start.model_copy(update={"site": (idle,)}),
        "start": start,
        "tuned": at(start, found["parameters"]),
    }
    assert start.tune is not None
    for name, scenario in cases.items():
        seeded = [tunables.replaced(scenario, ("run", "seed"), seed) for seed in start.tune.held_out_seeds]
        judged = judge(seeded, limits_schema.load("tie_50mw"))
        with jax.enable_x64(True):
            modes = modes_report.analyse(scenario).modes.modes
        ratios = [mode.damping_ratio for mode in modes if SWINGS_HZ[0] <= mode.frequency_hz <= SWINGS_HZ[1]]
        found[name] = {"tie_swing_mw": max(one.limits[0].measured for one in judged), "damping_ratio": min(ratios)}
    return found


def hour(case: str, out: Path) -> dict[str, Any]:
    """An hour at 1 ms on each held-out seed: tuned composite, low-pass by hand with that battery, tuned low-pass."""
    name = "composite" if case == "composite" else "low_pass"
    found = dict(result_of("low_pass" if case == "low_pass" else "composite", out)["parameters"])
    if case == "by_hand":
        found = {path: value for path, value in found.items() if ".bess." in path}
    scenario = at(config.load(f"tune_{name}"), found)
    assert scenario.tune is not None and scenario.tune.limits is not None
    run = scenario.run.model_copy(update={"duration_s": HOUR_S})
    long = scenario.model_copy(update={"run": run, "record": schema.Record(every_ticks=HOUR_ROWS)})
    seeded = [tunables.replaced(long, ("run", "seed"), seed) for seed in scenario.tune.held_out_seeds]
    judged = judge(seeded, limits_schema.load(scenario.tune.limits))
    margins = {each.name: min(one.limits[i].margin for one in judged) for i, each in enumerate(judged[0].limits)}
    return {"passed": sum(one.verdict == "pass" for one in judged), "seeds": len(judged), "worst_margin": margins}


def evaluated(task: Task) -> Callable[[np.ndarray], tuple[float, float]]:
    """(parameters,) values to objective and largest excess, over the training seeds."""
    scenarios = batch_of(task, task.tune.train_seeds)
    weights = tune_search.weights_of(task)

    @jax.jit
    def both(values: jax.Array, scenarios: Any) -> tuple[jax.Array, jax.Array]:
        found = measures(task, values, scenarios)
        return tune_search.objective(task, found, weights), tune_search.excess_of(task, found).max()

    def one(values: np.ndarray) -> tuple[float, float]:
        objective, excess = both(as_array(values), scenarios)
        return float(objective), float(excess)

    return one


def grid(out: Path) -> dict[str, Any]:
    """The smallest battery under a low-pass: least power by halving, at each corner, restoration and energy."""
    task = task_of(config.load("tune_low_pass"))
    one, tried, rows = evaluated(task), 0, []
    for corner_hz in np.geomspace(0.001, 0.01, 9):
        for gain in (0.05, 0.2, 0.8):
            for energy_mwh in np.geomspace(0.1, 0.25, 7):
                low, high = LEAST_MW, MOST_MW
                for _ in range(BISECTIONS):
                    middle = 0.5 * (low + high)
                    met = one(np.array([corner_hz, gain, middle, energy_mwh]))[1] <= 0.0
                    low, high, tried = (low, middle, tried + 1) if met else (middle, high, tried + 1)
                if high < MOST_MW:
                    rows.append((high, corner_hz, gain, energy_mwh))
    weight = task.tune.objective[1].weight
    best = min(rows, key=lambda row: row[0] + weight * row[3])
    return {
        "evaluations": tried,
        "objective": best[0] + weight * best[3],
        **dict(zip(("power_mw", "cutoff_hz", "soc_gain", "energy_mwh"), best, strict=True)),
        "least_power_mw": min(rows)[0],
    }


class _Enough(Exception):
    """A rival has caught up, or used up its evaluations."""


class _Count:
    """What a rival minimises over places: objective over its start plus a penalty; keeps count, and the best it met."""

    def __init__(self, task: Task, goal: float) -> None:
        self._task, self._one, self._goal = task, evaluated(task), goal
        self._scale = self._one(task.start)[0]
        self.best, self.count, self.begun = np.inf, 0, time.perf_counter()
        self.caught_up: int | None = None

    def __call__(self, place: np.ndarray) -> float:
        objective, excess = self._one(np.asarray(tune_search.bounded(self._task, as_array(place))))
        self.count += 1
        self.best = min(self.best, objective if excess <= 0.0 else np.inf)
        if self.best <= NEAR * self._goal:
            self.caught_up = self.count
            raise _Enough
        if self.count >= MOST_EVALUATIONS:
            raise _Enough
        return objective / self._scale + PENALTY * max(excess, 0.0)


def by_cma_es(cost: _Count, start: np.ndarray) -> None:
    """Reference: Hansen, arXiv 1604.00772; the package's own population size."""
    from cmaes import CMA

    optimizer = CMA(mean=start, sigma=SPREAD, seed=0)
    while True:
        optimizer.tell([(place, cost(place)) for place in (optimizer.ask() for _ in range(optimizer.population_size))])


def by_differential_evolution(cost: _Count, start: np.ndarray) -> None:
    """SciPy's own settings; the start is one of the first population. SciPy 1.15 calls the seed rng, and takes both."""
    bounds = [(-4.0, 4.0)] * len(start)
    differential_evolution(cost, bounds, x0=start, seed=0, polish=False, maxiter=10_000)  # pyright: ignore[reportCallIssue]


RIVALS = {"cma_es": by_cma_es, "differential_evolution": by_differential_evolution}


def rival(how: str, name: str, out: Path) -> dict[str, Any]:
    """A search without gradients, from the same start, until it has caught up with the one by gradient."""
    task, ours = task_of(config.load(f"tune_{name}")), result_of(name, out)
    goal, start = ours["objective_after"], np.asarray(tune_search.places_of(task)[0], float)
    steps = int(np.argmax(np.array(ours["best_by_step"]) <= NEAR * goal)) + 1
    cost = _Count(task, goal)
    with contextlib.suppress(_Enough):
        RIVALS[how](cost, start)
    return {
        "gradient": {"objective": goal, "steps_until_near": steps},
        "objective": cost.best if np.isfinite(cost.best) else None,
        "evaluations": cost.count,
        "caught_up_after": cost.caught_up,
        "seconds": time.perf_counter() - cost.begun,
    }


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "low_pass": partial(searched, "low_pass"),
    "composite": partial(searched, "composite"),
    "two_areas": two_areas,
    **{f"hour_{case}": partial(hour, case) for case in ("composite", "by_hand", "low_pass")},
    "grid": grid,
    **{f"{how}_{name}": partial(rival, how, name) for name in ("low_pass", "composite") for how in RIVALS},
}


def table(out: Path) -> None:
    """All that is there, part by part."""
    for name in PARTS:
        if (path := out / f"{name}.json").exists():
            found = json.loads(path.read_text())
            print(f"## {name}\n" + json.dumps({k: v for k, v in found.items() if k != "best_by_step"}, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*PARTS, "table"])
    parser.add_argument("--out", type=Path, default=Path("tuning_study"))
    args = parser.parse_args()
    path = args.out / f"{args.part}.json"
    if args.part == "table":
        table(args.out)
    elif not path.exists():
        em.compile_loops_whole()
        found = PARTS[args.part](args.out)
        args.out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
