"""Sites whose grid is emulated elsewhere: the plant under given frequency and voltages, and the driver of co-simulation
with grids in this process. With HELICS: tests/unit/test_federate.py."""

from __future__ import annotations

import importlib.util
import textwrap
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import emulator as em
from emulator import cosimulate, simulate
from emulator.frame import ExternalGrid
from emulator.traces import hdf5
from tests.compiling import QUICKLY

SCRIPT = Path(__file__).parents[2] / "scripts" / "cosimulate_grid.py"
SITE = """
    [run]
    duration_s = 2.0
    [[site]]
    name = "campus"
    area = "main"
    pcc = {short_circuit_ratio = 4.0, x_over_r = 8.0, nominal_kv = 230.0, rated_mw = 40.0}
    bess = {power_mw = 10.0, energy_mwh = 5.0, voltage_gain_pu = 2.0, voltage_response_s = 0.02, response_s = 0.05}
    controller = {kind = "droop", droop_pu = 0.01}
    [site.facility]
    power_factor = 0.98
    constant_impedance_fraction = 0.2
    constant_current_fraction = 0.3
    ride_through = {trip_below_pu = 0.8, return_ramp_s = 0.5}
    [[site.job]]
    name = "base"
    kind = "constant"
    power_mw = 20.0
    [[site.job]]
    name = "batch"
    kind = "constant"
    power_mw = 10.0
    start_s = 0.5
    [[grid.area]]
    name = "main"
    rated_mva = 200.0
    inertia_s = 4.0
    damping_pu = 1.0
"""
DISTURBED = (
    SITE
    + """
    [[disturbance]]
    kind = "load_step"
    at_s = 1.0
    area = "main"
    mw = 10.0
    [[disturbance]]
    kind = "voltage_sag"
    at_s = 1.2
    depth_pu = 0.3
    duration_s = 0.2
"""
)
COSIM = """
    [cosim]
    step_s = 0.02
    frequency_hz = {main = "grid/frequency_hz"}
    voltage_pu = {campus = "grid/voltage_pu"}
"""


