"""What goes into a tick of the plant, and what is recorded of it: `Jobs` and `ExternalGrid` in, `Frame` out.

Load positive = draws from the grid; battery positive = discharges; tie positive = from the first area to the second.
Powers are means over the tick, states (frequency, SOC, tie flow) are those at its start.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.grid import frequency
from emulator.struct import quantity, struct


@struct
class Jobs:
    """Power of the jobs in a tick, tick means."""

    mw: jax.Array = quantity("MW", "jobs")
    wanted_mw: jax.Array = quantity("MW", "jobs", "what it would be without smoothing, dummy work and caps")
    bits: jax.Array = quantity("1", "jobs", "int32: what begins in the tick, bits of `cluster.pauses`")
    hall_mw: jax.Array = quantity("MW", "halls")


@struct
class ExternalGrid:
    """What another program emulates of the grid. None stands for what is emulated here.

    In a window the arrays have a leading axis of ticks, as declared here; in one tick they have none.
    """

    speed_pu: jax.Array | None = quantity("pu", "ticks, areas", "speed deviation at the tick's start")
    voltage_pu: tuple[jax.Array | None, ...] = quantity("pu", "sites: ticks", "at each PCC, tick mean")


@struct
class Frame:
    """What is recorded of a tick; see `trace.CHANNELS` for most of these."""

    it_mw: jax.Array = quantity("MW", "sites", "accelerators and their servers")
    facility_mw: jax.Array = quantity("MW", "sites", "consumption of the site, before the battery")
    bess_mw: jax.Array = quantity("MW", "sites", "batteries at their terminals")
    pcc_mw: jax.Array = quantity("MW", "sites", "draw from the grid: facility_mw - bess_mw")
    pcc_mvar: jax.Array = quantity("Mvar", "sites")
    voltage_pu: jax.Array = quantity("pu", "sites")
    connected: jax.Array = quantity("1", "sites", "share of the load not tripped")
    command_mw: jax.Array = quantity("MW", "sites", "order of the controller to the batteries")
    job_mw: jax.Array = quantity("MW", "jobs")
    job_wanted_mw: jax.Array = quantity("MW", "jobs")
    job_bits: jax.Array = quantity("1", "jobs", "int32")
    hall_mw: jax.Array = quantity("MW", "halls")
    soc: jax.Array = quantity("1", "sites", "at the tick's start")
    battery_mw: jax.Array = quantity("MW", "listed batteries")
    battery_soc: jax.Array = quantity("1", "listed batteries", "at the tick's start")
    battery_c: jax.Array = quantity("degC", "listed batteries", "at the tick's start")
    speed_pu: jax.Array = quantity("pu", "areas", "deviation at the tick's start")
    mechanical_mw: jax.Array = quantity("MW", "areas", "at the tick's start")
    tie_mw: jax.Array = quantity("MW", "ties", "at the tick's start")
    tie_bits: jax.Array = quantity("1", "ties", "int32, bits of `grid.protection`, at the tick's start")
    stage_bits: jax.Array = quantity("1", "areas", "int32, stages that have shed, at the tick's start")
    inverter_mw: jax.Array = quantity("MW", "reserves", "at the tick's start")
    agc_mw: jax.Array = quantity("MW", "reserves", "order, at the tick's start")
    shed_mw: jax.Array = quantity("MW", "reserves", "load shed, at the tick's start")
    shaft_torque_pu: jax.Array = quantity("pu", "sections of all shafts", "deviation at the tick's start")
    status: jax.Array = quantity("1", "sites", "int32, status bits of `plant`")
    watched_w: jax.Array | None = quantity("W", "rows, watched devices", "of a whole window, in rows of its own")
    job_counts: jax.Array | None = quantity("1", "rows, jobs, COUNTED", "of a whole window: how much there was of each")


# What is added up of a job: what begins, in the order of the bits of `cluster.pauses`, and what only comes in numbers.
COUNTED = (
    *("iterations", "checkpoints", "evaluations", "data_stalls", "faults", "restarts"),
    *("lost_iteration_s", "requests_arrived", "requests_completed"),
)
OF_WINDOW = ("watched_w", "job_counts")  # fields of a frame that are of a whole window of the jobs, not of a tick
AT_START = (
    "soc",
    "battery_soc",
    "battery_c",
    *frequency.Readings.__dataclass_fields__,
)  # fields of a frame that are values at the tick's start, not means over it


def of_sites(frames: list[dict[str, jax.Array]]) -> dict[str, jax.Array]:
    """Fields of a frame over all sites from those of each site; of shape (0,) where there is no site."""
    names = ("it_mw", "facility_mw", "bess_mw", "pcc_mw", "pcc_mvar", "voltage_pu", "connected", "command_mw", "soc")
    listed = ("battery_mw", "battery_soc", "battery_c")
    if not frames:
        return {name: jnp.zeros(0) for name in (*names, *listed)} | {"status": jnp.zeros(0, jnp.int32)}
    together = {name: jnp.concatenate([f[name] for f in frames]) for name in listed}
    return {name: jnp.stack([f[name] for f in frames]) for name in (*names, "status")} | together
