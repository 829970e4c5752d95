"""One emulation, window by window: compute on the device, pass rows to a sink. Memory does not grow with duration."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import isnan
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

import emulator
from emulator import checkpoint, placement, schema
from emulator.account import Account, Block
from emulator.carry import Checkpoint
from emulator.clock import seconds_at, ticks_nearest
from emulator.cluster import replay
from emulator.complaint import must_be
from emulator.frame import Frame
from emulator.grid.frequency import operable
from emulator.grids import grid_layout, has_reserves
from emulator.jobs_schema import TrainingJob
from emulator.metrics import JOB_COUNTS
from emulator.plant import Inputs, Layout, Params
from emulator.rollout import State, initial_state
from emulator.scenario import Records, hall_labels, inputs_of, jobs_of, layout_of, params_of, records_of
from emulator.storages import listed
from emulator.toml_text import to_toml
from emulator.topology import by_devices, section_names, tie_names, watch_columns
from emulator.trace import CHANNELS, SCHEMA_VERSION, WATCHED, Event, Header, Trace, row_times
from emulator.units import W_PER_KW, counted

# Ticks per call of the compiled rollout. Long enough that neither a call's overhead counts, nor computing the iteration
# under way anew in each window; short enough for a lively progress bar and a prompt Ctrl-C.
WINDOW_TICKS = 20_000

END_OF_RUN = "end of run"


class Sink(Protocol):
    """Where rows go. `append` gets every channel for consecutive rows from `first_tick` on."""

    def append(self, first_tick: int, block: Block, events: list[Event]) -> None: ...
    def finish(self, metrics: Mapping[str, float], stop_reason: str, complete: bool) -> None: ...


class Keeper(Protocol):
    """Where checkpoints go. Each holds the run as it is after the rows that the sink has got so far."""

    def due(self) -> bool: ...
    def keep(self, checkpoint: Checkpoint) -> None: ...


class SimulationError(Exception):
    """The emulation cannot go on, for a reason that lies in the scenario."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    metrics: Mapping[str, float]
    stop_reason: str
    complete: bool
    emulated_s: float
    setup_s: float  # reading, equilibrium, compilation
    wall_s: float  # emulation and writing; of a resumed run, the time before its checkpoint included


def build(scenario: schema.Scenario, ticks: int | None = None) -> tuple[Layout, Params, State, Inputs]:
    """All that `rollout` takes, for the whole run or its first `ticks` ticks, rounded up to whole chunks.

    `inputs` of other draws: `dataclasses.replace(inputs, seed=seed)`, seed a uint32, also under `jax.vmap`.

    Raises:
      TypeError: no scenario.
    """
    must_be(scenario, schema.Scenario, "em.load(CONFIG)")
    records = records_of(scenario)
    layout, params = layout_of(scenario), params_of(scenario, records)
    inputs = inputs_of(scenario, records, 0, whole_chunks(layout, ticks or run_ticks(scenario)))
    return layout, params, initial_state(layout, params), inputs


def run(scenario: schema.Scenario) -> Trace:
    """Emulate a scenario and return its trace in memory, some 100 B a row; `write` saves it. For runs that do not fit,
    or must go on after Ctrl-C: `wattswing run`.

    A physical stop (voltage collapse, a value that is not finite) ends the run early: `complete` is then False,
    `stop_reason` says why, and the rows up to there are in the trace.

    Raises:
      SimulationError: the scenario asks for what the emulation cannot do.
      TypeError: no scenario.
    """
    must_be(scenario, schema.Scenario, "em.load(CONFIG)")
    sink = Memory(header_of(scenario))
    stream(scenario, sink.header, sink)
    return sink.trace()


