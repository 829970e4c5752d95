"""The tables of the grid: areas, reserves, protection, ties, shafts; and the disturbances of a run.

Signs: load positive = draws from the grid; tie positive = from first area to second; frequency deviations in Hz.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from emulator.governor_schema import Governor
from emulator.tables import IDEAL, PROGRAM, Name, Table, key


class Inverters(Table):
    """Inverter-based reserves of an area: synthetic inertia and fast frequency response."""

    power_mw: float = key("largest power either way, besides what the fleet delivers at the start", unit="MW", gt=0)
    inertia_s: float = key("synthetic H on power_mw", 0.0, unit="s", ge=0, le=1e3, source=IDEAL)
    droop_pu: float | None = key("pu frequency per pu of power_mw; left out: no droop", None, unit="pu", gt=0)
    deadband_pu: float = key("of the droop", 0.0, unit="pu", ge=0, lt=0.1, source=IDEAL)
    measurement_s: float = key(
        "lag of the frequency measurement, whose slope the inertia acts on",
        0.05,
        unit="s",
        gt=0,
        le=10,
        source="assumed: phase-locked loops of 5 to 30 Hz [M]",
    )
    response_s: float = key("lag of the converters", 0.05, unit="s", gt=0, le=100, source="assumed: tens of ms [M]")


class Agc(Table):
    """Automatic generation control: brings frequency and tie flows back. Area control error = exports + bias x Hz."""

    bias_mw_per_hz: float = key("frequency bias, positive", unit="MW/Hz", gt=0)
    proportional_gain: float = key("order per area control error", 0.0, unit="1", ge=0, le=10, source=IDEAL)
    integral_gain_per_s: float = key(
        "order per area control error and second", 0.01, unit="1/s", ge=0, le=10, source="minutes to settle [M]"
    )
    cycle_s: float = key(
        "between orders, a multiple of dt_s",
        4.0,
        unit="s",
        gt=0,
        le=600,
        source="2 to 4 s, Kundur 1994, sec. 11.1.6 [M]",
    )
    reserve_mw: float = key("largest order either way", unit="MW", gt=0)
    ramp_mw_per_min: float | None = key("fastest change of the order; left out: no limit", None, unit="MW/min", gt=0)


class Shedding(Table):
    """A stage: load below, or generation above, a frequency for a time."""

    frequency_hz: float = key("set point: below nominal sheds load, above nominal generation", unit="Hz", gt=0)
    share: float = key("of the area's load_mw, or of its generation, at the start", unit="1", gt=0, le=1)
    delay_s: float = key(
        "beyond the set point for so long, a multiple of dt_s",
        0.1,
        unit="s",
        ge=0,
        le=600,
        source="least delay of ERCOT's stages, NOGRR247 [V]",
    )
    restore_hz: float | None = key("comes back at this frequency; left out: never", None, unit="Hz", gt=0)
    restore_delay_s: float = key("there for so long, a multiple of dt_s", 0.0, unit="s", ge=0, le=36000, source=PROGRAM)


class Area(Table):
    name: Name = key("unique")
    rated_mva: float | None = key("base of H, D and governors; left out: grid.base_mva", None, unit="MVA", gt=0, le=1e8)
    inertia_s: float = key(
        "H on rated_mva; 0 = no machines, a grid-forming battery is the only source", unit="s", ge=0, le=1e3
    )
    damping_pu: float = key("D, pu power per pu frequency, on rated_mva", 0.0, unit="pu", ge=0, le=1e3, source=IDEAL)
    load_mw: float = key(
        "other load at the start, which the generators carry besides the sites", 0.0, unit="MW", ge=0, source=IDEAL
    )
    load_frequency_exponent: float = key(
        "load_mw goes with this power of frequency", 0.0, unit="1", ge=0, le=10, source=IDEAL
    )
    loss_factor: float = key(
        "network losses that come with each MW of load added", 0.0, unit="1", ge=-0.5, le=1, source=IDEAL
    )
    interchange_mw: float | None = key(
        "scheduled net export; given for all areas, the flows of the ties are solved from it", None, unit="MW"
    )
    governor: tuple[Governor, ...] = key("none, one or a mix by share", (), strict=False, source=IDEAL)
    inverters: Inverters | None = key("left out: no fast reserves", None)
    agc: Agc | None = key("left out: no automatic generation control", None)
    shedding: tuple[Shedding, ...] = key("stages", (), strict=False, source=IDEAL)


class Tie(Table):
    """Tie, P = K sin(delta)."""

    between: tuple[str, str] = key("first and second area; flow positive from the first to the second", strict=False)
    synchronizing_mw_per_rad: float = key("K", unit="MW/rad", gt=0)
    initial_mw: float | None = key(
        "flow at the start; left out: solved from the areas' interchange_mw, 0 without", None, unit="MW"
    )
    loss_per_mw: float = key(
        "losses over the square of the flow, half of them at either end", 0.0, unit="1/MW", ge=0, lt=1, source=IDEAL
    )
    limit_mw: float | None = key("a relay opens the tie above it; left out: none", None, unit="MW", gt=0)
    limit_delay_s: float = key(
        "above the limit for so long, a multiple of dt_s", 10.0, unit="s", ge=0, le=36000, source=PROGRAM
    )


class Shaft(Table):
    """Masses of a turbine-generator, coupled by shafts; the area's electrical power twists them."""

    name: Name = key("unique", "shaft", source=PROGRAM)
    area: str | None = key("whose power twists it; may be left out where there is one area", None)
    rated_mva: float = key("base of the per-unit values below", unit="MVA", gt=0)
    inertia_s: tuple[float, ...] = key(
        "H of each mass, from one end to the other", min_length=2, strict=False, unit="s"
    )
    stiffness_pu: tuple[float, ...] = key(
        "K of each section, torque per electrical radian, one fewer than masses",
        min_length=1,
        strict=False,
        unit="pu/rad",
    )
    damping_pu: tuple[float, ...] = key(
        "D of each mass, torque per speed; left out: none", (), strict=False, unit="pu", source=IDEAL
    )
    generator_mass: int = key("place of the generator among the masses, from 0", ge=0)
    coupling: float = key("share of the area's change of power that this generator sees", unit="1", gt=0, le=1)


