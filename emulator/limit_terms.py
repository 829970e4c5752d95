"""Limits as differentiable terms in JAX: the room that a clause leaves, as `limits.assess` finds it on the same rows.

Defined as in docs/limits.md, with the same worst place; one formula each, so that a search by gradient and the judge
agree to rounding. Only flicker is a proxy, and only `load_return`, which counts time, has no form. Largest values have
the slope of the row that is largest.
Rows are (rows, places), evenly spaced. Signs: load positive = draws from the grid; tie positive = first to second area.
"""

from __future__ import annotations

from functools import singledispatch
from math import ceil, floor, pi
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emulator import flicker, spectrum
from emulator import limits_schema as schema
from emulator.blocks import largest
from emulator.power_metrics import RAPID_S, SAME_TIME
from emulator.units import S_PER_MIN

SAME_LEVELS = sum(weight for weight, _ in flicker.CLASSES)  # Pst^2 of a flicker that is felt evenly, over P_inst


def room(limit: schema.Limit, values: jax.Array, row_s: float) -> jax.Array:
    """Margin of a clause at its worst place, in its unit: positive = room.

    Args:
      values: (rows, places) of the clause's quantity from the start on; frequency as deviation from nominal, Hz.
      row_s: length of a row.
    """
    skipped = ceil(limit.skip_s / row_s - SAME_TIME)
    return -largest(-_room(limit, values[skipped:], row_s))


def shortest_s(limit: schema.Limit) -> float:
    """Least length of a record on which the clause can be measured; flicker's proxy takes any."""
    match limit:
        case schema.SlidingWindowChange():
            return limit.window_s
        case schema.RampRate() | schema.Rocof():
            return limit.over_s
        case schema.VoltageChange():
            return RAPID_S
        case schema.BandEnergy():
            return 1.0 / limit.low_hz if limit.low_hz > 0.0 else 0.0
        case schema.BandAmplitude():
            return spectrum.LOBE_BINS / limit.low_hz if limit.low_hz > 0.0 else 0.0
        case _:
            return 0.0


def longest_row_s(limit: schema.Limit) -> float:
    """Longest rows that show what the clause looks at: a tenth of its window, or half a period of its highest
    frequency."""
    match limit:
        case schema.BandEnergy() | schema.BandAmplitude():
            return 0.5 / limit.high_hz
        case schema.FlickerPst() | schema.FlickerPlt():
            return flicker.LONGEST_ROW_S
        case _:
            window_s = shortest_s(limit)
            return window_s / 10.0 if window_s > 0.0 else float("inf")


@singledispatch
def _room(limit: Any, values: jax.Array, row_s: float) -> jax.Array:
    """(places,) margins."""
    raise NotImplementedError(type(limit))  # a kind of limit for which nobody has written the form below


@_room.register
def _(limit: schema.SlidingWindowChange, values: jax.Array, row_s: float) -> jax.Array:
    return limit.max_mw - change_within(values, limit.window_s, row_s)


@_room.register
def _(limit: schema.RampRate, values: jax.Array, row_s: float) -> jax.Array:
    return limit.max_mw_per_min - S_PER_MIN * largest_rate(values, limit.over_s, row_s)


@_room.register
def _(limit: schema.DynamicRange, values: jax.Array, row_s: float) -> jax.Array:
    return limit.max_mw - _swing(values)


@_room.register
def _(limit: schema.TieSwing, values: jax.Array, row_s: float) -> jax.Array:
    return limit.max_mw - _swing(values)


@_room.register
def _(limit: schema.BandEnergy, values: jax.Array, row_s: float) -> jax.Array:
    return limit.max_fraction - band_share(values, row_s, limit.low_hz, limit.high_hz, limit.reading)


@_room.register
def _(limit: schema.BandAmplitude, values: jax.Array, row_s: float) -> jax.Array:
    return limit.max_mw - band_amplitude(values, row_s, limit.low_hz, limit.high_hz)


@_room.register
def _(limit: schema.FlickerPst, values: jax.Array, row_s: float) -> jax.Array:
    return limit.max_pst - flicker_proxy(values, row_s, limit.lamp_v, limit.frequency_hz)


@_room.register
def _(limit: schema.FlickerPlt, values: jax.Array, row_s: float) -> jax.Array:
    return limit.max_plt - flicker_proxy(values, row_s, limit.lamp_v, limit.frequency_hz)


