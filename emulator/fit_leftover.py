"""What a search leaves over: errors of its parameters, jitter of the iterations, noise of the phases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.stats import linregress

from emulator import schema, tunables
from emulator.complaint import Path
from emulator.fit_emulation import Emulation, Luck, Record, bounds_of
from emulator.fit_errors import by_groups, root_error
from emulator.fit_iterations import Iterations, noise_of
from emulator.fit_problem import phase_paths
from emulator.fit_result import Estimate, Fitted, estimates_of, held, opened, with_estimates
from emulator.fit_schema import Fit
from emulator.fit_solve import Solution, information
from emulator.jobs_schema import Phase, TrainingJob
from emulator.topology import rack_size, server_power_w

WITHIN = 0.995  # share of the job that is in a phase where the phase's fluctuation is looked at
FEW_ROWS = 3  # of a phase, below which its level and its edges cannot be told apart
BY_CHANCE = 1e-3  # probability of a drift as large as seen by chance alone, below which it is told
MOST_JITTER = 0.15  # that a configuration takes


def fitted(
    scenario: schema.Scenario,
    job: TrainingJob,
    at: str,
    emulation: Emulation,
    record: Record,
    found: Solution,
    moments: tuple[str, ...],
) -> Fitted:
    """The result of a search: its own estimates and those that moments give.

    Args:
      at: dotted path of the job.
      moments: dotted paths of what is wanted of the latter.
    """
    task, its = emulation.task, record.iterations
    where, inside = record.places(emulation.iteration(found.place)[0])
    rows = emulation.rows(found.place, where)
    plain = replace(
        found, residual=(rows - record.values)[inside], jacobian=emulation.slopes(found.place, where)[inside]
    )
    bounds = bounds_of(task)
    moving = np.array([bound == "" for bound in held(found.place, bounds)])
    which = its.of(np.arange(len(record.values)) * record.row_s)
    says = information(plain, moving, lambda basis, left: by_groups(basis, left, which[inside]))
    luck = emulation.luck(found.place)
    found_so_far = estimates_of(task, plain, says, bounds)
    now = tunables.value_at(with_estimates(scenario, found_so_far), tunables.resolve(scenario, f"{at}.workload.phase"))
    few = 0.5 / luck.summed + 1.0 / (job.devices * len(its.length_s))  # two iterations emulated, all recorded
    estimates = [_with_luck(each, tunables.resolve(scenario, each.name), now, its, luck, few) for each in found_so_far]
    residual = np.where(inside, record.values - rows, 0.0)
    shares = emulation.shares(found.place, where) * _per_level(job) * inside[:, None]
    common, count = _common_shape(record, inside, residual)
    shares[count < 2] = 0.0
    apart = (residual - common) * np.sqrt(count / np.maximum(count - 1, 1))
    change_mw = np.abs(np.diff(rows, prepend=rows[0], append=rows[-1]))
    flatter_mw = np.minimum(change_mw[:-1], change_mw[1:]) * inside  # of a row's two sides
    astray_mw = flatter_mw * luck.length_s / record.row_s
    noises = _noises(scenario, job, at, shares, apart, which, astray_mw, record)
    every = {**_jitter(at, job, its, luck.length_s), **noises}
    estimates += [every[name] for name in moments if name in every]
    return Fitted(
        scenario=with_estimates(scenario, estimates),
        quantity="power",
        place=at,
        estimates=tuple(estimates),
        open=opened(says.open, tuple(parameter.path for parameter in task.parameters)),
        notes=(
            *_notes(record, now, task.layout.dt_s, _mean_square(common, apart, count)),
            *_drift(its, which[inside], residual[inside]),
        ),
        time_s=np.arange(len(record.values)) * record.row_s,
        measured=record.values,
        fitted=np.where(inside, rows, np.nan),
        row_s=record.row_s,
        message=found.message,
        complete=found.complete,
    )


def _with_luck(
    estimate: Estimate, path: Path, phases: tuple[Phase, ...], its: Iterations, luck: Luck, few: float
) -> Estimate:
    """With the error of few draws, recorded and emulated.

    Args:
      path: of the estimate in the scenario.
      few: share of the variance of one device that is left in means over those recorded and emulated; of that of their
        s.d., half as much (1/2n).
    """
    drawn = 0.0
    if path[-1] == "duration_s":
        drawn = _length_luck_s(estimate.value, int(path[-2]), phases, its, luck, few)
    elif path[-1] in ("spread_s", "release_skew_s"):
        drawn = np.hypot(estimate.value * np.sqrt(0.5 * few), luck.bent_s)
    elif path[-1] == "wait_level":
        drawn = (phases[int(path[-2])].level - estimate.value) * luck.scatter**2
    return replace(estimate, deviation=float(np.hypot(estimate.deviation, drawn)))


def _length_luck_s(
    duration_s: float, p: int, phases: tuple[Phase, ...], its: Iterations, luck: Luck, few: float
) -> float:
    """S.d. of the length of phase p from few draws: of jitter, which stretches all phases alike; of how long all happen
    to wait for the slowest, which is in the phase that ends so and stretches the others; of where devices are in the
    mean, which a phase that ends at a barrier takes up for all before it."""
    root, phase = np.sqrt(len(its.length_s)), phases[p]
    own = phases if phase.barrier else (phase,)
    apart_s2 = sum(each.spread_s**2 for each in own) + phases[(p + 1) % len(phases)].release_skew_s ** 2 / 12.0
    waited_s = np.hypot(luck.length_s / root, luck.emulated_s) * (1.0 if phase.barrier else duration_s / its.period_s)
    return float(np.sqrt((duration_s * its.jitter / root) ** 2 + waited_s**2 + apart_s2 * few))


def _jitter(at: str, job: TrainingJob, its: Iterations, luck_s: float) -> dict[str, Estimate]:
    """S.d. of the lengths, less that of waiting for the slowest device, which the emulator draws by itself."""
    variance = its.jitter**2 - (luck_s / its.period_s) ** 2
    value = min(float(np.sqrt(max(variance, 0.0))), MOST_JITTER)
    # Of a variance of so many draws, and of what is taken off: starts being found by what is about them, lengths show
    # the waits in part only. Even odds from nothing to twice as much (GUM, JCGM 100:2008, 4.3.7).
    unsure = np.hypot(
        its.jitter**2 * np.sqrt(2.0 / (len(its.length_s) - 1)), (luck_s / its.period_s) ** 2 / np.sqrt(3.0)
    )
    error = root_error(np.array(value), np.array(unsure))
    name = f"{at}.workload.jitter"
    bound = "high" if value == MOST_JITTER else ""
    return {name: Estimate(name, job.workload.jitter, value, float(error), len(its.length_s) - 1, bound, True)}


def _noises(
    scenario: schema.Scenario,
    job: TrainingJob,
    at: str,
    shares: np.ndarray,
    residual: np.ndarray,
    which: np.ndarray,
    astray_mw: np.ndarray,
    record: Record,
) -> dict[str, Estimate]:
    """Noise of every phase that is long enough to tell, and its correlation time.

    Args:
      shares: (rows, phases) MW per unit of level in each phase, 0 in rows that do not count.
      residual: (rows,) MW.
      which: (rows,) the iteration of each.
      astray_mw: (rows,) what iterations a little off their places make.
    """
    workload, whole_mw, freedom = job.workload, shares.max(), int(which.max())
    phase = np.where(shares.max(axis=1) >= WITHIN * whole_mw, shares.argmax(axis=1), -1)
    given_s, lengths_s = workload.noise_correlation_s, (record.row_s, record.average_s)
    found = noise_of(residual, astray_mw, phase, which, len(workload.phase), lengths_s, given_s)
    scale_mw = whole_mw * np.sqrt(_coherent(scenario, job))
    estimates = {}
    for i, (path, its) in enumerate(zip(phase_paths(at, workload.phase), workload.phase, strict=True)):
        if np.isfinite(found.deviation[i]):
            value, error = found.deviation[i] / scale_mw, found.deviation_error[i] / scale_mw
            estimates[f"{path}.noise"] = Estimate(
                f"{path}.noise", its.noise, float(value), float(error), freedom, root=True
            )
    if np.isfinite(found.correlation_s) and any(each.value > 0.0 for each in estimates.values()):
        name = f"{at}.workload.noise_correlation_s"
        estimates[name] = Estimate(name, given_s, found.correlation_s, found.correlation_error_s, freedom)
    return estimates


def _coherent(scenario: schema.Scenario, job: TrainingJob) -> float:
    """Share of the noise's variance that shows in the mean over the devices that were measured."""
    measured, coherence = (scenario.fit or Fit()).measured, job.workload.noise_coherence
    devices = {"device": 1, "rack": rack_size(job)}.get(measured, job.devices)
    return coherence + (1.0 - coherence) / devices


