"""Time as integer ticks. A tick is an exact fraction of a second; seconds exist for display only."""

from __future__ import annotations

from fractions import Fraction


def fraction(seconds: float) -> Fraction:
    """The decimal that the user wrote, exactly: 0.001 is 1/1000, not the nearest binary float."""
    return Fraction(repr(seconds))


def ticks_exact(seconds: float, dt_s: float) -> int | None:
    """Ticks in a time span, or None where it is no whole number of them."""
    count = fraction(seconds) / fraction(dt_s)
    return int(count) if count.denominator == 1 else None


def ticks_nearest(seconds: float, dt_s: float) -> int:
    """Ticks in a time span to the nearest whole one."""
    return round(fraction(seconds) / fraction(dt_s))


def seconds_at(tick: int, dt_s: float) -> float:
    """Start of a tick in float64 seconds, rounded once."""
    return float(tick * fraction(dt_s))
