"""The plant: how cluster, facility, battery and grid hang together. Read `tick` from top to bottom.

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
from emulator.frame import Frame, Jobs, of_sites
from emulator.grid import frequency, voltage
from emulator.grid.forming import Forming
from emulator.power_limit import PowerLimitParams, caps_w
from emulator.struct import quantity, static, struct

# Status bits of a site in a frame.
POWER_LIMIT, SOC_LIMIT = storage.POWER_LIMIT, storage.SOC_LIMIT
VOLTAGE_COLLAPSE, DISCONNECTED, OVERLOAD = 4, 8, 16


@struct
class SiteLayout:
    jobs: tuple[int, ...] = static()  # places in the list of all jobs
    training: tuple[int, ...] = static()  # places in the list of training jobs
    area: int = static()  # -1 on an infinite grid
    wait_ticks: int = static()  # of a tripped site, with its voltage back
    storage: storage.StorageLayout | None = static()
    feedback: bool = static()  # its controller feeds the grid's states back
    planned: tuple[int, ...] = static()  # places in the list of all jobs, of those whose schedule its controller knows
    former: int = static()  # place among the grid-forming batteries, -1 = it follows


@struct
class Layout:
    """Sizes and switches: hashable, no physical quantity that one would differentiate."""

    dt_s: float = static()
    chunk_ticks: int = static()
    every_ticks: int = static()
    jobs: int = static()
    halls: int = static()  # power groups of all sites
    training_halls: tuple[tuple[int, ...], ...] = static()  # of each training job, in the order of its groups
    inference_hall: tuple[int, ...] = static()  # of each inference job
    given_hall: tuple[int, ...] = static()  # of each given job
    training: tuple[demand.TrainingLayout, ...] = static()
    training_job: tuple[int, ...] = static()  # place of each training job in the list of all jobs
    inference: tuple[InferenceLayout, ...] = static()
    inference_job: tuple[int, ...] = static()  # likewise of each inference job
    given_job: tuple[int, ...] = static()  # likewise of the jobs whose power comes in with Inputs
    sites: tuple[SiteLayout, ...] = static()
    grid: frequency.GridLayout = static()
    steps: tuple[StepLayout, ...] = static()


@struct
class SiteParams:
    """None stands for a part that the site does not have."""

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
    storage: storage.StorageState | None = quantity("")
    point: PointState | None = quantity("")
    ride_through: ride_through.RideThroughState | None = quantity("")
    start_mw: jax.Array = quantity("MW", "", "draw in equilibrium")


@struct
class PointState:
    """Point of common coupling in the tick before; what reacts to it does so one tick later."""

    voltage_pu: jax.Array = quantity("pu")
    load_factor: jax.Array = quantity("1", "", "load over that at 1 pu")
    start_pu: jax.Array = quantity("pu", "", "voltage in equilibrium, reference of the reactive support")


@struct
class PlantState:
    sites: tuple[SiteState, ...] = quantity("")
    grid: frequency.GridState = quantity("")


@struct
class Outside:
    """A grid that is emulated elsewhere. None stands for what this program emulates itself."""

    speed_pu: jax.Array | None = quantity("pu", "ticks, areas", "deviation at the tick's start; in a tick (areas,)")
    voltage_pu: tuple[jax.Array | None, ...] = quantity("pu", "sites: ticks", "tick mean; in a tick scalars")


@struct
class Inputs:
    """What comes from outside in a window of ticks."""

    seed: jax.Array = quantity("1", "", "root of all draws, uint32")
    given_mw: jax.Array = quantity("MW", "ticks, given jobs", "jobs that are not emulated: replayed or constant")
    outside: Outside | None = None


def equilibrium(layout: Layout, params: Params, job_mw: jax.Array, outside: Outside | None = None) -> PlantState:
    """The state in which the plant stands still under the job powers (jobs,) of the first tick, and the grid's voltages
    in it where they come from outside."""
    sites = tuple(
        _site_equilibrium(at, p, _it_power(at, job_mw), _voltage(outside, i))
        for i, (at, p) in enumerate(zip(layout.sites, params.sites, strict=True))
    )
    return PlantState(sites=sites, grid=frequency.initial(layout.grid, params.grid, _area_draw(layout, sites)))


def _voltage(outside: Outside | None, site: int) -> jax.Array | None:
    return None if outside is None else outside.voltage_pu[site]


def _site_equilibrium(
    layout: SiteLayout, params: SiteParams, it_mw: jax.Array, voltage_pu: jax.Array | None
) -> SiteState:
    load_mw = facility_power(params.facility, it_mw)
    own_mw = jnp.zeros_like(load_mw) if params.storage is None else -storage.auxiliary_mw(params.storage)
    here = None
    if params.pcc is not None:
        zero = jnp.zeros_like(load_mw)
        mvar = reactive_power(params.facility, load_mw)
        found = (
            voltage.point(params.pcc, voltage.Source(zero, zero), load_mw, mvar, own_mw, zero)
            if voltage_pu is None
            else voltage.given(params.pcc, voltage_pu)
        )
        here = PointState(found.voltage_pu, found.load_factor, found.voltage_pu)
        load_mw = load_mw * found.load_factor
    stores = None
    if layout.storage is not None and params.storage is not None:
        stores = storage.initial(layout.storage, params.storage, load_mw)
    return SiteState(
        storage=stores,
        point=here,
        ride_through=None if params.ride_through is None else ride_through.initial(load_mw.dtype),
        start_mw=load_mw - own_mw,
    )


def _area_draw(layout: Layout, sites: tuple[SiteState, ...]) -> jax.Array:
    draws = [(s.start_mw, at.area) for s, at in zip(sites, layout.sites, strict=True) if at.area >= 0]
    if not draws:
        return jnp.zeros(layout.grid.areas)
    return sum_at(jnp.stack([mw for mw, _ in draws]), tuple(area for _, area in draws), layout.grid.areas)


def tick(
    layout: Layout, params: Params, state: PlantState, number: jax.Array, jobs: Jobs, outside: Outside | None = None
) -> tuple[PlantState, Frame]:
    """One tick of the closed loop: each site from IT power to its draw, then the grid under the sum.

    Args:
      number: int32, the tick.
      jobs: power of each job in the tick, and what else there is to record of it.
      outside: the grid in the tick, where it is emulated elsewhere.
    """
    given = None if outside is None else outside.speed_pu
    steps, speeds = Steps(layout.steps, params.step_size, number), state.grid.motion.value.speed_pu
    if given is not None:
        speeds = given
    sites, site_frames = [], []
    for i, at in enumerate(layout.sites):
        with jax.named_scope(f"site{i}"):
            meets = SiteInput(
                it_mw=_it_power(at, jobs.mw),
                extra_mw=steps.at("site_load", i),
                source=voltage.Source(steps.at("source_voltage", i), steps.at("short_circuit_ratio", i)),
                speed_pu=speeds[at.area] if at.area >= 0 else jnp.zeros((), speeds.dtype),
                bess_lost=steps.at("bess_lost", i),
                motion=frequency.motion_states(state.grid) if at.feedback else jnp.zeros(0, speeds.dtype),
                starts=stacked([(jobs.bits[job] & pauses.ITERATION) > 0 for job in at.planned]),
                voltage_pu=_voltage(outside, i),
            )
            site, frame = _site_tick(at, params.sites[i], state.sites[i], number, meets, layout.dt_s)
        sites.append(site)
        site_frames.append(frame)

    with jax.named_scope("grid"):
        changes = _area_changes(layout, params, state, site_frames, steps)
        readings = frequency.readings(layout.grid, params.grid, state.grid, changes)
        if given is None:
            grid, formed = frequency.step(layout.grid, params.grid, state.grid, number, changes, layout.dt_s)
        else:
            grid, readings = state.grid, frequency.told(readings, given)
    for i, at in enumerate(layout.sites):
        if at.former >= 0:  # never where the frequency is given: there is nothing left to form
            alone = layout.grid.machineless[at.area]
            its = formed.power_mw[at.former], formed.limited[at.former]
            sites[i], site_frames[i] = _formed(params.sites[i], sites[i], site_frames[i], *its, alone, layout.dt_s)
    frame = Frame(
        **of_sites(site_frames),
        **vars(readings),
        job_mw=jobs.mw,
        job_wanted_mw=jobs.wanted_mw,
        job_bits=jobs.bits,
        hall_mw=jobs.hall_mw,
        watched_w=None,
    )
    return PlantState(sites=tuple(sites), grid=grid), frame


def orders(layout: Layout, params: Params, ordered_w: jax.Array, chunk: Frame) -> jax.Array:
    """(training jobs,) W power caps for the chunk after the one whose frames these are; infinite = none."""
    for i, at in enumerate(layout.sites):
        limit = params.sites[i].power_limit
        if limit is not None and at.training:
            jobs = jnp.asarray(at.training)
            ordered_w = ordered_w.at[jobs].set(caps_w(limit, ordered_w[jobs], jnp.mean(chunk.pcc_mw[:, i])))
    return ordered_w


class SiteInput(NamedTuple):
    """What a site meets in a tick."""

    it_mw: jax.Array
    extra_mw: jax.Array  # of load steps
    source: voltage.Source
    speed_pu: jax.Array  # of its area at the tick's start
    bess_lost: jax.Array  # share of the batteries' converters that have tripped
    starts: jax.Array  # (planned jobs,) whether an iteration begins
    motion: jax.Array  # (grid states,) where its controller feeds them back
    voltage_pu: jax.Array | None  # at its point of common coupling, where it comes from outside


def _site_tick(
    layout: SiteLayout, params: SiteParams, state: SiteState, number: jax.Array, meets: SiteInput, dt_s: float
) -> tuple[SiteState, dict[str, jax.Array]]:
    """Facility -> controller -> battery -> point of common coupling, for one site."""
    load_mw = facility_power(params.facility, meets.it_mw) + meets.extra_mw  # all connected, at 1 pu
    riding, here = state.ride_through, state.point
    connected = jnp.ones_like(load_mw) if riding is None else riding.connected
    seen_mw = connected * load_mw if here is None else connected * load_mw * here.load_factor

    stores, its = _storage_tick(layout, params, state, number, meets, seen_mw, dt_s)
    after, status, bess_mw = replace(state, storage=stores), its.status, its.power_mw

    facility_mw, voltage_pu = seen_mw, jnp.ones_like(load_mw)
    if (pcc := params.pcc) is not None and here is not None:

        def point(share: jax.Array) -> voltage.Point:
            if meets.voltage_pu is not None:
                return voltage.given(pcc, meets.voltage_pu)
            part_mw = share * load_mw
            part_mvar = reactive_power(params.facility, part_mw)
            return voltage.point(pcc, meets.source, part_mw, part_mvar, bess_mw, its.mvar)

        found = point(connected)
        if params.ride_through is not None and riding is not None:
            trips = ride_through.trips(params.ride_through, found.voltage_pu, found.collapsed)
            connected = jnp.where(trips, 0.0, connected)
            found = point(connected)
            status = status | jnp.where(trips, DISCONNECTED, 0)
            riding = ride_through.step(params.ride_through, layout.wait_ticks, riding, trips, found.voltage_pu, dt_s)
        voltage_pu, facility_mw = found.voltage_pu, connected * load_mw * found.load_factor
        status = status | jnp.where(found.collapsed, VOLTAGE_COLLAPSE, 0)
        after = replace(
            after, ride_through=riding, point=PointState(found.voltage_pu, found.load_factor, here.start_pu)
        )

    frame = dict(
        command_mw=its.order_mw,
        bess_mw=bess_mw,
        soc=its.soc,
        low_mw=its.low_mw,
        high_mw=its.high_mw,
        battery_mw=its.each.mw,
        battery_soc=its.each.soc,
        battery_c=its.each.celsius,
        it_mw=meets.it_mw,
        facility_mw=facility_mw,
        pcc_mw=facility_mw - bess_mw,
        pcc_mvar=reactive_power(params.facility, facility_mw) - its.mvar,
        voltage_pu=voltage_pu,
        connected=connected,
        status=status,
    )
    return after, frame


def _storage_tick(
    layout: SiteLayout,
    params: SiteParams,
    state: SiteState,
    number: jax.Array,
    meets: SiteInput,
    load_mw: jax.Array,
    dt_s: float,
) -> tuple[storage.StorageState | None, storage.Given]:
    """Controller and batteries, if the site has them, under what they measure."""
    zero, here = jnp.zeros_like(load_mw), state.point
    if layout.storage is None or params.storage is None or state.storage is None:
        return None, storage.absent(load_mw)
    around = storage.Surroundings(
        load_mw=load_mw,
        speed_pu=meets.speed_pu,
        voltage_pu=zero + 1.0 if here is None else here.voltage_pu,
        support_pu=zero if here is None else here.voltage_pu - here.start_pu,
        lost=meets.bess_lost,
        starts=meets.starts,
        motion=meets.motion,
    )
    return storage.step(layout.storage, params.storage, state.storage, number, around, dt_s)


def _formed(
    params: SiteParams,
    state: SiteState,
    frame: dict[str, jax.Array],
    power_mw: jax.Array,
    limited: jax.Array,
    alone: bool,
    dt_s: float,
) -> tuple[SiteState, dict[str, jax.Array]]:
    """A site with a grid-forming battery, once the grid has said what it gave. A limit met by the only source of an
    island is the end of it."""
    assert params.storage is not None and state.storage is not None
    stores, bess_mw = storage.formed(params.storage, state.storage, power_mw, dt_s)
    status = frame["status"] | jnp.where(limited, POWER_LIMIT | (OVERLOAD if alone else 0), 0)
    pcc_mw = frame["facility_mw"] - bess_mw
    return replace(state, storage=stores), frame | dict(bess_mw=bess_mw, pcc_mw=pcc_mw, status=status)


def _it_power(layout: SiteLayout, job_mw: jax.Array) -> jax.Array:
    return sum((job_mw[j] for j in layout.jobs), jnp.zeros((), job_mw.dtype))


def _area_changes(
    layout: Layout, params: Params, state: PlantState, frames: list[dict[str, jax.Array]], steps: Steps
) -> frequency.Changes:
    """Since the start: the sites that hang on each area, its own load steps, what it loses of its generation.

    Grid-forming batteries count as sources of the area, not as part of their sites.
    """
    areas = layout.grid.areas
    sites, formers = [], []
    for f, p, s, at in zip(frames, params.sites, state.sites, layout.sites, strict=True):
        if at.former >= 0 and p.storage is not None:
            formers.append(f)
            sites.append((f["facility_mw"] + storage.auxiliary_mw(p.storage) - s.start_mw, at.area))
        elif at.area >= 0:
            sites.append((f["pcc_mw"] - s.start_mw, at.area))
    load_mw = steps.of_all("area_load", areas)
    if sites:
        load_mw = load_mw + sum_at(jnp.stack([mw for mw, _ in sites]), tuple(area for _, area in sites), areas)
    return frequency.Changes(
        load_mw=load_mw,
        generation_lost_mw=steps.of_all("generation_lost", areas),
        inertia_lost_mws=steps.of_all("inertia_lost", areas),
        tie_lost=steps.of_all("tie_lost", len(layout.grid.ties.first)),
        formers=Forming(
            reference_mw=stacked([f["command_mw"] for f in formers]),
            low_mw=stacked([f["low_mw"] for f in formers]),
            high_mw=stacked([f["high_mw"] for f in formers]),
        ),
    )
