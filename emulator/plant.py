"""The plant: how cluster, facility, battery and grid hang together. Read `tick` from top to bottom.

Load positive = draws from the grid; battery positive = discharges; tie positive = from the first area to the second.
Powers in a frame are means over the tick, states (frequency, SOC, tie flow) are those at its start.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.bess import battery, controller
from emulator.blocks import Compensated, compensated, sum_at
from emulator.cluster import demand
from emulator.cluster.serving import InferenceLayout, InferenceParams
from emulator.facility.power_chain import FacilityParams, facility_power, reactive_power
from emulator.grid import frequency
from emulator.grid.voltage import PccParams, pcc_voltage
from emulator.struct import quantity, static, struct

# Status bits of a site in a frame.
POWER_LIMIT, SOC_LIMIT, VOLTAGE_COLLAPSE = 1, 2, 4


@struct
class StepLayout:
    """A load step: from `tick` + `fraction` on, at a site or in an area (the other is -1)."""

    tick: int = static()
    fraction: float = static()
    site: int = static()
    area: int = static()


@struct
class SiteLayout:
    jobs: tuple[int, ...] = static()  # places in the list of all jobs
    training: tuple[int, ...] = static()  # places in the list of training jobs
    area: int = static()  # -1 on an infinite grid
    delay_ticks: int = static()


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
class PowerLimitParams:
    """Orders of power caps to a site's training jobs."""

    max_mw: jax.Array = quantity("MW")
    gain: jax.Array = quantity("1", "", "of TDP, per chunk and relative excess")
    tdp_w: jax.Array = quantity("W", "training jobs of the site", "of their accelerators")
    least_w: jax.Array = quantity("W", "training jobs of the site", "lowest cap that they take")


@struct
class SiteParams:
    """None stands for a part that the site does not have."""

    facility: FacilityParams = quantity("")
    pcc: PccParams | None = quantity("")
    battery: battery.BatteryParams | None = quantity("")
    controller: controller.ControllerParams | None = quantity("")
    power_limit: PowerLimitParams | None = quantity("")


@struct
class Params:
    """Every number that one may differentiate or change without compiling anew."""

    training: tuple[demand.TrainingParams, ...] = quantity("")
    inference: tuple[InferenceParams, ...] = quantity("")
    sites: tuple[SiteParams, ...] = quantity("")
    grid: frequency.GridParams = quantity("")
    step_mw: jax.Array = quantity("MW", "steps")


@struct
class SiteState:
    battery: battery.BatteryState | None = quantity("")
    towards_grid_mw: Compensated[jax.Array] | None = quantity("MW")
    start_mw: jax.Array = quantity("MW", "", "draw in equilibrium")


@struct
class PlantState:
    sites: tuple[SiteState, ...] = quantity("")
    grid: frequency.GridState = quantity("")


@struct
class Inputs:
    """What comes from outside in a window of ticks."""

    seed: jax.Array = quantity("1", "", "root of all draws, uint32")
    given_mw: jax.Array = quantity("MW", "ticks, given jobs", "jobs that are not emulated: replayed or constant")


@struct
class Jobs:
    """What the jobs do in a tick, tick means; see `cluster.demand.Demand`."""

    mw: jax.Array = quantity("MW", "jobs")
    wanted_mw: jax.Array = quantity("MW", "jobs", "without what mitigations at the accelerators add and withhold")
    bits: jax.Array = quantity("1", "jobs", "int32: what begins in the tick, bits of `cluster.pauses`")
    hall_mw: jax.Array = quantity("MW", "halls")


@struct
class Frame:
    """What a tick leaves behind."""

    it_mw: jax.Array = quantity("MW", "sites")
    facility_mw: jax.Array = quantity("MW", "sites")
    bess_mw: jax.Array = quantity("MW", "sites")
    pcc_mw: jax.Array = quantity("MW", "sites")
    pcc_mvar: jax.Array = quantity("Mvar", "sites")
    voltage_pu: jax.Array = quantity("pu", "sites")
    connected: jax.Array = quantity("1", "sites")
    command_mw: jax.Array = quantity("MW", "sites")
    job_mw: jax.Array = quantity("MW", "jobs")
    job_wanted_mw: jax.Array = quantity("MW", "jobs")
    job_bits: jax.Array = quantity("1", "jobs", "int32")
    hall_mw: jax.Array = quantity("MW", "halls")
    soc: jax.Array = quantity("1", "sites", "at the tick's start")
    speed_pu: jax.Array = quantity("pu", "areas", "deviation at the tick's start")
    mechanical_mw: jax.Array = quantity("MW", "areas", "at the tick's start")
    tie_mw: jax.Array = quantity("MW", "ties", "at the tick's start")
    status: jax.Array = quantity("1", "sites", "POWER_LIMIT | SOC_LIMIT | VOLTAGE_COLLAPSE")
    watched_w: jax.Array | None = quantity("W", "watched devices", "in a whole window: (rows, devices), rows their own")


