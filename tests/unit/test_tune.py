"""Tuning: known optima, slopes, resuming, bounds, held-out seeds, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import tomllib
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from emulator import (
    config,
    limits,
    limits_schema,
    simulate,
    tunables,
    tune_batch,
    tune_report,
    tune_result,
    tune_search,
)
from emulator.complaint import ConfigError
from emulator.struct import as_array
from emulator.sweep import judged
from emulator.trace import TraceError
from emulator.tune import TuningError, tune
from emulator.tune_batch import batch_of, measures
from emulator.tune_problem import task_of
from tests.compiling import QUICKLY

STEP_MW, MOST_MW_PER_MIN, OVER_S, DT_S = 20.0, 300.0, 0.5, 0.02

# A load that steps by 20 MW through a low-pass, the battery carrying the rest.
STEP = f"""
    [run]
    duration_s = 6.0
    dt_s = {DT_S}
    [[site]]
    name = "campus"
    [[site.job]]
    name = "base"
    kind = "constant"
    power_mw = 30.0
    [[site.job]]
    name = "step"
    kind = "constant"
    power_mw = {STEP_MW}
    start_s = 1.0
    [site.bess]
    power_mw = 60.0
    energy_mwh = 20.0
    [site.controller]
    kind = "low_pass"
    cutoff_hz = 1.0
    [tune]
    steps = 120
    starts = 2
    learning_rate = 0.1
    train_seeds = [0]
    held_out_seeds = [7]
    limits = "limits.toml"
    parameters = [{{path = "site.campus.controller.cutoff_hz", low = 0.01, high = 5.0}}]
    objective = [{{term = "throughput"}}]
