"""Power smoothing, dummy work and caps: the published trace (R12), jobs from TOML and devices against closed forms."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emulator import simulate
from emulator.cluster import demand, smoothing
from emulator.cluster.iteration import Window
from emulator.kernels.device_tick import limited

# Ceiling of arXiv 2508.14318 Figure 6, break-points read off the vector figure; the floor lies 0.2 below it.
CEILING = [
    (0, 0.2), (6.7, 0.679), (7.475, 0.623), (11.225, 0.891), (11.975, 0.837), (14.275, 1), (74.25, 1), (74.95, 0.95),
    (75.675, 1), (136.775, 1), (137.75, 0.93), (138.75, 1), (188.875, 1), (191.85, 1), (203.075, 0.2), (213.15, 0.2),
]  # fmt: skip


def test_published_limits_make_the_published_trace(reference):
    """R12: RMSE 0.0036; mean + 15.0 %; s.d. from 0.247 to 0.045, read to a thousandth."""
    t_s, power = np.loadtxt(reference / "fig1_production_trace.csv", delimiter=",", skiprows=1).T
    smooth_s, smooth = np.loadtxt(reference / "fig6_smoothed_trace.csv", delimiter=",", skiprows=1, usecols=(0, 4)).T
    ceiling = np.interp(t_s, *np.array(CEILING).T)
    found = np.asarray(limited(jnp.asarray(power), jnp.asarray(ceiling - 0.2), jnp.asarray(ceiling)))
    assert np.sqrt(np.mean((np.interp(smooth_s, t_s, found) - smooth) ** 2)) <= 0.004
    assert found.mean() / power.mean() == pytest.approx(1.150, abs=0.003)
    # The figures of R12 are those between the end of the first ramp and the beginning of the last.
    steady = (t_s >= 14.275) & (t_s <= 188.875)
    assert power[steady].std() == pytest.approx(0.247, abs=0.001)
    assert found[steady].std() == pytest.approx(0.045, abs=0.001)


# Iterations of 1 s: 0.7 s at 1000 W, then 0.3 s at 150 W. Runs from 1.0 to 5.5 s, so that it stops in the middle of
# computing. Floor 0.6 x 1100 = 660 W, ceiling 440 W above it while it moves.
JOB = """
    [run]
    duration_s = 9.0
    dt_s = 0.001
    [[site]]
    name = "campus"
    [[site.job]]
    name = "train"
    kind = "training"
    devices = 1000
    start_s = 1.0
    stop_s = 5.5
    accelerator = {idle_w = 100.0, tdp_w = 1100.0, server_fixed_w = 40.0, server_fraction = 0.25}
    [site.job.smoothing]
    floor_fraction = 0.6
    ramp_up_w_per_s = 800.0
    ramp_down_w_per_s = 400.0
    stop_delay_s = 0.43
    [[site.job.workload.phase]]
    name = "compute"
    duration_s = 0.7
    level = 0.9
    [[site.job.workload.phase]]
    name = "exchange"
    duration_s = 0.3
    level = 0.05
"""
MW_PER_W = 1000 * (1 + 0.25) * 1e-6  # of the job, per W of an accelerator
IDLE_W, FLOOR_W, UP, DOWN, DELAY_S = 100.0, 660.0, 800.0, 400.0, 0.43
# The first computing meets a ceiling that rises from 540 W to 1000 W within 0.575 s: what it does not do then it does
# afterwards, 0.575 s less the integral of ((440 + 800 t)/900)^(1/3).
LATE_S = 0.575 - 9 / 8 * 3 / 4 * (1 - (44 / 90) ** (4 / 3))


def accelerator_w(power_mw: np.ndarray) -> np.ndarray:
    """From the job's power: N (server_fixed_w + (1 + server_fraction) accelerator)."""
    return (power_mw[:, 0].astype(np.float64) - 1000 * 40e-6) / MW_PER_W


@pytest.fixture
def smoothed(emulate):
    return emulate(JOB)


def test_ramps_are_those_of_the_table_times_the_job(smoothed):
    """N ramp (1 + server_fraction): 1.0 MW/s up, 0.5 MW/s down. A float32 power of 1.4 MW is good to 1e-7 MW, and 200
    steps of the floor to 200 x 3e-8 of 1.25 MW: 8e-6 MW over 0.2 s."""
    t, power = smoothed.time_s, smoothed.job_power_mw[:, 0].astype(np.float64)
    up = (t >= 1.02) & (t < 1.3)  # floor + 440 W, below 1000 W for the first 0.575 s
    down = (t >= 6.1) & (t < 7.1)  # no activity since 5.5 s, held for 0.43 s
    assert np.polyfit(t[up], power[up], 1)[0] == pytest.approx(UP * MW_PER_W, rel=2e-4)
    assert np.polyfit(t[down], power[down], 1)[0] == pytest.approx(-DOWN * MW_PER_W, rel=2e-4)
    assert np.ptp(np.diff(power[up])) < 1e-6 and np.ptp(np.diff(power[down])) < 1e-6


