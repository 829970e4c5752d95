"""A trace to play into PSS/E by its model PLBVFU1: time, voltage and frequency, both in per unit.

Reference: Siemens PTI, "PSS/E Playback Model PLBVFU1": one record a sample, values separated by spaces, times relative
and ascending. In per unit Vscale and fscale of the .dyr record are 1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from emulator.trace import TraceError
from emulator.traces.columns import Columns
from emulator.traces.text import Block, numbers, write_lines

CHANNELS = ("site_pcc_voltage_pu", "area_frequency_hz")


def write(columns: Columns, path_out: str | os.PathLike[str]) -> None:
    """Write voltage of a site and frequency of an area to a text file.

    Raises:
      TraceError: other columns than these two; values that are no numbers; and as `csv.write`.
    """
    if tuple(pick.channel.name for pick, _ in columns.labelled) != CHANNELS:
        wanted = " ".join(f"{name}[NAME]" for name in CHANNELS)
        found = ", ".join(columns.names)
        raise TraceError(f"PLBVFU1 plays one voltage and one frequency, not {found}: choose {wanted}")
    write_lines(path_out, "", _in_pu(columns), " ")


def _in_pu(columns: Columns) -> Iterator[Block]:
    for time_s, (voltage_pu, frequency_hz) in numbers(columns, "PSS/E"):
        yield time_s, (voltage_pu, frequency_hz / columns.header.frequency_hz)
