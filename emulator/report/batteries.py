"""Use of each battery of a trace, summed up window by window. Signs: battery positive = discharges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from emulator import schema
from emulator.power_metrics import Battery
from emulator.trace import Header
from emulator.units import S_PER_H

NEAR = 1e-4  # as in power_metrics.battery: so near to a limit counts as at it


@dataclass(frozen=True)
class Rated:
    """A battery as the configuration has it, all its units in service together, and where the trace shows it."""

    name: str
    power: str  # channel
    soc: str
    column: int
    power_mw: float
    energy_mwh: float
    soc_min: float
    soc_max: float


class BatteryUse:
    """Fed with blocks of consecutive rows, in any division; equal to `power_metrics.battery` of all of them."""

    def __init__(self, rated: Rated, row_s: float) -> None:
        self.rated, self._row_s = rated, row_s
        self._charged_mwh = self._discharged_mwh = self._last_mwh = self._at_power_s = self._at_soc_s = 0.0
        self._first_soc = self._last_soc = np.nan
        self._low, self._high = np.inf, -np.inf

    def add(self, block: Mapping[str, np.ndarray]) -> None:
        """The next rows, at least one, every channel as (rows, length of its axis)."""
        its = self.rated
        power_mw = block[its.power][:, its.column].astype(np.float64)
        soc = block[its.soc][:, its.column]
        row_h = self._row_s / S_PER_H
        self._charged_mwh += float(np.maximum(-power_mw, 0.0).sum()) * row_h
        self._discharged_mwh += float(np.maximum(power_mw, 0.0).sum()) * row_h
        self._last_mwh = float(power_mw[-1]) * row_h
        self._at_power_s += float(np.count_nonzero(np.abs(power_mw) >= (1.0 - NEAR) * its.power_mw)) * self._row_s
        at_soc = (soc <= its.soc_min + NEAR) | (soc >= its.soc_max - NEAR)
        self._at_soc_s += float(np.count_nonzero(at_soc)) * self._row_s
        self._first_soc = float(soc[0]) if np.isnan(self._first_soc) else self._first_soc
        self._last_soc = float(soc[-1])
        self._low, self._high = min(self._low, float(soc.min())), max(self._high, float(soc.max()))

    def result(self) -> Battery:
        """Of the rows so far, at least one."""
        throughput_mwh = self._charged_mwh + self._discharged_mwh
        # The state of charge is that of a row's start: what the last row moves is in no difference of it.
        moved_mwh = self._charged_mwh - self._discharged_mwh + self._last_mwh
        return Battery(
            soc_min=self._low,
            soc_max=self._high,
            charged_mwh=self._charged_mwh,
            discharged_mwh=self._discharged_mwh,
            equivalent_cycles=0.5 * throughput_mwh / self.rated.energy_mwh,
            losses_mwh=moved_mwh - (self._last_soc - self._first_soc) * self.rated.energy_mwh,
            at_power_limit_s=self._at_power_s,
            at_soc_limit_s=self._at_soc_s,
        )


def batteries_of(scenario: schema.Scenario, header: Header) -> list[BatteryUse]:
    """Every battery that both the configuration and the trace know."""
    return [BatteryUse(rated, header.row_s) for rated in _rated(scenario, header)]


def _rated(scenario: schema.Scenario, header: Header) -> Iterator[Rated]:
    sites, listed = header.labels["site"], header.labels["battery"]
    for site in scenario.site:
        if site.bess is None or site.name not in sites:
            continue
        for name, its in (("bess", site.bess), *((store.name, store) for store in site.store)):
            label, units = f"{site.name}/{name}", its.units * its.availability
            place = ("site_bess_power_mw", "bess_soc", sites.index(site.name))
            if label in listed:
                place = ("battery_power_mw", "battery_soc", listed.index(label))
            elif site.store:
                continue  # a trace of several batteries that shows only their sum
            yield Rated(label, *place, units * its.power_mw, units * its.energy_mwh, its.soc_min, its.soc_max)