def test_waveform_of_a_smoothed_job(smoothed):
    """Idle; ramp with its ceiling; floor in the dips; held for the delay, 430 ticks and not one less; ramp; idle."""
    t, power = smoothed.time_s, accelerator_w(smoothed.job_power_mw)
    into = np.where(t < 1.7 + LATE_S, t - 1.0, (t - 1.0 - LATE_S) % 1.0)
    computes = (into < 0.7) | (t < 1.7 + LATE_S)
    wanted = np.where((t < 0.9995) | (t > 5.4995), IDLE_W, np.where(computes, 1000.0, 150.0))
    ramp = (t - 1.0 + 0.0005).clip(0) * UP  # in the middle of the tick
    # The first dip begins at 1.7 s at the top (560/800 = 0.7 s): the floor stays there until 0.43 s after 5.5 s.
    floor = np.minimum(IDLE_W + ramp, FLOOR_W)
    floor = np.minimum(floor, FLOOR_W - DOWN * (t - 5.5 - DELAY_S + 0.0005).clip(0)).clip(IDLE_W)
    ceiling = np.where(floor < FLOOR_W - 1e-3, floor + 440.0, np.inf)
    # Ticks of 1 ms: events fall within ticks, which then mix the two levels, once each; the floor's 700 steps of
    # float32 sum to 0.02 W.
    off = np.abs(power - np.maximum(np.minimum(wanted, ceiling), floor)) > 0.1
    assert off.sum() <= 2 * 9 and np.diff(np.flatnonzero(off)).max() > 100
    assert np.count_nonzero(np.abs(power[5500:7000] - FLOOR_W) < 0.1) == 430


def test_added_energy_is_the_floor_less_the_level_in_dips(emulate):
    """From the first tick at the floor, whole iterations: 0.3 s x (660 - 150) W each, 10.2 % of what they want."""
    trace = emulate(JOB.replace("start_s = 1.0", "start_s = 0.0").replace("stop_s = 5.5", "stop_s = 1e9"))
    power, wanted = (x[:, 0].astype(np.float64) for x in (trace.job_power_mw, trace.job_wanted_power_mw))
    added = (power - wanted).sum() * 0.001
    assert added == pytest.approx(9 * 0.3 * (FLOOR_W - 150.0) * MW_PER_W, rel=1e-5)
    dips_w, peaks_w = 0.3 * 150.0, 0.7 * 1000.0
    overhead = 0.3 * (FLOOR_W - 150.0) / (dips_w + peaks_w + 40.0 / 1.25)
    assert power.sum() / wanted.sum() - 1.0 == pytest.approx(overhead, rel=1e-5)
    assert trace.metrics["job.campus.train.added_energy_mwh"] == pytest.approx(added / 3600, rel=1e-4)


def test_energy_does_not_depend_on_the_tick(emulate):
    """With the response of an H100, over 8.3 s of work in iterations of 1 s; less where these are longer.

    A ramp begins half a tick early or late: of 5.3 kJ, at 10 ms, up to 5 ms x 560 W on the way down, 0.053 %, and 5 ms
    x 460 W on the way up. The end of a tick that stands for its mean is half a tick early where demand passes only one
    of its limits, 5 ms x (440 - 340) W, and bends where it meets the floor at 17 W/ms by 17 x 10^2 / 12 = 0.14 J.
    """
    energy = []
    for dt_s in (0.0005, 0.001, 0.002, 0.005, 0.01):
        trace = emulate(JOB, f"run.dt_s={dt_s}", "site.0.job.0.accelerator.response_s=0.02")
        energy.append(trace.job_power_mw.sum(dtype=np.float64) * dt_s)
    np.testing.assert_allclose(energy, energy[1], rtol=1e-3)


