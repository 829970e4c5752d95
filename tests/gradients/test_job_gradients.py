"""jax.grad of what a training job draws, with everything that it can do, against central differences in float64.

A gradient is that of the job as drawn: how many faults, stalls and checkpoints there are is held, when they come is not
(a higher fault rate brings the faults drawn forward). How many are to be expected has a gradient in closed form only.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import emulator as em
from emulator import simulate
from emulator.cluster import pauses
from emulator.frame import COUNTED
from tests.compiling import QUICKLY

EVERYTHING = """
    [run]
    duration_s = 3.0
    dt_s = 0.0005
    seed = SEED
    [[site]]
    name = "campus"
    [[site.job]]
    name = "train"
    kind = "training"
    devices = 60
    runs_s = [[0.2, 1.9003], [2.1, 2.7002]]
    stage_in_s = 0.1537
    stage_out_s = 0.0913
    MITIGATION
    [site.job.accelerator]
    idle_w = 100.0
    tdp_w = 700.0
    server_fixed_w = 50.0
    server_fraction = 0.2
    gain_spread = 0.05
    response_s = 0.01
    edp_fraction = 1.3
    edp_duration_s = 0.05
    edp_window_s = 0.3
    [site.job.workload]
    pipeline_stages = 3
    slow_fraction = 0.2
    slow_by = 0.2
    rate_spread = 0.1
    jitter = 0.02
    noise_correlation_s = 0.05
    noise_coherence = 0.6
    checkpoint = {period_s = 0.35, duration_s = 0.07, level = 0.2}
    evaluation = {every = 3, duration_s = 0.05, level = 0.4}
    stall = {probability = 0.3, duration_s = 0.05, level = 0.1}
    fault = {rate_per_device_hour = 30.0, stall_s = 0.1, level = 0.15, ramp_s = 0.1, ramp_level = 0.3}
    [[site.job.workload.phase]]
    name = "forward"
    duration_s = 0.1
    level = 0.9
    noise = 0.05
    spread_s = 0.003
    stage_delay_s = 0.012
    end_shift = 0.05
    [[site.job.workload.phase]]
    name = "backward"
    duration_s = 0.15
    level = 0.7
    level_jitter = 0.05
    noise = 0.03
    spread_s = 0.02
    barrier = true
    wait_level = 0.2
    [[site.job.workload.phase]]
    name = "exchange"
    duration_s = 0.06
    level = 0.05
    release_skew_s = 0.03
"""
PAUSES = (
    "checkpoint = {period_s = 0.35, duration_s = 0.07, level = 0.2}",
    "evaluation = {every = 3, duration_s = 0.05, level = 0.4}",
    "stall = {probability = 0.3, duration_s = 0.05, level = 0.1}",
)
OF_PAUSES = {f"{pause}_{what}" for pause in ("checkpoint", "evaluation", "stall") for what in ("s", "level")}
# Ramps and levels are no round numbers: a floor that comes back to just where it was is a tie that rounding decides.
MITIGATION = """
    cap = [{at_s = 0.7, power_w = 500.0}, {at_s = 2.2}]
    dummy_work = {floor_fraction = 0.3, period_s = 0.01, latency_s = 0.012, cost_fraction = 0.05}
    [site.job.smoothing]
    floor_fraction = 0.5
    ramp_up_w_per_s = 907.3
    ramp_down_w_per_s = 703.1
    ceiling_fraction = 0.95
    stop_delay_s = 0.03
    min_floor_s = 0.05
    secondary_floor_w = 130.0
    activation_offset_w = 20.0
    activation_window_s = 0.02
"""
# Two phases whose rises overshoot, and a floor: events that `devices.py` triples.
OVERSHOOT = """
    [run]
    duration_s = 1.5
    dt_s = 0.0005
    [[site]]
    name = "campus"
    [[site.job]]
    name = "train"
    kind = "training"
    devices = 20
    accelerator = {idle_w = 100.0, tdp_w = 700.0, response_s = 0.01, edp_fraction = 1.3, edp_window_s = 0.2}
    smoothing = {floor_fraction = 0.5, ramp_up_w_per_s = 900.0, ramp_down_w_per_s = 700.0, ceiling_fraction = 1.1}
    [site.job.workload]
    jitter = 0.02
    [[site.job.workload.phase]]
    name = "exchange"
    duration_s = 0.1603
    level = 0.05
    [[site.job.workload.phase]]
    name = "compute"
    duration_s = 0.3401
    level = 0.9
    spread_s = 0.01