def equilibrium(layout: Layout, params: Params, job_mw: jax.Array) -> PlantState:
    """The state in which the plant stands still under the job powers (jobs,) of the first tick."""
    sites = tuple(
        _site_equilibrium(at, p, _it_power(at, job_mw)) for at, p in zip(layout.sites, params.sites, strict=True)
    )
    return PlantState(sites=sites, grid=frequency.initial(layout.grid, params.grid, _area_draw(layout, sites)))


def _site_equilibrium(layout: SiteLayout, params: SiteParams, it_mw: jax.Array) -> SiteState:
    draw_mw = facility_power(params.facility, it_mw)
    return SiteState(
        battery=None if params.battery is None else battery.initial(params.battery, layout.delay_ticks),
        towards_grid_mw=None if params.controller is None else compensated(draw_mw),
        start_mw=draw_mw,
    )


def _area_draw(layout: Layout, sites: tuple[SiteState, ...]) -> jax.Array:
    draws = [(s.start_mw, at.area) for s, at in zip(sites, layout.sites, strict=True) if at.area >= 0]
    if not draws:
        return jnp.zeros(layout.grid.areas)
    return sum_at(jnp.stack([mw for mw, _ in draws]), tuple(area for _, area in draws), layout.grid.areas)


def tick(layout: Layout, params: Params, state: PlantState, number: jax.Array, jobs: Jobs) -> tuple[PlantState, Frame]:
    """One tick of the closed loop: each site from IT power to its draw, then the grid under the sum.

    Args:
      number: int32, the tick.
      jobs: power of each job in the tick, and what else there is to record of it.
    """
    step_mw = _steps_now(layout, params.step_mw, number)
    sites, site_frames = [], []
    for i, at in enumerate(layout.sites):
        extra_mw = _at_place(step_mw, tuple(s.site for s in layout.steps), i)
        with jax.named_scope(f"site{i}"):
            site, frame = _site_tick(
                at, params.sites[i], state.sites[i], number, _it_power(at, jobs.mw), extra_mw, layout.dt_s
            )
        sites.append(site)
        site_frames.append(frame)

    with jax.named_scope("grid"):
        grid = frequency.step(
            layout.grid, params.grid, state.grid, _area_change(layout, state, site_frames, step_mw), layout.dt_s
        )
    frame = Frame(
        **_stacked(site_frames),
        job_mw=jobs.mw,
        job_wanted_mw=jobs.wanted_mw,
        job_bits=jobs.bits,
        hall_mw=jobs.hall_mw,
        speed_pu=state.grid.motion.value.speed_pu,
        mechanical_mw=frequency.mechanical_power_mw(layout.grid, params.grid, state.grid),
        tie_mw=frequency.tie_power_mw(params.grid, state.grid),
        watched_w=None,
    )
    return PlantState(sites=tuple(sites), grid=grid), frame


def orders(layout: Layout, params: Params, ordered_w: jax.Array, chunk: Frame) -> jax.Array:
    """(training jobs,) W power caps for the chunk after the one whose frames these are; infinite = none.

    An integral controller on the relative excess of the site's mean draw, from the accelerators' TDP downwards; a cap
    that has come back to TDP is lifted.
    """
    for i, at in enumerate(layout.sites):
        limit = params.sites[i].power_limit
        if limit is None or not at.training:
            continue
        excess = jnp.mean(chunk.pcc_mw[:, i]) / limit.max_mw - 1.0
        jobs = jnp.asarray(at.training)
        before_w = jnp.minimum(ordered_w[jobs], limit.tdp_w)
        cap_w = jnp.maximum(before_w - limit.gain * excess * limit.tdp_w, limit.least_w)
        ordered_w = ordered_w.at[jobs].set(jnp.where(cap_w >= limit.tdp_w, jnp.inf, cap_w))
    return ordered_w


