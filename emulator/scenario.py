"""From a checked scenario to what the plant runs on: Layout, Params, Inputs.

Here, and in `jobs`, `grids`, `storages` and `controllers`, configuration becomes arrays: every number an array of the
run's float type, every delay and switching time a whole number of ticks, and W become MW at the border of a site.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from emulator import jobs_schema, schema
from emulator.clock import ticks_nearest
from emulator.cluster import replay
from emulator.controller_schema import FeedForwardController, LqrController, stages_of
from emulator.facility.power_chain import FacilityParams, facility_power
from emulator.facility.ride_through import RideThroughParams
from emulator.grid.voltage import PccParams, ZipParams
from emulator.grids import area_index, forming_sites, grid_layout, grid_params, steps_of
from emulator.jobs import inference_layout, inference_params, stream_of, training_layout, training_params
from emulator.plant import Inputs, Layout, Params, SiteLayout, SiteParams
from emulator.power_limit import PowerLimitParams
from emulator.storages import storage_layout, storage_params
from emulator.struct import as_array
from emulator.topology import hall_names, hall_parts, least_cap_w, runs_of, server_power_w
from emulator.units import W_PER_MW


@dataclass(frozen=True)
class Record:
    """A replayed job's file, read once, and when each of its copies plays it."""

    time_s: np.ndarray
    power_w: np.ndarray
    shifts: replay.Shifts | None


@dataclass(frozen=True)
class Plan:
    """What a training job draws over its nominal iteration, for a controller that knows its schedule."""

    it_mw: np.ndarray  # (ticks,)


@dataclass(frozen=True)
class Gains:
    """Gains of a site's state-feedback controller."""

    gain: np.ndarray  # (states,)


# What must be read or emulated before parameters can be made, by names of site and job; gains by site and "".
Records = dict[tuple[str, str], Record | Plan | Gains]


def records_of(scenario: schema.Scenario) -> Records:
    """Read the files of replayed jobs and draw the shifts of their copies, emulate the iterations that feed-forward
    controllers play, and design the gains of state-feedback controllers.

    Raises:
      RecordError: a file that cannot be read.
      ConfigError: no gains stabilise the plant.
    """
    from emulator.lqr_design import gains  # these two emulate scenarios themselves
    from emulator.waveform import nominal_iteration

    found: Records = {}
    for site, job in jobs_of(scenario):
        if isinstance(job, jobs_schema.TrainingJob) and _plans(site):
            found[site.name, job.name] = Plan(nominal_iteration(scenario, site, job)[1])
        if isinstance(job, jobs_schema.ReplayJob):
            time_s, power_w = replay.read(job)
            shifts = replay.shifts_of(job, time_s, scenario.run.seed, stream_of(site, job), scenario.run.dt_s)
            found[site.name, job.name] = Record(time_s, power_w, shifts)
    for i, site in enumerate(scenario.site):
        for stage in stages_of(site.controller):
            if isinstance(stage, LqrController):
                found[site.name, ""] = Gains(gains(scenario, i, stage, found))
    return found


def _plans(site: schema.Site) -> bool:
    return any(isinstance(stage, FeedForwardController) for stage in stages_of(site.controller))


def jobs_of(scenario: schema.Scenario) -> Iterator[tuple[schema.Site, jobs_schema.Job]]:
    """All jobs in the order of the trace's job axis: site by site, as written."""
    return ((site, job) for site in scenario.site for job in site.job)


def hall_labels(scenario: schema.Scenario) -> tuple[str, ...]:
    """Names of the recorded halls, SITE/HALL; none unless they are asked for."""
    if not scenario.record.groups:
        return ()
    return tuple(f"{site.name}/{name}" for site in scenario.site for name in hall_names(site))


def _halls_of(scenario: schema.Scenario) -> list[tuple[int, ...]]:
    """Indices of the halls that each job is in, in the order of all jobs; one without racks is in the first."""
    if not scenario.record.groups:
        return [() for _ in jobs_of(scenario)]
    first, halls = 0, []
    for site in scenario.site:
        for job in site.job:
            placed = isinstance(job, jobs_schema.TrainingJob | jobs_schema.InferenceJob)
            halls.append(tuple(first + place for place, _ in hall_parts(site, job)) if placed else (first,))
        first += len(hall_names(site))
    return halls


