"""What tables come to before any array: phases and runs of a job, where its devices stand, names of ties and shafts.

Device, server, rack, hall (power group), site. Jobs fill a site's racks in their order, each from a rack of its own on.
Pure Python: rules use it without JAX.
"""

from __future__ import annotations

from collections.abc import Iterator

from emulator.grid_schema import Grid, Shaft
from emulator.jobs_schema import Accelerator, InferenceJob, Job, Phase, TrainingJob
from emulator.schema import Record, Scenario, Site

Devices = TrainingJob | InferenceJob


def phases_of(job: TrainingJob) -> tuple[Phase, ...]:
    """The phases as given, or derived from model and machine."""
    if job.workload.model is None:
        return job.workload.phase
    from emulator.training_model import phases_of as derived

    return derived(job.workload.model, job.devices)


def noisy(job: TrainingJob) -> bool:
    """True where the job's power fluctuates."""
    model = job.workload.model
    return model.noise > 0 if model is not None else any(phase.noise > 0 for phase in job.workload.phase)


def runs_of(job: Job) -> tuple[tuple[float, float], ...]:
    """Times from which to which the job runs, s."""
    return (isinstance(job, TrainingJob) and job.runs_s) or ((job.start_s, job.stop_s),)


def server_power_w(device: Accelerator, accelerator_w: float) -> float:
    """Power of an accelerator with its share of the server."""
    return device.server_fixed_w + (1 + device.server_fraction) * accelerator_w


def least_cap_w(device: Accelerator) -> float:
    """Lowest power cap: as the accelerator has it, or a tenth of its range above idle."""
    return device.idle_w + 0.1 * (device.tdp_w - device.idle_w) if device.cap_min_w is None else device.cap_min_w


def by_devices(site: Site, job: TrainingJob) -> tuple[str, ...]:
    """What makes the job's devices nonlinear, so that each is emulated tick by tick; empty: summed by events."""
    named = {"smoothing": job.smoothing, "dummy work": job.dummy_work, "power cap": job.cap or site.power_limit}
    return tuple(name for name, table in named.items() if table)


def tie_names(grid: Grid) -> tuple[str, ...]:
    """Names of the ties, FIRST-SECOND."""
    return tuple("-".join(tie.between) for tie in grid.tie)


def section_names(shaft: Shaft) -> tuple[str, ...]:
    """Names of a shaft's sections, by the masses at both ends: "SHAFT 1-2"."""
    return tuple(f"{shaft.name} {i + 1}-{i + 2}" for i in range(len(shaft.stiffness_pu)))


def rack_size(job: Devices) -> int:
    """Devices in a rack."""
    return job.accelerator.devices_per_server * job.accelerator.servers_per_rack


def racks_of(job: Devices) -> int:
    """Racks that the job takes; the last one may be partly used."""
    return -(-job.devices // rack_size(job))


def hall_names(site: Site) -> tuple[str, ...]:
    """Power groups of a site; one named after it where it gives none."""
    return tuple(hall.name for hall in site.hall) or (site.name,)


def racks_needed(site: Site) -> int:
    """Racks that all jobs of the site take together."""
    return sum(racks_of(job) for job in site.job if isinstance(job, Devices))


def hall_parts(site: Site, job: Devices) -> list[tuple[int, int]]:
    """Place of each hall that the job is in, and how many of its devices are there."""
    if not site.hall:
        return [(0, job.devices)]
    first = sum(racks_of(other) for other in _before(site, job))
    parts, begin, size = [], 0, rack_size(job)
    for place, hall in enumerate(site.hall):
        low = max(first - begin, 0)
        high = min(first + racks_of(job) - begin, hall.racks)
        begin += hall.racks
        if high > low:
            done = sum(count for _, count in parts)
            parts.append((place, min((high - low) * size, job.devices - done)))
    return parts


def _before(site: Site, job: Devices) -> Iterator[Devices]:
    for other in site.job:
        if other is job:
            return
        if isinstance(other, Devices):
            yield other


def devices_in_halls(site: Site, job: Devices) -> tuple[int, ...]:
    """Devices of the job in each hall that it is in."""
    return tuple(count for _, count in hall_parts(site, job))


def watched_devices(record: Record, site: Site, job: TrainingJob) -> tuple[int, ...]:
    """Devices of the job whose power is recorded one by one, or summed by rack, in ascending order."""
    wanted = {n for _, numbers in _watched(record, site, job, "devices") for n in numbers}
    return tuple(sorted(wanted | {n for _, numbers in _watched(record, site, job, "racks") for n in numbers}))


def _watched(record: Record, site: Site, job: TrainingJob, kind: str) -> Iterator[tuple[str, range]]:
    """Label and device numbers of each device or rack of the job that is recorded."""
    size = rack_size(job) if kind == "racks" else 1
    for window in getattr(record, kind):
        if window.job in (f"{site.name}/{job.name}", job.name):
            for number in range(window.first, window.first + window.count):
                devices = range(number * size, min((number + 1) * size, job.devices))
                yield f"{site.name}/{job.name}/{number}", devices


def watch_columns(scenario: Scenario, kind: str) -> dict[str, list[int]]:
    """Columns of all watched devices, jobs in their order, that make up each recorded device or rack, by label."""
    columns: dict[str, list[int]] = {}
    begin = 0
    for site in scenario.site:
        for job in site.job:
            if isinstance(job, TrainingJob):
                numbers = watched_devices(scenario.record, site, job)
                place = {number: begin + k for k, number in enumerate(numbers)}
                for label, devices in _watched(scenario.record, site, job, kind):
                    columns[label] = [place[number] for number in devices]
                begin += len(numbers)
    return columns
