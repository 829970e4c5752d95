"""From the tables of training and inference jobs to their layouts and parameters. W at the accelerator."""

from __future__ import annotations

import zlib
from math import pi, sin

import jax
import numpy as np

from emulator import jobs_schema as tables
from emulator import schema
from emulator.clock import ticks_nearest
from emulator.cluster.demand import DeviceParams, TrainingLayout, TrainingParams
from emulator.cluster.iteration import JobLayout, JobParams
from emulator.cluster.pauses import PauseLayout, PauseParams
from emulator.cluster.schedule import PhaseLayout
from emulator.cluster.serving import InferenceLayout, InferenceParams
from emulator.cluster.smoothing import DummyParams, LimitLayout, SmoothingParams
from emulator.cluster.stationary import stationary
from emulator.cluster.workload import WorkloadParams
from emulator.struct import as_array
from emulator.topology import by_devices, devices_in_halls, noisy, phases_of, runs_of, server_power_w, watched_devices
from emulator.units import S_PER_H

NEVER = 2**31 - 1


def stream_of(site: schema.Site, job: tables.Job) -> int:
    """Number of a job's random stream: depends on the names of the job and its site, and on nothing else."""
    return zlib.crc32(f"{site.name}/{job.name}".encode())


def training_layout(scenario: schema.Scenario, site: schema.Site, job: tables.TrainingJob) -> TrainingLayout:
    """Sizes and switches of a training job."""
    dt_s = scenario.run.dt_s
    workload, device, smoothing = job.workload, job.accelerator, job.smoothing
    overshoot = None
    if device.edp_fraction > 1:
        overshoot = (ticks_nearest(device.edp_duration_s, dt_s), ticks_nearest(device.edp_window_s, dt_s))
    record = scenario.record
    return TrainingLayout(
        job=_job_layout(scenario, site, job, 0 if overshoot is None else overshoot[1]),
        path="devices" if by_devices(site, job) else "events",
        groups=devices_in_halls(site, job) if record.groups else (job.devices,),
        overshoot_ticks=overshoot,
        noisy=noisy(job),
        own_noise=noisy(job) and workload.noise_coherence < 1,
        limits=LimitLayout(
            smoothing=smoothing is not None,
            timers=smoothing is not None and (smoothing.stop_delay_s > 0 or smoothing.min_floor_s > 0),
            averaged=smoothing is not None and smoothing.activation_window_s > 0,
            dummy=job.dummy_work is not None,
            dummy_period_ticks=1 if job.dummy_work is None else ticks_nearest(job.dummy_work.period_s, dt_s),
            cap=bool(job.cap or site.power_limit),
        ),
        watched=watched_devices(record, site, job),
        watch_every=record.device_every_ticks,
        shards=1,
        summed_every=1,
    )


