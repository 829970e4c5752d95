"""Metrics of a recorded power, voltage, frequency or battery, at even or uneven times. NumPy, float64, O(n log n).

A record is (samples,) times in s, ascending, and (samples,) values, taken as joined by straight lines: the extremes of
such a line lie at samples, so that ranges, changes in a window and rates are exact for it, whatever the sampling. In
integrals a sample stands for the time half way to its neighbours, the first and the last for a whole interval: rows of
a trace, which are means over equal times, then add up exactly.
What rows average away is not in a record: `spectrum.meter_gain`.
Signs: load positive = draws from the grid; battery positive = discharges. A moment is where a change has ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emulator.units import S_PER_H

SAME_TIME = 1e-6  # of the median interval: times closer than that are one
CHANGE_WINDOW_S = 5.0  # as utilities' oscillation limits have it
RAMPS_S = (1.0, 5.0, 60.0)
ROCOF_S = (0.1, 0.5)
FREQUENCY_BANDS_HZ = (0.036, 0.2, 0.5)  # governors' dead band [S]; assumed; NERC's ceiling, Eastern Interconnection [S]
RAPID_S = 1.0  # IEC 61000-4-30 judges a rapid voltage change against the second before it
RETURNED_SHARE, RETURN_VOLTAGE_PU = 0.9, 0.9  # ERCOT large electronic loads: 90 % back once 0.9 pu is there [V]


@dataclass(frozen=True)
class Moment:
    """A value and when it was. NaN both where a record is too short to have one."""

    value: float
    at_s: float


NONE = Moment(np.nan, np.nan)


@dataclass(frozen=True)
class Power:
    """A load or a flow in figures."""

    energy_mwh: float
    mean_mw: float
    peak_mw: Moment
    swing_mw: Moment  # dynamic range: largest less smallest
    ramp_mw_per_s: Mapping[float, Moment]  # by RAMPS_S
    change_mw: Moment  # largest within CHANGE_WINDOW_S
    changes: int  # separate windows with nine tenths of it or more: how often it is repeated


@dataclass(frozen=True)
class Frequency:
    """A frequency in figures."""

    nadir_hz: Moment
    zenith_hz: Moment
    rocof_hz_per_s: Mapping[float, Moment]  # by ROCOF_S
    outside_s: Mapping[float, float]  # time further from nominal than each of FREQUENCY_BANDS_HZ


@dataclass(frozen=True)
class Battery:
    """What a run did to a battery. Energies at its terminals."""

    soc_min: float
    soc_max: float
    charged_mwh: float
    discharged_mwh: float
    equivalent_cycles: float  # mean of what went through its converter either way, per capacity
    losses_mwh: float  # what went in and neither came out nor is still there
    at_power_limit_s: float
    at_soc_limit_s: float


@dataclass(frozen=True)
class RideThrough:
    """How a load left the grid and came back."""

    trips: int  # times that it left, in whole or in part
    least_share: float  # of the load still connected
    away_s: float  # time with less than all of it connected
    longest_return_s: float  # voltage back at 0.9 pu without 90 % of the load: longest time without a break


def of_power(time_s: np.ndarray, power_mw: np.ndarray) -> Power:
    """Figures of a power, two samples or more. Also of a tie's flow."""
    ends_s, changes = changes_within(time_s, power_mw, CHANGE_WINDOW_S)
    change = largest(ends_s, changes)
    return Power(
        energy_mwh=energy_mwh(time_s, power_mw),
        mean_mw=mean(time_s, power_mw),
        peak_mw=largest(time_s, power_mw),
        swing_mw=swing(time_s, power_mw),
        ramp_mw_per_s={over_s: ramp(time_s, power_mw, over_s) for over_s in RAMPS_S},
        change_mw=change,
        changes=separate_windows(ends_s, changes, CHANGE_WINDOW_S, 0.9 * change.value),
    )


def of_frequency(time_s: np.ndarray, frequency_hz: np.ndarray, nominal_hz: float) -> Frequency:
    """Figures of a frequency, two samples or more."""
    low = largest(time_s, -frequency_hz)
    return Frequency(
        nadir_hz=Moment(-low.value, low.at_s),
        zenith_hz=largest(time_s, frequency_hz),
        rocof_hz_per_s={over_s: ramp(time_s, frequency_hz, over_s) for over_s in ROCOF_S},
        outside_s={
            band_hz: time_outside_s(time_s, frequency_hz, nominal_hz - band_hz, nominal_hz + band_hz)
            for band_hz in FREQUENCY_BANDS_HZ
        },
    )


