"""Gains of the state feedback, from the very plant that runs: its tick differentiated at the equilibrium.

    x' = A x + B u + E d,  d' = -w_c d;   min int (g/g_m)^2 + (df/f_m)^2 + (soc/soc_m)^2 + (u/u_m)^2,  g = d - P
The grid's motion, the battery's power and state of charge are the states, the load's swing d a disturbance that fades.
Weights by Bryson's rule: each deviation over the one that counts as much as all others at theirs. Designed without the
battery's delay. Reference: Bryson & Ho, Applied Optimal Control, 1975, sec. 5.2.
"""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import LinAlgError, solve_continuous_are

from emulator import plant, schema
from emulator.bess.lqr import LqrParams
from emulator.complaint import ConfigError, Problem
from emulator.controller_schema import LqrController
from emulator.disturbance import StepLayout
from emulator.frame import Jobs
from emulator.grid import frequency
from emulator.linearise import packed, unpacked
from emulator.plant import Layout, Params
from emulator.rollout import initial_state, job_power
from emulator.scenario import Gains, Records, inputs_of, layout_of, params_of


def gains(scenario: schema.Scenario, place: int, table: LqrController, records: Records) -> np.ndarray:
    """(states,) K of the controller of the site at a place, MW per unit of state.

    Raises:
      ConfigError: no gains stabilise the plant.
    """
    with jax.enable_x64(True):
        a, b, e, speed = _model(_alone(scenario, place, table), place, records)
    size = len(a)
    power, soc, swing = size - 2, size - 1, size
    grown, drive = np.zeros((size + 1, size + 1)), np.append(b, 0.0)[:, None]
    grown[:size, :size], grown[:size, swing] = a, e
    grown[swing, swing] = -2.0 * np.pi * table.cutoff_hz
    q = _weight(size + 1, {swing: 1.0, power: -1.0}, table.grid_mw) + _weight(size + 1, {soc: 1.0}, table.soc)
    if speed is not None:
        q += _weight(size + 1, {speed: scenario.grid.frequency_hz}, table.deviation_hz)
    r = np.array([[1.0 / table.order_mw**2]])
    try:
        p = solve_continuous_are(grown, drive, q, r)
    except LinAlgError as error:
        at, why = f"site.{place}.controller", f"no gains stabilise the plant as linearised: {error}"
        raise ConfigError([Problem("config", None, at, why)]) from error
    return (drive.T @ p)[0] / r[0, 0]


def _weight(size: int, terms: dict[int, float], most: float) -> np.ndarray:
    row = np.zeros(size)
    row[list(terms)] = [value / most for value in terms.values()]
    return np.outer(row, row)


def _alone(scenario: schema.Scenario, place: int, table: LqrController) -> schema.Scenario:
    """The scenario in which only this controller acts, at once, and nothing happens."""
    idle = schema.NoController(kind="none")
    sites = [site.model_copy(update=dict(controller=idle)) for site in scenario.site]
    assert (bess := sites[place].bess) is not None
    sites[place] = sites[place].model_copy(
        update=dict(controller=table, bess=bess.model_copy(update=dict(delay_s=0.0)), measurement=schema.Measurement())
    )
    return scenario.model_copy(update=dict(site=tuple(sites), disturbance=()))


def _model(
    scenario: schema.Scenario, place: int, records: Records
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int | None]:
    """A, B, E in continuous time, and the place of the speed of the site's area among the states."""
    name = scenario.site[place].name
    layout = layout_of(scenario)
    still = Gains(np.zeros(states_of(layout, params_of(scenario, records))))
    params = params_of(scenario, records | {(name, ""): still})
    inputs = inputs_of(scenario, records, 0, layout.chunk_ticks)
    job_mw = job_power(layout, params, initial_state(layout, params), inputs)[1].mw[0]
    start = plant.equilibrium(layout, params, job_mw)
    size = packed(start).shape[0]
    where = unpacked(start, jnp.arange(size, dtype=float))  # of each state in the vector
    store = where.sites[place].storage
    assert store is not None
    battery = store.batteries[0]
    motion = frequency.motion_states(where.grid)
    x = np.asarray(jnp.concatenate([motion, jnp.stack([battery.power_mw, battery.soc.value])])).astype(int)
    area = layout.sites[place].area
    speed = None if area < 0 else list(x).index(int(where.grid.motion.value.speed_pu[area]))
    stepped = replace(layout, steps=(StepLayout("site_load", place, -1, 0.0),))
    jobs = Jobs(mw=job_mw, wanted_mw=job_mw, bits=jnp.zeros(layout.jobs, jnp.int32), hall_mw=jnp.zeros(layout.halls))

    def one(z: jax.Array) -> jax.Array:
        its = replace(_probed(params, place, z[size]), step_size=z[size + 1 :])
        return packed(plant.tick(stepped, its, unpacked(start, z[:size]), jnp.int32(0), jobs)[0])

    slopes = np.asarray(jax.jacfwd(one)(jnp.append(packed(start), jnp.zeros(2)))) / layout.dt_s
    a = slopes[np.ix_(x, x)] - np.eye(len(x)) / layout.dt_s
    return a, slopes[x, size], slopes[x, size + 1], speed


def _probed(params: Params, place: int, probe_mw: jax.Array) -> Params:
    site = params.sites[place]
    assert site.storage is not None and isinstance(site.storage.controller, LqrParams)
    storage = replace(site.storage, controller=replace(site.storage.controller, probe_mw=probe_mw))
    sites = (*params.sites[:place], replace(site, storage=storage), *params.sites[place + 1 :])
    return replace(params, sites=sites)


def states_of(layout: Layout, params: Params) -> int:
    """How many states the feedback has: of the grid's motion, the battery's two, the load's swing."""
    quiet = frequency.initial(layout.grid, params.grid, jnp.zeros(layout.grid.areas))
    return frequency.motion_states(quiet).shape[0] + 3
