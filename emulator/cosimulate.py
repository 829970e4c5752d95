"""One emulation in co-simulation: a step of ticks at a time, between exchanges with a grid emulated elsewhere.

The physics and the account are those of `simulate`; only what drives them differs. Frequency and voltages are held over
a step at their values at its start; powers go out as means over the step, at its end. Both sides act on what the other
did in the step before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from emulator import schema
from emulator.account import Account
from emulator.clock import seconds_at, ticks_nearest
from emulator.cosim_schema import Cosim
from emulator.frame import Frame
from emulator.grid_schema import GenerationTrip, LoadStep, ScrChange, TieOutage, VoltageSag
from emulator.plant import Layout, Outside, Params
from emulator.rollout import State, Work, closed_loop, initial_state, job_power, part_of
from emulator.scenario import Records, inputs_of, layout_of, params_of, records_of
from emulator.simulate import WINDOW_TICKS, Outcome, Sink, record, run_ticks
from emulator.trace import Header

BLOCK_S = 1.0  # of the wall's clock, at most, before rows go to the sink: what a kill can cost
HIGHEST_PU = 2.0  # voltages and frequencies of no power system are above twice nominal: an error of units or of sign


class Draw(NamedTuple):
    """What the sites draw from the grid, means over a step; lagging Mvar positive."""

    mw: np.ndarray  # (sites,)
    mvar: np.ndarray  # (sites,)


class Given(NamedTuple):
    """What the grid gives for a step."""

    frequency_hz: np.ndarray  # (areas,), or (0,) where areas are emulated here
    voltage_pu: np.ndarray  # (sites of cosim.voltage_pu,) in the order of all sites


class PartnerError(Exception):
    """The grid is gone, or has given what cannot be."""


class Partner(Protocol):
    """The grid. Both calls return what holds over the step that begins.

    `begin` is told how to find what the sites draw at rest; `exchange`, what they drew in the step up to `time_s`.
    """

    def begin(self, draw_at: Callable[[Given], Draw]) -> Given: ...
    def exchange(self, time_s: float, draw: Draw) -> Given: ...


def sites_here(scenario: schema.Scenario, its: Cosim) -> schema.Scenario:
    """The scenario without what is emulated elsewhere: parts of areas and ties, and disturbances of either."""
    grid = scenario.grid
    if its.frequency_hz:
        bare = ("name", "rated_mva", "inertia_s")
        areas = tuple(type(area)(**{name: getattr(area, name) for name in bare}) for area in grid.area)
        grid = type(grid)(frequency_hz=grid.frequency_hz, base_mva=grid.base_mva, area=areas)
    here = tuple(it for it in scenario.disturbance if not _elsewhere(scenario, its, it))
    return scenario.model_copy(update={"grid": grid, "disturbance": here})


def _elsewhere(scenario: schema.Scenario, its: Cosim, it: object) -> bool:
    match it:
        case GenerationTrip() | LoadStep(site=None) | TieOutage():
            return bool(its.frequency_hz)
        case VoltageSag(site=site) | ScrChange(site=site):
            return (site or scenario.site[0].name) in its.voltage_pu
    return False


def not_used(scenario: schema.Scenario, its: Cosim) -> list[str]:
    """What of the scenario is left to the grid elsewhere, in words."""
    here = sites_here(scenario, its)
    gone = [f"disturbance.{i} ({it.kind})" for i, it in enumerate(scenario.disturbance) if it not in here.disturbance]
    return [*(["all of [grid] but names and nominal frequency"] if here.grid != scenario.grid else []), *gone]


def cosimulate(
    scenario: schema.Scenario,
    header: Header,
    sink: Sink,
    partner: Partner,
    progress: Callable[[int], object] = lambda ticks: None,
) -> Outcome:
    """Emulate the sites of a scenario (see `sites_here`) with a partner for their grid, into a sink; as
    `simulate.stream`. A partner that fails, or gives what is no frequency or voltage, ends the run there.

    Raises:
      SimulationError: the scenario asks for what the emulation cannot do.
    """
    entered = time.perf_counter()
    run = _Run.of(scenario)
    account = Account(scenario, header, run.layout)
    frames = _blocks(run, account, partner)
    return record(scenario, header, sink, run.params, account, frames, time.perf_counter() - entered, progress)


@dataclass(frozen=True)
class _Run:
    """A scenario, compiled."""

    scenario: schema.Scenario
    records: Records
    layout: Layout  # a chunk is a step
    params: Params
    window: int  # ticks for which the jobs' work is computed at once
    jobs: Callable[..., Work]
    step: Callable[..., tuple[State, Frame]]

    @classmethod
    def of(cls, scenario: schema.Scenario) -> _Run:
        """Compiles what the jobs do in a window, and a step of the closed loop."""
        assert scenario.cosim is not None
        records, layout = records_of(scenario), layout_of(scenario)
        params, ticks = params_of(scenario, records), ticks_nearest(scenario.cosim.step_s, layout.dt_s)
        layout = replace(layout, chunk_ticks=ticks)
        ordered = any(site.power_limit for site in scenario.site)  # jobs then do as the step before made the site order
        window = ticks if ordered else ticks * max(1, min(WINDOW_TICKS, run_ticks(scenario)) // ticks)
        state, inputs = initial_state(layout, params), inputs_of(scenario, records, 0, window)
        jobs = jax.jit(partial(job_power, layout))
        given = [site.name for site in scenario.site if site.name in scenario.cosim.voltage_pu]
        places = [given.index(site.name) if site.name in given else None for site in scenario.site]
        step = jax.jit(partial(_step, layout, places))
        rest = _held(scenario, nominal(scenario))
        jax.block_until_ready(step(params, state, jobs(params, state, inputs), np.int32(0), *rest))  # compiles both
        return cls(scenario, records, layout, params, window, jobs, step)


def _step(
    layout: Layout,
    places: list[int | None],
    params: Params,
    state: State,
    work: Work,
    begin: jax.Array,
    speed_pu: jax.Array,
    voltage_pu: jax.Array,
) -> tuple[State, Frame]:
    """The plant through the step that begins `begin` ticks into the jobs' window, the grid held.

    Args:
      places: of each site among the voltages given, None where it has none.
      speed_pu: (areas,) deviations, or (0,) where areas are emulated here.
      voltage_pu: (voltages given,).
    """
    ticks = layout.chunk_ticks
    speeds = jnp.broadcast_to(speed_pu, (ticks, *speed_pu.shape)) if speed_pu.size else None
    volts = tuple(None if place is None else jnp.broadcast_to(voltage_pu[place], (ticks,)) for place in places)
    return closed_loop(layout, params, state, part_of(work, begin, ticks), Outside(speeds, volts))


def nominal(scenario: schema.Scenario) -> Given:
    """What a grid gives at rest."""
    assert (its := scenario.cosim) is not None
    return Given(np.full(len(its.frequency_hz), scenario.grid.frequency_hz), np.ones(len(its.voltage_pu)))


def _held(scenario: schema.Scenario, given: Given) -> tuple[np.ndarray, np.ndarray]:
    """As `_step` takes it: the deviation is taken in float64."""
    kind = jnp.result_type(float)
    deviation = given.frequency_hz / scenario.grid.frequency_hz - 1.0
    return deviation.astype(kind), given.voltage_pu.astype(kind)


def _blocks(run: _Run, account: Account, partner: Partner) -> Iterator[tuple[int, Frame, State]]:
    """First tick, frames and last state of all steps that a second of the wall's clock has seen."""
    waiting: list[Frame] = []
    first, state, due_s = 0, None, time.perf_counter() + BLOCK_S
    ended: PartnerError | KeyboardInterrupt | None = None
    try:
        for frame, state in _steps(run, partner):
            waiting.append(frame)
            if time.perf_counter() > due_s:
                yield first, _joined(waiting), state
                first, waiting, due_s = int(state.tick), [], time.perf_counter() + BLOCK_S
    except (PartnerError, KeyboardInterrupt) as error:
        ended = error  # once what is waiting has been kept
    if waiting and state is not None:
        yield first, _joined(waiting), state
    if isinstance(ended, KeyboardInterrupt):
        raise ended
    if ended is not None:
        account.stop(str(ended))