def _per_level(job: TrainingJob) -> float:
    """Change of a level as a share of the device's range, per change of the level as the workload gives it."""
    if job.workload.level_of == "range":
        return 1.0
    idle_w, peak_w = (server_power_w(job.accelerator, w) for w in (job.accelerator.idle_w, job.accelerator.tdp_w))
    return peak_w / (peak_w - idle_w)


def _common_shape(record: Record, inside: np.ndarray, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows,) mean of the residuals at the same place of every iteration, and of how many; 0 for rows that do not
    count."""
    its, rows_s = record.iterations, np.arange(len(residual)) * record.row_s
    which = its.of(rows_s)
    bins = max(1, int(its.period_s / record.row_s))
    place = np.clip(((rows_s - its.start_s[which]) / its.length_s[which] * bins).astype(int), 0, bins - 1)
    count = np.bincount(place[inside], minlength=bins)
    mean = np.bincount(place[inside], residual[inside], bins) / np.maximum(count, 1)
    return np.where(inside, mean[place], 0.0), np.where(inside, count[place], 0)


def _mean_square(common: np.ndarray, apart: np.ndarray, count: np.ndarray) -> float:
    """Of what is the same in every iteration, less what a mean over so many has of the rest."""
    rows = count > 1
    return float(np.mean(common[rows] ** 2 - apart[rows] ** 2 / count[rows])) if rows.any() else 0.0


def _drift(its: Iterations, which: np.ndarray, residual: np.ndarray) -> tuple[str, ...]:
    """A warning where the residual's mean over iterations goes one way: levels and noise then contain that."""
    mean_mw = np.bincount(which, residual) / np.bincount(which)
    slope, _, _, chance, _ = map(float, linregress(its.start_s, mean_mw))
    if not chance < BY_CHANCE:
        return ()
    drift_mw = slope * np.ptp(its.start_s)
    return (
        f"warning: the recording drifts by {drift_mw:+.3g} MW; levels and noise contain it: take a trend off first",
    )


def _notes(record: Record, phases: tuple[Phase, ...], dt_s: float, common_mw2: float) -> tuple[str, ...]:
    """How the record was read, what kind of residual is left, and which phases the record is too coarse for.

    Args:
      common_mw2: mean square of what is the same in every iteration.
    """
    its, row_s = record.iterations, max(record.row_s, record.average_s)
    short = ", ".join(phase.name or str(i) for i, phase in enumerate(phases) if phase.duration_s < FEW_ROWS * row_s)
    out = f", {its.left_out} left out as unlike the others" if its.left_out else ""
    same_mw = np.sqrt(max(common_mw2, 0.0))
    return (
        f"{len(its.length_s)} iterations of {its.period_s:.5g} s{out}; emulated at ticks of {1e3 * dt_s:.4g} ms",
        f"of the residual {same_mw:.3g} MW rms is the same in every iteration: what the phases' shape does not show",
        *([f"warning: means over {row_s:.4g} s are too long to tell these phases: {short}"] if short else []),
    )
