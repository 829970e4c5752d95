"""A batch of scenarios: every combination of values and seeds, summed up as they run (`side_by_side`).

Limits are judged by `limits.assess` on the rows of whole runs, of which only the channels that clauses look at are
kept. So many scenarios run side by side then as have room for these in KEPT_BYTES: memory does not grow with their
number.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import jax

from emulator import config, limits_schema, schema, toml_text
from emulator.account import Account
from emulator.clock import seconds_at
from emulator.complaint import ConfigError, Problem, must_be
from emulator.limits import Assessment, assess, quantities
from emulator.reading import once
from emulator.recording import channels_of
from emulator.side_by_side import Group, groups_of, parts_of, windows
from emulator.simulate import END_OF_RUN, Memory, check, header_of, run_ticks
from emulator.trace import CHANNELS, Header

KEPT_BYTES = 2**28  # of rows that wait to be judged; more only where those of one scenario for each device are


@dataclass(frozen=True)
class Case:
    """One scenario of the batch."""

    values: Mapping[str, Any]  # by dotted path
    seed: int
    scenario: schema.Scenario = field(repr=False)


@dataclass(frozen=True)
class Result:
    """How a case ended."""

    case: Case
    header: Header = field(repr=False)
    metrics: Mapping[str, float]
    stop_reason: str
    complete: bool
    assessment: Assessment | None  # None: swept without limits


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a sweep: `results` are those that ended, and the others up to the last window that all of them took."""

    def __init__(self, results: list[Result]) -> None:
        super().__init__()
        self.results = results


@once()
def cases_of(path: str, overrides: Sequence[str] = ()) -> list[Case]:
    """All scenarios of a configuration's [sweep], checked, in order: the last value varies fastest, seeds within.

    Raises:
      ConfigError: no [sweep], or a combination that is no good scenario.
    """
    base = config.load(path, overrides)
    if base.sweep is None:
        raise ConfigError([Problem(str(path), None, "sweep", "missing table: give [sweep] with seeds or values")])
    seeds = base.sweep.seeds
    every = range(base.run.seed, base.run.seed + seeds) if isinstance(seeds, int) else seeds
    if not every or not all(base.sweep.values.values()):
        raise ConfigError([Problem(str(path), None, "sweep", "makes no scenario: seeds or a list of values is empty")])
    cases = []
    for combination in itertools.product(*base.sweep.values.values()):
        values = dict(zip(base.sweep.values, combination, strict=True))
        settings = [f"{key}={toml_text.toml_value(value)}" for key, value in values.items()]
        for seed in every:
            cases.append(Case(values, seed, _loaded(path, overrides, [*settings, f"run.seed={seed}"])))
    return cases


def _loaded(path: str, overrides: Sequence[str], settings: Sequence[str]) -> schema.Scenario:
    """What is wrong with a setting is said of [sweep.values], where that stands."""
    try:
        return config.load(path, [*overrides, *settings])
    except ConfigError as error:
        table = config.place_of(path, overrides, ("sweep", "values"))
        raise ConfigError(
            replace(each, where=table.where, line=table.line, path=f"{table.path}: {each.path}")
            if each.where == config.SET
            else each
            for each in error.problems
        ) from error


def sweep(
    cases: Sequence[Case],
    progress: Callable[[int], object] = lambda cases: None,
    limits: limits_schema.Limits | str | Path | None = None,
) -> list[Result]:
    """Emulate all cases, and judge each as `assess` judges its run. `progress` is told the cases done since its last
    call.

    Args:
      cases: from `cases_of`, or made one by one: Case({"site.0.bess.power_mw": 20.0}, seed, scenario), in which values
        and seed are labels, and the scenario says what is emulated.
      limits: their table, a path, or the name of a preset; None: nothing is judged.

    Raises:
      ConfigError: limits that cannot be read.
      SimulationError: a scenario asks for what the emulation cannot do.
      Interrupted: by Ctrl-C, a KeyboardInterrupt; its `results` are those so far.
      TypeError: no cases, for example a file's name.
    """
    for case in cases:
        must_be(case, Case, "em.cases_of(CONFIG)")
    clauses = limits if isinstance(limits, limits_schema.Limits | None) else limits_schema.load(limits)
    channels = channels_of(quantities(clauses)) if clauses else ()
    found: dict[int, Result] = {}
    try:
        for group in groups_of([case.scenario for case in cases]):
            for part in _parts(group, channels):
                for place, result in _run(part, [cases[i] for i in part.places], channels, clauses):
                    found[place] = result
                progress(len(part.places))
    except KeyboardInterrupt as interrupt:
        raise Interrupted([found[i] for i in sorted(found)]) from interrupt
    return [found[i] for i in range(len(cases))]


def judged(scenarios: Sequence[schema.Scenario], clauses: limits_schema.Limits) -> list[Assessment]:
    """What each scenario's run comes to, clause by clause; see `sweep` for what it raises."""
    results = sweep([Case({}, each.run.seed, each) for each in scenarios], limits=clauses)
    return [result.assessment for result in results if result.assessment]


def _parts(group: Group, channels: Collection[str]) -> list[Group]:
    """The group in parts, whose rows of these channels have room in memory."""
    header, rows = header_of(group.scenarios[0]), run_ticks(group.scenarios[0]) // group.layout.every_ticks
    columns = (c for c in CHANNELS if c.name in channels)
    row_bytes = sum(len(header.labels[c.axis]) * header.dtype_of(c).itemsize for c in columns)
    return parts_of(group, KEPT_BYTES // (rows * row_bytes)) if row_bytes else [group]


def _run(
    group: Group, cases: list[Case], channels: Collection[str], clauses: limits_schema.Limits | None
) -> Iterator[tuple[int, Result]]:
    """Place in the batch, and result, of each case. After Ctrl-C those up to there, without the one whose sums were
    being made; then the interrupt goes on."""
    headers = [header_of(case.scenario) for case in cases]
    accounts = [Account(case.scenario, header, group.layout) for case, header in zip(cases, headers, strict=True)]
    kept = [Memory(header, channels) for header in headers]
    every, total = group.layout.every_ticks, run_ticks(cases[0].scenario)
    cut, taking = None, -1
    try:
        for first, states, frames in windows(group):
            rows = min(frames.status.shape[1], (total - first) // every)
            for taking, account in enumerate(accounts):
                if account.stop_reason:
                    continue
                frame, state = (jax.tree.map(itemgetter(taking), tree) for tree in (frames, states))
                check(cases[taking].scenario, group.params[taking], first, state)
                block, _ = account.take(first, frame, rows)
                kept[taking].append(first, block, [])
            taking = -1
    except KeyboardInterrupt as interrupt:
        cut = interrupt
    for i, (case, header, account) in enumerate(zip(cases, headers, accounts, strict=True)):
        if cut and (i == taking or not account.ticks):
            continue
        until = f"interrupted at {seconds_at(account.ticks, header.dt_s):g} s" if cut and account.ticks < total else ""
        reason, metrics = account.stop_reason or until, account.metrics()
        ending = reason or END_OF_RUN, not reason
        kept[i].finish(metrics, *ending)
        assessment = assess(kept[i].trace(), clauses) if clauses else None
        yield group.places[i], Result(case, header, metrics, *ending, assessment)
    if cut:
        raise cut