def test_wanted_power_is_that_of_the_job_without_smoothing(emulate):
    """Where no ceiling withholds any, as from a settled start; to rounding of sums of 1000 shares in float32, but at
    edges: each of nine iterations rounds its length twice, by 2^-14 of a tick near 1000 ticks, of edges of 1.06 MW."""
    from_start = JOB.replace("start_s = 1.0", "start_s = 0.0")
    text = (
        from_start[: JOB.index("    [site.job.smoothing]")] + from_start[JOB.index("    [[site.job.workload.phase]]") :]
    )
    plain, smoothed = emulate(text), emulate(from_start)
    np.testing.assert_allclose(plain.job_power_mw, plain.job_wanted_power_mw, atol=0)
    off = np.abs(smoothed.job_wanted_power_mw - plain.job_power_mw)
    assert off.max() < 9 * 2 * 2**-14 * 1.0625
    assert np.count_nonzero(off > 2e-6) <= 9 * 2 * 2  # two edges an iteration, in two ticks each
    assert np.abs(smoothed.job_power_mw - plain.job_power_mw).max() > 0.5


@pytest.mark.parametrize("dt_s", [0.0005, 0.001, 0.002, 0.003, 0.005, 0.01])
def test_times_in_ticks_lose_none_to_rounding(dt_s):
    """In float32 0.01 s over 0.001 s is 9.9999998: it is 10 ticks all the same."""
    f32, times = jnp.float32, np.arange(1, 200) * dt_s
    one = jnp.ones(len(times), f32)
    limits = smoothing.SmoothingParams(*(one for _ in range(9)))
    limits = smoothing.SmoothingParams(**{**vars(limits), "stop_delay_s": jnp.asarray(times, f32),
                                          "min_floor_s": jnp.asarray(times, f32)})  # fmt: skip
    dummy = smoothing.DummyParams(floor_fraction=one, latency_s=jnp.asarray(times, f32))
    made = smoothing.settings(0.0 * one, one, one, one, one, limits, dummy, dt_s)
    for found in (made.stop_ticks, made.hold_ticks, made.dummy_ticks):
        np.testing.assert_array_equal(found, np.arange(1, 200))


SMOOTHED = """
    [run]
    duration_s = 12.0
    dt_s = 0.01
    [[site]]
    name = "campus"
    [[site.job]]
    name = "train"
    kind = "training"
    devices = 10
    start_s = 1.0
    stop_s = 8.0
    accelerator = {idle_w = 100.0, tdp_w = 1100.0}
    smoothing = {floor_fraction = 0.6, ramp_up_w_per_s = 500.0, ramp_down_w_per_s = 250.0, stop_delay_s = 1.0}
    [[site.job.workload.phase]]
    name = "compute"
    duration_s = 1.5
    level = 0.9
    [[site.job.workload.phase]]
    name = "exchange"
    duration_s = 0.5
    level = 0.05
"""


def device_w(trace) -> np.ndarray:
    """Power of one of the ten equal devices."""
    return trace.job_power_mw[:, 0].astype(np.float64) * 1e5


def test_secondary_floor_and_ceiling(emulate):
    trace = emulate(
        SMOOTHED, "site.0.job.0.smoothing.secondary_floor_w=300.0", "site.0.job.0.smoothing.ceiling_fraction=0.8"
    )
    power = device_w(trace)
    assert power[100:].min() >= 299.99 and power.max() <= 880.01
    np.testing.assert_allclose(power[-20:], 300.0, rtol=1e-5)


def edges_s(trace) -> np.ndarray:
    """When the job's wanted power rises, to parts of a tick: begins of computing."""
    wanted = trace.job_wanted_power_mw[:, 0].astype(np.float64) * 1e5
    rises = np.flatnonzero((wanted[1:] > 500.0) & (wanted[:-1] < 500.0)) + 1
    return trace.time_s[rises]


def test_a_ceiling_slows_work_as_a_cap_does(emulate):
    """A ceiling of 880 W lets 0.78 of the range through where computing wants 0.9: it takes (0.9/0.78)^(1/3) as long,
    in five whole iterations from a settled start. So does a cap of 880 W."""
    run = ("site.0.job.0.start_s=0.0", "site.0.job.0.stop_s=1e9", "run.dt_s=0.001")
    of_ceiling = emulate(SMOOTHED, *run, "site.0.job.0.smoothing.ceiling_fraction=0.8")
    slower = 1.5 * ((0.9 / 0.78) ** (1 / 3) - 1)
    begins = edges_s(of_ceiling)
    np.testing.assert_allclose(np.diff(begins), 2.0 + slower, atol=0.0011)
    assert begins[-1] == pytest.approx(5 * (2.0 + slower), abs=0.0011)
    assert of_ceiling.metrics["job.campus.train.lost_iteration_s"] == pytest.approx(5 * slower, rel=1e-5)
    assert of_ceiling.metrics["job.campus.train.iteration_mean_s"] == pytest.approx(2.0 + slower, abs=0.001)
    of_cap = emulate(SMOOTHED, *run, "site.0.job.0.cap=[{at_s = 0.0, power_w = 880.0}]", "run.chunk_ticks=100")
    np.testing.assert_allclose(np.diff(edges_s(of_cap))[1:], 2.0 + slower, atol=0.0011)


