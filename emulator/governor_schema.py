"""The tables of speed governors, with the standard models' parameter names. Defaults are a program's, not plant data.

Per unit on the governed share of the area's rating.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from emulator.tables import IDEAL, Table, key

ANDERSON = "Anderson & Mirheydar, IEEE Trans. Power Syst. 5(3):720, 1990, typical values [M]"
ANDES_TGOV1 = "ANDES 2.0.0 TGOV1 default, not plant data [V]"
ANDES_GAST = "ANDES 2.0.0 GAST default, not plant data [V]"
ANDES_IEEEG1 = "ANDES 2.0.0 IEEEG1 default, not plant data [V]"
ANDES_HYGOV = "ANDES 2.0.0 HYGOV default, not plant data [V]"
TEXTBOOK = "typical [M]"
ASSUMED = "assumed [M]"


class SpeedGovernor(Table):
    share: float = key(
        "share of the area's rating that it governs", 1.0, unit="1", gt=0, le=1, source="all of the area"
    )
    agc_participation: float | None = key(
        "share of the orders of the area's AGC that it gets; left out, with all others: by share",
        None,
        unit="1",
        ge=0,
        le=1,
    )
    deadband_pu: float = key("of the speed deviation", 0.0, unit="pu", ge=0, lt=0.1, source=IDEAL)


class ReheatGovernor(SpeedGovernor):
    """(K/R)(1 + F T s)/(1 + T s)."""

    model: Literal["reheat"]
    droop_pu: float = key("R, pu frequency per pu power", 0.05, unit="pu", gt=0, source=ANDERSON)
    gain_pu: float = key("K, mechanical power gain", 0.95, unit="pu", gt=0, source=ANDERSON)
    hp_fraction: float = key(
        "F, share of power from the high-pressure stage", 0.3, unit="1", ge=0, le=1, source=ANDERSON
    )
    reheat_s: float = key("T, reheater time constant", 8.0, unit="s", gt=0, source=ANDERSON)


class LagGovernor(SpeedGovernor):
    """1/(R(1 + T s))."""

    model: Literal["lag"]
    droop_pu: float = key("R, pu frequency per pu power", 0.05, unit="pu", gt=0, source=ANDERSON)
    lag_s: float = key(
        "T, time constant", 0.3, unit="s", gt=0, source="simple governor, .2 to .5 s [M]; .3 in arXiv 2512.08076 [V]"
    )


class Tgov1Governor(SpeedGovernor):
    """(1 + T2 s)/((1 + T3 s)(1 + T1 s)) / R with valve limits, less Dt times speed."""

    model: Literal["tgov1"]
    droop_pu: float = key("R, pu frequency per pu power", 0.05, unit="pu", gt=0, source=ANDES_TGOV1)
    t1_s: float = key("T1, steam bowl", 0.1, unit="s", gt=0, source=ANDES_TGOV1)
    t2_s: float = key("T2, numerator", 0.2, unit="s", ge=0, source=ANDES_TGOV1)
    t3_s: float = key("T3, reheater", 10.0, unit="s", gt=0, source=ANDES_TGOV1)
    dt_pu: float = key("Dt, turbine damping", 0.0, unit="pu", ge=0, source=ANDES_TGOV1)
    vmin_pu: float = key("lowest valve position, total, on the governed share", 0.0, unit="pu", source=ANDES_TGOV1)
    vmax_pu: float = key("highest valve position, total, on the governed share", 1.2, unit="pu", source=ANDES_TGOV1)


class GastGovernor(SpeedGovernor):
    """Gas turbine: the lesser of speed and temperature path through valve and turbine."""

    model: Literal["gast"]
    droop_pu: float = key("R, pu frequency per pu power", 0.05, unit="pu", gt=0, source=ANDES_GAST)
    t1_s: float = key("T1, fuel valve", 0.1, unit="s", gt=0, source=ANDES_GAST)
    t2_s: float = key("T2, turbine", 0.2, unit="s", gt=0, source=ANDES_GAST)
    t3_s: float = key("T3, exhaust temperature", 10.0, unit="s", gt=0, source=ANDES_GAST)
    dt_pu: float = key("Dt, turbine damping", 0.0, unit="pu", ge=0, source=IDEAL)
    vmin_pu: float = key("lowest valve position, total", 0.0, unit="pu", source=TEXTBOOK)
    vmax_pu: float = key("highest valve position, total", 1.0, unit="pu", source=TEXTBOOK)
    at_pu: float = key("AT, load that the exhaust temperature allows", 1.0, unit="pu", gt=0, source=ANDES_GAST)
    kt: float = key("KT, gain of the temperature path", 5.0, unit="1", gt=0, source=ANDES_GAST)
    rate_up_pu_per_s: float | None = key("fastest valve opening; left out: no limit", None, unit="pu/s", gt=0)
    rate_down_pu_per_s: float | None = key("fastest valve closing; left out: no limit", None, unit="pu/s", gt=0)


class Ieeeg1Governor(SpeedGovernor):
    """Steam turbine with rate and position limits and up to four stages."""

    model: Literal["ieeeg1"]
    k: float = key("K, gain 1/R", 20.0, unit="pu", gt=0, source=ANDES_IEEEG1)
    t1_s: float = key("T1, governor lag; 0 = none", 1.0, unit="s", ge=0, source=ANDES_IEEEG1)
    t2_s: float = key("T2, governor lead", 1.0, unit="s", ge=0, source=ANDES_IEEEG1)
    t3_s: float = key("T3, servomotor", 0.1, unit="s", gt=0, source=ANDES_IEEEG1)
    t4_s: float = key("T4, steam chest; 0 = none", 0.4, unit="s", ge=0, source=ANDES_IEEEG1)
    t5_s: float = key("T5, reheater; 0 = none", 8.0, unit="s", ge=0, source=ANDES_IEEEG1)
    t6_s: float = key("T6, crossover; 0 = none", 0.5, unit="s", ge=0, source=ANDES_IEEEG1)
    t7_s: float = key("T7, double reheat; 0 = none", 0.05, unit="s", ge=0, source=ANDES_IEEEG1)
    k1: float = key("K1, share of power", 0.5, unit="1", ge=0, le=1, source=ANDES_IEEEG1)
    k2: float = key("K2, share of power", 0.0, unit="1", ge=0, le=1, source=ANDES_IEEEG1)
    k3: float = key("K3, share of power", 0.5, unit="1", ge=0, le=1, source=ANDES_IEEEG1)
    k4: float = key("K4, share of power", 0.0, unit="1", ge=0, le=1, source=ANDES_IEEEG1)
    k5: float = key("K5, share of power", 0.0, unit="1", ge=0, le=1, source=ANDES_IEEEG1)
    k6: float = key("K6, share of power", 0.0, unit="1", ge=0, le=1, source=ANDES_IEEEG1)
    k7: float = key("K7, share of power", 0.0, unit="1", ge=0, le=1, source=ANDES_IEEEG1)
    k8: float = key("K8, share of power", 0.0, unit="1", ge=0, le=1, source=ANDES_IEEEG1)
    uo_pu_per_s: float = key("Uo, fastest opening", 0.1, unit="pu/s", gt=0, source=ANDES_IEEEG1)
    uc_pu_per_s: float = key("Uc, fastest closing, negative", -0.1, unit="pu/s", lt=0, source=ANDES_IEEEG1)
    pmin_pu: float = key("lowest position, total", 0.0, unit="pu", source=TEXTBOOK)
    pmax_pu: float = key("highest position, total", 1.0, unit="pu", source=TEXTBOOK)


class HygovGovernor(SpeedGovernor):
    """Hydro turbine with transient droop and a water column."""

    model: Literal["hygov"]
    droop_pu: float = key("R, permanent droop", 0.05, unit="pu", gt=0, source=TEXTBOOK)
    temporary_droop_pu: float = key("r, temporary droop", 0.3, unit="pu", gt=0, source=TEXTBOOK)
    tr_s: float = key("Tr, of the temporary droop", 5.0, unit="s", gt=0, source=TEXTBOOK)
    tf_s: float = key("Tf, filter", 0.05, unit="s", gt=0, source=ANDES_HYGOV)
    tg_s: float = key("Tg, gate servo", 0.05, unit="s", gt=0, source=ANDES_HYGOV)
    velm_pu_per_s: float = key("VELM, fastest gate", 0.3, unit="pu/s", gt=0, source=ANDES_HYGOV)
    gmin_pu: float = key("lowest gate, total", 0.0, unit="pu", ge=0, source=TEXTBOOK)
    gmax_pu: float = key("highest gate, total", 1.0, unit="pu", gt=0, source=TEXTBOOK)
    tw_s: float = key("Tw, water starting time", 1.0, unit="s", gt=0, source=ANDES_HYGOV)
    at: float = key(
        "At, turbine gain, pu power per pu flow above qNL",
        1.0,
        unit="1",
        gt=0,
        source=ANDES_HYGOV,
    )
    dturb_pu: float = key("Dturb, turbine damping", 0.0, unit="pu", ge=0, source=IDEAL)
    qnl_pu: float = key("qNL, flow at no load", 0.1, unit="pu", ge=0, lt=1, source=ANDES_HYGOV)


class EngineGovernor(SpeedGovernor):
    """Gas engine or diesel generator set: PI governor, actuator, and a turbocharger that limits steps of load."""

    model: Literal["engine"]
    droop_pu: float = key("R; 0 = isochronous", 0.04, unit="pu", ge=0, source=TEXTBOOK)
    proportional_gain: float = key("fuel per speed", 10.0, unit="pu", gt=0, source=ASSUMED)
    integral_gain_per_s: float = key("fuel per speed and second", 10.0, unit="1/s", gt=0, source=ASSUMED)
    actuator_s: float = key("of the fuel actuator", 0.1, unit="s", gt=0, source=TEXTBOOK)
    combustion_s: float = key("from fuel to torque", 0.05, unit="s", gt=0, source=TEXTBOOK)
    boost_s: float = key("of the turbocharger", 3.0, unit="s", gt=0, source=ASSUMED)
    block_load_pu: float = key(
        "step that it takes at once, above the load that its turbocharger has followed to",
        0.25,
        unit="pu",
        gt=0,
        source="engines take blocks of 10 to 50 % [M]",
    )
    pmin_pu: float = key("least fuel, total", 0.0, unit="pu", source=TEXTBOOK)
    pmax_pu: float = key("most fuel, total", 1.1, unit="pu", gt=0, source="10 % overload, ISO 8528-1 [M]")


class NoGovernor(Table):
    model: Literal["none"]


Governor = Annotated[
    ReheatGovernor
    | LagGovernor
    | Tgov1Governor
    | GastGovernor
    | Ieeeg1Governor
    | HygovGovernor
    | EngineGovernor
    | NoGovernor,
    Field(discriminator="model"),
]

RANGES = (("vmin_pu", "vmax_pu"), ("pmin_pu", "pmax_pu"), ("gmin_pu", "gmax_pu"))


def problems(table: Governor) -> Iterator[tuple[str, str]]:
    """Keys of a governor that do not fit together, and what to do."""
    for low, high in RANGES:
        if hasattr(table, low) and getattr(table, low) >= getattr(table, high):
            yield low, f"is {getattr(table, low):g}, must be below {high} = {getattr(table, high):g}"
    if isinstance(table, Ieeeg1Governor):
        total = sum(getattr(table, f"k{n}") for n in range(1, 9))
        if abs(total - 1.0) > 1e-6:
            yield "k1", f"and the others to k8 sum to {total:g}, must be 1: what the valve lets in becomes power"
        if table.t1_s == 0.0 and table.t2_s > 0.0:
            yield "t2_s", f"is {table.t2_s:g} s without a lag: a lead alone cannot be integrated, give t1_s"


def direct_gain(table: Governor) -> float:
    """Power that answers to speed at once, without a state between, pu on the area's rating."""
    match table:
        case ReheatGovernor():
            return table.share * table.hp_fraction * table.gain_pu / table.droop_pu
        case Tgov1Governor() | GastGovernor():
            return table.share * table.dt_pu
        case HygovGovernor():
            return table.share * table.dturb_pu * table.gmax_pu
    return 0.0


def time_constants(table: Governor) -> Iterator[tuple[str, float]]:
    """Time constants that Runge-Kutta integrates."""
    for name in type(table).model_fields:
        if name.endswith("_s") and name not in ("t2_s", "tr_s") and isinstance(getattr(table, name), float):
            yield name, getattr(table, name)
    if isinstance(table, GastGovernor):
        yield "t2_s", table.t2_s
    if isinstance(table, HygovGovernor):
        # The loop through permanent and temporary droop: e' = -(R/r + 1)/Tf e at its fastest.
        yield "tf_s", table.tf_s / (1.0 + table.droop_pu / table.temporary_droop_pu)
