"""The account of a run, fed window by window: channels of the trace, events, metrics, and why the run had to stop."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from emulator import plant, schema
from emulator.clock import seconds_at
from emulator.event_log import Bits, EventLog
from emulator.frame import Frame
from emulator.metrics import JobTally, Summary
from emulator.plant import Layout
from emulator.storages import batteries_of, listed
from emulator.trace import Event, Header
from emulator.wear import Wear

Block = Mapping[str, np.ndarray]
# NaN without a battery; without a thermal model; where the grid is emulated elsewhere. (Of a grid emulated here, a bad
# mechanical power shows in the frequency of the next tick.)
MAY_BE_NAN = ("bess_soc", "battery_temperature_c", "area_mechanical_power_mw")


class Account:
    """Account of one run. A value that is not finite, a collapsed voltage or an overloaded island ends it there."""

    CARRIED = ("_summary", "_tally", "_log", "_wear")

    def __init__(self, scenario: schema.Scenario, header: Header, layout: Layout) -> None:
        self._header, self._layout = header, layout
        self._summary, self._tally, self._log = Summary(header), JobTally(header), EventLog(scenario)
        tables = [its for site in scenario.site if listed(site) for its in batteries_of(site)]
        self._wear = Wear(header, {i: its.ageing for i, its in enumerate(tables) if its.ageing is not None})
        self.stop_reason = ""
        self.ticks = 0  # emulated so far

    def take(self, first: int, frame: Frame, rows: int) -> tuple[dict[str, np.ndarray], list[Event]]:
        """Channels and events of the window from tick `first` on, at most `rows` rows, up to where the run stops."""
        every = self._layout.every_ticks
        block, status = _block(self._header, frame, rows), np.asarray(frame.status)[:rows]
        self.stop_reason, rows = _physical_stop(self._header, block, status, first, every)
        block = {name: values[:rows] for name, values in block.items()}
        bits = Bits.of(frame, rows)
        self._summary.update(block, first)
        self._tally.add(np.asarray(frame.job_counts)[:rows])
        self._wear.add(block["battery_soc"])
        self.ticks = first + rows * every
        return block, self._log.between(first, bits, every)

    def stop(self, reason: str) -> None:
        """The run cannot go on, for a reason from outside."""
        self.stop_reason = reason

    def metrics(self) -> dict[str, float]:
        """Of all that was taken."""
        return self._summary.result() | self._tally.result() | self._wear.result()


def _block(header: Header, frame: Frame, rows: int) -> dict[str, np.ndarray]:
    """Channels of the trace, from frames; the frequency becomes absolute here, in float64."""
    speed = np.asarray(frame.speed_pu, np.float64)
    channels = {
        "site_it_power_mw": frame.it_mw,
        "site_facility_power_mw": frame.facility_mw,
        "site_bess_power_mw": frame.bess_mw,
        "site_pcc_power_mw": frame.pcc_mw,
        "site_pcc_reactive_mvar": frame.pcc_mvar,
        "site_pcc_voltage_pu": frame.voltage_pu,
        "site_connected_fraction": frame.connected,
        "bess_soc": frame.soc,
        "bess_command_mw": frame.command_mw,
        "battery_power_mw": frame.battery_mw,
        "battery_soc": frame.battery_soc,
        "battery_temperature_c": frame.battery_c,
        "job_power_mw": frame.job_mw,
        "job_wanted_power_mw": frame.job_wanted_mw,
        "hall_power_mw": frame.hall_mw,
        "area_frequency_hz": header.frequency_hz * (1.0 + speed),
        "area_mechanical_power_mw": frame.mechanical_mw,
        "tie_power_mw": frame.tie_mw,
        "reserve_inverter_power_mw": frame.inverter_mw,
        "reserve_agc_order_mw": frame.agc_mw,
        "reserve_shed_load_mw": frame.shed_mw,
        "shaft_torque_pu": frame.shaft_torque_pu,
    }
    return {name: np.asarray(values)[:rows] for name, values in channels.items()}


def _physical_stop(header: Header, block: Block, status: np.ndarray, first: int, every: int) -> tuple[str, int]:
    """Reason to stop ("" for none) and number of rows to keep: up to the first bad one, that included."""
    rows = len(status)
    broken = np.zeros(rows, bool)
    for name, values in block.items():
        finite = np.isfinite(values)
        if name not in MAY_BE_NAN and not finite.all():
            broken |= ~finite.all(axis=1)
    collapsed, overloaded = ((status & bit) > 0 for bit in (plant.VOLTAGE_COLLAPSE, plant.OVERLOAD))
    if not (broken.any() or collapsed.any() or overloaded.any()):
        return "", rows
    bad = broken | collapsed.any(axis=1) | overloaded.any(axis=1)
    row = int(np.argmax(bad))
    at_s = seconds_at(first + row * every, header.dt_s)
    if broken[row]:
        return f"a value is not finite at {at_s:g} s", row + 1
    if not collapsed[row].any():
        site = header.labels["site"][int(np.argmax(overloaded[row]))]
        return f"overload: the battery of site {site}, its island's only source, is at its limit at {at_s:g} s", row + 1
    site = header.labels["site"][int(np.argmax(collapsed[row]))]
    return f"voltage collapse at site {site}, {at_s:g} s: the grid cannot carry its draw", row + 1
