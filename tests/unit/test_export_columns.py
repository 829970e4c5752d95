"""Columns of a trace: places, units, offset, and rows merged without aliases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emulator.trace import TraceError
from emulator.traces.columns import columns_of

from .synthetic import ONE_SITE, TWO_SITES, block, write

ROWS = 600


@pytest.fixture(scope="module")
def rows():
    return block(TWO_SITES, ROWS)


@pytest.fixture(scope="module")
def trace(tmp_path_factory, rows):
    return write(tmp_path_factory.mktemp("columns") / "t.h5", TWO_SITES, rows)


def read(columns, at_once=10_000) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    times, parts = zip(*columns.blocks(at_once), strict=True)
    values = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return np.concatenate(times), dict(zip(columns.names, values, strict=True))


def test_places_are_chosen_by_name(trace, rows):
    columns = columns_of(trace, ["job_power_mw[öst/c]", "bess_soc", "job_power_mw[west/a]"])
    assert columns.names == ["job_power_mw[öst/c]", "job_power_mw[west/a]", "bess_soc[west]", "bess_soc[öst]"]
    _, found = read(columns)
    np.testing.assert_array_equal(found["job_power_mw[öst/c]"], rows["job_power_mw"][:, 2])
    np.testing.assert_array_equal(found["job_power_mw[west/a]"], rows["job_power_mw"][:, 0])


@pytest.mark.parametrize(
    ("wishes", "says"),
    [
        ({"channels": ["site_pcc_power"]}, "no channel site_pcc_power; nearest is site_pcc_power_mw; all: .*bess_soc"),
        ({"channels": ["site_pcc_power_mw[wset]"]}, "has no site wset; nearest is west; all: west, öst"),
        ({"channels": ["bess_soc", "bess_soc[west]"]}, "bess_soc is asked for twice"),
        ({"channels": ["bess_soc[west"]}, r"no channel bess_soc\[west; nearest is bess_soc"),
        ({"every": 0}, "every 0"),
        ({"offset_s": float("nan")}, "must be a finite number"),
        ({"unit": "gw"}, "no unit gw; all: w, kw, mw, pu"),
        ({"unit": "pu"}, "gives no grid.base_mva"),
        ({"unit": "pu", "base_mva": 0.0}, "base 0 MVA: must be above 0"),
        ({"unit": "kw", "base_mva": 100.0}, "goes with the unit pu only"),
    ],
)
def test_wrong_wishes_are_refused_in_words(trace, wishes, says):
    with pytest.raises(TraceError, match=says):
        columns_of(trace, **wishes)


@pytest.mark.parametrize(
    ("unit", "base_mva", "names", "factor"),
    [
        ("w", None, ("site_pcc_power_w", "site_pcc_reactive_var"), 1e6),
        ("kw", None, ("site_pcc_power_kw", "site_pcc_reactive_kvar"), 1e3),
        ("mw", None, ("site_pcc_power_mw", "site_pcc_reactive_mvar"), 1.0),
        ("pu", 100.0, ("site_pcc_power_pu", "site_pcc_reactive_pu"), 0.01),
    ],
)
def test_units_of_powers_only(trace, rows, unit, base_mva, names, factor):
    """One rounding to the column's own type: 2^-24 of a float32."""
    asked = ["site_pcc_power_mw", "site_pcc_reactive_mvar", "area_frequency_hz"]
    _, found = read(columns_of(trace, asked, unit=unit, base_mva=base_mva))
    for name, channel in zip(names, asked, strict=False):
        values = found[f"{name}[öst]"]
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, factor * rows[channel][:, 1].astype(float), rtol=2.0**-24)
    np.testing.assert_array_equal(found["area_frequency_hz[w]"], rows["area_frequency_hz"][:, 0])


def test_per_unit_is_on_the_base_of_the_run(tmp_path):
    header = replace(ONE_SITE, config="[grid]\nbase_mva = 250.0\n")
    rows = block(header, 5)
    _, found = read(columns_of(write(tmp_path / "t.h5", header, rows), ["job_power_mw"], unit="pu"))
    np.testing.assert_allclose(found["job_power_pu[campus/pretrain]"], rows["job_power_mw"][:, 0] / 250, rtol=2.0**-23)