def _site_tick(
    layout: SiteLayout,
    params: SiteParams,
    state: SiteState,
    number: jax.Array,
    it_mw: jax.Array,
    extra_mw: jax.Array,
    dt_s: float,
) -> tuple[SiteState, dict[str, jax.Array]]:
    """Facility -> controller -> battery -> point of common coupling, for one site."""
    facility_mw = facility_power(params.facility, it_mw) + extra_mw
    towards_grid, store = state.towards_grid_mw, state.battery
    zero = jnp.zeros_like(facility_mw)
    command_mw, bess_mw, soc, status = zero, zero, zero * jnp.nan, jnp.zeros((), jnp.int32)

    if params.battery is not None and store is not None:
        soc = store.soc.value
        if params.controller is not None and towards_grid is not None:
            towards_grid, grid_mw = controller.follow(params.controller, towards_grid, facility_mw, dt_s)
            command_mw = controller.command(
                params.controller, grid_mw, facility_mw, soc, params.battery.soc_initial, params.battery.power_mw
            )
        store, limits = battery.step(params.battery, store, command_mw, number, dt_s)
        bess_mw = store.power_mw
        status = jnp.where(limits.power, POWER_LIMIT, 0) | jnp.where(limits.soc, SOC_LIMIT, 0)

    pcc_mw = facility_mw - bess_mw
    pcc_mvar = reactive_power(params.facility, facility_mw)
    voltage_pu = jnp.ones_like(pcc_mw)
    if params.pcc is not None:
        voltage_pu, collapsed = pcc_voltage(params.pcc, pcc_mw, pcc_mvar)
        status = status | jnp.where(collapsed, VOLTAGE_COLLAPSE, 0)

    frame = dict(
        it_mw=it_mw,
        facility_mw=facility_mw,
        bess_mw=bess_mw,
        pcc_mw=pcc_mw,
        pcc_mvar=pcc_mvar,
        voltage_pu=voltage_pu,
        connected=jnp.ones_like(pcc_mw),
        command_mw=command_mw,
        soc=soc,
        status=status,
    )
    return SiteState(battery=store, towards_grid_mw=towards_grid, start_mw=state.start_mw), frame


def _it_power(layout: SiteLayout, job_mw: jax.Array) -> jax.Array:
    return sum((job_mw[j] for j in layout.jobs), jnp.zeros((), job_mw.dtype))


def _steps_now(layout: Layout, step_mw: jax.Array, number: jax.Array) -> list[jax.Array]:
    """Each load step's mean power in this tick; one that begins within the tick counts in part."""
    return [
        mw * jnp.where(number > at.tick, 1.0, jnp.where(number == at.tick, 1.0 - at.fraction, 0.0))
        for mw, at in zip(step_mw, layout.steps, strict=True)
    ]


def _at_place(values: list[jax.Array], place: tuple[int, ...], wanted: int) -> jax.Array:
    return sum((v for v, at in zip(values, place, strict=True) if at == wanted), jnp.zeros(()))


def _area_change(
    layout: Layout, state: PlantState, frames: list[dict[str, jax.Array]], step_mw: list[jax.Array]
) -> jax.Array:
    """(areas,) change of load since the start: the sites that hang on each area and its own load steps."""
    changes = [f["pcc_mw"] - s.start_mw for f, s in zip(frames, state.sites, strict=True)]
    site_area = tuple(at.area for at in layout.sites)
    step_area = tuple(at.area for at in layout.steps)
    areas = range(layout.grid.areas)
    if not areas:
        return jnp.zeros(0)
    return jnp.stack([_at_place(changes, site_area, a) + _at_place(step_mw, step_area, a) for a in areas])


def _stacked(frames: list[dict[str, jax.Array]]) -> dict[str, jax.Array]:
    """Frames of the sites, one array per channel; of shape (0,) where there is no site."""
    names = ("it_mw", "facility_mw", "bess_mw", "pcc_mw", "pcc_mvar", "voltage_pu", "connected", "command_mw", "soc")
    if not frames:
        return {name: jnp.zeros(0) for name in names} | {"status": jnp.zeros(0, jnp.int32)}
    return {name: jnp.stack([f[name] for f in frames]) for name in (*names, "status")}
