"""A run without disturbance and with constant load does not move."""

from __future__ import annotations

import numpy as np
import pytest

from emulator.simulate import SimulationError

FLAT = """
    [run]
    duration_s = 10.0
    [[site]]
    name = "campus"
    area = "west"
    job = [{name = "base", kind = "constant", power_mw = 83.7}]
    [site.facility]
    psu_efficiency = 0.97
    auxiliary_fraction = 0.1
    power_factor = 0.98
    [site.pcc]
    short_circuit_ratio = 6.0
    x_over_r = 8.0
    nominal_kv = 138.0
    rated_mw = 120.0
    [site.bess]
    power_mw = 50.0
    energy_mwh = 100.0
    soc_initial = 0.6
    response_s = 0.05
    delay_s = 0.02
    charge_efficiency = 0.95
    [site.controller]
    kind = "low_pass"
    cutoff_hz = 0.05
    soc_gain = 2.0
    [[grid.area]]
    name = "west"
    inertia_s = 4.0
    load_mw = 500.0
    [[grid.area.governor]]
    model = "reheat"
    share = 0.4
    [[grid.area.governor]]
    model = "tgov1"
    share = 0.6
    [[grid.area]]
    name = "east"
    inertia_s = 5.0
    load_mw = 300.0
    [[grid.area.governor]]
    model = "lag"
    [[grid.tie]]
    between = ["west", "east"]
    synchronizing_mw_per_rad = 900.0
    initial_mw = 120.0
"""


def test_flat_run_does_not_move(emulate):
    trace = emulate(FLAT)
    assert np.abs(trace.area_frequency_hz - 60.0).max() < 1e-6
    assert np.ptp(trace.site_pcc_power_mw) == 0.0
    assert np.ptp(trace.bess_soc) == 0.0
    assert np.all(trace.site_bess_power_mw == 0.0)
    assert np.ptp(trace.area_mechanical_power_mw, axis=0).max() < 1e-3
    assert np.ptp(trace.tie_power_mw) < 1e-4


def test_generation_meets_load_and_export(emulate):
    trace = emulate(FLAT, "run.duration_s=0.1")
    facility = 83.7 / 0.97 + 0.1 * 83.7
    np.testing.assert_allclose(trace.area_mechanical_power_mw[0], [500 + facility + 120, 300 - 120], rtol=1e-6)


@pytest.mark.parametrize("kind", ["low_pass", "ramp_limit"])
def test_every_controller_starts_settled(emulate, kind):
    table = {"low_pass": "cutoff_hz = 0.01", "ramp_limit": "ramp_mw_per_s = 1.0"}[kind]
    text = FLAT.replace('kind = "low_pass"\n    cutoff_hz = 0.05', f'kind = "{kind}"\n    {table}')
    assert kind in text
    assert np.all(emulate(text, "run.duration_s=1.0").site_bess_power_mw == 0.0)


def test_no_equilibrium_beyond_the_valves(emulate):
    with pytest.raises(SimulationError, match="west starts at 0.715 pu .* valve limits"):
        emulate(FLAT, "grid.area.west.governor.1.vmax_pu=0.5")
