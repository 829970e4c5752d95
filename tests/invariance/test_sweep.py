"""A sweep is the same emulation as a run, many at once."""

from __future__ import annotations

import numpy as np
import pytest
import xarray

from emulator import config, simulate
from emulator.complaint import ConfigError
from emulator.sweep import cases_of, render, sweep
from emulator.traces import sweeps
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


@pytest.fixture
def path(tmp_path):
    """Numbers, and a change of structure: two groups of four."""
    text = SWEEP.replace("\n    ", "\n").replace('"{', "{").replace('}"', "}")
    (tmp_path / "batch.toml").write_text(text)
    return str(tmp_path / "batch.toml")


def test_every_scenario_equals_its_run(path):
    """float32, other fusion: metrics to 1e-4 of their size, energies of a hundredth of a MWh included."""
    cases = cases_of(path)
    assert len(cases) == 8 and {case.seed for case in cases} == {3, 8}
    done = []
    results = sweep(cases, done.append)
    assert sorted(done) == [4, 4]
    for result in results:
        alone = simulate.run(result.case.scenario).metrics
        assert result.complete and list(result.metrics) == list(alone)
        for name, value in alone.items():
            assert result.metrics[name] == pytest.approx(value, rel=1e-4, abs=1e-6, nan_ok=True), name
    peaks = {result.metrics["site.campus.pcc_peak_mw"] for result in results}
    assert len(peaks) >= 6  # not one case eight times; the size of the battery does not bind everywhere


def test_what_is_written_opens_in_xarray(path, tmp_path):
    results = sweep(cases_of(path, ["run.duration_s=1.0"]))
    sweeps.write(tmp_path / "s.h5", results, config.to_toml(config.load(path)))
    with xarray.open_dataset(tmp_path / "s.h5", group="sweep", engine="h5netcdf") as data:
        assert data.sizes == {"scenario": 8}
        np.testing.assert_array_equal(data["site.campus.bess.power_mw"], [0.1] * 4 + [0.5] * 4)
        np.testing.assert_array_equal(data["seed"], [3, 8] * 4)
        assert data["site.campus.pcc_peak_mw"].attrs["units"] == "MW" and data["complete"].all()
    text = render(results)
    assert len(text.splitlines()) == 9 and "power_mw" in text


def test_a_collapse_ends_one_scenario_only(path):
    weak = "site.0.pcc={short_circuit_ratio=1.2, x_over_r=10.0, nominal_kv=10.0, rated_mw=0.5}"
    cases = cases_of(path, [weak, "run.duration_s=3.0", "sweep.seeds=1",
                                  "sweep.values={'site.0.job.train.devices'=[128, 512]}"])  # fmt: skip
    small, large = sweep(cases)
    assert small.complete and not large.complete and "voltage collapse at site campus" in large.stop_reason


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["sweep.seeds=0"], "makes no scenario"),
        (["sweep.values={'site.campus.bess.power'=[1.0]}"], "power"),
        (["sweep.values={'site.campus.bess.power_mw'=[1.0, -1.0]}"], "is -1.0, must be >= 0 MW"),
    ],
)
def test_bad_batches_are_refused(path, overrides, says):
    with pytest.raises(ConfigError, match=says):
        cases_of(path, overrides)


def test_a_batch_needs_its_table(tmp_path):
    (tmp_path / "c.toml").write_text(CAMPUS.replace("\n    ", "\n"))
    with pytest.raises(ConfigError, match="missing table: give .sweep."):
        cases_of(str(tmp_path / "c.toml"))