class Grid(Table):
    frequency_hz: float = key(
        "nominal frequency", 60.0, unit="Hz", ge=10, le=400, source="North America; say 50 elsewhere"
    )
    base_mva: float = key("rating of areas that give none", 1000.0, unit="MVA", gt=0, source=PROGRAM)
    area: tuple[Area, ...] = key("left out: an infinite grid", (), strict=False, source=IDEAL)
    tie: tuple[Tie, ...] = key("between areas", (), strict=False, source=IDEAL)
    shaft: tuple[Shaft, ...] = key("generators' shafts", (), strict=False, source=IDEAL)


class LoadStep(Table):
    """A step of load that stays; negative takes load away."""

    kind: Literal["load_step"]
    at_s: float = key("when", unit="s", ge=0)
    mw: float = key("how much; at a site it adds to the facility's power", unit="MW")
    area: str | None = key("area whose other load steps", None)
    site: str | None = key("site whose load steps", None)


class GenerationTrip(Table):
    """Generation that is lost, and takes its inertia with it. Governors and reserves of the area stay as they are."""

    kind: Literal["generation_trip"]
    at_s: float = key("when", unit="s", ge=0)
    mw: float = key("generation lost", unit="MW", gt=0)
    inertia_mws: float = key("kinetic energy that leaves with it", 0.0, unit="MW s", ge=0, source=IDEAL)
    area: str | None = key("may be left out where there is one area", None)


class VoltageSag(Table):
    """The source behind a site's point of common coupling sags for a time."""

    kind: Literal["voltage_sag"]
    at_s: float = key("when", unit="s", ge=0)
    depth_pu: float = key("by how much", unit="pu", gt=0, lt=1)
    duration_s: float = key("for how long", unit="s", gt=0)
    site: str | None = key("may be left out where there is one site", None)


class ScrChange(Table):
    """The grid behind a site's point of common coupling grows weaker or stronger, for good."""

    kind: Literal["scr_change"]
    at_s: float = key("when", unit="s", ge=0)
    short_circuit_ratio: float = key("from then on", unit="1", gt=0, le=1000)
    site: str | None = key("may be left out where there is one site", None)


class BessOutage(Table):
    """Converters of a site's batteries trip, at once. What they have stored stays."""

    kind: Literal["bess_outage"]
    at_s: float = key("when", unit="s", ge=0)
    share: float = key("of their power that is lost", 1.0, unit="1", gt=0, le=1, source="all of it")
    duration_s: float | None = key("for how long; left out: for good", None, unit="s", gt=0)
    site: str | None = key("may be left out where there is one site", None)


class TieOutage(Table):
    """Circuits of a tie trip, at once: its K falls by their share. Losses and limit stay those of the whole tie, which
    opens by limit_mw only."""

    kind: Literal["tie_outage"]
    at_s: float = key("when", unit="s", ge=0)
    share: float = key("of synchronizing_mw_per_rad that is lost: 0.5 of two equal circuits", unit="1", gt=0, lt=1)
    duration_s: float | None = key("for how long; left out: for good", None, unit="s", gt=0)
    between: tuple[str, str] | None = key("the tie's areas; may be left out where there is one tie", None, strict=False)


Disturbance = Annotated[
    LoadStep | GenerationTrip | VoltageSag | ScrChange | BessOutage | TieOutage, Field(discriminator="kind")
]
