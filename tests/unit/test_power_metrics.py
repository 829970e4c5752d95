"""Metrics of recordings against closed forms and brute force."""

from __future__ import annotations

import numpy as np
import pytest

from emulator import power_metrics as metrics
from emulator.metrics import Summary
from tests.unit.synthetic import ONE_SITE, block


def sine(hz: float, swing: float, row_s: float = 0.001, lasting_s: float = 60.0) -> tuple[np.ndarray, np.ndarray]:
    """A sine of this peak-to-peak size about 50."""
    time_s = np.arange(round(lasting_s / row_s)) * row_s
    return time_s, 50.0 + 0.5 * swing * np.sin(2.0 * np.pi * hz * time_s)


def uneven(seed: int, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.uniform(0.2, 2.0, count)), rng.normal(size=count)


@pytest.mark.parametrize(("hz", "allowed"), [(0.02, 32.361), (0.05, 14.142), (0.1, 10.0), (0.7, 10.0), (5.0, 10.0)])
def test_swing_that_changes_by_10_mw_in_5_s(hz, allowed):
    """R18: A for f >= 1/(2W), else A sin(pi f W). Rows of 1 ms miss a peak by up to 1 - cos(pi f dt) of A/2, 1.2e-4 at
    5 Hz; the published figures have three decimals."""
    time_s, power = sine(hz, allowed, lasting_s=100.0)
    change = metrics.largest(*metrics.changes_within(time_s, power, 5.0))
    assert change.value == pytest.approx(10.0, rel=2e-4)


@pytest.mark.parametrize("hz", [0.02, 0.07, 0.1, 0.3])
def test_ramp_of_a_sine(hz):
    """Two instants 5 s apart differ by A |sin(pi f W)| at most."""
    time_s, power = sine(hz, 8.0, lasting_s=100.0)
    expected = 8.0 * abs(np.sin(np.pi * hz * 5.0)) / 5.0
    assert metrics.ramp(time_s, power, 5.0).value == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("window_s", [0.5, 3.0, 50.0])
def test_uneven_samples_as_joined_by_lines(seed, window_s):
    """Against the line itself at 1 ms: it is steeper than 30 per s nowhere in these draws: 0.06 for two points."""
    time_s, values = uneven(seed)
    fine_s = np.arange(time_s[0], time_s[-1], 0.001)
    fine = np.interp(fine_s, time_s, values)
    rows = round(window_s / 0.001)
    starts = np.lib.stride_tricks.sliding_window_view(fine, rows + 1)
    change = metrics.largest(*metrics.changes_within(time_s, values, window_s))
    assert change.value == pytest.approx((starts.max(axis=1) - starts.min(axis=1)).max(), abs=0.06)
    rate = metrics.ramp(time_s, values, window_s)
    assert rate.value == pytest.approx(np.abs(fine[rows:] - fine[:-rows]).max() / window_s, abs=0.06 / window_s)


def test_a_line_rises_by_its_slope_in_any_window():
    """4 s between samples and a window of 5 s: samples alone would show four fifths."""
    time_s = np.arange(0.0, 41.0, 4.0)
    ends_s, changes = metrics.changes_within(time_s, 2.0 * time_s, 5.0)
    assert changes.max() == pytest.approx(10.0) and (ends_s == 5.0).any()
    assert metrics.ramp(time_s, 2.0 * time_s, 5.0).value == pytest.approx(2.0)


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_the_steepest_window_may_begin_between_samples(way):
    """1 MW/s for 10 s, then 2 MW/s for 3 s: 8 MW in the 5 s that end with the rise; backwards, begin with it."""
    time_s, power = np.array([0.0, 10.0, 13.0, 30.0]), np.array([0.0, 10.0, 16.0, 16.0])
    if way < 0:
        time_s, power = 30.0 - time_s[::-1], power[::-1]
    change = metrics.largest(*metrics.changes_within(time_s, power, 5.0))
    assert change == metrics.Moment(pytest.approx(8.0), 13.0 if way > 0 else 22.0)
    assert metrics.ramp(time_s, power, 5.0).value == pytest.approx(1.6)


