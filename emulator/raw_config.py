"""A configuration as written, before it is checked: its text, what a dotted key means, and files made absolute."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from emulator.complaint import ConfigError, Problem
from emulator.complaint import Path as Keys

DEEPEST = 32  # tables and lists in each other, far more than a configuration has; Python itself ends near 1,000


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """Text and table of a TOML file, without what that says about itself.

    Raises:
      ConfigError: it cannot be read, or is no TOML.
    """
    try:
        text = path.read_text("utf-8-sig")
        table = parsed(text)
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), None, "", f"is not UTF-8 text: {error}")]) from error
    except ValueError as error:
        raise ConfigError([Problem(str(path), None, "", f"is not valid TOML: {error}")]) from error
    except OSError as error:
        raise ConfigError([Problem(str(path), None, "", f"cannot be read: {error.strerror}")]) from error
    table.pop("about", None)
    return text, table


def parsed(text: str) -> dict[str, Any]:
    """Of a TOML text. ValueError where it is none."""
    too_deep = f"more than {DEEPEST} tables or lists in each other"
    try:
        table = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError(too_deep) from error
    except ValueError as error:  # also of a number of thousands of digits, with an advice to programmers
        raise ValueError(str(error).partition("; use sys.")[0]) from error
    level = [table]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _within(outer)]
    if level:
        raise ValueError(too_deep)
    return table


def _within(node: Any) -> Iterable[Any]:
    """What is in a table or list, of that which may hold something itself."""
    inner = node.values() if isinstance(node, dict) else node
    return (item for item in inner if isinstance(item, dict | list))


def kind_path(path: Keys) -> Keys:
    """A path without indices of lists."""
    return tuple(part for part in path if isinstance(part, str))


def kind_path_at(raw: Any, key: str) -> Keys:
    """As `kind_path`, of a dotted key with list items by index or by name; a list of one may be passed over."""
    at, path = raw, ()
    for part in key.split("."):
        if isinstance(at, list):
            items = {str(i): item for i, item in enumerate(at)}
            items |= {item["name"]: item for item in _tables(at) if isinstance(item.get("name"), str)}
            if part in items:
                at = items[part]
                continue
            at = at[0] if len(at) == 1 else None
        path, at = (*path, part), at.get(part) if isinstance(at, dict) else None
    return path


def values_of(raw: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Keys of [tune.values] and what each takes, where they are what they should be."""
    tune = raw.get("tune")
    values = tune.get("values") if isinstance(tune, dict) else None
    for key, options in values.items() if isinstance(values, dict) else ():
        if isinstance(options, list):
            yield key, options


def absolute_paths(raw: dict[str, Any], file: Callable[[Keys, str], Path]) -> None:
    """Files of replayed jobs and of limits, by where `file` says that the one named at a key is, so that the resolved
    text works anywhere."""
    tune = raw.get("tune")
    if isinstance(tune, dict) and isinstance(tune.get("limits"), str):
        limits = file(("tune", "limits"), tune["limits"])
        if limits.is_file():
            tune["limits"] = str(limits)
    for i, site in enumerate(_tables(raw.get("site"))):
        _absolute_jobs(site.get("job"), ("site", i, "job"), file)
    for key, options in values_of(raw):
        at = ("tune", "values", key)
        match kind_path_at(raw, key):
            case ("site", "job"):
                for i, jobs in enumerate(options):
                    _absolute_jobs(jobs, (*at, i), file)
            case ("site", "job", "path"):
                options[:] = [str(file(at, name)) if isinstance(name, str) else name for name in options]


def _absolute_jobs(jobs: Any, at: Keys, file: Callable[[Keys, str], Path]) -> None:
    for i, job in enumerate(_tables(jobs)):
        if job.get("kind") == "replay" and isinstance(job.get("path"), str):
            job["path"] = str(file((*at, i, "path"), job["path"]))


def _tables(node: Any) -> Iterable[dict[str, Any]]:
    return (item for item in node if isinstance(item, dict)) if isinstance(node, list) else ()
