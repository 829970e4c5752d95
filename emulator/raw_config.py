"""A configuration as written, before it is checked: what a dotted key means, and files made absolute."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from emulator.complaint import Path as Keys


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


def absolute_paths(raw: dict[str, Any], folder: Path) -> None:
    """Files of replayed jobs and of limits, relative to the config, so that the resolved text works anywhere."""
    tune = raw.get("tune")
    if isinstance(tune, dict) and isinstance(tune.get("limits"), str) and (folder / tune["limits"]).is_file():
        tune["limits"] = str(folder / tune["limits"])
    for site in _tables(raw.get("site")):
        _absolute_jobs(site.get("job"), folder)
    for key, options in values_of(raw):
        match kind_path_at(raw, key):
            case ("site", "job"):
                for jobs in options:
                    _absolute_jobs(jobs, folder)
            case ("site", "job", "path"):
                options[:] = [str(folder / name) if isinstance(name, str) else name for name in options]


def _absolute_jobs(jobs: Any, folder: Path) -> None:
    for job in _tables(jobs):
        if job.get("kind") == "replay" and isinstance(job.get("path"), str):
            job["path"] = str(folder / job["path"])


def _tables(node: Any) -> Iterable[dict[str, Any]]:
    return (item for item in node if isinstance(item, dict)) if isinstance(node, list) else ()
