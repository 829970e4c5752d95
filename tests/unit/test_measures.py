"""All metrics of a recording: each against a closed form, what cannot be shown, padding, and runs against them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import emulator as em
from emulator import flicker, limits, measures
from emulator.metrics import unit_of
from emulator.recording import Rating, Recording, of_file, of_trace
from emulator.shaft_fatigue import Strength
from emulator.trace import TraceError
from emulator.traces import hdf5
from tests.unit.synthetic import TWO_SITES, block, summed_up_and_measured, write

LIMITS_PAGE = Path(__file__).parents[2] / "docs" / "limits.md"


def sine(time_s: np.ndarray, hz: float, amplitude: float, about: float = 0.0) -> np.ndarray:
    return about + amplitude * np.sin(2.0 * np.pi * hz * time_s)


def everything(lasting_s: float = 100.0, row_s: float = 0.01) -> Recording:
    """A recording of every quantity: 2 MW at 0.25 Hz in the power, fivefold in the tie."""
    t = np.arange(round(lasting_s / row_s)) * row_s
    away = (t > 20.0 - 1e-6) & (t < 24.0 - 1e-6)
    values = {
        "load": {"a": sine(t, 0.25, 6.0, 60.0)},
        "power": {"a": sine(t, 0.25, 2.0, 50.0)},
        "voltage": {"a": 1.0 - 0.6 * away},
        "soc": {"a": 0.5 + 0.0 * t},
        "connected share": {"a": 1.0 - away},
        "battery power": {"a": np.where(t < 50.0, 36.0, -36.0)},
        "battery soc": {"a": np.interp(t, [0.0, 50.0, 100.0], [0.5, 0.445, 0.4905])},
        "battery temperature": {"a": np.interp(t, [0.0, 40.0, 100.0], [25.0, 31.0, 28.0])},
        "job power": {"a/j": 30.0 + 0.0 * t},
        "wanted job power": {"a/j": np.where(t < 25.0, 40.0, 20.0)},
        "frequency": {"w": 60.0 - np.interp(t, [1.0, 3.0, 7.0], [0.0, 0.4, 0.0])},
        "tie flow": {"w-e": sine(t, 0.25, 10.0, -20.0)},
        "shaft torque": {"g 1-2": np.cos(2.0 * np.pi * 5.0 * t) * 0.2},
    }
    ratings = {"a": Rating(power_mw=36.0, energy_mwh=10.0, soc_range=(0.4, 0.9))}
    summed = {"job.a.j.lost_iteration_s": 1.5, "battery.a.full_cycles": 0.1, "battery.a.capacity_fade": 1e-5}
    return Recording("made", t, row_s, True, 60.0, True, "end of run", values, ratings, summed)


def found_in(recording, **chosen) -> dict[tuple[str, str], measures.Figure]:
    return {(its.quantity, its.name): its for its in measures.measure(recording, **chosen)}


# Quantity, name, value, relative tolerance (rows of 10 ms unless said), moment.
EXPECTED = [
    ("power", "energy_mwh", 50.0 * 100.0 / 3600.0, 1e-9, None),
    ("power", "mean_mw", 50.0, 1e-9, None),
    ("power", "peak_mw", 52.0, 1e-4, 1.0),
    ("power", "swing_mw", 4.0, 1e-4, 3.0),
    ("power", "ramp_1s_mw_per_s", 4.0 * np.sin(np.pi * 0.25), 1e-3, None),
    ("power", "ramp_5s_mw_per_s", 4.0 * np.sin(np.pi * 0.25) / 5.0, 1e-3, None),
    ("power", "change_5s_mw", 4.0, 1e-4, 3.0),
    ("power", "changes_5s", 20, 0.0, None),  # 3.6 of 4 MW first at 2.6 s, from then on in every window of 5 s
    ("power", "variance_0.1_to_2hz", 1.0, 1e-9, None),
    ("power", "magnitude_0.2_to_3hz", 1.0, 1e-9, None),
    ("power", "variance_0_to_0.1hz", 0.0, 1e-9, None),
    ("power", "line_1_hz", 0.25, 1e-9, None),
    ("power", "line_1_mw", 2.0, 1e-9, None),
    ("load", "swing_mw", 12.0, 1e-4, 3.0),
    ("voltage", "min_pu", 0.4, 1e-12, 20.0),
    ("voltage", "max_pu", 1.0, 1e-12, 0.0),
    ("voltage", "rapid_change_pct", 60.0, 1e-12, 20.0),
    ("ride-through", "trips", 1, 0.0, None),
    ("ride-through", "least_share", 0.0, 0.0, None),
    ("ride-through", "away_s", 4.0, 1e-9, None),
    ("ride-through", "longest_return_s", 0.0, 0.0, None),
    ("battery", "soc_min", 0.445, 1e-6, None),
    ("battery", "charged_mwh", 0.5, 1e-9, None),
    ("battery", "discharged_mwh", 0.5, 1e-9, None),
    ("battery", "equivalent_cycles", 0.05, 1e-9, None),
    ("battery", "losses_mwh", 0.095, 1e-2, None),  # the last of 10,000 rows is left out: 1e-4 MWh
    ("battery", "at_power_limit_s", 100.0, 1e-9, None),
    ("battery", "at_soc_limit_s", 0.0, 0.0, None),
    ("battery", "full_cycles", 0.1, 0.0, None),
    ("battery", "capacity_fade", 1e-5, 0.0, None),
    ("battery", "capacity_fade_per_year", 1e-5 * 365.25 * 864.0, 1e-9, None),
    ("battery", "equivalent_cycles_per_year", 0.05 * 365.25 * 864.0, 1e-9, None),
    ("battery", "temperature_max_c", 31.0, 1e-12, 40.0),
    ("mitigation", "wanted_energy_mwh", 2500.0 / 3600.0, 1e-9, None),
    ("mitigation", "added_energy_mwh", 750.0 / 3600.0, 1e-9, None),
    ("mitigation", "withheld_energy_mwh", 250.0 / 3600.0, 1e-9, None),
    ("mitigation", "energy_overhead_pct", 20.0, 1e-9, None),
    ("mitigation", "lost_iteration_s", 1.5, 0.0, None),
    ("frequency", "nadir_hz", 59.6, 1e-9, 3.0),
    ("frequency", "zenith_hz", 60.0, 1e-9, 0.0),
    ("frequency", "rocof_0.1s_hz_per_s", 0.2, 1e-6, None),
    ("frequency", "rocof_0.5s_hz_per_s", 0.2, 1e-6, None),
    ("frequency", "outside_0.2hz_s", 3.0, 1e-2, None),  # 1 s of the fall and 2 s of the rise, to a row at each end
    ("frequency", "outside_0.5hz_s", 0.0, 0.0, None),
    ("tie", "swing_mw", 20.0, 1e-4, 3.0),
    ("tie", "largest_mw", 30.0, 1e-4, None),
    ("tie", "line_1_hz", 0.25, 1e-9, None),
    ("tie", "line_1_mw", 10.0, 1e-9, None),
    ("tie", "amplification", 5.0, 1e-9, None),
    ("shaft", "swing_pu", 0.4, 1e-9, None),  # twenty rows a cycle hold its peaks
    ("shaft", "largest_pu", 0.2, 1e-9, None),
    ("shaft", "cycles_beyond_endurance", 500.0, 1e-9, None),
    ("shaft", "damage", 500.0 * 2.0**6 / 1e7, 2e-4, None),  # the last half of 1000 ends a row early: 14 % of it
    ("shaft", "damage_per_year", 500.0 * 2.0**6 / 1e7 * 365.25 * 864.0, 2e-4, None),
]  # fmt: skip


@pytest.fixture(scope="module")
def known():
    return found_in(everything())


@pytest.mark.parametrize(("quantity", "name", "value", "tolerance", "at_s"), EXPECTED)
def test_every_metric_of_known_signals(known, quantity, name, value, tolerance, at_s):
    figure = known[quantity, name]
    assert figure.value == pytest.approx(value, rel=tolerance, abs=1e-12)
    assert at_s is None or figure.at_s == pytest.approx(at_s, abs=1e-6)
    assert figure.unit == unit_of(name)


def generic(name: str) -> str:
    """With any figures that stand in it."""
    return re.sub(r"\d+(\.\d+)?", "#", name)


def test_every_name_is_tested_and_documented(known):
    names = set(re.findall(r"`([a-z_0-9.]+)`", LIMITS_PAGE.read_text("utf-8")))
    assert {generic(name) for _, name in known} <= set(map(generic, names))
    tested = {(quantity, generic(name)) for quantity, name, *_ in EXPECTED}
    flicker = {("voltage", f"{name}_#v") for name in ("p_inst_max", "pst_max", "plt_max")}  # below
    rest = {(quantity, generic(name)) for quantity, name in known if quantity != "load"} - tested - flicker
    assert rest == {("battery", "soc_max")}


def test_bands_and_strength_are_the_users():
    found = found_in(everything(), bands=((0.2, 0.3), (1.0, 5.0)), strength=Strength(0.05, 1e6, 4.0, "given"))
    assert [name for _, name in found if "variance" in name] == ["variance_0.2_to_0.3hz", "variance_1_to_5hz"]
    assert found["power", "variance_0.2_to_0.3hz"].value == pytest.approx(1.0)
    damage = found["shaft", "damage"]
    assert damage.value == pytest.approx(500.0 * 4.0**4 / 1e6, rel=1e-3) and "(given)" in damage.remark
    assert "assumed" in found_in(everything())["shaft", "damage"].remark


def voltages(rows: np.ndarray, row_s: float, nominal_hz: float = 50.0) -> Recording:
    time_s = np.arange(len(rows)) * row_s
    return Recording("made", time_s, row_s, True, nominal_hz, True, "end of run", {"voltage": {"a": rows}})


def test_flicker_of_a_recording():
    """0.894 % at 39 changes/min is Pst = 1 (Table 5 of IEC 61000-4-15, 230 V, 50 Hz); for Plt two hours lack."""
    t = np.arange(720 * 400) / 400.0
    found = found_in(voltages(1.0 + 0.00447 * np.sign(np.sin(2.0 * np.pi * 39.0 / 120.0 * (t + 1e-6))), 0.0025))
    assert found["voltage", "pst_max_230v"].value == pytest.approx(1.0, abs=0.02)
    assert 0.0 < found["voltage", "pst_max_120v"].value < 1.0 and found["voltage", "pst_max_120v"].remark == ""
    assert found["voltage", "p_inst_max_230v"].value > 1.0
    plt = found["voltage", "plt_max_230v"]
    assert np.isnan(plt.value) and "7200 s are looked at" in plt.remark


def test_long_term_flicker_is_the_limits(monkeypatch):
    """Of two intervals instead of twelve, the second one still: the cube root of half of the first one's cube."""
    monkeypatch.setattr(flicker, "LONG_COUNT", 2)
    t = np.arange(121_000) * 0.01
    recording = voltages(1.0 + 0.002 * np.sin(2.0 * np.pi * 8.8 * t) * (t < 590.0), 0.01)
    clause = {"name": "x", "kind": "flicker_plt", "source": "x", "status": "draft", "lamp_v": 230}
    table = limits.schema.Limits.model_validate({"limit": [clause | {"frequency_hz": 50.0, "max_plt": 9.0}]})
    (judged,) = limits.assess(recording, table).limits
    found = found_in(recording)
    figure, pst = found["voltage", "plt_max_230v"], found["voltage", "pst_max_230v"]
    assert (figure.value, figure.at_s) == (judged.measured, judged.at_s)
    assert figure.value == pytest.approx(pst.value / np.cbrt(2.0), rel=1e-3) and figure.at_s == 1200.0


