"""Fatigue of shafts against closed forms, and that leaving out small cycles leaves the large ones as they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from emulator import shaft_fatigue
from emulator.cycles import Reversals, counted, without_small
from emulator.shaft_fatigue import Strength

CURVE = Strength(endurance_pu=0.1, cycles=1e6, exponent=5.0, source="made")
YEAR_S = 365.25 * 24 * 3600


def sine(amplitude: float, cycles: int) -> np.ndarray:
    """400 rows a cycle, which hold its peaks; from peak to peak."""
    return amplitude * np.cos(2.0 * np.pi * np.arange(400 * cycles + 1) / 400)


def test_miners_sum_of_a_sine():
    """50 cycles of 0.3 pu cost 3^5 times as much as at the endurance limit, each."""
    found = shaft_fatigue.of_torque(sine(0.3, 50), 10.0, CURVE)
    assert found.cycles_beyond_endurance == pytest.approx(50.0)
    assert found.damage == pytest.approx(50 * 3.0**5 / 1e6)
    assert found.damage_per_year == pytest.approx(50 * 3.0**5 / 1e6 * YEAR_S / 10.0)


def test_example_of_the_standard():
    """ASTM E1049-85, figure 6, in tenths of a pu: half cycles of 3, 4, 8, 9, 8, 6, one whole of 4; halves of these are
    amplitudes, the first of them 1.5 times the endurance limit."""
    found = shaft_fatigue.of_torque(0.1 * np.array([-2, 1, -3, 5, -1, 3, -4, 4, -2]), 1.0, CURVE)
    over = 0.5 * (1.5**5 + 2**5 + 4**5 + 4.5**5 + 4**5 + 3**5) + 2**5
    assert found.cycles_beyond_endurance == 4.0 and found.damage == pytest.approx(over / 1e6, rel=1e-12)


@pytest.mark.parametrize(("amplitude", "harmful"), [(0.0999, 0.0), (0.1001, 10.0)])
def test_nothing_below_the_endurance_limit(amplitude, harmful):
    assert shaft_fatigue.of_torque(sine(amplitude, 10), 1.0, CURVE).cycles_beyond_endurance == harmful
    assert shaft_fatigue.of_torque(np.zeros(100), 1.0, CURVE) == shaft_fatigue.Fatigue(0.0, 0.0, 0.0)


def test_a_record_that_never_turns_is_half_a_cycle():
    found = shaft_fatigue.of_torque(np.linspace(0.0, 0.4, 50), 1.0, CURVE)
    assert found.cycles_beyond_endurance == 0.5 and found.damage == pytest.approx(0.5 * 2.0**5 / 1e6)


@example([0, -1, 0, -2], 2)  # leaves two reversals
@given(st.lists(st.integers(-9, 9), min_size=2, max_size=300), st.integers(1, 12))
def test_large_cycles_stay_when_small_ones_go(values, least):
    reversals = Reversals()
    reversals.add(np.array(values, float))
    whole = reversals.all()
    fewer = without_small(whole, least)
    assert np.isin(fewer, whole).all() and len(fewer) <= len(whole)

    def large(turns):
        size, count = counted(turns)
        return sorted(zip(size[size >= least], count[size >= least], strict=True))

    def by_size(turns):
        sums: dict[float, float] = {}
        for size, count in large(turns):
            sums[size] = sums.get(size, 0.0) + count
        return sums

    assert by_size(fewer) == by_size(whole)


def test_noise_goes_in_a_few_passes():
    """A slow swing with noise on it, a million rows: next to nothing is left to count one by one."""
    rng = np.random.default_rng(0)
    torque = sine(0.3, 2500) + rng.normal(0.0, 0.01, 400 * 2500 + 1)
    reversals = Reversals()
    reversals.add(torque)
    fewer = without_small(reversals.all(), 0.2)
    assert len(reversals.all()) > 500_000 and len(fewer) < 20_000
    assert shaft_fatigue.of_torque(torque, 1.0, CURVE).cycles_beyond_endurance == pytest.approx(2500.0, abs=1.0)
