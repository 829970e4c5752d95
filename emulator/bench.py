"""Speed of this machine: kernels, closed loop, a whole run, HDF5. Every figure says its sizes.

Each is the best of several repetitions after compilation: the machine's ability, not its neighbours' load.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from emulator import bench_c, config, governor_schema, grid_schema, jobs_schema, schema, simulate
from emulator.account import Block
from emulator.frame import Frame
from emulator.kernels.device_power import Method, device_power
from emulator.kernels.device_tick import Devices, Drive, Settings, State, Switches, at_rest
from emulator.kernels.passed_share import passed_share_increments
from emulator.rollout import job_power, rollout
from emulator.trace import CHANNELS, Event, Trace
from emulator.traces.hdf5 import TraceWriter, read
from emulator.units import counted

REPETITIONS = 5
ONE_SECOND = """{jitter = 0.003, phase = [
    {name = "compute", duration_s = 0.8, level = 0.9, noise = 0.02, spread_s = 0.02, barrier = true, wait_level = 0.3},
    {name = "exchange", duration_s = 0.2, level = 0.15, release_skew_s = 0.02},
]}""".replace("\n", " ")
DEVICES, TICKS = 98_304, 20_000


def measure() -> dict[str, Any]:
    """All figures, by name; takes about a minute."""
    devices_s, c_s = device_rate(), bench_c.device_rate(DEVICES, 2000)
    return {
        "machine": machine(),
        "passed_share_device_events_per_s": kernel_rate(),
        "demand_device_ticks_per_s": demand_rate("dgx_h100_frontier"),
        "demand_1s_device_ticks_per_s": demand_rate(ONE_SECOND),
        "device_path_device_ticks_per_s": devices_s,
        "device_path_in_c_one_core_device_ticks_per_s": c_s,
        **gpu_kernel_rates(),
        "closed_loop_us_per_tick": closed_loop_us(three_areas(), 1),
        "five_areas_us_per_tick": closed_loop_us(five_areas(), 1),
        "five_areas_batch_of_64_us_per_tick_and_scenario": closed_loop_us(five_areas(), 64),
        **end_to_end(),
        "writing_share_of_time": writing_share(),
        "hour_of_100000_s": whole_run_s(100_000, 3600),
        "ten_minutes_of_1000000_s": whole_run_s(1_000_000, 600),
    }


def machine() -> str:
    """What it ran on: processor, cores, device, versions."""
    devices = ", ".join(sorted({d.device_kind for d in jax.devices()}))
    cores = counted(os.cpu_count() or 1, "core")
    return f"{_processor()}, {cores}, {devices}, JAX {jax.__version__}, Python {platform.python_version()}"


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


def demand_rate(workload: str) -> float:
    """Equivalent device-ticks per second of the event path: 98,304 devices, a workload preset or table, 20,000 ticks of
    1 ms."""
    named = f'"{workload}"' if workload.isidentifier() else workload
    scenario = config.load("campus_100mw", [f"site.0.job.0.devices={DEVICES}", f"site.0.job.0.workload={named}"])
    layout, params, state, inputs = simulate.build(scenario, ticks=TICKS)
    step = jax.jit(job_power, static_argnums=0)
    return DEVICES * TICKS / best_seconds(lambda: step(layout, params, state, inputs)[1])


def device_rate() -> float:
    """Device-ticks per second of the path by devices, on all cores: 98,304 devices, dgx_h100_frontier with half of its
    noise each device's own, power smoothing with the floor reached within a second, 20,000 ticks of 1 ms."""
    smoothing = "{floor_fraction = 0.8, ramp_up_w_per_s = 700.0, ramp_down_w_per_s = 700.0}"
    job = "site.0.job.0"
    scenario = config.load(
        "campus_100mw",
        [f"{job}.devices={DEVICES}", f"{job}.smoothing={smoothing}", f"{job}.workload.noise_coherence=0.5"],
    )
    layout, params, state, inputs = simulate.build(scenario, ticks=TICKS)
    layout = simulate.spread(layout)
    step = jax.jit(job_power, static_argnums=0)
    return DEVICES * TICKS / best_seconds(lambda: step(layout, params, state, inputs)[1])


def gpu_kernel_rates() -> dict[str, float | str]:
    """Device-ticks per second of the kernel `device_power` on a GPU: by XLA, and fused. Nothing elsewhere."""
    return kernel_rates(DEVICES, 2000) if jax.default_backend() == "gpu" else {}