@pytest.mark.parametrize(("hz", "warned"), [(8.8, False), (25.0, False), (36.0, True)])
def test_flicker_outside_its_range_has_a_warning(hz, warned):
    t = np.arange(60_000) / 1000.0
    figure = found_in(voltages(1.0 + 0.005 * np.sin(2.0 * np.pi * hz * t), 0.001))["voltage", "p_inst_max_230v"]
    assert ("above 30 Hz, where an envelope is no flickermeter" in figure.remark) is warned
    coarse = found_in(voltages(np.ones(100), 0.005))["voltage", "p_inst_max_120v"]
    assert "200 rows a second" in coarse.remark
    assert np.isnan(found_in(voltages(np.ones(100), 0.02))["voltage", "p_inst_max_120v"].value)


def test_what_a_record_cannot_show_is_no_number():
    """20 s at 0.1 s: no ramp over a minute, nothing above 5 Hz, nothing of 0.1 s."""
    found = found_in(everything(20.0, 0.1))
    for name, says in (
        ("ramp_60s_mw_per_s", "20 s is too short"),
        ("variance_0.1_to_20hz", "carry at most 5 of 20 Hz"),
        ("magnitude_3_to_30hz", "carry at most 5 of 30 Hz"),
    ):
        assert np.isnan(found["power", name].value) and says in found["power", name].remark
    assert found["power", "variance_0.1_to_2hz"].value == pytest.approx(1.0, abs=1e-9)
    assert "rows of 0.1 s hide" in found["frequency", "rocof_0.1s_hz_per_s"].remark
    minute = found_in(everything(60.0))  # whose last row begins 10 ms before its end
    assert np.isnan(minute["power", "ramp_60s_mw_per_s"].value)
    assert "no two rows 60 s apart" in minute["power", "ramp_60s_mw_per_s"].remark
    assert "0.5 s is too short: 1 s" in found_in(everything(0.5))["voltage", "rapid_change_pct"].remark
    short = found_in(everything(3.0))
    assert "3 s is too short: 5 s" in short["power", "change_5s_mw"].remark
    assert np.isnan(short["power", "variance_0.1_to_2hz"].value)  # a period of 0.1 Hz lasts 10 s
    assert measures.measure(everything(0.01)) == ()
    assert "less than two rows" in measures.render(())


