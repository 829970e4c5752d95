"""Conversions at the border between SI (cluster, facility) and MW or per unit (site, grid); numbers as JSON, words."""

from __future__ import annotations

from math import isfinite
from typing import Any

W_PER_KW = 1e3
W_PER_MW = 1e6
KW_PER_MW = 1e3
S_PER_H = 3600.0
S_PER_MIN = 60.0
S_PER_YEAR = 365.25 * 24 * S_PER_H


def plain(value: Any) -> Any:
    """As JSON has it: null for a number that is not finite, no sign at zero."""
    return value if not isinstance(value, float) else value + 0.0 if isfinite(value) else None


def counted(number: int, noun: str) -> str:
    """A number of things: "1 row", "12,000 rows"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
