"""Streaming metrics against the whole array at once, and the one-screen summary."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator import power_metrics, simulate
from emulator.cluster import pauses
from emulator.frame import COUNTED
from emulator.metrics import JOB_COUNTS, JOB_TOTALS, JobTally, Summary, names, render, render_alarms, unit_of
from emulator.trace import AXES, Event, Header
from emulator.wear import Wear

from .synthetic import ONE_SITE, TWO_SITES, block

SECONDS = replace(TWO_SITES, dt_s=1.0)


def streamed(header: Header, rows: dict[str, np.ndarray], cuts: list[int]) -> dict[str, float]:
    """Metrics of rows that come in blocks, which end at the cuts."""
    summary, total = Summary(header), len(rows["bess_soc"])
    ends = sorted({cut for cut in cuts if cut < total} | {0, total})
    for start, stop in zip(ends, ends[1:], strict=False):
        part = {name: values[start:stop] for name, values in rows.items()}
        summary.update(part, start * header.every_ticks)
    return summary.result()


def largest_change(values: np.ndarray, row_ms: int) -> float:
    """By the definition: over all pairs of rows that start at most 5 s apart."""
    at = np.arange(len(values)) * row_ms
    near = np.abs(at[:, None] - at[None, :]) <= 5000
    return float(np.abs(values[:, None].astype(np.float64) - values[None, :])[near].max())


def rate(values: np.ndarray, row_ms: int, over_s: float) -> float:
    """As for a recording of any sampling."""
    return power_metrics.ramp(np.arange(len(values)) * row_ms / 1000, values.astype(np.float64), over_s).value


def at_once(header: Header, rows: dict[str, np.ndarray]) -> dict[str, float]:
    """All metrics from whole arrays, each as its name says."""
    row_ms, found = round(header.row_s * 1000), {}

    def mwh(values):
        return math.fsum(values.tolist()) * row_ms / 1000 / 3600

    for i, site in enumerate(header.labels["site"]):
        at = f"site.{site}."
        found[at + "it_energy_mwh"] = mwh(rows["site_it_power_mw"][:, i])
        for key, name in (("facility", "site_facility_power_mw"), ("pcc", "site_pcc_power_mw")):
            power = rows[name][:, i]
            found[at + key + "_energy_mwh"] = mwh(power)
            found[at + key + "_mean_mw"] = math.fsum(power.tolist()) / len(power)
            found[at + key + "_peak_mw"] = float(power.max())
            found[at + key + "_swing_mw"] = float(power.max()) - float(power.min())
            found |= {f"{at}{key}_ramp_{s:g}s_mw_per_s": rate(power, row_ms, s) for s in (1, 5, 60)}
            found[at + key + "_change_5s_mw"] = largest_change(power, row_ms)
        battery = rows["site_bess_power_mw"][:, i]
        found[at + "bess_energy_in_mwh"] = mwh(-battery[battery < 0])
        found[at + "bess_energy_out_mwh"] = mwh(battery[battery > 0])
        for key, name in (("soc{}", "bess_soc"), ("voltage{}_pu", "site_pcc_voltage_pu")):
            found[at + key.format("_min")] = float(rows[name][:, i].min())
            found[at + key.format("_max")] = float(rows[name][:, i].max())
    for i, job in enumerate(header.labels["job"]):
        at, power = f"job.{job.replace('/', '.')}.", rows["job_power_mw"][:, i].astype(np.float64)
        added = power - rows["job_wanted_power_mw"][:, i]
        found[at + "energy_mwh"] = mwh(power)
        found[at + "added_energy_mwh"] = mwh(added[added > 0])
        found[at + "withheld_energy_mwh"] = mwh(-added[added < 0])
    for i, area in enumerate(header.labels["area"]):
        found[f"area.{area}.frequency_min_hz"] = rows["area_frequency_hz"][:, i].min()
        found[f"area.{area}.frequency_max_hz"] = rows["area_frequency_hz"][:, i].max()
        frequency = rows["area_frequency_hz"][:, i]
        found |= {f"area.{area}.rocof_{s}s_hz_per_s": rate(frequency, row_ms, s) for s in (0.1, 0.5)}
        for band_hz in (0.036, 0.2, 0.5):
            outside = np.abs(frequency - 60.0) > band_hz
            found[f"area.{area}.outside_{band_hz}hz_s"] = np.count_nonzero(outside) * row_ms / 1000
    for i, tie in enumerate(header.labels["tie"]):
        flow = rows["tie_power_mw"][:, i].astype(np.float64)
        found[f"tie.{tie}.swing_mw"] = flow.max() - flow.min()
    return found


@given(
    st.integers(1, 40),
    st.lists(st.integers(1, 40), max_size=8),
    st.sampled_from([0.1, 0.3, 0.5, 1.0, 2.0, 2.5, 4.9, 5.0]),
    st.integers(0, 1000),
)
def test_blocks_do_not_matter(total, cuts, dt_s, seed):
    header = replace(SECONDS, dt_s=dt_s)
    rows = block(header, total, seed)
    rows["site_bess_power_mw"] -= np.float32(50.0)
    rows["area_frequency_hz"] = 60.0 + 0.02 * (rows["area_frequency_hz"] - 50.0)
    expected, found = at_once(header, rows), streamed(header, rows, cuts)
    others = [*JobTally(header).result(), *Wear(header, {}).result()]
    assert [*found, *others] == [*expected, *others] == list(names(header))
    for key, value in expected.items():
        # Rates divide differences of some 10 by 0.1 s at least, of values near 50 that are read off lines to 1e-14.
        rounding = {"rel": 0.0, "abs": 1e-11} if key.endswith("_per_s") else {"rel": 1e-12, "abs": 0.0}
        assert found[key] == pytest.approx(value, **rounding, nan_ok=True), key


@given(st.lists(st.integers(0, 63), max_size=40), st.lists(st.integers(0, 40), max_size=6))
def test_blocks_of_events_do_not_matter(bits, cuts):
    def tallied(parts):
        tally = JobTally(ONE_SITE)
        for part in parts:
            tally.add(part)
        return tally.result()

    rows = np.zeros((len(bits), 1, len(COUNTED)))
    rows[:, 0, 0] = np.array(bits, int) & 1
    begun = np.flatnonzero(rows[:, 0, 0])
    found = tallied(np.split(rows, sorted(cuts)))
    np.testing.assert_equal(found, tallied([rows]))
    assert found["job.campus.pretrain.iterations"] == len(begun)
    if len(begun) > 1:
        mean_s = (begun[-1] - begun[0]) * 0.001 / (len(begun) - 1)
        assert found["job.campus.pretrain.iteration_mean_s"] == pytest.approx(mean_s)


def test_a_job_is_added_up_in_the_order_of_the_frame():
    assert (*JOB_COUNTS, *JOB_TOTALS) == COUNTED
    assert [1 << i for i in range(len(JOB_COUNTS))] == [
        getattr(pauses, name) for name in ("ITERATION", "CHECKPOINT", "EVALUATION", "STALL", "FAULT", "RESTART")
    ]


def test_energy_is_exact_over_many_rows():
    header = replace(ONE_SITE, dt_s=0.001)
    rows = block(header, 400_000, seed=3)
    exact = math.fsum(rows["site_pcc_power_mw"][:, 0].tolist()) * 0.001 / 3600
    for size in (7_000, 200_000):
        found = streamed(header, rows, list(range(0, 400_000, size)))["site.campus.pcc_energy_mwh"]
        assert found == pytest.approx(exact, rel=1e-14, abs=0.0)


def test_small_blocks_after_a_large_sum_still_count():
    """1e8 rows' worth of energy first: single rows of 1e-9 of it would be lost by plain addition."""
    summary = Summary(ONE_SITE)
    rows = {name: np.zeros_like(values, np.float64) for name, values in block(ONE_SITE, 1).items()}
    power = [1e16] + [1.0] * 1000
    for tick, value in enumerate(power):
        summary.update(rows | {"site_pcc_power_mw": np.full((1, 1), value)}, tick)
    assert summary.result()["site.campus.pcc_mean_mw"] * 1001 == pytest.approx(math.fsum(power), rel=1e-16, abs=0.0)


