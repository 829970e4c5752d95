"""The plant: how jobs, facility, battery and grid are coupled in one tick. Read `tick` from top to bottom.

Load positive = draws from the grid; battery positive = discharges; tie positive = from the first area to the second.
Powers in a frame are means over the tick, states (frequency, SOC, tie flow) are those at its start.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from emulator.bess import storage
from emulator.blocks import stacked, sum_at
from emulator.cluster import demand, pauses
from emulator.cluster.serving import InferenceLayout, InferenceParams
from emulator.disturbance import StepLayout, Steps
from emulator.facility import ride_through
from emulator.facility.power_chain import FacilityParams, facility_power, reactive_power
from emulator.frame import OF_WINDOW, ExternalGrid, Frame, Jobs, of_sites
from emulator.grid import frequency, voltage
from emulator.grid.forming import FormingLimits
from emulator.power_limit import PowerLimitParams, caps_w
from emulator.struct import quantity, static, struct

# Status bits of a site in a frame.
POWER_LIMIT, SOC_LIMIT = storage.POWER_LIMIT, storage.SOC_LIMIT
VOLTAGE_COLLAPSE, DISCONNECTED, OVERLOAD = 4, 8, 16


@struct
class SiteLayout:
    jobs: tuple[int, ...] = static()  # its jobs, as indices into the list of all jobs
    training: tuple[int, ...] = static()  # its training jobs, as indices into the list of training jobs
    area: int = static()  # index; -1 = infinite grid
    return_delay_ticks: int = static()  # how long the voltage must be back before a tripped load returns
    storage: storage.StorageLayout | None = static()
    state_feedback: bool = static()  # its controller measures the grid's states
    planned_jobs: tuple[int, ...] = static()  # jobs whose schedule its controller knows, indices as in `jobs`
    forming: int = static()  # index of its battery among the grid-forming ones; -1 = none, or grid-following


@struct
class Layout:
    """Sizes and switches of the plant: hashable, no quantity that one would differentiate.

    Jobs are of three sorts, each with its own list: training and inference jobs, which are emulated, and given jobs
    (replayed or constant), whose power comes in with `Inputs`. `*_job` maps such a list into that of all jobs.
    """

    dt_s: float = static()
    chunk_ticks: int = static()
    every_ticks: int = static()
    jobs: int = static()
    halls: int = static()  # of all sites; 0 unless they are recorded
    training_halls: tuple[tuple[int, ...], ...] = static()  # training jobs: halls of its groups
    inference_hall: tuple[int, ...] = static()  # inference jobs
    given_hall: tuple[int, ...] = static()  # given jobs
    training: tuple[demand.TrainingLayout, ...] = static()
    training_job: tuple[int, ...] = static()  # training jobs: index in the list of all jobs
    inference: tuple[InferenceLayout, ...] = static()
    inference_job: tuple[int, ...] = static()  # inference jobs: likewise
    given_job: tuple[int, ...] = static()  # given jobs: likewise
    sites: tuple[SiteLayout, ...] = static()
    grid: frequency.GridLayout = static()
    steps: tuple[StepLayout, ...] = static()


@struct
class SiteParams:
    """Numbers of a site. None stands for a part that it does not have."""

    facility: FacilityParams = quantity("")
    ride_through: ride_through.RideThroughParams | None = quantity("")
    pcc: voltage.PccParams | None = quantity("")
    storage: storage.StorageParams | None = quantity("")
    power_limit: PowerLimitParams | None = quantity("")


@struct
class Params:
    """Every number that one may differentiate or change without compiling anew."""

    training: tuple[demand.TrainingParams, ...] = quantity("")
    inference: tuple[InferenceParams, ...] = quantity("")
    sites: tuple[SiteParams, ...] = quantity("")
    grid: frequency.GridParams = quantity("")
    step_size: jax.Array = quantity("of its signal", "steps")


@struct
class SiteState:
    """None stands for a part that the site does not have."""

    storage: storage.StorageState | None = quantity("")
    pcc: PccState | None = quantity("")
    ride_through: ride_through.RideThroughState | None = quantity("")
    start_mw: jax.Array = quantity("MW", "", "draw from the grid in equilibrium")


@struct
class PccState:
    """Point of common coupling (PCC) in the tick before: load and battery react to its voltage one tick later."""

    voltage_pu: jax.Array = quantity("pu")
    load_factor: jax.Array = quantity("1", "", "load at this voltage over that at 1 pu")
    start_pu: jax.Array = quantity("pu", "", "voltage in equilibrium: reference of the battery's reactive support")


@struct
class PlantState:
    sites: tuple[SiteState, ...] = quantity("")
    grid: frequency.GridState = quantity("")


@struct
class Inputs:
    """What comes from outside the plant in a window of ticks."""

    seed: jax.Array = quantity("1", "", "root of all draws, uint32")
    given_mw: jax.Array = quantity("MW", "ticks, given jobs", "power of the replayed and constant jobs")
    external: ExternalGrid | None = None


def equilibrium(layout: Layout, params: Params, job_mw: jax.Array, external: ExternalGrid | None = None) -> PlantState:
    """The state in which nothing moves under the job powers (jobs,) of the first tick.

    Args:
      external: the grid in that tick, where it is emulated elsewhere.
    """
    voltages_pu = (None,) * len(layout.sites) if external is None else external.voltage_pu
    sites = tuple(
        _site_equilibrium(site, p, _it_power(site, job_mw), voltage_pu)
        for site, p, voltage_pu in zip(layout.sites, params.sites, voltages_pu, strict=True)
    )
    return PlantState(sites=sites, grid=frequency.initial(layout.grid, params.grid, _area_draw(layout, sites)))


def _site_equilibrium(
    layout: SiteLayout, params: SiteParams, it_mw: jax.Array, voltage_pu: jax.Array | None
) -> SiteState:
    load_mw = facility_power(params.facility, it_mw)
    bess_mw = jnp.zeros_like(load_mw) if params.storage is None else -storage.auxiliary_mw(params.storage)
    pcc = None
    if params.pcc is not None:
        zero = jnp.zeros_like(load_mw)
        mvar = reactive_power(params.facility, load_mw)
        solved = (
            voltage.solve(params.pcc, voltage.Source(zero, zero), load_mw, mvar, bess_mw, zero)
            if voltage_pu is None
            else voltage.imposed(params.pcc, voltage_pu)
        )
        pcc = PccState(solved.voltage_pu, solved.load_factor, solved.voltage_pu)
        load_mw = load_mw * solved.load_factor
    batteries = None
    if layout.storage is not None and params.storage is not None:
        batteries = storage.initial(layout.storage, params.storage, load_mw)
    return SiteState(
        storage=batteries,
        pcc=pcc,
        ride_through=None if params.ride_through is None else ride_through.initial(load_mw.dtype),
        start_mw=load_mw - bess_mw,
    )


def _area_draw(layout: Layout, sites: tuple[SiteState, ...]) -> jax.Array:
    """(areas,) what the sites of each area draw in equilibrium."""
    draws = [(state.start_mw, site.area) for state, site in zip(sites, layout.sites, strict=True) if site.area >= 0]
    if not draws:
        return jnp.zeros(layout.grid.areas)
    return sum_at(jnp.stack([mw for mw, _ in draws]), tuple(area for _, area in draws), layout.grid.areas)


def tick(
    layout: Layout,
    params: Params,
    state: PlantState,
    number: jax.Array,
    jobs: Jobs,
    external: ExternalGrid | None = None,
) -> tuple[PlantState, Frame]:
    """One tick of the closed loop: each site from its IT power to its draw, then the grid under the sum of draws.

    Args:
      number: int32, number of the tick from the start of the run.
      jobs: power of each job in the tick, and what is recorded of the jobs.
      external: the grid in the tick, where it is emulated elsewhere.
    """
    steps = Steps(layout.steps, params.step_size, number)
    external_pu = None if external is None else external.speed_pu
    speeds = state.grid.motion.value.speed_pu if external_pu is None else external_pu
    sites, site_frames = [], []
    for i, site in enumerate(layout.sites):
        with jax.named_scope(f"site{i}"):
            inputs = SiteInputs(
                it_mw=_it_power(site, jobs.mw),
                extra_mw=steps.at("site_load", i),
                source=voltage.Source(steps.at("source_voltage", i), steps.at("short_circuit_ratio", i)),
                speed_pu=speeds[site.area] if site.area >= 0 else jnp.zeros((), speeds.dtype),
                bess_lost=steps.at("bess_lost", i),
                grid_states=frequency.motion_states(state.grid) if site.state_feedback else jnp.zeros(0, speeds.dtype),
                iteration_starts=stacked([(jobs.bits[job] & pauses.ITERATION) > 0 for job in site.planned_jobs]),
                voltage_pu=None if external is None else external.voltage_pu[i],
            )
            after, frame = _site_tick(site, params.sites[i], state.sites[i], number, inputs, layout.dt_s)
        sites.append(after)
        site_frames.append(frame)

    with jax.named_scope("grid"):
        changes = _area_changes(layout, params, state, site_frames, steps)
        readings = frequency.readings(layout.grid, params.grid, state.grid, changes)
        if external_pu is None:
            grid, formed = frequency.step(layout.grid, params.grid, state.grid, number, changes, layout.dt_s)
        else:
            grid, readings = state.grid, frequency.external_readings(readings, external_pu)
    for i, site in enumerate(layout.sites):
        if site.forming >= 0:  # only where the grid is emulated here
            found = formed.mw[site.forming], formed.limited[site.forming], layout.grid.machineless[site.area]
            sites[i], site_frames[i] = _after_forming(params.sites[i], sites[i], site_frames[i], *found, layout.dt_s)
    frame = Frame(
        **of_sites(site_frames),
        **vars(readings),
        job_mw=jobs.mw,
        job_wanted_mw=jobs.wanted_mw,
        job_bits=jobs.bits,
        hall_mw=jobs.hall_mw,
        **dict.fromkeys(OF_WINDOW),
    )
    return PlantState(sites=tuple(sites), grid=grid), frame


def orders(layout: Layout, params: Params, ordered_w: jax.Array, chunk: Frame) -> jax.Array:
    """(training jobs,) W power caps for the next chunk, from the frames of this one; infinite = none."""
    for i, site in enumerate(layout.sites):
        limit = params.sites[i].power_limit
        if limit is not None and site.training:
            jobs = jnp.asarray(site.training)
            ordered_w = ordered_w.at[jobs].set(caps_w(limit, ordered_w[jobs], jnp.mean(chunk.pcc_mw[:, i])))
    return ordered_w


class SiteInputs(NamedTuple):
    """What acts on a site in a tick."""

    it_mw: jax.Array
    extra_mw: jax.Array  # of load steps
    source: voltage.Source
    speed_pu: jax.Array  # speed deviation of its area at the tick's start
    bess_lost: jax.Array  # share of the batteries' converters that have tripped
    iteration_starts: jax.Array  # (planned jobs,) whether an iteration begins
    grid_states: jax.Array  # (grid states,) for a state-feedback controller, else (0,)
    voltage_pu: jax.Array | None  # at the PCC, where the grid is emulated elsewhere


def _site_tick(
    layout: SiteLayout, params: SiteParams, state: SiteState, number: jax.Array, inputs: SiteInputs, dt_s: float
) -> tuple[SiteState, dict[str, jax.Array]]:
    """Facility -> controller -> battery -> point of common coupling, for one site."""
    load_mw = facility_power(params.facility, inputs.it_mw) + inputs.extra_mw  # with all load connected, at 1 pu
    connected = jnp.ones_like(load_mw) if state.ride_through is None else state.ride_through.connected
    measured_mw = connected * load_mw if state.pcc is None else connected * load_mw * state.pcc.load_factor

    batteries, bess = _storage_tick(layout, params, state, number, inputs, measured_mw, dt_s)
    after, status = replace(state, storage=batteries), bess.status

    facility_mw, voltage_pu = measured_mw, jnp.ones_like(load_mw)
    if params.pcc is not None and state.pcc is not None:
        solved = _pcc_voltage(params.pcc, params.facility, inputs, connected * load_mw, bess)
        if params.ride_through is not None and state.ride_through is not None:
            trips = ride_through.trips(params.ride_through, solved.voltage_pu, solved.collapsed)
            connected = jnp.where(trips, 0.0, connected)
            solved = _pcc_voltage(params.pcc, params.facility, inputs, connected * load_mw, bess)
            status = status | jnp.where(trips, DISCONNECTED, 0)
            riding = ride_through.step(
                params.ride_through, layout.return_delay_ticks, state.ride_through, trips, solved.voltage_pu, dt_s
            )
            after = replace(after, ride_through=riding)
        voltage_pu, facility_mw = solved.voltage_pu, connected * load_mw * solved.load_factor
        status = status | jnp.where(solved.collapsed, VOLTAGE_COLLAPSE, 0)
        after = replace(after, pcc=PccState(solved.voltage_pu, solved.load_factor, state.pcc.start_pu))

    frame = dict(
        command_mw=bess.order_mw,
        bess_mw=bess.power_mw,
        soc=bess.soc,
        low_mw=bess.low_mw,
        high_mw=bess.high_mw,
        battery_mw=bess.batteries.power_mw,
        battery_soc=bess.batteries.soc,
        battery_c=bess.batteries.celsius,
        it_mw=inputs.it_mw,
        facility_mw=facility_mw,
        pcc_mw=facility_mw - bess.power_mw,
        pcc_mvar=reactive_power(params.facility, facility_mw) - bess.mvar,
        voltage_pu=voltage_pu,
        connected=connected,
        status=status,
    )
    return after, frame


def _pcc_voltage(
    pcc: voltage.PccParams,
    facility: FacilityParams,
    inputs: SiteInputs,
    load_mw: jax.Array,
    bess: storage.StorageOutputs,
) -> voltage.PccVoltage:
    """Voltage under a load of so many MW at 1 pu and under the battery, unless it comes from another program."""
    if inputs.voltage_pu is not None:
        return voltage.imposed(pcc, inputs.voltage_pu)
    load_mvar = reactive_power(facility, load_mw)
    return voltage.solve(pcc, inputs.source, load_mw, load_mvar, bess.power_mw, bess.mvar)


def _storage_tick(
    layout: SiteLayout,
    params: SiteParams,
    state: SiteState,
    number: jax.Array,
    inputs: SiteInputs,
    load_mw: jax.Array,
    dt_s: float,
) -> tuple[storage.StorageState | None, storage.StorageOutputs]:
    """Controller and batteries, if the site has them, under the load that they measure."""
    if layout.storage is None or params.storage is None or state.storage is None:
        return None, storage.absent(load_mw)
    zero, pcc = jnp.zeros_like(load_mw), state.pcc
    storage_inputs = storage.StorageInputs(
        load_mw=load_mw,
        speed_pu=inputs.speed_pu,
        voltage_pu=zero + 1.0 if pcc is None else pcc.voltage_pu,
        voltage_change_pu=zero if pcc is None else pcc.voltage_pu - pcc.start_pu,
        lost_share=inputs.bess_lost,
        iteration_starts=inputs.iteration_starts,
        grid_states=inputs.grid_states,
    )
    return storage.step(layout.storage, params.storage, state.storage, number, storage_inputs, dt_s)


def _after_forming(
    params: SiteParams,
    state: SiteState,
    frame: dict[str, jax.Array],
    power_mw: jax.Array,
    limited: jax.Array,
    alone: bool,
    dt_s: float,
) -> tuple[SiteState, dict[str, jax.Array]]:
    """A site with a grid-forming battery, once the grid has found the battery's power and whether a limit held it.

    Args:
      alone: the battery is the only source of its area, an island; a limit then is an overload, which ends the run.
    """
    assert params.storage is not None and state.storage is not None
    batteries, bess_mw = storage.after_forming(params.storage, state.storage, power_mw, dt_s)
    status = frame["status"] | jnp.where(limited, POWER_LIMIT | (OVERLOAD if alone else 0), 0)
    listed_mw = jnp.broadcast_to(bess_mw, frame["battery_mw"].shape)  # (0,) or, as it stands alone at its site, (1,)
    found = dict(bess_mw=bess_mw, pcc_mw=frame["facility_mw"] - bess_mw, battery_mw=listed_mw, status=status)
    return replace(state, storage=batteries), frame | found


def _it_power(layout: SiteLayout, job_mw: jax.Array) -> jax.Array:
    """IT power of a site: sum over its jobs."""
    return sum((job_mw[j] for j in layout.jobs), jnp.zeros((), job_mw.dtype))


def _area_changes(
    layout: Layout, params: Params, state: PlantState, frames: list[dict[str, jax.Array]], steps: Steps
) -> frequency.Changes:
    """Changes since the start: draw of the sites on each area, the area's own load steps, and generation lost.

    Grid-forming batteries count as sources of their area, not as part of their sites' draw.
    """
    areas = layout.grid.areas
    draws, forming = [], []
    for frame, p, before, site in zip(frames, params.sites, state.sites, layout.sites, strict=True):
        if site.forming >= 0 and p.storage is not None:
            forming.append(frame)
            draws.append((frame["facility_mw"] + storage.auxiliary_mw(p.storage) - before.start_mw, site.area))
        elif site.area >= 0:
            draws.append((frame["pcc_mw"] - before.start_mw, site.area))
    load_mw = steps.of_all("area_load", areas)
    if draws:
        load_mw = load_mw + sum_at(jnp.stack([mw for mw, _ in draws]), tuple(area for _, area in draws), areas)
    return frequency.Changes(
        load_mw=load_mw,
        generation_lost_mw=steps.of_all("generation_lost", areas),
        inertia_lost_mws=steps.of_all("inertia_lost", areas),
        tie_lost=steps.of_all("tie_lost", len(layout.grid.ties.first)),
        forming=FormingLimits(
            reference_mw=stacked([frame["command_mw"] for frame in forming]),
            low_mw=stacked([frame["low_mw"] for frame in forming]),
            high_mw=stacked([frame["high_mw"] for frame in forming]),
        ),
    )
