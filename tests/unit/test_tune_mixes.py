"""Tuning over scenarios of different structure: each group by itself, put together by hand, is the search's own."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emulator import limits_schema, tunables, tune_result, tune_search
from emulator.complaint import ConfigError
from emulator.config import load
from emulator.struct import as_array
from emulator.sweep import judged
from emulator.toml_text import to_toml
from emulator.tune_batch import batch_of, measures
from emulator.tune_problem import task_of
from tests.compiling import QUICKLY

# One large job, or a smaller one beside a constant load: other sizes, another number of jobs.
JOBS = [
    """[{name = "pretrain", kind = "training", accelerator = "h100", devices = 4096, workload = {phase = [
        {name = "compute", duration_s = 1.1, level = 0.8, noise = 0.02}, {name = "wait", duration_s = 0.6, level = 0.3}
    ]}}]""",
    """[{name = "fixed", kind = "constant", power_mw = 2.0},
        {name = "small", kind = "training", accelerator = "a100", devices = 2048, workload = {phase = [
        {name = "compute", duration_s = 0.7, level = 0.8, noise = 0.02}, {name = "wait", duration_s = 0.5, level = 0.3}
    ]}}]""",
]
CAMPUS = """
    [run]
    duration_s = 4.0
    dt_s = 0.02
    [[site]]
    name = "campus"
    job = JOB
    [site.bess]
    power_mw = 2.0
    energy_mwh = 0.004
    [site.controller]
    kind = "low_pass"
    cutoff_hz = 0.3
    soc_gain = 0.2
    [tune]
    steps = 2
    train_seeds = [0, 1, 2]
    held_out_seeds = [7, 8]
    limits = "limits.toml"
    parameters = [
      {path = "site.campus.controller.cutoff_hz", low = 0.01, high = 5.0},
      {path = "site.bess.energy_mwh", low = 0.002, high = 1.0},
    ]
    objective = [{term = "throughput"}, {term = "bess_energy", weight = 20.0}, {term = "dynamic_range", weight = 0.1}]
