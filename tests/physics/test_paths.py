"""The path by events and the path by devices are one job: noise included, however devices are cut up and windows fall.

`test_two_paths` compares the paths of one job with everything but noise; here are jobs of other structures.
"""

from __future__ import annotations

import textwrap
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator import config, simulate
from emulator.cluster import demand
from emulator.cluster.iteration import Window

DT_S = 0.005
TICKS = 300  # of a window
HEAD = """
    [run]
    duration_s = 3.0
    dt_s = 0.005
    [[site]]
    name = "campus"
    [[site.job]]
    name = "train"
    kind = "training"
"""
# Faults, checkpoints and two runs cut iterations short; noise; three phases, a barrier in between; no overshoot.
CUT = """
    devices = 41
    runs_s = [[0.3, 1.6], [1.9, 2.7]]
    stage_in_s = 0.15
    stage_out_s = 0.1
    accelerator = {idle_w = 100.0, tdp_w = 700.0, gain_spread = 0.05, response_s = 0.01, server_fraction = 0.3}
    [site.job.workload]
    noise_correlation_s = 0.05
    slow_fraction = 0.2
    slow_by = 0.15
    jitter = 0.03
    rate_spread = 0.1
    checkpoint = {period_s = 0.5, duration_s = 0.07, level = 0.2}
    stall = {probability = 0.3, duration_s = 0.05}
    fault = {rate_per_device_hour = 50.0, stall_s = 0.1, level = 0.1, ramp_s = 0.1, ramp_level = 0.3}
    phase = [
        {name = "forward", duration_s = 0.1, level = 0.9, noise = 0.1, spread_s = 0.01, end_shift = 0.05},
        {name = "backward", duration_s = 0.15, level = 0.7, noise = 0.05, barrier = true, wait_level = 0.2},
        {name = "exchange", duration_s = 0.06, level = 0.05, release_skew_s = 0.03},
    ]
"""
# Runs on from the first tick; overshoots; four phases and two barriers, at one of which nobody waits.
ENDLESS = """
    devices = 33
    accelerator = {idle_w = 50.0, tdp_w = 900.0, edp_fraction = 1.4, edp_duration_s = 0.03, edp_window_s = 0.4}
    [site.job.workload]
    evaluation = {every = 2, duration_s = 0.05, level = 0.4}
    phase = [
        {name = "gather", duration_s = 0.05, level = 0.1, barrier = true, wait_level = 0.0},
        {name = "forward", duration_s = 0.1, level = 0.8, level_jitter = 0.05, spread_s = 0.005},
        {name = "backward", duration_s = 0.15, level = 1.0, noise = 0.02},
        {name = "exchange", duration_s = 0.06, level = 0.2},
    ]
"""
# Devices of a stage are alike: one of each is emulated. Overshoots, starts within the first window.
STAGES = """
    devices = 50
    start_s = 0.7
    accelerator = {idle_w = 100.0, tdp_w = 700.0, response_s = 0.02, edp_fraction = 1.2, edp_duration_s = 0.05, edp_window_s = 0.3}
    [site.job.workload]
    pipeline_stages = 4
    jitter = 0.05
    checkpoint = {period_s = 0.4, duration_s = 0.05, level = 0.1}
    phase = [
        {name = "compute", duration_s = 0.2, level = 0.9, stage_delay_s = 0.02, barrier = true, wait_level = 0.3},
        {name = "exchange", duration_s = 0.1, level = 0.1},
    ]
"""  # noqa: E501
# One phase, and devices of their own pace in two halls.
ONE = """
    devices = 60
    stop_s = 2.2
    stage_out_s = 0.3
    accelerator = {idle_w = 100.0, tdp_w = 700.0, gain_spread = 0.1}
    [site.job.workload]
    slow_fraction = 0.5
    slow_by = 0.3
    phase = [{name = "all", duration_s = 0.3, level = 0.9, noise = 0.05, release_skew_s = 0.1, wait_level = 0.1}]
"""
JOBS = {"cut": CUT, "endless": ENDLESS, "stages": STAGES, "one": ONE}
FREE = ("noise_coherence", "stretch", "power_exponent")  # not scaled: 1, the end of its range, or without effect


def loaded(job: str):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "job.toml"
        path.write_text(textwrap.dedent(HEAD + job))
        return config.load(path)


@cache
def built(name: str) -> tuple:
    """Layout and parameters in float64."""
    with jax.enable_x64(True):
        layout, params, _, _ = simulate.build(loaded(JOBS[name]), ticks=1000)
    layout = layout.training[0]
    return replace(layout, groups=(23, 37)) if name == "one" else layout, params.training[0]


@cache
def compiled(ticks: int = TICKS, dt_s: float = DT_S, double: bool = True):
    """`demand.advance` over a window of ticks."""

    def advance(layout, params, state, seed, first):
        return demand.advance(
            layout, params, state, jax.random.key(seed), jnp.asarray(jnp.inf), Window(first, ticks, dt_s)
        )

    return jax.jit(advance, static_argnums=0)


def emulated(layout, params, seed: int, ticks: int = TICKS, windows: int = 2, dt_s: float = DT_S) -> demand.Demand:
    """What the job does in several windows, one after the other, in order; never more iterations than planned for."""
    state, found = demand.initial(layout, jnp.result_type(float)), []
    for i in range(windows):
        state, its = compiled(ticks, dt_s)(layout, params, state, jnp.uint32(seed), jnp.int32(i * ticks))
        assert not its.overflow
        found.append(jax.tree.map(np.asarray, its))
    return jax.tree.map(lambda *parts: np.concatenate([np.atleast_1d(p) for p in parts]), *found)


def both(layout, params, seed: int, **how) -> tuple[demand.Demand, demand.Demand]:
    """By events and by devices."""
    return tuple(emulated(replace(layout, path=path), params, seed, **how) for path in ("events", "devices"))


def varied(params, seed: int):
    """Every number of a job times 0.7 to 1.3."""
    rng = np.random.default_rng(seed)

    def one(path, leaf):
        return leaf if not leaf.size or path[-1].name in FREE else leaf * rng.uniform(0.7, 1.3, leaf.shape)

    return jax.tree_util.tree_map_with_path(one, params)


def peak_w(params, devices: float) -> float:
    """Largest draw of a group: all devices at EDP."""
    device = params.device
    accelerator_w = device.tdp_w * jnp.maximum(device.edp_fraction, 1.0)
    return float(devices * (device.server_fixed_w + (1.0 + device.server_fraction) * accelerator_w))


@pytest.mark.parametrize("name", JOBS)
@settings(max_examples=14, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_both_paths_are_one_job_whatever_its_structure(name, seed):
    """56 random jobs, 3 s each, noise in common. Sums of 60 devices over some hundred events of 1e-16 each, and an
    event's time, 1e-16 of some 1e3 ticks: 1e-13 of the peak. Allowed 1e-9."""
    layout, params = built(name)
    with jax.enable_x64(True):
        params = varied(params, seed)
        events, devices = both(layout, params, seed)
    assert events.power_w.shape[1] == len(layout.groups)
    np.testing.assert_array_equal(events.bits, devices.bits)
    np.testing.assert_allclose(
        events.power_w, devices.power_w, rtol=0, atol=1e-9 * peak_w(params, max(layout.groups))
    )
    assert np.ptp(events.power_w) > 0.2 * peak_w(params, min(layout.groups))  # it is a job that works