@_room.register
def _(limit: schema.VoltageChange, values: jax.Array, row_s: float) -> jax.Array:
    return limit.max_pct - 100.0 * change_within(values, RAPID_S, row_s)


@_room.register
def _(limit: schema.VoltageRange, values: jax.Array, row_s: float) -> jax.Array:
    return _between_ends(values, limit.low_pu, limit.high_pu)


@_room.register
def _(limit: schema.FrequencyDeviation, values: jax.Array, row_s: float) -> jax.Array:
    return limit.max_hz - largest(jnp.abs(values))


@_room.register
def _(limit: schema.Rocof, values: jax.Array, row_s: float) -> jax.Array:
    return limit.max_hz_per_s - largest_rate(values, limit.over_s, row_s)


@_room.register
def _(limit: schema.ShaftTorque, values: jax.Array, row_s: float) -> jax.Array:
    return limit.max_pu - largest(jnp.abs(values))


@_room.register
def _(limit: schema.SocWindow, values: jax.Array, row_s: float) -> jax.Array:
    return _between_ends(values, limit.low, limit.high)


def _between_ends(values: jax.Array, low: float, high: float) -> jax.Array:
    return -jnp.maximum(low + largest(-values), largest(values) - high)


def change_within(values: jax.Array, window_s: float, row_s: float) -> jax.Array:
    """(places,) largest less smallest value in any window of that length, values joined by straight lines.

    The extremes of such a line lie at rows, or at a window's end between two of them. O(rows log(window)).
    """
    whole, part = _rows_within(window_s, row_s, values.shape[0])
    high, low = _largest_over(values, whole + 1), _largest_over(-values, whole + 1)
    if part == 0.0:
        return largest(high + low)
    after, before = _between(values[whole:], part), _between(values[: values.shape[0] - whole], 1.0 - part)
    ends = []  # windows that start at a row, and those that end at one; the end between rows belongs to them
    for end, at in ((after, slice(None, -1)), (before, slice(1, None))):
        ends.append(jnp.maximum(high[at], end) + jnp.maximum(low[at], -end))
    return largest(jnp.concatenate(ends))


def largest_rate(values: jax.Array, over_s: float, row_s: float) -> jax.Array:
    """(places,) largest rate per s between two instants so far apart, up or down, values joined by straight lines."""
    whole, part = _rows_within(over_s, row_s, values.shape[0])
    rows = values.shape[0]
    if part == 0.0:
        return largest(jnp.abs(values[whole:] - values[: rows - whole])) / over_s
    after = _between(values[whole:], part) - values[: rows - whole - 1]
    before = values[whole + 1 :] - _between(values[: rows - whole], 1.0 - part)
    return largest(jnp.abs(jnp.concatenate([after, before]))) / over_s


