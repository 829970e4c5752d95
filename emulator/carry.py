"""What a run carries from window to window in mutable objects, as named arrays and back, and a checkpoint of it all.

A class names in CARRIED its attributes that change while a run goes on; all else it makes anew from the scenario.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

ABSENT = "nothing"


@dataclass(frozen=True)
class Checkpoint:
    """A run between two windows."""

    made_with: Mapping[str, str]  # configuration, versions and whatever else the numbers depend on
    arrays: Mapping[str, np.ndarray]  # all that it carries, by place


def gather(thing: Any, at: str) -> Iterator[tuple[str, np.ndarray]]:
    """Place and value of every array and number below `thing`. A list of arrays is one array, cut anywhere; None, which
    stands for a number not known yet, is left out."""
    if isinstance(thing, np.ndarray | int | float):
        yield at, np.array(thing)
    elif _is_series(thing):
        yield at, np.concatenate([np.zeros(0), *thing])
    elif thing is not None:
        for name, child in _children(thing):
            yield from gather(child, f"{at}/{name}")


def scatter(thing: Any, at: str, arrays: Mapping[str, np.ndarray]) -> Any:
    """Put what was gathered below `at` into `thing`, made anew from the same scenario; returns it. KeyError where a
    value is missing."""
    if isinstance(thing, np.ndarray):
        return arrays[at].copy()
    if thing is None:
        return arrays[at].item() if at in arrays else None
    if isinstance(thing, int | float):
        return type(thing)(arrays[at])
    if _is_series(thing):
        return [arrays[at].copy()] if len(arrays[at]) else []
    found = {name: scatter(child, f"{at}/{name}", arrays) for name, child in _children(thing)}
    if isinstance(thing, dict):
        return dict(zip(thing, found.values(), strict=True))
    if isinstance(thing, list):
        return list(found.values())
    if is_dataclass(thing) and not isinstance(thing, type):
        return replace(thing, **found)
    for name, child in found.items():
        setattr(thing, name, child)
    return thing


def _is_series(thing: Any) -> bool:
    return isinstance(thing, list) and all(isinstance(part, np.ndarray) for part in thing)


def _children(thing: Any) -> list[tuple[str, Any]]:
    if isinstance(thing, dict):
        return [(str(key), child) for key, child in thing.items()]
    if isinstance(thing, list):
        return [(str(i), child) for i, child in enumerate(thing)]
    names = [field.name for field in fields(thing)] if is_dataclass(thing) else thing.CARRIED
    return [(name, getattr(thing, name)) for name in names]


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What of `made_with` is not as it was, a line each; of the configuration, key by key."""
    pairs = {key: (before.get(key, ABSENT), now.get(key, ABSENT)) for key in (*before, *now) if key != "config"}
    old, new = (dict(_values(tomllib.loads(made_with["config"]))) for made_with in (before, now))
    pairs |= {key: (old.get(key, ABSENT), new.get(key, ABSENT)) for key in (*old, *new)}
    return [f"{key} was {was}, now {its}" for key, (was, its) in pairs.items() if was != its]


def _values(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Dotted path and text of every value of a configuration, list items by number."""
    if isinstance(node, dict) and node:
        for key, child in node.items():
            yield from _values(child, (*path, key))
    elif isinstance(node, list) and any(isinstance(item, dict) for item in node):
        for i, child in enumerate(node):
            yield from _values(child, (*path, str(i)))
    else:
        yield ".".join(path), repr(node)
