"""What is wrong with a configuration, said so that its author can put it right: file, line, key, value, what is
allowed, the nearest name. All problems at once."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from emulator.schema import Scenario
from emulator.tables import PATTERNS, Table

Path = tuple[str | int, ...]
Known = TypeVar("Known")

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]\"']+?)\s*\]")
_KEY = re.compile(r"^\s*([A-Za-z0-9_\-]+(?:\s*\.\s*[A-Za-z0-9_\-]+)*)\s*=")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    where: str  # file, or --set
    line: int | None
    path: str  # dotted key; "" for the file as a whole
    message: str

    def __str__(self) -> str:
        place = self.where if self.line is None else f"{self.where}:{self.line}"
        return ": ".join(part for part in (place, self.path, self.message) if part)


class ConfigError(Exception):
    """A configuration that cannot be used."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def must_be(value: object, kind: type | tuple[type, ...], how: str) -> None:
    """Refuse what a script gives in place of another thing. `how`: a call that makes the right one.

    Raises:
      TypeError: says what came, what is wanted and how to get it.
    """
    if not isinstance(value, kind):
        names = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        raise TypeError(f"{value!r:.60} is a {type(value).__name__}; wanted: a {names}, as from {how}")


def dotted(path: Path) -> str:
    """site.0.bess.power_mw"""
    return ".".join(str(part) for part in path)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """A hint at the name that was meant, or all names where there is no near one; "" where there are none."""
    allowed = sorted(allowed)
    near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    if near:
        return f"; nearest: {near[0]}"
    return f"; allowed: {', '.join(allowed)}" if allowed else ""


def choice(name: str, allowed: Iterable[str]) -> str:
    """As `nearest`, but all names in either case: for short lists."""
    allowed = sorted(allowed)
    hint = nearest(name, allowed)
    return f"{hint} (allowed: {', '.join(allowed)})" if "nearest" in hint else hint


def line_index(text: str) -> dict[Path, int]:
    """Line of every table header and key of a TOML text, as far as keys start a line. Arrays of tables are counted."""
    lines: dict[Path, int] = {}
    last: dict[Path, int] = {}  # highest index so far of each array of tables
    table: Path = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            parts = [part.strip() for part in header.group(2).split(".")]
            table = ()
            for i, part in enumerate(parts):
                table = (*table, part)
                if header.group(1) == "[[" and i == len(parts) - 1:
                    last[table] = last.get(table, -1) + 1
                if table in last:
                    table = (*table, last[table])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, *(part.strip() for part in key.group(1).split("."))), number)
    return lines


def nearest_known(known: Mapping[Path, Known], path: Path) -> Known | None:
    """What is known, a line for one, of a key, or of the nearest table around it."""
    for end in range(len(path), 0, -1):
        for at in (path[:end], (*path[:end], 0)):  # the first table of an array stands for the array
            if at in known:
                return known[at]
    return None


def translate(
    error: ValidationError, root: type[Table] = Scenario, presets: Container[Path] = ()
) -> list[tuple[Path, str]]:
    """Path and message of every problem that pydantic found in a table of type `root`, in our words. `presets` are the
    tables, by path without indices of lists, that also take the key "preset"."""
    found = error.errors(include_url=False)
    problems = []
    for item in found:
        place = _Place.at(item["loc"], root)
        inside = any(other is not item and other["loc"][: len(item["loc"])] == item["loc"] for other in found)
        if item["type"] == "too_short" and inside:
            continue  # pydantic counts only the items that passed
        table = tuple(part for part in place.path[:-1] if isinstance(part, str))
        further = ("preset",) if table in presets else ()
        problems.append(_say(place, further, item["type"], item.get("input"), item.get("ctx", {}), item["msg"]))
    return problems


@dataclass(frozen=True)
class _Place:
    """Where a location of pydantic's lies in our schema."""

    path: Path  # without the tags of unions
    table: type[Table] | None  # that holds the key
    field: FieldInfo | None
    tags: frozenset[str]  # of the union that lies there

    @classmethod
    def at(cls, location: Sequence[str | int], root: type[Table]) -> _Place:
        path: list[str | int] = []
        holder: type[Table] | None = None
        field: FieldInfo | None = None
        options: list[Any] = [root]
        for part in location:
            tables = [o for o in options if isinstance(o, type) and issubclass(o, Table)]
            if isinstance(part, str) and len(tables) > 1:
                options = [t for t in tables if part in _tags(t)]  # a union's tag, no key of the user's
                continue
            path.append(part)
            if isinstance(part, int):
                options = [inner for o in options for inner in _items(o)]
                continue
            holder = tables[0] if tables else None
            field = holder.model_fields.get(part) if holder else None
            options = _unwrap(field.annotation) if field else []
        tables = [o for o in options if isinstance(o, type) and issubclass(o, Table)]
        return cls(tuple(path), holder, field, frozenset(tag for t in tables for tag in _tags(t)))


