"""What [tune] sets out to do: which numbers, between which bounds, against which clauses, in which variants of the
scenario. All that can be refused is refused here, in words, before anything is compiled.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emulator import limit_terms, limits_schema, rules, schema, tunables
from emulator.complaint import ConfigError, Path, Problem, dotted, nearest
from emulator.limits import KINDS
from emulator.plant import Layout, Params
from emulator.scenario import Records, layout_of, params_of, records_of
from emulator.simulate import header_of, run_ticks, whole_chunks
from emulator.struct import as_array
from emulator.tune_schema import COSTS, Tune


@dataclass(frozen=True)
class Clause:
    """A limit, the columns of its quantity where it holds, and what its excess is a share of."""

    limit: limits_schema.Limit
    columns: tuple[int, ...]
    scale: float


@dataclass(frozen=True)
class Task:
    """A configuration with [tune], ready to compute. All scenarios have one layout."""

    scenario: schema.Scenario  # at the tuning tick, every tick a row
    tune: Tune
    paths: tuple[Path, ...]
    variants: tuple[schema.Scenario, ...]  # one per combination of tune.values
    combinations: tuple[dict[str, Any], ...]
    records: tuple[Records, ...]  # of each variant
    layout: Layout
    costs: tuple[str, ...]
    clauses: tuple[Clause, ...]
    ticks: int

    @property
    def names(self) -> tuple[str, ...]:
        """Tuned parameters, as the configuration names them."""
        return tuple(parameter.path for parameter in self.tune.parameters)

    @property
    def start(self) -> np.ndarray:
        """(parameters,) values of the configuration."""
        return np.array([tunables.value_at(self.scenario, path) for path in self.paths], np.float64)

    @property
    def low(self) -> np.ndarray:
        """(parameters,) least values."""
        return np.array([parameter.low for parameter in self.tune.parameters], np.float64)

    @property
    def high(self) -> np.ndarray:
        """(parameters,) greatest values."""
        return np.array([parameter.high for parameter in self.tune.parameters], np.float64)

    @property
    def jobs_tuned(self) -> bool:
        """True where a parameter changes what a job draws."""
        return any(path[0] == "site" and path[2] == "job" for path in self.paths)

    @property
    def orders(self) -> bool:
        """True where jobs and closed loop must run together: a site orders power caps."""
        return any(site.power_limit is not None for site in self.scenario.site)


def task_of(scenario: schema.Scenario) -> Task:
    """The task that a configuration's [tune] sets.

    Raises:
      ConfigError: no [tune], or one that cannot be computed: says why.
    """
    tune = scenario.tune
    if tune is None:
        raise _refused("tune", "missing table: give [tune] with parameters, train_seeds and limits or objective")
    coarse = _at_tuning_tick(scenario, tune)
    paths = tuple(tunables.tunable(coarse, parameter.path) for parameter in tune.parameters)
    combinations = tuple(dict(zip(tune.values, each, strict=True)) for each in itertools.product(*tune.values.values()))
    variants = tuple(_variant(coarse, values) for values in combinations)
    records = tuple(records_of(variant) for variant in variants)
    layout = _one_layout(variants, records, combinations)
    clauses = _clauses(coarse, tune)
    asked = [term.term for term in tune.objective if term.term in COSTS]
    aged = [site.name for site in coarse.site if site.bess is not None and site.bess.ageing is not None]
    if "fade" in asked and (not aged or any(site.store for site in coarse.site)):
        raise _refused("tune.objective", "'fade' needs [site.bess.ageing], and one battery a site")
    if "damping" in asked and not (coarse.grid.area and coarse.site):
        raise _refused("tune.objective", "'damping' needs [[grid.area]] and [[site]]: nothing else swings")
    costs = tuple(dict.fromkeys(["bess_power", "bess_energy", *asked]))
    ticks = whole_chunks(layout, run_ticks(coarse))
    task = Task(coarse, tune, paths, variants, combinations, records, layout, costs, clauses, ticks)
    _check_what_is_designed(task)
    for i in range(len(paths)):
        _check_parameter(task, i)
    return task


def _check_what_is_designed(task: Task) -> None:
    """What is made once for a scenario, outside the gradient, must not depend on what is tuned."""
    if any(site.feedback for site in task.layout.sites):
        raise _refused("tune", "gains of 'lqr' are designed for each plant anew, no gradient follows: tune another")
    if task.jobs_tuned and any(site.planned for site in task.layout.sites):
        raise _refused("tune.parameters", "the schedule that 'feed_forward' plays would change with the job's numbers")


def _refused(path: str, message: str) -> ConfigError:
    return ConfigError([Problem("config", None, path, message)])


def _at_tuning_tick(scenario: schema.Scenario, tune: Tune) -> schema.Scenario:
    """The scenario at its tuning tick, with every tick a row and nothing else recorded."""
    run = scenario.run if tune.dt_s is None else scenario.run.model_copy(update={"dt_s": tune.dt_s})
    coarse = _sound(scenario.model_copy(update={"run": run, "record": schema.Record()}), "tune.dt_s")
    if tune.dt_s not in (None, scenario.run.dt_s) and any(site.power_limit for site in scenario.site):
        raise _refused("tune.dt_s", "a site orders power caps chunk by chunk: tune at run.dt_s")
    return coarse


def _sound(scenario: schema.Scenario, path: str) -> schema.Scenario:
    """The scenario, if it keeps every rule."""
    try:
        scenario = tunables.checked(scenario)
    except tunables.PathError as error:
        raise _refused(path, str(error)) from error
    for where, message in rules.broken(scenario.model_copy(update={"tune": None})):
        raise _refused(path, f"then {dotted(where)} {message}")
    return scenario


def _variant(scenario: schema.Scenario, values: dict[str, Any]) -> schema.Scenario:
    placed = {tunables.resolve(scenario, key): value for key, value in values.items()}
    return _sound(tunables.with_values(scenario, placed), "tune.values")


def _one_layout(
    variants: Sequence[schema.Scenario], records: Sequence[Records], combinations: Sequence[dict[str, Any]]
) -> Layout:
    def structure(variant: schema.Scenario, its: Records) -> tuple[Layout, Any, Any]:
        params = params_of(variant, its)
        return layout_of(variant), jax.tree.structure(params), [leaf.shape for leaf in jax.tree.leaves(params)]

    first = structure(variants[0], records[0])
    for variant, its, values in zip(variants, records, combinations, strict=True):
        if structure(variant, its) != first:
            said = ", ".join(f"{key} = {value!r}" for key, value in values.items())
            raise _refused("tune.values", f"{said} changes the structure: one search takes scenarios of one structure")
    return first[0]


def _check_parameter(task: Task, i: int) -> None:
    """Refuse a parameter that is part of the structure, or that no number of the plant depends on."""
    parameter, path = task.tune.parameters[i], task.paths[i]
    at = f"tune.parameters.{i}.path"
    ends = [
        _sound(tunables.replaced(task.variants[0], path, end), f"tune.parameters.{i}.{name}")
        for name, end in (("low", parameter.low), ("high", parameter.high))
    ]
    if any(layout_of(end) != task.layout for end in ends):
        raise _refused(at, f"{parameter.path!r} is static: it changes the structure of what is emulated")
    try:
        jax.eval_shape(lambda x: params_at(task, x), as_array(task.start))
    except TypeError as error:  # JAX's errors about what a tracer cannot do are TypeErrors
        message = f"{parameter.path!r} or another one cannot be followed by a gradient: {str(error).splitlines()[0]}"
        raise _refused(at, message) from error
    low, high = (jax.tree.leaves(params_of(end, task.records[0])) for end in ends)
    if all(np.array_equal(a, b) for a, b in zip(low, high, strict=True)):
        raise _refused(at, f"{parameter.path!r} is static: no parameter of the plant depends on it")


def _clauses(scenario: schema.Scenario, tune: Tune) -> tuple[Clause, ...]:
    limits = limits_schema.load(tune.limits).limit if tune.limits else ()
    kinds = {limit.kind for limit in limits}
    for i, term in enumerate(tune.objective):
        if term.term not in {*COSTS, *kinds}:
            hint = nearest(term.term, {*COSTS, *kinds})
            missing = "tune.limits has no clause of that kind" if term.term in KINDS else "unknown term"
            raise _refused(f"tune.objective.{i}.term", f"{term.term!r}: {missing}{hint}")
    return tuple(_clause(limit, scenario) for limit in limits)


def _clause(limit: limits_schema.Limit, scenario: schema.Scenario) -> Clause:
    """Where a clause holds.

    Raises:
      ConfigError: nowhere, or the run is too short or its tick too coarse for it.
    """
    kind, labels = KINDS[limit.kind], header_of(scenario).labels
    if limit.kind == "load_return":
        raise _refused("tune.limits", f"clause {limit.name!r}: load_return counts time, which has no slope to follow")
    sites = scenario.site
    places = {
        "power": dict.fromkeys(labels["site"], True),
        "voltage": {site.name: site.pcc is not None for site in sites},
        "soc": {site.name: bool(site.bess) for site in sites},
        "frequency": dict.fromkeys(labels["area"], True),
        "tie flow": dict.fromkeys(labels["tie"], True),
        "shaft torque": dict.fromkeys(labels["section"], True),
    }[kind.quantity]
    wanted = next((place for axis in ("site", "area", "tie") if (place := getattr(limit, axis, None))), None)
    columns = [i for i, name in enumerate(places) if places[name] and wanted in (None, name)]
    if not columns:
        where = f" of {wanted!r}" if wanted else ""
        raise _refused("tune.limits", f"clause {limit.name!r}: the scenario has no {kind.quantity}{where}")
    run, least_s, row_s = scenario.run, limit_terms.shortest_s(limit), limit_terms.longest_row_s(limit)
    if run.duration_s < least_s * (1.0 - 1e-9):
        raise _refused("run.duration_s", f"is {run.duration_s:g} s; clause {limit.name!r} looks at {least_s:g} s")
    if run.dt_s > row_s * (1.0 + 1e-9):
        raise _refused("tune.dt_s", f"is {run.dt_s:g} s; clause {limit.name!r} needs {row_s:g} s or less")
    scale = 1.0 if limit.kind == "soc_window" else getattr(limit, kind.allowed)
    return Clause(limit, tuple(columns), float(scale))


def params_at(task: Task, values: jax.Array) -> Params:
    """Parameters of all variants, stacked, with the tuned ones at (parameters,) values."""
    tuned = dict(zip(task.paths, values, strict=True))
    each = [params_of(tunables.with_values(v, tuned), r) for v, r in zip(task.variants, task.records, strict=True)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
