"""A batch of scenarios: every combination of values and seeds, summed up as they run (`side_by_side`)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

import jax
import numpy as np

from emulator import config, schema, toml_text
from emulator.account import Account
from emulator.clock import seconds_at
from emulator.complaint import ConfigError, Problem, must_be
from emulator.side_by_side import Group, groups_of, windows
from emulator.simulate import END_OF_RUN, check, header_of, run_ticks
from emulator.trace import Header


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


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a sweep: `results` are those that ended, and the others up to the last window that all of them took."""

    def __init__(self, results: list[Result]) -> None:
        super().__init__()
        self.results = results


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


def sweep(cases: Sequence[Case], progress: Callable[[int], object] = lambda cases: None) -> list[Result]:
    """Emulate all cases. `progress` is told the cases done since its last call.

    Args:
      cases: from `cases_of`, or made one by one: Case({"site.0.bess.power_mw": 20.0}, seed, scenario), in which values
        and seed are labels, and the scenario says what is emulated.

    Raises:
      SimulationError: a scenario asks for what the emulation cannot do.
      Interrupted: by Ctrl-C, a KeyboardInterrupt; its `results` are those so far.
      TypeError: no cases, for example a file's name.
    """
    for case in cases:
        must_be(case, Case, "em.cases_of(CONFIG)")
    found: dict[int, Result] = {}
    try:
        for group in groups_of([case.scenario for case in cases]):
            for place, result in _run(group, [cases[i] for i in group.places]):
                found[place] = result
            progress(len(group.places))
    except KeyboardInterrupt as interrupt:
        raise Interrupted([found[i] for i in sorted(found)]) from interrupt
    return [found[i] for i in range(len(cases))]


def _run(group: Group, cases: list[Case]) -> Iterator[tuple[int, Result]]:
    """Place in the batch, and result, of each case. After Ctrl-C those up to there, without the one whose sums were
    being made; then the interrupt goes on."""
    headers = [header_of(case.scenario) for case in cases]
    accounts = [Account(case.scenario, header, group.layout) for case, header in zip(cases, headers, strict=True)]
    every, total = group.layout.every_ticks, run_ticks(cases[0].scenario)
    cut, taking = None, -1
    try:
        for first, states, frames in windows(group, keep=lambda frames: frames):
            rows = min(frames.status.shape[1], (total - first) // every)
            for taking, account in enumerate(accounts):
                if account.stop_reason:
                    continue
                frame, state = (jax.tree.map(itemgetter(taking), tree) for tree in (frames, states))
                check(cases[taking].scenario, group.params[taking], first, state)
                account.take(first, frame, rows)
            taking = -1
    except KeyboardInterrupt as interrupt:
        cut = interrupt
    for i, (case, header, account) in enumerate(zip(cases, headers, accounts, strict=True)):
        if cut and (i == taking or not account.ticks):
            continue
        until = f"interrupted at {seconds_at(account.ticks, header.dt_s):g} s" if cut and account.ticks < total else ""
        reason = account.stop_reason or until
        yield group.places[i], Result(case, header, account.metrics(), reason or END_OF_RUN, not reason)
    if cut:
        raise cut


COLUMNS = ("pcc_peak_mw", "pcc_swing_mw", "pcc_change_5s_mw", "soc_min", "soc_max")


def render(results: Sequence[Result]) -> str:
    """A line a scenario: its values and seed, then what its first site draws and where its state of charge goes."""
    values = list(results[0].case.values)
    names = [name.split(".")[-1] for name in values]
    rows = [[*names, "seed", *COLUMNS, ""]]
    for result in results:
        site = next(iter(result.header.labels["site"]), "")
        found = (result.metrics.get(f"site.{site}.{column}", np.nan) for column in COLUMNS)
        stop = "" if result.complete else result.stop_reason
        rows.append(
            [*(str(result.case.values[v]) for v in values), str(result.case.seed), *map("{:z.4g}".format, found), stop]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