def script():
    spec = importlib.util.spec_from_file_location("cosimulate_grid", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Beside:
    """The script's grid as a partner without HELICS between: each acts on what the other did in the step before."""

    def __init__(self, scenario):
        self.grid, self.cosim = script().Grid(scenario), scenario.cosim

    def given(self, draw):
        volts = self.grid.voltage_pu(float(draw.mw[0]), float(draw.mvar[0]))
        return cosimulate.Given(np.array([self.grid.frequency_hz()]), np.full(len(self.cosim.voltage_pu), volts))

    def begin(self, draw_at):
        given = self.given(cosimulate.Draw(np.zeros(1), np.zeros(1)))
        for _ in range(12):  # the load's voltage dependence is weak: each turn leaves under a tenth of the error
            self.draw = draw_at(given)
            given = self.given(self.draw)
        return given

    def exchange(self, time_s, draw):
        """Both have emulated the same step: the grid under what was drawn in the one before."""
        self.grid.advance(float(self.draw.mw[0]), self.cosim.step_s)
        given, self.draw = self.given(self.draw), draw
        return given


def cosimulated(scenario, partner=None):
    """Trace in memory, and how it ended."""
    here = cosimulate.sites_here(scenario, scenario.cosim)
    sink = simulate.Memory(simulate.header_of(here))
    outcome = cosimulate.cosimulate(here, sink.header, sink, partner or Beside(scenario))
    return sink.trace(), outcome


def rolled(scenario, external=None, params=None):
    layout, own, state, inputs = em.build(scenario)
    return jax.jit(em.rollout, static_argnums=0)(layout, params or own, state, replace(inputs, external=external))[1]


def test_a_recorded_grid_given_back_draws_the_recorded_powers(scenario):
    """Through a load step, a sag with a trip and a return, and voltage support; the grid emulated here is another one,
    and has no disturbances, so that only what is given can tell the site of them."""
    recorded = rolled(scenario(DISTURBED))
    external = ExternalGrid(recorded.speed_pu, (recorded.voltage_pu[:, 0],))
    stiff = scenario(SITE, "grid.area.0.inertia_s=400.0", "site.0.pcc.short_circuit_ratio=50.0")
    again, without = rolled(stiff, external), rolled(stiff)
    assert np.ptp(recorded.connected) == 1.0, "the sag trips the site"
    for name in ("pcc_mw", "pcc_mvar", "bess_mw", "facility_mw", "connected", "soc", "voltage_pu", "speed_pu"):
        was, now = (np.asarray(getattr(frame, name)) for frame in (recorded, again))
        # Same operations in the same order, compiled otherwise: a few roundings of the largest value.
        np.testing.assert_allclose(now, was, atol=4 * np.finfo(np.float32).eps * np.abs(was).max(), rtol=0)
    assert np.abs(without.pcc_mw - recorded.pcc_mw).max() > 5.0
    assert np.isnan(again.mechanical_mw).all(), "nothing is known of generators elsewhere"


def test_at_rest_under_a_voltage_off_nominal(scenario):
    quiet = scenario(SITE, "site.0.job.1.start_s=10.0")
    ticks = 2000
    frame = rolled(quiet, ExternalGrid(jnp.zeros((ticks, 1)), (jnp.full(ticks, 0.93),)))
    share = 0.5 + 0.3 * 0.93 + 0.2 * 0.93**2  # of the load at 1 pu
    np.testing.assert_allclose(frame.pcc_mw[:, 0], 20.0 * share, rtol=1e-6)
    assert np.ptp(frame.pcc_mw) == np.ptp(frame.pcc_mvar) == np.ptp(frame.bess_mw) == 0.0


def test_gradients_pass_through_what_is_given(scenario, x64):
    """Battery energy by droop, and by the depth of a frequency dip, against central differences."""
    layout, params, state, inputs = em.build(scenario(SITE, "run.duration_s=0.4", "site.0.job.1.start_s=0.1"))
    dip = -1e-3 * jnp.sin(jnp.linspace(0.0, 3.0, 400))[:, None]
    volts = 0.98 + 0.02 * jnp.cos(jnp.linspace(0.0, 9.0, 400))

    def squares(gain, depth, swing):
        site = params.sites[0]
        own = jax.tree.map(lambda x: gain * x, site.storage.controller)
        its = replace(params, sites=(replace(site, storage=replace(site.storage, controller=own)),))
        external = ExternalGrid(depth * dip, (1.0 + swing * (volts - 1.0),))
        frame = em.rollout(layout, its, state, replace(inputs, external=external))[1]
        return jnp.mean(frame.bess_mw**2) + jnp.mean(frame.pcc_mvar**2)

    at = (jnp.asarray(1.0), jnp.asarray(1.0), jnp.asarray(1.0))
    square, slopes_of = (jax.jit(each, compiler_options=QUICKLY) for each in (squares, jax.grad(squares, (0, 1, 2))))
    found = slopes_of(*at)
    for i in range(3):
        step = 1e-5  # truncation ~ step^2, rounding ~ 1e-16 / step: both below 1e-9
        ends = [square(*(x + (sign * step if i == j else 0.0) for j, x in enumerate(at))) for sign in (1, -1)]
        assert abs(found[i]) > 1e-3
        np.testing.assert_allclose(found[i], (ends[0] - ends[1]) / (2 * step), rtol=1e-6)


@pytest.fixture(scope="module")
def loops(tmp_path_factory):
    """Frequency and voltage in closed loop with the script's grid, by step in s; 0 = the grid emulated here."""
    path = tmp_path_factory.mktemp("loops") / "a.toml"
    found = {}
    with jax.enable_x64(True):
        for step_s in (0.0, 0.02, 0.04, 0.08):
            path.write_text(textwrap.dedent(SITE + COSIM))
            its = em.load(path, ["run.duration_s=2.4", f"cosim.step_s={step_s or 0.02}"])
            found[step_s] = cosimulated(its)[0] if step_s else em.run(its)
    return found


@pytest.mark.parametrize("channel", ["area_frequency_hz", "site_bess_power_mw"])
def test_the_loop_converges_with_the_first_power_of_the_step(loops, channel):
    """Held for a step, passed on at its end, values come late by 1.5 steps on average: the error is C h + O(h^2)."""
    error = {h: np.abs(getattr(loops[h], channel) - getattr(loops[0.0], channel)).max() for h in (0.02, 0.04, 0.08)}
    order = np.log2(error[0.04] / error[0.02])
    coarse = np.log2(error[0.08] / error[0.04])
    assert error[0.08] > 1e-3, "far above rounding"
    # The second-order term halves with h: so does the distance of the order from 1, here from below 0.2.
    assert abs(coarse - 1.0) < 0.2 and abs(order - 1.0) < 0.1


TRAINING = """
    [run]
    duration_s = 3.0
    dt_s = 0.01
    chunk_ticks = 25
    [record]
    every_ticks = 5
    device_every_ticks = 5
    devices = [{job = "train", first = 3, count = 2}]
    [[site]]
    name = "campus"
    area = "main"
    bess = {power_mw = 0.05, energy_mwh = 0.01}
    controller = {kind = "low_pass", cutoff_hz = 0.2}
    [[site.job]]
    name = "train"
    kind = "training"
    devices = 100
    accelerator = {idle_w = 100.0, tdp_w = 1000.0, cap_min_w = 200.0, power_exponent = 3.0, response_s = 0.02}
    [site.job.workload]
    jitter = 0.02
    phase = [{name = "all", duration_s = 0.4, level = 1.0}, {name = "wait", duration_s = 0.2, level = 0.2}]
    [[site.job]]
    name = "base"
    kind = "constant"
    power_mw = 0.02
    start_s = 1.2
    [[grid.area]]
    name = "main"
    rated_mva = 1.0
    inertia_s = 4.0
    [cosim]
    step_s = 0.25
"""


class Nobody:
    """A partner that gives nothing, and keeps what it is told."""

    def __init__(self, fails_at_s=np.inf, error=None):
        self.told, self.fails_at_s, self.error = [], fails_at_s, error

    def begin(self, draw_at):
        return cosimulate.Given(np.zeros(0), np.zeros(0))

    def exchange(self, time_s, draw):
        self.told.append((time_s, float(draw.mw[0])))
        if time_s >= self.fails_at_s:
            raise self.error
        return cosimulate.Given(np.zeros(0), np.zeros(0))


@pytest.mark.parametrize("limited", [False, True], ids=["in windows", "ordered"])
def test_with_nothing_from_outside_it_is_an_ordinary_run(scenario, monkeypatch, limited):
    """Step by step within windows of four steps, or, where the site orders caps, window by window: the same rows,
    devices, events and metrics; what is published is the mean over each step."""
    text = TRAINING.replace("[[site.job]]", "power_limit = {max_mw = 0.08, gain = 0.2}\n    [[site.job]]", 1)
    its = scenario(text if limited else TRAINING)
    monkeypatch.setattr(cosimulate, "WINDOW_TICKS", 110)
    partner = Nobody()
    (trace, outcome), run = cosimulated(its, partner), simulate.run(its)
    assert outcome.complete and trace.complete and trace.stop_reason == run.stop_reason
    for channel in ("site_pcc_power_mw", "site_bess_power_mw", "area_frequency_hz", "bess_soc", "device_power_w"):
        was, now = getattr(run, channel), getattr(trace, channel)
        eps = np.finfo(np.float32).eps  # compiled otherwise: a few roundings, of the 0.12 MW that a difference is of
        np.testing.assert_allclose(now, was, rtol=4 * eps, atol=4 * eps * 0.12)
    assert np.ptp(run.site_pcc_power_mw) > 0.02 and run.device_power_w.shape == (60, 2)
    assert trace.events == run.events
    assert trace.metrics == pytest.approx(run.metrics, rel=1e-6, nan_ok=True)
    means = run.site_pcc_power_mw[:, 0].reshape(-1, 5).mean(axis=1)
    np.testing.assert_allclose(partner.told, np.stack([np.arange(1, 13) * 0.25, means], axis=1), rtol=1e-6)


def test_what_cannot_be_ends_the_run_there(scenario):
    """A frequency in rad/s, from the sixth step on."""
    its = scenario(SITE + COSIM, "run.duration_s=0.4")
    partner = Beside(its)
    partner.given = lambda draw: cosimulate.Given(
        np.array([60.0 if partner.grid.speed_pu == 0.0 else 377.0]), np.array([0.95])
    )
    partner.begin = lambda draw_at: setattr(partner, "draw", draw_at(at := partner.given(None))) or at
    rise = iter(range(100))
    partner.grid.advance = lambda mw, seconds: setattr(partner.grid, "speed_pu", float(next(rise) >= 5))
    trace, outcome = cosimulated(its, partner)
    assert not outcome.complete and not trace.complete
    assert outcome.stop_reason == "grid/frequency_hz is 377 Hz at 0.12 s, must be from 0 to 120 Hz"
    assert len(trace.time_s) == 120 and outcome.emulated_s == 0.12


@pytest.mark.parametrize("value", [np.nan, -1.0, 2.5])
def test_a_voltage_that_cannot_be_is_refused_at_the_start(scenario, value):
    its = scenario(SITE + COSIM, "run.duration_s=0.4")
    partner = Nobody()
    partner.begin = lambda draw_at: cosimulate.Given(np.array([60.0]), np.array([value]))
    here = cosimulate.sites_here(its, its.cosim)
    ended = []
    sink = simulate.Memory(simulate.header_of(here))
    sink.finish = lambda *end: ended.append(end[1:])
    outcome = cosimulate.cosimulate(here, sink.header, sink, partner)
    assert "grid/voltage_pu is" in outcome.stop_reason and "must be from 0 to 2 pu" in outcome.stop_reason
    assert ended == [(outcome.stop_reason, False)]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(cosimulate.PartnerError("the broker is gone"), "the broker is gone"), (KeyboardInterrupt(), "interrupted")],
)
def test_a_grid_that_goes_leaves_a_closed_trace(scenario, tmp_path, error, reason):
    """Ctrl-C while the others are waited for, too: every row emulated is in the file."""
    its = scenario(SITE + "    [cosim]\n    step_s = 0.02", "run.duration_s=0.4")
    header, path = simulate.header_of(its), tmp_path / "a.h5"
    try:
        with hdf5.TraceWriter(path, header, 100) as writer:
            cosimulate.cosimulate(its, header, writer, Nobody(0.1, error))
    except KeyboardInterrupt:
        assert reason == "interrupted"
    trace = hdf5.read(path)
    assert (trace.complete, trace.stop_reason, len(trace.time_s)) == (False, reason, 100)


