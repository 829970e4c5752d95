"""What [tune] sets out to do: which numbers, between which bounds, against which clauses, in which variants of the
scenario. All that can be refused is refused here, in words, before anything is compiled.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emulator import limit_terms, limits_schema, rules, schema, tunables
from emulator.complaint import ConfigError, Path, Problem, dotted, nearest
from emulator.limits import KINDS
from emulator.plant import Layout, Params
from emulator.recording import is_at
from emulator.scenario import Records, layout_of, params_of, records_of
from emulator.simulate import header_of, run_ticks, structure_of, whole_chunks
from emulator.storages import soc_places
from emulator.struct import as_array
from emulator.tune_schema import COSTS, Tune


@dataclass(frozen=True)
class Clause:
    """A limit, the columns of its quantity where it holds, and what its excess is a share of."""

    limit: limits_schema.Limit
    columns: tuple[int, ...]
    scale: float


@dataclass(frozen=True)
class Group:
    """Variants of one structure: they run side by side in one compiled call."""

    variants: tuple[schema.Scenario, ...]  # one per combination
    combinations: tuple[dict[str, Any], ...]  # of tune.values
    records: tuple[Records, ...]  # of each variant
    paths: tuple[Path, ...]  # of the tuned parameters, here
    clauses: tuple[Clause, ...]
    layout: Layout
    ticks: int  # whole chunks

    @property
    def jobs_tuned(self) -> bool:
        """True where a parameter changes what a job draws."""
        return any(path[0] == "site" and path[2] == "job" for path in self.paths)

    @property
    def orders(self) -> bool:
        """True where jobs and closed loop must run together: a site orders power caps."""
        return any(site.power_limit is not None for site in self.variants[0].site)


@dataclass(frozen=True)
class Task:
    """A configuration with [tune], ready to compute."""

    scenario: schema.Scenario  # at the tuning tick, every tick a row
    tune: Tune
    paths: tuple[Path, ...]
    groups: tuple[Group, ...]
    costs: tuple[str, ...]

    @property
    def clauses(self) -> tuple[Clause, ...]:
        """Of the first group; in others the same limits may hold at other columns."""
        return self.groups[0].clauses

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
    asked = [term.term for term in tune.objective if term.term in COSTS]
    costs = tuple(dict.fromkeys(["bess_power", "bess_energy", *asked]))
    task = Task(coarse, tune, paths, _groups(coarse, tune), costs)
    for group in task.groups:
        if group.orders and coarse.run.dt_s != scenario.run.dt_s:
            raise _refused("tune.dt_s", "a site orders power caps chunk by chunk: tune at run.dt_s")
        _check_costs(asked, group.variants[0])
        _check_what_is_designed(group)
        for i in range(len(paths)):
            _check_parameter(task, group, i)
    return task


def variant_of(scenario: schema.Scenario, values: Mapping[str, Any]) -> schema.Scenario:
    """The scenario with a combination of tune.values, checked.

    Raises:
      ConfigError: that is no good scenario.
    """
    for key, value in values.items():
        try:
            scenario = tunables.checked(tunables.replaced(scenario, tunables.resolve(scenario, key), value))
        except tunables.PathError as error:
            raise _refused("tune.values", f"{key}: {error}") from error
    return _sound(scenario, "tune.values")


def paths_in(variant: schema.Scenario, tune: Tune) -> tuple[Path, ...]:
    """Of the tuned parameters: another list of jobs may have the same name at another place.

    Raises:
      ConfigError: the variant lacks one.
    """
    try:
        return tuple(tunables.tunable(variant, parameter.path) for parameter in tune.parameters)
    except tunables.PathError as error:
        raise _refused("tune.values", f"then {error}") from error


def named(tune: Tune, values: Mapping[str, Any], seed: int) -> str:
    """A scenario in words: its seed and its values, a table by its place in their list."""
    plain = {key: isinstance(value, str | int | float) for key, value in values.items()}
    said = [
        f"{key} = {value!r}" if plain[key] else f"{key} number {tune.values[key].index(value) + 1}"
        for key, value in values.items()
    ]
    return ", ".join([f"seed {seed}", *said])


def _groups(coarse: schema.Scenario, tune: Tune) -> tuple[Group, ...]:
    """Every combination of tune.values, those of one structure together, in order of their first."""
    found: dict[Hashable, list[tuple[schema.Scenario, dict[str, Any], Records]]] = {}
    for each in itertools.product(*tune.values.values()):
        values = dict(zip(tune.values, each, strict=True))
        variant = variant_of(coarse, values)
        records = records_of(variant)
        key = structure_of(variant, params_of(variant, records)), paths_in(variant, tune), _beside_params(variant, tune)
        found.setdefault(key, []).append((variant, values, records))
    return tuple(_group(members, tune) for members in found.values())


def _beside_params(variant: schema.Scenario, tune: Tune) -> Hashable:
    """What measures take from the configuration and not from the parameters of the plant."""
    ageing = tuple(site.bess.ageing if site.bess else None for site in variant.site)
    return _clauses(variant, tune), ageing, variant.grid.frequency_hz


def _group(members: Sequence[tuple[schema.Scenario, dict[str, Any], Records]], tune: Tune) -> Group:
    variants, combinations, records = zip(*members, strict=True)
    first = variants[0]
    ticks = whole_chunks(layout := layout_of(first), run_ticks(first))
    return Group(variants, combinations, records, paths_in(first, tune), _clauses(first, tune), layout, ticks)


def _check_costs(asked: Sequence[str], variant: schema.Scenario) -> None:
    """Refuse a cost that has no meaning there."""
    aged = [site.name for site in variant.site if site.bess is not None and site.bess.ageing is not None]
    if "fade" in asked and (not aged or any(site.store for site in variant.site)):
        raise _refused("tune.objective", "'fade' needs [site.bess.ageing], and one battery a site")
    if "damping" in asked and not (variant.grid.area and variant.site):
        raise _refused("tune.objective", "'damping' needs [[grid.area]] and [[site]]: nothing else swings")


def _check_what_is_designed(group: Group) -> None:
    """What is made once for a scenario, outside the gradient, must not depend on what is tuned."""
    if any(site.state_feedback for site in group.layout.sites):
        raise _refused("tune", "gains of 'lqr' are designed for each plant anew, no gradient follows: tune another")
    if group.jobs_tuned and any(site.planned_jobs for site in group.layout.sites):
        raise _refused("tune.parameters", "the schedule that 'feed_forward' plays would change with the job's numbers")


def _refused(path: str, message: str) -> ConfigError:
    return ConfigError([Problem("config", None, path, message)])


def _at_tuning_tick(scenario: schema.Scenario, tune: Tune) -> schema.Scenario:
    """The scenario at its tuning tick, with every tick a row and nothing else recorded."""
    run = scenario.run if tune.dt_s is None else scenario.run.model_copy(update={"dt_s": tune.dt_s})
    return _sound(scenario.model_copy(update={"run": run, "record": schema.Record()}), "tune.dt_s")


def _sound(scenario: schema.Scenario, path: str) -> schema.Scenario:
    """The scenario, if it keeps every rule."""
    try:
        scenario = tunables.checked(scenario)
    except tunables.PathError as error:
        raise _refused(path, str(error)) from error
    for where, message in rules.broken(scenario.model_copy(update={"tune": None})):
        raise _refused(path, f"then {dotted(where)} {message}")
    return scenario


def _check_parameter(task: Task, group: Group, i: int) -> None:
    """Refuse a parameter that is part of the structure, or that no number of the plant depends on."""
    parameter, path = task.tune.parameters[i], group.paths[i]
    at = f"tune.parameters.{i}.path"
    ends = [
        _sound(tunables.replaced(group.variants[0], path, end), f"tune.parameters.{i}.{name}")
        for name, end in (("low", parameter.low), ("high", parameter.high))
    ]
    if any(layout_of(end) != group.layout for end in ends):
        raise _refused(at, f"{parameter.path!r} is static: it changes the structure of what is emulated")
    try:
        jax.eval_shape(lambda x: params_at(group, x), as_array(task.start))
    except TypeError as error:  # JAX's errors about what a tracer cannot do are TypeErrors
        message = f"{parameter.path!r} or another one cannot be followed by a gradient: {str(error).splitlines()[0]}"
        raise _refused(at, message) from error
    low, high = (jax.tree.leaves(params_of(end, group.records[0])) for end in ends)
    if all(np.array_equal(a, b) for a, b in zip(low, high, strict=True)):
        raise _refused(at, f"{parameter.path!r} is static: no parameter of the plant depends on it")


def _clauses(scenario: schema.Scenario, tune: Tune) -> tuple[Clause, ...]:
    limits = _limits_of(tune)
    kinds = {limit.kind for limit in limits}
    for i, term in enumerate(tune.objective):
        if term.term not in {*COSTS, *kinds}:
            hint = nearest(term.term, {*COSTS, *kinds})
            missing = "tune.limits has no clause of that kind" if term.term in KINDS else "unknown term"
            raise _refused(f"tune.objective.{i}.term", f"{term.term!r}: {missing}{hint}")
    return tuple(_clause(limit, scenario) for limit in limits)


def _limits_of(tune: Tune) -> tuple[limits_schema.Limit, ...]:
    try:
        return limits_schema.load(tune.limits).limit if tune.limits else ()
    except ConfigError as error:
        if any(problem.path for problem in error.problems):
            raise  # within the file, as the message says
        raise _refused("tune.limits", str(error)) from error


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
        "soc": soc_places(scenario),
        "frequency": dict.fromkeys(labels["area"], True),
        "tie flow": dict.fromkeys(labels["tie"], True),
        "shaft torque": dict.fromkeys(labels["section"], True),
    }[kind.quantity]
    wanted = limits_schema.place_of(limit)
    columns = [i for i, name in enumerate(places) if places[name] and (wanted is None or is_at(name, wanted))]
    if not columns:
        where = f" of {wanted!r}" if wanted else ""
        raise _refused("tune.limits", f"clause {limit.name!r}: the scenario has no {kind.quantity}{where}")
    run, least_s, row_s = scenario.run, limit_terms.shortest_s(limit), limit_terms.longest_row_s(limit)
    if run.duration_s - limit.skip_s < max(least_s * (1.0 - 1e-9), 2.0 * run.dt_s):
        skipping = f" after the {limit.skip_s:g} s that it skips" if limit.skip_s else ""
        message = f"is {run.duration_s:g} s; clause {limit.name!r} looks at {least_s:g} s{skipping}"
        raise _refused("run.duration_s", message)
    if run.dt_s > row_s * (1.0 + 1e-9):
        raise _refused("tune.dt_s", f"is {run.dt_s:g} s; clause {limit.name!r} needs {row_s:g} s or less")
    scale = 1.0 if limit.kind == "soc_window" else getattr(limit, kind.allowed)
    return Clause(limit, tuple(columns), float(scale))


def params_at(group: Group, values: jax.Array) -> Params:
    """Parameters of a group's variants, stacked, with the tuned ones at (parameters,) values."""
    tuned = dict(zip(group.paths, values, strict=True))
    each = [params_of(tunables.with_values(v, tuned), r) for v, r in zip(group.variants, group.records, strict=True)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
