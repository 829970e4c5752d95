"""Rules between the keys of jobs, accelerators, topology and what is recorded of them; see `rules`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from emulator.complaint import Path, nearest
from emulator.jobs_schema import Cap, InferenceJob, ReplayJob, Smoothing, TrainingJob, Workload
from emulator.schema import Scenario, Site
from emulator.topology import least_cap_w, phases_of, rack_size, racks_needed, racks_of, runs_of
from emulator.units import counted

Problems = Iterator[tuple[Path, str]]

MOST_WATCHED = 4096  # devices recorded one by one: a window of them takes 330 MB


def jobs(scenario: Scenario) -> Problems:
    """Every rule that a job breaks."""
    for i, site in enumerate(scenario.site):
        for j, job in enumerate(site.job):
            path: Path = ("site", i, "job", j)
            if job.stop_s <= job.start_s:
                yield (*path, "stop_s"), f"is {job.stop_s:g} s, must be after start_s = {job.start_s:g} s"
            if isinstance(job, TrainingJob):
                yield from _training(path, job, scenario.run.dt_s)
            elif isinstance(job, InferenceJob):
                yield from _inference(path, job, scenario.run.dt_s)
            elif isinstance(job, ReplayJob):
                yield from _replay(path, job, scenario.run.duration_s)
        yield from _halls(("site", i), site)
    yield from _clocks(scenario)
    yield from _watched(scenario)


def _training(path: Path, job: TrainingJob, dt_s: float) -> Problems:
    device, workload = job.accelerator, job.workload
    if device.idle_w >= device.tdp_w:
        yield (*path, "accelerator", "idle_w"), f"must be below tdp_w = {device.tdp_w:g} W"
        return
    if device.edp_duration_s >= device.edp_window_s:
        at = (*path, "accelerator", "edp_duration_s")
        yield at, f"is {device.edp_duration_s:g} s, must be below edp_window_s = {device.edp_window_s:g} s"
    problems = list(_given(path, job))
    yield from problems
    if problems:
        return
    if workload.model is None:
        yield from _workload((*path, "workload"), workload)
    yield from _levels(path, job)
    if workload.pipeline_stages > job.devices:
        at = (*path, "workload", "pipeline_stages")
        yield at, f"is {workload.pipeline_stages}, must be at most devices = {job.devices}"
    if (workload.slow_fraction > 0) != (workload.slow_by > 0):
        lacking = "slow_by" if workload.slow_fraction > 0 else "slow_fraction"
        yield (*path, "workload", lacking), "is 0: slow_fraction and slow_by go together"
    young = workload.checkpoint is not None and workload.checkpoint.period_s == "young_daly"
    if young and not (workload.fault and workload.fault.rate_per_device_hour > 0):
        yield (*path, "workload", "checkpoint", "period_s"), "young_daly needs workload.fault with a rate above 0"
    yield from _runs(path, job)
    if job.smoothing is not None:
        yield from _smoothing((*path, "smoothing"), job, job.smoothing)
    if job.dummy_work is not None and job.dummy_work.period_s < dt_s:
        yield (*path, "dummy_work", "period_s"), f"is {job.dummy_work.period_s:g} s, shorter than run.dt_s = {dt_s:g} s"
    for k, cap in enumerate(job.cap):
        yield from _cap((*path, "cap", k), job, cap)
    if any(later.at_s <= earlier.at_s for earlier, later in pairwise(job.cap)):
        yield (*path, "cap"), "orders must be in the order of at_s, each after the one before"


def _given(path: Path, job: TrainingJob) -> Problems:
    """Phases or a model, and a model that fits."""
    workload = job.workload
    if workload.model is None:
        if not workload.phase:
            yield (*path, "workload", "phase"), "missing key: give phases, or a model to derive them from"
        return
    if workload.phase:
        yield (*path, "workload", "phase"), "both phases and a model are given: leave one out"
    if workload.pipeline_stages > 1:
        yield (*path, "workload", "pipeline_stages"), "comes from model.pipeline_parallel: leave it out"
    from emulator.training_model import problems

    for key, message in problems(workload.model, job.devices):
        at = ("devices",) if key == "devices" else ("workload", "model", *key.split("."))
        yield (*path, *at), message


def _levels(path: Path, job: TrainingJob) -> Problems:
    """No level asks for more than the accelerator's EDP peak."""
    device, workload = job.accelerator, job.workload
    named: list[tuple[Path, float | None]] = []
    for i, phase in enumerate(phases_of(job)):
        at: Path = ("workload", "phase", i) if workload.model is None else ("workload", "model")
        named += [((*at, "level"), phase.level), ((*at, "wait_level"), phase.wait_level)]
    for name in ("checkpoint", "evaluation", "stall", "fault"):
        if (pause := getattr(workload, name)) is not None:
            named.append((("workload", name, "level"), pause.level))
    if workload.fault is not None:
        named.append((("workload", "fault", "ramp_level"), workload.fault.ramp_level))
    peak_w = device.edp_fraction * device.tdp_w
    for at, level in named:
        if level is None or workload.level_of == "peak":
            most = device.edp_fraction
            if level is not None and level > most * (1 + 1e-9):
                yield (*path, *at), f"is {level:g}, above the accelerator's EDP peak, {most:g} of TDP"
            continue
        power_w = device.idle_w + level * (device.tdp_w - device.idle_w)
        if power_w > peak_w * (1 + 1e-9):
            yield (*path, *at), f"is {level:g}, {power_w:g} W: above the accelerator's EDP peak of {peak_w:g} W"


