"""A trace in memory, written to a file in one go. What a run writes while it goes on is the business of `hdf5`."""

from __future__ import annotations

import os

from emulator.clock import ticks_nearest
from emulator.complaint import must_be
from emulator.trace import CHANNELS, WATCHED, Trace
from emulator.traces.filesystem import whole
from emulator.traces.hdf5 import TraceWriter


def write(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write a trace as HDF5, the file that `wattswing run` makes: there whole or not at all, replacing what is there.

    Raises:
      TraceError: it cannot be written.
      TypeError: no trace.
    """
    must_be(trace, Trace, "em.run(scenario)")
    first_tick = ticks_nearest(float(trace.time_s[0]), trace.header.dt_s) if len(trace.time_s) else 0
    block = {channel.name: getattr(trace, channel.name) for channel in (*CHANNELS, *WATCHED)}
    with whole(path) as part, TraceWriter(part, trace.header, max(1, len(trace.time_s))) as writer:
        if len(trace.time_s):
            writer.append(first_tick, block, trace.events)
        writer.finish(trace.metrics, trace.stop_reason, trace.complete)
