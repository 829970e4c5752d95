"""Inverter reserves against an independent solution, AGC against its steady state, trips against ERCOT's figures."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

INVERTER = """
    [run]
    duration_s = 6.0
    dt_s = 0.001
    [[grid.area]]
    name = "main"
    rated_mva = 1000.0
    inertia_s = 3.0
    damping_pu = 1.5
    [grid.area.inverters]
    power_mw = 80.0
    inertia_s = 10.0
    droop_pu = 0.02
    deadband_pu = 0.0005
    measurement_s = 0.05
    response_s = 0.04
    [[disturbance]]
    kind = "load_step"
    at_s = 0.0
    area = "main"
    mw = 60.0
"""


@pytest.mark.parametrize("mw", [60.0, 150.0])
def test_inverters_solved_by_another_program(x64, emulate, mw):
    """60 MW: within limits; 150 MW: at its limit of 80 MW."""
    trace = emulate(INVERTER, f"disturbance.0.mw={mw}")

    def derivative(t, x):
        speed, measured, power = x
        rate = (speed - measured) / 0.05
        beyond = np.sign(measured) * max(abs(measured) - 0.0005, 0.0)
        target = np.clip(-20.0 * rate - beyond / 0.02, -1.0, 1.0)
        return (0.08 * power - mw / 1e3 - 1.5 * speed) / 6.0, rate, (target - power) / 0.04

    t = trace.time_s
    found = solve_ivp(derivative, (0, t[-1]), np.zeros(3), "Radau", t, rtol=1e-9, atol=1e-13, max_step=0.002).y
    # Runge-Kutta of order 4 at dt/T = 1/40: about 1e-7 of the swing; at the corners of the limits O(dt^2), 1e-4.
    share = 1e-6 if mw == 60.0 else 1e-4
    np.testing.assert_allclose(trace.area_frequency_hz[:, 0] - 60, 60 * found[0], atol=share * 60 * np.ptp(found[0]))
    np.testing.assert_allclose(trace.reserve_inverter_power_mw[:, 0], 80 * found[2], atol=share * 80 * 10)
    assert trace.reserve_inverter_power_mw.max() == pytest.approx(80.0, rel=1e-3) if mw == 150.0 else True


def test_synthetic_inertia_slows_the_fall(x64, emulate):
    """Droop off: once the lags of 0.05 and 0.04 s are over, df/dt = -f0 P / (2 (H S + H_s P_s)), here to 1 %."""
    trace = emulate(INVERTER, "grid.area.0.inverters={power_mw=200.0, inertia_s=10.0}", "grid.area.0.damping_pu=0.0")
    slope = (trace.area_frequency_hz[4000, 0] - trace.area_frequency_hz[3000, 0]) / 1.0
    assert slope == pytest.approx(-60 * 60 / (2 * (3.0 * 1000 + 10.0 * 200)), rel=1e-6)


def test_ercot_critical_inertia(x64, emulate):
    """R4: 2,750 MW lost at 94 GW s: 0.878 Hz/s and 0.4 Hz in 0.456 s; 0.416 s if 8.2 GW s leave with the units."""
    text = """
        [run]
        duration_s = 1.0
        dt_s = 0.001
        [[grid.area]]
        name = "ercot"
        rated_mva = 50000.0
        inertia_s = 1.88
        [[disturbance]]
        kind = "generation_trip"
        at_s = 0.0
        mw = 2750.0
    """
    fall = 60.0 - emulate(text).area_frequency_hz[:, 0]
    assert fall[1] / 0.001 == pytest.approx(0.878, abs=5e-4)
    assert np.argmax(fall >= 0.4) * 0.001 == pytest.approx(0.456, abs=1e-3)
    trace = emulate(text, "disturbance.0.inertia_mws=8200.0")
    assert np.argmax(60.0 - trace.area_frequency_hz[:, 0] >= 0.4) * 0.001 == pytest.approx(0.416, abs=1e-3)
    assert trace.area_mechanical_power_mw[-1, 0] - 0.0 == pytest.approx(-2750.0)


AGC = """
    [run]
    duration_s = 900.0
    dt_s = 0.01
    [[grid.area]]
    name = "west"
    rated_mva = 1000.0
    inertia_s = 4.0
    damping_pu = 1.0
    governor = [{model = "lag"}]
    agc = {bias_mw_per_hz = 350.0, integral_gain_per_s = 0.02, reserve_mw = 200.0}
    [[grid.area]]
    name = "east"
    rated_mva = 2000.0
    inertia_s = 4.0
    damping_pu = 1.0
    governor = [{model = "lag", share = 0.5}, {model = "reheat", share = 0.5}]
    agc = {bias_mw_per_hz = 700.0, integral_gain_per_s = 0.02, reserve_mw = 200.0}
    [[grid.tie]]
    between = ["west", "east"]
    synchronizing_mw_per_rad = 400.0
    initial_mw = 100.0
    [[disturbance]]
    kind = "load_step"
    at_s = 10.0
    area = "east"
    mw = 80.0
