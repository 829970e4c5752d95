"""Rules between a controller's keys, and with the tick. Each yields the path of a key in its table, and what to do."""

from __future__ import annotations

from collections.abc import Iterator

from emulator.complaint import Path
from emulator.controller_schema import (
    FOLLOWERS,
    BandStopController,
    CompositeController,
    Controller,
    FeedForwardController,
    LowPassController,
    LqrController,
    MovingAverageController,
    MpcController,
    NeuralController,
    RepetitiveController,
    Stage,
    VirtualInertiaController,
)
from emulator.grid_rules import whole_ticks
from emulator.units import counted

Problems = Iterator[tuple[Path, str]]


def problems(table: Controller | Stage, dt_s: float) -> Problems:
    """Of one controller, and of the stages of a composite."""
    match table:
        case CompositeController():
            for i, stage in enumerate(table.stage):
                for path, message in problems(stage, dt_s):
                    yield ("stage", i, *path), message
            followers = [stage.kind for stage in table.stage if isinstance(stage, FOLLOWERS)]
            if len(followers) > 1:
                yield (
                    ("stage",),
                    f"has {len(followers)} followers ({', '.join(followers)}): each carries the load, keep one",
                )
        case BandStopController():
            for i, band in enumerate(table.band):
                if band.high_hz <= band.low_hz:
                    yield ("band", i, "high_hz"), f"is {band.high_hz:g} Hz, must be above low_hz = {band.low_hz:g}"
                elif band.high_hz >= 0.5 / dt_s:
                    yield ("band", i, "high_hz"), f"is {band.high_hz:g} Hz, above half the tick rate, {0.5 / dt_s:g} Hz"
        case LowPassController() | FeedForwardController() | LqrController():
            yield from _cutoff(table.cutoff_hz, dt_s)
        case RepetitiveController():
            yield from whole_ticks(("period_s",), table.period_s, dt_s)
            yield from _cutoff(table.cutoff_hz, dt_s)
        case MovingAverageController():
            yield from whole_ticks(("window_s",), table.window_s, dt_s)
        case MpcController():
            yield from whole_ticks(("period_s",), table.period_s, dt_s)
            yield from whole_ticks(("step_s",), table.step_s, dt_s)
        case VirtualInertiaController(filter_s=lag) if lag < dt_s * (1 - 1e-9):
            yield (
                ("filter_s",),
                f"is {lag:g} s, too short for ticks of {dt_s:g} s: run.dt_s must be at most {lag:.4g} s",
            )
        case NeuralController(last=last) if len(last) not in (0, 16):
            yield ("last",), f"has {counted(len(last), 'weight')}, the last layer takes 16"


def _cutoff(cutoff_hz: float, dt_s: float) -> Problems:
    if cutoff_hz > 0.5 / dt_s:
        yield ("cutoff_hz",), f"is {cutoff_hz:g} Hz, above half the tick rate, {0.5 / dt_s:g} Hz"
