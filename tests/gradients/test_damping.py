"""Damping of a swing between areas as a term of tuning: the modes' own figure, its slope, a search that raises it."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from emulator import modes_report
from emulator.struct import as_array
from emulator.tune import tune
from emulator.tune_batch import batch_of, measures
from emulator.tune_problem import task_of
from tests.compiling import QUICKLY

# Kundur-like areas, a site in the west whose battery answers to frequency.
TWO_AREAS = """
    [run]
    duration_s = 2.0
    dt_s = 0.005
    [[site]]
    name = "campus"
    area = "west"
    [[site.job]]
    name = "base"
    kind = "constant"
    power_mw = 60.0
    [site.bess]
    power_mw = 40.0
    energy_mwh = 20.0
    response_s = 0.02
    [site.controller]
    kind = "droop"
    droop_pu = 0.05
    [grid]
    preset = "kundur_0545"
    [tune]
    steps = 40
    learning_rate = 0.1
    train_seeds = [0]
    parameters = [{path = "site.campus.controller.droop_pu", low = 0.002, high = 0.5}]
    objective = [{term = "damping"}]
"""


def ratio_of(scenario):
    """Least damping ratio of the swings as `wattswing modes` finds it, in float64."""
    with jax.enable_x64(True):
        found = modes_report.analyse(scenario).modes.modes
    return min(mode.damping_ratio for mode in found if 0.1 <= mode.frequency_hz <= 2.0)


def test_damping_is_that_of_the_modes_and_has_a_slope(scenario, x64):
    """Central difference of 1e-5 of the value in float64: its error is 1e-10 of the curvature and 1e-15 / 1e-5 of
    rounding, times 1e3 for an eigenvalue that is 1 - 1e-3."""
    table = scenario(TWO_AREAS)
    task = task_of(table)
    scenarios, place = batch_of(task, (0,)), task.costs.index("damping")
    term = jax.jit(jax.value_and_grad(lambda x: measures(task, x, scenarios).cost[0, place]), compiler_options=QUICKLY)
    at = as_array(task.start)
    lack, slope = (float(x.squeeze()) for x in term(at))
    assert 1.0 - lack == pytest.approx(ratio_of(table), rel=1e-9)
    step = 1e-5 * float(at[0])
    difference = float(term(at + step)[0] - term(at - step)[0]) / (2.0 * step)
    assert slope == pytest.approx(difference, rel=1e-6) and slope > 0.0  # more droop, less damping


def test_a_search_raises_damping(scenario):
    """In single precision, whose error of 1e-6 in an eigenvalue is 6e-5 of a ratio at 0.5 Hz and 0.005 s."""
    table = scenario(TWO_AREAS)
    before = ratio_of(table)
    found = tune(table)
    assert found.summary["objective_before"] == pytest.approx(1.0 - before, abs=1e-4)
    after = ratio_of(found.scenario)
    assert found.summary["objective_after"] == pytest.approx(1.0 - after, abs=1e-4)
    assert after > before + 0.01
    assert np.isfinite(found.history.columns["gradient"]).all()