def test_what_the_grid_outside_has_is_left_to_it(scenario):
    its = scenario(DISTURBED.replace("damping_pu = 1.0", "damping_pu = 1.0\n    load_mw = 50.0") + COSIM)
    assert cosimulate.not_used(its, its.cosim) == [
        "all of [grid] but names and nominal frequency",
        "disturbance.0 (load_step)",
        "disturbance.1 (voltage_sag)",
    ]
    here = cosimulate.sites_here(its, its.cosim)
    assert not here.disturbance and here.grid.area[0].load_mw == 0.0 and here.site == its.site
    alone = its.cosim.model_copy(update={"frequency_hz": {}})
    assert cosimulate.not_used(its, alone) == ["disturbance.1 (voltage_sag)"]


BARE = """
    [run]
    duration_s = 60.0
    dt_s = 0.05
    [[site]]
    name = "campus"
    area = "main"
    bess = {power_mw = 10.0, energy_mwh = 500.0, response_s = 0.0}
    controller = {kind = "droop", droop_pu = 0.01}
    pcc = {short_circuit_ratio = 4.0, x_over_r = 8.0, nominal_kv = 230.0, rated_mw = 40.0}
    job = [{name = "base", kind = "constant", power_mw = 20.0}]
    [[grid.area]]
    name = "main"
    rated_mva = 200.0
    inertia_s = 4.0
    damping_pu = 1.0
    [[disturbance]]
    kind = "load_step"
    site = "campus"
    at_s = 4.0
    mw = 0.1
    [cosim]
    step_s = 1.0
    frequency_hz = {main = "grid/frequency_hz"}
"""


