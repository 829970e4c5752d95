"""Numbers of a scenario by dotted path: found, replaced, and which of them may be tuned. Never imports JAX."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from emulator.clock import ticks_exact
from emulator.complaint import Path, nearest, translate, unit_of
from emulator.tables import Table

NOT_IN_PARAMS = ("run", "record", "tune", "sweep", "cosim", "fit")  # tables whose keys are no parameters of the plant
GIVEN = ("constant", "replay")  # kinds of job whose power comes in from outside


class PathError(ValueError):
    """A dotted path that leads nowhere, or to what cannot be changed; says why."""


def resolve(scenario: Table, dotted: str) -> Path:
    """Keys and indices of a dotted path. List items by index or by name; a list of one may be passed over.

    Raises:
      PathError: no such key; with the nearest one.
    """
    at: Any = scenario
    path: Path = ()
    for part in dotted.split("."):
        if isinstance(at, tuple) and len(at) == 1 and not _is_item(at, part):
            path, at = (*path, 0), at[0]
        if isinstance(at, tuple):
            place = _item(at, part, dotted)
        elif isinstance(at, Table):
            if part not in type(at).model_fields:
                raise PathError(
                    f"{dotted!r} does not exist: unknown key {part!r}{nearest(part, type(at).model_fields)}"
                )
            place = part
        else:
            raise PathError(f"{dotted!r} does not exist: {_text(path)} {_state(at)} and has no {part!r} below it")
        path, at = (*path, place), _step(at, place)
    return path


def _text(path: Path) -> str:
    return ".".join(map(str, path))


def _state(value: Any) -> str:
    return "is left out" if value is None else f"is {value!r}"


def _is_item(items: tuple[Any, ...], part: str) -> bool:
    return part.isdecimal() or part in (getattr(item, "name", None) for item in items)


def _item(items: tuple[Any, ...], part: str, dotted: str) -> int:
    names = [getattr(item, "name", "") for item in items]
    if part in names:
        return names.index(part)
    if part in map(str, range(len(items))):
        return int(part)
    hint = nearest(part, filter(None, names))
    raise PathError(f"{dotted!r} does not exist: no item {part!r}, there are {len(items)}{hint}")


def _step(at: Any, part: str | int) -> Any:
    return at[part] if isinstance(part, int) else getattr(at, part)


def value_at(scenario: Table, path: Path) -> Any:
    """What stands at a resolved path."""
    at: Any = scenario
    for part in path:
        at = _step(at, part)
    return at


def unit_at(scenario: Table, dotted: str) -> str:
    """Unit of the key at a dotted path; "1" where it has none, or where there is no such key, as of a preset's name."""
    try:
        *above, last = resolve(scenario, dotted)
    except PathError:
        return "1"
    table = value_at(scenario, tuple(above))
    return (unit_of(type(table).model_fields[str(last)]) if isinstance(table, Table) else "") or "1"


def replaced(scenario: Any, path: Path, value: Any) -> Any:
    """The scenario with another value at a resolved path. The value is not checked: a tracer will do."""
    if not path:
        return value
    first, rest = path[0], path[1:]
    child = replaced(_step(scenario, first), rest, value)
    if isinstance(first, int):
        return (*scenario[:first], child, *scenario[first + 1 :])
    return scenario.model_copy(update={first: child})


def with_values(scenario: Any, values: Mapping[Path, Any]) -> Any:
    """The scenario with several values replaced."""
    for path, value in values.items():
        scenario = replaced(scenario, path, value)
    return scenario


def checked(scenario: Any) -> Any:
    """The scenario built anew from its own values, so that every range and type is checked.

    Raises:
      PathError: a value is out of range; says which.
    """
    try:
        return type(scenario).model_validate(scenario.model_dump(warnings=False))
    except ValidationError as error:
        path, message = translate(error, type(scenario))[0]
        raise PathError(f"{_text(path)} {message}") from error