"""
RAMP = f"""
[[limit]]
name = "ramp"
kind = "ramp_rate"
over_s = {OVER_S}
max_mw_per_min = {MOST_MW_PER_MIN}
source = "test"
status = "example"
"""


@pytest.fixture
def toy(scenario, tmp_path):
    """The step, with overrides."""
    (tmp_path / "limits.toml").write_text(RAMP)
    return lambda *overrides: scenario(STEP, *overrides)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """The step tuned once for several tests, and the folder of its scenario, results in `out`."""
    folder = tmp_path_factory.mktemp("tuned")
    (folder / "limits.toml").write_text(RAMP)
    (folder / "scenario.toml").write_text(textwrap.dedent(STEP))
    return tune(config.load(folder / "scenario.toml"), str(folder / "out")), folder


def searched(task, steps):
    """The last record of a search of so many steps and all values on the way, nothing judged."""
    places = tune_search.places_of(task)
    weights = jnp.tile(tune_search.weights_of(task), (len(places), 1))
    step = tune_search.step_of(task, 1.0, weights, jnp.zeros(len(places)))
    carry, scenarios, values = tune_search.start_of(task, places), batch_of(task, task.tune.train_seeds), []
    for _ in range(steps):
        carry, record = step(carry, scenarios)
        values.append(np.asarray(record.value))
    return record, np.stack(values)


def steepest(hz):
    """MW/min of the largest change over OVER_S. The grid's power t after the step is D (1 - exp(-a t)), a = 2 pi f, and
    rows are its means over ticks: the first lies at D (1 - m), m = (1 - exp(-a dt))/(a dt), half a tick's rise above
    the power before the step. So the largest change begins at that row, not at the one before: D m (1 - exp(-a T))."""
    turn = 2.0 * np.pi * hz * DT_S
    return STEP_MW * -np.expm1(-turn) / turn * -np.expm1(-2.0 * np.pi * hz * OVER_S) * 60.0 / OVER_S


def widest_corner_hz() -> float:
    """The corner at which the ramp is just allowed."""
    return brentq(lambda hz: steepest(hz) - MOST_MW_PER_MIN, 0.01, 5.0)


def test_known_optimum(tuned):
    """Throughput falls with the corner and the ramp rises: the optimum is the widest corner that the rule allows. The
    search aims AIM inside the rule, and the steps of Adam end as small as the cosine lets them: twice AIM is left."""
    found, folder = tuned
    corner_hz = found.parameters["site.campus.controller.cutoff_hz"]
    assert 0.0 <= 1.0 - steepest(corner_hz) / MOST_MW_PER_MIN < 2.0 * tune_search.AIM
    assert corner_hz == pytest.approx(widest_corner_hz(), rel=2.0 * tune_search.AIM)  # to first order steepest ~ f
    summary = json.loads((folder / "out" / "summary.json").read_text())
    assert summary["held_out"]["own_tick"]["verdict_before"] == "fail"
    assert summary["held_out"]["own_tick"]["verdict"] == "pass" and summary["limits"][0]["passed"] is True
    assert summary["objective_after"] > summary["objective_before"]  # throughput was less where the rule was broken
    assert summary["held_out_after"] == pytest.approx(summary["objective_after"])  # nothing is random here
    printed = {line.split()[0]: line.split()[-1] for line in tune_report.render(summary).splitlines()}
    assert (printed["bess_power"], printed["bess_energy"], printed["throughput"]) == ("MW", "MWh", "MW")
    assert printed["margin,"] == "MW/min"
    slope = summary["sensitivities"]["ramp"]["site.campus.controller.cutoff_hz"]
    difference = (steepest(corner_hz + 1e-6) - steepest(corner_hz - 1e-6)) / 2e-6
    # Single precision: rows of 50 MW to 3e-6 MW in a change of 2.5; the slopes of 25 ticks' steps add up likewise.
    assert slope == pytest.approx(-difference, rel=1e-5)


def test_result_is_a_controller_preset(tuned):
    found, folder = tuned
    about = tomllib.loads((folder / "out" / "tuned.toml").read_text())["about"]
    assert about["train_seeds"] == [0] and "objective_after" in about and about["parameters"]
    bare = STEP.replace('    kind = "low_pass"\n    cutoff_hz = 1.0\n', '    preset = "out/tuned.toml"\n')
    path = folder / "again.toml"
    path.write_text(bare.split("    [tune]")[0].replace("\n    ", "\n"))
    again = config.load(path)
    assert again.site[0].controller == found.scenario.site[0].controller
    assert config.load(folder / "out" / "tuned_scenario.toml").site == found.scenario.site
    path.write_text(path.read_text().replace("tuned.toml", "absent.toml"))
    with pytest.raises(ConfigError, match="site.0.controller.preset: no such file"):
        config.load(path)


def test_interrupted_and_resumed_to_the_same_bits(tuned, tmp_path):
    whole, folder = tuned
    scenario = config.load(folder / "scenario.toml")

    def ctrl_c(done):
        if done.steps == 6:
            raise KeyboardInterrupt

    partly = tune(scenario, tmp_path / "parts", progress=ctrl_c)
    assert not partly.complete and len(partly.history.columns["objective"]) == 6
    assert json.loads((tmp_path / "parts" / "summary.json").read_text())["complete"] is False
    assert (tmp_path / "parts" / "tuned.toml").exists()
    resumed = tune(scenario, tmp_path / "parts", resume=True)
    assert resumed.complete and resumed.parameters == whole.parameters
    for name, values in whole.history.columns.items():
        np.testing.assert_array_equal(resumed.history.columns[name], values, err_msg=name)
    for one, other in zip(resumed.history.state, whole.history.state, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(TraceError, match="another configuration"):
        tune(config.load(folder / "scenario.toml", ["tune.steps=15"]), tmp_path / "parts", resume=True)
    with pytest.raises(TraceError, match="nothing to resume"):
        tune(scenario, tmp_path / "nowhere", resume=True)
    (tmp_path / "file").touch()
    with pytest.raises(TraceError, match="cannot write .*file/history.h5: File exists"):
        tune(scenario, tmp_path / "file")


def test_rack_storage_is_tuned(x64, toy):
    """The step through a rack's storage too small for its part: throughput by its power against a central difference
    of 1e-6 of the value in float64, whose error is 1e-12 / 1e-6 of it."""
    store = "site.0.store=[{name='rack', power_mw=2.0, energy_mwh=0.01, crossover_hz=0.5}]"
    path = "{path='site.campus.store.rack.power_mw', low=1.0, high=9.0}"
    task = task_of(toy(store, f"tune.parameters=[{path}]"))
    scenarios = batch_of(task, task.tune.train_seeds)

    def total(x):
        return jnp.sum(measures(task, x, scenarios).cost[:, task.costs.index("throughput")])

    throughput, slope_of = (jax.jit(each, compiler_options=QUICKLY) for each in (total, jax.grad(total)))
    at = as_array(task.start)
    slope, step = np.asarray(slope_of(at)), 1e-6 * float(at[0])
    difference = float(throughput(at.at[0].add(step)) - throughput(at.at[0].add(-step))) / (2 * step)
    assert slope[0] == pytest.approx(difference, rel=1e-5) and abs(slope[0]) > 1e-6


def test_each_of_several_batteries_has_its_window(x64, toy, tmp_path):
    """The rack empties with the step, whose mean with the large battery hardly moves: searched, checked and judged."""
    store = "site.0.store=[{name='rack', power_mw=9.0, energy_mwh=0.005, crossover_hz=0.5}]"
    scenario = toy(store)
    (tmp_path / "limits.toml").write_text(table(("soc_window", "low = 0.45\nhigh = 0.9")))
    task, clauses = task_of(scenario), limits_schema.load(tmp_path / "limits.toml")
    room = measures(task, as_array(task.start), batch_of(task, task.tune.train_seeds)).room
    (finding,) = limits.assess(simulate.run(scenario), clauses).limits
    (checked,) = judged([scenario], clauses)[0].limits
    assert finding.where == checked.where == "campus/rack" and finding.passed is False
    assert float(room[0, 0]) == pytest.approx(finding.margin, abs=1e-9)
    assert checked.margin == pytest.approx(finding.margin, abs=1e-9)


def test_bounds_are_never_left(toy):
    task = task_of(toy("tune.starts=5"))
    for place in (-1e9, -80.0, -5.0, 0.0, 5.0, 80.0, 1e9):
        value = np.asarray(tune_search.bounded(task, jnp.full(1, place)), np.float64)
        assert (value >= np.float32(task.low)).all() and (value <= np.float32(task.high)).all()
    places = tune_search.places_of(task)
    first = np.asarray(tune_search.bounded(task, places[0]))
    np.testing.assert_allclose(first, task.start, rtol=1e-5)
    assert len({float(p) for p in places[:, 0]}) == 5
    _, wild = searched(task_of(toy("tune.starts=5", "tune.learning_rate=9.0", "tune.optimizer=sgd")), 6)
    assert (wild >= np.float32(0.01)).all() and (wild <= np.float32(5.0)).all() and np.ptp(wild) > 1.0


CAMPUS = """
    [run]
    duration_s = 4.0
    dt_s = 0.005
    [[site]]
    name = "campus"
    area = "main"
    [[site.job]]
    name = "train"
    kind = "training"
    accelerator = "h100"
    devices = 48
    [site.job.workload]
    [[site.job.workload.phase]]
    name = "compute"
    duration_s = 0.9
    level = 0.8
    noise = 0.02
    [[site.job.workload.phase]]
    name = "wait"
    duration_s = 0.4
    level = 0.2
    [site.job.smoothing]
    floor_fraction = 0.4
    ramp_up_w_per_s = 900.0
    ramp_down_w_per_s = 900.0
    stop_delay_s = 1.0
    [site.pcc]
    short_circuit_ratio = 5.0
    x_over_r = 10.0
    nominal_kv = 34.5
    rated_mw = 0.1
    [site.bess]
    power_mw = 0.02
    energy_mwh = 0.0005
    response_s = 0.05
    charge_efficiency = 0.9
    discharge_efficiency = 0.95
    ageing = {cycles_at_full_depth = 4000.0, depth_exponent = 1.5}
    [site.controller]
    kind = "low_pass"
    cutoff_hz = 0.3
    soc_gain = 0.4
    [grid]
    [[grid.area]]
    name = "main"
    rated_mva = 1.0
    inertia_s = 4.0
    [[grid.area]]
    name = "east"
    rated_mva = 1.0
    inertia_s = 4.0
    [[grid.tie]]
    between = ["main", "east"]
    synchronizing_mw_per_rad = 0.2
    [[grid.shaft]]
    name = "unit"
    area = "main"
    rated_mva = 1.0
    inertia_s = [1.0, 2.0]
    stiffness_pu = [1.0]
    damping_pu = [0.01, 0.01]
    generator_mass = 1
    coupling = 1.0
    [tune]
    train_seeds = [0, 1, 2]
    limits = "limits.toml"
    parameters = [
      {path = "site.bess.power_mw", low = 0.001, high = 1.0},
      {path = "site.bess.energy_mwh", low = 0.0001, high = 1.0},
      {path = "site.campus.controller.cutoff_hz", low = 0.01, high = 5.0},
      {path = "site.0.controller.soc_gain", low = 0.0, high = 3.0, scale = "linear"},
    ]
    objective = [
      {term = "losses"}, {term = "throughput", weight = 0.5}, {term = "fade", weight = 1e-3},
      {term = "smoothing_energy"},
    ]
    [tune.values]
    "site.bess.response_s" = [0.03, 0.08]
