"""What a fit moves, and what the emulation makes of it: numbers of the configuration to rows of power or frequency.

Parameters are named and bounded as in [tune]. A fit works in coordinates in which a step of one means as much for each:
the logarithm of a parameter on a log scale, otherwise its value over half the width of its bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from emulator import rules, schema, tunables
from emulator.complaint import ConfigError, Path, Problem, dotted
from emulator.frame import Frame
from emulator.jobs_schema import Phase, TrainingJob
from emulator.plant import Inputs, Layout, Params
from emulator.rollout import initial_state, rollout
from emulator.scenario import Records, layout_of, params_of, shortest
from emulator.struct import as_array
from emulator.tune_schema import Parameter

PARTS = (1, 2, 4, 5, 8, 10, 16, 20, 25, 32, 40, 50, 64, 80, 100, 125, 200, 250, 400, 500, 1000)  # ticks of a row
GOVERNOR_KEYS: Mapping[str, tuple[str, ...]] = {  # what a recording of a disturbance can tell, limits left out
    "reheat": ("droop_pu", "reheat_s"),  # hp_fraction trades off with droop_pu and the area's damping_pu, exactly
    "lag": ("droop_pu", "lag_s"),
    "tgov1": ("droop_pu", "t1_s", "t2_s", "t3_s"),
    "gast": ("droop_pu", "t1_s", "t2_s"),
    "ieeeg1": ("k", "t1_s", "t3_s", "t4_s", "t5_s"),
    "hygov": ("droop_pu", "temporary_droop_pu", "tr_s", "tg_s", "tw_s"),
    "engine": ("droop_pu", "proportional_gain", "integral_gain_per_s", "actuator_s", "boost_s"),
    "none": (),
}
WIDE, NARROW = 10.0, 5.0  # factors about the start within which time constants of edges, and all others, are looked for
SPREAD_SHARE = 6.001  # a phase lasts at least so many times its spread, so that no device's own duration is negative
LEVEL = 0.6  # either side of the start


def refused(path: str, message: str) -> ConfigError:
    """An error about [fit], or about what it needs."""
    return ConfigError([Problem("config", None, path, message)])


@dataclass(frozen=True)
class Task:
    """An emulation whose parameters move."""

    scenario: schema.Scenario
    parameters: tuple[Parameter, ...]
    paths: tuple[Path, ...]  # in the scenario
    layout: Layout
    records: Records
    inputs: Inputs

    @property
    def start(self) -> np.ndarray:
        """(parameters,) values of the configuration."""
        return np.array([tunables.value_at(self.scenario, path) for path in self.paths], np.float64)

    @property
    def log(self) -> np.ndarray:
        """(parameters,) whether on a log scale."""
        return np.array([parameter.scale == "log" for parameter in self.parameters], bool)

    @property
    def unit(self) -> np.ndarray:
        """(parameters,) of a linear scale: half the width of the bounds."""
        return np.array([0.5 * (parameter.high - parameter.low) for parameter in self.parameters])

    def coordinates(self, values: np.ndarray) -> np.ndarray:
        """(parameters,) of values."""
        return np.where(self.log, np.log(np.where(self.log, values, 1.0)), values / self.unit)

    def values(self, coordinates: np.ndarray) -> np.ndarray:
        """(parameters,) at coordinates."""
        return np.where(self.log, np.exp(np.where(self.log, coordinates, 0.0)), coordinates * self.unit)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest coordinates."""
        low, high = (np.array([getattr(p, end) for p in self.parameters]) for end in ("low", "high"))
        return self.coordinates(low), self.coordinates(high)

    def params(self, coordinates: jax.Array) -> Params:
        """Parameters of the plant; traced coordinates will do."""
        log, unit = jnp.asarray(self.log), as_array(self.unit)
        values = jnp.where(log, jnp.exp(jnp.where(log, coordinates, 0.0)), coordinates * unit)
        return params_of(tunables.with_values(self.scenario, dict(zip(self.paths, values, strict=True))), self.records)

    def frames(self, params: Params, seed: jax.Array | None = None) -> Frame:
        """Frames of the emulation; with a seed of its own if given."""
        inputs = self.inputs if seed is None else replace(self.inputs, seed=seed)
        return rollout(self.layout, params, initial_state(self.layout, params), inputs)[1]


def task_of(
    scenario: schema.Scenario,
    parameters: tuple[Parameter, ...],
    records: Records,
    inputs_of_layout: Callable[[Layout], Inputs],
) -> Task:
    """The task, its layout good for all values between the bounds.

    Raises:
      ConfigError: a parameter that is part of the structure, or is none.
    """
    paths: list[Path] = []
    for i, parameter in enumerate(parameters):
        try:
            paths.append(tunables.tunable(scenario, parameter.path))
        except tunables.PathError as error:
            raise refused(f"fit.parameters.{i}.path", str(error)) from error
    ends = [
        tunables.with_values(scenario, {path: getattr(p, end) for path, p in zip(paths, parameters, strict=True)})
        for end in ("low", "high")
    ]
    layout = shortest([layout_of(each) for each in (*ends, scenario)])
    for parameter, path in zip(parameters, paths, strict=True):
        for value in (parameter.low, parameter.high):
            try:
                other = sound(tunables.replaced(scenario, path, value), parameter.path)
            except tunables.PathError as error:
                raise refused(parameter.path, str(error)) from error
            if shortest([layout_of(other), layout]) != layout:
                message = f"{parameter.path!r} at {value:g} changes the structure: keep its bounds on one side of that"
                raise refused("fit.parameters", message)
    return Task(scenario, parameters, tuple(paths), layout, records, inputs_of_layout(layout))