def test_a_rising_ceiling_lengthens_the_first_iteration_only(emulate):
    """From idle at 1 s the ceiling rises from 540 W and reaches 1000 W after 0.92 s, in which the integral of
    ((440 + 500 t)/900)^(1/3), 9/5 x 3/4 (1 - (44/90)^(4/3)) s of work, is done. The floor stays up from then on."""
    lost = 0.92 - 1.8 * 0.75 * (1 - (44 / 90) ** (4 / 3))
    trace = emulate(SMOOTHED)
    np.testing.assert_allclose(np.diff(edges_s(trace)), [2.0 + lost, 2.0, 2.0], atol=0.0101)
    assert trace.metrics["job.campus.train.lost_iteration_s"] == pytest.approx(lost, rel=1e-4)


@pytest.mark.parametrize(
    "smoothing",
    [
        "{floor_fraction = 0.8, ramp_up_w_per_s = 300.0, ramp_down_w_per_s = 900.0}",
        "{floor_fraction = 0.6, ramp_up_w_per_s = 130.0, ramp_down_w_per_s = 700.0, secondary_floor_w = 200.0}",
        "{floor_fraction = 0.7, ramp_up_w_per_s = 400.0, ramp_down_w_per_s = 900.0, stop_delay_s = 0.3, "
        "min_floor_s = 1.4}",
        "{floor_fraction = 0.5, ramp_up_w_per_s = 200.0, ramp_down_w_per_s = 200.0, ceiling_fraction = 0.75}",
    ],
)
def test_no_work_is_lost_under_a_ceiling(emulate, smoothing):
    """The devices' own state machine against the nominal one that lays iterations out: of what is recorded, the
    integral of (P / W)^(1/3) over each computing is its 1.5 s, however its ceiling moved. Runs of several iterations
    after idle times of several lengths.

    Ticks of 2 ms: two of events and one of ramps that the tick takes at its end.
    """
    begin = SMOOTHED.index("    smoothing = ")
    text = SMOOTHED[:begin] + f"    smoothing = {smoothing}" + SMOOTHED[SMOOTHED.index("\n", begin) :]
    text = text.replace("start_s = 1.0", "runs_s = [[0.0, 6.9], [8.0, 13.9], [14.2, 1e9]]").replace("stop_s = 8.0", "")
    trace = emulate(text, "run.dt_s=0.002", "run.duration_s=24.0")
    power, wanted = (x[:, 0].astype(np.float64) * 1e5 - 100.0 for x in (trace.job_power_mw, trace.job_wanted_power_mw))
    computes = wanted > 890.0
    borders = np.flatnonzero(np.diff(computes, prepend=False, append=False)).reshape(-1, 2)
    work = [0.002 * np.sum((np.minimum(power, wanted)[a:b] / wanted[a:b]) ** (1 / 3)) for a, b in borders]
    stopped = np.isclose(trace.time_s[borders[:, 1] - 1], [[6.9], [13.9], [24.0]], atol=0.003).any(0)
    assert len(work) - stopped.sum() >= 7
    np.testing.assert_allclose(np.array(work)[~stopped], 1.5, atol=0.006)
    took = 0.002 * np.diff(borders)[:, 0]
    assert took[~stopped].max() > 1.6 and trace.metrics["job.campus.train.lost_iteration_s"] > 0.1


def test_windows_of_a_slowed_job_are_one(emulate, monkeypatch):
    """The nominal floor goes from window to window. Float32 times to 2^-12 of a tick, of steps of 850 W x 10."""
    ramps = "site.0.job.0.smoothing={floor_fraction=0.8, ramp_up_w_per_s=300.0, ramp_down_w_per_s=900.0}"
    whole = emulate(SMOOTHED, ramps)
    monkeypatch.setattr(simulate, "WINDOW_TICKS", 100)
    cut = emulate(SMOOTHED, ramps)
    np.testing.assert_allclose(cut.job_power_mw, whole.job_power_mw, rtol=0, atol=850e-5 * 2.0**-12)
    assert whole.metrics["job.campus.train.lost_iteration_s"] > 0.3


