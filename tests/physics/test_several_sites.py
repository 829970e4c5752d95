"""Several sites with different jobs and parts, on several areas: each keeps its own books."""

from __future__ import annotations

import numpy as np

TWO_SITES = """
    [run]
    duration_s = 4.0
    [[site]]
    name = "north"
    area = "west"
    [[site.job]]
    name = "train"
    kind = "training"
    devices = 4096
    accelerator = "h100"
    workload = "ko_zhu_training"
    [[site.job]]
    name = "base"
    kind = "constant"
    power_mw = 2.0
    [site.facility]
    psu_efficiency = 0.95
    [site.bess]
    power_mw = 3.0
    energy_mwh = 6.0
    [site.controller]
    kind = "ramp_limit"
    ramp_mw_per_s = 0.5
    [[site]]
    name = "south"
    area = "east"
    [[site.job]]
    name = "late"
    kind = "constant"
    power_mw = 10.0
    start_s = 2.0
    [[grid.area]]
    name = "west"
    inertia_s = 4.0
    [[grid.area]]
    name = "east"
    inertia_s = 4.0
    [[grid.tie]]
    between = ["west", "east"]
    synchronizing_mw_per_rad = 100.0
"""


def test_each_site_carries_its_own_jobs_and_battery(emulate):
    trace = emulate(TWO_SITES)
    assert trace.header.labels["job"] == ("north/train", "north/base", "south/late")
    job, it = trace.job_power_mw, trace.site_it_power_mw
    np.testing.assert_allclose(it[:, 0], job[:, 0] + job[:, 1], rtol=1e-6)
    np.testing.assert_array_equal(it[:, 1], job[:, 2])
    np.testing.assert_allclose(trace.site_facility_power_mw, it / [0.95, 1.0], rtol=1e-6)
    assert np.ptp(job[:, 0]) > 1.0 and np.abs(trace.site_bess_power_mw[:, 0]).max() > 0.5
    assert np.all(trace.site_bess_power_mw[:, 1] == 0.0) and np.all(np.isnan(trace.bess_soc[:, 1]))
    np.testing.assert_array_equal(job[:, 2], np.where(trace.time_s < 2.0, 0.0, 10.0).astype(np.float32))


def test_a_site_moves_the_area_it_hangs_on(emulate):
    """Load that comes in the south slows the east first: 10 MW on 2 x 4 s x 1000 MVA is -0.075 Hz/s."""
    still = "site.north.job.train={name='train', kind='constant', power_mw=1.0}"
    trace = emulate(TWO_SITES, still.replace("'", '"'))
    west, east = trace.area_frequency_hz.T
    assert np.all(np.abs(trace.area_frequency_hz[:2001] - 60.0) < 1e-9)
    np.testing.assert_allclose((east[2010] - east[2000]) / 0.010, -0.075, rtol=1e-3)
    assert abs(west[2010] - 60.0) < 1e-2 * abs(east[2010] - 60.0)


def test_sites_draw_different_numbers(emulate):
    """Two sites with the same job have their own random streams."""
    text = TWO_SITES.replace('name = "late"\n    kind = "constant"\n    power_mw = 10.0\n    start_s = 2.0',
                             'name = "train"\n    kind = "training"\n    devices = 4096\n    accelerator = "h100"\n'
                             '    workload = "ko_zhu_training"')  # fmt: skip
    power = emulate(text).job_power_mw
    assert np.abs(power[:, 0] - power[:, 2]).max() > 0.1