def _workload(path: Path, workload: Workload) -> Problems:
    last = len(workload.phase) - 1
    total_s = sum(p.duration_s for p in workload.phase)
    if workload.iteration_s is not None and abs(total_s - workload.iteration_s) > 1e-6 * total_s:
        yield (*path, "iteration_s"), f"is {workload.iteration_s:g} s, but the phases take {total_s:g} s together"
    iteration_s = sum(p.duration_s for p in workload.phase)
    moved = 0.0  # largest time that the phase before may take, as a share of the iteration
    for i, phase in enumerate(workload.phase):
        at = (*path, "phase", i)
        least_s = phase.duration_s - (moved + phase.end_shift) * iteration_s
        most_s = least_s / (1 + workload.rate_spread) / 6
        if least_s > 0 and phase.spread_s > most_s * (1 + 1e-9):
            yield (
                (*at, "spread_s"),
                (
                    f"is {phase.spread_s:g} s, must be at most a sixth of duration_s at its shortest, {most_s:.4g} s: "
                    "a device's duration must not turn negative"
                ),
            )
        if i == last and phase.end_shift > 0:
            yield (*at, "end_shift"), "the last phase has no next one to take time from"
        if least_s <= 0:
            yield (*at, "end_shift"), "end shifts of this phase and the one before may use up all of its duration_s"
        moved = phase.end_shift
        if phase.wait_level is not None and not (phase.barrier or i == last):
            yield (*at, "wait_level"), "needs barrier = true: without a barrier nobody waits"
        released = i == 0 or workload.phase[i - 1].barrier
        for key in ("release_skew_s", "stage_delay_s"):
            if getattr(phase, key) > 0 and not released:
                yield (*at, key), "needs a barrier at the end of the phase before: there devices are released"
        if phase.stage_delay_s > 0 and workload.pipeline_stages == 1:
            yield (*at, "stage_delay_s"), "needs workload.pipeline_stages above 1"


def _runs(path: Path, job: TrainingJob) -> Problems:
    if job.runs_s and {"start_s", "stop_s"} & job.model_fields_set:
        yield (*path, "runs_s"), "replaces start_s and stop_s: leave these out"
    for k, (start_s, stop_s) in enumerate(job.runs_s):
        if not 0 <= start_s < stop_s:
            yield (*path, "runs_s", k), f"is {start_s:g} to {stop_s:g} s, must go from 0 or later to a later time"
    for k, (before, after) in enumerate(pairwise(runs_of(job))):
        if after[0] < before[1] + job.stage_out_s:
            ends_s = before[1] + job.stage_out_s
            yield (
                (*path, "runs_s", k + 1),
                f"starts at {after[0]:g} s, before the run before it has ended, at {ends_s:g} s",
            )


def _smoothing(path: Path, job: TrainingJob, smoothing: Smoothing) -> Problems:
    device = job.accelerator
    floor_w = smoothing.floor_fraction * device.tdp_w
    if floor_w <= device.idle_w:
        least = device.idle_w / device.tdp_w
        yield (*path, "floor_fraction"), f"is {smoothing.floor_fraction:g}, must be above idle_w / tdp_w = {least:.4g}"
    if smoothing.ceiling_fraction is not None and smoothing.floor_fraction >= smoothing.ceiling_fraction:
        most = smoothing.ceiling_fraction
        yield (*path, "floor_fraction"), f"is {smoothing.floor_fraction:g}, must be below ceiling_fraction = {most:g}"
    rest_w = smoothing.secondary_floor_w
    if rest_w is not None and not device.idle_w <= rest_w < floor_w:
        between = f"must be from idle_w = {device.idle_w:g} W to below the floor, {floor_w:g} W"
        yield (*path, "secondary_floor_w"), f"is {rest_w:g} W, {between}"


def _cap(path: Path, job: TrainingJob, cap: Cap) -> Problems:
    device = job.accelerator
    least_w = least_cap_w(device)
    if cap.power_w is not None and not least_w <= cap.power_w <= device.tdp_w:
        name = "a tenth of the range above idle_w" if device.cap_min_w is None else "cap_min_w"
        yield (
            (*path, "power_w"),
            f"is {cap.power_w:g} W, must be from {name} = {least_w:g} W to tdp_w = {device.tdp_w:g} W",
        )