def test_a_battery_without_rating_and_a_tie_without_loads():
    recording = everything()
    bare = found_in(replace(recording, ratings={}, run_metrics={}))
    for name in ("equivalent_cycles", "losses_mwh", "at_power_limit_s", "at_soc_limit_s"):
        assert np.isnan(bare["battery", name].value) and "no rating" in bare["battery", name].remark
    assert bare["battery", "charged_mwh"].value == pytest.approx(0.5)
    ended = replace(recording, complete=False, run_metrics={"job.a.j.lost_iteration_s": np.nan})
    assert "end of a run" in found_in(ended)["mitigation", "lost_iteration_s"].remark
    whole = replace(recording, run_metrics={"battery.a.capacity_fade": np.nan})
    assert "no ageing" in found_in(whole)["battery", "capacity_fade"].remark
    idle = replace(recording, values=recording.values | {"wanted job power": {"a/j": 0.0 * recording.time_s}})
    assert "wanted no energy" in found_in(idle)["mitigation", "energy_overhead_pct"].remark
    swinging = found_in(replace(recording, shaft_hz={"g 1-2": 25.0}))
    for name in ("swing_pu", "largest_pu", "cycles_beyond_endurance", "damage"):
        assert "rows of 0.01 s hide peaks of 25 Hz" in swinging["shaft", name].remark
        assert "hide" not in found_in(recording)["shaft", name].remark
    still = recording.values | {"power": {"a": 50.0 + 0.0 * recording.time_s}}
    figure = found_in(replace(recording, values=still))["tie", "amplification"]
    assert np.isnan(figure.value) and "no load swings" in figure.remark


