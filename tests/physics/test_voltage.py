"""Voltage at the point of common coupling."""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from emulator.grid.voltage import PccParams, PccVoltage, Source, ZipParams, solve


def constant_power(scr: float, x_over_r: float, p: float, q: float) -> PccVoltage:
    """PccVoltage of a draw p + jq per unit behind a source of 1 pu."""
    params = PccParams(*(jnp.asarray(x) for x in (scr, x_over_r, 100.0)), dependence=None)
    zero = jnp.asarray(0.0)
    return solve(params, Source(zero, zero), jnp.asarray(100.0 * p), jnp.asarray(100.0 * q), zero, zero)


@pytest.mark.parametrize("scr", [3.0, 8.0, 20.0])
@pytest.mark.parametrize("x_over_r", [5.0, 20.0])
@pytest.mark.parametrize(("p", "q"), [(0.0, 0.0), (1.0, 0.0), (0.8, 0.3), (-0.5, 0.2)])
def test_solves_the_circuit(x64, scr, x_over_r, p, q):
    """The power that flows at the found voltage is the power asked for: complex circuit, no formula of ours."""
    v, _, collapsed = constant_power(scr, x_over_r, p, q)
    assert not collapsed
    z = 1 / scr
    r = z / np.hypot(1, x_over_r)
    impedance = complex(r, r * x_over_r)
    current = np.conj(complex(p, q) / float(v))  # with the terminal voltage as reference
    assert abs(float(v) + impedance * current) == pytest.approx(1.0, abs=1e-12)
    assert float(v) > 0.5


def circuit_gap(scr: float, x_over_r: float, v: float, p: float, q: float, source: float = 1.0) -> float:
    """By how much the source's voltage differs from what this draw at this voltage asks of it: complex circuit."""
    r = 1 / scr / np.hypot(1, x_over_r)
    return abs(v + complex(r, r * x_over_r) * np.conj(complex(p, q) / v)) - source


@pytest.mark.parametrize(("impedance", "current"), [(1.0, 0.0), (0.0, 1.0), (0.3, 0.4)])
@pytest.mark.parametrize("scr", [2.5, 10.0])
@pytest.mark.parametrize("source", [0.0, -0.15])
def test_load_that_depends_on_voltage_solves_the_circuit(x64, impedance, current, scr, source):
    """P = s(V) P0 less the battery's; Newton has converged to rounding."""
    zipped = ZipParams(jnp.asarray(impedance), jnp.asarray(current))
    params = PccParams(jnp.asarray(scr), jnp.asarray(10.0), jnp.asarray(100.0), zipped)
    load, own = (90.0, 20.0), (15.0, 25.0)
    found = solve(params, Source(jnp.asarray(source), jnp.asarray(0.0)), *(jnp.asarray(x) for x in (*load, *own)))
    v, s = float(found.voltage_pu), float(found.load_factor)
    assert not found.collapsed
    assert s == pytest.approx(1 - impedance - current + current * v + impedance * v**2, abs=1e-15)
    p, q = (s * x / 100 - y / 100 for x, y in zip(load, own, strict=True))
    assert circuit_gap(scr, 10.0, v, p, q, 1 + source) == pytest.approx(0.0, abs=1e-12)


def test_dependence_of_zero_is_constant_power(x64):
    none = ZipParams(jnp.asarray(0.0), jnp.asarray(0.0))
    draw = (jnp.asarray(x) for x in (90.0, 20.0, 0.0, 0.0))
    args = Source(jnp.asarray(0.0), jnp.asarray(0.0)), *draw
    params = PccParams(jnp.asarray(3.0), jnp.asarray(10.0), jnp.asarray(100.0), None)
    assert solve(replace(params, dependence=none), *args).voltage_pu == pytest.approx(
        float(solve(params, *args).voltage_pu), abs=1e-14
    )


@pytest.mark.parametrize("scr", [0.6, 1.0])
def test_collapse_of_a_load_that_depends_on_voltage(scr):
    """Half constant power at a source too weak for it: flagged. All impedance never collapses."""
    args = Source(jnp.asarray(0.0), jnp.asarray(0.0)), *(jnp.asarray(x) for x in (160.0, 0.0, 0.0, 0.0))
    for impedance, collapses in ((0.4, True), (1.0, False)):
        zipped = ZipParams(jnp.asarray(impedance), jnp.asarray(0.0))
        found = solve(PccParams(jnp.asarray(scr), jnp.asarray(10.0), jnp.asarray(100.0), zipped), *args)
        assert bool(found.collapsed) is collapses and np.isfinite(found.voltage_pu)


def test_collapse_is_flagged_and_finite():
    v, _, collapsed = constant_power(1.0, 10.0, 0.9, 0.0)
    assert collapsed and np.isfinite(v)


COLLAPSE = """
    [run]
    duration_s = 2.0
    [[site]]
    name = "campus"
    [[site.job]]
    name = "a"
    kind = "constant"
    power_mw = 40.0
    [[site.job]]
    name = "b"
    kind = "constant"
    power_mw = 60.0
    start_s = 1.0
    [site.pcc]
    short_circuit_ratio = 1.0
    x_over_r = 10.0
    nominal_kv = 110.0
    rated_mw = 100.0
"""


