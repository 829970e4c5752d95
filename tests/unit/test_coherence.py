"""Coherence by band against closed forms: in step, independent, mixed, jittered."""

from __future__ import annotations

import numpy as np
import pytest

from emulator.coherence import in_bands

DT_S = 0.01
BANDS = ((0.1, 1.0), (1.0, 5.0))


def in_band(rng: np.random.Generator, rows: int, n: int, low_hz: float, high_hz: float) -> np.ndarray:
    """(rows, n) independent noise of unit variance within a band only."""
    frequency_hz = np.fft.rfftfreq(rows, DT_S)
    spectrum = rng.normal(size=(len(frequency_hz), n)) + 1j * rng.normal(size=(len(frequency_hz), n))
    spectrum[(frequency_hz < low_hz) | (frequency_hz >= high_hz)] = 0.0
    noise = np.fft.irfft(spectrum, rows, axis=0)
    return noise / noise.std(axis=0)


@pytest.mark.parametrize("window", ["none", "hann"])
@pytest.mark.parametrize("rows", [2000, 2001])
def test_in_step_is_one_whatever_the_sizes(window, rows):
    rng = np.random.default_rng(0)
    series = rng.normal(size=(rows, 1)) * np.array([1.0, 3.0, 0.5]) + 7.0
    for band in in_bands(series, DT_S, BANDS, window):
        assert band.rho == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("window", ["none", "hann"])
def test_independent_is_zero_within_its_standard_error(window):
    """1/sqrt(n (n - 1) K): 20 white series, K = width x 100 s bins; under Hann two thirds of them at the least count as
    independent (its noise bandwidth is 1.5 bins)."""
    series = np.random.default_rng(1).normal(size=(10_000, 20))
    for band in in_bands(series, DT_S, BANDS, window):
        bins = (band.high_hz - band.low_hz) * 100.0 / (1.5 if window == "hann" else 1.0)
        assert abs(band.rho) < 3.0 / np.sqrt(20 * 19 * bins)
        # White: the band's part of the bandwidth. Its s.d. is sqrt(1/bins) of it for the sum, less for the 20 series.
        assert band.share == pytest.approx((band.high_hz - band.low_hz) / 50.0, rel=4.0 / np.sqrt(bins))
        assert band.series_share == pytest.approx((band.high_hz - band.low_hz) / 50.0, rel=4.0 / np.sqrt(20 * bins))


@pytest.mark.parametrize("scale", [np.ones(10), np.geomspace(0.1, 10.0, 10)])
def test_mixtures_have_their_rho_in_each_band(scale):
    """Series sqrt(c) common + sqrt(1 - c) own, c = 0.8 in one band and 0.1 in the other: rho = c.

    Given c, rho's error is that of the common part's power against the own's, (1 - c) c sqrt(2/K), of the cross terms
    between common and own, sqrt(2 c (1 - c)/(n K)), and of own and own, (1 - c)/sqrt(n (n - 1) K); unequal sizes
    leave fewer series that count, sum(sqrt(S))^2/sum(S).
    """
    rng, mixed = np.random.default_rng(2), np.zeros((40_000, 10))
    shares = (0.8, 0.1)
    for (low_hz, high_hz), c in zip(BANDS, shares, strict=True):
        common, own = (in_band(rng, 40_000, n, low_hz, high_hz) for n in (1, 10))
        mixed += np.sqrt(c) * common + np.sqrt(1 - c) * own
    n = scale.sum() ** 2 / np.sum(scale**2)
    for band, c in zip(in_bands(mixed * scale, DT_S, BANDS), shares, strict=True):
        bins = (band.high_hz - band.low_hz) * 400.0
        error = np.sqrt((c * (1 - c)) ** 2 * 2 / bins + 2 * c * (1 - c) / (n * bins) + (1 - c) ** 2 / (n * n * bins))
        assert band.rho == pytest.approx(c, abs=3 * error)
        variance = n * (1 + (n - 1) * c)  # of the sum within the band, over the mean variance
        other = n * (1 + (n - 1) * (0.9 - c))
        # Common and own are correlated by chance, s.d. 1/sqrt(2 K): a series' variance in the band is off by
        # 2 sqrt(c (1 - c)) of that, its share by a quarter of both bands', the mean over n by sqrt(n) less.
        chance = 2 * 0.4 / np.sqrt(2 * 360)
        assert band.series_share == pytest.approx(0.5, abs=3 * 0.25 * 2**0.5 * chance / np.sqrt(n))
        assert band.share == pytest.approx(variance / (variance + other), abs=3 * 0.25 * 2**0.5 * chance)


def test_opposite_phase_is_least():
    """Two in opposition: -1. Three a third of a turn apart: -1/2, their sum is nothing."""
    turn = 2 * np.pi * 0.5 * np.arange(2000) * DT_S
    two = np.stack([np.sin(turn), -2.0 * np.sin(turn)], axis=1)
    three = np.stack([np.sin(turn + k * 2 * np.pi / 3) for k in range(3)], axis=1)
    band = in_bands(two, DT_S, BANDS)[0]
    assert band.rho == pytest.approx(-1.0, abs=1e-12) and band.share == pytest.approx(1.0, abs=1e-12)
    band = in_bands(three, DT_S, BANDS)[0]
    assert band.rho == pytest.approx(-0.5, abs=1e-12) and band.series_share == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("f_hz", "jitter_s", "gain"), [(1.0, 0.02, 0.9921), (1.0, 0.1, 0.8209), (3.0, 0.05, 0.6414)])
