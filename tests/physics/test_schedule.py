"""Flows of the ties at the start, solved from what the areas are scheduled to export."""

from __future__ import annotations

import numpy as np
import pytest

from emulator.complaint import ConfigError
from emulator.interchange import initial_flows_mw

TRIANGLE = """
    [run]
    duration_s = 1.0
    dt_s = 0.005
    chunk_ticks = 100
    [[grid.area]]
    name = "a"
    inertia_s = 4.0
    interchange_mw = 300.0
    [[grid.area]]
    name = "b"
    inertia_s = 5.0
    interchange_mw = -80.0
    [[grid.area]]
    name = "c"
    inertia_s = 6.0
    interchange_mw = -220.0
    [[grid.tie]]
    between = ["a", "b"]
    synchronizing_mw_per_rad = 400.0
    [[grid.tie]]
    between = ["b", "c"]
    synchronizing_mw_per_rad = 250.0
    [[grid.tie]]
    between = ["c", "a"]
    synchronizing_mw_per_rad = 300.0
"""


def test_flows_carry_the_schedule_at_angles_that_close(scenario):
    ab, bc, ca = initial_flows_mw(scenario(TRIANGLE).grid)
    assert (ab - ca, bc - ab, ca - bc) == pytest.approx((300.0, -80.0, -220.0), abs=1e-6)
    assert np.arcsin(ab / 400) + np.arcsin(bc / 250) + np.arcsin(ca / 300) == pytest.approx(0.0, abs=1e-9)


def test_near_the_limit_the_flows_are_still_found(scenario):
    """Two areas: all of K but a millionth."""
    text = TRIANGLE.split('[[grid.area]]\n    name = "c"')[0].replace("300.0", "399.9996").replace("-80.0", "-399.9996")
    tie = '[[grid.tie]]\n    between = ["a", "b"]\n    synchronizing_mw_per_rad = 400.0\n'
    assert initial_flows_mw(scenario(text + tie).grid) == pytest.approx([399.9996], abs=1e-6)


def test_the_run_starts_with_them_and_stands_still(x64, scenario, emulate):
    trace = emulate(TRIANGLE)
    flows = initial_flows_mw(scenario(TRIANGLE).grid)
    np.testing.assert_allclose(trace.tie_power_mw - flows, 0.0, atol=1e-9)
    np.testing.assert_allclose(trace.area_mechanical_power_mw[0], [300.0, -80.0, -220.0], atol=1e-6)
    assert np.ptp(trace.area_frequency_hz) == 0.0


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("grid.area.a.interchange_mw=310.0",), "interchange sums to 10 MW, must be 0"),
        (("grid.area.a.interchange_mw=1020.0", "grid.area.c.interchange_mw=-940.0"), "no angles of the ties carry"),
        (("grid.tie.0.initial_mw=1.0",), "cannot stand beside the areas' interchange_mw"),
    ],
)
def test_refused(scenario, overrides, says):
    with pytest.raises(ConfigError, match=says):
        scenario(TRIANGLE, *overrides)


def test_given_flows_must_close_their_loop(scenario):
    text = "\n".join(line for line in TRIANGLE.splitlines() if "interchange" not in line)
    with pytest.raises(ConfigError, match=r"is 50 MW, the other ties of its loop make it -?\d"):
        scenario(text, "grid.tie.0.initial_mw=100.0", "grid.tie.1.initial_mw=20.0", "grid.tie.2.initial_mw=50.0")
    scenario(text)  # no flow at all closes every loop