def test_collapse_stops_the_run_and_keeps_the_trace(emulate):
    trace = emulate(COLLAPSE)
    assert not trace.complete
    assert "voltage collapse at site campus, 1 s" in trace.stop_reason
    assert trace.time_s[-1] == 1.0  # the row of the collapse is the last one


SAG = """
    [run]
    duration_s = 3.0
    dt_s = 0.001
    [[site]]
    name = "campus"
    [[site.job]]
    name = "base"
    kind = "constant"
    power_mw = 80.0
    [site.facility]
    power_factor = 0.97
    [site.pcc]
    short_circuit_ratio = 8.0
    x_over_r = 10.0
    nominal_kv = 138.0
    rated_mw = 100.0
    [[disturbance]]
    kind = "voltage_sag"
    at_s = 1.0
    depth_pu = 0.2
    duration_s = 0.15
"""
REACTIVE = 0.8 * np.tan(np.arccos(0.97))  # pu, at 0.8 pu of power


def test_a_sag_lowers_the_source_for_its_time(x64, emulate):
    trace = emulate(SAG)
    v = trace.site_pcc_voltage_pu[:, 0]
    assert np.ptp(v[:1000]) == np.ptp(v[1000:1150]) == np.ptp(v[1150:]) == 0 and v[0] == v[-1]
    for row, source in ((0, 1.0), (1100, 0.8)):
        assert circuit_gap(8.0, 10.0, v[row], 0.8, REACTIVE, source) == pytest.approx(0.0, abs=1e-9)
    assert [e.kind for e in trace.events if e.where == "campus"] == ["voltage_sag"]


def test_the_grid_grows_weaker(x64, emulate):
    changes = (
        "{kind='scr_change', at_s=1.0, short_circuit_ratio=5.0}",
        "{kind='scr_change', at_s=2.0, short_circuit_ratio=3.0}",
    )
    v = emulate(SAG, f"disturbance=[{', '.join(changes)}]").site_pcc_voltage_pu[:, 0]
    for row, scr in ((500, 8.0), (1500, 5.0), (2500, 3.0)):
        assert circuit_gap(scr, 10.0, v[row], 0.8, REACTIVE) == pytest.approx(0.0, abs=1e-9)


def test_ride_through(x64, emulate):
    """Off in the very tick in which the sag begins, back 0.5 s after the voltage, along a ramp of 1 s."""
    trace = emulate(
        SAG,
        "disturbance.0.depth_pu=0.6",
        "site.0.facility.ride_through={return_delay_s=0.5, return_ramp_s=1.0}",
    )
    on = trace.site_connected_fraction[:, 0]
    assert on[999] == 1.0 and not on[1000:1651].any() and on[1651] == pytest.approx(0.001) and on[-1] == 1.0
    assert on[2150] == pytest.approx(0.5, abs=1e-3)
    np.testing.assert_allclose(trace.site_pcc_power_mw[:, 0], 80.0 * on, atol=1e-12)
    assert [e.time_s for e in trace.events if e.kind == "site_disconnected"] == [1.0]
    assert not any(e.kind == "site_disconnected" for e in emulate(SAG).events)


def test_a_sag_too_deep_collapses_without_ride_through(emulate):
    trace = emulate(SAG, "disturbance.0.depth_pu=0.8")
    assert not trace.complete and "voltage collapse" in trace.stop_reason


def test_battery_supports_voltage(x64, emulate):
    """Q = -k (V - V0) S in the end, none at the start, and never beyond what active power leaves."""
    battery = "site.0.bess={power_mw=50.0, energy_mwh=100.0, voltage_gain_pu=4.0, voltage_response_s=0.02}"
    longer = "disturbance.0.duration_s=5.0"
    bare, trace = emulate(SAG, longer), emulate(SAG, longer, battery)
    v, given = trace.site_pcc_voltage_pu[:, 0], 100 * REACTIVE - trace.site_pcc_reactive_mvar[:, 0]
    assert np.abs(given[:1000]).max() == 0.0
    assert given[-1] == pytest.approx(4.0 * (v[0] - v[-1]) * 50.0, rel=1e-6)
    assert v[-1] > bare.site_pcc_voltage_pu[-1, 0] + 0.01
    assert np.abs(given).max() <= 50.0
    assert circuit_gap(8.0, 10.0, v[-1], 0.8, REACTIVE - given[-1] / 100, 0.8) == pytest.approx(0.0, abs=1e-9)


def test_load_follows_its_voltage(x64, emulate):
    """Half impedance, half current: what the site draws in the sag is s(V) of 80 MW."""
    shares = ("site.0.facility.constant_impedance_fraction=0.5", "site.0.facility.constant_current_fraction=0.5")
    trace = emulate(SAG, *shares)
    v, p = trace.site_pcc_voltage_pu[:, 0], trace.site_facility_power_mw[:, 0]
    np.testing.assert_allclose(p, 80.0 * (0.5 * v + 0.5 * v**2), rtol=1e-12)
    assert p.min() < 0.8 * p[0]
