"""A sweep judges as `assess` judges each of its runs, on the same rows, in bounded memory."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
import xarray

import emulator as em
from emulator import limits, limits_schema, side_by_side, simulate, toml_text
from emulator.account import Account
from emulator.recording import channels_of
from emulator.side_by_side import groups_of, parts_of
from emulator.sweep import Interrupted, sweep
from emulator.sweep_report import render, room, share, tally, tightest
from emulator.traces import sweeps
from tests.invariance.test_invariance import CAMPUS

module = importlib.import_module("emulator.sweep")  # whose name in the package is that of the function

BATCH = (
    CAMPUS.replace("\n    ", "\n")
    + """
[site.pcc]
short_circuit_ratio = 4.0
x_over_r = 10.0
nominal_kv = 10.0
rated_mw = 0.5
[sweep]
seeds = 2
[sweep.values]
"site.campus.pcc.short_circuit_ratio" = [4.0, 0.8]
"site.campus.bess.power_mw" = [0.1, 0.5]
"""
)
LIMITS = """
[[limit]]
name = "range"
kind = "dynamic_range"
max_mw = 0.26
[[limit]]
name = "range"
kind = "sliding_window_change"
window_s = 0.5
max_mw = 0.21
site = "campus"
[[limit]]
name = "frequency / nadir"
kind = "frequency_deviation"
max_hz = 0.5
[[limit]]
name = "voltage"
kind = "voltage_range"
low_pu = 0.9
high_pu = 1.1
[[limit]]
name = "charge"
kind = "soc_window"
low = 0.0
high = 0.9
[[limit]]
name = "flicker"
kind = "flicker_pst"
lamp_v = 120
frequency_hz = 60.0
max_pst = 0.8
"""
CASES, ROWS, ROW_BYTES = 8, 2000, 4 + 4 + 8 + 8  # power, voltage; charge, frequency: each of one place
AT_ONCE, WINDOW_ROWS = 3, 500  # side by side: three in parts of 3, and one that fills up for two devices


@pytest.fixture(scope="module", autouse=True)
def _short_windows():
    """Four of a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(side_by_side, "ROWS_AT_ONCE", (AT_ONCE + 1) * WINDOW_ROWS)
        patch.setattr(module, "KEPT_BYTES", AT_ONCE * ROWS * ROW_BYTES + 1)
        yield


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "batch.toml"
    path.write_text(BATCH)
    return em.cases_of(str(path), ["run.duration_s=2.0"])


@pytest.fixture(scope="module")
def clauses(tmp_path_factory):
    path = tmp_path_factory.mktemp("limits") / "limits.toml"
    path.write_text(LIMITS)
    return limits_schema.load(path)


@pytest.fixture(scope="module")
def swept(cases, clauses):
    """Results, what progress was told, and every row of each run as its account had them, as a trace in memory."""
    sinks, done, taken = {}, [], Account.take

    def take(account, first, *rest):
        block, events = taken(account, first, *rest)
        sinks.setdefault(account, simulate.Memory(account._header)).append(first, block, events)
        return block, events

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Account, "take", take)
        results = em.sweep(cases, done.append, limits=clauses)
    traces = {}
    for account, sink in sinks.items():
        sink.finish({}, account.stop_reason or simulate.END_OF_RUN, not account.stop_reason)
        traces[account._header.config] = sink.trace()
    return results, done, [traces[result.header.config] for result in results]


def test_every_scenario_is_judged_as_assess_judges_its_rows(swept, clauses):
    """Exactly: the same rows go to the same judge, all of them, in float32 as they came."""
    results, done, traces = swept
    assert done == [3, 3, 2] and len(results) == CASES
    for result, trace in zip(results, traces, strict=True):
        assert result.assessment.as_json() == em.assess(trace, clauses).as_json()
    ended = [result for result in results if result.complete]
    assert {result.case.values["site.campus.pcc.short_circuit_ratio"] for result in ended} == {4.0}
    assert all(result.assessment.span_s == 2.0 for result in ended)
    assert {result.assessment.limits[0].passed for result in ended} == {True, False}


def test_separate_runs_are_judged_alike(swept, clauses):
    """A healthy one and one that collapses, on rows that other fusion rounds differently: 2^-24 of 0.5 MW, a few."""
    for result in (swept[0][0], swept[0][-1]):
        alone = em.assess(em.run(result.case.scenario), clauses)
        assert (alone.complete, alone.stop_reason) == (result.complete, result.stop_reason)
        assert result.assessment.span_s == alone.span_s and result.assessment.verdict == alone.verdict
        for ours, theirs in zip(result.assessment.limits, alone.limits, strict=True):
            assert (ours.passed, ours.where, ours.reason) == (theirs.passed, theirs.where, theirs.reason)
            assert ours.margin == pytest.approx(theirs.margin, abs=2e-6, nan_ok=True)


