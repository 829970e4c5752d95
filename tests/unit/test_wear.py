"""Rainflow counts and the fade they make, against the standard's example, closed forms and the differentiable sum."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.bess.ageing import cycle_fade
from emulator.bess_schema import Ageing
from emulator.wear import Wear
from tests.unit.synthetic import ONE_SITE

LFP = Ageing(cycles_at_full_depth=4000.0, depth_exponent=1.7, calendar_fade_per_year=0.01)
HEADER = replace(ONE_SITE, labels=ONE_SITE.labels | {"battery": ("campus/bess",)}, dt_s=1.0)
YEAR_S = 365.25 * 24 * 3600


def worn(soc, *cuts) -> dict[str, float]:
    wear = Wear(HEADER, {0: LFP})
    for part in np.split(np.asarray(soc, float)[:, None], cuts):
        wear.add(part)
    return wear.result()


def test_example_of_the_standard():
    """ASTM E1049-85, figure 6: half cycles of 3, 4, 8, 9, 8, 6, one whole of 4."""
    found = worn([-2, 1, -3, 5, -1, 3, -4, 4, -2])
    assert found["battery.campus.bess.full_cycles"] == 0.5 * (3 + 4 + 8 + 9 + 8 + 6) + 4


def test_fade_of_a_sine():
    """Ten cycles of 40 %, 1000 s each: closed form."""
    soc = 0.5 - 0.2 * np.cos(2 * np.pi * np.arange(10001) / 1000)
    found = worn(soc)
    assert found["battery.campus.bess.full_cycles"] == pytest.approx(4.0)
    fade = 0.2 * 10 * 0.4**1.7 / 4000 + 0.01 * 10001 / YEAR_S
    assert found["battery.campus.bess.capacity_fade"] == pytest.approx(fade, rel=1e-9)


@given(st.lists(st.integers(0, 6), min_size=0, max_size=40), st.lists(st.integers(0, 40), max_size=4))
def test_blocks_do_not_show(soc, cuts):
    whole, parts = worn(soc), worn(soc, *sorted(cuts))
    assert whole == parts


def test_none_without_rows_and_no_fade_without_ageing():
    wear = Wear(HEADER, {})
    assert np.isnan(wear.result()["battery.campus.bess.capacity_fade"])
    assert wear.result()["battery.campus.bess.full_cycles"] == 0.0


def in_loop(soc) -> float:
    return float(cycle_fade(jnp.asarray(soc), *(jnp.asarray(x) for x in (4000.0, 1.7, 0.2))))


def by_count(soc) -> float:
    cycles = worn(soc)["battery.campus.bess.capacity_fade"]
    return cycles - 0.01 * len(soc) / YEAR_S


def test_the_differentiable_sum_is_the_count_where_no_cycle_lies_in_another(x64):
    """Also with rests, a half cycle left over, and depths that grow; within one another it counts less, not more."""
    t = np.arange(4000)
    for soc in (0.5 + 0.3 * np.sin(t / 150), np.repeat([0.2, 0.9, 0.2, 0.2, 0.7], 5), 0.5 + t / 1e4 * np.sin(t / 100)):
        assert in_loop(soc) == pytest.approx(by_count(soc), rel=1e-9)
    nested = 0.5 + 0.3 * np.sin(t / 500) + 0.05 * np.sin(t / 20)
    assert 0.5 * by_count(nested) < in_loop(nested) < by_count(nested)


def test_gradient_of_the_sum(x64):
    rng = np.random.default_rng(0)
    soc = jnp.asarray(0.5 + np.cumsum(rng.normal(0, 0.01, 300)))
    numbers = tuple(jnp.asarray(x) for x in (4000.0, 1.7, 0.2))
    slope = jax.grad(cycle_fade)(soc, *numbers)
    way = jnp.asarray(rng.normal(size=300))
    ends = [float(cycle_fade(soc + side * 1e-7 * way, *numbers)) for side in (1, -1)]
    assert float(jnp.sum(slope * way)) == pytest.approx((ends[0] - ends[1]) / 2e-7, rel=1e-5)
    assert np.isfinite(jax.grad(cycle_fade)(jnp.full(10, 0.5), *numbers)).all()


def test_a_run_reports_it(emulate):
    """An hour of cycles of the demo's kind: the summary's numbers are those of the trace's own state of charge."""
    text = """
        [run]
        duration_s = 60.0
        dt_s = 0.01
        [[site]]
        name = "campus"
        [[site.job]]
        name = "base"
        kind = "constant"
        power_mw = 30.0
        [site.bess]
        power_mw = 20.0
        energy_mwh = 0.05
        ageing = {cycles_at_full_depth = 4000.0, depth_exponent = 1.7}
        [site.controller]
        kind = "low_pass"
        cutoff_hz = 0.05
        """
    steps = ", ".join(f"{{kind='load_step', at_s={5 + 7 * i}.0, site='campus', mw={10 * (-1) ** i}}}" for i in range(6))
    trace = emulate(text, f"disturbance=[{steps}]")
    table = Ageing(cycles_at_full_depth=4000.0, depth_exponent=1.7)
    wear = Wear(trace.header, {0: table})
    wear.add(trace.battery_soc)
    for key, value in wear.result().items():
        assert trace.metrics[key] == value > 0.0
