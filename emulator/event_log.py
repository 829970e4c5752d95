"""Events of a run: those that the scenario schedules, and those that the emulation meets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from emulator import plant, schema
from emulator.clock import seconds_at
from emulator.cluster import pauses
from emulator.frame import Frame
from emulator.grid import protection
from emulator.grid_schema import BessOutage, GenerationTrip, LoadStep, ScrChange, TieOutage, VoltageSag
from emulator.grids import tie_index
from emulator.scenario import jobs_of
from emulator.topology import runs_of
from emulator.trace import Event

# What can begin in a tick of a job, as the trace's events name it.
JOB_EVENTS = {
    pauses.CHECKPOINT: "checkpoint",
    pauses.EVALUATION: "evaluation",
    pauses.STALL: "data_stall",
    pauses.FAULT: "fault",
    pauses.RESTART: "restart",
}

SITE_EVENTS = {
    plant.POWER_LIMIT: "bess_power_limit",
    plant.SOC_LIMIT: "bess_soc_limit",
    plant.DISCONNECTED: "site_disconnected",
}
TIE_EVENTS = {
    protection.OVERLOADED: "tie_overloaded",
    protection.OPEN: "tie_opened",
    protection.OUT_OF_STEP: "loss_of_synchronism",
}


@dataclass(frozen=True)
class Bits:
    """What a run's rows flag, (rows, places) each."""

    site: np.ndarray
    job: np.ndarray
    tie: np.ndarray
    stage: np.ndarray  # by area

    @staticmethod
    def of(frame: Frame, rows: int) -> Bits:
        """Of the first rows of a window."""
        parts = (frame.status, frame.job_bits, frame.tie_bits, frame.stage_bits)
        return Bits(*(np.asarray(part)[:rows] for part in parts))


class EventLog:
    """Events of a run: those the scenario schedules, and limits, relays and stages as the emulation meets them."""

    CARRIED = ("_last",)

    def __init__(self, scenario: schema.Scenario) -> None:
        self._sites = tuple(site.name for site in scenario.site)
        self._jobs = tuple(f"{site.name}/{job.name}" for site, job in jobs_of(scenario))
        self._areas = tuple(area.name for area in scenario.grid.area)
        self._ties = tuple("-".join(tie.between) for tie in scenario.grid.tie)
        self._stages = tuple(area.shedding for area in scenario.grid.area)
        self._dt_s, self._nominal_hz = scenario.run.dt_s, scenario.grid.frequency_hz
        self._scheduled = sorted(_scheduled(scenario), key=lambda event: event.time_s)
        places = (self._sites, self._jobs, self._ties, self._areas)
        self._last = Bits(*(np.zeros((1, len(names)), np.int32) for names in places))

    def between(self, first: int, bits: Bits, every: int) -> list[Event]:
        """Events in the rows from tick `first` on, in order of time."""
        rows = len(bits.job)
        end_s = seconds_at(first + rows * every, self._dt_s)
        events = [e for e in self._scheduled if seconds_at(first, self._dt_s) <= e.time_s < end_s]

        def at(row: int) -> float:
            return seconds_at(first + int(row) * every, self._dt_s)

        def turned(part: str, bit: int, on: bool = True) -> np.ndarray:
            now = getattr(bits, part)
            is_on = (np.concatenate([getattr(self._last, part), now]) & bit) > 0
            return np.argwhere((is_on[1:] & ~is_on[:-1]) if on else (~is_on[1:] & is_on[:-1]))

        for bit, kind in SITE_EVENTS.items():
            events += [Event(at(row), kind, self._sites[place], 1.0) for row, place in turned("site", bit)]
        for bit, kind in TIE_EVENTS.items():
            events += [Event(at(row), kind, self._ties[place], 1.0) for row, place in turned("tie", bit)]
        for number in range(max((len(stages) for stages in self._stages), default=0)):
            for on, under, over in (
                (True, "load_shed", "generation_shed"),
                (False, "load_restored", "generation_restored"),
            ):
                for row, area in turned("stage", 1 << number, on):
                    stage = self._stages[area][number]
                    kind = under if stage.frequency_hz < self._nominal_hz else over
                    events.append(Event(at(row), kind, self._areas[area], stage.share))
        for bit, kind in JOB_EVENTS.items():
            events += [Event(at(row), kind, self._jobs[job], 1.0) for row, job in np.argwhere((bits.job & bit) > 0)]
        if rows:
            self._last = Bits(bits.site[-1:], bits.job[-1:], bits.tie[-1:], bits.stage[-1:])
        return sorted(events, key=lambda event: event.time_s)


def _scheduled(scenario: schema.Scenario) -> Iterator[Event]:
    for site, job in jobs_of(scenario):
        where = f"{site.name}/{job.name}"
        for start_s, stop_s in runs_of(job):
            yield Event(start_s, "job_start", where, 1.0)
            yield Event(stop_s, "job_stop", where, 1.0)
        for cap in getattr(job, "cap", ()):
            yield Event(cap.at_s, "power_cap", where, float("nan") if cap.power_w is None else cap.power_w)
    for it in scenario.disturbance:
        match it:
            case LoadStep():
                yield Event(it.at_s, it.kind, it.site or it.area or "", it.mw)
            case GenerationTrip():
                yield Event(it.at_s, it.kind, it.area or scenario.grid.area[0].name, it.mw)
            case VoltageSag():
                yield Event(it.at_s, it.kind, it.site or scenario.site[0].name, it.depth_pu)
            case ScrChange():
                yield Event(it.at_s, it.kind, it.site or scenario.site[0].name, it.short_circuit_ratio)
            case BessOutage():
                where = it.site or scenario.site[0].name
                yield Event(it.at_s, it.kind, where, it.share)
                if it.duration_s is not None:
                    yield Event(it.at_s + it.duration_s, "bess_return", where, it.share)
            case TieOutage():
                where = "-".join(scenario.grid.tie[tie_index(scenario, it.between)].between)
                yield Event(it.at_s, it.kind, where, it.share)
                if it.duration_s is not None:
                    yield Event(it.at_s + it.duration_s, "tie_return", where, it.share)