@pytest.mark.parametrize("row_s", [0.1, 0.3, 0.001])
def test_windows_hold_their_first_row_whatever_the_rounding(row_s):
    """30 rows after each row lie in a window of 30 rows, although most times in decimals are not floats."""
    time_s = np.arange(5000) * row_s
    ends_s, changes = metrics.changes_within(time_s, np.arange(5000.0), 30 * row_s)
    assert len(ends_s) == 5000 and (changes[30:] == 30.0).all()


def test_change_equals_the_tally_of_a_run():
    """The same number that `run` prints, which gathers it in blocks."""
    rows = block(ONE_SITE, 12_000)
    summary = Summary(ONE_SITE)
    summary.update(rows, 0)
    time_s, power = np.arange(12_000) / 1000.0, rows["site_pcc_power_mw"][:, 0]
    found = metrics.of_power(time_s, power)
    tally = summary.result()
    assert found.change_mw.value == tally["site.campus.pcc_change_5s_mw"]
    assert found.energy_mwh == pytest.approx(tally["site.campus.pcc_energy_mwh"], rel=1e-12)
    assert found.mean_mw == pytest.approx(tally["site.campus.pcc_mean_mw"], rel=1e-12)
    assert found.peak_mw.value == tally["site.campus.pcc_peak_mw"]
    assert found.swing_mw.value == pytest.approx(tally["site.campus.pcc_swing_mw"], rel=1e-7)  # there in float32


def test_a_step_is_found_when_it_has_ended():
    time_s = np.arange(100) * 0.1
    power = np.where(time_s < 4.05, 20.0, 32.0)
    ends_s, changes = metrics.changes_within(time_s, power, 1.0)
    assert metrics.largest(ends_s, changes) == metrics.Moment(12.0, pytest.approx(4.1))
    assert metrics.ramp(time_s, power, 1.0) == metrics.Moment(pytest.approx(12.0), pytest.approx(4.1))
    assert metrics.swing(time_s, power) == metrics.Moment(12.0, pytest.approx(4.1))
    assert metrics.swing(time_s, -power) == metrics.Moment(12.0, pytest.approx(4.1))


def test_separate_windows_of_a_square_wave():
    """Changes of 12 at 10, 20, ... 90 s: nine, each in a window of its own; and four windows of 25 s in 100 s."""
    time_s = np.arange(1000) * 0.1
    power = 20.0 + 12.0 * (np.floor(time_s / 10.0 + 1e-9) % 2)
    for window_s, count in ((1.0, 9), (5.0, 9), (25.0, 4)):
        ends_s, changes = metrics.changes_within(time_s, power, window_s)
        assert metrics.separate_windows(ends_s, changes, window_s, 11.0) == count
        assert metrics.separate_windows(ends_s, changes, window_s, 12.0) == 0


def test_records_too_short_have_no_value():
    time_s, power = np.arange(3) * 1.0, np.array([1.0, 2.0, 4.0])
    assert np.isnan(metrics.ramp(time_s, power, 2.5).value)
    assert metrics.ramp(time_s, power, 2.0).value == pytest.approx(1.5)
    assert np.isnan(metrics.largest(time_s[:0], power[:0]).value)


def test_energy_of_uneven_samples():
    """Each stands for the time half way to its neighbours, the ends for a whole interval: 1, 1.5, 2.5 and 3 s."""
    time_s, power = np.array([0.0, 1.0, 3.0, 6.0]), np.array([3600.0, 0.0, 7200.0, 3600.0])
    assert metrics.energy_mwh(time_s, power) == pytest.approx(1.0 + 2.0 * 2.5 + 3.0)
    assert metrics.mean(time_s, power) == pytest.approx(9.0 * 3600.0 / 8.0)