def layout_of(scenario: schema.Scenario) -> Layout:
    """Sizes, switches and integer times."""
    run = scenario.run
    jobs = list(jobs_of(scenario))
    training = {
        i: training_layout(scenario, s, j) for i, (s, j) in enumerate(jobs) if isinstance(j, jobs_schema.TrainingJob)
    }
    inference = {
        i: inference_layout(scenario, s, j) for i, (s, j) in enumerate(jobs) if isinstance(j, jobs_schema.InferenceJob)
    }
    halls, forming = _halls_of(scenario), forming_sites(scenario)
    places = iter(range(len(jobs)))
    trained = iter(range(len(jobs)))
    return Layout(
        dt_s=run.dt_s,
        chunk_ticks=run.chunk_ticks,
        every_ticks=scenario.record.every_ticks,
        jobs=len(jobs),
        halls=len(hall_labels(scenario)),
        training_halls=tuple(halls[i] for i in training),
        inference_hall=tuple(halls[i][0] for i in inference if halls[i]),
        given_hall=tuple(halls[i][0] for i in range(len(jobs)) if not {i} & {*training, *inference} and halls[i]),
        training=tuple(training.values()),
        training_job=tuple(training),
        inference=tuple(inference.values()),
        inference_job=tuple(inference),
        given_job=tuple(i for i in range(len(jobs)) if i not in training and i not in inference),
        sites=tuple(
            SiteLayout(
                jobs=tuple(next(places) for _ in site.job),
                training=tuple(next(trained) for job in site.job if isinstance(job, jobs_schema.TrainingJob)),
                area=area_index(scenario, site.area),
                storage=storage_layout(site, run.dt_s),
                state_feedback=any(isinstance(stage, LqrController) for stage in stages_of(site.controller)),
                planned_jobs=tuple(
                    i for i, (its, _) in enumerate(jobs) if its is site and i in training and _plans(site)
                ),
                forming=forming.index(site) if site in forming else -1,
                return_delay_ticks=ticks_nearest(riding.return_delay_s, run.dt_s) if riding else 0,
            )
            for site in scenario.site
            for riding in [site.facility.ride_through]
        ),
        grid=grid_layout(scenario),
        steps=tuple(layout for layout, _ in steps_of(scenario)),
    )


def shortest(layouts: Iterable[Layout]) -> Layout:
    """The last of layouts, with the shortest iterations of all: they bound how many a window may hold."""
    every = list(layouts)
    jobs = [
        replace(its, job=replace(its.job, shortest_s=min(each.training[i].job.shortest_s for each in every)))
        for i, its in enumerate(every[-1].training)
    ]
    return replace(every[-1], training=tuple(jobs))


def params_of(scenario: schema.Scenario, records: Records) -> Params:
    """Every differentiable number, as arrays of JAX's default float type (float64 under --x64)."""
    training = [job for _, job in jobs_of(scenario) if isinstance(job, jobs_schema.TrainingJob)]
    return Params(
        training=tuple(training_params(job) for job in training),
        inference=tuple(inference_params(j) for _, j in jobs_of(scenario) if isinstance(j, jobs_schema.InferenceJob)),
        sites=tuple(_site_params(site, records) for site in scenario.site),
        grid=grid_params(scenario),
        step_size=as_array([size for _, size in steps_of(scenario)]),
    )


def inputs_of(
    scenario: schema.Scenario, records: Records, first_tick: int, ticks: int, seed: int | None = None
) -> Inputs:
    """Seed and given powers of a window: the replayed and the constant jobs, as tick means."""
    emulated = jobs_schema.TrainingJob | jobs_schema.InferenceJob
    given = [(site, job) for site, job in jobs_of(scenario) if not isinstance(job, emulated)]
    power = np.zeros((ticks, len(given)))
    for column, (site, job) in enumerate(given):
        record = records.get((site.name, job.name))
        power[:, column] = _given_power_mw(job, record, first_tick, ticks, scenario.run.dt_s)
    root = scenario.run.seed if seed is None else seed
    return Inputs(seed=jnp.asarray(root, jnp.uint32), given_mw=as_array(power))


