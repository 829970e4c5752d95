"""Presets that ship: TOML tables in `configs/`, every number with its source in `[about.sources]`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent / "presets"

FOLDERS = {
    "accelerators": "hardware/accelerators",
    "workloads": "workloads",
    "services": "services",
    "grids": "grids",
    "shafts": "hardware/shafts",
    "batteries": "hardware/batteries",
    "controllers": "controllers",
    "facilities": "hardware/facilities",
    "limits": "limits",
    "scenarios": "scenarios",
}


def kinds() -> tuple[str, ...]:
    """Kinds of preset."""
    return tuple(FOLDERS)


def names(kind: str) -> tuple[str, ...]:
    """Names of the presets of a kind."""
    return tuple(sorted(path.stem for path in (ROOT / FOLDERS[kind]).glob("*.toml")))


def path_of(kind: str, name: str) -> Path:
    """File of a preset; it may not exist."""
    return ROOT / FOLDERS[kind] / f"{name}.toml"


def read(kind: str, name: str) -> dict[str, Any]:
    """The preset's table, without what it says about itself. Raises FileNotFoundError."""
    table = tomllib.loads(path_of(kind, name).read_text("utf-8"))
    table.pop("about", None)
    return table


def sources(kind: str, name: str) -> dict[str, str]:
    """Where the preset's numbers come from, by dotted key; a key stands for all below it."""
    about = tomllib.loads(path_of(kind, name).read_text("utf-8")).get("about", {})
    return about.get("sources", {})


def describe(kind: str, name: str) -> str:
    """The preset in one line."""
    return tomllib.loads(path_of(kind, name).read_text("utf-8")).get("about", {}).get("description", "")


def source_of(table: dict[str, str], key: str) -> str:
    """Source of a dotted key: its own, or that of the nearest table around it; "" where there is none."""
    while key not in table and "." in key:
        key = key.rpartition(".")[0]
    return table.get(key, "")
