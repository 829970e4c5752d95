"""A training job from its recorded power: lengths and levels of phases, edges, jitter and noise.

What differs from iteration to iteration cannot be replayed draw by draw. So the emulation runs without it, and each
recorded iteration is compared with the same emulated one, stretched to its own length: the emulator's jitter stretches
all phases alike. What is left over gives the noise, the lengths themselves the jitter. Iterations are compared in
pairs, with two emulated ones in a row: a period that is not right then shows.

Edges are steep, and where two do not meet there is no slope that leads to the other: the search goes from smoothed
residuals to plain ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d

from emulator import fit_data, fit_iterations, fit_leftover, schema, tunables, waveform
from emulator.clock import seconds_at
from emulator.complaint import dotted, nearest
from emulator.fit_data import Columns
from emulator.fit_emulation import SHIFT, Emulation, Record, bounds_of
from emulator.fit_iterations import FitError, Iterations
from emulator.fit_problem import Task, job_parameters, phase_paths, refused, sound, task_of, tick_of
from emulator.fit_result import Fitted
from emulator.fit_schema import Fit
from emulator.fit_solve import Solution, solve
from emulator.jobs_schema import TrainingJob
from emulator.scenario import inputs_of
from emulator.simulate import whole_chunks
from emulator.topology import by_devices, phases_of
from emulator.tune_schema import Parameter

MOMENTS = ("jitter", "noise", "noise_correlation_s")  # keys that come from moments and not from the search
EMULATED = 5.0  # iterations: one to settle, two to compare with, and room for shifts
SMOOTHED = (
    1 / 12,
    1 / 40,
    1 / 150,
    0.0,
)  # widths of the residuals' smoothing, of an iteration, one search after another
FINE = 4  # rows left to a smoothing's width
EVALUATIONS = (12, 12, 12, 20)
GAINS = (1e-2, 1e-2, 1e-3)  # of the sum of squares, below which a search has converged
LAST_GAINS = (1e-3, 1e-4)  # likewise, of the last two: after the first, iterations are found anew
TOO_FAR = 4.0  # factor between means of recorded and configured power that levels within LEVEL of theirs cannot make
ROWS = 2000  # of an iteration: finer recordings are averaged
FINER = 2  # ticks are at most a row's so-manieth, unless CONFIG's own are longer


def fit(scenario: schema.Scenario, path: Path, columns: Columns, progress: Callable[[float], object]) -> Fitted:
    """Fit a training job to a recording of power.

    Raises:
      ConfigError: [fit] names what is not there, or what cannot move.
      TraceError: a recording that cannot be read, or lacks the channel.
      FitError: one that holds no iterations like the configuration's.
    """
    place = _place(scenario)
    scenario = _spelled_out(scenario, place)
    site, job = _at(scenario, place)
    measured = scenario.fit.measured if scenario.fit else "site"
    average_s = scenario.fit.average_s if scenario.fit else None
    series, told = fit_data.power(path, columns, site, job, measured), fit_data.is_trace(path)
    if told and average_s is not None:
        raise refused("fit.average_s", f"{path} is a trace, whose values are means over its rows: leave it out")
    guess_s = sum(phase.duration_s for phase in job.workload.phase)
    row_s = _row_s(series.row_s, guess_s, job)
    rows = series.rows(row_s)
    values = series.means(0, rows, row_s) if average_s is None else series.at(np.arange(rows) * row_s)
    period_s = fit_iterations.period_of(values, row_s, guess_s)
    its = fit_iterations.iterations_at(fit_iterations.recurrences(values, row_s, period_s))
    fine = _at_tick(scenario, job, row_s)
    searched, moments = _parameters(fine, place)
    emulation = Emulation(_task(fine, place, measured, searched, max(its.period_s, guess_s)), measured)
    found, record = _search(emulation, Record(values, row_s, average_s or row_s, its), progress)
    at = f"site.{site.name}.job.{job.name}"
    fitted = fit_leftover.fitted(scenario, job, at, emulation, record, found, moments)
    return fitted if told or average_s else replace(fitted, notes=(*fitted.notes, _assumed(series.row_s)))


def _assumed(interval_s: float) -> str:
    """What a CSV file does not say."""
    return (
        f"values are taken as means over the {interval_s:.4g} s from one to the next: what the meter averages over "
        "longer blurs edges and levels beyond the errors stated; set fit.average_s if it does"
    )


def _place(scenario: schema.Scenario) -> tuple[int, int]:
    """Site and job that are fitted."""
    fit = scenario.fit or Fit()
    every = {
        f"{site.name}/{job.name}": (i, j)
        for i, site in enumerate(scenario.site)
        for j, job in enumerate(site.job)
        if isinstance(job, TrainingJob)
    }
    if not every:
        raise refused("site.job", "missing: a power is fitted by a training job, give one to start from")
    if fit.job is None and len(every) > 1:
        raise refused("fit.job", f"missing key: whose power was recorded? training jobs: {', '.join(every)}")
    if fit.job is not None and fit.job not in every:
        raise refused("fit.job", f"no training job {fit.job!r}{nearest(fit.job, every)}")
    i, j = every[fit.job or next(iter(every))]
    site, job = scenario.site[i], scenario.site[i].job[j]
    if isinstance(job, TrainingJob) and (limited := by_devices(site, job)):
        raise refused(f"site.{site.name}.job.{job.name}", f"{limited[0]} is not fitted: leave it out")
    if fit.measured == "site" and site.bess is not None:
        raise refused(
            f"site.{site.name}.bess", "stands between load and meter: leave it out, or set fit.measured = 'job'"
        )
    if fit.measured == "site" and len(site.job) > 1:
        raise refused(f"site.{site.name}.job", "other jobs draw as well: leave them out, or set fit.measured = 'job'")
    return i, j


def _at(scenario: schema.Scenario, place: tuple[int, int]) -> tuple[schema.Site, TrainingJob]:
    site = scenario.site[place[0]]
    job = site.job[place[1]]
    assert isinstance(job, TrainingJob)
    return site, job


def _row_s(recorded_s: float, iteration_s: float, job: TrainingJob) -> float:
    """Length of the rows that are compared: as many recorded ones together as leave ROWS to an iteration and two to
    the accelerators' response and to the noise's correlation, which are to be told from them."""
    within_s = min(job.accelerator.response_s or np.inf, job.workload.noise_correlation_s)
    return recorded_s * max(1, int(min(iteration_s / ROWS, 0.5 * within_s) / recorded_s + 1e-9))


def _at_tick(scenario: schema.Scenario, job: TrainingJob, row_s: float) -> schema.Scenario:
    """The scenario at an even part of a row: no longer than the accelerators' response, no shorter than CONFIG's."""
    longest_s = min(row_s / FINER, job.accelerator.response_s or np.inf)
    return tick_of(scenario, row_s, max(scenario.run.dt_s, longest_s))[0]


def _spelled_out(scenario: schema.Scenario, place: tuple[int, int]) -> schema.Scenario:
    """The scenario with the job's phases written out where a model gives them, and free to add up to what they will."""
    _, job = _at(scenario, place)
    plain = job.workload.model_copy(update={"iteration_s": None})
    if job.workload.model is not None:
        stages = job.workload.model.pipeline_parallel
        plain = plain.model_copy(update={"model": None, "phase": phases_of(job), "pipeline_stages": stages})
    return tunables.replaced(scenario, ("site", place[0], "job", place[1], "workload"), plain)