@pytest.mark.parametrize("rows", [2, 3])
def test_the_shortest_record_has_its_metrics(rows):
    figures = found_in(everything(rows * 0.001, 0.001))
    assert figures["voltage", "min_pu"].value == 1.0
    assert np.isnan(figures["voltage", "pst_max_120v"].value) and np.isnan(figures["power", "ramp_1s_mw_per_s"].value)


def test_places_stand_by_themselves_and_as_text():
    recording = everything()
    two = recording.values | {"power": recording.values["power"] | {"b\x1b[2J": 3.0 * recording.values["power"]["a"]}}
    figures = measures.measure(replace(recording, values=two))
    assert [f.value for f in figures if (f.quantity, f.name) == ("power", "mean_mw")] == pytest.approx([50.0, 150.0])
    text = measures.render(figures)
    assert "power, b?[2J" in text and "\x1b" not in text and "  mean_mw  " in text and "at 3.000 s" in text
    json.dumps([figure.as_json() for figure in figures], allow_nan=False)


# Of the last row repeated: what counts time or the whole record changes, the extremes of the joined line do not.
OF_THE_WHOLE = ("energy", "mean", "variance", "magnitude", "line_", "amplification", "per_year", "charged", "cycles_mw")
OF_THE_WHOLE += ("equivalent", "losses", "at_power", "at_soc", "outside", "_v", "overhead", "changes_", "ramp_60s")


def test_rows_repeated_at_the_end_change_no_extreme():
    recording = everything()

    def longer(values):
        return np.concatenate([values, np.repeat(values[-1:], 3000)])

    values = {q: {at: longer(v) for at, v in places.items()} for q, places in recording.values.items()}
    padded = found_in(replace(recording, time_s=np.arange(13_000) * 0.01, values=values))
    kept = {key: f for key, f in found_in(recording).items() if not any(word in key[1] for word in OF_THE_WHOLE)}
    assert len(kept) > 25 and {"ramp_5s_mw_per_s", "change_5s_mw", "damage", "trips"} <= {name for _, name in kept}
    for key, figure in kept.items():
        assert padded[key].value == pytest.approx(figure.value, rel=1e-12, nan_ok=True), key
        assert padded[key].at_s == pytest.approx(figure.at_s, nan_ok=True), key