def rapid_voltage_change(time_s: np.ndarray, voltage_pu: np.ndarray) -> Moment:
    """Largest change of voltage within a second, pu. A step counts in full, a swing that is faster with its p-p."""
    return largest(*changes_within(time_s, voltage_pu, RAPID_S))


def lengths_s(time_s: np.ndarray) -> np.ndarray:
    """(samples,) time that each sample stands for. At least two samples."""
    steps_s = np.diff(time_s)
    padded_s = np.concatenate([steps_s[:1], steps_s, steps_s[-1:]])
    return 0.5 * (padded_s[:-1] + padded_s[1:])


def energy_mwh(time_s: np.ndarray, power_mw: np.ndarray) -> float:
    """Energy of a record of two samples or more."""
    return float(np.sum(lengths_s(time_s) * power_mw) / S_PER_H)


def mean(time_s: np.ndarray, values: np.ndarray) -> float:
    """Mean over time of a record of two samples or more."""
    weights_s = lengths_s(time_s)
    return float(np.sum(weights_s * values) / np.sum(weights_s))


def largest(time_s: np.ndarray, values: np.ndarray) -> Moment:
    """The largest value; the smallest one of x is that of -x, with its sign."""
    if not len(values):
        return NONE
    place = int(np.argmax(values))
    return Moment(float(values[place]), float(time_s[place]))


def swing(time_s: np.ndarray, values: np.ndarray) -> Moment:
    """Largest less smallest value, and when the later of the two was."""
    high, low = largest(time_s, values), largest(time_s, -values)
    return Moment(high.value + low.value, max(high.at_s, low.at_s))


def ramp(time_s: np.ndarray, values: np.ndarray, over_s: float) -> Moment:
    """Largest rate per s between two instants `over_s` apart, up or down: ramp rate, or rate of change of frequency."""
    if not len(time_s) or time_s[-1] - time_s[0] < over_s - _near_s(time_s):
        return NONE
    # A difference of two joined lines is extreme where one of them has a corner.
    ends_s = np.concatenate([time_s[time_s >= time_s[0] + over_s], time_s[time_s <= time_s[-1] - over_s] + over_s])
    ends_s = ends_s if len(ends_s) else time_s[-1:]  # a record that is just so long, but for rounding
    change = np.interp(ends_s, time_s, values) - np.interp(ends_s - over_s, time_s, values)
    return largest(ends_s, np.abs(change) / over_s)


def changes_within(time_s: np.ndarray, values: np.ndarray, window_s: float) -> tuple[np.ndarray, np.ndarray]:
    """(n,) ends of windows and (n,) largest less smallest value in each. Windows of `window_s` end at every sample, and
    wherever one starts at a sample; those at the record's start are cut off there."""
    ends_s, values = _with_corners(time_s, values.astype(np.float64), window_s)
    first = np.searchsorted(ends_s, ends_s - (window_s + _near_s(time_s)))
    return ends_s, _largest_since(values, first) + _largest_since(-values, first)


def separate_windows(ends_s: np.ndarray, changes: np.ndarray, window_s: float, beyond: float) -> int:
    """How many windows that do not overlap have a change of more than `beyond`: how often it is repeated.

    Args:
      ends_s, changes: as from `changes_within`.
    """
    above_s = ends_s[changes > beyond]
    count, place = 0, 0
    while place < len(above_s):
        count += 1
        place = int(np.searchsorted(above_s, above_s[place] + window_s))
    return count


def time_outside_s(time_s: np.ndarray, values: np.ndarray, low: float, high: float) -> float:
    """Time for which a value is below `low` or above `high`."""
    return float(np.sum(lengths_s(time_s)[(values < low) | (values > high)]))


def battery(
    time_s: np.ndarray,
    power_mw: np.ndarray,
    soc: np.ndarray,
    rated_mw: float,
    rated_mwh: float,
    soc_range: Sequence[float],
    auxiliary_mw: float = 0.0,
    open_circuit_v: Sequence[float] = (1.0, 1.0),
) -> Battery:
    """Use of a battery. At a limit: within 0.01 % of it; of power: that of its converter, without auxiliaries.

    Args:
      power_mw: means over rows, discharge positive. soc: at the rows' starts.
      soc_range: lowest and highest state of charge that it may have.
      auxiliary_mw: drawn at the terminals whatever the converter does.
      open_circuit_v: of its cells at even steps of the state of charge from 0 to 1; the same at all where charge stands
        for energy.
    """
    hours, power_mw = lengths_s(time_s) / S_PER_H, power_mw.astype(np.float64)
    energy_mwh, converter_mw = hours * power_mw, np.abs(power_mw + auxiliary_mw)
    into, out = np.maximum(-energy_mwh, 0.0), np.maximum(energy_mwh, 0.0)
    stored = [stored_share(float(at), open_circuit_v) for at in soc[[0, -1]]]
    stored_mwh = (stored[1] - stored[0]) * rated_mwh  # up to the start of the last row
    near_power = converter_mw >= (1.0 - 1e-4) * rated_mw
    near_soc = (soc <= soc_range[0] + 1e-4) | (soc >= soc_range[1] - 1e-4)
    return Battery(
        soc_min=float(soc.min()),
        soc_max=float(soc.max()),
        charged_mwh=float(into.sum()),
        discharged_mwh=float(out.sum()),
        equivalent_cycles=float(0.5 * np.sum(hours * converter_mw) / rated_mwh),
        losses_mwh=float(into[:-1].sum() - out[:-1].sum() - stored_mwh),
        at_power_limit_s=float(lengths_s(time_s)[near_power].sum()),
        at_soc_limit_s=float(lengths_s(time_s)[near_soc].sum()),
    )