def stream(
    scenario: schema.Scenario,
    header: Header,
    sink: Sink,
    progress: Callable[[int], object] = lambda ticks: None,
    keeper: Keeper | None = None,
    start: Checkpoint | None = None,
) -> Outcome:
    """Emulate a scenario into a sink. `progress` is told the ticks done since its last call.

    A physical stop (voltage collapse, a value that is not finite) ends the run early: rows up to there are kept, the
    sink is told the reason, and the outcome is not complete.

    Args:
      keeper: gets a checkpoint before the first window and whenever it says that one is due; None: no checkpoints.
      start: a checkpoint of the same scenario to go on from, the sink having the rows before it.

    Raises:
      SimulationError: the scenario asks for what the emulation cannot do.
    """
    entered = time.perf_counter()
    emulation = _compile(scenario)
    account = Account(scenario, header, emulation.layout)
    first_state, spent_s = emulation.state, 0.0
    if start is not None:
        first_state, spent_s = checkpoint.resume(start, emulation.state, account)
        progress(int(first_state.tick))
    made_with = checkpoint.made_with(scenario, header)
    begun = time.perf_counter()

    def keep(state: State) -> None:
        if keeper is not None and keeper.due():
            keeper.keep(checkpoint.take(made_with, state, account, spent_s + time.perf_counter() - begun))

    keep(first_state)
    frames = _frames(scenario, emulation, first_state)
    outcome = deliver(scenario, header, sink, emulation.params, account, frames, begun - entered, progress, keep)
    return replace(outcome, wall_s=spent_s + outcome.wall_s)


