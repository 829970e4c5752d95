"""Headers, rows and files of traces for tests, without an emulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from emulator.measures import measure
from emulator.metrics import JobTally, Summary
from emulator.trace import CHANNELS, SCHEMA_VERSION, WATCHED, Event, Header, Trace
from emulator.traces.hdf5 import TraceWriter
from emulator.wear import Wear

ONE_SITE = Header(
    labels={
        "site": ("campus",),
        "battery": (),
        "job": ("campus/pretrain",),
        "hall": (),
        "area": ("main",),
        "tie": (),
        "reserve": (),
        "section": (),
        "device": (),
        "rack": (),
    },
    config='[run]\nname = "made"\n',
    seed=7,
    dt_s=0.001,
    frequency_hz=60.0,
    platform="cpu",
    emulator_version="0.0.0",
    created_utc="2026-01-01T00:00:00+00:00",
    schema_version=SCHEMA_VERSION,
    every_ticks=1,
    device_every_ticks=1,
    double=False,
    compression="gzip",
    nominal_kv=(138.0,),
)
TWO_SITES = replace(
    ONE_SITE,
    labels={
        "site": ("west", "öst"), "battery": ("west/bess", "west/fast"),
        "job": ("west/a", "öst/b", "öst/c"), "hall": ("west/1",),
        "area": ("w", "e"), "tie": ("w-e",), "reserve": ("e",), "section": ("g 1-2", "g 2-3"),
        "device": ("west/a/0", "west/a/1"), "rack": ("west/a/0",),
    },
    nominal_kv=(138.0, float("nan")),
)  # fmt: skip


def block(header: Header, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random rows of every channel, in the types of the trace."""
    rng = np.random.default_rng(seed)
    return {
        c.name: rng.normal(50.0, 10.0, (rows, len(header.labels[c.axis]))).astype(header.dtype_of(c))
        for c in (*CHANNELS, *WATCHED)
    }


def summed_up_and_measured(trace: Trace) -> dict[str, tuple[float, float]]:
    """Metrics that a run has summed up block by block, and the same of its whole arrays, by the run's key."""
    whole = {(its.quantity, its.where, its.name): its.value for its in measure(trace)}
    sides, found = {"pcc": "power", "facility": "load", "voltage": "voltage"}, {}
    ends = {"frequency_min_hz": "nadir_hz", "frequency_max_hz": "zenith_hz"}
    for key, value in trace.metrics.items():
        axis, place, name = key.split(".", 2)
        side, _, rest = name.partition("_")
        quantity, name = (
            (sides[side], rest) if side in sides else ({"area": "frequency"}.get(axis, axis), ends.get(name, name))
        )
        if (quantity, place, name) in whole:
            found[key] = (value, whole[quantity, place, name])
    return found


def write(
    path: Path, header: Header, rows: Mapping[str, np.ndarray], events: Sequence[Event] = (), at_once: int = 1000
) -> Path:
    """A complete trace file of the rows, with their metrics, appended in blocks."""
    total = len(rows["site_it_power_mw"])
    summary, wear = Summary(header), Wear(header, {})
    with TraceWriter(path, header, at_once) as writer:
        for start in range(0, total, at_once):
            part = {name: values[start : start + at_once] for name, values in rows.items()}
            writer.append(start * header.every_ticks, part, events if start == 0 else ())
            summary.update(part, start * header.every_ticks)
            wear.add(part["battery_soc"])
        found = summary.result() | JobTally(header).result() | wear.result()
        writer.finish(found, "end of run", complete=True)
    return path
