"""From a TOML file to a checked Scenario: overrides, presets, schema, rules. Never imports JAX.

Every value's origin is kept (line of the file, `--set`, preset with its source, default with its source), so that
`wattswing check` can show where each number comes from, and what is wrong names the file and the line that say it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from emulator import catalog, raw_config, rules
from emulator.complaint import (
    ConfigError,
    Path,
    Problem,
    choice,
    dotted,
    line_index,
    must_be,
    nearest,
    nearest_known,
    translate,
)
from emulator.raw_config import absolute_paths, kind_path, kind_path_at, values_of
from emulator.schema import Scenario
from emulator.tables import Table

SET = "--set"  # where a value is from that no file has
# Tables that take a preset, by path with list indices left out, and the kind of preset.
PRESET_KINDS = {
    ("site", "job", "accelerator"): "accelerators",
    ("site", "job", "workload"): "workloads",
    ("site", "job", "service"): "services",
    ("site", "facility"): "facilities",
    ("site", "bess"): "batteries",
    ("site", "store"): "batteries",
    ("site", "controller"): "controllers",
    ("grid",): "grids",
    ("grid", "shaft"): "shafts",
}
BY_NAME = (
    ("site", "job", "accelerator"),
    ("site", "job", "workload"),
    ("site", "job", "service"),
)  # a plain text there names a preset


@dataclass(frozen=True)
class Resolved:
    """A checked scenario and where each of its values comes from, by dotted path."""

    scenario: Scenario
    origins: Mapping[str, str]


def load(config: str | FilePath, overrides: Sequence[str] = ()) -> Scenario:
    """Read and check a configuration: a path, or the name of a scenario preset.

    Args:
      overrides: a list of KEY=VALUE with dotted paths, list items by index or by name: ["run.duration_s=10"].

    Raises:
      ConfigError: with every problem found.
      TypeError: a configuration that is no path or name, or overrides that are no list of texts.
    """
    must_be(config, (str, FilePath), '"campus_100mw" or Path("my_campus.toml")')
    must_be(overrides, (list, tuple), '["run.duration_s=10"]')
    return resolve(config, overrides).scenario


def located(error: ConfigError, config: str, overrides: Sequence[str]) -> ConfigError:
    """What drivers find wrong in a scenario, who know no file: with the file and the line, or the --set, of the key."""
    source = _expanded(config, overrides)[0]

    def at(problem: Problem) -> Problem:
        path = tuple(int(part) if part.isdecimal() else part for part in problem.path.split("."))
        return source.problem(path, problem.message) if problem.where == "config" else problem

    return ConfigError(map(at, error.problems))


def resolve(config: str | FilePath, overrides: Sequence[str] = ()) -> Resolved:
    """As `load`, with the origin of every value."""
    source, origins, problems = _expanded(config, overrides)
    absolute_paths(source.table, source.file)
    scenario = _validate(source, problems)
    if broken := [source.problem(path, message) for path, message in rules.broken(scenario)]:
        raise ConfigError(broken)
    return Resolved(scenario, {**_default_origins(scenario), **origins})


def place_of(config: str | FilePath, overrides: Sequence[str], path: Path) -> Problem:
    """A problem, not said yet, with the key or table at `path`: in its file and line, or in an override."""
    return _expanded(config, overrides)[0].problem(path, "")


def _expanded(config: str | FilePath, overrides: Sequence[str]) -> tuple[_Source, dict[str, str], list[Problem]]:
    """A configuration with its overrides and presets, the origin of every value, and what is wrong so far."""
    source = _Source.read(config)
    late, problems = _override_all(source, overrides)
    origins = {dotted(path): source.origin(path) for path in _leaves(source.table)}
    origins |= _expand(source, source.table, (), problems)
    still_late, late_problems = _override_all(source, late)
    assert not still_late, "presets are expanded by now"
    origins |= {dotted(path): SET for path in _leaves(source.table) if source.is_set(path)}
    return source, origins, [*problems, *late_problems, *_expand_values(source)]


@dataclass(frozen=True)
class _Source:
    """A configuration as written, to which overrides and presets are added."""

    name: str
    folder: FilePath
    table: dict[str, Any]
    places: dict[Path, tuple[str, int | None]]  # of keys and tables: file and line that say it last, or --set
    overridden: set[Path]  # what --set has set so far
    unsettled: set[Path]  # tables whose preset is unknown, so that nobody can say what else they lack

    @classmethod
    def read(cls, config: str | FilePath) -> _Source:
        path = FilePath(config)
        if not path.is_file():
            path = catalog.path_of("scenarios", str(config))
        if not path.is_file():
            other = [kind for kind in catalog.kinds() if str(config) in catalog.names(kind)]
            hint = f"; it is one of {other[0]}" if other else nearest(str(config), catalog.names("scenarios"))
            is_no = f"no such file, and no scenario preset of that name{hint}"
            if FilePath(config).exists():  # a file is read more than once
                is_no = "is a folder or a stream, must be a file"
            raise ConfigError([Problem(str(config), None, "", is_no)])
        text, table = raw_config.read(path)
        places: dict[Path, tuple[str, int | None]] = {key: (str(path), line) for key, line in line_index(text).items()}
        return cls(str(path), path.resolve().parent, table, places, set(), set())

    def override(self, path: Path) -> None:
        """--set gives the value at `path`: nothing that a file says at it or below it counts any more."""
        for key in [key for key in self.places if key[: len(path)] == path]:
            del self.places[key]
        self.places[path] = SET, None
        self.overridden.add(path)

    def place(self, path: Path) -> tuple[str, int | None]:
        """File and line that say the key at `path`, or --set, which may also have made a table for a value."""
        unsaid = path not in self.places and (*path, 0) not in self.places
        if unsaid and any(at[: len(path)] == path for at in self.overridden):
            return SET, None
        return nearest_known(self.places, path) or (self.name, None)

    def is_set(self, path: Path) -> bool:
        return self.place(path)[0] == SET

    def origin(self, path: Path) -> str:
        file, line = self.place(path)
        return SET if file == SET else f"{FilePath(file).name}:{line}"

    def file(self, path: Path, name: str) -> FilePath:
        """Which the key at `path` names: beside the configuration; of a --set in the working directory, if there."""
        here = FilePath.cwd() / name
        return here if self.is_set(path) and here.is_file() else self.folder / name

    def problem(self, path: Path, message: str) -> Problem:
        return Problem(*self.place(path), dotted(path), message)


def _override_all(source: _Source, overrides: Sequence[str]) -> tuple[list[str], list[Problem]]:
    """Apply overrides in place. Returns those that have to wait until presets are expanded, and what is wrong."""
    late: list[str] = []
    problems: list[Problem] = []
    for override in overrides:
        try:
            path = _override(source, override)
        except ConfigError as error:
            problems += error.problems
            continue
        if path is None:
            late.append(override)
        else:
            source.override(path)
    return late, problems


def _override(source: _Source, override: str) -> Path | None:
    """Apply KEY=VALUE in place; returns the path that it set, or None where it leads into a list of a preset."""
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts) or len(parts) > raw_config.DEEPEST:
        raise ConfigError([Problem(SET, None, override, "must be KEY=VALUE with a dotted KEY")])
    try:
        value = raw_config.parsed(f"value = {text}")["value"]
    except ValueError as error:
        if text.lstrip()[:1] in ("[", "{"):
            message = f"{text} is no TOML: {error}; did the shell take its quotes? Put '...' around KEY=VALUE"
            raise ConfigError([Problem(SET, None, key.strip(), message)]) from error
        value = text
    at: Any = source.table
    path: Path = ()
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        place: Any = part
        if isinstance(at, list):
            place = _item(at, part, path)
            child = at[place]
        elif isinstance(at, dict):
            if not last and part not in at and _preset_has_list(source, at, path, part):
                return None
            child = at.get(part, {})
        else:
            raise ConfigError([Problem(SET, None, dotted(path), f"is {at!r} and has no {part!r} below it")])
        path = (*path, place)
        if last:
            child = value
        elif isinstance(child, str) and kind_path(path) in BY_NAME:
            child = {"preset": child}
        at[place] = child
        at = child
    return path


def _preset_has_list(source: _Source, table: dict[str, Any], path: Path, key: str) -> bool:
    """True where a table's preset, not expanded yet, brings a list of that name."""
    held = {"preset": table.get("preset")}
    if kind_path(path) in PRESET_KINDS and held["preset"] is not None:
        _expand(replace(source, places=dict(source.places), unsettled=set()), held, path, [])
    return isinstance(held.get(key), list)