"""
LIMITS = "".join(
    f'[[limit]]\nname = "{kind}"\nkind = "{kind}"\nsource = "test"\nstatus = "example"\n{rest}\n'
    for kind, rest in (
        ("ramp_rate", "over_s = 0.3\nmax_mw_per_min = 100.0"),
        ("dynamic_range", "max_mw = 1.0"),
        ("soc_window", "low = 0.2\nhigh = 0.8"),
    )
)
WEIGHTS, CVAR_SHARE = {"throughput": 1.0, "bess_energy": 20.0}, 0.4


@pytest.fixture
def campus(scenario, tmp_path):
    """With the first jobs, the second, or both as values."""
    (tmp_path / "limits.toml").write_text(LIMITS)
    mixes = f'\n[tune.values]\n"site.campus.job" = [{", ".join(JOBS)}]\n'
    return lambda which, *overrides: scenario(
        CAMPUS.replace("JOB", JOBS[which or 0]).replace("\n    ", "\n") + (mixes if which is None else ""), *overrides
    )


def over(how, values, slopes):
    """(scenarios,) values and (scenarios, parameters) slopes over scenarios, with those of the ones that count."""
    share = {"worst": 1, "mean": len(values), "cvar": round(CVAR_SHARE * len(values))}[how]
    counts = np.argsort(values)[-share:]
    return values[counts].mean(), slopes[counts].mean(axis=0)


def test_two_mixes_are_each_alone_put_together(x64, campus):
    """Objective, excess and their slopes, over the worst, the mean and the mean of the worst two of six: those of two
    tasks of one mix each, combined in NumPy. In float64, to the rounding of sums in another order (1e-12)."""
    both = task_of(campus(None, f"tune.cvar_share={CVAR_SHARE}"))
    assert [len(group.variants[0].site[0].job) for group in both.groups] == [1, 2]
    scenarios, at = batch_of(both, both.tune.train_seeds), as_array(both.start)
    ways = {how: replace(both, tune=both.tune.model_copy(update={"over": how})) for how in ("worst", "mean", "cvar")}

    def wanted(x):
        found = measures(both, x, scenarios)
        each = [
            (tune_search.objective(task, found, tune_search.weights_of(task)), tune_search.excess_of(task, found))
            for task in ways.values()
        ]
        whole = jnp.stack([jnp.concatenate([worth[None], excess]) for worth, excess in each])
        return whole, whole

    slopes, values = jax.jit(jax.jacrev(wanted, has_aux=True), compiler_options=QUICKLY)(at)
    tasks = [task_of(campus(which)) for which in (0, 1)]
    batches = [batch_of(task, task.tune.train_seeds) for task in tasks]

    def separate(x):
        found = [measures(task, x, batch) for task, batch in zip(tasks, batches, strict=True)]
        whole = jnp.concatenate([jnp.concatenate([each.cost, each.room], axis=1) for each in found])
        return whole, whole

    d_alone, alone = map(np.asarray, jax.jit(jax.jacrev(separate, has_aux=True), compiler_options=QUICKLY)(at))
    costs, allowed = list(both.costs), np.array([clause.scale for clause in both.clauses])
    excess, d_excess = -alone[:, len(costs) :] / allowed, -d_alone[:, len(costs) :] / allowed[:, None]
    terms = [(weight, alone[:, costs.index(k)], d_alone[:, costs.index(k)]) for k, weight in WEIGHTS.items()]
    hinge = excess[:, 1] > 0.0
    terms.append((0.1, hinge * excess[:, 1], hinge[:, None] * d_excess[:, 1]))
    assert 0 < hinge.sum() < 6 and (np.abs(d_alone).max(axis=(0, 2))[2:] > 0.0).all()
    for i, how in enumerate(ways):
        parts = [(weight, *over(how, *rest)) for weight, *rest in terms]
        assert float(values[i, 0]) == pytest.approx(sum(weight * value for weight, value, _ in parts), rel=1e-12)
        slope = sum(weight * slope for weight, _, slope in parts)
        np.testing.assert_allclose(slopes[i, 0], slope, rtol=1e-10, atol=1e-12, err_msg=how)
        for clause in range(len(allowed)):
            value, slope = over(how, excess[:, clause], d_excess[:, clause])
            assert float(values[i, 1 + clause]) == pytest.approx(value, rel=1e-12)
            np.testing.assert_allclose(slopes[i, 1 + clause], slope, rtol=1e-10, atol=1e-12, err_msg=how)


def test_both_mixes_are_held_out_too(campus):
    """Judged as two configurations of one mix each are, on the same seeds and under the same values."""
    whole = campus(None)
    task = task_of(whole)
    values = 1.3 * task.start
    evaluate = jax.jit(lambda x, scenarios: measures(task, x, scenarios))
    summary = tune_result.judged(whole, task, evaluate, values)
    clauses = limits_schema.load(whole.tune.limits)
    found = []
    for which in (0, 1):
        tuned = tunables.with_values(campus(which), dict(zip(task.paths, map(float, values), strict=True)))
        runs = [tunables.replaced(tuned, ("run", "seed"), seed) for seed in (7, 8)]
        found += judged(2 * runs, clauses)[:2]  # as many side by side as there: one program serves both
    assert summary["held_out"]["own_tick"]["scenarios"] == 4
    for i, limit in enumerate(summary["limits"]):
        margins = [one.limits[i].margin for one in found]
        assert limit["margin"] == min(margins)
        case = int(np.argmin(margins))
        assert limit["scenario"] == f"seed {7 + case % 2}, site.campus.job number {1 + case // 2}"


def test_mixes_are_written_and_read_again(campus, tmp_path):
    """Presets in them are resolved where they stand."""
    whole = campus(None)
    assert whole.tune.values["site.campus.job"][1][1]["accelerator"]["tdp_w"] == 400.0
    (tmp_path / "again.toml").write_text(to_toml(whole))
    assert load(tmp_path / "again.toml").tune == whole.tune


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("tune.values={'site.campus.job' = [[{name='a', kind='constant', power_mw=-1.0}]]}", "power_mw is -1.0"),
        ("tune.values={'site.0.job.0.workload' = ['palm', 'palm_540b_6144_tpu_v4']}", "no preset 'palm' among workl"),
        ("tune.values={'run.seed' = [1, 2]}", "seeds are given by train_seeds"),
        ("tune.values={'site.campus.controller' = [{kind='none'}, {kind='low_pass', cutoff_hz=1.0}]}", "cutoff_hz"),
    ],
)
def test_values_that_make_no_scenario(campus, override, said):
    with pytest.raises(ConfigError, match=said):
        task_of(campus(0, override))


def test_a_tuned_job_is_found_by_name_in_every_mix(campus):
    """At another place in another list; a mix that lacks it is refused."""
    other = JOBS[0].replace("[{name", '[{name = "fixed", kind = "constant", power_mw = 2.0}, {name', 1)
    level = "tune.parameters=[{path = 'site.campus.job.pretrain.workload.phase.compute.level', low = 0.5, high = 0.9}]"
    mixes = [
        f"tune.values={{'site.campus.job' = [{JOBS[0]}, {second}]}}".replace("\n", " ") for second in (other, JOBS[1])
    ]
    assert [group.paths[0][3] for group in task_of(campus(0, level, mixes[0])).groups] == [0, 1]
    with pytest.raises(ConfigError, match="no item 'pretrain', there are 2"):
        task_of(campus(0, level, mixes[1]))


def test_the_tail_of_an_odd_number_of_scenarios(campus):
    """Three on two devices: XLA aborted in the slope of a sort over an axis that is cut unevenly."""
    constant = "site.0.job=[{name='fixed', kind='constant', power_mw=2.0}]"
    terms = "tune.objective=[{term='bess_energy', weight=20.0}]"
    task = task_of(campus(0, constant, terms, "tune.over=cvar", "tune.cvar_share=0.67"))
    scenarios, weights = batch_of(task, task.tune.train_seeds), tune_search.weights_of(task)
    slope = jax.jit(jax.grad(lambda x: tune_search.objective(task, measures(task, x, scenarios), weights)))
    np.testing.assert_array_equal(slope(as_array(task.start)), [0.0, 20.0])