def band_share(values: jax.Array, row_s: float, low_hz: float, high_hz: float, reading: str) -> jax.Array:
    """(places,) share of a band, lower edge included and upper not, in variance or in summed magnitude of the rows
    without their mean; 0 where nothing swings. As `spectrum.share`."""
    rows = values.shape[0]
    square = _squares(values - jnp.mean(values, axis=0, keepdims=True))
    weight = np.ones(rows // 2)
    weight[-1:] = 0.5 if rows % 2 == 0 else 1.0  # alternating from row to row, the last line is not one of a pair
    parts = (_root(square) if reading == "magnitude" else square) * jnp.asarray(weight[:, None], values.dtype)
    whole = jnp.sum(parts, axis=0)
    inside = jnp.sum(parts[spectrum.bins(_lines_hz(rows, row_s), low_hz, high_hz)], axis=0)
    return jnp.where(whole > 0.0, inside / jnp.where(whole > 0.0, whole, 1.0), 0.0)


def band_amplitude(values: jax.Array, row_s: float, low_hz: float, high_hz: float) -> jax.Array:
    """(places,) largest line of a band, peak value of its sine, lower edge included and upper not; 0 without any. As
    `spectrum.of_lines`."""
    rows = values.shape[0]
    window = jnp.asarray(spectrum.flat_top(rows)[:, None], values.dtype)
    square = _squares((values - jnp.mean(values, axis=0, keepdims=True)) * window)
    band = spectrum.bins(_lines_hz(rows, row_s), low_hz, high_hz)
    lines = 2.0 / rows * _root(square[band])
    return largest(lines) if len(lines) else jnp.zeros_like(values[0])


def _lines_hz(rows: int, row_s: float) -> np.ndarray:
    """(lines,) frequencies above 0 Hz."""
    return np.arange(1, rows // 2 + 1) / (rows * row_s)


def _squares(values: jax.Array) -> jax.Array:
    """(lines, places) squares of the transform above 0 Hz."""
    lines = jnp.fft.rfft(values, axis=0)[1:]
    return lines.real**2 + lines.imag**2


def _root(square: jax.Array) -> jax.Array:
    """Square root, with slope 0 at 0."""
    still = square <= 0.0
    return jnp.where(still, 0.0, jnp.sqrt(jnp.where(still, 1.0, square)))


def flicker_proxy(voltage_pu: jax.Array, row_s: float, lamp_v: int, frequency_hz: float) -> jax.Array:
    """(places,) Pst of a flicker felt as evenly as it is on average: a proxy, low where flicker comes in bursts.

    The mean of P_inst is a sum over the spectrum of the relative voltage, weighted by the eye's response of
    IEC 61000-4-15:2010 (lamp, eye and brain, band limits), as the squarer and the smoothing keep means. Percentiles
    have no slope worth following.
    """
    rows = voltage_pu.shape[0]
    mean = jnp.mean(voltage_pu, axis=0, keepdims=True)
    variance = 2.0 / rows**2 * _squares(voltage_pu / mean - 1.0)
    weight = _felt(_lines_hz(rows, row_s), lamp_v, frequency_hz)
    square = SAME_LEVELS * jnp.sum(variance * jnp.asarray(weight[:, None], voltage_pu.dtype), axis=0)
    return _root(square)


def _rows_within(window_s: float, row_s: float, rows: int) -> tuple[int, float]:
    """Whole rows in a window and the part of a row that is left; a window longer than the record is all of it."""
    count = window_s / row_s
    whole = floor(count + SAME_TIME)
    if whole >= rows - 1:
        return rows - 1, 0.0
    return whole, 0.0 if count - whole <= SAME_TIME else count - whole


def _between(values: jax.Array, part: float) -> jax.Array:
    """Values on the lines from each row to the next, `part` of the way."""
    return values[:-1] + part * (values[1:] - values[:-1])


def _largest_over(values: jax.Array, count: int) -> jax.Array:
    """(rows - count + 1, places) largest of each `count` consecutive rows: maxima over 1, 2, 4, ... rows, the last two
    of which overlap."""
    width = 1
    while 2 * width <= count:
        values = jnp.maximum(values[:-width], values[width:])
        width *= 2
    rest = count - width
    return jnp.maximum(values[:-rest], values[rest:]) if rest else values


def _swing(values: jax.Array) -> jax.Array:
    return largest(values) + largest(-values)


def _felt(modulation_hz: np.ndarray, lamp_v: int, frequency_hz: float) -> np.ndarray:
    """P_inst per variance of relative voltage at each frequency; scaled as the meter is (`flicker`)."""

    def eye(hz: np.ndarray) -> np.ndarray:
        """|H|^2 of high pass, Butterworth low pass of sixth order and weighting."""
        s = 2.0j * pi * hz
        gain = flicker.WEIGHTING[lamp_v][0]
        damping, w1, w2, w3, w4 = (2.0 * pi * x for x in flicker.WEIGHTING[lamp_v][1:])
        weighting = (
            gain * w1 * s / (s**2 + 2.0 * damping * s + w1**2) * (1.0 + s / w2) / (1.0 + s / w3) / (1.0 + s / w4)
        )
        slow = (hz / 0.05) ** 2 / (1.0 + (hz / 0.05) ** 2)
        return np.abs(weighting) ** 2 * slow / (1.0 + (hz / (0.7 * frequency_hz)) ** 12)

    at = np.array([flicker.REFERENCE_HZ])
    amplitude = 0.5 * flicker.REFERENCE_PCT[lamp_v] / 100.0
    ripple = 1.0 / np.sqrt(1.0 + (2.0 * pi * 2.0 * flicker.REFERENCE_HZ * flicker.SMOOTHING_S) ** 2)
    return eye(modulation_hz) * (2.0 / (amplitude**2 * (1.0 + ripple) * eye(at)))