def test_jittered_devices_keep_the_squared_gain(f_hz, jitter_s, gain):
    """R19: start jitter of s.d. s leaves g = exp(-(2 pi f s)^2 / 2) of a swing, and rho = g^2.

    The devices' mean phasor m estimates g with E|m|^2 = g^2 + (1 - g^2)/n, and rho = (n |m|^2 - 1)/(n - 1) is free of
    that bias; its s.d. is 2 g times that of m along g, sqrt((1 - g^2)^2/(2 n)), and about 1/n besides.
    """
    n = 4000
    late_s = jitter_s * np.random.default_rng(3).normal(size=n)
    series = np.sin(2 * np.pi * f_hz * (np.arange(400)[:, None] * DT_S - late_s))
    rho = in_bands(series, DT_S, [(f_hz - 0.1, f_hz + 0.1)])[0].rho
    assert np.exp(-0.5 * (2 * np.pi * f_hz * jitter_s) ** 2) == pytest.approx(gain, abs=5e-5)
    assert rho == pytest.approx(gain**2, abs=3 * (2 * gain * (1 - gain**2) / np.sqrt(2 * n) + 1 / n))


def test_shares_of_all_bands_make_a_whole_and_follow_the_bands_edges():
    """Power at 2 Hz exactly belongs to the band that begins there; that at half the rate of rows counts once."""
    rng = np.random.default_rng(4)
    series = rng.normal(size=(1000, 3))
    bands = in_bands(series, DT_S, [(0.0, 2.0), (2.0, 20.0), (20.0, 51.0)])
    assert sum(b.share for b in bands) == pytest.approx(1.0, abs=1e-12)
    assert sum(b.series_share for b in bands) == pytest.approx(1.0, abs=1e-12)
    tone = np.sin(2 * np.pi * 2.0 * np.arange(1000) * DT_S)[:, None] * np.ones(2)
    assert [round(b.share, 9) for b in in_bands(tone, DT_S, [(1.0, 2.0), (2.0, 3.0)])] == [0.0, 1.0]
    alternating = tone + (-1.0) ** np.arange(1000)[:, None]  # variances 1/2 and 1
    assert in_bands(alternating, DT_S, [(49.0, 51.0)])[0].share == pytest.approx(2 / 3, rel=1e-9)


def test_hann_keeps_a_cut_line_out_of_other_bands():
    """A sine of 5.5 periods: without a window bin k holds [1/(k - 5.5) - 1/(k + 5.5)]^2/pi^2 of its power, line and
    image at -5.5 together; Hann leaves less than a thousandth of that far away."""
    line = np.sin(2 * np.pi * 0.55 * np.arange(1000) * DT_S)[:, None] * np.ones(2)
    none, hann = (in_bands(line, DT_S, [(1.5, 51.0)], window)[0].share for window in ("none", "hann"))
    k = np.arange(15, 501)
    leaked = np.sum((1 / (k - 5.5) - 1 / (k + 5.5)) ** 2) / np.pi**2
    # The wave is sampled: images at 100 Hz and its multiples add less than 1/(500 - 5.5) to 1/9.5.
    assert none == pytest.approx(leaked, rel=2 * 9.5 / 494.5) and hann < 1e-3 * none


def test_a_late_and_noisy_copy_is_in_step_where_its_delay_is_a_whole_turn():
    """Half of its power is the other's, 50 ms late; rho asks for step, so that it goes with the delay's cosine."""
    rng = np.random.default_rng(6)
    first = rng.normal(size=20_100)
    series = np.stack([first, np.roll(first, 5) + rng.normal(size=20_100)], axis=1)
    for low_hz, high_hz in ((0.5, 1.5), (9.5, 10.5)):
        in_step = np.cos(2 * np.pi * np.linspace(low_hz, high_hz, 101) * 5 * DT_S).mean()
        # The noise takes 1/sqrt(2); 201 bins: s.d. 1/sqrt(2 x 201) = 0.05 at most.
        assert in_bands(series, DT_S, [(low_hz, high_hz)])[0].rho == pytest.approx(in_step / 2**0.5, abs=0.15)


def test_what_cannot_be_told_is_refused():
    with pytest.raises(ValueError, match="two series or more"):
        in_bands(np.zeros((100, 1)), DT_S, BANDS)
    with pytest.raises(ValueError, match="no bin from 0.1 to 0.4 Hz: bins are 1 Hz apart"):
        in_bands(np.zeros((100, 2)), DT_S, [(0.1, 0.4)])
    still = in_bands(np.full((100, 2), 3.0), DT_S, [(1.0, 5.0)])[0]
    assert np.isnan(still.rho) and np.isnan(still.share)