def test_rows_that_are_not_finite_end_the_record():
    """As a physical stop leaves one: every metric is that of the rows before. What has no value at all is no place."""
    recording = everything()
    values = {q: {at: v.astype(float) for at, v in places.items()} for q, places in recording.values.items()}
    values["power"]["a"][7000:] = np.nan
    values["voltage"]["b"] = np.full(10_000, np.nan)
    cut = {q: {at: v[:7000] for at, v in places.items()} for q, places in recording.values.items()}
    expected = measures.measure(replace(recording, time_s=recording.time_s[:7000], values=cut))
    assert repr(measures.measure(replace(recording, values=values))) == repr(expected)


def rows_of_a_run(rows: int = 3000) -> dict[str, np.ndarray]:
    made = block(TWO_SITES, rows, seed=5)
    made["site_pcc_voltage_pu"] = 1.0 + (made["site_pcc_voltage_pu"] - 50.0) * np.float32(1e-4)
    made["area_frequency_hz"] = 60.0 + 0.02 * (made["area_frequency_hz"] - 50.0)
    made["bess_soc"][:, 1] = np.nan
    return made


def test_rows_that_were_never_written_do_not_count(tmp_path):
    """A file that is longer than its times, as a writer that was killed leaves it."""
    path = write(tmp_path / "t.h5", TWO_SITES, rows_of_a_run())
    expected = em.measure(hdf5.read(path)), em.assess(hdf5.read(path), "ercot_draft")
    with h5py.File(path, "r+") as file:
        for name, data in file["trace"].items():
            if len(data) == 3000:
                data.resize(4000, axis=0)
                data[3000:] = np.nan if name == "time_s" else 1e6
    assert repr((em.measure(hdf5.read(path)), em.assess(hdf5.read(path), "ercot_draft"))) == repr(expected)


def test_a_run_sums_up_the_same_in_blocks(tmp_path):
    """Streamed in blocks of 1000 rows, bounded memory, against the whole arrays."""
    trace = hdf5.read(write(tmp_path / "t.h5", replace(TWO_SITES, dt_s=0.03), rows_of_a_run()))
    pairs = summed_up_and_measured(trace)
    assert len(pairs) == 2 * 8 + 8 + 2 + 2 * 7 + 1  # power, load of the site with a battery, voltage, areas, tie
    for key, (summed_up, measured) in pairs.items():
        # In float32 rows a difference of two is rounded to 6e-8 of 50 MW where blocks take it, not here.
        assert measured == pytest.approx(summed_up, rel=1e-9, abs=1e-5), key


def test_batteries_of_a_trace_have_their_ratings(tmp_path):
    """A site's only battery goes by the site's name, one of several by its own; units out of service do not count."""
    bess = "units = 2\navailability = 0.5\npower_mw = 4.0\nenergy_mwh = 8.0\nsoc_min = 0.1\nsoc_max = 0.9\n"
    bess += "auxiliary_mw = 0.5\n"
    config = f'[[site]]\nname = "west"\n[site.bess]\n{bess}[[site.store]]\nname = "fast"\n{bess}'
    config += f'[[site]]\nname = "öst"\n[site.bess]\n{bess}'
    made = rows_of_a_run(10) | {"bess_soc": np.full((10, 2), 0.5), "site_bess_power_mw": np.full((10, 2), [[1.0, 3.5]])}
    trace = hdf5.read(write(tmp_path / "t.h5", replace(TWO_SITES, config=config), made))
    rated = Rating(power_mw=4.0, energy_mwh=8.0, soc_range=(0.1, 0.9), auxiliary_mw=0.5)
    assert of_trace(trace, "t").ratings == {"west/bess": rated, "west/fast": rated, "öst": rated}
    found = {(its.where, its.name): its.value for its in em.measure(trace) if its.quantity == "battery"}
    assert {where for where, _ in found} == {"west/bess", "west/fast", "öst"}
    assert found["öst", "at_power_limit_s"] == pytest.approx(0.01)
    assert found["öst", "equivalent_cycles"] == pytest.approx(0.5 * 4.0 * 0.01 / 3600.0 / 8.0)