def _joined(frames: list[Frame]) -> Frame:
    return jax.tree.map(lambda *parts: np.concatenate(parts), *frames)


def _steps(run: _Run, partner: Partner) -> Iterator[tuple[Frame, State]]:
    """Frames of each step and the state after it, up to where a power is not finite."""
    scenario, params, ticks, total = run.scenario, run.params, run.layout.chunk_ticks, run_ticks(run.scenario)
    given, state = nominal(scenario), initial_state(run.layout, params)
    for first in range(0, total, run.window):
        work = run.jobs(params, state, inputs_of(scenario, run.records, first, run.window))
        if first == 0:
            given = partner.begin(partial(_draw_at, run, state, work))
        for begin in range(0, min(run.window, total - first), ticks):
            _refuse(scenario, given, first + begin)
            state, frame = run.step(params, state, work, np.int32(begin), *_held(scenario, given))
            yield frame, state
            draw = _drawn(frame)
            if not np.isfinite(draw).all():
                return
            given = partner.exchange(seconds_at(first + begin + ticks, run.layout.dt_s), draw)


def _draw_at(run: _Run, state: State, work: Work, given: Given) -> Draw:
    """What the sites draw at rest under what the grid gives: in the first row, of which the plant is put to rest."""
    _refuse(run.scenario, given, 0)
    _, frame = run.step(run.params, state, work, np.int32(0), *_held(run.scenario, given))
    return _drawn(frame, 1)


def _drawn(frame: Frame, rows: int | None = None) -> Draw:
    """Mean over the first rows, or all."""
    powers = (np.asarray(power)[:rows] for power in (frame.pcc_mw, frame.pcc_mvar))
    return Draw(*(power.mean(axis=0, dtype=np.float64) for power in powers))


def _refuse(scenario: schema.Scenario, given: Given, tick: int) -> None:
    """Raises PartnerError where a value cannot be what it is said to be."""
    assert (its := scenario.cosim) is not None
    frequency = zip(scenario.grid.area, given.frequency_hz, strict=False)  # none where areas are emulated here
    voltage = zip((s for s in scenario.site if s.name in its.voltage_pu), given.voltage_pu, strict=True)
    highest_hz = HIGHEST_PU * scenario.grid.frequency_hz
    values = [(its.frequency_hz[area.name], hz, highest_hz, "Hz") for area, hz in frequency]
    values += [(its.voltage_pu[site.name], volts, HIGHEST_PU, "pu") for site, volts in voltage]
    for key, value, highest, unit in values:
        if not 0.0 <= value <= highest:  # nor NaN
            at_s = seconds_at(tick, scenario.run.dt_s)
            raise PartnerError(f"{key} is {value:g} {unit} at {at_s:g} s, must be from 0 to {highest:g} {unit}")