def _item(items: list[Any], part: str, path: Path) -> int:
    """Index of a list item by number or by name."""
    names = [item.get("name", "") if isinstance(item, dict) else "" for item in items]
    if part in names:
        return names.index(part)
    if part in map(str, range(len(items))):
        return int(part)
    message = f"has no item {part!r}: it has {len(items)}{nearest(part, filter(None, names))}"
    raise ConfigError([Problem(SET, None, dotted(path), message)])


def _expand(source: _Source, node: Any, path: Path, problems: list[Problem]) -> dict[str, str]:
    """Put presets under the tables that name them, in place; returns the origins of what they bring. Appends what is
    wrong to `problems`."""
    origins: dict[str, str] = {}
    if isinstance(node, list):
        for i, item in enumerate(node):
            origins |= _expand(source, item, (*path, i), problems)
    if not isinstance(node, dict):
        return origins
    for key, child in list(node.items()):
        if isinstance(child, str) and kind_path((*path, key)) in BY_NAME:
            node[key] = {"preset": child}
    bases: list[Any] = []
    while "preset" in node:  # that of a preset of one's own included
        try:
            bases.append(node["preset"])
            origins = _apply_preset(source, node, path, bases) | origins
        except ConfigError as error:
            problems += error.problems
            source.unsettled.add(path)
    for key, child in node.items():
        origins |= _expand(source, child, (*path, key), problems)
    return origins


