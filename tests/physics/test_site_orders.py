"""Orders of power caps from a site to its jobs, and where a job's power is recorded: halls, racks, devices."""

from __future__ import annotations

import numpy as np
import pytest

LIMITED = """
    [run]
    duration_s = 40.0
    dt_s = 0.01
    chunk_ticks = 50
    [[site]]
    name = "campus"
    power_limit = {max_mw = 0.08, gain = 0.2}
    [[site.job]]
    name = "train"
    kind = "training"
    devices = 100
    accelerator = {idle_w = 100.0, tdp_w = 1000.0, cap_min_w = 200.0, power_exponent = 3.0}
    workload = {phase = [{name = "all", duration_s = 1.0, level = 1.0}]}
"""


def test_a_site_holds_its_limit_from_the_chunk_after(emulate):
    """100 devices draw 0.1 MW; the integral order brings them to 0.08 MW, one chunk late, and they take longer."""
    trace = emulate(LIMITED)
    power = trace.site_pcc_power_mw[:, 0]
    np.testing.assert_allclose(power[:50], 0.1, rtol=1e-6)  # the first chunk knows of no order
    # Excess 0.25, gain 0.2: the first order is 1000 - 0.2 x 0.25 x 1000 = 950 W.
    np.testing.assert_allclose(power[50:100], 0.095, rtol=1e-5)
    np.testing.assert_allclose(power[-100:], 0.08, rtol=1e-4)
    # At 800 W a device has 700 of its 900 W above idle: work at (7/9)^(1/3) of full speed.
    iterations = trace.metrics["job.campus.train.iterations"]
    assert trace.metrics["job.campus.train.iteration_mean_s"] == pytest.approx((9 / 7) ** (1 / 3), rel=0.01)
    assert iterations < 38
    np.testing.assert_allclose(trace.job_wanted_power_mw[:, 0], 0.1, rtol=1e-6)
    withheld_mwh = (trace.job_wanted_power_mw - trace.job_power_mw).sum() * 0.01 / 3600
    assert trace.metrics["job.campus.train.withheld_energy_mwh"] == pytest.approx(withheld_mwh, rel=1e-5)


def test_no_cap_is_below_what_the_accelerator_takes(emulate):
    trace = emulate(LIMITED, "site.0.power_limit.max_mw=0.001", "site.0.power_limit.gain=10.0")
    np.testing.assert_allclose(trace.site_pcc_power_mw[50:], 0.02, rtol=1e-5)  # 200 W each


def test_a_limit_that_does_not_bind_changes_nothing(emulate):
    """The job is emulated device by device then; what it draws is the same."""
    free = emulate(LIMITED.replace("power_limit = {max_mw = 0.08, gain = 0.2}", ""))
    wide = emulate(LIMITED, "site.0.power_limit.max_mw=1.0")
    np.testing.assert_allclose(wide.site_pcc_power_mw, free.site_pcc_power_mw, rtol=1e-6)


PLACED = """
    [run]
    duration_s = 4.0
    [[site]]
    name = "campus"
    hall = [{name = "a", racks = 2}, {name = "b", racks = 3}]
    [[site.job]]
    name = "base"
    kind = "constant"
    power_mw = 0.05
    [[site.job]]
    name = "first"
    kind = "training"
    devices = 50
    accelerator = {idle_w = 100.0, tdp_w = 1000.0, gain_spread = 0.05, server_fixed_w = 30.0, server_fraction = 0.2}
    [[site.job.workload.phase]]
    name = "compute"
    duration_s = 0.8
    level = 0.9
    spread_s = 0.05
    barrier = true
    wait_level = 0.3
    [[site.job.workload.phase]]
    name = "exchange"
    duration_s = 0.2
    level = 0.1
    [[site.job]]
    name = "second"
    kind = "training"
    devices = 70
    accelerator = {idle_w = 100.0, tdp_w = 1000.0}
    workload = {phase = [{name = "all", duration_s = 1.0, level = 0.5}]}
    [record]
    groups = true
"""


@pytest.mark.parametrize(
    "more", [(), ("site.0.job.first.smoothing={floor_fraction=0.4,ramp_up_w_per_s=1e3,ramp_down_w_per_s=1e3}",)]
)
def test_halls_share_the_jobs(emulate, more):
    """Racks of 32: `first` takes two racks, all of hall a; `second` three, all of hall b; jobs without racks count in
    the first hall."""
    trace = emulate(PLACED, *more)
    assert trace.header.labels["hall"] == ("campus/a", "campus/b")
    np.testing.assert_allclose(trace.hall_power_mw[:, 0], trace.job_power_mw[:, :2].sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(trace.hall_power_mw[:, 1], trace.job_power_mw[:, 2], rtol=1e-5)


def test_a_job_across_halls(emulate):
    """Five racks from one on: hall a holds one more of `second`'s three racks, 32 of its 70 devices."""
    trace = emulate(PLACED, "site.0.hall.0.racks=3")
    np.testing.assert_allclose(trace.hall_power_mw[:, 1], trace.job_power_mw[:, 2] * 38 / 70, rtol=1e-5)
    np.testing.assert_allclose(trace.hall_power_mw.sum(axis=1), trace.job_power_mw.sum(axis=1), rtol=1e-5)


WATCH = 'record.devices=[{job="first",count=50}]', 'record.racks=[{job="first",count=2}]'


@pytest.mark.parametrize(
    "more", [(), ("site.0.job.first.smoothing={floor_fraction=0.4,ramp_up_w_per_s=1e3,ramp_down_w_per_s=1e3}",)]
)
def test_devices_and_racks_sum_to_their_job(emulate, more):
    """On either path, servers included; a rack is its 32 devices, the last one what is left."""
    trace = emulate(PLACED, *WATCH, *more)
    job_w = 1e6 * trace.job_power_mw[:, 1]
    np.testing.assert_allclose(trace.device_power_w.sum(axis=1), job_w, rtol=3e-6)
    np.testing.assert_allclose(trace.rack_power_kw[:, 0], trace.device_power_w[:, :32].sum(axis=1) / 1e3, rtol=1e-6)
    np.testing.assert_allclose(trace.rack_power_kw.sum(axis=1), job_w / 1e3, rtol=3e-6)
    assert trace.device_power_w.std(axis=1).max() > 50.0  # devices finish at their own times


def test_windows_of_devices_have_their_own_rate(emulate):
    fine = emulate(PLACED, WATCH[0])
    coarse = emulate(PLACED, 'record.devices=[{job="campus/first",first=7,count=3}]', "record.device_every_ticks=20")
    assert coarse.header.labels["device"] == ("campus/first/7", "campus/first/8", "campus/first/9")
    np.testing.assert_array_equal(coarse.device_time_s, fine.device_time_s[::20])
    means = fine.device_power_w[:, 7:10].reshape(-1, 20, 3).mean(axis=1)
    np.testing.assert_allclose(coarse.device_power_w, means, rtol=1e-5)
