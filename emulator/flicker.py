"""Flickermeter of IEC 61000-4-15, edition 2, on an RMS envelope of the voltage instead of its waveform. NumPy, float64.

The standard's meter squares the waveform, which turns modulation of the carrier into a signal at the modulation's own
frequency. The square of an envelope is that signal, but for a factor that the scale takes up, and for what the meter
makes of the carrier's sidebands: it shows the rows of the standard's tables up to 30.5 Hz, not those at 33 to 40 Hz.

Coefficients: IEC 61000-4-15:2010, as in the flicker algorithm of github.com/qwtb/qwtb [V].
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, floor, pi
from typing import Literal

import numpy as np
from scipy import signal

Lamp = Literal[120, 230]

RATE_HZ = 400.0  # least rate of the filters; they run between this and twice as much
SHORT_S = 600.0  # interval of one Pst
LONG_COUNT = 12  # Pst in one Plt: 2 h
LONGEST_ROW_S = 0.01  # above it rows average away the band in which the eye is keen
VALID_TO_HZ = 30.0  # of the modulation; beyond it the carrier's sidebands begin to count
STRAY_SHARE = 0.1  # of what is seen: more than that beyond VALID_TO_HZ is worth a word. Assumed
ADAPTION_S = 60.0 / np.log(9.0)  # lag of the reference voltage: 10 to 90 % of a step in 1 min
SMOOTHING_S = 0.3
REFERENCE_HZ = 8.8  # where the eye is keenest
REFERENCE_PCT = {230: 0.250, 120: 0.321}  # sine there, peak to peak, that is just seen: Table 1, P_inst,max = 1
# Gain K, damping lambda and w1 to w4, all but K in Hz: eye and brain behind each lamp.
WEIGHTING = {
    230: (1.74802, 4.05981, 9.15494, 2.27979, 1.22535, 21.9),
    120: (1.6357, 4.167375, 9.077169, 2.939902, 1.394468, 17.31512),
}
# Weight of each group of levels in Pst^2, and the shares of time (%) for which its levels are exceeded.
CLASSES = (
    (0.0314, (0.1,)),
    (0.0525, (0.7, 1.0, 1.5)),
    (0.0657, (2.2, 3.0, 4.0)),
    (0.28, (6.0, 8.0, 10.0, 13.0, 17.0)),
    (0.08, (30.0, 50.0, 80.0)),
)


def instantaneous(
    voltage_pu: np.ndarray, row_s: float, lamp_v: Lamp, frequency_hz: float
) -> tuple[np.ndarray, np.ndarray]:
    """Time in s from the first row on and the flicker that the eye feels at it, P_inst, 1 being just seen.

    Before the first row the voltage is taken to have been that of the first row, as it is where an emulation begins.

    Args:
      voltage_pu: (rows,) RMS envelope on any base, positive; means over rows, or samples.
      frequency_hz: of the grid; 50 and 60 are the standard's.

    Raises:
      ValueError: rows of more than 10 ms.
    """
    if row_s > LONGEST_ROW_S:
        raise ValueError(f"rows of {row_s:g} s: flicker needs rows of {LONGEST_ROW_S:g} s or less")
    seen, step_s = _seen(voltage_pu, row_s, lamp_v, frequency_hz)
    felt = np.asarray(signal.sosfilt(_memory(1.0 / step_s), seen**2))
    return np.arange(len(felt)) * step_s, _scale(1.0 / step_s, lamp_v, frequency_hz) * felt


def severities(time_s: np.ndarray, p_inst: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) Pst of each whole 10 min, and (n,) when it was felt most."""
    whole = intervals(time_s, p_inst)
    peaks = whole.argmax(axis=1) + np.arange(len(whole)) * whole.shape[1]
    return short_term(whole), time_s[peaks]