"""


def test_agc_brings_frequency_and_tie_flow_back(emulate):
    """Bias near the areas' own characteristic, 1/R + D = 21 pu: the east carries its step alone in the end."""
    trace = emulate(AGC)
    before = np.abs(trace.area_frequency_hz[1500:3000] - 60.0).max()
    # Integral of 0.02 / s on an error that the droop has shrunk: time constant near 50 s, e^-17 after 890 s.
    assert before > 0.05 and np.abs(trace.area_frequency_hz[-1] - 60.0).max() < 2e-4
    assert trace.tie_power_mw[-1, 0] == pytest.approx(100.0, abs=0.05)
    # Half of the east's order meets a reheat governor with a gain of 0.95.
    assert trace.reserve_agc_order_mw[-1] == pytest.approx([0.0, 80.0 / 0.975], abs=0.2)
    assert trace.area_mechanical_power_mw[-1] - trace.area_mechanical_power_mw[0] == pytest.approx([0, 80], abs=0.2)


def test_agc_orders_go_where_participation_says(emulate):
    """All to the reheat governor of the east, whose gain of 0.95 the order then has to make up for alone."""
    lag, reheat = (
        "{model='lag', share=0.5, agc_participation=0.0}",
        "{model='reheat', share=0.5, agc_participation=1.0}",
    )
    trace = emulate(AGC, f"grid.area.east.governor=[{lag}, {reheat}]")
    assert trace.reserve_agc_order_mw[-1] == pytest.approx([0.0, 80.0 / 0.95], abs=0.2)


def test_agc_orders_come_once_a_cycle(emulate):
    trace = emulate(AGC, "run.duration_s=60.0")
    changes = np.flatnonzero(np.diff(trace.reserve_agc_order_mw[:, 1])) + 1
    assert len(changes) > 5 and set(changes % 400) == {0}


def test_agc_limits_and_no_windup(emulate):
    """A reserve of 30 MW is all that comes, at 60 MW/min; when the step is taken back the order follows at once."""
    trace = emulate(
        AGC,
        "grid.area.east.agc.reserve_mw=30.0",
        "grid.area.east.agc.ramp_mw_per_min=60.0",
        "disturbance=[{kind='load_step', at_s=10.0, area='east', mw=80.0}, "
        "{kind='load_step', at_s=500.0, area='east', mw=-80.0}]",
    )
    order = trace.reserve_agc_order_mw[:, 1]
    assert order.max() == 30.0 and order[40000] == 30.0
    assert np.abs(np.diff(order[::400])).max() <= 4.0 + 1e-3
    assert order[51200] < 30.0  # within three cycles of the step back: nothing wound up


def test_energy_balance(x64, emulate):
    """2 H S (w(T) - w(0)) = integral of Pm - Pe - D w: what the areas' masses gained, by Simpson's rule, O(dt^4)."""
    trace = emulate(AGC, "run.duration_s=40.0", "run.dt_s=0.005", "grid.tie.0.loss_per_mw=1e-4")
    speed = trace.area_frequency_hz / 60.0 - 1.0
    flow = trace.tie_power_mw[:, 0]
    half_loss = 0.5e-4 * (flow**2 - flow[0] ** 2)
    exports = np.stack([flow - flow[0] + half_loss, flow[0] - flow + half_loss], axis=1)
    step = np.where(trace.time_s >= 10.0, 80.0, 0.0)
    rated, inertia = np.array([1000.0, 2000.0]), 4.0
    mechanical = trace.area_mechanical_power_mw - trace.area_mechanical_power_mw[0]
    net = mechanical - exports - rated * speed
    net[:, 1] -= step
    gained = 2 * inertia * rated * (speed[-1] - speed[2001])
    rows = net[2001:]  # after the step: a smooth integrand, but for the orders of the AGC, seen as steps at a tick
    total = np.sum(0.5 * (rows[1:] + rows[:-1]), axis=0) * 0.005
    np.testing.assert_allclose(total, gained, atol=2e-3 * np.abs(gained).max())


def test_load_with_frequency_exponent(x64, emulate):
    """P = P0 (1 + dw)^n settles where P0 ((1 + dw)^n - 1) = -dP."""
    text = """
        [run]
        duration_s = 60.0
        dt_s = 0.01
        [[grid.area]]
        name = "main"
        rated_mva = 1000.0
        inertia_s = 2.0
        load_mw = 900.0
        load_frequency_exponent = 2.0
        [[disturbance]]
        kind = "load_step"
        at_s = 0.0
        area = "main"
        mw = 50.0
    """
    expected = 60.0 * np.sqrt(1 - 50 / 900)
    assert emulate(text).area_frequency_hz[-1, 0] == pytest.approx(expected, abs=1e-4)