def deliver(
    scenario: schema.Scenario,
    header: Header,
    sink: Sink,
    params: Params,
    account: Account,
    frames: Iterator[tuple[int, Frame, State]],
    setup_s: float,
    progress: Callable[[int], object],
    keep: Callable[[State], object] = lambda state: None,
) -> Outcome:
    """Pass a run's windows to its account and its sink, up to where the run stops.

    Args:
      frames: of each window its first tick, its frames and the state after it.
      setup_s: time spent before, for the outcome.
      keep: is told the state after each window but the last.
    """
    every, total = header.every_ticks, run_ticks(scenario)
    watch = _Watch(scenario, header)
    begun = time.perf_counter()
    for first, frame, state in frames:
        check(scenario, params, first, state)
        rows = min(len(frame.status), (total - first) // every)
        block, events = account.take(first, frame, rows)
        rows = len(block["site_it_power_mw"])
        device_rows = rows * every // header.device_every_ticks
        watched = {name: values[:device_rows] for name, values in watch.of(frame).items()}
        sink.append(first, block | watched, events)
        progress(rows * every)
        if account.stop_reason:
            break
        if account.ticks < total:
            keep(state)
    metrics, complete = account.metrics(), not account.stop_reason
    reason = account.stop_reason or END_OF_RUN
    sink.finish(metrics, reason, complete)
    emulated_s = seconds_at(account.ticks, header.dt_s)
    return Outcome(metrics, reason, complete, emulated_s, setup_s, time.perf_counter() - begun)


def header_of(scenario: schema.Scenario) -> Header:
    """Labels and attributes of the scenario's trace."""
    run = scenario.run
    return Header(
        labels={
            "site": tuple(site.name for site in scenario.site),
            "battery": tuple(f"{site.name}/{name}" for site in scenario.site for name in listed(site)),
            "job": tuple(f"{site.name}/{job.name}" for site, job in jobs_of(scenario)),
            "hall": hall_labels(scenario),
            **{axis: tuple(watch_columns(scenario, f"{axis}s")) for axis in ("device", "rack")},
            "area": tuple(area.name for area in scenario.grid.area),
            "tie": tie_names(scenario.grid),
            "reserve": tuple(area.name for area in scenario.grid.area if has_reserves(area)),
            "section": tuple(name for shaft in scenario.grid.shaft for name in section_names(shaft)),
        },
        config=to_toml(scenario),
        seed=run.seed,
        dt_s=run.dt_s,
        frequency_hz=scenario.grid.frequency_hz,
        platform=jax.default_backend(),
        emulator_version=emulator.__version__,
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        schema_version=SCHEMA_VERSION,
        every_ticks=scenario.record.every_ticks,
        device_every_ticks=scenario.record.device_every_ticks,
        double=jnp.result_type(float) == jnp.float64,
        compression=scenario.record.compression,
        nominal_kv=tuple(site.pcc.nominal_kv if site.pcc else float("nan") for site in scenario.site),
    )


@dataclass(frozen=True)
class _Emulation:
    """A scenario, compiled."""

    records: Records
    layout: Layout
    params: Params
    state: State
    total: int  # ticks of the run
    window: int  # ticks per call, a whole number of chunks
    step: placement.Step


def _compile(scenario: schema.Scenario) -> _Emulation:
    records = records_of(scenario)
    layout, params, total = layout_of(scenario), params_of(scenario, records), run_ticks(scenario)
    window = window_ticks(scenario)
    inputs = inputs_of(scenario, records, 0, window)
    state = initial_state(layout, params)
    if any(job.path == "devices" for job in layout.training):
        layout = spread(layout)
    step = placement.compiled(layout, params, state, inputs)
    return _Emulation(records, layout, params, state, total, window, step)


def _frames(scenario: schema.Scenario, emulation: _Emulation, state: State) -> Iterator[tuple[int, Frame, State]]:
    """First tick, frames and state after it of each window, from `state` on.

    The next window is dispatched before one is handed out, so that the device computes while the host writes.
    """
    ahead: tuple[int, Frame, State] | None = None
    for first in range(int(state.tick), emulation.total, emulation.window):
        inputs = inputs_of(scenario, emulation.records, first, emulation.window)
        state, frame = emulation.step(state, inputs)
        if ahead is not None:
            yield ahead
        ahead = first, frame, state
    if ahead is not None:
        yield ahead


def check(scenario: schema.Scenario, params: Params, first: int, state: State) -> None:
    """Refuse a window, the one from tick `first` on, whose results cannot be right.

    Raises:
      SimulationError: an area generates at the start what its valve limits do not allow, so there is no equilibrium; or
        the window held more iterations than planned for.
    """
    if bool(state.overflow):
        raise SimulationError("iterations came out less than half as long as the workload's phases: lower its jitter")
    if first > 0:
        return
    mechanical_mw = np.asarray(state.plant.grid.mechanical_mw)
    for area, power_mw, base_mva, fine in zip(
        scenario.grid.area,
        mechanical_mw,
        np.asarray(params.grid.rated_mva),
        operable(grid_layout(scenario), params.grid, state.plant.grid),
        strict=True,
    ):
        if not fine:
            raise SimulationError(
                f"area {area.name} starts at {power_mw / base_mva:.3f} pu ({power_mw:.1f} MW), outside its valve "
                "limits: raise rated_mva or change load_mw"
            )


def warnings(scenario: schema.Scenario) -> list[str]:
    """Warnings about the files that the scenario replays."""
    return replay.flagged((job for _, job in jobs_of(scenario)), scenario.run.dt_s)


def paths(scenario: schema.Scenario, metrics: Mapping[str, float]) -> Iterator[str]:
    """A line for each training job: by which path its devices are emulated, and how long an iteration took, pauses
    included; another one with what held it up, if anything did. `metrics` are those of the run."""
    for site, job in jobs_of(scenario):
        if isinstance(job, TrainingJob):
            why = by_devices(site, job)
            way = f"tick by tick ({', '.join(why)})" if why else "by events (linear)"
            found = {key: metrics[f"job.{site.name}.{job.name}.{key}"] for key in (*JOB_COUNTS, "iteration_mean_s")}
            pauses = ", ".join(
                counted(int(found[key]), key.removesuffix("s").replace("_", " "))
                for key in JOB_COUNTS
                if found[key] and key != "iterations"
            )
            took = f", an iteration in {found['iteration_mean_s']:.4g} s" + (" with pauses" if pauses else "")
            way += "" if isnan(found["iteration_mean_s"]) else took
            yield f"{site.name}/{job.name}: {counted(job.devices, 'device')} {way}"
            if pauses:
                yield f"    {pauses}"


def spread(layout: Layout) -> Layout:
    """The layout with its nonlinear devices spread over all processors that JAX knows."""
    return replace(layout, training=tuple(replace(job, shards=jax.device_count()) for job in layout.training))


def run_ticks(scenario: schema.Scenario) -> int:
    """Length of the run in ticks."""
    return ticks_nearest(scenario.run.duration_s, scenario.run.dt_s)


def structure_of(scenario: schema.Scenario, params: Params) -> Hashable:
    """A key that is equal for scenarios which can run side by side in one compiled call."""
    shapes = tuple(leaf.shape for leaf in jax.tree.leaves(params))
    return layout_of(scenario), run_ticks(scenario), jax.tree.structure(params), shapes


def window_ticks(scenario: schema.Scenario) -> int:
    """Ticks per call of the compiled rollout, a whole number of chunks."""
    return whole_chunks(layout_of(scenario), min(WINDOW_TICKS, run_ticks(scenario)))


def whole_chunks(layout: Layout, ticks: int) -> int:
    """Ticks, rounded up to whole chunks."""
    return -(-ticks // layout.chunk_ticks) * layout.chunk_ticks


class _Watch:
    """Power of recorded devices and racks, from the columns of all watched devices."""

    def __init__(self, scenario: schema.Scenario, header: Header) -> None:
        self._dtype = {channel.axis: header.dtype_of(channel) for channel in WATCHED}
        self._columns = {axis: watch_columns(scenario, f"{axis}s").values() for axis in self._dtype}

    def of(self, frame: Frame) -> dict[str, np.ndarray]:
        """Their channels in a window."""
        power_w = np.asarray(frame.watched_w)

        def summed(axis: str) -> np.ndarray:
            sums = [power_w[:, columns].sum(axis=1) for columns in self._columns[axis]]
            return np.stack(sums, axis=1).astype(self._dtype[axis]) if sums else np.zeros((0, 0), self._dtype[axis])

        return {"device_power_w": summed("device"), "rack_power_kw": summed("rack") / W_PER_KW}


class Memory:
    """A sink that keeps everything in memory, or of the trace only the channels named: the others come without columns,
    as if nothing had them."""

    def __init__(self, header: Header, channels: Collection[str] | None = None) -> None:
        self.header = header
        self._channels = channels
        self._blocks: list[Block] = []
        self._rows = 0
        self._events: list[Event] = []
        self._end: tuple[Mapping[str, float], str, bool] = ({}, "", False)

    def append(self, first_tick: int, block: Block, events: list[Event]) -> None:
        kept = block if self._channels is None else {name: block[name] for name in self._channels}
        self._blocks.append(kept)
        self._rows += len(block["job_power_mw"])
        self._events.extend(events)

    def finish(self, metrics: Mapping[str, float], stop_reason: str, complete: bool) -> None:
        self._end = metrics, stop_reason, complete

    def trace(self) -> Trace:
        """All that came, as one."""
        empty = dict.fromkeys((c.name for c in CHANNELS), np.zeros((self._rows, 0)))
        empty |= dict.fromkeys((c.name for c in WATCHED), np.zeros((0, 0)))
        names = self._blocks[0] if self._blocks else ()
        channels = empty | {name: np.concatenate([block[name] for block in self._blocks]) for name in names}
        device_rows = max(len(channels[channel.name]) for channel in WATCHED)
        metrics, stop_reason, complete = self._end
        return Trace(
            header=self.header,
            time_s=row_times(self.header, 0, self._rows),
            **channels,
            device_time_s=row_times(self.header, 0, device_rows, self.header.device_every_ticks),
            events=tuple(self._events),
            metrics=metrics,
            complete=complete,
            stop_reason=stop_reason,
        )
