"""A sweep is the same emulation as a run, many at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray

from emulator import config, side_by_side, simulate, toml_text
from emulator.account import Account
from emulator.complaint import ConfigError
from emulator.simulate import END_OF_RUN, header_of
from emulator.sweep import Interrupted, cases_of, sweep
from emulator.sweep_report import render
from emulator.traces import from_csv, sweeps
from tests.invariance.test_invariance import CAMPUS

SWEEP = (
    CAMPUS
    + """
    [sweep]
    seeds = [3, 8]
    [sweep.values]
    "site.campus.bess.power_mw" = [0.1, 0.5]
    "site.campus.controller" = ["{kind='low_pass', cutoff_hz=0.2}", "{kind='ramp_limit', ramp_mw_per_s=0.05}"]
"""
)
ROWS = 4 * 1000  # of a group at once: windows of a second


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Numbers, and a change of structure: two groups of four."""
    text = SWEEP.replace("\n    ", "\n").replace('"{', "{").replace('}"', "}")
    path = tmp_path_factory.mktemp("sweep") / "batch.toml"
    path.write_text(text)
    return str(path)


@pytest.fixture(scope="module")
def swept(path):
    """All cases in windows of a second, and what progress was told."""
    done = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(side_by_side, "ROWS_AT_ONCE", ROWS)
        return sweep(cases_of(path), done.append), done


def test_every_scenario_equals_its_run(swept):
    """float32, other fusion: metrics to 1e-4 of their size, energies of a hundredth of a MWh included."""
    results, done = swept
    assert len(results) == 8 and {result.case.seed for result in results} == {3, 8}
    assert sorted(done) == [4, 4]
    for result in results:
        alone = simulate.run(result.case.scenario).metrics
        assert result.complete and list(result.metrics) == list(alone)
        for name, value in alone.items():
            assert result.metrics[name] == pytest.approx(value, rel=1e-4, abs=1e-6, nan_ok=True), name
    peaks = {result.metrics["site.campus.pcc_peak_mw"] for result in results}
    assert len(peaks) >= 6  # not one case eight times; the size of the battery does not bind everywhere


def test_what_is_written_opens_in_xarray(path, swept, tmp_path):
    results, _ = swept
    sweeps.write(tmp_path / "s.h5", results, toml_text.to_toml(config.load(path)))
    with xarray.open_dataset(tmp_path / "s.h5", group="sweep", engine="h5netcdf") as data:
        assert data.sizes == {"scenario": 8}
        np.testing.assert_array_equal(data["site.campus.bess.power_mw"], [0.1] * 4 + [0.5] * 4)
        np.testing.assert_array_equal(data["seed"], [3, 8] * 4)
        assert data["site.campus.bess.power_mw"].attrs["units"] == "MW"
        assert data["site.campus.pcc_peak_mw"].attrs["units"] == "MW" and data["complete"].all()
    text = render(results)
    assert len(text.splitlines()) == 9 and "power_mw" in text


def test_a_collapse_ends_one_scenario_only(path):
    """Of two that run side by side."""
    weak = "site.0.pcc={short_circuit_ratio=4.0, x_over_r=10.0, nominal_kv=10.0, rated_mw=0.5}"
    cases = cases_of(path, [weak, "run.duration_s=3.0", "sweep.seeds=1",
                                  "sweep.values={'site.0.pcc.short_circuit_ratio'=[4.0, 0.8]}"])  # fmt: skip
    done = []
    strong, weak = sweep(cases, done.append)
    assert done == [2]
    assert strong.complete and not weak.complete and "voltage collapse at site campus" in weak.stop_reason


def test_ctrl_c_keeps_what_has_been_emulated(path, monkeypatch):
    """In the second group's last window, at its second case: the first group is whole; of the second, that case's sums
    may be half made, so it is left out, those before it have ended, those after it end where all were."""
    cases, taken = cases_of(path, ["run.duration_s=2.0"]), Account.take
    low_pass, ramp = [0, 1, 4, 5], [2, 3, 6, 7]
    monkeypatch.setattr(side_by_side, "ROWS_AT_ONCE", ROWS)

    def take(account, first, *rest):
        if first > 0 and account._header.config == header_of(cases[ramp[1]].scenario).config:
            raise KeyboardInterrupt
        return taken(account, first, *rest)

    monkeypatch.setattr(Account, "take", take)
    with pytest.raises(Interrupted) as caught:
        sweep(cases)
    ends = {cases.index(result.case): result.stop_reason for result in caught.value.results}
    assert ends == dict.fromkeys([*low_pass, ramp[0]], END_OF_RUN) | dict.fromkeys(ramp[2:], "interrupted at 1 s")
    cut = caught.value.results[-1]
    half = simulate.run(cases_of(path, ["run.duration_s=1.0"])[ramp[-1]].scenario).metrics
    assert not cut.complete
    assert cut.metrics["site.campus.pcc_energy_mwh"] == pytest.approx(half["site.campus.pcc_energy_mwh"], rel=1e-4)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["sweep.seeds=0"], "makes no scenario"),
        (["sweep.values={'site.campus.bess.power'=[1.0]}"], "--set: sweep.values: site.0.bess.power: unknown key"),
        (["sweep.values={'site.campus.bess.power_mw'=[1.0, -1.0]}"], "is -1.0, must be >= 0 MW"),
    ],
)
def test_bad_batches_are_refused(path, overrides, says):
    with pytest.raises(ConfigError, match=says):
        cases_of(path, overrides)


def test_a_bad_value_is_said_where_it_stands(path, tmp_path):
    text = Path(path).read_text().replace('power_mw" = [0.1, 0.5]', 'power_mw" = [0.1, -0.5]')
    (tmp_path / "batch.toml").write_text(text)
    line = text.splitlines().index("[sweep.values]") + 1
    with pytest.raises(ConfigError, match=rf"batch.toml:{line}: sweep.values: site.0.bess.power_mw: is -0.5, must be"):
        cases_of(str(tmp_path / "batch.toml"))


def test_a_replayed_file_is_read_once(tmp_path, monkeypatch):
    """For the checks of all cases, whatever their scale; and once more for all that are emulated: a file may change."""
    (tmp_path / "load.csv").write_text("t_s,p_mw\n0,1\n1,2\n2,1\n")
    job = '[{name = "r", kind = "replay", path = "load.csv"}]'
    values = '[sweep.values]\n"site.0.job.0.scale" = [1.0, 2.0]\n'
    (tmp_path / "c.toml").write_text(
        f'[run]\nduration_s = 2.0\n[[site]]\nname = "s"\njob = {job}\n[sweep]\nseeds = 2\n{values}'
    )
    calls, read = [], from_csv.read
    monkeypatch.setattr(from_csv, "read", lambda *args: calls.append(args) or read(*args))
    cases = cases_of(str(tmp_path / "c.toml"))
    assert len(cases) == 4 and len(calls) == 1
    (group,) = side_by_side.groups_of([case.scenario for case in cases])
    assert len(group.places) == 4 and len(calls) == 2
    power_w = [its["s", "r"].power_w for its in group.records]
    assert [values.tolist() for values in power_w] == [[1e6, 2e6, 1e6]] * 2 + [[2e6, 4e6, 2e6]] * 2
    assert power_w[0] is power_w[1] and power_w[2] is power_w[3]  # memory does not grow with seeds


def test_a_batch_needs_its_table(tmp_path):
    (tmp_path / "c.toml").write_text(CAMPUS.replace("\n    ", "\n"))
    with pytest.raises(ConfigError, match="missing table: give .sweep."):
        cases_of(str(tmp_path / "c.toml"))