def stored_share(soc: float, open_circuit_v: Sequence[float]) -> float:
    """Energy above SOC 0 over that at SOC 1: integral of the voltage, which straight lines join, over the charge.

    The same as `bess.cell.stored`, which needs JAX; metrics do without.
    """
    volts = np.asarray(open_circuit_v, np.float64)
    part = np.clip(soc * (len(volts) - 1) - np.arange(len(volts) - 1), 0.0, 1.0)  # of each interval
    below = np.sum(part * (volts[:-1] + 0.5 * part * np.diff(volts)))
    return float(below / np.sum(0.5 * (volts[:-1] + volts[1:])))


def ride_through(time_s: np.ndarray, connected: np.ndarray, voltage_pu: np.ndarray) -> RideThrough:
    """How a site rode through dips.

    Args:
      connected: share of the load not tripped.
    """
    falls = np.concatenate([[connected[0] < 1.0], np.diff(connected) < 0.0])
    return RideThrough(
        trips=int(np.count_nonzero(falls[1:] & ~falls[:-1]) + falls[0]),
        least_share=float(connected.min()),
        away_s=time_outside_s(time_s, connected, 1.0, np.inf),
        longest_return_s=float(waits_s(time_s, connected, voltage_pu, RETURNED_SHARE, RETURN_VOLTAGE_PU).max()),
    )


def waits_s(
    time_s: np.ndarray, connected: np.ndarray, voltage_pu: np.ndarray, share: float, above_pu: float
) -> np.ndarray:
    """(samples,) for how long, up to and with each sample, voltage has been there without this share of the load."""
    late = (voltage_pu >= above_pu) & (connected < share)
    waited_s = np.cumsum(lengths_s(time_s) * late)
    return waited_s - np.maximum.accumulate(np.where(late, 0.0, waited_s))


def _near_s(time_s: np.ndarray) -> float:
    """Times closer than that are one."""
    return SAME_TIME * float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.0


def _with_corners(time_s: np.ndarray, values: np.ndarray, window_s: float) -> tuple[np.ndarray, np.ndarray]:
    """The record with points added one window before and after each sample, where it has none: the largest change of a
    joined line within a window is between two of these."""
    near_s = _near_s(time_s)
    rows = int(np.searchsorted(time_s, time_s[0] + window_s - near_s))
    if np.all(np.abs(time_s[rows:] - time_s[: len(time_s) - rows] - window_s) < 0.5 * near_s):
        return time_s, values  # even, and a window is so many rows: what follows would find the same, slowly
    shifted_s = np.concatenate([time_s + window_s, time_s - window_s])
    shifted_s = shifted_s[(shifted_s > time_s[0]) & (shifted_s < time_s[-1])]
    following = np.minimum(np.searchsorted(time_s, shifted_s - near_s), len(time_s) - 1)
    added_s = np.unique(shifted_s[np.abs(time_s[following] - shifted_s) > near_s])
    if not len(added_s):
        return time_s, values
    ends_s = np.sort(np.concatenate([time_s, added_s]), kind="stable")
    return ends_s, np.interp(ends_s, time_s, values)


def _largest_since(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """(n,) the largest of values[first[i]] to values[i], by a table of maxima over 1, 2, 4, ... values."""
    here = np.arange(len(values))
    levels = np.frexp(here - first + 1)[1] - 1  # the largest power of two within the window
    found, table = np.empty_like(values), values
    for level in range(int(levels.max(initial=-1)) + 1):
        width = 1 << level
        if level:
            table = np.maximum(table[: -(width // 2)], table[width // 2 :])
        at = np.flatnonzero(levels == level)
        found[at] = np.maximum(table[first[at]], table[here[at] - width + 1])
    return found