@pytest.mark.parametrize(("apart", "change"), [(4999, 30.0), (5000, 30.0), (5001, 15.0)])
def test_five_seconds_are_inclusive(apart, change):
    """20 MW up to row 1000, 50 MW from so many ms later on, half-way in between."""
    rows, at = block(ONE_SITE, 12_000), np.arange(12_000)[:, None]
    rows["site_pcc_power_mw"] = np.where(at <= 1000, 20.0, np.where(at < 1000 + apart, 35.0, 50.0))
    assert streamed(ONE_SITE, rows, [3000, 5999, 6000, 6001])["site.campus.pcc_change_5s_mw"] == change


def test_rows_longer_than_the_window_say_nothing():
    header = replace(ONE_SITE, dt_s=2.6, every_ticks=2)
    found = streamed(header, block(header, 10), [])
    assert np.isnan(found["site.campus.pcc_change_5s_mw"]) and not np.isnan(found["site.campus.pcc_swing_mw"])


def test_no_battery_is_nan_and_an_empty_run_too():
    rows = block(ONE_SITE, 10)
    rows["bess_soc"][:] = np.nan
    found = streamed(ONE_SITE, rows, [4])
    assert np.isnan(found["site.campus.soc_min"]) and np.isnan(found["site.campus.soc_max"])
    empty = Summary(ONE_SITE).result()
    assert empty["site.campus.pcc_energy_mwh"] == 0.0 and np.isnan(empty["site.campus.pcc_peak_mw"])


def test_a_value_that_is_not_finite_shows():
    rows = block(ONE_SITE, 10)
    rows["site_pcc_voltage_pu"][3] = np.nan
    assert np.isnan(streamed(ONE_SITE, rows, [5])["site.campus.voltage_min_pu"])


