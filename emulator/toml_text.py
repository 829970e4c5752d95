"""TOML text of a scenario, a table or a value, which reads back to an equal one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from emulator.complaint import Path, dotted, unit_of
from emulator.tables import Table


def to_toml(scenario: Table, origins: Mapping[str, str] | None = None) -> str:
    """The resolved configuration, or a table, as TOML that loads again to an equal one; origins become comments."""
    return "\n".join(_render(scenario, (), (), origins)).lstrip("\n") + "\n"


def _render(table: Table, path: Path, header: tuple[str, ...], origins: Mapping[str, str] | None) -> Iterator[str]:
    """Lines of a table: plain keys first, then the tables below it."""
    below: list[tuple[str, Any]] = []
    for name, field in type(table).model_fields.items():
        value = getattr(table, name)
        if isinstance(value, Table) or (isinstance(value, tuple) and value and isinstance(value[0], Table)):
            below.append((name, value))
        elif value is not None and value not in ((), {}):
            line = f"{name} = {toml_value(value)}"
            unit = unit_of(field)
            origin = "" if origins is None else _origin(origins, dotted((*path, name)))
            comment = "; ".join(part for part in (unit, origin) if part)
            yield f"{line:40s} # {comment}" if origins is not None and comment else line
    for name, value in below:
        inner = (*header, name)
        if isinstance(value, Table):
            yield from ("", f"[{'.'.join(inner)}]")
            yield from _render(value, (*path, name), inner, origins)
            continue
        for i, item in enumerate(value):
            yield from ("", f"[[{'.'.join(inner)}]]")
            yield from _render(item, (*path, name, i), inner, origins)


def _origin(origins: Mapping[str, str], key: str) -> str:
    """Of a value; of a dictionary, that of its first."""
    return origins.get(key) or next((its for at, its in origins.items() if at.startswith(f"{key}.")), "")


def toml_value(value: Any) -> str:
    """A plain value in TOML; floats keep every digit."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = "".join(f"\\u{ord(c):04x}" if c in '"\\' or ord(c) < 32 or ord(c) == 127 else c for c in value)
        return f'"{escaped}"'
    if isinstance(value, tuple | list):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{toml_value(key)} = {toml_value(item)}' for key, item in value.items())}}}"
    return repr(value)