@pytest.mark.parametrize(("step_s", "stable"), [(1.0, True), (2.0, False)])
def test_the_loop_is_stable_up_to_the_step_that_the_docs_name(scenario, step_s, stable):
    """x[k+1] = d x[k] - g x[k-1] - load, d = exp(-D h/2H), g = K (1 - d)/D: its roots leave the unit circle at g = 1,
    here h = 1.79 s. K: 10 MW / 0.01 on 200 MVA."""
    its = scenario(BARE, f"cosim.step_s={step_s}")
    trace, _ = cosimulated(its)
    decay = np.exp(-step_s / 8.0)
    x = [0.0, 0.0]
    load_pu = (its.disturbance[0].mw / 200.0) * (np.arange(60) * step_s >= 4.0)  # mean over each step
    for k in range(1, int(60 / step_s) - 1):
        x.append(decay * x[k] - (1.0 - decay) * (load_pu[k - 1] + 5.0 * x[k - 1]))
    found = trace.area_frequency_hz[:: round(step_s / 0.05), 0] / 60.0 - 1.0
    assert np.max(np.abs(x)) < 0.01, "within the battery's rating"
    # Powers of 20 MW in float32 are off by up to 1e-6 MW, 5e-9 of the area, in every step, and the loop adds them up.
    np.testing.assert_allclose(found, x, atol=30 * 5e-9)
    late, early = (np.ptp(found[part]) for part in (slice(-8, None), slice(2, 10)))
    assert bool(late < early) == stable