def test_frequency_of_a_dip():
    """Down at 0.2 Hz/s for 2 s, back at 0.1 Hz/s."""
    time_s = np.arange(0.0, 10.0, 0.01)
    frequency = 60.0 - np.interp(time_s, [1.0, 3.0, 7.0], [0.0, 0.4, 0.0])
    found = metrics.of_frequency(time_s, frequency, 60.0)
    assert found.nadir_hz == metrics.Moment(pytest.approx(59.6), pytest.approx(3.0))
    assert found.zenith_hz.value == 60.0
    for over_s in metrics.ROCOF_S:
        assert found.rocof_hz_per_s[over_s].value == pytest.approx(0.2)
    # Beyond 0.2 Hz for 1 s of the fall and 2 s of the rise, to a row at each end.
    assert found.outside_s[0.2] == pytest.approx(3.0, abs=0.03) and found.outside_s[0.5] == 0.0


def test_voltage_counts_what_happens_within_a_second():
    time_s = np.arange(0.0, 20.0, 0.01)
    square = 1.0 + 0.005 * np.sign(np.sin(2.0 * np.pi * time_s + 0.1))
    assert metrics.rapid_voltage_change(time_s, square).value == pytest.approx(0.01)
    slope = 1.0 - 0.002 * time_s
    assert metrics.rapid_voltage_change(time_s, slope).value == pytest.approx(0.002)


def test_battery_out_and_back():
    """36 MW out for 100 s, then 36 MW in for 100 s: 1 MWh each, a tenth of a cycle at 10 MWh, 0.19 MWh lost."""
    time_s = np.arange(0.0, 200.0, 0.1)
    power = np.where(time_s < 99.95, 36.0, -36.0).astype(np.float32)
    soc = np.interp(time_s, [0.0, 100.0, 200.0], [0.5, 0.39, 0.481])
    found = metrics.battery(time_s, power, soc, rated_mw=36.0, rated_mwh=10.0, soc_range=(0.39, 0.9))
    assert (found.charged_mwh, found.discharged_mwh) == pytest.approx((1.0, 1.0), rel=1e-3)  # a row of 2000 is 1e-3
    assert found.equivalent_cycles == pytest.approx(0.1, rel=1e-9)
    assert found.losses_mwh == pytest.approx(0.19, abs=2e-3)
    assert (found.soc_min, found.soc_max) == pytest.approx((0.39, 0.5), abs=1e-9)
    assert found.at_power_limit_s == pytest.approx(200.0)
    # Within 1e-4 of the limit: 0.0909 s on the way down, 0.11 s on the way up.
    assert found.at_soc_limit_s == pytest.approx(0.2, abs=0.15)


def test_auxiliaries_are_no_part_of_a_converters_power():
    """A converter of 2 MW beside 0.1 MW of auxiliaries: full out, full in, and 95 % in, 10 s each."""
    time_s = np.arange(300) * 0.1
    power = np.repeat([2.0, -2.0, -1.9], 100) - 0.1
    found = metrics.battery(time_s, power, np.full(300, 0.5), 2.0, 1.0, (0.0, 1.0), auxiliary_mw=0.1)
    assert found.at_power_limit_s == pytest.approx(20.0)
    assert found.equivalent_cycles == pytest.approx(0.5 * 59.0 / 3600.0)


def test_ride_through_of_two_trips():
    """Away for 4 s and, in part, for 1 s; voltage back 1.2 s after the first, 90 % of the load 2.6 s later."""
    time_s = np.arange(0.0, 20.0, 0.01)
    connected = np.interp(time_s, [2.0, 2.005, 4.0, 6.0, 10.0, 10.005, 11.0], [1.0, 0.0, 0.0, 1.0, 1.0, 0.95, 1.0])
    voltage = np.where((time_s >= 2.0) & (time_s < 3.195), 0.3, 1.0)
    found = metrics.ride_through(time_s, connected, voltage)
    assert found.trips == 2 and found.least_share == 0.0
    assert found.away_s == pytest.approx(5.0, abs=0.05)
    assert found.longest_return_s == pytest.approx(5.8 - 3.2, abs=0.03)


def test_undisturbed_site_rides_through():
    ones = np.ones(100)
    assert metrics.ride_through(np.arange(100) * 0.1, ones, ones) == metrics.RideThrough(0, 1.0, 0.0, 0.0)
