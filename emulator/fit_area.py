"""An area of the grid from its frequency: inertia, damping and governors, under a load that was recorded or is given.

The emulation runs under the recorded draws of the sites, or under what the configuration's replayed and constant jobs
and its disturbances draw, and its frequency is compared with the recorded one. A constant offset of the recording, from
the nominal frequency or of its meter, is found along with the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from emulator import fit_data, fit_noise, schema
from emulator.clock import seconds_at
from emulator.complaint import nearest
from emulator.fit_data import Columns, Series
from emulator.fit_iterations import FitError
from emulator.fit_mixture import factors, mixed
from emulator.fit_noise import Likely
from emulator.fit_problem import Task, area_parameters, refused, sound, task_of, tick_of
from emulator.fit_result import Fitted, estimates_of, held, opened, with_estimates
from emulator.fit_solve import information, solve
from emulator.jobs_schema import ConstantJob, InferenceJob, TrainingJob
from emulator.plant import Inputs, Layout
from emulator.scenario import inputs_of, jobs_of, records_of
from emulator.simulate import whole_chunks
from emulator.struct import as_array
from emulator.units import counted

FEWEST_ROWS = 20  # and one for each number that is fitted
MOST_EVALUATIONS = 60
LONG = 0.05  # share of the record, as found, beyond which noise may be too long to tell its errors (docs/fit.md)
LIKELY, WIDER = 0.1, 1.5  # weight of a noise, and factor that it makes of an error, from which on it is warned of
FLAT_HZ = 1e-6  # a recording that moves by less says nothing
OFFSET_SHARE = 1.0  # of the recording's range: how far an offset is looked for either side


def fit(scenario: schema.Scenario, path: Path, columns: Columns, progress: Callable[[float], object]) -> Fitted:
    """Fit an area to a recording of its frequency.

    Raises:
      ConfigError: [fit] names what is not there, or what cannot move.
      TraceError: a recording that cannot be read, or lacks the channel.
      FitError: one that says nothing.
    """
    area = _area(scenario)
    measured = fit_data.frequency(path, columns, area)
    loads = fit_data.loads(path, columns, tuple(site.name for site in scenario.site))
    row_s = measured.row_s
    rows = int(measured.time_s[-1] / row_s + 1e-9) + 1
    time_s = np.arange(rows) * row_s
    values = np.interp(time_s, measured.time_s, measured.values)
    task, parts = _task(scenario, area, loads, row_s, rows)
    _check(path, values, row_s, FEWEST_ROWS + len(task.paths))
    place = [each.name for each in scenario.grid.area].index(area)
    nominal_hz, reach_hz = scenario.grid.frequency_hz, OFFSET_SHARE * float(np.ptp(values))

    def model(coordinates: jax.Array) -> jax.Array:
        frames = task.frames(task.params(coordinates[:-1]))
        return nominal_hz * (1.0 + frames.speed_pu[:rows, place]) + reach_hz * coordinates[-1]

    emulated = jax.jit(model)
    slopes = jax.jit(lambda x: jax.lax.map(lambda e: jax.jvp(model, (x,), (e,))[1], jnp.eye(len(x), dtype=x.dtype)).T)
    low, high = task.bounds()
    bounds = np.append(low, -1.0), np.append(high, 1.0)
    start = np.append(task.coordinates(task.start), np.clip((values[0] - nominal_hz) / reach_hz, -0.99, 0.99))
    found = solve(
        lambda x: np.asarray(emulated(as_array(x)), np.float64) - values,
        lambda x: np.asarray(slopes(as_array(x)), np.float64),
        start, bounds, MOST_EVALUATIONS, progress,
    )  # fmt: skip
    if not np.isfinite(found.residual).all():
        raise FitError("the emulated frequency is not finite at the best values found: narrow the bounds")
    moving = np.array([bound == "" for bound in held(found.place, bounds)])
    noises = fit_noise.likely(found.jacobian[:, moving], found.residual)
    every = [information(found, moving, noise.spread) for noise in noises]
    says = mixed(every, np.array([noise.weight for noise in noises]))
    estimates = estimates_of(task, found, says, bounds)
    given = "the recorded load" if loads else "the load that CONFIG gives"
    notes = (
        f"emulated at ticks of {1e3 * row_s / parts:.4g} ms under {given}",
        f"the recording lies {1e3 * reach_hz * found.place[-1]:+.2f} mHz off {nominal_hz:g} Hz and what is emulated",
        *said(noises, factors(every, says), row_s, len(values)),
    )
    return Fitted(
        scenario=with_estimates(scenario, estimates),
        quantity="frequency",
        place=area,
        estimates=estimates,
        open=opened(says.open, tuple(parameter.path for parameter in task.parameters)),
        notes=notes,
        time_s=time_s,
        measured=values,
        fitted=values + found.residual,
        row_s=row_s,
        message=found.message,
        complete=found.complete,
    )


def said(noises: Sequence[Likely], factors: np.ndarray, row_s: float, rows: int) -> list[str]:
    """What the errors take the residual to be, and warnings where that may well be otherwise.

    Args:
      factors: (noises,) by how much errors would be larger than stated, were it this one.
    """
    first, others = noises[0], len(noises) - 1
    share = max(first.process.correlation_rows()) / rows
    also = f" ({first.weight:.0%}), or of {counted(others, 'other kind')}" if others else ""
    notes = [f"errors take the residual as {first.said(row_s)}{also}"]
    if share > LONG:
        notes.append(
            f"warning: that is {share:.2g} of the recording, too short to tell how slow the noise is: intervals for "
            "68 % may hold as few as 53 %, those for 95 % 87 %"
        )
    worst = int(np.argmax([noise.weight * (factor >= WIDER) for noise, factor in zip(noises, factors, strict=True)]))
    if factors[worst] >= WIDER and noises[worst].weight >= LIKELY:
        notes.append(
            f"warning: the recording does not rule out {noises[worst].said(row_s)} ({noises[worst].weight:.0%}): "
            f"errors would be {factors[worst]:.1f} times as large"
        )
    return notes


def _area(scenario: schema.Scenario) -> str:
    if scenario.fit and scenario.fit.average_s is not None:
        raise refused("fit.average_s", "is of a recorded power, and a frequency is fitted: leave it out")
    names = [area.name for area in scenario.grid.area]
    wanted = scenario.fit.area if scenario.fit else None
    if not names:
        raise refused("grid.area", "missing table: a frequency is fitted by an area, give one to start from")
    if wanted is None and len(names) > 1:
        raise refused("fit.area", f"missing key: whose frequency was recorded? areas: {', '.join(names)}")
    if wanted is not None and wanted not in names:
        raise refused("fit.area", f"no area {wanted!r}{nearest(wanted, names)}")
    return wanted or names[0]


def _check(path: Path, values: np.ndarray, row_s: float, fewest: int) -> None:
    if len(values) < fewest:
        raise FitError(f"{path} holds {counted(len(values), 'row')} of {row_s:g} s, at least {fewest} are needed")
    if np.ptp(values) < FLAT_HZ:
        raise FitError(f"{path}: the recorded frequency does not move: it says nothing of the area")


def _task(
    scenario: schema.Scenario, area: str, loads: Mapping[str, Series], row_s: float, rows: int
) -> tuple[Task, int]:
    """The emulation, and how many ticks make one of its rows."""
    fed = _fed(scenario, loads) if loads else _given(scenario)
    fed, parts = tick_of(fed, row_s, scenario.run.dt_s)
    run = fed.run.model_copy(update={"duration_s": seconds_at(rows * parts, fed.run.dt_s)})
    fed = sound(fed.model_copy(update={"run": run, "record": schema.Record(every_ticks=parts)}), "fit")
    chosen = (scenario.fit.parameters if scenario.fit else ()) or tuple(area_parameters(fed, area))
    records = records_of(fed)

    def inputs(layout: Layout) -> Inputs:
        ticks = whole_chunks(layout, rows * parts)
        plain = inputs_of(fed, records, 0, ticks)
        if not loads:
            return plain
        names = [site.name for site, _ in jobs_of(fed)]
        power = [loads[name].means(0, ticks, fed.run.dt_s) for name in names]
        return replace(plain, given_mw=as_array(np.stack(power, axis=1)))

    return task_of(fed, chosen, records, inputs), parts


def _fed(scenario: schema.Scenario, loads: Mapping[str, Series]) -> schema.Scenario:
    """The scenario with each site drawing what was recorded of it, and nothing else at the sites."""
    areas = {site.name: site.area for site in scenario.site}
    sites = tuple(
        schema.Site(name=name, area=areas.get(name), job=(ConstantJob(name="recorded", kind="constant", power_mw=0.0),))
        for name in loads
    )
    apart = tuple(each for each in scenario.disturbance if getattr(each, "area", None) or not hasattr(each, "site"))
    return scenario.model_copy(update={"site": sites, "disturbance": apart})


def _given(scenario: schema.Scenario) -> schema.Scenario:
    """The scenario, if what its jobs draw is known."""
    for site, job in jobs_of(scenario):
        if isinstance(job, TrainingJob | InferenceJob):
            raise FitError(
                f"what {site.name}/{job.name} drew meanwhile is not known: give the load with --power-column, "
                "a trace that holds it, or a replay job"
            )
    return scenario
