"""Limits that a utility sets, one row a clause. Their assessment is not part of this version; the presets are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from emulator.tables import Table, key


class _Limit(Table):
    name: str = key("title of the clause")
    source: str = key("where it stands")
    status: Literal["in force", "draft", "example"] = key("how binding it is")


class SlidingWindowChange(_Limit):
    kind: Literal["sliding_window_change"]
    window_s: float = key("length of the window", unit="s", gt=0)
    max_mw: float = key("largest change within it", unit="MW", gt=0)


class RampRate(_Limit):
    kind: Literal["ramp_rate"]
    over_s: float = key("time over which the rate is taken", unit="s", gt=0)
    max_mw_per_min: float = key("largest rate", unit="MW/min", gt=0)


class DynamicRange(_Limit):
    kind: Literal["dynamic_range"]
    max_mw: float = key("largest peak-to-peak power", unit="MW", gt=0)


class BandEnergy(_Limit):
    kind: Literal["band_energy"]
    low_hz: float = key("lower edge", unit="Hz", ge=0)
    high_hz: float = key("upper edge", unit="Hz", gt=0)
    max_fraction: float = key("largest share of the spectrum in the band", unit="1", gt=0, le=1)
    reading: Literal["variance", "magnitude"] = key("share of variance, or of summed magnitude")


class FlickerPst(_Limit):
    kind: Literal["flicker_pst"]
    lamp_v: Literal[120, 230] = key("reference lamp", unit="V")
    frequency_hz: float = key("of the grid", unit="Hz", gt=0)
    max_pst: float = key("short-term flicker severity", unit="1", gt=0)


class VoltageChange(_Limit):
    kind: Literal["voltage_change"]
    max_pct: float = key("largest change of voltage", unit="%", gt=0)


Limit = Annotated[
    SlidingWindowChange | RampRate | DynamicRange | BandEnergy | FlickerPst | VoltageChange, Field(discriminator="kind")
]


class Limits(Table):
    """A file of limits."""

    limit: tuple[Limit, ...] = key("clauses", min_length=1, strict=False)