def _inference(path: Path, job: InferenceJob, dt_s: float) -> Problems:
    service = job.service
    if job.accelerator.idle_w >= job.accelerator.tdp_w:
        yield (*path, "accelerator", "idle_w"), f"must be below tdp_w = {job.accelerator.tdp_w:g} W"
    if job.devices % service.devices_per_replica:
        yield (
            (*path, "devices"),
            f"is {job.devices}, no multiple of service.devices_per_replica = {service.devices_per_replica}",
        )
    if service.arrivals == "bursty" and service.burst_factor * service.burst_fraction > 1:
        most = 1 / service.burst_fraction
        yield (
            (*path, "service", "burst_factor"),
            f"is {service.burst_factor:g}, must be at most 1 / burst_fraction = {most:g}",
        )
    peak = {"poisson": 1.0, "bursty": service.burst_factor, "diurnal": 1 + service.day_swing}[service.arrivals]
    rate_per_s = peak * service.requests_per_s + 1 / service.prefill_s + service.batch / service.decode_s
    if rate_per_s * dt_s > 1:
        yield (
            (*path, "service"),
            f"peak arrivals, 1 / prefill_s and batch / decode_s make {rate_per_s:g} events/s a replica, too many for "
            f"ticks of {dt_s:g} s: run.dt_s = {0.99 / rate_per_s:.3g} is short enough",
        )


def _halls(path: Path, site: Site) -> Problems:
    if not site.hall:
        return
    names = [hall.name for hall in site.hall]
    for k, name in enumerate(names):
        if name in names[:k]:
            yield (*path, "hall", k, "name"), f"{name!r} is there already; names must differ"
    held, needed = sum(hall.racks for hall in site.hall), racks_needed(site)
    if held < needed:
        yield (*path, "hall"), f"halls hold {counted(held, 'rack')}, the jobs need {needed:,}"


def _clocks(scenario: Scenario) -> Problems:
    first: dict[str, tuple[Site, TrainingJob]] = {}
    for i, site in enumerate(scenario.site):
        for j, job in enumerate(site.job):
            if isinstance(job, TrainingJob) and job.clock is not None:
                its, other = first.setdefault(job.clock, (site, job)), _pace(site, job)
                different = [name for name, value in _pace(*its).items() if value != other[name]]
                if different:
                    why = f"which differs in {', '.join(different)}: they cannot keep in step"
                    yield ("site", i, "job", j, "clock"), f"{job.clock!r} is that of {its[1].name!r}, {why}"


def _pace(site: Site, job: TrainingJob) -> dict[str, object]:
    """What the lengths of a job's iterations depend on, by key: of the accelerator where power is withheld, as the
    level that is wanted and the one that is let through are shares of its range. A site orders caps by its own draw.
    """
    withheld = job.smoothing or job.cap or site.power_limit
    return {
        **{name: getattr(job, name) for name in ("devices", "workload", "smoothing", "dummy_work", "cap")},
        "accelerator": job.accelerator if withheld else None,
        "site.power_limit": site.name if site.power_limit else None,
    }


def _watched(scenario: Scenario) -> Problems:
    record = scenario.record
    if scenario.run.chunk_ticks % record.device_every_ticks:
        chunk = scenario.run.chunk_ticks
        yield (
            ("record", "device_every_ticks"),
            f"is {record.device_every_ticks}, must divide run.chunk_ticks = {chunk}",
        )
    found = {f"{s.name}/{j.name}": j for s in scenario.site for j in s.job if isinstance(j, TrainingJob)}
    total = 0
    for kind, windows in (("devices", record.devices), ("racks", record.racks)):
        taken: dict[str, list[tuple[int, int]]] = {}
        for k, window in enumerate(windows):
            path: Path = ("record", kind, k)
            matching = [name for name in found if window.job in (name, name.split("/")[1])]
            if len(matching) != 1:
                why = "several jobs have this name: say SITE/JOB" if matching else "no training job of this name"
                yield (*path, "job"), f"{window.job!r}: {why}{'' if matching else nearest(window.job, list(found))}"
                continue
            job, end = found[matching[0]], window.first + window.count
            held = job.devices if kind == "devices" else racks_of(job)
            if end > held:
                yield (*path, "count"), f"goes to number {end - 1}; the job has {held} {kind}, 0 to {held - 1}"
            if any(window.first < high and low < end for low, high in taken.get(matching[0], [])):
                yield (*path, "first"), f"overlaps with an earlier window of the same job's {kind}"
            taken.setdefault(matching[0], []).append((window.first, end))
            total += window.count * (1 if kind == "devices" else rack_size(job))
    if total > MOST_WATCHED:
        yield ("record",), f"devices and racks hold {total} devices, at most {MOST_WATCHED} are recorded one by one"


def _replay(path: Path, job: ReplayJob, duration_s: float) -> Problems:
    # NumPy is imported only where a file has to be read.
    from emulator.cluster import replay
    from emulator.power_file import RecordError

    try:
        time_s, _ = replay.read(job)
    except RecordError as error:
        yield (*path, error.key), str(error)
        return
    needed_s = min(job.stop_s, duration_s) - job.start_s
    if job.repeat or needed_s <= time_s[-1] - time_s[0]:
        return
    lasts_s = replay.lasting_s(time_s)
    if needed_s > lasts_s * (1 + 1e-9):
        remedy = f"set repeat = true, stop_s = {job.start_s + lasts_s:g} or a shorter run.duration_s"
        yield (*path, "path"), f"lasts {lasts_s:g} s, {needed_s:g} s are played: {remedy}"