def _site_params(site: schema.Site, records: Records) -> SiteParams:
    found = [records.get((site.name, job.name)) for job in site.job]
    chain_of = site.facility
    facility = FacilityParams(
        server_efficiency=as_array(chain_of.server_efficiency),
        psu_efficiency=as_array(chain_of.psu_efficiency),
        ups_efficiency=as_array(chain_of.ups_efficiency),
        transformer_efficiency=as_array(chain_of.transformer_efficiency),
        auxiliary_mw=as_array(chain_of.auxiliary_fraction * _rated_it_mw(site, found)),
        power_factor=as_array(chain_of.power_factor),
    )
    draws = [facility_power(facility, as_array(record.it_mw)) for record in found if isinstance(record, Plan)]
    feedback = records.get((site.name, ""))
    gains = feedback.gain if isinstance(feedback, Gains) else np.zeros(0)
    return SiteParams(
        facility=facility,
        ride_through=chain_of.ride_through and _ride_through_params(chain_of.ride_through),
        pcc=site.pcc and _pcc_params(site.pcc, chain_of),
        storage=storage_params(site, tuple(draw - jnp.mean(draw) for draw in draws), gains),
        power_limit=site.power_limit and _power_limit_params(site, site.power_limit),
    )


def _ride_through_params(table: schema.RideThrough) -> RideThroughParams:
    return RideThroughParams(
        trip_below_pu=as_array(table.trip_below_pu),
        return_above_pu=as_array(table.return_above_pu),
        return_ramp_s=as_array(table.return_ramp_s),
    )


def _pcc_params(pcc: schema.Pcc, facility: schema.Facility) -> PccParams:
    shares = facility.constant_impedance_fraction, facility.constant_current_fraction
    return PccParams(
        short_circuit_ratio=as_array(pcc.short_circuit_ratio),
        x_over_r=as_array(pcc.x_over_r),
        rated_mw=as_array(pcc.rated_mw),
        dependence=ZipParams(*(as_array(share) for share in shares)) if any(shares) else None,
    )


def _power_limit_params(site: schema.Site, limit: schema.PowerLimit) -> PowerLimitParams:
    devices = [job.accelerator for job in site.job if isinstance(job, jobs_schema.TrainingJob)]
    return PowerLimitParams(
        max_mw=as_array(limit.max_mw),
        gain=as_array(limit.gain),
        tdp_w=as_array([device.tdp_w for device in devices]),
        least_w=as_array([least_cap_w(device) for device in devices]),
    )


def _rated_it_mw(site: schema.Site, found: list[Record | Plan | Gains | None]) -> jax.Array:
    """Largest sum of the jobs that are there at one time: what runs one after the other shares its machines."""
    rated = [_rated_mw(job, record) for job, record in zip(site.job, found, strict=True)]
    runs = [runs_of(job) for job in site.job]

    def there_mw(at_s: float) -> float:
        return sum(mw for mw, its in zip(rated, runs, strict=True) if any(on <= at_s < off for on, off in its))

    return jnp.max(jnp.stack([as_array(there_mw(at_s)) for at_s in sorted({on for its in runs for on, _ in its})]))


def _rated_mw(job: jobs_schema.Job, record: Record | Plan | Gains | None) -> float:
    """Largest power of a job, the base of the auxiliaries' share."""
    match job:
        case jobs_schema.TrainingJob(accelerator=device) | jobs_schema.InferenceJob(accelerator=device):
            return job.devices * server_power_w(device, device.tdp_w) / W_PER_MW
        case jobs_schema.ReplayJob():
            assert isinstance(record, Record)
            return job.copies * float(np.max(record.power_w)) / W_PER_MW
        case jobs_schema.ConstantJob():
            return job.power_mw


def _given_power_mw(
    job: jobs_schema.Job, record: Record | Plan | Gains | None, first_tick: int, ticks: int, dt_s: float
) -> np.ndarray:
    start, stop = ticks_nearest(job.start_s, dt_s), ticks_nearest(job.stop_s, dt_s)
    tick = np.arange(first_tick, first_tick + ticks)
    on = (tick >= start) & (tick < stop)
    if isinstance(job, jobs_schema.ConstantJob):
        return np.where(on, job.power_mw, 0.0)
    if not on.any():
        return np.zeros(ticks)
    assert isinstance(job, jobs_schema.ReplayJob) and isinstance(record, Record)
    begin, count = int(np.argmax(on)), int(on.sum())
    power = np.zeros(ticks)
    power[begin : begin + count] = (
        replay.resample_copies(
            record.time_s,
            record.power_w,
            first_tick + begin - start,
            count,
            dt_s,
            job.interpolation,
            job.repeat,
            job.copies,
            record.shifts,
        )
        / W_PER_MW
    )
    return power
