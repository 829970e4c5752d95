"""Samples from COMTRADE: an analog channel of a .cfg and its .dat. Needs the extra `comtrade`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from emulator.traces.samples import RecordError, Samples, check_end, find
from emulator.units import counted

TIME = "t_s"  # what the one time that all channels have is called here
BYTES = {"BINARY": 2, "BINARY32": 4, "FLOAT32": 4}  # of an analog value in the .dat
DAMAGE = (ValueError, IndexError, KeyError, TypeError, AttributeError, ArithmeticError, MemoryError, OSError)


def read(path: str, time_column: str, power_column: str) -> Samples:
    """An analog channel, as a primary value, over the time that sample rates or, without them, time stamps say.

    Raises:
      RecordError: comtrade is not installed; no configuration or samples; not as many samples as the configuration
        says; no such channel; a time column of another name than t_s.
    """
    try:
        import comtrade
    except ImportError as error:
        raise RecordError("COMTRADE needs comtrade: pip install 'wattswing[comtrade]'") from error
    if time_column != TIME:
        raise RecordError(f"is {time_column!r}; the time of a COMTRADE file is called {TIME!r}", "time_column")
    dat = Path(f"{path[:-3]}{'DAT' if path[-3:].isupper() else 'dat'}")
    try:
        _check_counts(path)
        configuration = comtrade.Cfg(ignore_warnings=True)
        configuration.load(path)
        _check_samples(configuration, dat)
        with np.errstate(all="ignore"):  # infinities are found where values are checked
            found = comtrade.load(
                path, str(dat), ignore_warnings=True, use_numpy_arrays=True, use_double_precision=True
            )
    except RecordError:
        raise
    except (*DAMAGE, comtrade.ComtradeError) as error:  # that library fails by whatever does not fit
        raise RecordError(f"{path} cannot be read as COMTRADE: {error}") from error
    i = find(found.analog_channel_ids, power_column, "power_column")
    channel = configuration.analog_channels[i]
    power = np.asarray(found.analog[i], np.float64) * _to_primary(channel)
    return Samples(np.asarray(found.time), power, np.arange(1, len(power) + 1), "sample", "", channel.uu)


def _check_counts(path: str) -> None:
    """The library makes room for as many channels as the second line says, before it looks for them."""
    check_end(Path(path))
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    counts = re.match(r"\s*\d+\s*,\s*(\d+)A\s*,\s*(\d+)D\s*$", lines[1], re.IGNORECASE)
    if counts is None or sum(map(int, counts.groups())) > len(lines):
        raise RecordError(f"{path}: line 2 is {lines[1][:40]!r}, not the number of channels that follow")


def _check_samples(configuration: Any, dat: Path) -> None:
    """As many samples as the configuration says: the library fills up with zeros."""
    expected = configuration.sample_rates[-1][1]
    kind = configuration.ft.upper()
    if kind == "ASCII":
        check_end(dat)
        found = sum(1 for line in dat.read_bytes().splitlines() if line.strip(b" \x1a"))
    elif kind in BYTES:
        flags = -(-configuration.status_count // 16)
        found = dat.stat().st_size / (8 + BYTES[kind] * configuration.analog_count + 2 * flags)
    else:
        raise RecordError(f"{kind!r} is no format of COMTRADE samples; ASCII, {', '.join(BYTES)} are")
    if found != expected:
        raise RecordError(f"{dat} holds {found:g}, the configuration says {counted(expected, 'sample')}")


def _to_primary(channel: Any) -> float:
    if channel.pors.upper() != "S":
        return 1.0
    if channel.secondary == 0:
        raise RecordError(f"{channel.name} holds secondary values, but no ratio to primary ones", "power_column")
    return channel.primary / channel.secondary
