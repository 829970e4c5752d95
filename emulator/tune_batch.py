"""What tuning computes: scenarios under given values of the tuned parameters, each in a few measures.

The values enter the configuration as they are, traced, and `params_of` makes parameters of them: whatever it can scale
can be tuned. Where no job is tuned, what the jobs draw is computed once; a gradient then runs through the closed loop
only, chunk by chunk rematerialised (`rollout`). Scenarios are spread over all devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from emulator import limit_terms, tunables
from emulator.bess import battery
from emulator.bess.ageing import cycle_fade
from emulator.frame import Frame, Jobs
from emulator.limits import KINDS
from emulator.modes import least_damping_ratio
from emulator.plant import Inputs, Layout, Params
from emulator.rollout import JobWork, State, batch, closed_loop, initial_state, job_power
from emulator.scenario import inputs_of, params_of, records_of
from emulator.simulate import WINDOW_TICKS, SimulationError, run_ticks, whole_chunks
from emulator.storages import batteries_of
from emulator.struct import as_array, quantity, stacked, static, struct
from emulator.tune_problem import Clause, Group, Task, params_at
from emulator.units import S_PER_H, S_PER_YEAR

CUT = PartitionSpec("scenarios")


@struct
class Batch:
    """Scenarios, a multiple of the number of devices; those at the end that fill up are repeats."""

    variant: jax.Array = quantity("1", "scenarios", "place of its combination of values, int32")
    inputs: Inputs = quantity("")
    jobs: Jobs | None = quantity("", "scenarios, ticks, ...", "what they do, where neither tuning nor orders change it")
    count: int = static()  # without the repeats


Batches = tuple[Batch, ...]  # one for each group of the task


@struct
class Measures:
    """What scenarios come to."""

    cost: jax.Array = quantity("COSTS", "scenarios, costs")
    room: jax.Array = quantity("clause's unit", "scenarios, clauses", "margin at the worst place, positive = room")


def _sizes(group: Group, values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(variants, sites) MW and MWh of all batteries."""
    tuned = dict(zip(group.paths, values, strict=True))

    def summed(name: str) -> jax.Array:
        rows = []
        for variant in group.variants:
            sites = [batteries_of(site) for site in tunables.with_values(variant, tuned).site]
            rows.append(jnp.stack([as_array(sum(b.units * getattr(b, name) for b in its)) for its in sites]))
        return jnp.stack(rows)

    return summed("power_mw"), summed("energy_mwh")


def batch_of(task: Task, seeds: Sequence[int]) -> Batches:
    """Every combination of values with every seed, a batch for each group; seeds vary fastest.

    Raises:
      SimulationError: what the jobs do cannot be computed.
    """
    return tuple(_batch_of(task, group, seeds) for group in task.groups)