"""
FLOOR = (
    '{path = "site.0.job.train.smoothing.floor_fraction", low = 0.12, high = 0.6, scale = "linear"},'
    "\n    ]\n    objective"
)
CLAUSES = (
    ("sliding_window_change", "window_s = 0.5\nmax_mw = 0.01"),
    ("ramp_rate", "over_s = 0.3\nmax_mw_per_min = 1.0"),
    ("dynamic_range", "max_mw = 0.01"),
    ("band_energy", 'low_hz = 0.5\nhigh_hz = 2.0\nmax_fraction = 0.2\nreading = "variance"'),
    ("voltage_change", "max_pct = 0.1"),
    ("frequency_deviation", "max_hz = 0.01"),
    ("rocof", "over_s = 0.2\nmax_hz_per_s = 0.05"),
    ("soc_window", "low = 0.1\nhigh = 0.9"),
    ("tie_swing", "max_mw = 0.01"),
    ("shaft_torque", "max_pu = 0.1"),
)
FLICKER = ("flicker_pst", "lamp_v = 120\nfrequency_hz = 60.0\nmax_pst = 1.0")  # its proxy needs no ten minutes


def table(*clauses):
    head = '[[limit]]\nname = "{0}"\nsource = "test"\nstatus = "example"\nkind = "{0}"\n{1}\n'
    return "".join(head.format(*clause) for clause in clauses)


def campus(folder, *overrides, floor=False):
    """48 accelerators with smoothing, everything random; `floor` also tunes the floor."""
    (folder / "limits.toml").write_text(table(*CLAUSES, FLICKER))
    text = CAMPUS.replace("]\n    objective", FLOOR) if floor else CAMPUS
    (folder / "campus.toml").write_text(textwrap.dedent(text))
    return config.load(folder / "campus.toml", overrides)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """The task with the floor tuned; its measures, and the slopes of the first so many, costs before clauses and each
    summed over scenarios, as one compiled function of the parameters and that number, in float64."""
    with jax.enable_x64(True):
        task = task_of(campus(tmp_path_factory.mktemp("campus"), floor=True))
        scenarios = batch_of(task, task.tune.train_seeds)
        assert scenarios[0].jobs is None and task.groups[0].jobs_tuned

        def total(x):
            found = measures(task, x, scenarios)
            return jnp.concatenate([jnp.sum(found.cost, axis=0), jnp.sum(found.room, axis=0)]), found

        def measured(x, many):  # one after the other: a backward pass of all at once takes longer to compile
            whole, back, found = jax.vjp(total, x, has_aux=True)
            rows = jnp.zeros((len(whole), len(x)))
            return found, jax.lax.fori_loop(0, many, lambda i, at: at.at[i].set(back(jnp.eye(len(whole))[i])[0]), rows)

        return task, jax.jit(measured)


def test_slopes_of_every_measure(x64, everything):
    """Costs and clauses, summed over scenarios, by each parameter, the job's floor included; central differences of
    1e-6 of the value in float64, whose error is 1e-12 / 1e-6 of the measure and the kinks that a step crosses."""
    task, measured = everything

    def total(x):
        found, _ = measured(x, 0)
        return jnp.concatenate([jnp.sum(found.cost, axis=0), jnp.sum(found.room, axis=0)])

    at = as_array(task.start)
    slopes = np.asarray(measured(at, 6 + len(CLAUSES) + 1)[1])
    assert slopes.shape == (6 + len(CLAUSES) + 1, 5)
    for i in range(5):
        step = 1e-6 * float(at[i])
        difference = np.asarray((total(at.at[i].add(step)) - total(at.at[i].add(-step))) / (2 * step))
        scale = np.abs(difference).max()
        np.testing.assert_allclose(slopes[:, i], difference, rtol=2e-4, atol=2e-6 * scale, err_msg=task.names[i])
        assert scale > 0.0
    assert (np.abs(slopes).max(axis=1) > 0.0).all()  # every measure moves with something


def test_measures_are_those_of_a_run(x64, everything, tmp_path):
    """Power known beforehand or computed within is the same to rounding; two scenarios, of either variant, by
    themselves through `simulate` and the judge in NumPy."""
    within, measured = everything
    task = task_of(campus(tmp_path))
    scenarios = batch_of(task, task.tune.train_seeds)
    found, other = (
        jax.jit(lambda x: measures(task, x, scenarios))(as_array(task.start)),
        measured(as_array(within.start), 0)[0],
    )
    assert found.room.shape == (6, len(CLAUSES) + 1)  # filler of an odd number of scenarios left out
    np.testing.assert_allclose(other.room, found.room, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(other.cost, found.cost, rtol=1e-9, atol=1e-12)
    clauses = limits_schema.load(task.tune.limits)
    for i, (place, seed) in {1: (0, 1), 5: (1, 2)}.items():
        variant = task.groups[0].variants[place]
        trace = simulate.run(tunables.replaced(variant, ("run", "seed"), seed))
        for j, finding in enumerate(limits.assess(trace, clauses).limits[: len(CLAUSES)]):
            size = abs(finding.allowed)
            assert float(found.room[i, j]) == pytest.approx(finding.margin, rel=1e-3, abs=1e-3 * size), i
        cost = dict(zip(task.costs, map(float, found.cost[i]), strict=True))
        assert cost["throughput"] == pytest.approx(np.abs(trace.site_bess_power_mw).mean(), rel=1e-4)
        # Stored less drawn, from the first to the last row: what the battery lost on the way.
        energy_mwh = variant.site[0].bess.energy_mwh
        drawn = -trace.site_bess_power_mw[:-1].sum() * 0.005 / 3600.0
        lost = (drawn - (trace.bess_soc[-1, 0] - trace.bess_soc[0, 0]) * energy_mwh) * 3600.0 / (4.0 - 0.005)
        assert cost["losses"] == pytest.approx(lost, rel=1e-2, abs=1e-5)
        fade = trace.metrics["battery.campus.bess.capacity_fade"] * 365.25 * 24 * 3600 / 4.0
        # The count of the run finds cycles within others; at three iterations there are few, and small.
        assert cost["fade"] == pytest.approx(fade, rel=0.05) and fade > 0.0
        added = (trace.job_power_mw - trace.job_wanted_power_mw).mean()
        assert cost["smoothing_energy"] == pytest.approx(added, rel=1e-3) and added > 0.0


RANDOM = """
    [run]
    duration_s = 4.0
    dt_s = 0.02
    [[site]]
    name = "campus"
    [[site.job]]
    name = "train"
    kind = "training"
    accelerator = "h100"
    devices = 48
    workload = {phase = [
      {name = "compute", duration_s = 0.9, level = 0.8, noise = 0.02}, {name = "wait", duration_s = 0.4, level = 0.2}
    ]}
    [site.bess]
    power_mw = 0.02
    energy_mwh = 0.0005
    response_s = 0.05
    [site.controller]
    kind = "low_pass"
    cutoff_hz = 0.3
    soc_gain = 0.4
    [tune]
    steps = 3
    train_seeds = [0, 1, 2]
    limits = "limits.toml"
    parameters = [{path = "site.campus.controller.cutoff_hz", low = 0.01, high = 5.0}]
    objective = [{term = "throughput"}]
    [tune.values]
    "site.bess.response_s" = [0.05, 0.08]