def _parameters(scenario: schema.Scenario, place: tuple[int, int]) -> tuple[tuple[Parameter, ...], tuple[str, ...]]:
    """What the search moves, and the dotted paths of what moments give."""
    site, job = _at(scenario, place)
    at = f"site.{site.name}.job.{job.name}"
    if not (scenario.fit and scenario.fit.parameters):
        noises = tuple(f"{phase}.noise" for phase in phase_paths(at, job.workload.phase))
        return tuple(job_parameters(scenario, at, job)), (
            f"{at}.workload.jitter",
            *noises,
            f"{at}.workload.noise_correlation_s",
        )
    searched, moments = [], []
    for i, parameter in enumerate(scenario.fit.parameters):
        path = tunables.resolve(scenario, parameter.path)
        if path[:4] != ("site", place[0], "job", place[1]):
            raise refused(f"fit.parameters.{i}.path", f"{parameter.path!r} is none of {at}, whose power was recorded")
        below = dotted(path[4:])
        if path[-1] in MOMENTS:
            moments.append(f"{at}.{below}")
        else:
            searched.append(parameter.model_copy(update={"path": f"{at}.{below}"}))
    if not searched:
        raise refused("fit.parameters", f"{', '.join(MOMENTS)} come from what a fit leaves over: name others as well")
    return tuple(searched), tuple(moments)


def _task(
    scenario: schema.Scenario,
    place: tuple[int, int],
    measured: str,
    parameters: tuple[Parameter, ...],
    period_s: float,
) -> Task:
    """The job by itself, every iteration like the others, for EMULATED iterations."""
    site, job = _at(scenario, place)
    chain = schema.Facility()
    if measured == "site":
        stiff = {"ride_through": None, "constant_impedance_fraction": 0.0, "constant_current_fraction": 0.0}
        chain = site.facility.model_copy(update=stiff)
    bare = schema.Site(name=site.name, job=(job,), facility=chain)
    its = waveform.alone(scenario, bare, job)
    ticks = int(np.ceil(EMULATED * period_s / its.run.dt_s))
    run = its.run.model_copy(update={"duration_s": seconds_at(ticks, its.run.dt_s)})
    its = sound(its.model_copy(update={"run": run}), "fit")
    return task_of(its, parameters, {}, lambda layout: inputs_of(its, {}, 0, whole_chunks(layout, ticks)))


