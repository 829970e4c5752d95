"""Why a recording cannot be assessed, in words; "" where it can. What a recording cannot show is never a pass."""

from __future__ import annotations

import numpy as np

from emulator import flicker
from emulator.recording import Recording

ROWS_PER_WINDOW = 10  # at least: a swing at 1/(2 window) then shows to 99.6 % in means over rows


def too_short(recording: Recording, window_s: float) -> str:
    """Why a record does not show a window of this length; "" if it does."""
    if recording.span_s >= window_s * (1.0 - 1e-9):
        return ""
    return f"a record of {recording.span_s:g} s is too short: {window_s:g} s are looked at"


def too_coarse(recording: Recording, window_s: float) -> str:
    """Why its rows hide what happens within such a window; "" if they do not."""
    coarse = recording.resolution_s > window_s / ROWS_PER_WINDOW * (1.0 + 1e-9)
    return f"rows of {recording.resolution_s:g} s hide what happens within {window_s:g} s" if coarse else ""


def no_pair(recording: Recording, apart_s: float) -> str:
    """Why no two instants of a record that shows none are so far apart."""
    return f"a record of {recording.span_s:g} s is too short: it has no two rows {apart_s:g} s apart"


def no_return(connected: np.ndarray, share: float, voltage_pu: np.ndarray, above_pu: float) -> str:
    """Why a load that is not seen to stay away may do so; "" where all of it is seen."""
    if not np.isfinite(voltage_pu).all():
        return "voltage that is not finite"
    if voltage_pu[-1] < above_pu:
        return "the record ends before the voltage is back"
    return "the record ends before the load is back" if connected[-1] < share else ""


def hidden_line(recording: Recording, frequency_hz: np.ndarray, amplitude: np.ndarray, allowed: float) -> str:
    """Which line of a spectrum may be larger than allowed, as means over rows keep a part of a swing; "" if none may.

    Args:
      frequency_hz, amplitude: (lines,).
    """
    kept = np.abs(np.sinc(frequency_hz * recording.resolution_s))
    if not len(kept) or (amplitude <= allowed * kept).all():
        return ""
    worst = int(np.argmax(amplitude / kept))
    hz, share, whole = frequency_hz[worst], kept[worst], amplitude[worst] / kept[worst]
    return (
        f"rows of {recording.resolution_s:g} s keep {share:.0%} of a swing at {hz:.4g} Hz: it may have {whole:.3g} MW"
    )


def peak_over_seen(recording: Recording, section: str) -> float:
    """By how much a torque may exceed its values at rows, if it swings at the fastest mode of its shaft: 1/cos(pi f T);
    infinite where rows do not follow it, 1 where no shaft is known."""
    turn = np.pi * recording.shaft_hz.get(section, 0.0) * recording.row_s
    return float(1.0 / np.cos(turn)) if turn < 0.5 * np.pi else np.inf


def hidden_peak(recording: Recording, section: str) -> str:
    """What rows hide of a section's torque, in words; "" where it is less than 5 %."""
    if peak_over_seen(recording, section) < 1.05:
        return ""
    return f"rows of {recording.row_s:g} s hide peaks of {recording.shaft_hz[section]:.3g} Hz, its shaft's fastest mode"


def no_band(recording: Recording, low_hz: float, high_hz: float) -> str:
    """Why a share of its spectrum in a band can be wrong, either way: a part of it is lacking. "" if none is."""
    half_rate_hz = 0.5 / recording.resolution_s
    if low_hz > 0.0 and (doubt := too_short(recording, 1.0 / low_hz)):
        return doubt
    if half_rate_hz < high_hz * (1.0 - 1e-9):
        return f"rows of {recording.resolution_s:g} s carry at most {half_rate_hz:.3g} of {high_hz:g} Hz"
    return ""


def no_flicker(recording: Recording, needed_s: float) -> str:
    """Why no severity can be had over this time; "" if one can."""
    if recording.resolution_s > flicker.LONGEST_ROW_S:
        return f"rows of {recording.resolution_s:g} s; flicker needs {flicker.LONGEST_ROW_S:g} s or less"
    return too_short(recording, needed_s)
