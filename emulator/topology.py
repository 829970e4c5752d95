"""What a job's tables come to before any array: phases, runs, and where its devices stand.

Device, server, rack, hall (power group), site. Jobs fill a site's racks in their order, each from a rack of its own on.
Pure Python: rules use it without JAX.
"""

from __future__ import annotations

from collections.abc import Iterator

from emulator.jobs_schema import Accelerator, InferenceJob, Phase, TrainingJob
from emulator.schema import Record, Site, Watch

Devices = TrainingJob | InferenceJob


def phases_of(job: TrainingJob) -> tuple[Phase, ...]:
    """The phases as given, or derived from model and machine."""
    if job.workload.model is None:
        return job.workload.phase
    from emulator.training_model import phases_of as derived

    return derived(job.workload.model, job.devices)


def runs_of(job: TrainingJob) -> tuple[tuple[float, float], ...]:
    """Times from which to which the job runs, s."""
    return job.runs_s or ((job.start_s, job.stop_s),)


def server_power_w(device: Accelerator, accelerator_w: float) -> float:
    """Power of an accelerator with its share of the server."""
    return device.server_fixed_w + (1 + device.server_fraction) * accelerator_w


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


def watches(record: Record, site: Site, job: Devices) -> Iterator[tuple[str, Watch, int]]:
    """Windows of the record that look at this job: "devices" or "racks", the window, and devices per item."""
    for kind, windows, size in (("devices", record.devices, 1), ("racks", record.racks, rack_size(job))):
        for window in windows:
            if window.job == f"{site.name}/{job.name}" or window.job == job.name:
                yield kind, window, size


def watched_devices(record: Record, site: Site, job: Devices) -> tuple[int, ...]:
    """Devices of the job whose power is recorded one by one, or summed by rack, in ascending order."""
    numbers: set[int] = set()
    for _, window, size in watches(record, site, job):
        numbers.update(range(window.first * size, min((window.first + window.count) * size, job.devices)))
    return tuple(sorted(numbers))