def _unwrap(annotation: Any) -> list[Any]:
    """Members of a union, without Annotated and None."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _unwrap(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [inner for member in typing.get_args(annotation) for inner in _unwrap(member)]
    return [] if annotation is type(None) else [annotation]


def _items(annotation: Any) -> list[Any]:
    """What a tuple holds."""
    if typing.get_origin(annotation) is not tuple:
        return []
    return [inner for member in typing.get_args(annotation) if member is not ... for inner in _unwrap(member)]


def _tags(table: type[Table]) -> set[str]:
    """The kinds or models that select a table in its union."""
    fields = [table.model_fields[name] for name in ("kind", "model") if name in table.model_fields]
    return {tag for field in fields for tag in typing.get_args(field.annotation)}


def bounds(field: FieldInfo) -> str:
    """Range of a number in words: "> 0 and <= 1"."""
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    found = [(sign, getattr(m, name)) for m in field.metadata for name, sign in signs.items() if hasattr(m, name)]
    return " and ".join(f"{sign} {value:g}" for sign, value in found)


def unit_of(field: FieldInfo | None) -> str:
    """Unit of a key, "" for none."""
    extra = field.json_schema_extra if field else None
    unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
    return "" if unit == "1" else unit


_TYPES = {
    "float_type": "a number",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "a text in quotes",
    "tuple_type": "a list",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "dict_type": "a table",
}


def _say(
    place: _Place, further: Sequence[str], kind: str, value: Any, context: Mapping[str, Any], fallback: str
) -> tuple[Path, str]:
    """One problem in words. `value` is what the user wrote, `further` are keys that the schema does not name."""
    path, field = place.path, place.field
    unit = f" {unit}" if (unit := unit_of(field)) else ""
    match kind:
        case "extra_forbidden":
            keys = place.table.model_fields if place.table else ()
            return path, f"unknown key{nearest(str(path[-1]), [*keys, *further])}"
        case "missing":
            what = f": {field.description}" if field else ""
            return path, f"missing key{what}{unit and f', in{unit}'}"
        case "union_tag_invalid":
            tags = re.findall(r"'([^']*)'", context["expected_tags"])
            key = context["discriminator"].strip("'")
            return (*path, key), f"{context['tag']!r} is unknown{choice(str(context['tag']), tags)}"
        case "union_tag_not_found":
            key, written = context["discriminator"].strip("'"), value if isinstance(value, dict) else {}
            if near := difflib.get_close_matches(key, written, n=1):
                return (*path, near[0]), f"unknown key; nearest: {key}"
            return (*path, key), f"missing key{nearest('', place.tags)}"
        case "literal_error":
            allowed = [text or number for text, number in re.findall(r"'([^']*)'|(\d+)", context["expected"])]
            return path, f"{value!r} is unknown{choice(str(value), allowed)}"
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            return path, f"is {value!r}, must be {bounds(field) if field else ''}{unit}"
        case "string_too_short":
            return path, f"is {value!r}, must not be empty"
        case "string_too_long":
            return path, f"is {value!r}, must have at most {context['max_length']} characters"
        case "string_pattern_mismatch":
            return path, f"is {value!r}, must be {PATTERNS[context['pattern']]}"
        case "value_error":
            return path, fallback.removeprefix("Value error, ")
        case "too_short":
            return path, f"needs at least {context['min_length']} of it"
        case "too_long":
            return path, f"takes at most {context['max_length']}"
        case "tuple_type" if isinstance(value, dict):
            head = dotted(tuple(part for part in path if isinstance(part, str)))
            return (
                path,
                f"must be a list of tables: write [[{head}]], or whole: --set '{dotted(path)}=[{{...}}]'",
            )
        case _ if kind in _TYPES:
            shown = f"is {str(value).lower() if isinstance(value, bool) else repr(value)}, "
            shown = shown if not isinstance(value, dict | list) else ""
            limits = f", {bounds(field)}" if field and bounds(field) else ""
            return path, f"{shown}must be {_TYPES[kind]}{unit and f' of{unit}'}{limits}"
        case _:
            return path, f"is {value!r}: {fallback}"
