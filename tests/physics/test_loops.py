"""What answers a tick late: refused where it would oscillate of itself, right up to there."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

from emulator.complaint import ConfigError

SUPPORTED = """
    [run]
    duration_s = 0.2
    dt_s = 0.001
    [[site]]
    name = "s"
    job = [{name = "c", kind = "constant", power_mw = 60.0}]
    facility = {power_factor = 0.95}
    pcc = {short_circuit_ratio = 3.0, x_over_r = 10.0, nominal_kv = 138.0, rated_mw = 100.0}
    bess = {power_mw = 100.0, energy_mwh = 10.0, voltage_gain_pu = 10.0, voltage_response_s = 0.00467}
    [[disturbance]]
    kind = "load_step"
    site = "s"
    at_s = 0.1
    mw = 10.0
"""
INERT = """
    [run]
    duration_s = 5.0
    dt_s = 0.001
    [[site]]
    name = "s"
    job = [{name = "c", kind = "constant", power_mw = 60.0}]
    bess = {power_mw = 100.0, energy_mwh = 10.0}
    controller = {kind = "virtual_inertia", inertia_s = 20.0, filter_s = 0.05}
    [[grid.area]]
    name = "a"
    rated_mva = 100.0
    inertia_s = 2.0
    governor = [{model = "lag"}]
    [[disturbance]]
    kind = "load_step"
    site = "s"
    at_s = 1.0
    mw = 10.0
"""


def voltage(mw: float, mvar: float) -> float:
    """Upper root of the circuit of SUPPORTED."""
    z = 1.0 / 3.0
    r = z / np.sqrt(101.0)
    half = 0.5 - (r * mw + 10.0 * r * mvar) / 100.0
    return float(np.sqrt(half + np.sqrt(half**2 - z**2 * (mw**2 + mvar**2) / 1e4)))


def test_the_fastest_support_that_is_taken_settles_on_the_circuit(x64, emulate):
    """Without load the voltage would move 3.3 times as far as the support that it asks for, here it moves 4.6 times:
    1 - a (1 + 4.6) = -0.07 of what is off is left a tick later."""
    trace = emulate(SUPPORTED)
    lagging = np.tan(np.arccos(0.95))
    start = voltage(60.0, 60.0 * lagging)
    settled = brentq(lambda v: voltage(70.0, 70.0 * lagging + 1000.0 * (v - start)) - v, 0.8, start, xtol=1e-14)
    v = trace.site_pcc_voltage_pu[:, 0]
    assert v[0] == pytest.approx(start, abs=1e-9)
    assert v[-1] == pytest.approx(settled, abs=1e-9)
    assert np.abs(v[105:] - settled).max() < 1e-4 * (start - settled)


@pytest.mark.parametrize(
    "override",
    [
        "site.s.bess.voltage_response_s=0.0",
        "site.s.bess.voltage_response_s=0.0045",
        "disturbance.0={kind='scr_change', at_s=0.1, short_circuit_ratio=2.0}",
    ],
)
def test_faster_support_is_refused(scenario, override):
    """At 0 s the run would end in a collapse that the circuit does not have."""
    with pytest.raises(ConfigError, match="give voltage_response_s of 0.00[0-9]+ s at least"):
        scenario(SUPPORTED, override)


def test_inertia_a_tick_late_is_that_of_short_ticks(x64, emulate):
    """2 H P/T dt = M at 5 ms, the longest ticks that are taken: the frequency is that at 1 ms, late by half a tick of
    0.25 Hz/s as M and the battery's 2 H P let it fall."""
    short, long = emulate(INERT), emulate(INERT, "run.dt_s=0.005")
    apart = np.abs(long.area_frequency_hz[:, 0] - short.area_frequency_hz[::5, 0])
    assert apart.max() < 0.01 and np.ptp(short.area_frequency_hz) > 0.2


def test_stronger_inertia_is_refused(scenario):
    for override in ("run.dt_s=0.0055", "site.s.controller.inertia_s=120.0"):
        with pytest.raises(ConfigError, match="run.dt_s must be at most 0.00"):
            scenario(INERT, override, "run.duration_s=5.5")
    scenario(INERT, "run.dt_s=0.0055", "run.duration_s=5.5", "site.s.bess.response_s=0.02")
