"""Facility, battery and controllers against closed forms and published tables."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest

PERFECT_STORE = """
    [run]
    duration_s = {duration_s}
    dt_s = {dt_s}
    [[site]]
    name = "campus"
    [[site.job]]
    name = "trace"
    kind = "replay"
    path = "{path}"
    interpolation = "{interpolation}"
    power_column = "{column}"
    scale = 100.0
    [site.bess]
    power_mw = 1000.0
    energy_mwh = 1000.0
    [site.controller]
    kind = "low_pass"
    cutoff_hz = {cutoff_hz}
"""


def store_swing(trace, dt_s: float, from_s: float) -> float:
    """Peak-to-peak energy in seconds times 100 MW."""
    power = trace.site_bess_power_mw[trace.time_s >= from_s, 0].astype(np.float64)
    return float(np.ptp(np.cumsum(power)) * dt_s / 100.0)


def write_square(path, period_s: float, duty: float, cycles: int) -> None:
    """A square wave between 0 and 1 after one short sample at its mean, so that the filter starts settled there."""
    rows = [(0.0, duty)]
    for k in range(cycles):
        rows += [(0.01 + k * period_s, 1.0), (0.01 + (k + duty) * period_s, 0.0)]
    rows.append((0.01 + cycles * period_s, duty))
    np.savetxt(path, rows, "%.9g", ",", header="t_s,p", comments="")


@pytest.mark.parametrize(("period_s", "duty", "expected"), [(20.9, 0.77, 3.70), (1.0, 0.7, 0.21), (0.25, 0.5, 0.0625)])
def test_square_wave_needs_a_store_of_t_d_one_minus_d(emulate, tmp_path, period_s, duty, expected):
    """R20: E_pp / dP = T d (1 - d) when the grid sees the mean alone."""
    write_square(tmp_path / "square.csv", period_s, duty, 3)
    # The grid's share 1 - exp(-2 pi f t) of the swing is below 1e-3 of it over a period: error below 1 %.
    text = PERFECT_STORE.format(
        duration_s=round(2.9 * period_s, 2),
        dt_s=0.001,
        path="square.csv",
        interpolation="previous",
        column="p",
        cutoff_hz=1e-4 / period_s,
    )
    trace = emulate(text)
    assert store_swing(trace, 0.001, 0.0) == pytest.approx(period_s * duty * (1 - duty), rel=0.01)
    assert store_swing(trace, 0.001, 0.0) == pytest.approx(expected, rel=0.03)


# Cutoff Hz -> store swing (s x peak), grid p-p, largest ramp per s: first-order low-pass on the periodic trace.
TABLE = {
    0.01: (1.817, 0.114, 0.037),
    0.05: (1.390, 0.437, 0.178),
    0.1: (0.966, 0.607, 0.418),
    0.2: (0.581, 0.730, 0.830),
    0.5: (0.251, 0.789, 1.57),
    1.0: (0.129, 0.810, 2.09),
    2.0: (0.068, 0.849, 2.40),
}


@pytest.mark.parametrize("cutoff_hz", TABLE)
def test_store_against_filter_on_the_production_trace(emulate, reference, tmp_path, cutoff_hz):
    """The table is of the periodic state: three iterations, 62.83 s, over and over until the filter has settled."""
    t_s, p = np.loadtxt(reference / "fig1_production_trace.csv", delimiter=",", skiprows=1).T
    block = (t_s >= 10.0) & (t_s < 72.825)
    np.savetxt(tmp_path / "block.csv", np.column_stack([t_s, p])[block], "%.9g", ",", header="t_s,p", comments="")
    text = PERFECT_STORE.format(
        duration_s=251.3, dt_s=0.005, path="block.csv", interpolation="linear", column="p", cutoff_hz=cutoff_hz
    )
    trace = emulate(text, "site.0.job.0.repeat=true")
    settled = trace.time_s >= 188.475  # exp(-2 pi 0.01 188) = 7e-6
    grid = trace.site_pcc_power_mw[settled, 0].astype(np.float64) / 100.0
    swing, p_p, ramp = TABLE[cutoff_hz]
    assert store_swing(trace, 0.005, 188.475) == pytest.approx(swing, rel=0.03)
    assert np.ptp(grid) == pytest.approx(p_p, rel=0.03)
    assert np.abs(grid[5:] - grid[:-5]).max() / 0.025 == pytest.approx(ramp, rel=0.03)


STEP = """
    [run]
    duration_s = 5.0
    [[site]]
    name = "campus"
    [[site.job]]
    name = "base"
    kind = "constant"
    power_mw = 20.0
    [[site.job]]
    name = "late"
    kind = "constant"
    power_mw = 60.0
    start_s = 1.0
    [site.bess]
    power_mw = 100.0
    energy_mwh = 50.0
    [site.controller]
    kind = "low_pass"
    cutoff_hz = 0.5
