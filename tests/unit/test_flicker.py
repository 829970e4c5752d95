"""The flickermeter on the tables of IEC 61000-4-15, edition 2, and on closed forms.

Tables as in github.com/qwtb/qwtb, verify_flicker_sim.m [V]. The rows at 33 to 40 Hz are left out: an envelope does not
carry the sidebands of a 50 or 60 Hz carrier that decide them.
"""

from __future__ import annotations

import numpy as np
import pytest

from emulator import flicker

CHANGES_PER_MIN = (1, 2, 7, 39, 110, 1620)
PST_ONE_PCT = {  # Table 5: rectangular changes, dV/V for Pst = 1
    (230, 50): (2.715, 2.191, 1.450, 0.894, 0.722, 0.407),
    (120, 60): (3.181, 2.564, 1.694, 1.040, 0.844, 0.548),
    (120, 50): (3.178, 2.561, 1.694, 1.045, 0.844, 0.545),
    (230, 60): (2.719, 2.194, 1.450, 0.895, 0.723, 0.409),
}
SINE_HZ = (*np.arange(0.5, 8.5, 0.5), 8.8, *np.arange(9.5, 12.5, 0.5), *np.arange(13.0, 26.0))
LAMP_230 = (
    2.325, 1.397, 1.067, 0.879, 0.747, 0.645, 0.564, 0.497, 0.442, 0.396, 0.357, 0.325, 0.3, 0.280, 0.265, 0.256, 0.250,
    0.254, 0.261, 0.271, 0.283, 0.298, 0.314, 0.351, 0.393, 0.438, 0.486, 0.537, 0.590,
)  # fmt: skip
LAMP_120 = (
    2.453, 1.465, 1.126, 0.942, 0.815, 0.717, 0.637, 0.570, 0.514, 0.466, 0.426, 0.393, 0.366, 0.346, 0.332, 0.323,
    0.321, 0.329, 0.341, 0.355, 0.373, 0.394, 0.417, 0.469, 0.528, 0.592, 0.660, 0.734, 0.811,
)  # fmt: skip
P_INST_ONE_PCT = {  # Table 1: sine, dV/V for P_inst,max = 1
    (230, 50): (*LAMP_230, 0.646, 0.704, 0.764, 0.828, 0.894, 0.964, 1.037),
    (230, 60): (*LAMP_230, 0.645, 0.703, 0.764, 0.826, 0.892, 0.959, 1.029),
    (120, 60): (*LAMP_120, 0.892, 0.977, 1.067, 1.160, 1.257, 1.359, 1.464),
    (120, 50): (*LAMP_120, 0.892, 0.978, 1.068, 1.162, 1.261, 1.365, 1.476),
}


def square(changes_per_min: float, pct: float, rate_hz: float, lasting_s: float) -> np.ndarray:
    """Means over rows of a voltage that changes by `pct` about 1, so many times a minute."""
    half_s = 60.0 / changes_per_min
    edges_s = np.arange(round(lasting_s * rate_hz) + 1) / rate_hz
    phase = edges_s % (2.0 * half_s)
    integral = np.minimum(phase, 2.0 * half_s - phase)  # of +1 and -1 in turn
    return 1.0 + 0.005 * pct * np.diff(integral) * rate_hz


def pst_of(voltage: np.ndarray, rate_hz: float, lamp_v: int, frequency_hz: float, settled_s: float = 0.0) -> float:
    """First Pst after so many seconds."""
    time_s, felt = flicker.instantaneous(voltage, 1.0 / rate_hz, lamp_v, frequency_hz)
    first = np.searchsorted(time_s, settled_s)
    return flicker.short_term(flicker.intervals(time_s[first:] - time_s[first], felt[first:]))[0]


@pytest.mark.parametrize("rate_hz", [400.0, 1000.0])
@pytest.mark.parametrize("meter", sorted(PST_ONE_PCT))
def test_table_5_within_2_percent(meter, rate_hz):
    """The standard allows 5 %. Found: 0.986 to 0.9995; least at 1620/min, where means over 2.5 ms cut the edges."""
    for changes, pct in zip(CHANGES_PER_MIN, PST_ONE_PCT[meter], strict=True):
        voltage = square(changes, pct, rate_hz, 720.0)
        assert pst_of(voltage, rate_hz, *meter, settled_s=120.0) == pytest.approx(1.0, abs=0.02), changes


@pytest.mark.parametrize("meter", sorted(PST_ONE_PCT))
def test_first_ten_minutes_count_without_settling(meter):
    """A record of just 10 min is one half change short of those that the table counts: within the standard's 5 %."""
    for changes, pct in zip(CHANGES_PER_MIN, PST_ONE_PCT[meter], strict=True):
        assert pst_of(square(changes, pct, 400.0, 600.0), 400.0, *meter) == pytest.approx(1.0, abs=0.05), changes


