"""Conversions at the border between SI (cluster, facility) and MW or per unit (site, grid); counts in words."""

from __future__ import annotations

W_PER_KW = 1e3
W_PER_MW = 1e6
KW_PER_MW = 1e3
S_PER_H = 3600.0
S_PER_MIN = 60.0
S_PER_YEAR = 365.25 * 24 * S_PER_H


def counted(number: int, noun: str) -> str:
    """A number of things: "1 row", "12,000 rows"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