def test_a_stopped_scenario_is_judged_up_to_there(swept):
    weak = swept[0][-1]
    assert "voltage collapse at site campus" in weak.stop_reason and not weak.complete
    assert weak.assessment.span_s < 2.0 and weak.assessment.verdict == "fail"
    assert "judged up to there" in limits.render(weak.assessment)


@pytest.mark.parametrize("most", [0, 2, 3, 5, 8, 100])
def test_parts_are_of_one_size_and_leave_nobody_out(cases, most):
    """Two devices: never less than two."""
    (group,) = groups_of([case.scenario for case in cases])
    parts = parts_of(group, most)
    assert [place for part in parts for place in part.places] == list(range(CASES))
    (size,) = {len(part.scenarios) for part in parts}
    assert size <= max(most, 2) and len(parts) == -(-CASES // max(most, 2))
    for part in parts:
        assert [its.run.seed for its in part.scenarios][: len(part.places)] == [cases[i].seed for i in part.places]
        assert part.scenarios[len(part.places) :] == part.scenarios[-1:] * (size - len(part.places))
        assert len(part.params) == len(part.records) == size


def test_only_what_clauses_look_at_is_kept(swept, cases, clauses):
    """And as many bytes of it as reckoned; float32 in memory for what a file has as float64, so no more than that."""
    channels = channels_of(limits.quantities(clauses))
    sink = simulate.Memory(swept[2][0].header, channels)
    whole = {name: getattr(swept[2][0], name) for name in (*channels, "job_power_mw")}
    sink.append(0, whole, [])
    kept = sum(values.nbytes for values in sink._blocks[0].values())
    assert set(sink._blocks[0]) == channels and 20 * ROWS <= kept <= ROW_BYTES * ROWS
    assert sink.trace().job_power_mw.shape == (ROWS, 0)
    (group,) = groups_of([case.scenario for case in cases])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "KEPT_BYTES", 4 * ROWS * ROW_BYTES)
        assert [len(part.places) for part in module._parts(group, channels)] == [4, 4]
        patch.setattr(module, "KEPT_BYTES", 4 * ROWS * ROW_BYTES - 1)
        assert [len(part.places) for part in module._parts(group, channels)] == [3, 3, 2]
        assert module._parts(group, ()) == [group]  # without limits nothing is kept


def test_columns_of_clauses_open_in_xarray(swept, cases, tmp_path):
    results = swept[0]
    sweeps.write(tmp_path / "s.h5", results, toml_text.to_toml(cases[0].scenario))
    with xarray.open_dataset(tmp_path / "s.h5", group="sweep", engine="h5netcdf") as data:
        found = [its.assessment.limits for its in results]
        np.testing.assert_array_equal(data["limit.range.margin"], [its[0].margin for its in found])
        np.testing.assert_array_equal(data["limit.range (2).measured"], [its[1].measured for its in found])
        assert (data["limit.range.allowed"] == 0.26).all()
        short = data["limit.range (2).verdict"].values == "not assessable"  # what is measured there proves nothing
        np.testing.assert_array_equal(np.isnan(data["limit.range (2).margin"]), short)
        assert short.any() and not short.all()
        units = {name: data[f"limit.{name}.margin"].attrs["units"] for name in ("range", "frequency | nadir", "charge")}
        assert units == {"range": "MW", "frequency | nadir": "Hz", "charge": "1"}
        assert data["limit.frequency | nadir.margin"].attrs["long_name"] == "room left: frequency / nadir"
        assert data["limit.flicker.margin"].isnull().all() and data["limit.flicker.measured"].isnull().all()
        assert set(data["limit.flicker.verdict"].values) == {"not assessable"}
        assert set(data["limit.range.verdict"].values) == {"pass", "fail"}
        assert list(data["verdict"].values) == [its.assessment.verdict for its in results]
        least = data["least_margin_share"].values
        np.testing.assert_array_equal(least, [share(tightest(its.assessment)) for its in results])
        assert set(data["least_margin_clause"].values) <= {finding.name for finding in found[0]}


def test_without_limits_nothing_is_judged(cases, tmp_path):
    """And the file has no columns of clauses."""
    results = sweep(cases[: AT_ONCE + 1])
    assert all(result.assessment is None for result in results) and not tally(results)
    assert "verdict" not in render(results)
    sweeps.write(tmp_path / "s.h5", results, "")
    with xarray.open_dataset(tmp_path / "s.h5", group="sweep", engine="h5netcdf") as data:
        assert not [name for name in data if "limit." in name or "margin" in name or "verdict" in name]


