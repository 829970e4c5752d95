"""Modes, responses and the resonance map against closed forms, and against what a run does."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emulator import modes, modes_report, plant, waveform
from emulator.jobs_schema import TrainingJob
from emulator.linearise import Where, linearised, packed, ring_lengths, state_names, unpacked
from emulator.modes_report import ModesError, analyse, as_json, render
from emulator.resonance import resonance_of
from emulator.scenario import layout_of, params_of
from emulator.struct import as_array
from emulator.waveform import Waveform, harmonics
from tests.compiling import QUICKLY

R9 = """
    [run]
    duration_s = 20.0
    dt_s = 0.001
    [[site]]
    name = "campus"
    area = "west"
    job = [{name = "base", kind = "constant", power_mw = 50.0}]
    [grid]
    preset = "two_area_r9"
"""
LAGS = [f"grid.area.{area}.governor=[{{model='lag'}}]" for area in ("west", "east")]
SFR = """
    [run]
    duration_s = 1.0
    [grid]
    preset = "sfr_anderson"
"""
FILTERED = """
    [run]
    duration_s = 3.0
    [[site]]
    name = "campus"
    job = [
        {name = "base", kind = "constant", power_mw = 20.0},
        {name = "late", kind = "constant", power_mw = 0.01, start_s = 1.0},
    ]
    [site.bess]
    power_mw = 100.0
    energy_mwh = 1e6
    [site.controller]
    kind = "low_pass"
    cutoff_hz = 0.2
"""
EVERYTHING = """
    [run]
    duration_s = 3.0
    [[site]]
    name = "campus"
    area = "west"
    job = [
        {name = "base", kind = "constant", power_mw = 50.0},
        {name = "late", kind = "constant", power_mw = 0.01, start_s = 1.0},
    ]
    facility = {constant_impedance_fraction = 0.3}
    [site.pcc]
    short_circuit_ratio = 5.0
    x_over_r = 10.0
    nominal_kv = 138.0
    rated_mw = 100.0
    [site.bess]
    power_mw = 100.0
    energy_mwh = 100.0
    response_s = 0.05
    delay_s = 0.02
    voltage_gain_pu = 2.0
    [site.controller]
    kind = "low_pass"
    cutoff_hz = 0.1
    soc_gain = 0.5
    [[grid.area]]
    name = "west"
    rated_mva = 1000.0
    inertia_s = 5.0
    damping_pu = 1.0
    load_mw = 500.0
    load_frequency_exponent = 1.5
    governor = [{model = "tgov1", share = 0.5}, {model = "reheat", share = 0.4}]
    agc = {bias_mw_per_hz = 300.0, reserve_mw = 100.0}
    inverters = {power_mw = 50.0, inertia_s = 4.0, droop_pu = 0.05}
    [[grid.area]]
    name = "east"
    rated_mva = 3000.0
    inertia_s = 4.0
    damping_pu = 1.0
    load_mw = 1500.0
    governor = [{model = "lag"}]
    shedding = [{frequency_hz = 59.3, share = 0.1}]
    [[grid.tie]]
    between = ["west", "east"]
    synchronizing_mw_per_rad = 500.0
    initial_mw = 100.0
    [[grid.shaft]]
    name = "g"
    area = "west"
    rated_mva = 892.4
    coupling = 0.5
    generator_mass = 1
    inertia_s = [1.0, 3.0]
    stiffness_pu = [20.0]
    damping_pu = [0.2, 0.2]