"""


@pytest.fixture
def random(scenario, tmp_path):
    """A small site whose seeds differ, under one rule."""
    (tmp_path / "limits.toml").write_text(table(CLAUSES[0]))
    return lambda *overrides: scenario(RANDOM, *overrides)


def test_held_out_seeds_never_enter_training(random, monkeypatch):
    """Another held-out seed changes no bit of the search, and none is computed before it has ended."""
    asked = []
    genuine = tune_batch.batch_of
    for module in ("emulator.tune", "emulator.tune_result"):
        monkeypatch.setattr(
            sys.modules[module], "batch_of", lambda task, seeds: asked.append(tuple(seeds)) or genuine(task, seeds)
        )
    monkeypatch.setattr(tune_result, "HOPELESS", np.inf)  # the search itself, whatever it finds
    steps = []

    def stop(done):
        if done.steps == 2:
            raise KeyboardInterrupt

    one = tune(random("tune.held_out_seeds=[8]"), progress=lambda p: steps.append(len(asked)))
    other = tune(random("tune.held_out_seeds=[9]"), progress=stop)
    assert asked == [(0, 1, 2), (8,), (0, 1, 2)] and steps == [1, 1, 1]
    np.testing.assert_array_equal(one.history.columns["value"][:2], other.history.columns["value"])
    assert one.summary["held_out_after"] != one.summary["objective_after"]


def test_weights_make_a_clause_a_cost(toy):
    """Its excess then is traded: with a small weight the search leaves the rule broken."""
    terms = "tune.objective=[{term = 'throughput'}, {term = 'ramp_rate', weight = 0.01}]"
    record, values = searched(task_of(toy(terms, "tune.steps=60", "tune.starts=1")), 60)
    assert values[-1, 0, 0] > 2.0 * widest_corner_hz() and record.excess[0, 0] > 0.0


def test_worst_mean_and_conditional_value(toy):
    values = jnp.asarray([[1.0], [4.0], [2.0], [3.0]])
    for over, want in (("worst", 4.0), ("mean", 2.5), ("cvar", 3.5)):
        task = task_of(toy(f"tune.over={over}", "tune.cvar_share=0.5"))
        assert float(tune_search.over_scenarios(task, values)[0]) == want


def test_a_slope_that_is_no_number_is_named(random, monkeypatch):
    """A measure whose slope breaks down in one scenario of six."""
    task = task_of(random())
    seeds = batch_of(task, (0, 1, 2))
    ends = np.asarray(jax.jit(lambda x: measures(task, x, seeds))(as_array(task.start)).room[:, 0])
    order = np.argsort(ends)
    between = float(ends[order[:2]].mean())
    genuine = tune_batch.limit_terms.room

    def breaks(limit, values, row_s):  # the root's slope is infinite where nothing is left of it
        return jnp.sqrt(jnp.maximum(genuine(limit, values, row_s) - between, 0.0))

    monkeypatch.setattr(tune_batch.limit_terms, "room", breaks)
    monkeypatch.setattr(tune_result, "HOPELESS", np.inf)
    with pytest.raises(TuningError) as error:
        tune(random())
    place, seed = divmod(int(order[0]), 3)
    assert f"in seed {seed}, site.bess.response_s = {(0.05, 0.08)[place]}, at " in str(error.value)
    assert "step 1" in str(error.value) and "site.campus.controller.cutoff_hz" in str(error.value)


@pytest.mark.parametrize(
    "override, said",
    [
        ("tune.parameters.0.path=site.0.controller.cutof_hz", "nearest: cutoff_hz"),
        ("tune.parameters.0.path=site.north.bess.power_mw", "unknown key 'north'"),
        ("tune.parameters.0.path=site.0.bess.units", "whole number, static"),
        ("tune.parameters.0.path=run.dt_s", r"static: \[run\]"),
        ("tune.parameters.0.path=site.0.bess.delay_s", "tune.parameters.0"),
        ("tune.parameters.0.path=site.0.bess.ramp_mw_per_s", "left out of the config"),
        ("tune.parameters.0.path=site.0.job.base.power_mw", "given from outside"),
        ("tune.parameters.0.low=6.0", "the bounds are empty"),
        ("tune.parameters.0.low=-1.0", "above 0 on a log scale"),
        ("tune.parameters.0.high=0.5", "starts at 1, outside its bounds"),
        ("tune.parameters.0.high=2000.0", "cutoff_hz"),
        ("tune.train_seeds=[]", "at least 1"),
        ("tune.held_out_seeds=[0]", "also in train_seeds"),
        ("tune.values={'site.0.bess.power_mw' = []}", "no scenario is left"),
        ("tune.limits=frequencies", "tune.limits: frequencies: no such file, and no limits preset"),
        ("tune.limits=nerc_screening", "the scenario has no frequency"),
        ("tune.limits=ercot_ride_through", "load_return counts time"),
        ("tune.optimizer=adm", "nearest: adam"),
        ("tune.objective=[{term = 'rocof'}]", "no clause of that kind"),
        ("tune.objective=[{term = 'losess'}]", "nearest: losses"),
        ("tune.objective=[{term = 'fade'}]", "'fade' needs .site.bess.ageing., and one battery a site"),
        (
            (
                "site.0.controller={kind='lqr', cutoff_hz=0.1, grid_mw=1.0, order_mw=1.0}",
                "tune.parameters=[{path='site.0.bess.energy_mwh', low=1.0, high=30.0}]",
            ),
            "designed for each plant anew",
        ),
        ("tune.dt_s=0.1", "0.05 s or less"),
        ("tune.dt_s=0.007", "no multiple"),
    ],
)
def test_bad_input_in_words(toy, override, said):
    with pytest.raises(ConfigError, match=said):
        tune(toy(*([override] if isinstance(override, str) else override)))


def test_a_start_left_out_must_leave_enough(toy, tmp_path):
    (tmp_path / "limits.toml").write_text(RAMP + "skip_s = 5.9\n")
    with pytest.raises(ConfigError, match=r"is 6 s; clause 'ramp' looks at .* after the 5.9 s that it skips"):
        tune(toy())


def test_a_schedule_is_tuned_around_but_not_through(random):
    """Sizes and gains by gradient while iterations begin as in a run; what the job draws is the schedule's own."""
    known = ("site.0.controller={kind='feed_forward', cutoff_hz=0.3, soc_gain=0.4}", "tune.values={}")
    level = "{path='site.0.job.train.workload.phase.compute.level', low=0.5, high=0.9}"
    with pytest.raises(ConfigError, match="schedule that 'feed_forward' plays would change"):
        task_of(random(*known, f"tune.parameters=[{level}]"))
    task = task_of(random(*known))
    seeds = batch_of(task, (0, 5))
    found = jax.jit(lambda x: measures(task, x, seeds))(as_array(task.start))
    runs = [tunables.replaced(task.groups[0].variants[0], ("run", "seed"), seed) for seed in (0, 5)]
    clauses = limits_schema.load(task.tune.limits)  # the plan is the same whatever the seed
    assert [one.limits[0].margin for one in judged(runs, clauses)] == pytest.approx(
        list(map(float, found.room[:, 0])), rel=1e-3
    )


