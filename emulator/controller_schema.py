"""The tables of battery controllers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from emulator.tables import IDEAL, PROGRAM, Table, key


class NoController(Table):
    kind: Literal["none"]


class Restoring(Table):
    """What all controllers have in common: they bring the state of charge back."""

    soc_gain: float = key(
        "share of rated power per unit of SOC error; 0 = no restoration", 0.0, unit="1", ge=0, le=1e3, source=IDEAL
    )


class LowPassController(Restoring):
    """The grid sees the site's power through a first-order low-pass; the battery carries the rest."""

    kind: Literal["low_pass"]
    cutoff_hz: float = key("corner of the low-pass", unit="Hz", gt=0, le=1e3)


class RampLimitController(Restoring):
    """The grid sees the site's power through a rate limiter; the battery carries the rest."""

    kind: Literal["ramp_limit"]
    ramp_mw_per_s: float = key("largest rate of change towards the grid", unit="MW/s", gt=0)


class MovingAverageController(Restoring):
    """The grid sees the mean of the site's power over the last window; the battery carries the rest."""

    kind: Literal["moving_average"]
    window_s: float = key("a multiple of dt_s", unit="s", gt=0, le=1e5)


class ExpandingMeanController(Restoring):
    """The grid sees the mean of the site's power since the start; the battery carries the rest."""

    kind: Literal["expanding_mean"]


class DroopController(Restoring):
    """The battery answers to the frequency of its area, in proportion beyond a dead-band."""

    kind: Literal["droop"]
    droop_pu: float = key("pu frequency per pu of the battery's power", unit="pu", gt=0, le=10)
    deadband_pu: float = key("of the frequency deviation", 0.0, unit="pu", ge=0, lt=0.1, source=IDEAL)


class VirtualInertiaController(Restoring):
    """The battery answers to the rate of change of its area's frequency."""

    kind: Literal["virtual_inertia"]
    inertia_s: float = key("virtual H, on the battery's power", unit="s", gt=0, le=1e3)
    filter_s: float = key(
        "lag of the derivative", 0.05, unit="s", gt=0, le=10, source="phase-locked loops of 5 to 30 Hz [M]"
    )


class NeuralController(Restoring):
    """A small network on load, frequency and state of charge, to add to others. Untrained it orders nothing."""

    kind: Literal["neural"]
    seed: int = key("of its first layers", 0, ge=0, lt=2**31, source=PROGRAM)
    average_s: float = key(
        "over which the load is averaged for its features; ten times that for the slow one",
        1.0,
        unit="s",
        gt=0,
        le=1e4,
        source=PROGRAM,
    )
    last: tuple[float, ...] = key(
        "weights of the last layer, 16; left out: zeros", (), strict=False, unit="1", source=PROGRAM
    )


class Band(Table):
    low_hz: float = key("lower edge", unit="Hz", gt=0, le=1e3)
    high_hz: float = key("upper edge", unit="Hz", gt=0, le=1e3)


class BandStopController(Restoring):
    """The grid sees the site's power without the named bands: of the energy in each, at most a twentieth."""

    kind: Literal["band_stop"]
    band: tuple[Band, ...] = key("bands to keep from the grid", min_length=1, max_length=8, strict=False)


class FeedForwardController(Restoring):
    """Knows the schedule of the site's training jobs: their nominal iteration, played from each start of one on."""

    kind: Literal["feed_forward"]
    lead_s: float | None = key(
        "how much earlier it plays; left out: delay_s and response_s of the main battery", None, unit="s", ge=0, le=100
    )
    cutoff_hz: float = key("corner of the low-pass for all that is not in the schedule", unit="Hz", gt=0, le=1e3)


class RepetitiveController(Restoring):
    """Learns what repeats itself with a period, and plays it a little earlier."""

    kind: Literal["repetitive"]
    period_s: float = key("what repeats does so after this time, a multiple of dt_s", unit="s", gt=0, le=1e4)
    learning_gain: float = key("share of the error learned in each period", 0.3, unit="1", gt=0, le=1, source=PROGRAM)
    lead_s: float | None = key(
        "how much earlier it plays; left out: delay_s and response_s of the main battery", None, unit="s", ge=0, le=100
    )
    cutoff_hz: float = key("corner of the low-pass for all that does not repeat", unit="Hz", gt=0, le=1e3)


class LqrController(Restoring):
    """State feedback on grid, battery and load, with gains from the plant as linearised. Each number below is the
    deviation that counts as much as all others at theirs (Bryson's rule)."""

    kind: Literal["lqr"]
    cutoff_hz: float = key("corner of the low-pass above which the load swings", unit="Hz", gt=0, le=1e3)
    grid_mw: float = key("swing of the power towards the grid", unit="MW", gt=0)
    deviation_hz: float = key("of the frequency of the site's area", 0.1, unit="Hz", gt=0, source=PROGRAM)
    soc: float = key("of the state of charge", 0.1, unit="1", gt=0, le=1, source=PROGRAM)
    order_mw: float = key("of the battery", unit="MW", gt=0)


class MpcController(Restoring):
    """Plans the grid's power over a receding horizon, with the load that repeats itself as forecast."""

    kind: Literal["mpc"]
    period_s: float = key("what repeats does so after this time, a multiple of dt_s", unit="s", gt=0, le=1e4)
    learning_gain: float = key("share of the error learned in each period", 0.3, unit="1", gt=0, le=1, source=PROGRAM)
    step_s: float = key("between two plans, a multiple of dt_s", unit="s", gt=0, le=1e3)
    steps: int = key("of the horizon", 20, ge=2, le=200, source=PROGRAM)
    iterations: int = key("of the solver in each plan", 50, ge=1, le=1000, source=PROGRAM)
    change_mw: float = key("change of the grid's power in a step that counts as 1", unit="MW", gt=0)
    energy_mwh: float = key("energy off its target that counts as 1", unit="MWh", gt=0)
    lead_s: float | None = key(
        "how much earlier it acts; left out: delay_s and response_s of the main battery", None, unit="s", ge=0, le=100
    )


Stage = Annotated[
    LowPassController
    | RampLimitController
    | MovingAverageController
    | ExpandingMeanController
    | DroopController
    | VirtualInertiaController
    | NeuralController
    | BandStopController
    | FeedForwardController
    | RepetitiveController
    | LqrController
    | MpcController,
    Field(discriminator="kind"),
]


class CompositeController(Table):
    """The orders of its stages add up. Of those that follow the load one at most: two would carry it twice."""

    kind: Literal["composite"]
    stage: tuple[Stage, ...] = key("controllers", min_length=1, strict=False)


Controller = Annotated[
    NoController
    | LowPassController
    | RampLimitController
    | MovingAverageController
    | ExpandingMeanController
    | DroopController
    | VirtualInertiaController
    | NeuralController
    | BandStopController
    | FeedForwardController
    | RepetitiveController
    | LqrController
    | MpcController
    | CompositeController,
    Field(discriminator="kind"),
]
FOLLOWERS = (
    LowPassController
    | RampLimitController
    | MovingAverageController
    | ExpandingMeanController
    | BandStopController
    | FeedForwardController
    | RepetitiveController
    | LqrController
    | MpcController
)


def stages_of(table: Controller) -> tuple[Stage, ...]:
    """The controllers that act."""
    match table:
        case NoController():
            return ()
        case CompositeController():
            return table.stage
    return (table,)