"""


CAMPUS = Where("site", 0)
linearise = jax.jit(linearised, static_argnums=(0, 3), compiler_options=QUICKLY)


def linear_of(loaded, job_mw, where=CAMPUS):
    layout, params = layout_of(loaded), params_of(loaded, {})
    return layout, params, linearise(layout, params, as_array(job_mw), where)


def gains(loaded, job_mw, hz, where=CAMPUS):
    layout, _, linear = linear_of(loaded, job_mw, where)
    return np.abs(modes.response(linear, layout.dt_s, np.asarray(hz)))


def lightest(found) -> modes.Mode:
    return min(found.modes.modes, key=lambda mode: mode.damping_ratio)


def test_sfr_mode_in_closed_form(x64, scenario):
    """R1: wn = .55902 rad/s, zeta = .86089. Runge-Kutta at 1 ms moves eigenvalues by (|s| dt)^4/120 of themselves,
    1e-15; what is left is rounding, 1e-16/dt. Fails by a fifth if the governor's dead-band of 0 is taken for a kink."""
    (mode,) = analyse(scenario(SFR)).modes.modes
    km, droop, h, reheat, d, hp = 0.95, 0.05, 4.0, 8.0, 1.0, 0.3
    wn = np.sqrt((d * droop + km) / (2 * h * droop * reheat))
    zeta = wn * (2 * h * droop + (d * droop + km * hp) * reheat) / (2 * (d * droop + km))
    assert mode.frequency_hz == pytest.approx(wn * np.sqrt(1 - zeta**2) / (2 * np.pi), rel=1e-9)
    assert mode.damping_ratio == pytest.approx(zeta, rel=1e-9)
    assert mode.time_constant_s == pytest.approx(1 / (zeta * wn), rel=1e-9)
    assert (wn, zeta) == pytest.approx((0.55902, 0.86089), abs=5e-6)
    assert dict(mode.participation) == pytest.approx({"speed main": 0.5, "reheat reheater main": 0.5}, abs=1e-6)