@pytest.mark.parametrize(
    ("takes", "spans_s"),
    [
        (8, {0: 1.5, 2: 1.0}),  # in the first part's third window, at its second scenario
        (16, {0: 2.0, 1: 2.0, 2: 2.0, 4: 0.042, 5: 0.036}),  # in the second part, of which two have collapsed
    ],
)
def test_ctrl_c_keeps_and_judges_what_there_is(cases, clauses, monkeypatch, takes, spans_s):
    """All but the scenario whose sums were being made."""
    taken, count = Account.take, []

    def take(account, *rest):
        count.append(account)
        if len(count) == takes:
            raise KeyboardInterrupt
        return taken(account, *rest)

    monkeypatch.setattr(Account, "take", take)
    with pytest.raises(Interrupted) as caught:
        sweep(cases, limits=clauses)
    found = {cases.index(result.case): result for result in caught.value.results}
    assert {place: its.assessment.span_s for place, its in found.items()} == pytest.approx(spans_s)
    for its in found.values():
        assert its.complete == its.assessment.complete == (its.assessment.span_s == 2.0)
        assert its.assessment.stop_reason == its.stop_reason


def test_ctrl_c_while_judging_keeps_the_others(cases, clauses, monkeypatch):
    judge, count = module.assess, []

    def assess(*args):
        count.append(args)
        if len(count) == 5:
            raise KeyboardInterrupt
        return judge(*args)

    monkeypatch.setattr(module, "assess", assess)
    with pytest.raises(Interrupted) as caught:
        sweep(cases, limits=clauses)
    assert [cases.index(result.case) for result in caught.value.results] == [0, 1, 2, 3]


def test_the_table_names_the_clause_with_the_least_room(swept):
    results = swept[0]
    lines = render(results).splitlines()
    assert lines[0].split("seed")[1].split() == [
        *("pcc_peak_mw", "pcc_swing_mw", "pcc_change_5s_mw", "soc_min", "soc_max"),
        *("verdict", "least", "margin", "of", "clause"),
    ]
    least = tightest(results[0].assessment)
    assert f"{room(least):.4g} {least.unit}  {least.name}" in lines[1]
    assert lines[-1].startswith("not assessable in 8 of 8 scenarios: flicker: a record of 2 s is too short: 600 s")
    assert tally(results) == "2 not assessable, 6 fail"
    stopped = SimpleNamespace(complete=False, assessment=SimpleNamespace(verdict="pass"))
    assert tally([stopped]) == "1 pass up to where they stopped"


def finding(name, margin, allowed, passed, kind="dynamic_range"):
    return SimpleNamespace(name=name, margin=margin, allowed=allowed, passed=passed, kind=kind)


@pytest.mark.parametrize(
    ("findings", "name", "least"),
    [
        ([finding("a", 2.0, 10.0, True), finding("b", 0.2, 0.5, True)], "a", 0.2),  # by what is allowed, not in units
        ([finding("a", 0.0, 1.0, True), finding("b", -0.01, 10.0, False)], "b", -0.001),
        ([finding("a", 0.1, 10.0, None), finding("b", 2.0, 10.0, True)], "b", 0.2),  # what proves nothing is no margin
        ([finding("a", -1e-6, 1.0, True), finding("b", 0.1, 10.0, True)], "a", 0.0),  # beyond by rounding: no room
        ([finding("a", 0.05, 0.0, True, "soc_window"), finding("b", 2.0, 10.0, True)], "a", 0.05),
    ],
)
def test_clauses_compare_by_what_they_allow(findings, name, least):
    found = tightest(SimpleNamespace(limits=findings))
    assert found.name == name and share(found) == pytest.approx(least)


def test_nothing_assessable_has_no_least_margin():
    assert tightest(SimpleNamespace(limits=[finding("a", 0.1, 10.0, None)])) is None


def test_names_of_clauses_stay_apart():
    names = ["a (2)", "a", "a", "a", "b/c", "b\x00"]
    assessment = SimpleNamespace(limits=[SimpleNamespace(name=name) for name in names])
    assert sweeps._names(assessment) == ["a (2)", "a", "a (3)", "a (4)", "b|c", "b?"]


def test_wrong_limits_are_refused_before_anything_runs(cases, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "groups_of", None)
    with pytest.raises(em.ConfigError, match="no limits preset of that name; nearest: ercot_draft"):
        em.sweep(cases, limits="ercot_drat")
    (tmp_path / "l.toml").write_text(LIMITS.replace("max_mw = 0.26", "max_mw = -1.0"))
    with pytest.raises(em.ConfigError, match=r"l.toml:5: limit.0.max_mw: is -1.0, must be"):
        em.sweep(cases, limits=tmp_path / "l.toml")