@pytest.mark.parametrize("meter", sorted(P_INST_ONE_PCT))
def test_table_1_within_the_editions_8_percent(meter):
    """Found: 0.972 at 25 Hz, within 1.5 % below 15 Hz. The high pass at 0.05 Hz settles to 1e-3 in 22 s; the reference
    voltage, which takes longer, is hardly moved by a sine of 0.5 Hz or more."""
    time_s = np.arange(60_000) / 1000.0
    for hz, pct in zip(SINE_HZ, P_INST_ONE_PCT[meter], strict=True):
        voltage = 1.0 + 0.005 * pct * np.sin(2.0 * np.pi * hz * time_s)
        at_s, felt = flicker.instantaneous(voltage, 0.001, *meter)
        assert felt[at_s >= 30.0].max() == pytest.approx(
            1.0, abs=0.001 if hz == 8.8 else 0.015 if hz < 15.0 else 0.03
        ), hz


def test_pst_is_linear_in_the_change():
    """The envelope is divided by a reference that follows it: nonlinear by dV/V itself, 0.5 % at most."""
    small, large = (pst_of(square(39, pct, 400.0, 600.0), 400.0, 230, 50.0) for pct in (0.5, 1.0))
    assert large / small == pytest.approx(2.0, rel=0.005)


def test_a_dip_is_felt_less_than_a_swell():
    """The meter squares the voltage: a step by d is felt as (1 + d)^2 - 1, of which P_inst is the square."""
    peaks = [
        flicker.instantaneous(1.0 + d * (np.arange(4000) >= 1000), 0.0025, 230, 50.0)[1].max() for d in (-0.1, 0.1)
    ]
    # The reference follows in 27 s, half a per cent of the step in the tenth of a second that the eye takes.
    assert peaks[0] / peaks[1] == pytest.approx((1.9 / 2.1) ** 2, rel=0.01)


@pytest.mark.parametrize("base", [0.9, 138.0])
def test_base_of_the_voltage_does_not_matter(base):
    voltage = square(39, 1.0, 400.0, 600.0)
    assert pst_of(base * voltage, 400.0, 120, 60.0) == pytest.approx(pst_of(voltage, 400.0, 120, 60.0), rel=1e-9)


def test_steady_voltage_does_not_flicker():
    _, felt = flicker.instantaneous(np.full(10_000, 0.97, np.float32), 0.001, 230, 50.0)
    assert np.abs(felt).max() < 1e-12


@pytest.mark.parametrize("rate_hz", [400.0, 500.0, 2000.0, 5000.0])
def test_rate_of_the_rows_does_not_matter(rate_hz):
    """Means over a row keep sinc(f T) of a swing: at 8.8 Hz and 400 Hz 99.92 %."""
    wanted = pst_of(square(1056, 0.3, 1000.0, 600.0), 1000.0, 230, 50.0)  # 8.8 Hz
    assert pst_of(square(1056, 0.3, rate_hz, 600.0), rate_hz, 230, 50.0) == pytest.approx(wanted, rel=2e-3)
    assert not flicker.remark(1.0 / rate_hz)


def test_coarse_rows_are_remarked_on_and_refused():
    """At 100 rows a second a sine of 17.6 Hz shows to 95 %, as the remark says: flicker to 0.95^2."""
    assert "100 rows a second" in flicker.remark(0.01) and "above 17.6 Hz" in flicker.remark(0.01)
    fine = 1.0 + 0.01 * np.sin(2.0 * np.pi * 17.6 * (np.arange(60_000) + 0.5) / 1000.0)
    coarse = fine.reshape(-1, 10).mean(axis=1)
    levels = [flicker.instantaneous(v, row_s, 120, 60.0)[1].max() for v, row_s in ((fine, 0.001), (coarse, 0.01))]
    assert levels[1] / levels[0] == pytest.approx(0.95**2, rel=0.02)
    with pytest.raises(ValueError, match="rows of 0.011 s"):
        flicker.instantaneous(np.ones(100), 0.011, 230, 50.0)


def test_pst_of_known_levels():
    """Flicker that takes every level from 0 to 1 equally long exceeds 1 - x for a share x of the time."""
    levels = np.linspace(0.0, 1.0, 60_001)[None]
    shares = {0.0314: 0.001, 0.0525: 0.032 / 3, 0.0657: 0.092 / 3, 0.28: 0.54 / 5, 0.08: 1.6 / 3}
    weighted = sum(weight * (1.0 - share) for weight, share in shares.items())
    assert flicker.short_term(levels)[0] == pytest.approx(np.sqrt(weighted), rel=1e-12)


def test_intervals_are_whole():
    time_s = np.arange(0.0, 1500.0, 0.5)
    whole = flicker.intervals(time_s, time_s)
    assert whole.shape == (2, 1200) and whole[1, 0] == 600.0


def test_plt_is_the_cube_root_of_the_mean_cube():
    pst = np.array([1.0] * 12 + [2.0])
    np.testing.assert_allclose(flicker.long_term(pst), [1.0, np.cbrt(19.0 / 12.0)], rtol=1e-12)
    assert len(flicker.long_term(pst[:11])) == 0
