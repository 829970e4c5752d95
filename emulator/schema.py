"""The tables and keys of a configuration, with unit, range, default and the default's source; jobs: jobs_schema.py.

Every table is frozen and forbids unknown keys. A table left out means the ideal part.
Signs: load positive = draws from the grid; battery positive = discharges; tie positive = from first area to second.
"""

from __future__ import annotations

from typing import Any, Literal

from emulator.bess_schema import Bess, Measurement, Store
from emulator.controller_schema import Controller, NoController
from emulator.cosim_schema import Cosim
from emulator.fit_schema import Fit
from emulator.grid_schema import Disturbance, Grid
from emulator.jobs_schema import Job
from emulator.tables import IDEAL, PROGRAM, Line, Name, Some, Table, key
from emulator.tune_schema import Tune


class Run(Table):
    name: Line = key("title of the run, shown in summary and picture", "run", source=PROGRAM)
    duration_s: float = key("emulated time, a multiple of dt_s", unit="s", gt=0, le=1e7)
    dt_s: float = key("length of a tick", 0.001, unit="s", gt=0, le=10.0, source="1 ms resolves device edges [D]")
    chunk_ticks: int = key(
        "ticks that a gradient recomputes at a time instead of holding them", 100, ge=1, le=100_000, source=PROGRAM
    )
    seed: int = key("root of every random draw", 0, ge=0, lt=2**31, source=PROGRAM)


class RideThrough(Table):
    """The site's load leaves the grid at once when its voltage falls too low, and comes back along a ramp."""

    trip_below_pu: float = key(
        "voltage below which it leaves", 0.65, unit="pu", gt=0, lt=1, source="one utility's large loads, Entergy [S]"
    )
    return_above_pu: float = key("voltage above which it may return", 0.9, unit="pu", gt=0, lt=1.2, source=PROGRAM)
    return_delay_s: float = key(
        "voltage back for so long, a multiple of dt_s", 0.0, unit="s", ge=0, le=1e5, source=PROGRAM
    )
    return_ramp_s: float = key("from none to all of the load", 8.0, unit="s", gt=0, le=1e5, source="Entergy [S]")


class Facility(Table):
    """Chain from the servers' terminals to the point of common coupling, losses as constant efficiencies."""

    server_efficiency: float = key(
        "distribution inside the rack, busbar to board", 1.0, unit="1", gt=0, le=1, source=IDEAL
    )
    psu_efficiency: float = key("rack power supplies", 1.0, unit="1", gt=0, le=1, source=IDEAL)
    ups_efficiency: float = key("uninterruptible supply", 1.0, unit="1", gt=0, le=1, source=IDEAL)
    transformer_efficiency: float = key("transformers and feeders", 1.0, unit="1", gt=0, le=1, source=IDEAL)
    auxiliary_fraction: float = key(
        "cooling, pumps, lighting: constant draw as a share of the site's rated IT power",
        0.0,
        unit="1",
        ge=0,
        le=2,
        source=IDEAL,
    )
    power_factor: float = key("of the site's draw, lagging", 1.0, unit="1", gt=0, le=1, source=IDEAL)
    constant_impedance_fraction: float = key(
        "share of the site's load that goes with the square of its voltage", 0.0, unit="1", ge=0, le=1, source=IDEAL
    )
    constant_current_fraction: float = key(
        "share that goes with its voltage; the rest is constant power", 0.0, unit="1", ge=0, le=1, source=IDEAL
    )
    ride_through: RideThrough | None = key("left out: stays on the grid at any voltage", None)


class Pcc(Table):
    """Thevenin equivalent behind the point of common coupling, source voltage 1 pu."""

    short_circuit_ratio: float = key("short-circuit MVA over rated_mw", unit="1", gt=0, le=1000)
    x_over_r: float = key("reactance over resistance of the source", unit="1", ge=0, le=1000)
    nominal_kv: float = key("nominal voltage, for the voltage in kV of summary and trace", unit="kV", gt=0, le=2000)
    rated_mw: float = key("base of the ratio", unit="MW", gt=0)


