"""Limits that a utility sets, one table a clause, and how they are read. `limits.py` judges recordings by them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from emulator import catalog, raw_config
from emulator.complaint import ConfigError, Problem, dotted, line_index, nearest, nearest_known, translate
from emulator.tables import Table, key


class _Limit(Table):
    name: str = key("title of the clause", min_length=1)
    source: str = key("where it stands", "not given")
    status: Literal["in force", "draft", "example", "own"] = key("how binding it is; own: the user's", "own")
    skip_s: float = key("so much of the record's start is left out of what is judged", 0.0, unit="s", ge=0)


def _ascending(low_key: str, low: float, high_key: str, high: float) -> None:
    """Raises ValueError where the lower one is not below the higher one."""
    if low >= high:
        raise ValueError(f"{low_key} {low:g} must be below {high_key} {high:g}")


class _SiteLimit(_Limit):
    site: str | None = key("which site; left out: the worst", None)


class _AreaLimit(_Limit):
    area: str | None = key("which grid area; left out: the worst", None)


class SlidingWindowChange(_SiteLimit):
    kind: Literal["sliding_window_change"]
    window_s: float = key("length of the window", unit="s", gt=0)
    max_mw: float = key("largest change within it", unit="MW", gt=0)


class RampRate(_SiteLimit):
    kind: Literal["ramp_rate"]
    over_s: float = key("time over which the rate is taken", unit="s", gt=0)
    max_mw_per_min: float = key("largest rate, up or down", unit="MW/min", gt=0)


class DynamicRange(_SiteLimit):
    kind: Literal["dynamic_range"]
    max_mw: float = key("largest peak-to-peak power", unit="MW", gt=0)


class BandEnergy(_SiteLimit):
    kind: Literal["band_energy"]
    low_hz: float = key("lower edge, included", unit="Hz", ge=0)
    high_hz: float = key("upper edge, not included", unit="Hz", gt=0)
    max_fraction: float = key("largest share of the spectrum in the band", unit="1", gt=0, le=1)
    reading: Literal["variance", "magnitude"] = key("share of variance, or of summed magnitude")

    @model_validator(mode="after")
    def _in_order(self) -> BandEnergy:
        _ascending("low_hz", self.low_hz, "high_hz", self.high_hz)
        return self


class BandAmplitude(_SiteLimit):
    kind: Literal["band_amplitude"]
    low_hz: float = key("lower edge, included", unit="Hz", ge=0)
    high_hz: float = key("upper edge, not included", unit="Hz", gt=0)
    max_mw: float = key("largest line of the spectrum in the band, peak value of its sine", unit="MW", gt=0)

    @model_validator(mode="after")
    def _in_order(self) -> BandAmplitude:
        _ascending("low_hz", self.low_hz, "high_hz", self.high_hz)
        return self


class _Flicker(_SiteLimit):
    lamp_v: Literal[120, 230] = key("reference lamp", unit="V")
    frequency_hz: float = key("of the grid, 50 or 60", unit="Hz", ge=50, le=60)


class FlickerPst(_Flicker):
    kind: Literal["flicker_pst"]
    max_pst: float = key("short-term flicker severity, over 10 min", unit="1", gt=0)


class FlickerPlt(_Flicker):
    kind: Literal["flicker_plt"]
    max_plt: float = key("long-term flicker severity, over 2 h", unit="1", gt=0)


class VoltageChange(_SiteLimit):
    kind: Literal["voltage_change"]
    max_pct: float = key("largest change of voltage within a second, of nominal", unit="%", gt=0)


class VoltageRange(_SiteLimit):
    kind: Literal["voltage_range"]
    low_pu: float = key("least voltage", unit="pu", gt=0)
    high_pu: float = key("greatest voltage", unit="pu", gt=0)

    @model_validator(mode="after")
    def _in_order(self) -> VoltageRange:
        _ascending("low_pu", self.low_pu, "high_pu", self.high_pu)
        return self


class LoadReturn(_SiteLimit):
    kind: Literal["load_return"]
    above_pu: float = key("voltage from which on the load must be there", unit="pu", gt=0)
    share: float = key("least share of the load that must be there", unit="1", gt=0, le=1)
    max_s: float = key("longest time without it", unit="s", gt=0)


class FrequencyDeviation(_AreaLimit):
    kind: Literal["frequency_deviation"]
    max_hz: float = key("largest distance from the nominal frequency, up or down", unit="Hz", gt=0)


class Rocof(_AreaLimit):
    kind: Literal["rocof"]
    over_s: float = key("time over which the rate is taken", unit="s", gt=0)
    max_hz_per_s: float = key("largest rate of change of frequency, up or down", unit="Hz/s", gt=0)


class TieSwing(_Limit):
    kind: Literal["tie_swing"]
    max_mw: float = key("largest peak-to-peak flow", unit="MW", gt=0)
    tie: str | None = key("which tie, named as in the trace; left out: the worst", None)


class ShaftTorque(_Limit):
    kind: Literal["shaft_torque"]
    max_pu: float = key("largest change of a section's torque from the start", unit="pu", gt=0)


class SocWindow(_SiteLimit):
    kind: Literal["soc_window"]
    low: float = key("least state of charge", unit="1", ge=0, le=1)
    high: float = key("greatest state of charge", unit="1", ge=0, le=1)

    @model_validator(mode="after")
    def _in_order(self) -> SocWindow:
        _ascending("low", self.low, "high", self.high)
        return self


Clause = (
    SlidingWindowChange
    | RampRate
    | DynamicRange
    | BandEnergy
    | BandAmplitude
    | FlickerPst
    | FlickerPlt
    | VoltageChange
    | VoltageRange
    | LoadReturn
    | FrequencyDeviation
    | Rocof
    | TieSwing
    | ShaftTorque
    | SocWindow
)
Limit = Annotated[Clause, Field(discriminator="kind")]


def place_of(limit: Clause) -> str | None:
    """Site, area or tie for which a clause holds; None = the worst one counts."""
    return next((place for axis in ("site", "area", "tie") if (place := getattr(limit, axis, None))), None)


class Limits(Table):
    """A file of limits."""

    limit: tuple[Limit, ...] = key("clauses", min_length=1, strict=False)


def load(limits: str | Path) -> Limits:
    """Read and check limits: a path, or the name of a preset.

    Raises:
      ConfigError: with every problem found.
    """
    path = Path(limits)
    if not path.is_file():
        path = catalog.path_of("limits", str(limits))
    if not path.is_file():
        hint = nearest(str(limits), catalog.names("limits"))
        raise ConfigError([Problem(str(limits), None, "", f"no such file, and no limits preset of that name{hint}")])
    text, table = raw_config.read(path)
    try:
        return Limits.model_validate(table)
    except ValidationError as error:
        lines = line_index(text)
        found = translate(error, Limits)
        problems = [Problem(str(path), nearest_known(lines, at), dotted(at), message) for at, message in found]
        raise ConfigError(problems) from error