"""
# A run is piecewise constant in what only decides whether something happens, or, in whole ticks, when.
ALL = pauses.ITERATION | pauses.CHECKPOINT | pauses.EVALUATION | pauses.STALL | pauses.FAULT | pauses.RESTART
RARE = {"slow_fraction", "checkpoint_period_s", "stall_probability"}
UNCAPPED = {"power_exponent"}
IN_TICKS = {"stop_delay_s", "min_floor_s", "activation_offset_w", "activation_window_s", "latency_s"}
STEP = 1e-8


def loss_of(layout, state, inputs):
    """Every power that the job leaves behind, with weights that tell ticks apart, and the time that it lost; and the
    bits of all that happened."""

    def loss(params):
        _, frames = em.rollout(layout, params, state, inputs)
        lost_s = jnp.sum(frames.job_counts[:, 0, COUNTED.index("lost_iteration_s")])
        power, wanted = 30.0 * frames.job_mw[:, 0], 30.0 * frames.job_wanted_mw[:, 0]
        weight = 1.0 + jnp.cos(layout.dt_s * 4.0 * jnp.arange(float(power.shape[0])))
        value = jnp.mean(weight * (power**2 + wanted)) + lost_s
        return value, jnp.bitwise_or.reduce(frames.job_bits[:, 0])

    return loss


def flat_in(layout, params, state, inputs) -> tuple[set[str], int]:
    """Names of leaves with neither slope nor change, and the bits; of the others the gradient is checked to 1e-4.

    Each leaf is perturbed along a random direction. Tick means bend where an event crosses a tick's border: of some
    1000 events of 60 devices 2e-8 x 3 s / 0.5 ms = 1e-4 each do, none or one in all, and a bend has a slope that is
    wrong over half the step at most. Rounding of a loss of 1 gives 1e-16 / 1e-8 = 1e-8.
    """
    loss = jax.jit(loss_of(layout, state, inputs))
    gradient, bits = jax.jit(jax.grad(loss, has_aux=True), compiler_options=QUICKLY)(params)
    leaves, tree = jax.tree_util.tree_flatten_with_path(params)
    leaves, paths = [leaf for _, leaf in leaves], [path for path, _ in leaves]
    rng, flat = np.random.default_rng(0), set()
    for i, (path, leaf, slope) in enumerate(zip(paths, leaves, jax.tree.leaves(gradient), strict=True)):
        name = jax.tree_util.keystr(path)
        assert np.isfinite(slope).all(), name
        if not name.startswith(".training") or not np.isfinite(leaf).any():
            continue
        size = np.where(np.isfinite(leaf), np.maximum(np.abs(leaf), 1e-3), 0.0)  # infinite = no limit: held
        direction = rng.choice([-1.0, 1.0], leaf.shape) * size

        def at(side, i=i, leaf=leaf, direction=direction):
            return float(loss(jax.tree.unflatten(tree, [*leaves[:i], leaf + side * direction, *leaves[i + 1 :]]))[0])

        difference = (at(STEP) - at(-STEP)) / (2 * STEP)
        along = float(np.sum(slope * direction))
        assert along == pytest.approx(difference, rel=1e-4, abs=3e-8), name
        if along == 0.0 and difference == 0.0:
            flat.add(path[-1].name)
    return flat, int(bits)


@pytest.mark.parametrize(
    ("left_out", "mitigation", "overrides", "way", "happened", "constant"),
    [
        ((), "", (), "events", ALL, RARE | UNCAPPED),
        (
            PAUSES,
            MITIGATION,
            ("site.0.job.0.accelerator.edp_fraction=1.0",),
            "devices",
            pauses.ITERATION | pauses.FAULT | pauses.RESTART,
            RARE | IN_TICKS | OF_PAUSES | {"edp_fraction"},
        ),
    ],
)
def test_every_number_of_a_job_with_everything_on(
    x64, scenario, left_out, mitigation, overrides, way, happened, constant
):
    """By events; by devices without pauses, which are laid out in the same way, and without overshoot, which has a test
    below: their events take long to compile."""
    text = EVERYTHING.replace("SEED", "3").replace("MITIGATION", mitigation)
    for line in left_out:
        assert line in text
        text = text.replace(line, "")
    layout, params, state, inputs = simulate.build(scenario(text, *overrides))
    assert layout.training[0].path == way
    flat, bits = flat_in(layout, params, state, inputs)
    assert bits == happened
    assert flat == constant


def test_overshoot_by_devices(x64, scenario):
    layout, params, state, inputs = simulate.build(scenario(OVERSHOOT))
    assert layout.training[0].path == "devices"
    flat, _ = flat_in(layout, params, state, inputs)
    assert not flat & {"edp_fraction", "duration_s", "level", "spread_s", "jitter", "response_s", "ceiling_fraction"}