def test_rows_must_follow_each_other():
    header = replace(ONE_SITE, every_ticks=2)
    summary = Summary(header)
    summary.update(block(header, 10), 100)
    summary.update(block(header, 1), 120)
    with pytest.raises(ValueError, match="tick 122"):
        summary.update(block(header, 1), 121)


def test_memory_does_not_grow_with_the_run():
    header = replace(ONE_SITE, dt_s=0.01)
    rows, summary = block(header, 1000), Summary(header)

    def after(blocks):
        for _ in range(blocks):
            summary.update(rows, after.tick)
            after.tick += 1000
        return tracemalloc.get_traced_memory()[0]

    after.tick = 0
    tracemalloc.start()
    try:
        early = after(10)
        assert after(100) - early < 10_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("key", "unit"),
    [
        ("site.a.pcc_energy_mwh", "MWh"),
        ("site.a.pcc_change_5s_mw", "MW"),
        ("area.a.frequency_min_hz", "Hz"),
        ("site.a.voltage_min_pu", "pu"),
        ("site.a.soc_min", "1"),
    ],
)
def test_units_follow_from_names(key, unit):
    assert unit_of(key) == unit


def summary_of(header: Header) -> str:
    rows = block(header, 100)
    rows["bess_soc"] /= 100.0
    found = streamed(header, rows, [50])
    return render({key: v * 1e7 if key.endswith("_mwh") else v for key, v in found.items()}, header, 120.0, 3.2)


def test_summary_shows_the_numbers():
    rows = block(ONE_SITE, 100)
    found = streamed(ONE_SITE, rows, [])
    text = render(found, ONE_SITE, 120.0, 3.25)
    for key in ("mean_mw", "peak_mw", "swing_mw", "change_5s_mw"):
        assert f"{found[f'site.campus.pcc_{key}']:.2f}" in text
    assert "campus grid" in text and "of 138 kV" in text and "battery SOC" in text
    assert text.splitlines()[-1] == "emulated 120 s in 3.25 s: 37 x real time"
    assert render(found, ONE_SITE, 0.302, 1.01).endswith("emulated 0.302 s in 1.01 s: 0.3 x real time")


def test_summary_leaves_out_what_is_not_there():
    header = replace(ONE_SITE, nominal_kv=(float("nan"),))
    rows = block(header, 100)
    rows["bess_soc"][:] = np.nan
    text = render(streamed(header, rows, []), header, 120.0, 3.2)
    assert "battery" not in text and "voltage" not in text and "nan" not in text


@pytest.mark.parametrize("many", [1, 3, 40])
def test_summary_fits_on_a_screen(many):
    names_of = {axis: tuple(f"{axis}{i}".ljust(64, "x") for i in range(many)) for axis in (*AXES, "device", "rack")}
    config = f'[run]\nname = "{"n" * 200}"\n'
    header = replace(ONE_SITE, labels=names_of, nominal_kv=(138.0,) * many, config=config)
    lines = summary_of(header).splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    assert sum("more of kind" in line for line in lines) == (3 if many == 40 else 1 if many == 3 else 0)


def test_no_table_of_sites_without_sites():
    header = replace(TWO_SITES, labels={**TWO_SITES.labels, "site": (), "job": ()}, nominal_kv=())
    text = render(dict.fromkeys(names(header), 1.0), header, 1.0, 0.012)
    assert "energy" not in text and "in 0.01 s" in text


def test_what_no_planner_wants_is_said():
    """In the order of weight, each kind once; what is usual stays in the trace."""
    events = [
        Event(0.0, "job_start", "campus/train", 1.0),
        Event(2.5, "load_shed", "east", 1.0),
        Event(1.83, "loss_of_synchronism", "west-east", 1.0),
        Event(3.0, "load_shed", "east", 2.0),
    ]
    assert render_alarms(events) == [
        "loss of synchronism      1 x, first west-east at 1.83 s",
        "load shed                2 x, first east at 2.5 s",
    ]
    assert render_alarms(events[:1]) == []


def test_the_summary_tells_how_long_an_iteration_took(emulate, scenario):
    """Of phases of 0.2 s with one checkpoint of 0.3 s: what is asked for need not be what barriers make of it."""
    text = """
        [run]
        duration_s = 2.0
        dt_s = 0.01
        [[site]]
        name = "campus"
        [[site.job]]
        name = "train"
        kind = "training"
        accelerator = "h100"
        devices = 8
        [[site.job.workload.phase]]
        name = "compute"
        duration_s = 0.2
        level = 1.0
        """
    (line,) = simulate.paths(scenario(text), emulate(text).metrics)
    assert line == "campus/train: 8 devices by events (linear), an iteration in 0.2 s"
    paused = "site.0.job.0.workload.checkpoint={period_s=1.0, duration_s=0.3, level=0.1}"
    found = list(simulate.paths(scenario(text, paused), emulate(text, paused).metrics))
    # 10 iterations in 2 s, the pause in place of 1.5 of them: 8 between starts that take 0.2 s or, once, 0.5 s.
    assert found[0].endswith("an iteration in 0.2375 s with pauses") and found[1] == "    1 checkpoint"