"""


def test_low_pass_step_response(emulate):
    """Perfect battery: the grid sees 20 + 60 (1 - exp(-w t)), here its means over ticks."""
    trace = emulate(STEP, "run.dt_s=0.01")
    w = 2 * np.pi * 0.5
    t_s = np.maximum(trace.time_s - 1.0, 0.0)
    mean = 1.0 - np.exp(-w * t_s) * -np.expm1(-w * 0.01) / (w * 0.01)
    expected = np.where(trace.time_s < 1.0, 20.0, 20.0 + 60.0 * mean)
    np.testing.assert_allclose(trace.site_pcc_power_mw[:, 0], expected, atol=1e-4)


def test_ramp_limit_response(emulate):
    text = STEP.replace('kind = "low_pass"\n    cutoff_hz = 0.5', 'kind = "ramp_limit"\n    ramp_mw_per_s = 25.0')
    trace = emulate(text)
    expected = np.clip(20.0 + 25.0 * (trace.time_s + 0.0005 - 1.0), 20.0, 80.0)
    np.testing.assert_allclose(trace.site_pcc_power_mw[:, 0], expected, atol=1e-3)


def test_delay_is_exactly_its_ticks(emulate):
    """The battery of a delayed converter does at tick n + 137 what an undelayed one does at tick n."""
    now, later = emulate(STEP), emulate(STEP, "site.0.bess.delay_s=0.137")
    np.testing.assert_array_equal(later.site_bess_power_mw[137:], now.site_bess_power_mw[:-137])
    assert np.all(later.site_bess_power_mw[:137] == 0.0)


def test_response_is_a_first_order_lag(emulate):
    text = STEP.replace("cutoff_hz = 0.5", "cutoff_hz = 1e-6")
    trace = emulate(text, "site.0.bess.response_s=0.2", "run.duration_s=3.0")
    expected = 60.0 * -np.expm1(-np.maximum(trace.time_s + 0.001 - 1.0, 0.0) / 0.2)
    np.testing.assert_allclose(trace.site_bess_power_mw[:, 0], expected, atol=2e-3)  # the filter passes 6 W by 3 s


def test_ramp_and_power_limits_hold(emulate):
    text = STEP.replace("cutoff_hz = 0.5", "cutoff_hz = 1e-6")
    trace = emulate(text, "site.0.bess.ramp_mw_per_s=40.0", "site.0.bess.power_mw=35.0")
    power = trace.site_bess_power_mw[:, 0].astype(np.float64)
    assert power.max() == pytest.approx(35.0)
    assert np.abs(np.diff(power)).max() <= 0.040 * (1 + 1e-4)
    assert np.diff(power).max() == pytest.approx(0.040, rel=1e-3)


def test_energy_and_soc_agree(emulate):
    """Discharge takes P/eta from the store, charge puts in P eta: integrated here in float64."""
    back = '[[site.job]]\nname = "back"\nkind = "constant"\npower_mw = 70.0\nstop_s = 2.5\n[site.bess]'
    trace = emulate(
        textwrap.dedent(STEP).replace("[site.bess]", back),
        "site.0.bess.charge_efficiency=0.9",
        "site.0.bess.discharge_efficiency=0.8",
    )
    power = trace.site_bess_power_mw[:, 0].astype(np.float64)
    assert power.max() > 10 and power.min() < -10
    stored_mwh = np.cumsum(np.where(power > 0, power / 0.8, power * 0.9)) * 0.001 / 3600.0
    np.testing.assert_allclose(trace.bess_soc[1:, 0], 0.5 - stored_mwh[:-1] / 50.0, atol=2e-7)


def test_a_slow_battery_discharges_in_float32(emulate):
    """One-hour battery at 0.05 pu and 1 ms: 1.4e-8 a tick, below the rounding of 0.5. Exact to 1e-6."""
    config = """
        [run]
        duration_s = 60.0
        [[site]]
        name = "campus"
        job = [{name = "base", kind = "constant", power_mw = 20.0}]
        [site.bess]
        power_mw = 100.0
        energy_mwh = 100.0
        [site.controller]
        kind = "low_pass"
        cutoff_hz = 1e-9
        [[disturbance]]
        kind = "load_step"
        at_s = 0.001
        site = "campus"
        mw = 5.0
    """
    trace = emulate(config)
    assert trace.bess_soc[-1, 0] == pytest.approx(0.5 - 0.05 * 59.998 / 3600.0, abs=1e-6)


def test_soc_window_holds_and_is_reported(emulate):
    text = STEP.replace("cutoff_hz = 0.5", "cutoff_hz = 1e-6")
    trace = emulate(text, "site.0.bess.energy_mwh=0.05", "site.0.bess.soc_min=0.3")
    # 60 MW empties 0.2 x 0.05 MWh in 0.6 s.
    soc = trace.bess_soc[:, 0]
    assert soc.min() == pytest.approx(0.3, abs=1e-6)
    events = [e for e in trace.events if e.kind == "bess_soc_limit"]
    assert events and events[0].time_s == pytest.approx(1.6, abs=0.002)
    assert np.all(trace.site_bess_power_mw[trace.time_s > 1.61] == 0.0)


def test_soc_restoration_pulls_back(emulate):
    """Left alone, the state of charge returns with dSOC/dt = -gain P/E (SOC - target): exp(-5 x 100/0.5/3600 t)."""
    change = ("site.0.bess.energy_mwh=0.5", "run.duration_s=61.0", "run.dt_s=0.01")
    pulled = emulate(
        STEP,
        *change,
        "site.0.controller.soc_gain=5.0",
        "site.0.job.late.power_mw=0.0",
        'disturbance=[{kind="load_step", site="campus", at_s=0.5, mw=90.0}]',
        "site.0.controller.cutoff_hz=0.3",
    )
    error = pulled.bess_soc[:, 0] - 0.5
    start, end = np.searchsorted(pulled.time_s, [10.0, 12.0])
    assert abs(error[start]) > 1e-3
    assert error[end] / error[start] == pytest.approx(np.exp(-5 * 100 / 0.5 / 3600 * 2.0), rel=0.01)


def test_pcc_is_facility_less_battery(emulate):
    trace = emulate(STEP)
    difference = trace.site_facility_power_mw - trace.site_bess_power_mw
    np.testing.assert_array_equal(trace.site_pcc_power_mw, difference)


def test_facility_chain(emulate):
    chain = """
        [site.facility]
        server_efficiency = 0.99
        psu_efficiency = 0.97
        ups_efficiency = 0.96
        transformer_efficiency = 0.985
        auxiliary_fraction = 0.2
        power_factor = 0.95
    """
    trace = emulate(STEP + chain)
    expected = trace.site_it_power_mw / (0.99 * 0.97 * 0.96 * 0.985) + 0.2 * 80.0  # auxiliaries follow the rating
    np.testing.assert_allclose(trace.site_facility_power_mw, expected, rtol=1e-6)
    reactive = trace.site_facility_power_mw * np.tan(np.arccos(0.95))
    np.testing.assert_allclose(trace.site_pcc_reactive_mvar, reactive, rtol=1e-6)


def test_jobs_one_after_the_other_share_their_machines(emulate):
    """Auxiliaries of 40 + 30 MW, the most that is there at one time, not of all 90 MW."""
    jobs = (("a", 40.0, 0.0, 9.0), ("b", 20.0, 0.0, 2.0), ("c", 30.0, 2.0, 9.0))
    parts = (f"{{name='{n}', kind='constant', power_mw={mw}, start_s={on}, stop_s={off}}}" for n, mw, on, off in jobs)
    trace = emulate(STEP, f"site.0.job=[{', '.join(parts)}]", "site.0.facility.auxiliary_fraction=0.1")
    np.testing.assert_allclose(trace.site_facility_power_mw - trace.site_it_power_mw, 7.0, rtol=1e-5)


def test_lossless_facility_passes_it_power_through(emulate):
    trace = emulate(STEP)
    np.testing.assert_array_equal(trace.site_facility_power_mw, trace.site_it_power_mw)
    assert np.all(trace.site_pcc_reactive_mvar == 0.0)
