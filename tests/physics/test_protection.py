"""Relays of the grid: frequency stages at set point and delay, restoration, ties that open, loss of synchronism."""

from __future__ import annotations

import numpy as np
import pytest

# No governor, no damping: frequency falls on a straight line, 60 x 100 / (2 x 5 x 1000) = 0.6 Hz/s.
LINE = """
    [run]
    duration_s = 4.0
    dt_s = 0.001
    [[grid.area]]
    name = "main"
    rated_mva = 1000.0
    inertia_s = 5.0
    load_mw = 800.0
    shedding = [
        {frequency_hz = 59.4003, share = 0.0625, delay_s = 0.2},
        {frequency_hz = 59.0, share = 0.0625, delay_s = 0.1},
    ]
    [[disturbance]]
    kind = "load_step"
    at_s = 0.5
    area = "main"
    mw = 100.0
"""


def times(trace, kind: str) -> list[float]:
    return [event.time_s for event in trace.events if event.kind == kind]


def test_stages_act_at_set_point_and_delay(x64, emulate):
    """59.4003 Hz between 1.499 and 1.5 s, seen at 1.5 s; 200 ticks later 50 MW go and half the slope. From 59.28 Hz at
    1.7 s on, 59.0 Hz is passed at 2.6333 s, seen at 2.634 s; 100 ticks later the rest goes. Rows hold positions as they
    are at the tick's start, one tick after the relay acts."""
    trace = emulate(LINE)
    assert times(trace, "load_shed") == pytest.approx([1.701, 2.735])
    shed = trace.reserve_shed_load_mw[:, 0]
    assert [float(shed[k]) for k in (1700, 1701, 2734, 2735)] == pytest.approx([0.0, 50.0, 50.0, 100.0])
    slope = np.diff(trace.area_frequency_hz[:, 0]) / 0.001
    for k, expected in ((1000, -0.6), (1699, -0.6), (1700, -0.3), (2733, -0.3), (2734, 0.0), (3500, 0.0)):
        assert slope[k] == pytest.approx(expected, abs=1e-9)


def test_a_dip_shorter_than_the_delay_sheds_nothing(emulate):
    """Below 59.4 Hz for 0.1 s only: the load step is taken back."""
    steps = (f"{{kind='load_step', area='main', at_s={at_s}, mw={mw}}}" for at_s, mw in ((0.5, 100.0), (1.55, -200.0)))
    trace = emulate(LINE, f"disturbance=[{', '.join(steps)}]", "run.duration_s=2.0")
    assert trace.area_frequency_hz.min() < 59.4 and not times(trace, "load_shed")


def test_load_comes_back(x64, emulate):
    """Restored 0.3 s after frequency has come back to 59.6 Hz."""
    stage = (
        "grid.area.0.shedding=[{frequency_hz=59.4003, share=0.25, delay_s=0.0, restore_hz=59.6, restore_delay_s=0.3}]"
    )
    trace = emulate(LINE, stage)
    shed, restored = times(trace, "load_shed")[0], times(trace, "load_restored")[0]
    f = trace.area_frequency_hz[:, 0]
    first_low = np.argmax(f <= 59.4003)
    first_back = first_low + np.argmax(f[first_low:] >= 59.6)
    # Rows show positions at the tick's start: one tick after the relay acts.
    assert shed == pytest.approx(0.001 * (first_low + 1)) and restored == pytest.approx(0.001 * (first_back + 301))


def test_over_frequency_sheds_generation(x64, emulate):
    """Load rejection: above 60.3 Hz for 0.1 s a fifth of the 800 MW of generation goes."""
    trace = emulate(
        LINE,
        "disturbance.0.mw=-200.0",
        "grid.area.0.shedding=[{frequency_hz=60.3, share=0.2, delay_s=0.1}]",
    )
    assert times(trace, "generation_shed") == pytest.approx([0.851], abs=0.0011)
    assert np.ptp(trace.area_mechanical_power_mw) == pytest.approx(160.0)


def test_shed_load_no_longer_answers_to_frequency(x64, emulate):
    """Of 800 MW that go with the square of frequency 50 MW are shed: 750 (f/60)^2 MW then stand against 700 MW. Time
    constant 2 H S/(n P) = 6.7 s: of less than 2 Hz e^-14 is left after 100 s, below 3e-6 Hz."""
    trace = emulate(
        LINE,
        "run.duration_s=100.0",
        "run.dt_s=0.01",
        "grid.area.0.load_frequency_exponent=2.0",
        "grid.area.0.shedding=[{frequency_hz=59.4003, share=0.0625, delay_s=0.2}]",
    )
    assert trace.area_frequency_hz[-1, 0] == pytest.approx(60.0 * np.sqrt(700.0 / 750.0), abs=3e-6)


TWO = """
    [run]
    duration_s = 10.0
    dt_s = 0.001
    [[grid.area]]
    name = "west"
    rated_mva = 1000.0
    inertia_s = 4.0
    damping_pu = 20.0
    interchange_mw = 100.0
    [[grid.area]]
    name = "east"
    rated_mva = 1000.0
    inertia_s = 4.0
    damping_pu = 20.0
    interchange_mw = -100.0
    [[grid.tie]]
    between = ["west", "east"]
    synchronizing_mw_per_rad = 300.0
    limit_mw = 150.0
    limit_delay_s = 0.5
    [[disturbance]]
    kind = "load_step"
    at_s = 1.0
    area = "east"
    mw = 180.0
"""


def test_an_overloaded_tie_opens(x64, emulate):
    trace = emulate(TWO)
    flow = trace.tie_power_mw[:, 0]
    over = np.abs(flow) > 150.0
    opened = times(trace, "tie_opened")[0]
    k = round(opened / 0.001)
    # Positions at the tick's start: over the limit in the 501 ticks before.
    assert over[k - 501 : k].all() and not flow[k:].any() and flow[k - 1] > 150.0
    assert times(trace, "tie_overloaded")[0] <= opened - 0.5
    # Alone, the areas settle at D dw = dP: the east lacks 180 and 100 MW, the west has 100 MW too many.
    last = trace.area_frequency_hz[-1] - 60.0
    assert last == pytest.approx([60 * 100 / 20e3, -60 * 280 / 20e3], rel=1e-4)


def test_loss_of_synchronism_is_reported(emulate):
    """700 MW more in the east than the tie can bring: the areas slip, the run goes on and says so."""
    trace = emulate(TWO, "grid.tie.0.limit_mw=1e6", "disturbance.0.mw=900.0", "run.duration_s=30.0")
    assert trace.complete and times(trace, "loss_of_synchronism")
    assert np.isfinite(trace.area_frequency_hz).all()
    assert not times(emulate(TWO, "grid.tie.0.limit_mw=1e6"), "loss_of_synchronism")