def sound(scenario: schema.Scenario, path: str) -> schema.Scenario:
    """The scenario, if it keeps every rule.

    Raises:
      ConfigError: it breaks one.
    """
    try:
        scenario = tunables.checked(scenario.model_copy(update={"fit": None, "tune": None, "sweep": None}))
    except tunables.PathError as error:
        raise refused(path, str(error)) from error
    for where, message in rules.broken(scenario):
        raise refused(path, f"then {dotted(where)} {message}")
    return scenario


def tick_of(scenario: schema.Scenario, row_s: float, longest_s: float) -> tuple[schema.Scenario, int]:
    """The scenario at the longest tick, an even part of a row, that is at most `longest_s`, and how many make a row."""
    for parts in PARTS:
        dt_s = round(row_s / parts, 12)
        if dt_s <= longest_s * (1.0 + 1e-9) and abs(dt_s * parts - row_s) < 1e-12:
            chunk = parts * max(1, 100 // parts)
            run = scenario.run.model_copy(update={"dt_s": dt_s, "chunk_ticks": chunk})
            return scenario.model_copy(update={"run": run}), parts
    raise refused("run.dt_s", f"is {longest_s:g} s: too short a tick for rows of {row_s:g} s")


def job_parameters(scenario: schema.Scenario, at: str, job: TrainingJob) -> Iterator[Parameter]:
    """What a recording of power can tell of a job: lengths and levels of its phases, and what shapes their edges.

    The accelerator's powers and the devices are left out: they scale all levels alike.

    Args:
      at: dotted path of the job.
    """
    phases = job.workload.phase
    device = job.accelerator
    most = device.edp_fraction
    if job.workload.level_of == "range":
        most = (device.edp_fraction * device.tdp_w - device.idle_w) / (device.tdp_w - device.idle_w)
    for path, phase in zip(phase_paths(at, phases), phases, strict=True):
        yield _log(f"{path}.duration_s", phase.duration_s, NARROW, SPREAD_SHARE * phase.spread_s)
        for key in ("level", "wait_level"):
            if (level := getattr(phase, key)) is not None:
                yield _linear(f"{path}.{key}", level, LEVEL, -1.0, most)
        if phase.spread_s > 0.0:
            yield _log(f"{path}.spread_s", phase.spread_s, WIDE, 0.0, phase.duration_s / SPREAD_SHARE)
        if phase.release_skew_s > 0.0:
            yield _log(f"{path}.release_skew_s", phase.release_skew_s, WIDE)
    if (response_s := job.accelerator.response_s) > 0.0:
        yield _log(f"{at}.accelerator.response_s", response_s, WIDE, scenario.run.dt_s, 10.0)


def phase_paths(at: str, phases: tuple[Phase, ...]) -> list[str]:
    """Dotted paths of the phases of the job at `at`: by name where that is clear."""
    names = [phase.name for phase in phases]
    clear = [names.count(name) == 1 and "." not in name and not name.isdigit() for name in names]
    return [
        f"{at}.workload.phase.{name if plain else i}" for i, (name, plain) in enumerate(zip(names, clear, strict=True))
    ]


def area_parameters(scenario: schema.Scenario, name: str) -> Iterator[Parameter]:
    """What a recording of frequency under a known load can tell of an area: H, D and how its governors answer.

    A gain, the rating and the loss factor are left out: only their ratio to the others shows.
    """
    area = next(each for each in scenario.grid.area if each.name == name)
    at = f"grid.area.{name}"
    if area.inertia_s > 0.0:
        yield _log(f"{at}.inertia_s", area.inertia_s, NARROW, 0.0, 1e3)
    yield _linear(f"{at}.damping_pu", area.damping_pu, max(10.0, 2.0 * area.damping_pu), 0.0, 1e3)
    for i, governor in enumerate(area.governor):
        for key in GOVERNOR_KEYS[governor.model]:
            if (value := getattr(governor, key)) > 0.0:
                shortest_s = 2.002 * scenario.run.dt_s if key.endswith("_s") and not key.endswith("_per_s") else 0.0
                yield _log(f"{at}.governor.{i}.{key}", value, WIDE, shortest_s)


def _log(path: str, start: float, factor: float, low: float = 0.0, high: float = 1e5) -> Parameter:
    return Parameter(path=path, low=max(start / factor, low), high=min(start * factor, high), scale="log")


def _linear(path: str, start: float, reach: float, low: float, high: float) -> Parameter:
    return Parameter(path=path, low=max(start - reach, low), high=min(start + reach, high), scale="linear")