def tunable(scenario: Any, dotted: str) -> Path:
    """Resolved path of a number that is a parameter of the plant, as far as the configuration can tell.

    Raises:
      PathError: it is none.
    """
    path = resolve(scenario, dotted)
    value = value_at(scenario, path)
    if path[0] in NOT_IN_PARAMS:
        raise PathError(f"{dotted!r} is static: [{path[0]}] holds no parameter of the plant")
    if value is None:
        raise PathError(f"{dotted!r} is left out of the config: give it a value to start from")
    if not isinstance(value, float):
        raise PathError(f"{dotted!r} is {_kind(value)}, static: only numbers with a fraction can be tuned")
    if path[0] == "site" and path[2] == "job" and scenario.site[path[1]].job[path[3]].kind in GIVEN:
        raise PathError(f"{dotted!r} belongs to a job whose power is given from outside: it cannot be tuned")
    return path


def _kind(value: Any) -> str:
    return "a whole number" if isinstance(value, int) else "no number"


def tuning(scenario: Any) -> Iterator[tuple[Path, str]]:
    """Every rule that [tune] breaks: path of the key and what to do."""
    tune = scenario.tune
    if tune is None:
        return
    if tune.dt_s is not None and ticks_exact(scenario.run.duration_s, tune.dt_s) is None:
        yield ("tune", "dt_s"), f"is {tune.dt_s:g} s, of which run.duration_s is no multiple"
    if both := sorted({*tune.train_seeds} & {*tune.held_out_seeds}):
        yield ("tune", "held_out_seeds"), f"has {both[0]}, which is also in train_seeds"
    for name in ("train_seeds", "held_out_seeds"):
        seeds = getattr(tune, name)
        if len({*seeds}) < len(seeds) or any(not 0 <= seed < 2**31 for seed in seeds):
            yield ("tune", name), "must hold each seed once, each from 0 to 2**31 - 1"
    if tune.limits is None and not tune.objective:
        yield ("tune",), "has nothing to aim at: give limits, [[tune.objective]], or both"
    paths: set[Path] = set()
    for i, parameter in enumerate(tune.parameters):
        at = ("tune", "parameters", i)
        for key, message in _parameter(scenario, parameter, paths):
            yield (*at, key), message
    for dotted, values in tune.values.items():
        try:
            place = resolve(scenario, dotted)
        except PathError as error:
            yield ("tune", "values"), str(error)
            continue
        if not values:
            yield ("tune", "values"), f"{dotted!r} has no value: no scenario is left"
        if place in paths:
            yield ("tune", "values"), f"{dotted!r} is tuned: it cannot be given as well"
        if place == ("run", "seed"):
            yield ("tune", "values"), f"{dotted!r}: seeds are given by train_seeds and held_out_seeds"


def fitting(scenario: Any) -> Iterator[tuple[Path, str]]:
    """Every rule that [fit] breaks: path of the key and what to do."""
    paths: set[Path] = set()
    for i, parameter in enumerate(scenario.fit.parameters if scenario.fit else ()):
        for key, message in _parameter(scenario, parameter, paths):
            yield ("fit", "parameters", i, key), message


def _parameter(scenario: Any, parameter: Any, paths: set[Path]) -> Iterator[tuple[str, str]]:
    low, high = parameter.low, parameter.high
    if low >= high:
        yield "low", f"is {low:g}, must be below high = {high:g}: the bounds are empty"
        return
    if parameter.scale == "log" and low <= 0:
        yield "low", f'is {low:g}, must be above 0 on a log scale: raise it or set scale = "linear"'
    try:
        path = tunable(scenario, parameter.path)
    except PathError as error:
        yield "path", str(error)
        return
    if path in paths:
        yield "path", f"{parameter.path!r} stands twice"
    paths.add(path)
    start = value_at(scenario, path)
    if not low <= start <= high:
        yield "path", f"{parameter.path!r} starts at {start:g}, outside its bounds {low:g} to {high:g}"
    for name, end in (("low", low), ("high", high)):
        try:
            checked(replaced(scenario, path, end))
        except PathError as error:
            yield name, f"is {end:g}: {error}"