def _job_layout(scenario: schema.Scenario, site: schema.Site, job: tables.TrainingJob, tail_ticks: int) -> JobLayout:
    run, workload = scenario.run, job.workload
    phases = phases_of(job)
    # float32 normals stay within 5.5 s.d.; the bound on iterations in a window has a factor 2 besides.
    slow_rate = (1.0 + workload.rate_spread) * (1.0 + 5.0 * workload.jitter)
    runs = tuple((_tick(run, start_s), _tick(run, stop_s)) for start_s, stop_s in runs_of(job))
    fault = workload.fault
    ramp = job.stage_in_s > 0 or (fault is not None and fault.ramp_s > 0)
    slow = workload.slow_fraction > 0 and workload.slow_by > 0
    apart = any(p.spread_s > 0 or p.release_skew_s > 0 for p in phases) or slow or ramp or job.stage_out_s > 0
    own_noise = workload.noise_coherence < 1 and noisy(job)
    return JobLayout(
        stream=zlib.crc32(f"clock {job.clock}".encode()) if job.clock else stream_of(site, job),
        devices=job.devices,
        runs=runs,
        stops=any(stop < ticks_nearest(run.duration_s, run.dt_s) for _, stop in runs),
        phases=tuple(
            PhaseLayout(
                barrier=p.barrier or i == len(phases) - 1,
                spread=p.spread_s > 0,
                skew=p.release_skew_s > 0,
                staged=p.stage_delay_s > 0,
            )
            for i, p in enumerate(phases)
        ),
        stages=workload.pipeline_stages if workload.model is None else workload.model.pipeline_parallel,
        slow=slow,
        pauses=PauseLayout(
            ramp=ramp,
            checkpoint=workload.checkpoint is not None,
            evaluation_every=workload.evaluation.every if workload.evaluation else 0,
            stall=workload.stall is not None,
            fault=fault is not None and fault.rate_per_device_hour > 0,
        ),
        shortest_s=sum(p.duration_s for p in phases) / slow_rate,
        cap_ticks=tuple(
            (ticks_nearest(cap.at_s, run.dt_s) // run.chunk_ticks + 1) * run.chunk_ticks for cap in job.cap
        ),
        alike=not apart and not own_noise and job.accelerator.gain_spread == 0,
        tail_ticks=tail_ticks,
    )


def _tick(run: schema.Run, at_s: float) -> int:
    return min(ticks_nearest(at_s, run.dt_s), NEVER)


def training_params(job: tables.TrainingJob) -> TrainingParams:
    """Numbers of a training job."""
    device, smoothing, dummy = job.accelerator, job.smoothing, job.dummy_work
    range_w = device.tdp_w - device.idle_w
    rest_floor_w = device.idle_w
    if smoothing is not None and smoothing.secondary_floor_w is not None:
        rest_floor_w = smoothing.secondary_floor_w
    caps = [(_or_infinite(cap.power_w) - device.idle_w) / range_w for cap in job.cap]
    return TrainingParams(
        job=JobParams(
            workload=_workload_params(job),
            pauses=_pause_params(job),
            stage_out_s=as_array(job.stage_out_s),
            stretch=as_array(1.0 + (dummy.cost_fraction if dummy else 0.0)),
            cap=as_array(caps),
            power_exponent=as_array(device.power_exponent),
        ),
        device=DeviceParams(
            idle_w=as_array(device.idle_w),
            tdp_w=as_array(device.tdp_w),
            server_fixed_w=as_array(device.server_fixed_w),
            server_fraction=as_array(device.server_fraction),
            gain_spread=as_array(device.gain_spread),
            response_s=as_array(device.response_s),
            edp_fraction=as_array(device.edp_fraction),
        ),
        smoothing=smoothing
        and SmoothingParams(
            floor_fraction=as_array(smoothing.floor_fraction),
            ramp_up_w_per_s=as_array(smoothing.ramp_up_w_per_s),
            ramp_down_w_per_s=as_array(smoothing.ramp_down_w_per_s),
            ceiling_fraction=as_array(_or_infinite(smoothing.ceiling_fraction)),
            stop_delay_s=as_array(smoothing.stop_delay_s),
            min_floor_s=as_array(smoothing.min_floor_s),
            secondary_floor_w=as_array(rest_floor_w),
            activation_offset_w=as_array(smoothing.activation_offset_w),
            activation_window_s=as_array(smoothing.activation_window_s),
        ),
        dummy=dummy and DummyParams(floor_fraction=as_array(dummy.floor_fraction), latency_s=as_array(dummy.latency_s)),
    )


def inference_layout(scenario: schema.Scenario, site: schema.Site, job: tables.InferenceJob) -> InferenceLayout:
    """Sizes and switches of an inference job."""
    dt_s, service = scenario.run.dt_s, job.service
    return InferenceLayout(
        stream=stream_of(site, job),
        replicas=job.devices // service.devices_per_replica,
        devices_per_replica=service.devices_per_replica,
        start_tick=ticks_nearest(job.start_s, dt_s),
        stop_tick=min(ticks_nearest(job.stop_s, dt_s), NEVER),
        arrivals=service.arrivals,
        batch=service.batch,
    )


def inference_params(job: tables.InferenceJob) -> InferenceParams:
    """Numbers of an inference job."""
    service, device = job.service, job.accelerator
    names = set(InferenceParams.__dataclass_fields__) - {"idle_w", "peak_w", "response_s", "start"}
    return InferenceParams(
        **{name: as_array(getattr(service, name)) for name in names},
        idle_w=as_array(server_power_w(device, device.idle_w)),
        peak_w=as_array(server_power_w(device, device.tdp_w)),
        response_s=as_array(device.response_s),
        start=as_array(_start(job)),
    )


def _start(job: tables.InferenceJob) -> np.ndarray:
    """Chances of a replica's states at tick 0, added up: of the stationary state at the mean rate, in a day at that of
    tick 0 (a day is long); of no requests where the job starts later, or where `stationary` finds no such state."""
    service, empty = job.service, np.ones((1, 1))
    if job.start_s > 0:
        return empty
    swing = service.day_swing * sin(2.0 * pi * service.day_phase) if service.arrivals == "diurnal" else 0.0
    rate_per_s = service.requests_per_s * (1.0 + swing)
    chances = stationary(rate_per_s, service.prefill_s, service.decode_s, service.batch)
    if chances is None:
        return empty
    added_up = np.cumsum(chances)
    return (added_up / added_up[-1]).reshape(chances.shape)


def _or_infinite(value: float | None) -> float:
    return float("inf") if value is None else value


def _scale(job: tables.TrainingJob) -> tuple[float, float]:
    """Level of an idle device as the workload states levels (`level_of`), and share of the range per unit of level."""
    device = job.accelerator
    idle = (
        server_power_w(device, device.idle_w) / server_power_w(device, device.tdp_w)
        if job.workload.level_of == "peak"
        else 0.0
    )
    return idle, 1.0 / (1.0 - idle)


def _workload_params(job: tables.TrainingJob) -> WorkloadParams:
    """Numbers of a workload, its levels converted to shares of the range from idle to peak."""
    workload, (floor, scale) = job.workload, _scale(job)
    phases = phases_of(job)
    waits = [p.level if p.wait_level is None else p.wait_level for p in phases]
    return WorkloadParams(
        duration_s=as_array([p.duration_s for p in phases]),
        level=as_array([(p.level - floor) * scale for p in phases]),
        wait_level=as_array([(w - floor) * scale for w in waits]),
        level_jitter=as_array([p.level_jitter * scale for p in phases]),
        noise=as_array([p.noise * scale for p in phases]),
        spread_s=as_array([p.spread_s for p in phases]),
        release_skew_s=as_array([p.release_skew_s for p in phases]),
        stage_delay_s=as_array([p.stage_delay_s for p in phases]),
        end_shift=as_array([p.end_shift for p in phases]),
        rate_spread=as_array(workload.rate_spread),
        jitter=as_array(workload.jitter),
        noise_correlation_s=as_array(workload.noise_correlation_s),
        noise_coherence=as_array(workload.noise_coherence),
        slow_fraction=as_array(workload.slow_fraction),
        slow_by=as_array(workload.slow_by),
    )


def _pause_params(job: tables.TrainingJob) -> PauseParams:
    workload, (floor, scale) = job.workload, _scale(job)
    checkpoint, evaluation, stall, fault = workload.checkpoint, workload.evaluation, workload.stall, workload.fault

    def level(value: float) -> jax.Array:
        return as_array((value - floor) * scale)

    return PauseParams(
        stage_in_s=as_array(job.stage_in_s),
        checkpoint_period_s=as_array(checkpoint_period_s(job) if checkpoint else 0.0),
        checkpoint_s=as_array(checkpoint.duration_s if checkpoint else 0.0),
        checkpoint_level=level(checkpoint.level if checkpoint else floor),
        evaluation_s=as_array(evaluation.duration_s if evaluation else 0.0),
        evaluation_level=level(evaluation.level if evaluation else floor),
        stall_probability=as_array(stall.probability if stall else 0.0),
        stall_s=as_array(stall.duration_s if stall else 0.0),
        stall_level=level(stall.level if stall else floor),
        fault_per_s=as_array(faults_per_s(job)),
        fault_rest_s=as_array(fault.stall_s if fault else 0.0),
        fault_level=level(fault.level if fault else floor),
        fault_ramp_s=as_array(fault.ramp_s if fault else 0.0),
        fault_ramp_level=level(fault.ramp_level if fault else floor),
    )


def faults_per_s(job: tables.TrainingJob) -> float:
    """Faults of the whole job."""
    return job.workload.fault.rate_per_device_hour * job.devices / S_PER_H if job.workload.fault else 0.0


def checkpoint_period_s(job: tables.TrainingJob) -> float:
    """Time between checkpoints: as given, or sqrt(2 duration MTBF).

    Reference: Young, Comm. ACM 17(9):530, 1974; Daly, Future Gener. Comput. Syst. 22(3):303, 2006.
    """
    checkpoint = job.workload.checkpoint
    assert checkpoint is not None
    if checkpoint.period_s == "young_daly":
        return (2.0 * checkpoint.duration_s / faults_per_s(job)) ** 0.5
    return checkpoint.period_s
