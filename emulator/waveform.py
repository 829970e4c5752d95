"""A job's nominal iteration: its power over one that is as all others are, and the harmonics of it.

What differs from iteration to iteration or from run to run is off: jitter, noise, pauses, faults. What tells devices
apart stays: it sets how steep edges are and how long all wait for the slowest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import jax
import numpy as np

from emulator import schema
from emulator.clock import ticks_nearest
from emulator.cluster.pauses import ITERATION
from emulator.jobs_schema import TrainingJob
from emulator.plant import Layout
from emulator.rollout import initial_state, job_power
from emulator.scenario import inputs_of, layout_of, params_of
from emulator.topology import by_devices, phases_of

HARMONICS = 200
SQUARE_DUTY = 0.7  # assumed: within the 0.3 to 0.7 of published square waves
ITERATIONS = 4  # of which the last whole one counts: filters have then settled
NOMINAL_SEED = 0  # whatever the run's: a plan does not know the draws of the run that it is made for
NEVER_S = 1e9  # the latest that a job may stop
SPAN_TICKS = 1000  # the path by devices is fastest in spans of about so many
MOST_DEVICES = 4096  # that are emulated one by one and stand for all; how long they wait comes from every one of them
SETTLING_S = 120.0  # for smoothing and dummy work: beyond the ramps and delays of published profiles

emulated = jax.jit(job_power, static_argnums=0)  # compiled once for all scenarios of a layout


@dataclass(frozen=True)
class Waveform:
    """A load's periodic swing, MW of IT power."""

    label: str
    period_s: float | None  # None: a shape without a period of its own
    swing_mw: float  # largest less smallest
    amplitude_mw: np.ndarray  # (HARMONICS,) peak value of each sine, from the fundamental on


def of_site(scenario: schema.Scenario, site: schema.Site | None) -> Waveform:
    """Of the site's largest training job; where there is none, of a square wave of 1 MW from peak to peak."""
    jobs = [job for job in site.job if isinstance(job, TrainingJob)] if site else []
    if site is None or not jobs:
        k = np.arange(1, HARMONICS + 1)
        amplitude = 2.0 / (np.pi * k) * np.abs(np.sin(np.pi * k * SQUARE_DUTY))
        return Waveform(f"square wave of 1 MW, on for {SQUARE_DUTY:.0%}", None, 1.0, amplitude)
    job = max(jobs, key=lambda its: its.devices * its.accelerator.tdp_w)
    period_s, power_mw = nominal_iteration(scenario, site, job)
    swing_mw, amplitude = float(np.ptp(power_mw)), harmonics(power_mw)
    return Waveform(f"nominal iteration of {site.name}/{job.name}", period_s, swing_mw, amplitude)


def harmonics(power: np.ndarray) -> np.ndarray:
    """(HARMONICS,) amplitudes 2 |c_k| of a period of (ticks,) power, held in each tick.

    c_k = 1/T int p e^(-2 pi i k t/T) dt, exactly for steps.
    """
    k = np.arange(1, HARMONICS + 1)
    share = np.arange(len(power)) / len(power)
    rises = np.diff(power, prepend=power[-1:])
    some = np.flatnonzero(rises)
    lines = np.array([np.sum(rises[some] * np.exp(-2j * np.pi * each * share[some])) for each in k])
    return np.abs(lines) / (np.pi * k)


def nominal_iteration(scenario: schema.Scenario, site: schema.Site, job: TrainingJob) -> tuple[float, np.ndarray]:
    """Mean length of an iteration, and (ticks,) MW over the last one. Starts are known to a tick."""
    its = alone(scenario, site, job)
    layout, params = layout_of(its), params_of(its, {})
    if by_devices(site, job):
        layout = sampled(layout, MOST_DEVICES)
    inputs = inputs_of(its, {}, 0, ticks_nearest(its.run.duration_s, its.run.dt_s))
    state = initial_state(layout, params)
    jobs = emulated(layout, params, state, inputs).jobs
    starts = np.flatnonzero(np.asarray(jobs.bits)[:, 0] & ITERATION)
    period_s = (starts[-1] - starts[0]) / (len(starts) - 1) * layout.dt_s
    return float(period_s), np.asarray(jobs.mw)[starts[-2] : starts[-1], 0]


def sampled(layout: Layout, most: int) -> Layout:
    """The layout of one job, of whose devices one in so many is summed, `most` of them or less. All of them set how
    long a barrier waits: that grows with their number."""
    (its,) = layout.training
    return replace(layout, training=(replace(its, summed_every=-(-its.job.devices // most)),))


def alone(scenario: schema.Scenario, site: schema.Site, job: TrainingJob) -> schema.Scenario:
    """The scenario with this job only, from 0 s on and never interrupted. Floors, ceilings and dummy work stay."""
    workload, model = job.workload, job.workload.model
    still = dict(level_jitter=0.0, noise=0.0, end_shift=0.0)
    regular = dict(rate_spread=0.0, jitter=0.0, checkpoint=None, evaluation=None, stall=None)
    phases = tuple(phase.model_copy(update=still) for phase in phases_of(job))
    stages = workload.pipeline_stages if model is None else model.pipeline_parallel
    its = job.model_copy(
        update=dict(
            workload=workload.model_copy(
                update=regular | dict(fault=None, model=None, phase=phases, pipeline_stages=stages)
            ),
            accelerator=job.accelerator.model_copy(update=dict(gain_spread=0.0)),
            start_s=0.0,
            stop_s=NEVER_S,
            runs_s=(),
            stage_in_s=0.0,
            stage_out_s=0.0,
            cap=(),
        )
    )
    settling_s = SETTLING_S if by_devices(site, job) else 0.0
    length_s = settling_s + ITERATIONS * sum(phase.duration_s for phase in phases)
    ticks = math.ceil(length_s / scenario.run.dt_s / SPAN_TICKS) * SPAN_TICKS
    return scenario.model_copy(
        update=dict(
            run=scenario.run.model_copy(update=dict(duration_s=ticks * scenario.run.dt_s, seed=NOMINAL_SEED)),
            site=(site.model_copy(update=dict(job=(its,), power_limit=None)),),
            grid=schema.Grid(),
            disturbance=(),
            record=schema.Record(),
        )
    )
