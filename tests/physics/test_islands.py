"""A campus on its own: engines that take blocks, turbines that ramp, and all of the load lost at once."""

from __future__ import annotations

import numpy as np
import pytest

ISLAND = """
    [run]
    duration_s = 60.0
    dt_s = 0.005
    [[grid.area]]
    name = "island"
    rated_mva = 100.0
    inertia_s = 1.2
    load_mw = 50.0
    [[grid.area.governor]]
    model = "engine"
    block_load_pu = 0.3
    [[disturbance]]
    kind = "load_step"
    at_s = 5.0
    area = "island"
    mw = 25.0
"""


def test_a_step_within_the_block_is_carried(emulate):
    """25 % at once: the dip stays within a tenth and is over within 3 s (the order of ISO 8528-5, class G3 [M]); in the
    end droop of 4 % holds: -0.25 x 0.04 x 60 Hz."""
    trace = emulate(ISLAND)
    f = trace.area_frequency_hz[:, 0]
    assert 54.0 < f.min() < 59.0
    assert np.abs(f[int(8.0 / 0.005) :] / 60.0 - 1.0 + 0.01).max() < 0.01
    assert f[-1] == pytest.approx(60.0 * (1 - 0.25 * 0.04), abs=1e-3)
    assert trace.area_mechanical_power_mw[-1, 0] == pytest.approx(75.0, abs=1e-2)


def test_a_step_beyond_the_block_falls_much_deeper(emulate):
    """45 % where 30 % go at once: the turbocharger has to follow first. With a block of 60 % it need not."""
    limited, free = (
        emulate(
            ISLAND, "disturbance.0.mw=45.0", f"grid.area.0.governor.0.block_load_pu={block}"
        ).area_frequency_hz.min()
        for block in (0.3, 0.6)
    )
    assert limited < free - 1.5


def test_turbines_ramp_no_faster_than_their_rate(emulate):
    """A gas turbine of 0.1 pu/s behind a step of 40 %: power rises by at most 10 MW/s."""
    gast = "grid.area.0.governor.0={model='gast', rate_up_pu_per_s=0.1}"
    power = emulate(ISLAND, gast, "disturbance.0.mw=40.0", "grid.area.0.inertia_s=8.0").area_mechanical_power_mw[:, 0]
    rate = np.diff(power) / 0.005
    assert rate.max() == pytest.approx(10.0, rel=1e-2)


@pytest.mark.parametrize("model", ["engine", "gast"])
def test_all_of_the_load_lost(emulate, model):
    """100 % load rejection: speed rises, the governors close, and droop decides: w = 0.5 / (1/R + D)."""
    friction = "grid.area.0.damping_pu=1.0"  # without any, nothing would slow a machine with closed valves
    trace = emulate(ISLAND, f"grid.area.0.governor.0={{model='{model}'}}", "disturbance.0.mw=-50.0", friction)
    f, power = trace.area_frequency_hz[:, 0], trace.area_mechanical_power_mw[:, 0]
    assert trace.complete and np.isfinite(f).all()
    assert 61.0 < f.max() < 70.0
    speed = 0.5 / (1 / {"engine": 0.04, "gast": 0.05}[model] + 1.0)
    assert f[-1] == pytest.approx(60.0 * (1 + speed), abs=1e-2)
    assert power[-1] == pytest.approx(100.0 * speed, abs=1e-2) and power.min() >= -1e-3