def test_sfr_gains_as_published(x64, scenario):
    """R2, pu per pu of 1000 MVA, to the five digits printed; the tick's hold is 1e-5 at 2 Hz."""
    hz = [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
    expected = [0.06915, 0.11413, 0.13121, 0.09013, 0.03921, 0.01982, 0.00994]
    found = gains(scenario(SFR), [], hz, Where("area", 0))[:, 0] / 60.0 * 1000.0
    assert found == pytest.approx(expected, abs=1e-5)


def test_two_areas_forced_at_their_mode(x64, scenario):
    """R9: 414.11 and 406.06 mHz and 500 MW for 100 MW. The preset's D and K are rounded to 1e-5."""
    west, east, tie, *_ = 100.0 * gains(scenario(R9), [50.0], [0.5])[0]
    assert (1e3 * west, 1e3 * east, tie) == pytest.approx((414.11, 406.06, 500.0), rel=3e-5)


def test_unequal_areas_against_their_matrix(x64, scenario):
    """M dw = -D w - K a, da = w0 (w1 - w2): eigenvalues by numpy of the matrix written down, M = 2 H S."""
    uneven = ("grid.area.east.inertia_s=3.0", "grid.area.east.damping_pu=1.5", "grid.tie.0.initial_mw=150.0")
    found = analyse(scenario(R9, *uneven)).modes.modes
    m, d, w0 = np.array([2 * 6.5, 2 * 3.0]) * 1800.0, np.array([4.0841, 1.5]) * 1800.0, 2 * np.pi * 60.0
    k = np.sqrt(306.305**2 - 150.0**2)  # K cos(delta0)
    a = np.array([[-d[0] / m[0], 0, -k / m[0]], [0, -d[1] / m[1], k / m[1]], [w0, -w0, 0]])
    s = np.linalg.eigvals(a)
    pair, real = s[s.imag > 0][0], s[s.imag == 0][0].real
    assert found[0].frequency_hz == pytest.approx(pair.imag / (2 * np.pi), rel=1e-8)
    assert found[0].damping_ratio == pytest.approx(-pair.real / abs(pair), rel=1e-8)
    assert found[1].time_constant_s == pytest.approx(-1 / real, rel=1e-8)
    assert sum(share for _, share in found[0].participation) == pytest.approx(1.0)


def test_modes_ring_down_in_a_run(x64, emulate, scenario):
    """A run after a step of 1 MW obeys the recursion that the modes say: Prony's method, exact but for a swing of
    1e-3 rad, whose square bends sines by 1e-6. Reference: Hauer et al., IEEE Trans. Power Syst. 5(1):80, 1990."""
    step = "disturbance=[{kind='load_step', at_s=0.0, area='east', mw=1.0}]"
    trace = emulate(R9, *LAGS, step)
    wanted = analyse(scenario(R9, *LAGS)).modes.modes
    y = np.diff(trace.area_frequency_hz[100::200, 0])  # every 0.2 s; differences have no constant
    order = sum(2 if mode.frequency_hz else 1 for mode in wanted)
    assert order == 5
    rows = np.stack([y[i : len(y) - order + i] for i in range(order)], axis=1)
    recursion = np.linalg.lstsq(rows, y[order:], rcond=None)[0]
    s = np.log(np.roots([1.0, *-recursion[::-1]]).astype(complex)) / 0.2
    for mode in wanted:
        near = s[np.argmin(np.abs(s + 1 / mode.time_constant_s - 2j * np.pi * mode.frequency_hz))]
        assert near.imag / (2 * np.pi) == pytest.approx(mode.frequency_hz, rel=1e-3, abs=1e-4)
        assert -1 / near.real == pytest.approx(mode.time_constant_s, rel=1e-2)


@pytest.mark.parametrize("text", [FILTERED, EVERYTHING])
def test_matrices_repeat_a_run(x64, emulate, scenario, text):
    """Two seconds after a job of 0.01 MW has come on, tick by tick: the second order of that is 1e-4 of the change."""
    overrides = ("disturbance=[]",) if text is EVERYTHING else ()
    trace = emulate(text, *overrides)
    layout, params, linear = linear_of(scenario(text), [trace.job_power_mw[0, 0], 0.0])
    a, b, c, d = (np.asarray(part) for part in linear[:4])
    x, expected = np.zeros(len(b)), []
    for u in 0.01 * (np.arange(3000) >= 1000):
        expected.append(c @ x + d * u)
        x = a @ x + b * u
    channels = ("area_frequency_hz", "tie_power_mw", "shaft_torque_pu", "site_bess_power_mw", "site_pcc_power_mw")
    found = np.concatenate([getattr(trace, name) for name in channels], axis=1)
    assert found.shape[1] == len(d)
    change = np.asarray(expected)
    scale = np.abs(change).max(axis=0)
    assert (scale > 0).all()
    assert np.abs((found - found[0] - change) / scale).max() < 1e-3


def test_low_pass_and_battery(x64, scenario):
    """|pcc/load| = 1/sqrt(1 + (f/fc)^2) but for the tick: exactly 1 - (g/w)(z - 1)/(z - 1 + g), w = 2 pi fc dt,
    g = 1 - e^-w."""
    hz = np.array([0.01, 0.1, 0.2, 0.5, 2.0, 20.0])
    found = gains(scenario(FILTERED), [20.0, 0.0], hz)[:, 1]
    w, z = 2 * np.pi * 0.2e-3, np.exp(2j * np.pi * hz * 1e-3)
    g = -np.expm1(-w)
    assert found == pytest.approx(np.abs(1 - g / w * (z - 1) / (z - 1 + g)), rel=1e-9)
    assert found[:4] == pytest.approx(1 / np.sqrt(1 + (hz[:4] / 0.2) ** 2), rel=1e-4)


@pytest.mark.parametrize("delay_s", [0.001, 0.05])
def test_delay_leaves_a_residual(x64, scenario, delay_s):
    """A battery that carries all, a delay late: |1 - e^(-jwT)| = 2 sin(pi f T), 31 % at 1 Hz for 50 ms. The
    filter's own share is fc/f = 1e-7."""
    hz = np.array([0.5, 1.0, 3.1])
    slow = ("site.0.controller.cutoff_hz=1e-8", f"site.0.bess.delay_s={delay_s}")
    found = gains(scenario(FILTERED, *slow), [20.0, 0.0], hz)[:, 1]
    assert found == pytest.approx(2 * np.sin(np.pi * hz * delay_s), rel=1e-4)


def test_a_delays_own_eigenvalues_are_no_modes(x64, scenario):
    """A long ring's eigenvalues are 0, which rounding spreads over a circle of eps^(1/200) = 0.83."""
    lossy = ("bess.charge_efficiency=0.9", "bess.discharge_efficiency=0.8")
    keys = ("bess.delay_s=0.2", "bess.energy_mwh=100.0", "controller.soc_gain=0.5", *lossy)
    found = analyse(scenario(FILTERED, *(f"site.0.{key}" for key in keys))).modes
    assert [mode.frequency_hz for mode in found.modes] == [0.0, 0.0]  # filter, restoration
    assert found.modes[0].time_constant_s == pytest.approx(1 / (2 * np.pi * 0.2), rel=1e-6)
    # 100 MWh at 0.5 * 100 MW per unit: 7200 s, over the mean of both directions' efficiencies. The filter and the delay
    # move it by some 1 s of 7200.
    assert found.modes[1].time_constant_s == pytest.approx(7200.0 / (0.5 * (0.9 + 1 / 0.8)), rel=1e-3)
    assert found.memory >= 200


def test_states_have_names_and_places(x64, scenario):
    loaded = scenario(EVERYTHING)
    found = analyse(loaded)
    layout, params = layout_of(loaded), params_of(loaded, {})
    start = plant.equilibrium(layout, params, as_array([50.0, 0.0]))
    names = state_names(start, modes_report._labels(loaded, layout))
    assert len(names) == len(packed(start)) == len(ring_lengths(start))
    for name in (
        "speed east", "tie angle west-east", "tgov1 valve west", "reheat reheater west", "lag power east",
        "inverters measured west", "twist g 1-2", "twist g 1-2 speed", "battery soc campus",
        "controller towards grid campus",
    ):  # fmt: skip
        assert names.count(name) == 1, name
    assert names.count("battery pending campus") == 20 == ring_lengths(start).count(20)
    assert {"agc order west", "agc integral west", "start campus", "mechanical east"} <= set(found.modes.held)
    assert any("AGC" in note for note in found.notes)
    again = jax.tree.leaves(unpacked(start, packed(start)))
    assert all(np.array_equal(a, b) for a, b in zip(again, jax.tree.leaves(start), strict=True))


def test_shaft_mode(x64, scenario):
    """Two masses: w^2 = w0 K (1/2H1 + 1/2H2)."""
    found = analyse(scenario(EVERYTHING)).modes.modes
    expected = np.sqrt(2 * np.pi * 60 * 20.0 * (1 / 2 + 1 / 6)) / (2 * np.pi)
    assert min(abs(mode.frequency_hz - expected) for mode in found) < 1e-3


def test_gradient_of_damping_against_differences(x64, scenario):
    """Of the inter-area mode, in each area's damping and inertia: central differences of the eigenvalue itself, whose
    error is some h^2 = 1e-6 of it and, from rounding, 1e-16/dt/h = 1e-10. With a flow on the tie, whose angle decides
    on its stiffness, and governors."""
    layout, params, linear = linear_of(scenario(R9, *LAGS, "grid.tie.0.initial_mw=150.0"), [50.0])
    job_mw = as_array([50.0])
    names = [str(i) for i in range(len(linear.b))]

    def mode_at(linear):
        return next(
            m for m in modes.modes_of(linear, layout.dt_s, names, [0] * len(names)).modes if m.frequency_hz > 0.3
        )

    def moved(name, value):
        return replace(params, grid=replace(params.grid, **{name: value}))

    def ratio(name, value):
        return mode_at(linearise(layout, moved(name, value), job_mw, CAMPUS)).damping_ratio

    directions = modes.directions_of(linear, mode_at(linear))

    def smooth(params):
        return modes.damping_ratio(layout, params, job_mw, CAMPUS, directions)

    value, gradient = jax.jit(jax.value_and_grad(smooth), compiler_options=QUICKLY)(params)
    assert value == pytest.approx(mode_at(linear).damping_ratio, rel=1e-9)
    for name in ("damping_pu", "inertia_s"):
        at = getattr(params.grid, name)
        for i in range(2):
            h = 1e-3 * jnp.zeros(2).at[i].set(1.0) * at
            central = (ratio(name, at + h) - ratio(name, at - h)) / (2 * h[i])
            assert getattr(gradient.grid, name)[i] == pytest.approx(float(central), rel=1e-5, abs=1e-8)
            assert abs(central) > 1e-4


def test_amplification_in_closed_form(x64, scenario):
    """Tie flow of R9: half of w^2/(w^2 - W^2 + 2 j zeta w W). A sine at w is amplified 1/(2 zeta) = 10 times, a square
    wave by the sum over its harmonics; with the mode damped to 0.5 for the denominator. The grid of the response is
    read by straight lines: 1e-3 between its points."""
    layout, _, linear = linear_of(scenario(R9), [50.0])
    found = modes.modes_of(linear, layout.dt_s, ["x"] * 6, [0] * 6)
    kinds = ("frequency", "frequency", "tie flow", "battery power", "draw from the grid")
    natural_hz, zeta = 0.5, found.modes[0].damping_ratio

    def gain(hz, damping):
        r = hz / natural_hz
        return 0.5 / np.abs(1 - r**2 + 2j * damping * r)

    k = np.arange(1, waveform.HARMONICS + 1)
    square = 2 / (np.pi * k) * np.abs(np.sin(np.pi * k * 0.7))
    for amplitude in (np.where(k == 1, 1.0, 0.0), square):
        its = resonance_of(linear, layout.dt_s, found, Waveform("", 2.345, 1.0, amplitude), kinds)
        one, calm = (np.sqrt(0.5 * np.sum((gain(k / 2.345, it) * amplitude) ** 2)) for it in (zeta, 0.5))
        assert its.own_amplification()["tie flow"] == pytest.approx(one / calm, rel=2e-3)
        for period_s in (2.0, 2.6, 4.0, 11.0):
            at = np.argmin(np.abs(its.period_s - period_s))
            hz = k / its.period_s[at]
            one, calm = (np.sqrt(0.5 * np.sum((gain(hz, it) * amplitude) ** 2)) for it in (zeta, 0.5))
            assert its.rms[at, 2] == pytest.approx(one, rel=2e-3)
            assert its.amplification["tie flow"][at] == pytest.approx(one / calm, rel=2e-3)
    assert gain(0.5, zeta) / gain(0.5, 0.5) == pytest.approx(10.0, rel=1e-4)


def test_periods_to_avoid(x64, scenario):
    """k/f/(1 + zeta) to k/f/(1 - zeta) for the harmonics of at least a tenth of the largest: of the square wave that is
    on for 0.7, k = 1 to 9 without the seventh, and no tenth."""
    its = analyse(scenario(R9)).resonance
    assert "square wave" in its.waveform.label and its.verdict() is None
    zeta, hz = 0.05, 0.5 * np.sqrt(1 - 0.05**2)
    assert {each.harmonic for each in its.avoid} == {1, 2, 3, 4, 5, 6, 8, 9}
    for each in its.avoid:
        assert each.low_s == pytest.approx(each.harmonic / hz / (1 + zeta), rel=1e-4)
        assert each.high_s == pytest.approx(each.harmonic / hz / (1 - zeta), rel=1e-4)
        near = np.argmin(np.abs(its.period_s - each.harmonic / hz))
        assert its.amplification["tie flow"][near] == pytest.approx(each.amplification, rel=0.02)


TRAINING = """
    [run]
    duration_s = 1.0
    [[site]]
    name = "campus"
    area = "west"
    [[site.job]]
    name = "pretrain"
    kind = "training"
    devices = 1000
    start_s = 0.5
    accelerator = {idle_w = 100.0, tdp_w = 1100.0, gain_spread = 0.1}
    [site.job.workload]
    jitter = 0.1
    rate_spread = 0.3
    checkpoint = {period_s = 1.0, duration_s = 3.0, level = 0.0}
    phase = [
        {name = "compute", duration_s = 1.4, level = 1.0, noise = 0.1, level_jitter = 0.1},
        {name = "exchange", duration_s = 0.6, level = 0.0},
    ]
    [grid]
    preset = "two_area_r9"
"""


def test_nominal_iteration_of_a_job(x64, scenario):
    """Two levels, on for 0.7 of 2 s: the closed form, whatever is drawn at random."""
    loaded = scenario(TRAINING)
    found = waveform.of_site(loaded, loaded.site[0])
    k = np.arange(1, waveform.HARMONICS + 1)
    assert (found.period_s, found.swing_mw) == pytest.approx((2.0, 1.0))
    assert found.amplitude_mw == pytest.approx(2 / (np.pi * k) * np.abs(np.sin(np.pi * k * 0.7)), abs=1e-9)
    its = analyse(loaded)
    met = its.resonance.verdict()
    assert met is not None and [each.harmonic for each in met] == [1] and met[0].low_s < 2.0 < met[0].high_s
    assert "AVOID: harmonic 1 meets 0.4994 Hz" in render(its)
    clear = analyse(scenario(TRAINING, "site.0.job.0.workload.phase.0.duration_s=2.4"))
    assert clear.resonance.verdict() == ()
    kind, over = next(iter(clear.resonance.own_amplification().items()))
    assert over == max(clear.resonance.own_amplification().values()) > 1.0
    assert f"the job's 3 s: clear of them; amplification there {over:.3g} at {kind}" in render(clear)


def test_smoothed_job_stands_for_all_its_devices(x64, scenario):
    """A floor that is always up: the swing is what it leaves, of all devices though 4,096 are emulated."""
    loaded = scenario(
        TRAINING,
        "site.0.job.0.devices=8192",
        "site.0.job.0.smoothing={floor_fraction=0.5, ramp_up_w_per_s=1e5, ramp_down_w_per_s=1e-3, stop_delay_s=100.0}",
    )
    found = waveform.of_site(loaded, loaded.site[0])
    assert found.swing_mw == pytest.approx(8192 * 550e-6, rel=1e-6)  # from TDP down to half of it


def test_published_lines_of_the_production_trace(x64, scenario):
    """Section 1.2 of the facts: lines of .187, .152, .158, .129 of the range. The preset was fitted to them and to the
    shape together; a tenth of the largest."""
    loaded = scenario(
        TRAINING, "site.0.job.0.workload={preset='dgx_h100_frontier'}", "site.0.job.0.accelerator={preset='h100'}",
        "site.0.job.0.devices=20000",
    )  # fmt: skip
    found = waveform.of_site(loaded, loaded.site[0])
    assert found.period_s == pytest.approx(20.93, rel=0.01)
    device = next(job for job in loaded.site[0].job if isinstance(job, TrainingJob)).accelerator
    range_mw = 20000 * (1 + device.server_fraction) * (device.tdp_w - device.idle_w) * 1e-6
    assert found.amplitude_mw[:4] / range_mw == pytest.approx([0.187, 0.152, 0.158, 0.129], abs=0.0187)


def test_harmonics_of_a_shifted_period_are_the_same():
    power = np.concatenate([np.full(300, 2.0), np.full(700, 5.0)])
    k = np.arange(1, waveform.HARMONICS + 1)
    expected = 3.0 * 2 / (np.pi * k) * np.abs(np.sin(np.pi * k * 0.7))
    for shift in (0, 123):
        assert harmonics(np.roll(power, shift)) == pytest.approx(expected, abs=1e-9)


def test_what_has_no_modes_is_refused(x64, scenario):
    with pytest.raises(ModesError, match="nothing to linearise"):
        analyse(scenario(INFINITE))
    with pytest.raises(ModesError, match="no such site or area; there are campus, west, east"):
        analyse(scenario(R9), "wst")
    assert analyse(scenario(R9), "east").load == "load of area east"


INFINITE = """
    [run]
    duration_s = 1.0
    [[site]]
    name = "campus"
    job = [{name = "base", kind = "constant", power_mw = 50.0}]
"""


def test_controllers_that_are_not_linear_are_named(x64, scenario):
    """Small swings pass a ramp limit: the battery does nothing, and the note says so. A long window is refused."""
    limit = "site.0.controller={kind='ramp_limit', ramp_mw_per_s=2.0}"
    found = analyse(scenario(FILTERED, limit))
    assert "ramp limit" in found.notes[0]
    draw = found.response[found.frequency_hz < 1.0, 1]
    assert np.abs(draw) == pytest.approx(np.ones(len(draw)), rel=0.01)
    first = analyse(scenario(FILTERED, "site.0.controller={kind='expanding_mean'}"))
    assert "expanding mean" in first.notes[0]
    with pytest.raises(ModesError, match="2000 in the longest delay or window; at most 1000"):
        analyse(scenario(FILTERED, "site.0.controller={kind='moving_average', window_s=2.0}"))


def test_an_unstable_mode_is_named(x64, scenario):
    """Droop of 0.2 % behind a lag of 5 s and no damping: the closed loop grows."""
    lag = "grid.area.0.governor=[{model='tgov1', droop_pu=0.002, t1_s=0.5, t2_s=0.0, t3_s=5.0}]"
    found = analyse(scenario(SFR, lag, "grid.area.0.damping_pu=0.0", "grid.area.0.load_mw=500.0"))
    assert lightest(found).damping_ratio < 0 and lightest(found).time_constant_s < 0
    assert found.notes[0].startswith("UNSTABLE") and len(found.notes) == 1


def test_a_state_at_its_limit_is_named(x64, scenario):
    """A valve that is shut at the start can only open."""
    found = analyse(scenario(SFR, "grid.area.0.governor=[{model='tgov1'}]"))
    assert "tgov1 valve main" in found.notes[0]


def test_an_undamped_shaft_is_to_be_avoided(x64, scenario):
    """Its band has no width; the range about it has 0.1 %."""
    found = analyse(scenario(EVERYTHING, "grid.shaft.0.damping_pu=[0.0, 0.0]"))
    hz = np.sqrt(2 * np.pi * 60 * 20.0 * (1 / 2 + 1 / 6)) / (2 * np.pi)
    ranges = [each for each in found.resonance.avoid if abs(each.mode_hz - hz) < 1e-3]
    assert ranges and all(each.high_s / each.low_s == pytest.approx(1.002, rel=1e-5) for each in ranges)
    assert any("is not damped" in note for note in found.notes)


def test_json_holds_what_the_table_says(x64, scenario):
    found = analyse(scenario(R9))
    held = json.loads(json.dumps(as_json(found), allow_nan=False))
    assert set(held) >= {"modes", "response", "resonance"}
    first = held["modes"][0]
    assert set(first) == {"frequency_hz", "damping_ratio", "time_constant_s", "participation"}
    assert first["participation"][0] == {"state": "tie angle west-east", "factor": pytest.approx(0.5)}
    tie = next(its for its in held["response"]["outputs"] if its["output"] == "tie flow west-east")
    assert max(tie["magnitude"]) == pytest.approx(5.0, rel=0.01) and len(tie["phase_deg"]) == len(tie["magnitude"])
    assert len(held["resonance"]["avoid"]) == 8
    text = render(found)
    assert "0.4994     0.0500 *" in text and max(len(line) for line in text.splitlines()) <= 120


def test_picture(x64, scenario, tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    from emulator import plot_modes
    from emulator.trace import TraceError

    found = analyse(scenario(TRAINING))
    plot_modes.picture(found, tmp_path / "a" / "modes.png")
    start = (tmp_path / "a" / "modes.png").read_bytes()[:24]
    assert int.from_bytes(start[16:20], "big") == 1200
    figure = Figure(layout="constrained")
    plot_modes.draw(figure, found)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert "frequency: response per MW of load" in titles and "amplification by modes; shaded: avoid" in titles
    with pytest.raises(TraceError, match="ends in"):
        plot_modes.picture(found, tmp_path / "modes.txt")


def test_command(tmp_path):
    def run(*args):
        command = [sys.executable, "-m", "emulator", "modes", *args]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    done = run("r1_load_step", "--json", "--out", "m.png")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["modes"][0]["damping_ratio"] == pytest.approx(0.86089, abs=1e-5)
    assert (tmp_path / "m.png").stat().st_size > 10_000
    site = "{name='campus', job=[{name='base', kind='constant', power_mw=1.0}]}"
    refused = run("r1_load_step", "--set", "grid={}", "--set", "disturbance=[]", "--set", f"site=[{site}]")
    assert refused.returncode == 2 and "nothing to linearise" in refused.stderr and "Traceback" not in refused.stderr


def test_stages_and_batteries_have_names_of_their_own(scenario):
    stages = "[{kind='low_pass', cutoff_hz=0.2}, {kind='virtual_inertia', inertia_s=2.0}]"
    fast = "[{name='fast', power_mw=5.0, energy_mwh=1.0, crossover_hz=1.0}]"
    loaded = scenario(FILTERED, f"site.0.controller={{kind='composite', stage={stages}}}", f"site.0.store={fast}")
    start = plant.equilibrium(layout_of(loaded), params_of(loaded, {}), as_array([50.0]))
    names = state_names(start, {"sites": ["campus"]})
    for name in ("stage 1 towards grid", "stage 2 filtered", "battery soc", "battery 2 soc", "slow"):
        assert sum(name in state for state in names) == 1, names
