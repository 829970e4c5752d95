"""What must not change a trace: chunks, windows, devices beside one, precision; and what must not compile anew."""

from __future__ import annotations

import dataclasses
from importlib import import_module

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from emulator import config, placement, simulate
from emulator.cluster import demand, iteration
from tests.compiling import QUICKLY
from tests.unit.synthetic import summed_up_and_measured

rollout = import_module("emulator.rollout")

CAMPUS = """
    [run]
    duration_s = 6.0
    [[site]]
    name = "campus"
    area = "main"
    [[site.job]]
    name = "train"
    kind = "training"
    devices = 512
    accelerator = {idle_w = 75.0, tdp_w = 700.0, gain_spread = 0.03, response_s = 0.02}
    [site.job.workload]
    jitter = 0.01
    [[site.job.workload.phase]]
    name = "compute"
    duration_s = 0.9
    level = 0.9
    noise = 0.05
    spread_s = 0.05
    release_skew_s = 0.04
    barrier = true
    wait_level = 0.3
    [[site.job.workload.phase]]
    name = "exchange"
    duration_s = 0.4
    level = 0.2
    level_jitter = 0.05
    [[site.job]]
    name = "base"
    kind = "constant"
    power_mw = 0.1
    start_s = 2.0
    [site.bess]
    power_mw = 0.5
    energy_mwh = 0.01
    response_s = 0.02
    delay_s = 0.03
    [site.controller]
    kind = "low_pass"
    cutoff_hz = 0.1
    soc_gain = 0.5
    [[grid.area]]
    name = "main"
    rated_mva = 10.0
    inertia_s = 4.0
    damping_pu = 1.0
    load_mw = 5.0
    [[grid.area.governor]]
    model = "tgov1"
"""
POWERS = ("site_pcc_power_mw", "site_bess_power_mw", "job_power_mw")


def assert_equal_to_rounding(one, other, share: float):
    """Powers within a share of the site's swing, frequency and SOC accordingly."""
    scale = np.ptp(one.site_facility_power_mw)
    for name in POWERS:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=share * scale)
    np.testing.assert_allclose(one.area_frequency_hz, other.area_frequency_hz, atol=share)
    np.testing.assert_allclose(one.bess_soc, other.bess_soc, atol=share)


@pytest.mark.parametrize("chunk_ticks", [50, 1000])
def test_chunks_change_nothing(emulate, chunk_ticks):
    assert_equal_to_rounding(emulate(CAMPUS), emulate(CAMPUS, f"run.chunk_ticks={chunk_ticks}"), 2e-6)


def test_windows_change_nothing(emulate, monkeypatch):
    """Windows split iterations anywhere; each window draws the same numbers and anchors the same levels."""
    whole = emulate(CAMPUS)
    monkeypatch.setattr(simulate, "WINDOW_TICKS", 700)
    assert_equal_to_rounding(whole, emulate(CAMPUS), 1e-5)


SMOOTHING = "site.0.job.train.smoothing={floor_fraction=0.5, ramp_up_w_per_s=500.0, ramp_down_w_per_s=300.0}"


@pytest.mark.parametrize("more", [(), (SMOOTHING,)])
def test_jobs_on_a_gpu_and_the_loop_on_a_cpu_change_nothing(emulate, monkeypatch, more):
    """In windows of 700 ticks, on a CPU that says that it is a GPU: the way of a GPU's run, but for its arithmetic."""
    whole = emulate(CAMPUS, *more)
    monkeypatch.setattr(simulate, "WINDOW_TICKS", 700)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(placement, "whole", None)
    assert_equal_to_rounding(whole, emulate(CAMPUS, *more), 1e-5)


def test_jobs_and_loop_stay_where_they_belong(scenario):
    layout, params, state, inputs = simulate.build(scenario(CAMPUS, SMOOTHING), 200)
    first, second = jax.devices()
    step = placement.apart(layout, params, state, inputs, SingleDeviceSharding(second))
    state, frames = step(*step(state, inputs)[:1], inputs)
    assert all(leaf.devices() == {first, second} for leaf in jax.tree.leaves(state.training))
    assert all(leaf.devices() == {second} for leaf in jax.tree.leaves((state.plant, state.ordered_w, frames)))
    assert int(state.tick) == 400