def test_batteries_whose_rating_a_trace_does_not_tell(tmp_path):
    """A foreign configuration without all keys, and a trace that shows only the sum of two."""
    bess = "units = 2\navailability = 0.5\npower_mw = 4.0\nenergy_mwh = 8.0\nsoc_min = 0.1\nsoc_max = 0.9\n"
    config = f'[[site]]\nname = "west"\n[site.bess]\n{bess}[[site.store]]\nname = "fast"\n{bess}'
    config += '[[site]]\nname = "öst"\n[site.bess]\npower_mw = 4.0\n'
    header = replace(TWO_SITES, config=config, labels={**TWO_SITES.labels, "battery": ()})
    trace = hdf5.read(write(tmp_path / "t.h5", header, block(header, 10)))
    assert of_trace(trace, "t").ratings == {}


def test_a_recorded_power_has_what_a_power_has(tmp_path):
    (tmp_path / "load.csv").write_text(
        "t,p\n" + "".join(f"{0.1 * i:.1f},{50 + 2 * (i % 40 < 20)}\n" for i in range(800))
    )
    found = found_in(of_file(tmp_path / "load.csv", "t", "p", "mw"))
    assert {quantity for quantity, _ in found} == {"power"}
    assert found["power", "mean_mw"].value == pytest.approx(51.0)
    assert found["power", "line_1_mw"].value == pytest.approx(2.0 * 2.0 / np.pi, rel=0.01)  # of a square wave
    assert np.isnan(found["power", "variance_0.1_to_20hz"].value)


def test_production_trace(reference):
    """Facts of arXiv 2508.14318's Figure 1: mean .663; 14 % of variance and 41.5 % of magnitude in 0.2 to 3 Hz, 67 % of
    variance below 0.1 Hz; main line at .0469 Hz; 0.31 s from 10 to 90 % of a rise of .9, hence under .9 within 1 s."""
    recording = of_file(reference / "fig1_production_trace.csv", "t_s", "p_norm", "mw")
    found = {
        name: its.value for (_, name), its in found_in(recording, bands=((0.0, 0.1), (0.2, 3.0), (3.0, 20.0))).items()
    }
    assert found["mean_mw"] == pytest.approx(0.6630, abs=5e-4)
    assert found["variance_0_to_0.1hz"] == pytest.approx(0.67, abs=2e-3)
    assert found["variance_0.2_to_3hz"] == pytest.approx(0.141, abs=1e-3)
    assert found["magnitude_0.2_to_3hz"] == pytest.approx(0.415, abs=1e-3)
    assert found["variance_3_to_20hz"] == pytest.approx(0.0023, abs=1e-4)
    assert found["line_1_hz"] == pytest.approx(0.0469, abs=1e-4)
    assert found["peak_mw"] == pytest.approx(1.0, abs=5e-3) and 0.7 < found["ramp_1s_mw_per_s"] < 0.9


def test_any_file_can_be_read_as_csv(tmp_path):
    (tmp_path / "load.dat").write_text("t_s,p_mw\n0,10\n1,12\n2,11\n")
    with pytest.raises(TraceError, match="the ending tells the format"):
        of_file(tmp_path / "load.dat", "t_s", "p_mw", "mw")
    found = of_file(tmp_path / "load.dat", "t_s", "p_mw", "mw", ".csv")
    assert found.values["power"]["p_mw"].tolist() == [10.0, 12.0, 11.0]


def test_what_a_run_summed_up_is_not_said_of_a_part_of_it(emulate, tmp_path):
    """Its cycles were counted over all of the run; what the channels show is that of the part."""
    bess = "{power_mw=20.0, energy_mwh=1.0, ageing={cycles_at_full_depth=4000.0, depth_exponent=1.7}}"
    text = f"""
        [run]
        duration_s = 4.0
        dt_s = 0.01
        [[site]]
        name = "campus"
        job = [{{name = "base", kind = "constant", power_mw = 30.0, start_s = 1.0}}]
        bess = {bess}
        controller = {{kind = "low_pass", cutoff_hz = 0.05}}
        """
    em.write(emulate(text), tmp_path / "t.h5")
    whole, part = ({its.name for its in em.measure(em.read(tmp_path / "t.h5", rows))} for rows in (None, slice(0, 200)))
    assert whole - part == {"full_cycles", "capacity_fade", "capacity_fade_per_year", "lost_iteration_s"}
    assert "equivalent_cycles_per_year" in part
