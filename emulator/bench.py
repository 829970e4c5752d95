"""Speed of this machine: kernels, closed loop, a whole run, HDF5. Every figure says its sizes.

Each is the best of several repetitions after compilation: the machine's ability, not its neighbours' load.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emulator import config, schema, simulate
from emulator.kernels.passed_share import passed_share_increments
from emulator.rollout import job_power, rollout
from emulator.traces.hdf5 import TraceWriter

REPETITIONS = 5
DEVICES, TICKS = 98_304, 20_000

THREE_AREAS = ["east", "middle", "west"]


def measure() -> dict[str, Any]:
    """All figures, by name; takes about half a minute."""
    return {
        "machine": machine(),
        "passed_share_device_events_per_s": kernel_rate(),
        "demand_device_ticks_per_s": demand_rate(),
        "closed_loop_us_per_tick": closed_loop_us(),
        **end_to_end(),
    }


def machine() -> str:
    """What it ran on: processor, cores, device, versions."""
    devices = ", ".join(sorted({d.device_kind for d in jax.devices()}))
    return f"{_processor()}, {os.cpu_count()} cores, {devices}, JAX {jax.__version__}, Python {platform.python_version()}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def best_seconds(call: Callable[[], object]) -> float:
    """Shortest of several timed calls, after one that compiles."""
    jax.block_until_ready(call())
    times = []
    for _ in range(REPETITIONS):
        begin = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - begin)
    return min(times)


def kernel_rate() -> float:
    """Device events per second of the scatter kernel: 98,304 devices, 16 events, float32."""
    rng = np.random.default_rng(0)
    tick = jnp.asarray(rng.integers(0, TICKS, (16, DEVICES)), jnp.int32)
    fraction = jnp.asarray(rng.uniform(size=(16, DEVICES)), jnp.float32)
    weight = jnp.full(DEVICES, 1.0 / DEVICES, jnp.float32)
    kernel = jax.jit(lambda t, f, w: passed_share_increments(t, f, w, TICKS))
    return 16 * DEVICES / best_seconds(lambda: kernel(tick, fraction, weight))


def demand_rate() -> float:
    """Equivalent device-ticks per second of the event path: 98,304 devices, dgx_h100_frontier, 20,000 ticks of 1 ms."""
    scenario = config.load("campus_100mw", [f"site.0.job.0.devices={DEVICES}"])
    layout, params, state, inputs = simulate.build(scenario, ticks=TICKS)
    step = jax.jit(job_power, static_argnums=0)
    return DEVICES * TICKS / best_seconds(lambda: step(layout, params, state.training, state.tick, inputs)[1])


def closed_loop_us() -> float:
    """Microseconds per tick of the closed loop: one site with battery, controller and PCC; three areas, two ties,
    three governors; float32, one scenario, every channel kept."""
    areas = tuple(
        schema.Area(name=name, rated_mva=1000.0, inertia_s=4.0, damping_pu=1.0, load_mw=500.0, governor=(governor,))
        for name, governor in zip(
            THREE_AREAS,
            (schema.ReheatGovernor(model="reheat"), schema.LagGovernor(model="lag"), schema.Tgov1Governor(model="tgov1")),
            strict=True,
        )
    )
    ties = tuple(schema.Tie(between=pair, synchronizing_mw_per_rad=500.0) for pair in zip(THREE_AREAS, THREE_AREAS[1:], strict=False))
    campus = config.load("campus_100mw")
    job = schema.ConstantJob(name="base", kind="constant", power_mw=90.0)
    site = campus.site[0].model_copy(update={"job": (job,), "area": "east"})
    scenario = campus.model_copy(update={"site": (site,), "grid": schema.Grid(area=areas, tie=ties)})
    layout, params, state, inputs = simulate.build(scenario, ticks=TICKS)
    step = jax.jit(rollout, static_argnums=0)
    return 1e6 * best_seconds(lambda: step(layout, params, state, inputs)[1]) / TICKS


def end_to_end() -> dict[str, float]:
    """The demo, 120 s at 1 ms with every channel written: seconds emulated per second, and what compiling cost;
    HDF5 throughput of its rows alone."""
    scenario = config.load("campus_100mw")
    header = simulate.header_of(scenario)
    with tempfile.TemporaryDirectory() as folder:
        with TraceWriter(Path(folder) / "bench.h5", header, simulate.WINDOW_TICKS) as writer:
            outcome = simulate.stream(scenario, header, writer)
        trace_mb_per_s = hdf5_rate(Path(folder), header)
    return {
        "emulated_s_per_s": outcome.emulated_s / outcome.wall_s,
        "setup_and_compile_s": outcome.setup_s,
        "hdf5_mb_per_s": trace_mb_per_s,
    }