def _search(emulation: Emulation, record: Record, progress: Callable[[float], object]) -> tuple[Solution, Record]:
    """The optimum, and the record with its iterations as the optimum sees them."""
    task = emulation.task
    place = np.append(task.coordinates(task.start), 0.0)
    begins_s, length_s, mean = emulation.iteration(place)
    _same_size(record, float(mean(np.zeros(1), length_s)[0]))
    place[-1] = _first_shift(record, mean, length_s) / SHIFT
    found = _stages(emulation, record, place, begins_s, SMOOTHED[:-1], EVALUATIONS[:-1], GAINS, progress)
    for gain in LAST_GAINS:
        if not found.complete:
            break
        begins_s, _, mean = emulation.iteration(found.place)
        record = replace(record, iterations=_seen_by(record, mean))
        place = np.append(found.place[:-1], 0.0)
        found = _stages(emulation, record, place, begins_s, SMOOTHED[-1:], EVALUATIONS[-1:], (gain,), progress)
    return found, record


def _same_size(record: Record, emulated_mw: float) -> None:
    """Refuse a recording whose power no levels could make of the configuration."""
    recorded_mw = float(record.values.mean())
    if not emulated_mw / TOO_FAR < recorded_mw < emulated_mw * TOO_FAR:
        raise FitError(
            f"the recording's mean is {recorded_mw:.4g} MW, that of CONFIG {emulated_mw:.4g} MW: are --unit, "
            "fit.measured, the number of devices and their power right?"
        )


def _first_shift(record: Record, mean: Callable[[np.ndarray, float], np.ndarray], length_s: float) -> float:
    """By what share of an iteration the emulation is ahead of the record: circular correlation of mean iterations."""
    its, count = record.iterations, 256
    share = np.arange(count) / count
    rows_s = np.arange(len(record.values)) * record.row_s
    at_s = its.start_s[:, None] + share * its.length_s[:, None]
    recorded = np.interp(at_s, rows_s, record.values).mean(axis=0)
    emulated = mean(share * length_s, length_s / count)
    waves = [np.fft.rfft(each - each.mean()) for each in (recorded, emulated)]
    alike = np.fft.irfft(np.conj(waves[0]) * waves[1])
    best = int(np.argmax(alike))
    return (best - count if best > count // 2 else best) / count


def _stages(
    emulation: Emulation,
    record: Record,
    place: np.ndarray,
    begins_s: float,
    widths: tuple[float, ...],
    evaluations: tuple[int, ...],
    gains: tuple[float, ...],
    progress: Callable[[float], object],
) -> Solution:
    """One search after another, residuals smoothed by Gaussians of so many iterations."""
    period_s = record.iterations.period_s
    where, inside = record.places(begins_s)
    bounds = bounds_of(emulation.task)
    found: Solution | None = None
    for width, most, gain in zip(widths, evaluations, gains, strict=True):
        compared = partial(_smoothed, inside=inside, rows=width * period_s / record.row_s)
        found = solve(
            lambda x, f=compared: f(emulation.rows(x, where) - record.values),
            lambda x, f=compared: f(emulation.slopes(x, where)),
            place, bounds, most, progress, gain,
        )  # fmt: skip
        place = found.place
        if not found.complete:
            break
    assert found is not None
    return found


def _smoothed(values: np.ndarray, inside: np.ndarray, rows: float) -> np.ndarray:
    """(n, ...) of (rows, ...) values those inside; or all, the others 0, smoothed by a Gaussian of so many rows, a few
    rows together."""
    if not rows:
        return values[inside]
    block = max(1, int(rows / FINE))
    count = len(values) // block
    values = np.where(inside if values.ndim == 1 else inside[:, None], values, 0.0)[: count * block]
    means = values.reshape(count, block, *values.shape[1:]).mean(axis=1)
    return gaussian_filter1d(means, rows / block, axis=0, mode="nearest")


def _seen_by(record: Record, mean: Callable[[np.ndarray, float], np.ndarray]) -> Iterations:
    """The record's iterations, each beginning where it is closest to the emulated one's beginning."""
    period_s, row_s = record.iterations.period_s, record.row_s
    half = int(round(0.5 * period_s / row_s))
    seen = partial(record.seen, mean)
    template = seen(np.arange(-half, half + 1) * row_s)
    times = fit_iterations.alike(record.values, row_s, template, period_s)
    fine = fit_iterations.closest(record.values, row_s, times, 0.25 * period_s, seen)
    return fit_iterations.iterations_at(fine)