def _expand_values(source: _Source) -> list[Problem]:
    """Presets in the tables that [tune.values] gives, in place, as if each stood at its key. Returns what is wrong."""
    problems: list[Problem] = []
    for key, options in values_of(source.table):
        *above, last = kind_path_at(source.table, key)
        if last == "preset":
            continue  # no key of the checked scenario: refused there
        for i, option in enumerate(options):
            held, found = {last: option}, []
            _expand(replace(source, places=dict(source.places)), held, tuple(above), found)
            options[i] = held[last]
            problems += [source.problem(("tune", "values", key), f"{one.path}: {one.message}") for one in found]
    return problems


def _apply_preset(source: _Source, node: dict[str, Any], path: Path, bases: list[Any]) -> dict[str, str]:
    """Put the preset that a table names under it; `bases` are it and those before it."""
    name, at = node.pop("preset"), (*path, "preset")
    kind = PRESET_KINDS.get(kind_path(path))
    if kind is None:
        where = ", ".join(dotted(p) for p in PRESET_KINDS)
        raise ConfigError([source.problem(at, f"no presets for this table; there are for {where}")])
    if name in bases[:-1]:
        raise ConfigError([source.problem(at, f"{name!r} has itself as a base")])
    preset = _preset(source, kind, name, at)
    leaves = [leaf for leaf in _leaves(preset.table) if not _written(node, leaf)]
    for key in (*leaves, *preset.places):
        if not _written(node, key):
            source.places[(*path, *key)] = preset.place(key)
    merged = _merge(preset.table, node)
    node.clear()
    node.update(merged)
    if name.endswith(".toml"):
        return {dotted(leaf): source.origin(leaf) for leaf in ((*path, *leaf) for leaf in leaves)}
    sources = catalog.sources(kind, name)
    said = {leaf: catalog.source_of(sources, dotted(kind_path(leaf))) for leaf in leaves}
    return {dotted((*path, *leaf)): f"preset {name}: {text}".removesuffix(": ") for leaf, text in said.items()}


def _preset(source: _Source, kind: str, name: Any, at: Path) -> _Source:
    """A preset as written: one that ships, or a .toml file beside the configuration."""
    if isinstance(name, str) and name.endswith(".toml"):
        file = source.file(at, name)
        if not file.is_file():
            raise ConfigError([source.problem(at, f"no such file: {file}")])
        return _Source.read(file)
    if not isinstance(name, str) or name not in catalog.names(kind):
        hint = choice(str(name), catalog.names(kind))
        raise ConfigError([source.problem(at, f"no preset {name!r} among {kind}{hint}")])
    return _Source.read(catalog.path_of(kind, name))


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Tables merge key by key; anything else, lists too, is replaced."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both else value
    return merged


def _written(node: Any, leaf: Path) -> bool:
    """True where the user's table has a value at or above a preset's leaf."""
    for part in leaf:
        if not isinstance(node, dict):
            return True
        if part not in node:
            return False
        node = node[part]
    return True


def _leaves(node: Any, path: Path = ()) -> Iterator[Path]:
    """Paths of all values; a list of plain values is one."""
    if isinstance(node, dict):
        for key, child in node.items():
            yield from _leaves(child, (*path, key))
    elif isinstance(node, list | tuple) and any(isinstance(item, dict) for item in node):
        for i, child in enumerate(node):
            yield from _leaves(child, (*path, i))
    else:
        yield path


def _validate(source: _Source, problems: list[Problem]) -> Scenario:
    """The scenario, or all problems, those found before included."""
    try:
        scenario = Scenario.model_validate(source.table)
    except ValidationError as error:
        said = translate(error, presets=PRESET_KINDS)
        found = [at for at in said if not any(at[0][: len(path)] == path for path in source.unsettled)]
        raise ConfigError([*problems, *(source.problem(path, message) for path, message in found)]) from error
    if problems:
        raise ConfigError(problems)
    return scenario


def _default_origins(scenario: Scenario) -> dict[str, str]:
    """ "default: SOURCE" for every key that has a default."""
    return dict(_defaults(scenario, ()))


def _defaults(table: Table, path: Path) -> Iterator[tuple[str, str]]:
    for name, field in type(table).model_fields.items():
        value, at = getattr(table, name), (*path, name)
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        if isinstance(value, Table):
            yield from _defaults(value, at)
        elif isinstance(value, tuple) and any(isinstance(item, Table) for item in value):
            for i, item in enumerate(value):
                yield from _defaults(item, (*at, i))
        elif not (isinstance(value, dict) and value):  # a dictionary's default is an empty one
            yield dotted(at), f"default: {extra.get('source', '')}".removesuffix(": ")