def test_limits_out_of_reach_are_said_before_the_search(toy, tmp_path, scenario):
    high = "tune.parameters=[{path = 'site.0.controller.cutoff_hz', low = 0.06, high = 5.0}]"
    warned = []

    def stop(_):
        raise KeyboardInterrupt

    near = tune(toy(high, "tune.steps=1"), warn=warned.append, progress=stop)
    assert len(warned) == 1 and "exceeded by at least" in warned[0] and near.summary["warnings"] == warned
    with pytest.raises(ConfigError, match="widen the bounds"):
        tune(toy(high.replace("0.06", "0.9"), "tune.steps=1"))


def test_front(toy):
    """Of power, energy and margin, for a low-pass of 0.04 Hz: margins are those of the closed form, no point is better
    than another in all three, and the least power is the step less what the rule allows at once."""
    sizes = ", ".join(f"{{path = 'site.0.bess.{k}', low = 1.0, high = 80.0}}" for k in ("power_mw", "energy_mwh"))
    found = tune(toy(f"tune.parameters=[{sizes}]", "site.0.controller.cutoff_hz=0.04", "tune.steps=60"), pareto=2)
    front = found.summary["pareto"]
    assert found.history.columns["value"].shape == (60, 6, 2) and front
    points = np.array([[p["bess_power_mw"], p["bess_energy_mwh"], -p["worst_margin"]] for p in front])
    for i, point in enumerate(points):
        others = np.delete(points, i, axis=0)
        assert not ((others <= point).all(axis=1) & (others < point).any(axis=1)).any()

    def margin(power_mw):
        """What the battery cannot carry comes at once, and stays until the filter has come as far: 20 MW over 5 s are
        0.03 MWh, no energy within the bounds is used up."""
        at_once = (STEP_MW - power_mw) * 60.0 / OVER_S
        return 1.0 - max(at_once, steepest(0.04)) / MOST_MW_PER_MIN

    flat = [p for p in points if not 20.0 * np.exp(-2.0 * np.pi * 0.04 * OVER_S) < p[0] < 20.0]  # between them: both
    assert len(flat) > 3
    for power_mw, _, negative in flat:
        assert -negative == pytest.approx(margin(power_mw), rel=1e-4, abs=1e-4)
    least = min(p[0] for p in points if p[2] <= 0.0)
    assert 17.5 <= least < 17.5 * 1.05  # STEP_MW - 2.5 MW; 60 steps from 60 MW come so near


