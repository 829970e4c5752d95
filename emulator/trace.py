"""The trace of a run in memory: its channels, header, events and summary. Files of it are the business of `traces/`.

A row is `every_ticks` ticks. Powers, voltage and connected share are means over the row; frequency, mechanical power,
tie flow and state of charge are values at its start, which is also the row's time.
Signs: load positive = draws from the grid; battery positive = discharges; tie positive = from first area to second.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from emulator.clock import fraction, seconds_at

SCHEMA_VERSION = 1
AXES = ("site", "battery", "job", "hall", "area", "tie", "reserve", "section")
FLOAT64_EXACT = 2**53  # integers below it are float64 without rounding


class TraceError(Exception):
    """A trace that cannot be read, written or shown, in words for the user."""


@dataclass(frozen=True)
class Channel:
    """One recorded quantity, (rows, length of its axis)."""

    name: str
    axis: Literal["site", "battery", "job", "hall", "area", "tie", "reserve", "section", "device", "rack"]
    unit: str
    long_name: str
    dtype: Literal["f4", "f8"] = "f4"
    state: bool = False  # value at the row's start, where others are means over the row


CHANNELS = (
    Channel("site_it_power_mw", "site", "MW", "power of accelerators and their servers"),
    Channel("site_facility_power_mw", "site", "MW", "power that the site consumes, before the battery"),
    Channel("site_bess_power_mw", "site", "MW", "battery power at its terminals, discharge positive"),
    Channel("site_pcc_power_mw", "site", "MW", "power drawn from the grid at the point of common coupling"),
    Channel("site_pcc_reactive_mvar", "site", "Mvar", "reactive power drawn at the point of common coupling"),
    Channel("site_pcc_voltage_pu", "site", "pu", "voltage at the point of common coupling"),
    Channel("site_connected_fraction", "site", "1", "share of the load not tripped"),
    Channel("bess_soc", "site", "1", "state of charge of the battery, NaN where there is none", "f8", state=True),
    Channel("bess_command_mw", "site", "MW", "power that the controller asks of the battery, discharge positive"),
    Channel("battery_power_mw", "battery", "MW", "one battery of several, at its terminals, discharge positive"),
    Channel("battery_soc", "battery", "1", "state of charge of one battery", "f8", state=True),
    Channel("battery_temperature_c", "battery", "degC", "temperature, NaN where it is not followed", state=True),
    Channel("job_power_mw", "job", "MW", "power of the job at the accelerators' servers"),
    Channel("job_wanted_power_mw", "job", "MW", "the same without smoothing, dummy work and power caps"),
    Channel("hall_power_mw", "hall", "MW", "power of the servers in a hall"),
    Channel("area_frequency_hz", "area", "Hz", "frequency of the area", "f8", state=True),
    Channel("area_mechanical_power_mw", "area", "MW", "mechanical power of the area's generators", state=True),
    Channel("tie_power_mw", "tie", "MW", "flow from the first area to the second", state=True),
    Channel("reserve_inverter_power_mw", "reserve", "MW", "change of the area's inverters, into the grid", state=True),
    Channel("reserve_agc_order_mw", "reserve", "MW", "order of the area's automatic generation control", state=True),
    Channel("reserve_shed_load_mw", "reserve", "MW", "load shed in the area", state=True),
    Channel("shaft_torque_pu", "section", "pu", "change of a shaft section's torque since the start", state=True),
)


# On request, each in a group of its own with its own time: (rows of `device_every_ticks` ticks, devices or racks).
WATCHED = (
    Channel("device_power_w", "device", "W", "power of the accelerator with its share of the server"),
    Channel("rack_power_kw", "rack", "kW", "power of the rack's servers"),
)


@dataclass(frozen=True)
class Header:
    """What holds for the whole trace."""

    labels: Mapping[str, tuple[str, ...]]  # names along each of AXES, and of devices and racks recorded one by one
    config: str  # the resolved configuration, TOML
    seed: int
    dt_s: float
    frequency_hz: float  # nominal
    platform: str
    emulator_version: str
    created_utc: str
    schema_version: int
    every_ticks: int
    device_every_ticks: int
    double: bool  # all channels as float64
    compression: str  # gzip | lzf | none
    nominal_kv: tuple[float, ...]  # per site, NaN where it has no point of common coupling

    @property
    def name(self) -> str:
        """Title of the run."""
        return tomllib.loads(self.config).get("run", {}).get("name", "run")

    @property
    def row_s(self) -> float:
        """Length of a row."""
        return seconds_at(self.every_ticks, self.dt_s)

    def dtype_of(self, channel: Channel) -> np.dtype:
        """Type in which the trace holds a channel."""
        return np.dtype("f8" if self.double else channel.dtype)


@dataclass(frozen=True)
class Event:
    """Something that happened at a moment: what, to which site, job or area, and how much of it."""

    time_s: float
    kind: str
    where: str
    value: float


@dataclass(frozen=True, repr=False)
class Trace:
    """A run, or consecutive rows of one. Each channel is (rows, length of its axis), as CHANNELS says.

    Places along the axes are in `header.labels`, the whole configuration, as TOML, in `header.config`.
    """

    header: Header
    time_s: np.ndarray  # (rows,) start of each row, float64
    site_it_power_mw: np.ndarray
    site_facility_power_mw: np.ndarray
    site_bess_power_mw: np.ndarray
    site_pcc_power_mw: np.ndarray
    site_pcc_reactive_mvar: np.ndarray
    site_pcc_voltage_pu: np.ndarray
    site_connected_fraction: np.ndarray
    bess_soc: np.ndarray
    bess_command_mw: np.ndarray
    battery_power_mw: np.ndarray
    battery_soc: np.ndarray
    battery_temperature_c: np.ndarray
    job_power_mw: np.ndarray
    job_wanted_power_mw: np.ndarray
    hall_power_mw: np.ndarray
    area_frequency_hz: np.ndarray
    area_mechanical_power_mw: np.ndarray
    tie_power_mw: np.ndarray
    reserve_inverter_power_mw: np.ndarray
    reserve_agc_order_mw: np.ndarray
    reserve_shed_load_mw: np.ndarray
    shaft_torque_pu: np.ndarray
    device_time_s: np.ndarray  # (device rows,) start of each row of devices and racks
    device_power_w: np.ndarray
    rack_power_kw: np.ndarray
    events: tuple[Event, ...]
    metrics: Mapping[str, float]  # of the whole run, keys as metrics.names; NaN where there is none (yet)
    complete: bool
    stop_reason: str

    def __repr__(self) -> str:
        places = ", ".join(f"{axis} {', '.join(names)}" for axis, names in self.header.labels.items() if names)
        rows = f"{len(self.time_s)} rows of {self.header.row_s:g} s"
        ending = "complete" if self.complete else f"not complete: {self.stop_reason}"
        return f"<Trace of {self.header.name}: {rows}, {ending}; {places}>"


def row_times(header: Header, first_tick: int, rows: int, every_ticks: int | None = None) -> np.ndarray:
    """(rows,) float64 start of each row from `first_tick` on, rounded once: equal to clock.seconds_at. Rows are
    `every_ticks` apart, the header's if left out."""
    step = fraction(header.dt_s)
    every = header.every_ticks if every_ticks is None else every_ticks
    last_tick = first_tick + rows * every
    ticks = range(first_tick, last_tick, every)
    if max(last_tick * step.numerator, step.denominator) < FLOAT64_EXACT:
        return np.arange(ticks.start, ticks.stop, ticks.step, dtype=np.float64) * step.numerator / step.denominator
    return np.array([seconds_at(tick, header.dt_s) for tick in ticks], np.float64)