def intervals(time_s: np.ndarray, p_inst: np.ndarray) -> np.ndarray:
    """(n, rows) flicker in each whole 10 min from the first row on, as many as the record holds."""
    if len(time_s) < 2:
        return np.zeros((0, 1))
    rows = round(SHORT_S / (time_s[1] - time_s[0]))
    return p_inst[: len(p_inst) // rows * rows].reshape(-1, rows)


def short_term(whole: np.ndarray) -> np.ndarray:
    """(n,) Pst of (n, rows) flicker in each 10 min: root of a weighted sum of the levels it exceeds for a share of the
    time, each smoothed over its neighbours."""
    exceeded = [100.0 - share for _, shares in CLASSES for share in shares]
    levels = iter(np.percentile(whole, exceeded, axis=1))
    return np.sqrt(sum(weight * np.mean([next(levels) for _ in shares], axis=0) for weight, shares in CLASSES))


def long_term(pst: np.ndarray) -> np.ndarray:
    """Plt of every twelve consecutive Pst, 2 h: the cube root of their mean cube. None where there are fewer."""
    if len(pst) < LONG_COUNT:
        return np.zeros(0)
    return np.cbrt(np.lib.stride_tricks.sliding_window_view(pst**3, LONG_COUNT).mean(axis=1))


def remark(row_s: float) -> str:
    """What rows of this length cannot carry, in words; "" at 400 rows a second and above."""
    if row_s <= (1.0 + 1e-9) / RATE_HZ:
        return ""
    # A mean over T keeps sinc(f T) of a swing: 95 % at f T = 0.176.
    carried_hz, rate_hz = 0.176 / row_s, 1.0 / row_s
    return f"{rate_hz:.4g} rows a second, {RATE_HZ:g} wanted: flicker above {carried_hz:.3g} Hz is understated"


def validity(voltage_pu: np.ndarray, row_s: float, lamp_v: Lamp, frequency_hz: float) -> str:
    """In what a record's flicker is outside the range of this meter, in words; "" within it."""
    remarks = (remark(row_s), _stray(voltage_pu, row_s, lamp_v, frequency_hz))
    return "; ".join(text for text in remarks if text)


def _stray(voltage_pu: np.ndarray, row_s: float, lamp_v: Lamp, frequency_hz: float) -> str:
    """What of it an envelope does not stand for."""
    seen, step_s = _seen(voltage_pu, row_s, lamp_v, frequency_hz)
    stray = np.asarray(signal.sosfilt(_beyond(1.0 / step_s), seen))
    share = float(np.sum(stray**2) / np.sum(seen**2)) if np.any(seen) else 0.0
    if share <= STRAY_SHARE:
        return ""
    return f"{100.0 * share:.0f} % of what is seen lies above {VALID_TO_HZ:g} Hz, where an envelope is no flickermeter"


def _seen(voltage_pu: np.ndarray, row_s: float, lamp_v: Lamp, frequency_hz: float) -> tuple[np.ndarray, float]:
    """What passes lamp, eye and brain of the relative voltage, and the time between its samples."""
    voltage, step_s = _resampled(voltage_pu.astype(np.float64), row_s)
    share = -np.expm1(-step_s / ADAPTION_S)
    reference, _ = signal.lfilter([share], [1.0, share - 1.0], voltage, zi=[(1.0 - share) * voltage[0]])
    eye = _eye(1.0 / step_s, lamp_v, frequency_hz)
    return np.asarray(signal.sosfilt(eye, 0.5 * ((voltage / reference) ** 2 - 1.0))), step_s


def _resampled(voltage: np.ndarray, row_s: float) -> tuple[np.ndarray, float]:
    """By a whole number up or down to between 400 and 800 Hz, in linear phase."""
    up, down = max(1, ceil(RATE_HZ * row_s - 1e-9)), max(1, floor(1.0 / (RATE_HZ * row_s) + 1e-9))
    if up == down:
        return voltage, row_s
    return voltage[0] + signal.resample_poly(voltage - voltage[0], up, down, padtype="edge"), row_s * down / up


@lru_cache
def _eye(rate_hz: float, lamp_v: Lamp, frequency_hz: float) -> np.ndarray:
    """Band limits and the weighting of lamp, eye and brain as second-order sections: high pass of first order at
    0.05 Hz, Butterworth low pass of sixth order at 35 Hz (50 Hz grid) or 42 Hz (60 Hz), and
    K w1 s/(s^2 + 2 lambda s + w1^2) (1 + s/w2)/((1 + s/w3)(1 + s/w4)), by the bilinear transform."""
    gain = WEIGHTING[lamp_v][0]
    damping, w1, w2, w3, w4 = (2.0 * pi * hz for hz in WEIGHTING[lamp_v][1:])
    poles = [*np.roots([1.0, 2.0 * damping, w1**2]), -w3, -w4]
    weighting = signal.bilinear_zpk([0.0, -w2], poles, gain * w1 * w3 * w4 / w2, rate_hz)
    slow = np.asarray(signal.butter(1, 0.05, "highpass", fs=rate_hz, output="sos"))
    fast = np.asarray(signal.butter(6, 0.7 * frequency_hz, fs=rate_hz, output="sos"))
    return np.concatenate([slow, fast, signal.zpk2sos(*weighting)])


@lru_cache
def _beyond(rate_hz: float) -> np.ndarray:
    """High pass at VALID_TO_HZ, of an order that leaves 3 % of the power at 25 Hz and 97 % at 36 Hz."""
    return np.asarray(signal.butter(10, VALID_TO_HZ, "highpass", fs=rate_hz, output="sos"))


@lru_cache
def _memory(rate_hz: float) -> np.ndarray:
    """1/(1 + 0.3 s), as second-order sections."""
    return signal.zpk2sos(*signal.bilinear_zpk([], [-1.0 / SMOOTHING_S], 1.0 / SMOOTHING_S, rate_hz))


@lru_cache
def _scale(rate_hz: float, lamp_v: Lamp, frequency_hz: float) -> float:
    """Makes the sine of Table 1 at 8.8 Hz reach 1. It arrives at the squarer with amplitude a, which gives a^2/2
    (1 - cos of twice the angle), of which the smoothing leaves 1 and a ripple g: at most a^2/2 (1 + g)."""
    eye, memory = _eye(rate_hz, lamp_v, frequency_hz), _memory(rate_hz)
    seen = 0.5 * REFERENCE_PCT[lamp_v] / 100.0 * _gain(eye, REFERENCE_HZ, rate_hz)
    return 2.0 / (seen**2 * (1.0 + _gain(memory, 2.0 * REFERENCE_HZ, rate_hz)))


def _gain(sections: np.ndarray, at_hz: float, rate_hz: float) -> float:
    _, response = signal.sosfreqz(sections, [at_hz], fs=rate_hz)
    return float(np.abs(response).item())
