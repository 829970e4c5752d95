"""Why a recording cannot be assessed, in words; "" where it can. What a recording cannot show is never a pass."""

from __future__ import annotations

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