def test_memory_stays_bounded(random):
    """A step over 64 scenarios of 120 s at 5 ms as compiled, nothing run: beside the program it holds 16 numbers a tick
    and scenario, of what jobs draw, of what clauses look at, and of their slopes. Without rematerialisation by chunks
    the plant's state in every tick comes on top, and it is 29."""
    ticks = ("run.duration_s=120.0", "run.dt_s=0.005")
    task = task_of(random("tune.values={}", "tune.train_seeds=[0, 1]", *ticks))
    (two,) = batch_of(task, task.tune.train_seeds)
    many = jax.tree.map(lambda x: jax.ShapeDtypeStruct((64, *x.shape[1:]), x.dtype, sharding=x.sharding), two)
    step = tune_search.step_of(task, 1.0, jnp.ones((1, 1)), jnp.zeros(1))
    used = step.lower(tune_search.start_of(task, tune_search.places_of(task)), (replace(many, count=64),)).compile()
    memory = used.memory_analysis()
    held = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
    assert 1 < held * jax.device_count() / (64 * 24_000 * 4) < 20


def test_command(tuned, tmp_path):
    """In another process, which finds compiled what the first has compiled."""
    _, folder = tuned
    (tmp_path / "wattswing").symlink_to(Path(__file__).parents[2] / ".jax_cache")
    (folder / "o").symlink_to("kept")
    command = [sys.executable, "-m", "emulator", "tune", "scenario.toml", "--out", "o"]
    here = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=folder, env=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "120 steps" in done.stdout and {p.name for p in (folder / "kept").iterdir()} == {
        "tuned.toml",
        "tuned_scenario.toml",
        "history.h5",
        "summary.json",
        "tune.png",
    }