def kernel_rates(devices: int, ticks: int, interpret: bool = False) -> dict[str, float | str]:
    """Of the kernel as dispatched and of the fused one; in place of that one's rate, why it was not measured, where JAX
    cannot compile it. `interpret`: as in `device_power`."""
    switches, args = kernel_load(devices, ticks)

    def rate(method: Method | None) -> float:
        kernel = jax.jit(lambda *args: device_power(switches, *args, method=method, interpret=interpret))
        return devices * ticks / best_seconds(lambda: kernel(*args))

    found: dict[str, float | str] = {"device_kernel_by_xla_device_ticks_per_s": rate(None)}
    try:
        return found | {"device_kernel_fused_device_ticks_per_s": rate("pallas")}
    except ImportError as error:
        return found | {"device_kernel_fused_not_measured": str(error)}


def kernel_load(devices: int, ticks: int) -> tuple[Switches, tuple[Settings, Devices, State, Drive, jax.Array]]:
    """What `device_power` takes, for the load of the C program beside the path by devices: own noise, smoothing without
    timers, every 250 ticks an event that devices pass within 40 ticks."""
    rng = np.random.default_rng(0)
    numbers = dict.fromkeys(Settings._fields, 0.0) | {
        **{"response": 0.05, "mean_response": 0.025, "incoherent": 1.0, "fade": 0.99, "innovation": 0.14},
        **{"floor": 0.8, "up": 1e-4, "down": 1e-4, "ceiling": np.inf, "width": 0.2, "active_above": 0.02},
    }
    settings = Settings(*(jnp.asarray(x, jnp.float32) for x in numbers.values()))
    switches = Switches(noisy=True, own=True, smoothing=True, timers=False, averaged=False, dummy=False, cap=False)
    one, key = jnp.ones(devices, jnp.float32), jnp.asarray(rng.integers(0, 2**32, devices, dtype=np.uint32))
    begin = np.arange(0, ticks, 250, dtype=np.int32)[:, None]
    drive = Drive(
        tick=jnp.asarray(begin + rng.integers(0, 40, (len(begin), devices), dtype=np.int32)),
        fraction=jnp.asarray(rng.uniform(size=(len(begin), devices)), jnp.float32),
        level_step=jnp.asarray(np.resize([0.85, -0.85], len(begin)), jnp.float32),
        noise_step=jnp.asarray(np.resize([0.05, -0.05], len(begin)), jnp.float32),
        common=jnp.zeros(ticks, jnp.float32),
        cap=jnp.full(ticks, jnp.inf, jnp.float32),
        poll=jnp.zeros(ticks, bool),
    )
    its = Devices(one, one / devices, key)
    return switches, (settings, its, at_rest(switches, devices, one.dtype), drive, jnp.int32(0))


def closed_loop_us(scenario: schema.Scenario, batch: int) -> float:
    """Microseconds per tick and scenario of the closed loop; float32, every channel kept. A batch of scenarios differs
    in the areas' inertia and is spread over all cores."""
    ticks = TICKS if batch == 1 else TICKS // 10
    layout, params, state, inputs = simulate.build(scenario, ticks=ticks)
    step = jax.jit(rollout, static_argnums=0)
    if batch == 1:
        return 1e6 * best_seconds(lambda: step(layout, params, state, inputs)[1]) / ticks
    inertia_s = params.grid.inertia_s * jnp.linspace(1.0, 1.5, batch)[:, None]

    def one(inertia_s: jax.Array) -> Frame:
        return rollout(layout, replace(params, grid=replace(params.grid, inertia_s=inertia_s)), state, inputs)[1]

    mesh = Mesh(np.array(jax.devices()), ("devices",))
    inertia_s = jax.device_put(inertia_s, NamedSharding(mesh, PartitionSpec("devices")))
    every = jax.jit(jax.vmap(one))
    return 1e6 * best_seconds(lambda: every(inertia_s)) / ticks / batch


def five_areas() -> schema.Scenario:
    """The demo's site under a constant load in the five-area grid: three kinds of governor, AGC and a shaft."""
    shaft = "{preset='ieee_first_benchmark', name='unit', area='centre', coupling=0.03}"
    grid = f"grid={{preset='five_area', shaft=[{shaft}]}}"
    campus = config.load("campus_100mw", [grid, "site.0.area=centre"])
    load = jobs_schema.ConstantJob(name="base", kind="constant", power_mw=90.0)
    return campus.model_copy(update={"site": (campus.site[0].model_copy(update={"job": (load,)}),)})