def test_dummy_work_fills_dips_late_and_costs_time(emulate):
    """Looks every 50 ms, fills 100 ms after a dip began; iterations take 10 % longer."""
    text = SMOOTHED.replace(
        "smoothing = {floor_fraction = 0.6, ramp_up_w_per_s = 500.0, ramp_down_w_per_s = 250.0, stop_delay_s = 1.0}",
        "dummy_work = {floor_fraction = 0.5, period_s = 0.05, latency_s = 0.1, cost_fraction = 0.1}",
    )
    trace = emulate(text)
    power, t = device_w(trace), trace.time_s
    dip = 1.0 + 1.5 * 1.1  # when the first exchange begins
    np.testing.assert_allclose(power[(t > dip + 0.01) & (t < dip + 0.09)], 150.0, rtol=1e-5)
    np.testing.assert_allclose(power[(t > dip + 0.17) & (t < dip + 0.54)], 550.0, rtol=1e-5)
    assert trace.metrics["job.campus.train.iteration_mean_s"] == pytest.approx(2.2, abs=0.011)
    # Three whole iterations before the stop at 8 s, each 0.2 s longer; the last one, cut short, does not count.
    assert trace.metrics["job.campus.train.lost_iteration_s"] == pytest.approx(0.6, rel=1e-5)


def test_a_cap_holds_from_the_next_chunk_and_stretches_iterations(emulate):
    """Ordered at 2.5 s, in chunks of 1 s: from 3 s on. 600 W leaves 500 of 900 W above idle: (9/5)^(1/3) as long."""
    text = SMOOTHED.replace(
        "smoothing = {floor_fraction = 0.6, ramp_up_w_per_s = 500.0, ramp_down_w_per_s = 250.0, stop_delay_s = 1.0}",
        "cap = [{at_s = 2.5, power_w = 600.0}]",
    )
    trace = emulate(text, "run.duration_s=30.0", "site.0.job.0.stop_s=1e9")
    power, t = device_w(trace), trace.time_s
    assert power[(t > 2.5) & (t < 3.0)].max() < 151.0 and power[t < 2.4].max() > 999.0
    assert power[t >= 3.0].max() <= 600.01
    # Iterations start at 1, 3 and then as the cap lets compute: 1.5 x 1.216 + 0.5 s.
    starts = t[1:][(power[1:] > 400) & (power[:-1] < 400)]
    np.testing.assert_allclose(np.diff(starts)[2:], 1.5 * (9 / 5) ** (1 / 3) + 0.5, atol=0.0101)


def of_job(its, params, state, window):
    return demand.advance(its, params, state, jax.random.key(2), jnp.asarray(jnp.inf), window)[1]


def test_own_noise_scales_with_the_root_of_the_devices(scenario):
    """Var = N s^2 [1 + (N - 1) rho] on both paths: 400 devices, rho = 0, amplitude 0.1, so 0.005 of the range."""
    text = SMOOTHED.replace("level = 0.9", "level = 0.9\n    noise = 0.1").replace("devices = 10", "devices = 400")
    text = text.replace("[[site.job.workload.phase]]", "[site.job.workload]\n    noise_coherence = COHERENCE\n"
                        "    noise_correlation_s = 0.05\n    [[site.job.workload.phase]]", 1)  # fmt: skip
    for coherence in (0.0, 0.25):
        overrides = "site.0.job.0.workload.phase.0.duration_s=100.0", "site.0.job.0.stop_s=1e9"
        loaded = scenario(text.replace("COHERENCE", str(coherence)), *overrides)
        layout, params, _, _ = simulate.build(loaded, ticks=100)
        at, expected = layout.training[0], 0.1 * np.sqrt((1 + 399 * coherence) / 400)
        for path in ("events", "devices"):
            its = replace(at, path=path, limits=replace(at.limits, smoothing=False, timers=False))
            state = demand.initial(its, jnp.float32)
            window = Window(jnp.int32(0), 8000, 0.01)
            call = jax.jit(lambda p, s, its=its, window=window: of_job(its, p, s, window))
            found = call(params.training[0], state)
            share = (np.asarray(found.power_w)[150:, 0] / 400 - 100.0) / 1000.0
            # 78 s at 0.05 s correlation: 780 independent values, s.d. of a s.d. 1/sqrt(2 x 780) = 2.5 %.
            assert share.std() == pytest.approx(expected, rel=0.09), (coherence, path)