def test_twice_the_same_bit_for_bit(emulate):
    one, other = emulate(CAMPUS), emulate(CAMPUS)
    for name in (*POWERS, "area_frequency_hz", "bess_soc"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_another_seed_is_another_run(emulate):
    assert np.ptp(emulate(CAMPUS).job_power_mw - emulate(CAMPUS, "run.seed=1").job_power_mw) > 1e-2


def test_a_run_that_is_no_whole_number_of_chunks(emulate):
    short, long = emulate(CAMPUS, "run.duration_s=0.955"), emulate(CAMPUS)
    assert len(short.time_s) == 955
    np.testing.assert_allclose(short.site_pcc_power_mw, long.site_pcc_power_mw[:955], rtol=1e-5)


def test_metrics_count_no_padding(emulate, monkeypatch):
    """In windows of 300 ticks, the last of which is padded from 55 to a whole number of chunks: as of the 955 rows that
    there are, to the rounding of differences of float32."""
    monkeypatch.setattr(simulate, "WINDOW_TICKS", 300)
    pairs = summed_up_and_measured(emulate(CAMPUS, "run.duration_s=0.955"))
    assert {"site.campus.pcc_energy_mwh", "site.campus.facility_swing_mw", "area.main.outside_0.036hz_s"} <= set(pairs)
    for key, (summed_up, measured) in pairs.items():
        assert measured == pytest.approx(summed_up, rel=1e-6, nan_ok=True), key


def test_float32_follows_float64(scenario):
    """With every draw the same: noise, jitter, finish times and gains of devices.

    The ends of ten phases, each rounded to half an ulp of 2 s (1.2e-7 s), add up to 1.2e-6 s; an edge with a response
    of 0.02 s then differs by 6e-5 of the swing.
    """
    loaded = scenario(CAMPUS)
    single = simulate.run(loaded)
    with jax.enable_x64(True):
        double = simulate.run(loaded)
    assert double.site_pcc_power_mw.dtype == np.float64
    assert_equal_to_rounding(double, single, 6e-5)


def test_devices_keep_their_draws_whatever_the_company(scenario):
    """Device i finishes when it finishes, among 512 devices or among 100."""
    layout, params, _, _ = simulate.build(scenario(CAMPUS), ticks=100)
    key = jax.random.key(3)
    at, numbers = layout.training[0], params.training[0]
    lives, gains = [], []
    for devices in (512, 100):
        its = dataclasses.replace(at.job, devices=devices)
        job = iteration.draw_job(its, numbers.job, None, key)
        start = iteration.initial(its, False, jnp.float32)
        live = iteration.live_iteration(its, numbers.job, job, start, jnp.float32(jnp.inf), 0.001)
        lives.append(live.events[1].after_s)
        gains.append(demand._gains(dataclasses.replace(at, job=its), numbers, job))
    np.testing.assert_array_equal(lives[0][:100], lives[1])
    np.testing.assert_array_equal(gains[0][:100], gains[1])


SMOOTHED = """
    [run]
    duration_s = 1.0
    dt_s = 0.005
    [[site]]
    name = "campus"
    [[site.job]]
    name = "train"
    kind = "training"
    devices = 70
    accelerator = {idle_w = 100.0, tdp_w = 1100.0, gain_spread = 0.05, response_s = 0.02}
    smoothing = {floor_fraction = 0.6, ramp_up_w_per_s = 3000.0, ramp_down_w_per_s = 2000.0}
    [site.job.workload]
    jitter = 0.02
    noise_coherence = 0.5
    [[site.job.workload.phase]]
    name = "compute"
    duration_s = 0.2
    level = 0.9
    noise = 0.05
    spread_s = 0.02
    barrier = true
    wait_level = 0.3
    [[site.job.workload.phase]]
    name = "exchange"
    duration_s = 0.15
    level = 0.1
    release_skew_s = 0.04
"""


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """A job tick by tick in float64: its compiled step over windows of so many ticks, its layout changed, and the state
    before the first."""
    path = tmp_path_factory.mktemp("smoothed") / "job.toml"
    path.write_text(SMOOTHED)
    with jax.enable_x64(True):
        layout, params, _, _ = simulate.build(config.load(path), ticks=100)

    def made(ticks: int, **changes):
        its, numbers, key = dataclasses.replace(layout.training[0], **changes), params.training[0], jax.random.key(6)

        def advance(state, first):
            window = iteration.Window(first, ticks, 0.005)
            after, found = demand.advance(its, numbers, state, key, jnp.asarray(jnp.inf), window)
            return after, found.power_w

        return jax.jit(advance, compiler_options=QUICKLY), demand.initial(its, jnp.result_type(float))

    return made


@pytest.fixture(scope="module")
def whole_w(cut):
    with jax.enable_x64(True):
        return powers(cut, 192)


def powers(cut, ticks: int, **changes) -> np.ndarray:
    """(192, halls) power in windows of so many ticks."""
    (step, state), found = cut(ticks, **changes), []
    for first in range(0, 192, ticks):
        state, power = step(state, jnp.int32(first))
        found.append(power)
    return np.concatenate(found)


@pytest.mark.parametrize(
    ("ticks", "changes"),
    [(192, {"shards": 2, "groups": (21, 49)}), (96, {"groups": (50, 20)})],
    ids=["processors and halls", "windows and halls in another order"],
)
def test_a_smoothed_job_is_the_same_however_it_is_cut(x64, cut, whole_w, ticks, changes):
    """Devices keep their noise, gains and floors over how many processors, halls and windows they are spread, divisible
    or not. Sums of 70 shares in float64 in another order, after 192 ticks of recurrences: 1e-14 of each, allowed
    1e-12."""
    found, peak_w = powers(cut, ticks, **changes), 70 * 1100.0
    assert found.shape == (192, 2) and np.ptp(whole_w) > 0.3 * peak_w
    np.testing.assert_allclose(found.sum(axis=1), whole_w[:, 0], rtol=0, atol=1e-12 * peak_w)


def test_processors_share_the_devices_of_a_job(x64, cut):
    """All of them, whether or not a group's devices divide by their number; not where there are fewer devices."""
    for shards, groups, shared in ((1, (70,), 0), (2, (70,), 1), (2, (21, 49), 2), (2, (69, 1), 1)):
        step, state = cut(192, shards=shards, groups=groups)
        text = str(step.trace(state, jnp.int32(0)).jaxpr)
        assert text.count("shard_map[") == text.count("mesh=Mesh('devices': 2") == shared, groups


def test_jobs_keep_their_draws_whatever_their_order(scenario, tmp_path):
    text = CAMPUS.replace(
        '[[site.job]]\n    name = "base"\n    kind = "constant"\n    power_mw = 0.1\n    start_s = 2.0\n', ""
    )
    assert text != CAMPUS
    reordered = scenario(text, 'site.0.job=[{name = "base", kind = "constant", power_mw = 0.1}]')
    assert reordered.site[0].job[0].name == "base"
    train = scenario(CAMPUS).site[0].job[0]
    base = scenario(CAMPUS).site[0].job[1]
    original = scenario(CAMPUS)
    site = original.site[0]
    swapped = original.model_copy(update={"site": (site.model_copy(update={"job": (base, train)}),)})
    one, other = simulate.run(original), simulate.run(swapped)
    np.testing.assert_array_equal(one.job_power_mw[:, 0], other.job_power_mw[:, 1])


def test_one_trace_per_layout(scenario):
    """Changing every float parameter compiles nothing anew; changing a structure does."""
    layout, params, state, inputs = simulate.build(scenario(CAMPUS), ticks=200)
    traces = []

    def counted(layout, params, state, inputs):
        traces.append(1)
        return rollout.rollout(layout, params, state, inputs)

    step = jax.jit(counted, static_argnums=0, compiler_options=QUICKLY)
    step(layout, params, state, inputs)
    step(layout, jax.tree.map(lambda leaf: 1.01 * leaf, params), state, inputs)
    again = simulate.build(
        scenario(CAMPUS, "site.0.controller.cutoff_hz=0.2", "grid.area.main.inertia_s=5.0"), ticks=200
    )
    step(*again)
    assert len(traces) == 1
    step(*simulate.build(scenario(CAMPUS, 'site.0.controller={kind = "none"}'), ticks=200))
    assert len(traces) == 2


def test_params_are_floats_and_layout_is_hashable(scenario):
    layout, params, _, _ = simulate.build(scenario(CAMPUS), ticks=100)
    assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(params))
    assert hash(layout) == hash(simulate.build(scenario(CAMPUS), ticks=100)[0])


@pytest.mark.parametrize("every", [5, 20])
def test_merged_rows_are_means_of_powers(emulate, every):
    fine, coarse = emulate(CAMPUS), emulate(CAMPUS, f"record.every_ticks={every}")
    means = fine.site_pcc_power_mw.reshape(-1, every).mean(axis=1)
    np.testing.assert_allclose(coarse.site_pcc_power_mw[:, 0], means, rtol=1e-5)
    np.testing.assert_allclose(coarse.area_frequency_hz, fine.area_frequency_hz[::every], atol=1e-6)
    np.testing.assert_allclose(coarse.time_s, fine.time_s[::every])
