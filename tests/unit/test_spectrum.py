"""Both readings of a spectrum against closed forms and published numbers."""

from __future__ import annotations

import numpy as np
import pytest

from emulator import spectrum


def two_tones(rows: int = 20_000, row_s: float = 0.01) -> np.ndarray:
    """3 MW at 0.5 Hz and 1 MW at 5 Hz about 50 MW, whole periods."""
    time_s = np.arange(rows) * row_s
    return 50.0 + 3.0 * np.sin(2 * np.pi * 0.5 * time_s) + np.cos(2 * np.pi * 5.0 * time_s + 0.3)


def test_two_tones():
    """9 of 10 parts of the variance and 3 of 4 of the magnitude are at 0.5 Hz."""
    lines = spectrum.of_series(two_tones(), 0.01)
    low, high = spectrum.shares(lines, ((0.1, 1.0), (1.0, 10.0)))
    assert (low.variance, high.variance) == pytest.approx((0.9, 0.1), abs=1e-9)
    assert (low.magnitude, high.magnitude) == pytest.approx((0.75, 0.25), abs=1e-9)
    found = spectrum.dominant(lines, 2)
    assert found == (pytest.approx((0.5, 3.0), abs=1e-9), pytest.approx((5.0, 1.0), abs=1e-9))


def test_band_includes_its_lower_edge_only():
    lines = spectrum.of_series(two_tones(), 0.01)
    assert spectrum.share(lines, 0.5, 5.0).variance == pytest.approx(0.9, abs=1e-9)
    assert spectrum.share(lines, 0.4, 0.5).variance == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("rows", [1000, 1001])
def test_parseval(rows):
    values = np.random.default_rng(0).normal(50.0, 10.0, rows)
    lines = spectrum.of_series(values, 0.01)
    assert lines.variance.sum() == pytest.approx(values.var(), rel=1e-12)
    assert len(lines.frequency_hz) == rows // 2


def test_last_bin_of_an_even_number_of_rows():
    lines = spectrum.of_series(np.array([3.0, 1.0] * 8), 0.5)
    assert lines.frequency_hz[-1] == 1.0
    assert lines.amplitude[-1] == pytest.approx(1.0) and lines.variance[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("part", [0.0, 0.25, 0.5])
def test_flat_top_shows_a_line_wherever_it_lies(part):
    """Between two bins as on one, to the window's 0.02 dB; the plain spectrum shows sin(pi x)/(pi x) of it."""
    hz = (500 + part) / 100.0
    values = 50.0 + 3.0 * np.sin(2 * np.pi * hz * np.arange(10_000) * 0.01)
    frequency_hz, amplitude = spectrum.of_lines(values, 0.01)
    assert amplitude.max() == pytest.approx(3.0, rel=0.0025)
    assert frequency_hz[amplitude.argmax()] == pytest.approx(hz, abs=0.03)  # some bins wide at its top
    plain = spectrum.of_series(values, 0.01)
    assert plain.amplitude.max() == pytest.approx(3.0 * np.sinc(part), rel=0.01)
    beyond = np.abs(frequency_hz - hz) > 0.01 * (spectrum.LOBE_BINS + 0.5)
    assert amplitude[beyond].max() < 0.003 * 3.0  # side lobes, 0.1 % and less


def test_constant_power_has_no_shares_and_no_lines():
    lines = spectrum.of_series(np.full(100, 30.0), 0.1)
    assert np.isnan(spectrum.share(lines, 0.1, 1.0).variance) and spectrum.dominant(lines, 3) == ()


def test_default_bands():
    assert [(band.low_hz, band.high_hz) for band in spectrum.shares(spectrum.of_series(two_tones(), 0.01))] == [
        (0.0, 0.1), (0.1, 2.0), (0.2, 3.0), (0.1, 20.0), (3.0, 30.0),
    ]  # fmt: skip


def test_production_trace(reference):
    """Facts: 67, 18.6, 14 and 0.23 % of variance, 41.5 % of magnitude in 0.2 to 3 Hz; lines .0288, .0218, .0207 of the
    summed magnitude at .0469, .0938, .1454 Hz. The file's last row ends the figure: N = 8526 or 8527, worth 1 in the
    last digit."""
    power = np.loadtxt(reference / "fig1_production_trace.csv", delimiter=",", skiprows=1)[:, 1]
    lines = spectrum.of_series(power, 0.025)
    slow, medium, band, fast = spectrum.shares(lines, ((0.0, 0.1), (0.1, 0.2), (0.2, 3.0), (3.0, 100.0)))
    assert (slow.variance, medium.variance) == pytest.approx((0.67, 0.186), abs=0.001)
    assert (band.variance, fast.variance) == pytest.approx((0.141, 0.0023), abs=0.001)
    assert band.magnitude == pytest.approx(0.415, abs=0.001)
    largest = dict(spectrum.dominant(lines, 5))
    for hz, part in ((0.0469, 0.0288), (0.0938, 0.0218), (0.1454, 0.0207)):
        (amplitude,) = (a for at_hz, a in largest.items() if abs(at_hz - hz) < 1e-4)
        assert amplitude / lines.amplitude.sum() == pytest.approx(part, abs=1.5e-4)


@pytest.mark.parametrize(
    ("averaging_s", "hz", "gain"),
    [(1.0, 0.05, 0.996), (1.0, 0.2, 0.935), (1.0, 0.5, 0.637), (1.0, 1.3, 0.198), (4.0, 0.05, 0.935), (4.0, 0.2, 0.234),
     (4.0, 0.5, 0.0)],
)  # fmt: skip
def test_meter_gain(averaging_s, hz, gain):
    """R17, and the mean itself: a sine of 1000 samples a second averaged over T keeps that much of its amplitude."""
    assert spectrum.meter_gain(hz, averaging_s) == pytest.approx(gain, abs=5e-4)
    rows = round(averaging_s * 1000)
    wave = np.exp(2j * np.pi * hz * np.arange(rows) / 1000.0)
    assert abs(wave.mean()) == pytest.approx(gain, abs=5e-4)