class Hall(Table):
    """A power group of a site: racks behind one feed."""

    name: Name = key("unique within the site")
    racks: int = key("racks that it holds; jobs fill the halls in order", ge=1, le=1_000_000)


class PowerLimit(Table):
    """The site's controller holds its draw at a limit by ordering power caps to its training jobs, chunk by chunk."""

    max_mw: float = key("draw from the grid, mean over a chunk, that it steers to", unit="MW", gt=0)
    gain: float = key(
        "change of the cap, as a share of TDP, per chunk and per relative excess of the draw",
        0.5,
        unit="1",
        gt=0,
        le=10,
        source=PROGRAM,
    )


class Site(Table):
    name: Name = key("unique")
    area: str | None = key("grid area it hangs on; may be left out where there is one area", None)
    job: tuple[Job, ...] = key("one or many, any mix", min_length=1, strict=False)
    hall: tuple[Hall, ...] = key("left out: one, as large as the jobs need", (), strict=False, source=PROGRAM)
    facility: Facility = key("power chain", Facility(), source=IDEAL)
    pcc: Pcc | None = key("left out: stiff voltage", None)
    bess: Bess | None = key("left out: no battery", None)
    store: tuple[Store, ...] = key("further batteries, faster ones first", (), strict=False, source=IDEAL)
    measurement: Measurement = key("what the controller sees", Measurement(), source=IDEAL)
    power_limit: PowerLimit | None = key("left out: no orders to the jobs", None)
    controller: Controller = key("battery controller", NoController(kind="none"), source=IDEAL)


class Watch(Table):
    """Consecutive devices or racks of a job whose power is recorded one by one."""

    job: str = key("name of the job, or SITE/JOB")
    first: int = key("number of the first one, from 0", 0, ge=0, source=PROGRAM)
    count: int = key("how many", ge=1, le=100_000)


class Record(Table):
    every_ticks: int = key(
        "rows are this many ticks apart; powers are means over them. Must divide chunk_ticks", 1, ge=1, source=PROGRAM
    )
    groups: bool = key("also the power of every hall", False, source=PROGRAM)
    devices: tuple[Watch, ...] = key("devices to record one by one", (), strict=False, source=PROGRAM)
    racks: tuple[Watch, ...] = key("racks to record one by one", (), strict=False, source=PROGRAM)
    device_every_ticks: int = key(
        "rows of devices and racks are means over this many ticks. Must divide chunk_ticks", 1, ge=1, source=PROGRAM
    )
    compression: Literal["gzip", "lzf", "none"] = key(
        "gzip is read by every HDF5 tool, lzf by h5py only", "gzip", source=PROGRAM
    )


class Sweep(Table):
    """A batch of scenarios: every combination of values, each with every seed."""

    seeds: int | Some[int] = key("how many, from run.seed on, or a list of them", 1, source=PROGRAM)
    values: dict[str, Some[Any]] = key(
        "dotted path of a key, as for --set, and the values that it takes; several: every combination",
        {},
        source=PROGRAM,
    )


class Scenario(Table):
    """A whole configuration, checked."""

    run: Run = key("clock and seed")
    site: tuple[Site, ...] = key("campuses, each behind one point of common coupling", (), strict=False, source=IDEAL)
    grid: Grid = key("left out: an infinite grid", Grid(), source=IDEAL)
    disturbance: tuple[Disturbance, ...] = key("events from outside", (), strict=False, source=IDEAL)
    record: Record = key("what is written", Record(), source=PROGRAM)
    sweep: Sweep | None = key("batch that `wattswing sweep` runs; `run` ignores it", None)
    tune: Tune | None = key("search that `wattswing tune` runs; `run` ignores it", None)
    cosim: Cosim | None = key("co-simulation in which `wattswing federate` takes part; `run` ignores it", None)
    fit: Fit | None = key("what `wattswing fit` moves; `run` ignores it", None)
