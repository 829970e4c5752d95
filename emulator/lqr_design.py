"""Gains of the state feedback, from the very plant that runs: its tick differentiated at the equilibrium.

    x[k+1] = A x[k] + B u[k] + E d[k],  d[k+1] = e^(-w_c dt) d[k]
    min sum (g/g_m)^2 + (df/f_m)^2 + (soc/soc_m)^2 + (u/u_m)^2,   g[k] = d[k] - P of the tick
The grid's motion, the battery's power and state of charge, and its orders on their way are the states; the load's swing
d is a disturbance that fades. Weights by Bryson's rule: each deviation over the one that counts as much as all others
at theirs. Reference: Bryson & Ho, Applied Optimal Control, 1975, sec. 2.3 (discrete), 5.2.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import LinAlgError, solve_discrete_are

from emulator import plant, schema
from emulator.bess.lqr import LqrParams
from emulator.complaint import ConfigError, Problem
from emulator.controller_schema import LqrController
from emulator.disturbance import StepLayout
from emulator.frame import Jobs
from emulator.grid import frequency
from emulator.linearise import packed, rolled, unpacked
from emulator.plant import Layout, Params
from emulator.rollout import initial_state
from emulator.scenario import Gains, Records, inputs_of, layout_of, params_of
from emulator.waveform import emulated


def gains(scenario: schema.Scenario, place: int, table: LqrController, records: Records) -> np.ndarray:
    """(states,) K of the controller of the site at a place, MW per unit of state.

    Raises:
      ConfigError: no gains stabilise the plant.
    """
    with jax.enable_x64(True):
        model = _model(_alone(scenario, place, table), place, records)
    size = len(model.a) + 1
    a, b = np.zeros((size, size)), np.append(model.b, 0.0)[:, None]
    a[:-1, :-1], a[:-1, -1] = model.a, model.e
    a[-1, -1] = np.exp(-2.0 * np.pi * table.cutoff_hz * scenario.run.dt_s)
    swing = np.eye(size)[-1]
    grid, by_order = (swing - a[model.power]) / table.grid_mw, -b[model.power] / table.grid_mw  # d - P of the tick
    q = np.outer(grid, grid) + np.diag(np.eye(size)[model.soc]) / table.soc**2
    if model.speed is not None:
        q += np.diag(np.eye(size)[model.speed]) * (scenario.grid.frequency_hz / table.deviation_hz) ** 2
    r = np.array([[1.0 / table.order_mw**2]]) + np.outer(by_order, by_order)
    cross = np.outer(grid, by_order)
    try:
        p = solve_discrete_are(a, b, q, r, s=cross)
    except LinAlgError as error:
        at, why = f"site.{place}.controller", f"no gains stabilise the plant as linearised: {error}"
        raise ConfigError([Problem("config", None, at, why)]) from error
    return np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a + cross.T)[0]


def _alone(scenario: schema.Scenario, place: int, table: LqrController) -> schema.Scenario:
    """The scenario in which only this controller acts, and nothing happens."""
    idle = schema.NoController(kind="none")
    sites = [site.model_copy(update=dict(controller=idle)) for site in scenario.site]
    sites[place] = sites[place].model_copy(update=dict(controller=table, measurement=schema.Measurement()))
    return scenario.model_copy(update=dict(site=tuple(sites), disturbance=()))


class _Model(NamedTuple):
    """x[k+1] = A x[k] + B u[k] + E d[k], and where power, charge and the area's speed stand in x."""

    a: np.ndarray
    b: np.ndarray
    e: np.ndarray
    power: int
    soc: int
    speed: int | None


def _model(scenario: schema.Scenario, place: int, records: Records) -> _Model:
    """Of the tick that runs, at the equilibrium under the load of the first one."""
    name = scenario.site[place].name
    layout = layout_of(scenario)
    still = Gains(np.zeros(_states(layout, params_of(scenario, records), place)))
    params = params_of(scenario, records | {(name, ""): still})
    inputs = inputs_of(scenario, records, 0, layout.chunk_ticks)
    work = emulated(layout, params, initial_state(layout, params), inputs)
    job_mw = work[1].mw[0]
    start = plant.equilibrium(layout, params, job_mw)
    size = packed(start).shape[0]
    where = unpacked(start, jnp.arange(size, dtype=float))  # of each state in the vector
    store = where.sites[place].storage
    assert store is not None
    battery = store.batteries[0]
    motion = frequency.motion_states(where.grid)
    own = jnp.stack([battery.power_mw, battery.soc.value])
    x = np.asarray(jnp.concatenate([motion, own, battery.pending_mw])).astype(int)
    area = layout.sites[place].area
    speed = None if area < 0 else list(x).index(int(where.grid.motion.value.speed_pu[area]))
    stepped = replace(layout, steps=(StepLayout("site_load", place, -1, 0.0),))
    jobs = Jobs(mw=job_mw, wanted_mw=job_mw, bits=jnp.zeros(layout.jobs, jnp.int32), hall_mw=jnp.zeros(layout.halls))

    def one(z: jax.Array) -> jax.Array:
        its = replace(_probed(params, place, z[size]), step_size=z[size + 1 :])
        return packed(rolled(plant.tick(stepped, its, unpacked(start, z[:size]), jnp.int32(0), jobs)[0]))

    slopes = np.asarray(jax.jit(jax.jacfwd(one))(jnp.append(packed(start), jnp.zeros(2))))
    power = len(motion)
    return _Model(slopes[np.ix_(x, x)], slopes[x, size], slopes[x, size + 1], power, power + 1, speed)


def _probed(params: Params, place: int, probe_mw: jax.Array) -> Params:
    site = params.sites[place]
    assert site.storage is not None and isinstance(site.storage.controller, LqrParams)
    storage = replace(site.storage, controller=replace(site.storage.controller, probe_mw=probe_mw))
    sites = (*params.sites[:place], replace(site, storage=storage), *params.sites[place + 1 :])
    return replace(params, sites=sites)


def _states(layout: Layout, params: Params, place: int) -> int:
    """How many states the feedback has: of the grid's motion, the battery's two, orders on their way, the swing."""
    quiet = frequency.initial(layout.grid, params.grid, jnp.zeros(layout.grid.areas))
    storage = layout.sites[place].storage
    assert storage is not None
    return frequency.motion_states(quiet).shape[0] + storage.delay_ticks[0] + 3