def three_areas() -> schema.Scenario:
    """The demo's site under a constant load, on a chain of three areas, two ties, three kinds of governor."""
    governors = (
        governor_schema.ReheatGovernor(model="reheat"),
        governor_schema.LagGovernor(model="lag"),
        governor_schema.Tgov1Governor(model="tgov1"),
    )
    names = ("east", "middle", "west")
    areas = tuple(
        grid_schema.Area(name=name, inertia_s=4.0, damping_pu=1.0, load_mw=500.0, governor=(governor,))
        for name, governor in zip(names, governors, strict=True)
    )
    ties = tuple(grid_schema.Tie(between=pair, synchronizing_mw_per_rad=500.0) for pair in pairwise(names))
    campus = config.load("campus_100mw")
    load = jobs_schema.ConstantJob(name="base", kind="constant", power_mw=90.0)
    site = campus.site[0].model_copy(update={"job": (load,), "area": "east"})
    return campus.model_copy(update={"site": (site,), "grid": grid_schema.Grid(area=areas, tie=ties)})


def end_to_end() -> dict[str, float]:
    """The demo, 120 s at 1 ms with every channel written: seconds emulated per second, and what compiling cost;
    then its rows alone, written six times over."""
    scenario = config.load("campus_100mw")
    header = simulate.header_of(scenario)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.h5"
        with TraceWriter(path, header, simulate.WINDOW_TICKS) as writer:
            outcome = simulate.stream(scenario, header, writer)
        rows = read(path)
    return {
        "emulated_s_per_s": outcome.emulated_s / outcome.wall_s,
        "setup_and_compile_s": outcome.setup_s,
        "hdf5_mb_per_s": hdf5_rate(rows),
    }


def whole_run_s(devices: int, duration_s: int) -> float:
    """Seconds for a run of the demo with so many devices, battery, PCC and grid scaled with them, streamed to HDF5 at
    every tick of 1 ms; without set-up and compilation."""
    scale = devices / 78_432
    scenario = config.load(
        "campus_100mw",
        [
            f"run.duration_s={duration_s}",
            f"site.0.job.0.devices={devices}",
            f"site.0.pcc.rated_mw={150.0 * scale}",
            f"site.0.bess.units={round(60 * scale)}",
            f"grid.area.0.rated_mva={1e4 * scale}",
        ],
    )
    header = simulate.header_of(scenario)
    with (
        tempfile.TemporaryDirectory() as folder,
        TraceWriter(Path(folder) / "run.h5", header, simulate.WINDOW_TICKS) as writer,
    ):
        return simulate.stream(scenario, header, writer).wall_s


class _Dropped:
    """A sink that keeps nothing."""

    def append(self, first_tick: int, block: Block, events: list[Event]) -> None:
        pass

    def finish(self, metrics: Mapping[str, float], stop_reason: str, complete: bool) -> None:
        pass


def writing_share() -> float:
    """Share of the time of the demo, over 800 s at 1 ms, that writing it with checkpoints takes: by the medians of
    seven runs with rows written and seven with rows dropped, in turns, as a machine's speed changes by the minute."""
    scenario = config.load("campus_100mw", ["run.duration_s=800"])
    header = simulate.header_of(scenario)

    def written_s() -> float:
        with (
            tempfile.TemporaryDirectory() as folder,
            TraceWriter(Path(folder) / "run.h5", header, simulate.WINDOW_TICKS) as writer,
        ):
            return simulate.stream(scenario, header, writer, keeper=writer).wall_s

    times = [(simulate.stream(scenario, header, _Dropped()).wall_s, written_s()) for _ in range(7)]
    dropped_s, kept_s = np.median(times, axis=0)
    return float(1.0 - dropped_s / kept_s)


def hdf5_rate(trace: Trace) -> float:
    """Megabytes of the trace's channels written per second with its compression, up to the closed file."""
    block = {channel.name: getattr(trace, channel.name) for channel in CHANNELS}
    rows, repeats = len(trace.time_s), 6
    megabytes = repeats * (sum(values.nbytes for values in block.values()) + trace.time_s.nbytes) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        with TraceWriter(Path(folder) / "rows.h5", trace.header, simulate.WINDOW_TICKS) as writer:
            for i in range(repeats):
                writer.append(i * rows, block, [])
            writer.finish(trace.metrics, "end of run", complete=True)
        return megabytes / (time.perf_counter() - begin)


def render(figures: dict[str, Any]) -> str:
    """A line a figure, or why there is none."""
    rest = {name: value if isinstance(value, str) else f"{value:.4g}" for name, value in figures.items()}
    return "\n".join([rest.pop("machine"), *(f"{name:45s} {value}" for name, value in rest.items())])
