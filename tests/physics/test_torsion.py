"""Shafts against the published modes, a closed form, and an independent solution of all masses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from emulator import grid_schema
from emulator.torsional_modes import frequencies_hz

OMEGA0 = 2 * np.pi * 60
# IEEE First Benchmark, R5: HP, IP, LPA, LPB, GEN, EXC.
INERTIA_S = [0.092897, 0.155589, 0.858670, 0.884215, 0.868495, 0.0342165]
STIFFNESS_PU = [19.303, 34.929, 52.038, 70.858, 2.822]
DAMPING_PU = [0.2, 0.1, 0.3, 0.1, 0.1, 0.05]

SHAFT = """
    [run]
    duration_s = 1.0
    dt_s = 0.001
    [[grid.area]]
    name = "main"
    rated_mva = 1e8
    inertia_s = 100.0
    [[grid.shaft]]
    name = "g"
    rated_mva = 892.4
    coupling = 0.5
    generator_mass = 4
    inertia_s = [0.092897, 0.155589, 0.858670, 0.884215, 0.868495, 0.0342165]
    stiffness_pu = [19.303, 34.929, 52.038, 70.858, 2.822]
    damping_pu = [0.2, 0.1, 0.3, 0.1, 0.1, 0.05]
    [[disturbance]]
    kind = "load_step"
    at_s = 0.1
    area = "main"
    mw = 178.48
"""


def test_published_modes():
    """R5, to the digits printed."""
    shaft = grid_schema.Shaft(
        name="g", rated_mva=892.4, inertia_s=INERTIA_S, stiffness_pu=STIFFNESS_PU, generator_mass=4, coupling=1.0
    )
    assert frequencies_hz(shaft, 60.0) == pytest.approx([15.712, 20.211, 25.547, 32.285, 47.456], abs=1e-3)


def test_all_masses_solved_by_another_program(x64, emulate):
    """0.1 pu on the generator, six masses with angle and speed each, integrated at a tolerance of 1e-10."""
    trace = emulate(SHAFT)
    h, d = np.array(INERTIA_S), np.array(DAMPING_PU)

    def derivative(t, x):
        angle, speed = x[:6], x[6:]
        section = np.array(STIFFNESS_PU) * (angle[:-1] - angle[1:])
        torque = np.append(-section, 0.0) + np.insert(section, 0, 0.0) - d * (speed - h @ speed / h.sum())
        torque[4] -= 0.5 * 178.48 / 892.4
        return np.concatenate([OMEGA0 * speed, torque / (2 * h)])

    t = np.arange(901) * 0.001
    found = solve_ivp(derivative, (0, 0.9), np.zeros(12), "DOP853", t, rtol=1e-10, atol=1e-14).y
    expected = (np.array(STIFFNESS_PU)[:, None] * (found[:5] - found[1:6])).T
    np.testing.assert_allclose(trace.shaft_torque_pu[100:], expected[:900], atol=1e-8)
    assert np.ptp(trace.shaft_torque_pu[:, 3]) > 0.1  # it does move


def test_two_masses_closed_form(x64, emulate):
    """tau = -p H1/(H1 + H2) (1 - cos w t): between turbine and generator, w^2 = w0 K (1/2H1 + 1/2H2)."""
    masses = "inertia_s=[1.0, 3.0], stiffness_pu=[20.0], generator_mass=1"
    two = f"grid.shaft.0={{name='g', rated_mva=100.0, coupling=1.0, {masses}}}"
    trace = emulate(SHAFT, two, "disturbance.0.mw=10.0", "disturbance.0.at_s=0.0")
    w = np.sqrt(OMEGA0 * 20.0 * (1 / 2 + 1 / 6))
    expected = 0.1 * 0.25 * (1 - np.cos(w * trace.time_s))
    np.testing.assert_allclose(trace.shaft_torque_pu[:, 0], expected, atol=1e-12)


def test_torque_does_not_depend_on_the_tick(x64, emulate):
    """Exact for a load that is constant within a tick: 1 ms and 0.5 ms agree to rounding."""
    fine = emulate(SHAFT, "run.dt_s=0.0005")
    np.testing.assert_allclose(fine.shaft_torque_pu[::2], emulate(SHAFT).shaft_torque_pu, atol=1e-11)


def test_float32_keeps_amplitude(emulate):
    """Ten seconds, undamped but for 0.01 pu: float32 rounding of the transition is 6e-8 a tick, 6e-4 after 1e4."""
    undamped = ("run.duration_s=10.0", "grid.shaft.0.damping_pu=[0.01, 0.01, 0.01, 0.01, 0.01, 0.01]")
    short = np.ptp(emulate(SHAFT, *undamped).shaft_torque_pu[9000:], axis=0)
    assert np.isfinite(short).all() and (short > 0.01).all() and (short < 0.5).all()