def test_the_offset_is_on_every_time(trace):
    time_s, _ = read(columns_of(trace, ["bess_soc"], every=100, offset_s=-1.5))
    assert time_s.tolist() == [i / 10 - 1.5 for i in range(6)]


@pytest.mark.parametrize("every", [7, 200, 600, 9999])
@pytest.mark.parametrize("at_once", [40, 8192])
def test_merged_powers_are_means(trace, rows, every, at_once):
    time_s, found = read(columns_of(trace, ["site_facility_power_mw"], every), at_once)
    starts = range(0, ROWS, every)
    means = [rows["site_facility_power_mw"][i : i + every, 1].astype(float).mean() for i in starts]
    assert time_s.tolist() == [i / 1000 for i in starts]
    # Float64 means, rounded to float32 once.
    assert np.array_equal(found["site_facility_power_mw[öst]"], np.float32(means))


@pytest.mark.parametrize("every", [2, 7, 200, 600, 9999])
@pytest.mark.parametrize("at_once", [20, 8192])
def test_merged_states_by_the_definition(trace, rows, every, at_once):
    """Hann weights about every start, the trace standing still before and after; 4 N products rounded to 2^-53."""
    _, found = read(columns_of(trace, ["area_frequency_hz"], every), at_once)
    values = rows["area_frequency_hz"][:, 1]
    lag = np.arange(-2 * every, 2 * every + 1)
    weights = 0.5 * (1 + np.cos(np.pi * lag / (2 * every))) / (2 * every)
    expected = [weights @ values[np.clip(i + lag, 0, ROWS - 1)] for i in range(0, ROWS, every)]
    np.testing.assert_allclose(found["area_frequency_hz[e]"], expected, rtol=4 * every * 2.0**-53 + 1e-14)


@pytest.mark.parametrize("cycles_per_row", [0.05, 0.25, 0.5, 0.7, 0.9, 1.0, 1.37, 1.5, 2.43])
def test_what_lies_above_half_the_new_rate_does_not_come_back_as_something_else(tmp_path, cycles_per_row):
    """A sine of so many cycles in a new row, N = 50. Picking every 50th value would keep all of it, as a slow swing.

    Means keep |sin(pi f T)/(N sin(pi f T/N))| of it, the Hann window the sum of its weights times cosines, as
    envelopes: no phase of the sine gives more, but for rounding to float32 and float64."""
    every, rows = 50, 20_000
    made = block(ONE_SITE, rows)
    swing = np.sin(2 * np.pi * cycles_per_row * np.arange(rows) / every + 0.3)
    made["site_pcc_power_mw"][:, 0] = made["area_frequency_hz"][:, 0] = swing
    path = write(tmp_path / "t.h5", ONE_SITE, made)
    _, found = read(columns_of(path, ["site_pcc_power_mw", "area_frequency_hz"], every))
    mean, state = (np.abs(values[2:-2]).max() for values in found.values())
    kept = np.abs(np.sin(np.pi * cycles_per_row) / (every * np.sin(np.pi * cycles_per_row / every)))
    assert mean <= kept + 2.0**-24
    lag = np.arange(-2 * every, 2 * every + 1)
    weights = 0.5 * (1 + np.cos(np.pi * lag / (2 * every))) / (2 * every)
    kept = np.abs(weights @ np.cos(2 * np.pi * cycles_per_row * lag / every))
    assert state <= kept + 1e-12
    if cycles_per_row >= 0.5:
        assert state < 0.027 and mean < 0.637
    else:  # no new row hits the crest: within what three and more rows a swing leave
        assert state > 0.7 * kept and mean > 0.6


def test_a_smoothed_step_does_not_overshoot(tmp_path):
    made = block(ONE_SITE, 1000)
    made["bess_soc"][:, 0] = np.where(np.arange(1000) < 437, 0.2, 0.9)
    _, found = read(columns_of(write(tmp_path / "t.h5", ONE_SITE, made), ["bess_soc"], 20))
    soc = found["bess_soc[campus]"]
    assert (soc[:19] == 0.2).all() and (soc[24:] == 0.9).all()  # two new rows to either side of 437 / 20, exactly
    assert (np.diff(soc) > -1e-12).all() and soc.min() == pytest.approx(0.2) and soc.max() == pytest.approx(0.9)