def _batch_of(task: Task, group: Group, seeds: Sequence[int]) -> Batch:
    cases = [(i, seed) for i in range(len(group.variants)) for seed in seeds]
    count = len(cases)
    cases += [cases[-1]] * (-len(cases) % jax.device_count())
    seeded = [tunables.replaced(group.variants[i], ("run", "seed"), seed) for i, seed in cases]
    records = [records_of(scenario) for scenario in seeded]

    def inputs(first: int, ticks: int) -> Inputs:
        return _spread(stacked([inputs_of(s, r, first, ticks) for s, r in zip(seeded, records, strict=True)]))

    variant = _spread(np.array([i for i, _ in cases], np.int32))
    if group.jobs_tuned or group.orders:
        return Batch(variant, inputs(0, group.ticks), None, count)
    each = [params_of(s, r) for s, r in zip(seeded, records, strict=True)]
    params, state = _spread((stacked(each), stacked([initial_state(group.layout, p) for p in each])))
    step = jax.jit(jax.shard_map(_jobs_of(group.layout), mesh=_mesh(), in_specs=CUT, out_specs=CUT, check_vma=False))
    window = whole_chunks(group.layout, -(-group.ticks // -(-group.ticks // WINDOW_TICKS)))  # windows of equal length
    parts = []
    for first in range(0, group.ticks, window):
        state, jobs = step(params, state, inputs(first, window))
        parts.append(jobs)
    if np.asarray(state.overflow).any():
        raise SimulationError("iterations came out less than half as long as the workload's phases: lower its jitter")
    jobs = jax.tree.map(lambda *each: jnp.concatenate(each, axis=1)[:, : group.ticks], *parts)
    return Batch(variant, inputs(0, 1), _spread(jobs), count)


def _jobs_of(layout: Layout) -> Any:
    """(params, state, inputs) of scenarios -> state after the window, and what the jobs do in it."""

    def one(each: tuple[Params, State, Inputs]) -> tuple[State, Jobs]:
        params, state, inputs = each
        (training, served), jobs, _, overflow, _ = job_power(layout, params, state, inputs)
        after = replace(
            state,
            tick=state.tick + jobs.mw.shape[0],
            training=training,
            inference=served,
            overflow=state.overflow | overflow,
        )
        return after, jobs

    return lambda *each: jax.lax.map(one, each)


def _mesh() -> Mesh:
    return Mesh(np.array(jax.devices()), ("scenarios",))


def _spread(tree: Any) -> Any:
    return jax.device_put(tree, NamedSharding(_mesh(), CUT))


def everywhere(tree: Any) -> Any:
    """Arrays put whole on every device."""
    return jax.device_put(tree, NamedSharding(_mesh(), PartitionSpec()))


def measures(task: Task, values: jax.Array, scenarios: Batches) -> Measures:
    """(scenarios, ...) measures under (parameters,) values, group after group, fillers left out. Pure and
    differentiable in the values."""

    def of_group(group: Group, its: Batch) -> Measures:
        here = jax.shard_map(
            lambda x, part: _measured(task, group, x, part),
            mesh=_mesh(),
            in_specs=(PartitionSpec(), CUT),
            out_specs=CUT,
            check_vma=False,
        )
        return jax.tree.map(lambda x: x[: its.count], here(values, its))

    found = [of_group(group, its) for group, its in zip(task.groups, scenarios, strict=True)]
    whole = jax.tree.map(lambda *parts: jnp.concatenate(parts), *found)
    # Whole on every device: XLA (jaxlib 0.10.2) aborts in the slope of a sort over scenarios that are cut unevenly.
    return jax.lax.with_sharding_constraint(whole, NamedSharding(_mesh(), PartitionSpec()))


def separately(task: Task, values: jax.Array, scenarios: Batches) -> jax.Array:
    """(scenarios, parameters) slopes of the sum of all measures, each scenario by itself: to find a broken one."""

    def of_group(group: Group, its: Batch) -> jax.Array:
        def total(each: jax.Array, part: Batch) -> jax.Array:
            found = _measured(task, group, each, jax.tree.map(lambda x: x[None], part))
            return jnp.sum(found.cost) + jnp.sum(found.room)

        return jax.lax.map(lambda part: jax.grad(total)(values, part), its)[: its.count]

    return jnp.concatenate([of_group(group, its) for group, its in zip(task.groups, scenarios, strict=True)])


def _measured(task: Task, group: Group, values: jax.Array, scenarios: Batch) -> Measures:
    params = jax.tree.map(lambda leaf: leaf[scenarios.variant], params_at(group, values))
    power_mw, energy_mwh = (size[scenarios.variant] for size in _sizes(group, values))
    frames = _frames(group, params, scenarios)
    cost = [
        _lack_of_damping(group, params, frames)
        if name == "damping"
        else _cost(name, group, params, power_mw, energy_mwh, frames)
        for name in task.costs
    ]
    room = [jax.vmap(lambda f, c=clause: _room_of(group, c, f))(frames) for clause in group.clauses]
    none = jnp.zeros((power_mw.shape[0], 0), power_mw.dtype)
    return Measures(cost=jnp.stack(cost, axis=1), room=jnp.stack(room, axis=1) if room else none)


def _frames(group: Group, params: Params, scenarios: Batch) -> Frame:
    """(scenarios, rows, ...) of the run."""
    state = jax.vmap(lambda p: initial_state(group.layout, p))(params)
    if group.orders:
        _, frames = batch(group.layout, params, state, scenarios.inputs)
    else:
        jobs = scenarios.jobs
        if jobs is None:
            one = jax.checkpoint(lambda each: job_power(group.layout, *each)[1])
            jobs = jax.lax.map(one, (params, state, scenarios.inputs))
        # One variant: its parameters, plans and weights among them, are there once and not for each scenario, so that
        # a tick touches little enough to be compiled whole (`xla`).
        alone = len(group.variants) == 1
        its = jax.tree.map(lambda leaf: leaf[0], params) if alone else params
        known = jax.vmap(partial(_known, group.layout), in_axes=(None if alone else 0, 0, 0))
        frames = known(its, state, jobs)
    rows = run_ticks(group.variants[0])
    return jax.tree.map(lambda x: x[:, :rows], replace(frames, watched_w=None, job_counts=None))


def _known(layout: Layout, params: Params, state: State, jobs: Jobs) -> Frame:
    """Frames of the closed loop under what its jobs are known to do."""
    nobody = jnp.zeros((0, 0), jobs.mw.dtype)
    uncounted = jnp.zeros((0, 0, 0), jobs.mw.dtype)
    work = JobWork((state.training, state.inference), jobs, nobody, state.overflow, uncounted)
    return closed_loop(layout, params, state, work, None)[1]


def _cost(
    name: str, group: Group, params: Params, power_mw: jax.Array, energy_mwh: jax.Array, frames: Frame
) -> jax.Array:
    """(scenarios,) one of COSTS. Powers are means over the run; sizes count all batteries."""
    match name:
        case "bess_power":
            return jnp.sum(power_mw, axis=1)
        case "bess_energy":
            return jnp.sum(energy_mwh, axis=1)
        case "throughput":
            return jnp.sum(jnp.mean(jnp.abs(frames.bess_mw), axis=1), axis=1)
        case "smoothing_energy":
            return jnp.mean(jnp.sum(frames.job_mw - frames.job_wanted_mw, axis=2), axis=1)
        case "fade":
            return jax.vmap(lambda soc: _fade(group, soc))(frames.soc)
        case _:
            return jax.vmap(partial(lost_mw, group.layout))(params, frames)


def lost_mw(layout: Layout, params: Params, frames: Frame) -> jax.Array:
    """Mean of what went into the batteries and neither came out nor is still there, in (rows, ...) frames."""
    hours = layout.dt_s / S_PER_H * (frames.soc.shape[0] - 1)  # SOC is that at a row's start
    taken_mw = -jnp.mean(jnp.sum(frames.bess_mw[:-1], axis=1))
    return taken_mw - (_stored_mwh(layout, params, frames, -1) - _stored_mwh(layout, params, frames, 0)) / hours


def _stored_mwh(layout: Layout, params: Params, frames: Frame, row: int) -> jax.Array:
    """Energy in all batteries at the start of a row."""
    listed = iter(frames.battery_soc[row])
    total = jnp.zeros((), frames.soc.dtype)
    for i, (at, site) in enumerate(zip(layout.sites, params.sites, strict=True)):
        if at.storage is not None and site.storage is not None:
            for its in site.storage.batteries:
                total = total + battery.stored_mwh(its, next(listed) if at.storage.listed else frames.soc[row, i])
    return total


def _lack_of_damping(group: Group, params: Params, frames: Frame) -> jax.Array:
    """(scenarios,) 1 less the least damping ratio, the plant linearised under the load of the first tick."""
    ratio = jax.vmap(lambda p, mw: least_damping_ratio(group.layout, p, mw))(params, frames.job_mw[:, 0])
    return 1.0 - ratio


def _fade(group: Group, soc: jax.Array) -> jax.Array:
    """Capacity that the cycles of a run cost, all sites together, as if it went on for a year. soc: (rows, sites)."""
    total = jnp.zeros((), soc.dtype)
    for i, site in enumerate(group.variants[0].site):
        if site.bess is not None and (ageing := site.bess.ageing) is not None:
            numbers = (ageing.cycles_at_full_depth, ageing.depth_exponent, ageing.end_of_life_fade)
            total = total + cycle_fade(soc[:, i], *(jnp.asarray(x, soc.dtype) for x in numbers))
    return total * S_PER_YEAR / (soc.shape[0] * group.layout.dt_s)


def _room_of(group: Group, clause: Clause, frames: Frame) -> jax.Array:
    """Margin of a clause in one scenario."""
    match KINDS[clause.limit.kind].quantity:
        case "power":
            values = frames.pcc_mw
        case "voltage":
            values = frames.voltage_pu
        case "soc":
            values = jnp.concatenate([frames.soc, frames.battery_soc], axis=1)
        case "frequency":
            values = group.variants[0].grid.frequency_hz * frames.speed_pu
        case "tie flow":
            values = frames.tie_mw
        case _:
            values = frames.shaft_torque_pu
    return limit_terms.room(clause.limit, values[:, list(clause.columns)], group.layout.dt_s)
