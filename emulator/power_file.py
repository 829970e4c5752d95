"""Files of recorded power from other tools: read, checked, in s and W. Replay, limits and fits all read them here.

Load positive. Nothing here imports JAX: a configuration is checked with the files that it names.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np

from emulator.reading import kept
from emulator.traces.samples import RecordError, Samples, ends
from emulator.units import W_PER_KW, W_PER_MW, counted

WATTS = {"w": 1.0, "kw": W_PER_KW, "mw": W_PER_MW}
READERS = {  # by the file's ending: module of emulator.traces
    ".csv": "from_csv",
    ".txt": "from_csv",
    ".parquet": "from_parquet",
    ".h5": "from_hdf5",
    ".hdf5": "from_hdf5",
    ".cfg": "from_comtrade",
}
TEXTS = (".csv", ".txt")
LARGEST_GAP = 10.0  # times the median interval: beyond it the record has a hole that nobody should fill by guessing
NEAR = 2.0  # times the median interval or its inverse: a record has a pace if most of its intervals lie within
STATED = {"W": "w", "w": "w", "kW": "kw", "KW": "kw", "kw": "kw", "MW": "mw"}  # not mW, which are no megawatts
WITHOUT_UNIT = ("", "1", "pu", "p.u.", "NONE", "none")
SECONDS = ("", "s", "sec", "second", "seconds")


@kept
def read(
    path: str, time_column: str, power_column: str, unit: str, ending: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Time in s from the first sample on and power in W, (samples,) float64 each. Times need not be even.

    Args:
      unit: w | kw | mw, of the power column.
      ending: as if the file's name ended so, which tells its format; None: as it does.

    Raises:
      RecordError: no such file or column; an ending that tells no format; a file that states another unit; values that
        are not finite; fewer than two samples; times that repeat or go back; a gap of over ten median intervals
        in a record that has a pace; negative power. The message names the file, once.
    """
    try:
        return _read(path, time_column, power_column, unit, ending)
    except RecordError as error:
        if str(error).startswith((path, repr(path))):
            raise
        raise RecordError(f"{path}: {error}", error.key) from error


def caution(path: str, ending: str | None = None) -> str:
    """What to know about a file that `read` has taken, in words; else "". Arguments as there."""
    if (ending or Path(path).suffix.lower()) not in TEXTS or ends(Path(path)):
        return ""
    return f"{path}: the last line does not end: if the file was cut off there, its last value is wrong"


def _read(
    path: str, time_column: str, power_column: str, unit: str, ending: str | None
) -> tuple[np.ndarray, np.ndarray]:
    samples = _samples(path, ending or Path(path).suffix.lower(), time_column, power_column)
    if samples.time_unit not in SECONDS and not samples.time_unit.startswith("seconds since"):
        raise RecordError(f"{time_column} is in {samples.time_unit} there, must be in s", "time_column")
    if samples.power_unit not in WITHOUT_UNIT and STATED.get(samples.power_unit) != unit:
        raise RecordError(f"{power_column} is in {samples.power_unit} there, not in {unit}", "unit")
    with np.errstate(over="ignore"):  # infinities are found below
        power_w = samples.power * WATTS[unit]
    _check(samples, power_w, path, time_column, power_column)
    return samples.time_s - samples.time_s[0], power_w


def _samples(path: str, ending: str, time_column: str, power_column: str) -> Samples:
    if "\0" in path:
        raise RecordError(f"{path!r} is no name of a file")
    reader = READERS.get(ending)
    if reader is None:
        raise RecordError(f"{path}: the ending tells the format; known are {', '.join(READERS)}")
    try:
        with Path(path).open("rb") as file:
            if not file.read(1):
                raise RecordError(f"{path} is empty")
        return import_module(f"emulator.traces.{reader}").read(path, time_column, power_column)
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}") from error


def _check(samples: Samples, power_w: np.ndarray, path: str, time_column: str, power_column: str) -> None:
    time_s, at, where = samples.time_s, samples.place, samples.place_name
    if len(time_s) < 2:
        raise RecordError(f"{path} holds {counted(len(time_s), 'sample')}, at least 2 are needed")
    for values, given, name in ((time_s, time_s, time_column), (power_w, samples.power, power_column)):
        if (bad := ~np.isfinite(values)).any():
            raise RecordError(f"{where} {at[bad][0]}: {name} is {given[bad][0]:g}, must be a finite number")
    steps = np.diff(time_s)
    if (steps == 0).any():
        raise RecordError(f"{where} {at[1:][steps == 0][0]}: {time_column} repeats {time_s[1:][steps == 0][0]:g} s")
    if (steps < 0).any():
        raise RecordError(f"{where} {at[1:][steps < 0][0]}: {time_column} goes back; sort the file by time")
    median_s = float(np.median(steps))
    wide = steps > LARGEST_GAP * median_s
    if wide.any() and _has_pace(steps, median_s):
        raise RecordError(
            f"{where} {at[1:][wide][0]}: a gap of {steps[wide][0]:g} s, where samples are {median_s:g} s apart; "
            "fill it or cut the file there"
        )
    if (power_w < 0).any():
        lowest = samples.power[power_w < 0][0]
        raise RecordError(
            f"{where} {at[power_w < 0][0]}: {power_column} is {lowest:g}, must be >= 0: a load draws power"
        )


def _has_pace(steps: np.ndarray, median_s: float) -> bool:
    """A meter's samples come at about even times, so a wide step among them is a hole. Break-points that somebody
    wrote, or samples taken whenever something happens, do not."""
    return float(np.mean((steps >= median_s / NEAR) & (steps <= median_s * NEAR))) > 0.5
