"""The tables of batteries: rating, store, cells, temperature, converter; and what a site's controller measures."""

from __future__ import annotations

from typing import Literal

from emulator.tables import IDEAL, PROGRAM, Name, Table, key


class Cell(Table):
    """Open-circuit voltage behind a resistance. The battery's efficiencies are then those of its converter alone."""

    open_circuit_v: tuple[float, ...] = key(
        "of one cell at even steps of the state of charge from 0 to 1, rising", min_length=2, strict=False, unit="V"
    )
    lowest_v: float = key("terminal voltage that a discharge must not fall below", unit="V", gt=0)
    highest_v: float = key("terminal voltage that a charge must not rise above", unit="V", gt=0)
    resistance_pu: float = key(
        "loss at rated power and mean voltage, over rated power", unit="pu", gt=0, lt=0.25
    )  # 0.25: no more power passes than a quarter of V^2/R


class Thermal(Table):
    """One temperature of a unit: heated by its losses, cooled towards the ambient; less power where it is hot."""

    heat_capacity_kwh_per_k: float = key("of one unit", unit="kWh/K", gt=0)
    cooling_kw_per_k: float = key("of one unit, to the ambient", unit="kW/K", gt=0)
    ambient_c: float = key("also the temperature at the start", 25.0, unit="degC", ge=-60, le=80, source=PROGRAM)
    derate_from_c: float = key("full power up to here", unit="degC", ge=-60, le=150)
    derate_to_c: float = key("no power from here on", unit="degC", ge=-60, le=150)


class Ageing(Table):
    """Capacity lost by cycles and by time. It is reported, and changes nothing in the run."""

    cycles_at_full_depth: float = key("full cycles to the end of life", unit="1", gt=0)
    depth_exponent: float = key(
        "k: a cycle of depth d costs as much as d^k full ones", unit="1", ge=1, le=5
    )  # 1.5 to 2 for LFP [M]
    end_of_life_fade: float = key("capacity lost by then", 0.2, unit="1", gt=0, le=1, source="usual: 80 % left [M]")
    calendar_fade_per_year: float = key("capacity lost by time alone", 0.0, unit="1/a", ge=0, le=1, source=IDEAL)


class Battery(Table):
    """What every battery has. Positive power discharges."""

    units: int = key("identical units; all else below is of one", 1, ge=1, le=100_000, source=PROGRAM)
    availability: float = key("share of the units in service", 1.0, unit="1", gt=0, le=1, source=IDEAL)
    power_mw: float = key("rated power, either way", unit="MW", ge=0)
    energy_mwh: float = key("energy between SOC 0 and 1", unit="MWh", gt=0)
    soc_initial: float = key(
        "state of charge at the start; also what restoration steers to", 0.5, unit="1", ge=0, le=1, source=PROGRAM
    )
    soc_min: float = key("no discharge below", 0.0, unit="1", ge=0, le=1, source=IDEAL)
    soc_max: float = key("no charge above", 1.0, unit="1", ge=0, le=1, source=IDEAL)
    charge_efficiency: float = key("stored over drawn", 1.0, unit="1", gt=0, le=1, source=IDEAL)
    discharge_efficiency: float = key("delivered over taken from store", 1.0, unit="1", gt=0, le=1, source=IDEAL)
    cell: Cell | None = key("left out: the efficiencies hold at any state of charge and power", None)
    auxiliary_mw: float = key(
        "cooling and controls, drawn at the terminals at all times", 0.0, unit="MW", ge=0, source=IDEAL
    )
    self_discharge_per_h: float = key("share of the charge lost in an hour", 0.0, unit="1/h", ge=0, le=1, source=IDEAL)
    thermal: Thermal | None = key("left out: its temperature limits nothing", None)
    ageing: Ageing | None = key("left out: no wear is reported", None)
    response_s: float = key("first-order lag of the converter; 0 = none", 0.0, unit="s", ge=0, le=100, source=IDEAL)
    ramp_mw_per_s: float | None = key("largest rate of change; left out: no limit", None, unit="MW/s", gt=0)
    delay_s: float = key(
        "measurement to action, a multiple of dt_s; 0 = none", 0.0, unit="s", ge=0, le=100, source=IDEAL
    )
    rated_mva: float | None = key("of the converter; left out: power_mw", None, unit="MVA", gt=0)
    current_limit_pu: float | None = key(
        "largest current of the converter, on rated_mva at 1 pu voltage; left out: power_mw alone limits",
        None,
        unit="pu",
        gt=0,
        le=10,
    )


class Bess(Battery):
    """Battery and converter at the point of common coupling."""

    voltage_gain_pu: float = key(
        "reactive support: pu of rated_mva per pu of voltage below that of the start; 0 = none. Needs [site.pcc]",
        0.0,
        unit="pu",
        ge=0,
        le=1e3,
        source=IDEAL,
    )
    voltage_response_s: float = key(
        "first-order lag of the support", 0.05, unit="s", ge=0, le=100, source="assumed: tens of ms [M]"
    )
    priority: Literal["active", "reactive"] = key(
        "which power gives way where both would pass the converter's rating", "active", source=PROGRAM
    )
    mode: Literal["grid_following", "grid_forming"] = key(
        "follows the grid's voltage, or makes it: carries inertia and droop of its area, alone or beside machines",
        "grid_following",
        source=PROGRAM,
    )
    forming_droop_pu: float = key(
        "R of a grid-forming battery, pu frequency per pu of power_mw",
        0.02,
        unit="pu",
        gt=0,
        le=1,
        source="1 to 5 % [M]",
    )
    forming_inertia_s: float = key(
        "virtual H of a grid-forming battery, on power_mw", 4.0, unit="s", gt=0, le=100, source="1 to 10 s [M]"
    )


class Store(Battery):
    """A further battery of the site, beside [site.bess], with which it shares the controller's orders."""

    name: Name = key("unique within the site")
    crossover_hz: float | None = key(
        "takes what of the order lies above, and leaves the rest to the next; left out: its part by rated power",
        None,
        unit="Hz",
        gt=0,
        le=1e3,
    )


class Measurement(Table):
    """What the site's controller sees of load and frequency, and how often. Left out: all, in every tick."""

    filter_s: float = key("first-order lag of the measured load; 0 = none", 0.0, unit="s", ge=0, le=10, source=IDEAL)
    pll_s: float = key(
        "first-order lag of the measured frequency: 1/(2 pi f) of a loop of f Hz; 0 = none",
        0.0,
        unit="s",
        ge=0,
        le=10,
        source=IDEAL,
    )
    period_s: float | None = key(
        "the controller acts once in this time, a multiple of dt_s; left out: in every tick",
        None,
        unit="s",
        gt=0,
        le=10,
    )
