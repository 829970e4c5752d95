"""Every kind of clause against closed forms, and what a recording cannot show: never a pass."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

import emulator as em
from emulator import catalog, limits, limits_schema, measures, metrics, units
from emulator.complaint import ConfigError
from emulator.limits import Finding
from emulator.recording import CHANNELS as quantities
from emulator.recording import Recording, channels_of, of_file, of_trace
from emulator.trace import CHANNELS, TraceError
from emulator.traces import hdf5
from tests.unit.synthetic import ONE_SITE, TWO_SITES, block, write


def recording(lasting_s: float = 20.0, row_s: float = 0.01, complete: bool = True, **values: Mapping) -> Recording:
    """Quantities by name, each a function of time by place; blanks in names are underscores."""
    time_s = np.arange(round(lasting_s / row_s)) * row_s
    found = {name.replace("_", " "): {at: f(time_s) for at, f in places.items()} for name, places in values.items()}
    return Recording("made", time_s, row_s, True, 60.0, complete, "end of run" if complete else "interrupted", found)


def clause(kind: str, **keys: object) -> limits_schema.Limits:
    row = {"name": "a clause", "kind": kind, "source": "made", "status": "example", **keys}
    return limits_schema.Limits.model_validate({"limit": [row]})


def judged(record: Recording, kind: str, **keys: object) -> Finding:
    (finding,) = limits.assess(record, clause(kind, **keys)).limits
    return finding


def sine(hz: float, swing: float, about: float = 50.0):
    return lambda time_s: about + 0.5 * swing * np.sin(2.0 * np.pi * hz * time_s)


def step(at_s: float, size: float, about: float = 50.0):
    return lambda time_s: about + size * (time_s > at_s - 1e-6)


def away(lasting_s: float):
    """Half of a load, from 7 s on."""
    return lambda time_s: 1.0 - 0.5 * ((time_s > 7.0 - 1e-6) & (time_s < 7.0 + lasting_s - 1e-6))


# Quantity, values at the place that is worse and at the other, clause without its bound, key of the bound, what it
# measures (to the relative tolerance that rows of 10 ms allow), and when.
KINDS = [
    ("power", sine(0.5, 8.0), sine(0.5, 7.0), "sliding_window_change", {"window_s": 5.0}, "max_mw", 8.0, 1.5),
    ("power", step(7.0, -8.0), step(7.0, 3.0), "ramp_rate", {"over_s": 5.0}, "max_mw_per_min", 96.0, 7.0),
    ("power", sine(0.5, 8.0), sine(0.5, 7.0), "dynamic_range", {}, "max_mw", 8.0, 1.5),
    ("voltage", step(7.0, -0.02, 1.0), step(7.0, 0.01, 1.0), "voltage_change", {}, "max_pct", 2.0, 7.0),
    ("voltage", step(7.0, 0.15, 1.0), step(7.0, 0.1, 1.0), "voltage_range", {"low_pu": 0.5}, "high_pu", 1.15, 7.0),
    ("connected_share", away(4.0), away(3.0), "load_return", {"share": 0.9, "above_pu": 0.9}, "max_s", 4.0, 10.99),
    ("frequency", step(7.0, -0.3, 60.0), step(7.0, 0.2, 60.0), "frequency_deviation", {}, "max_hz", 0.3, 7.0),
    ("frequency", step(7.0, -0.3, 60.0), step(7.0, 0.2, 60.0), "rocof", {"over_s": 0.5}, "max_hz_per_s", 0.6, 7.0),
    ("tie_flow", sine(0.5, 40.0, -10.0), sine(0.5, 30.0), "tie_swing", {}, "max_mw", 40.0, 1.5),
    ("shaft_torque", sine(0.5, 0.4, 0.0), sine(0.5, 0.3, 0.0), "shaft_torque", {}, "max_pu", 0.2, 0.5),
]


@pytest.mark.parametrize(("quantity", "worse", "better", "kind", "keys", "bound", "size", "at_s"), KINDS)
def test_every_kind_measures_passes_and_fails(quantity, worse, better, kind, keys, bound, size, at_s):
    record = recording(**{quantity: {"east": better, "west": worse}})
    for allowed, passed in ((1.02 * size, True), (0.98 * size, False)):
        finding = judged(record, kind, **keys, **{bound: allowed})
        assert finding.measured == pytest.approx(size, rel=1e-3)
        assert finding.margin == pytest.approx(allowed - size, abs=2e-3 * size)
        assert (finding.passed, finding.where, finding.allowed) == (passed, "west", allowed)
        assert finding.at_s == pytest.approx(at_s, abs=1e-6)


def test_a_place_that_is_named_is_the_one_judged():
    record = recording(power={"east": sine(0.5, 7.0), "west": sine(0.5, 9.0)})
    finding = judged(record, "dynamic_range", max_mw=8.0, site="east")
    assert finding.passed and finding.where == "east"
    finding = judged(record, "dynamic_range", max_mw=8.0, site="north")
    assert finding.passed is None and finding.reason == "no power of 'north' in the record: it has east, west"
    tie = recording(tie_flow={"w-e": sine(0.5, 7.0)})
    assert judged(tie, "tie_swing", max_mw=8.0, tie="w-e").passed
    area = recording(frequency={"w": step(7.0, 0.3, 60.0), "e": step(7.0, 0.1, 60.0)})
    assert judged(area, "frequency_deviation", max_hz=0.2, area="e").passed


def test_repeated_changes_are_counted():
    record = recording(40.0, power={"campus": lambda t: 50.0 + 12.0 * (np.floor(t / 10.0 + 1e-9) % 2)})
    finding = judged(record, "sliding_window_change", window_s=5.0, max_mw=10.0)
    assert finding.reason == "exceeded in 3 separate windows"
    assert judged(record, "sliding_window_change", window_s=5.0, max_mw=13.0).reason == ""


@pytest.mark.parametrize(("reading", "share"), [("variance", 0.9), ("magnitude", 0.75)])
def test_band_energy_of_two_tones(reading, share):
    record = recording(power={"campus": lambda t: sine(0.5, 6.0)(t) + sine(5.0, 2.0)(t)})
    band = {"low_hz": 0.1, "high_hz": 1.0, "reading": reading}
    for allowed, passed in ((share + 0.01, True), (share - 0.01, False)):
        finding = judged(record, "band_energy", max_fraction=allowed, **band)
        assert finding.measured == pytest.approx(share, abs=1e-6) and finding.passed is passed
    assert finding.reason == "largest line in the band: 3 MW at 0.5 Hz"
    still = recording(power={"campus": lambda t: 0.0 * t + 30.0})
    assert judged(still, "band_energy", max_fraction=0.1, **band).passed


def test_band_amplitude_is_that_of_the_largest_line():
    record = recording(power={"b": sine(5.0, 1.0), "campus": lambda t: sine(0.5, 6.0)(t) + sine(5.0, 2.0)(t)})
    for allowed, passed in ((1.01, True), (0.99, False)):
        finding = judged(record, "band_amplitude", low_hz=3.0, high_hz=30.0, max_mw=allowed)
        assert finding.measured == pytest.approx(1.0, abs=2.5e-3) and finding.passed is passed
        assert (finding.where, finding.reason) == ("campus", "at 5 Hz")
    assert judged(record, "band_amplitude", low_hz=3.0, high_hz=60.0, max_mw=1.0).passed is None
    narrow = judged(record, "band_amplitude", low_hz=4.01, high_hz=4.04, max_mw=1.0)  # no line within: 0.05 Hz apart
    assert narrow.passed and narrow.measured == 0.0
    between = recording(power={"a": sine(5.025, 2.0)})  # a plain spectrum would show 0.64 MW
    assert judged(between, "band_amplitude", low_hz=3.0, high_hz=30.0, max_mw=0.99).passed is False
    low = judged(record, "band_amplitude", low_hz=0.2, high_hz=30.0, max_mw=9.0)
    assert low.passed is None and "20 s is too short: 25 s" in low.reason


def test_soc_is_judged_at_the_nearer_end():
    record = recording(soc={"campus": lambda t: 0.5 - 0.02 * t})  # to 0.1002
    low = judged(record, "soc_window", low=0.2, high=0.8)
    assert (low.measured, low.allowed, low.passed) == (pytest.approx(0.1002), 0.2, False)
    assert low.margin == pytest.approx(-0.0998) and low.at_s == pytest.approx(19.99)
    high = judged(record, "soc_window", low=0.05, high=0.501)
    assert (high.measured, high.allowed, high.passed) == (0.5, 0.501, True) and high.at_s == 0.0


def test_each_of_several_batteries_is_judged(tmp_path):
    """Their mean, 0.5, is well where one is empty and the other full."""
    rows = block(TWO_SITES, 2000)
    rows["bess_soc"][:, :] = [0.5, np.nan]
    rows["battery_soc"][:, :] = [0.45, 0.95]
    trace = hdf5.read(write(tmp_path / "t.h5", TWO_SITES, rows))
    for site in ({}, {"site": "west"}, {"site": "west/fast"}):
        (finding,) = em.assess(trace, clause("soc_window", low=0.1, high=0.9, **site)).limits
        assert (finding.measured, finding.where, finding.passed) == (0.95, "west/fast", False)
    (finding,) = em.assess(trace, clause("soc_window", low=0.1, high=0.9, site="west/bess")).limits
    assert (finding.measured, finding.passed) == (0.45, True)
    (finding,) = em.assess(trace, clause("soc_window", low=0.1, high=0.9, site="öst")).limits
    assert finding.passed is None and "no soc of 'öst'" in finding.reason


def test_voltage_is_judged_at_the_nearer_end():
    record = recording(voltage={"a": step(7.0, -0.08, 1.0)})
    low = judged(record, "voltage_range", low_pu=0.95, high_pu=1.1)
    assert (low.measured, low.allowed, low.passed) == (pytest.approx(0.92), 0.95, False) and low.at_s == 7.0


def test_load_counts_as_away_only_while_voltage_is_there():
    """Away for 4 s, of which voltage lacks for 1.5 s; 2.5 s late at 10.99 s."""
    values = {"connected_share": {"a": away(4.0), "b": away(0.5)}, "voltage": {"a": away(1.5), "b": away(9.0)}}
    finding = judged(recording(**values), "load_return", above_pu=0.9, share=0.9, max_s=1.0)
    assert (finding.measured, finding.where, finding.passed) == (pytest.approx(2.5), "a", False)
    assert finding.at_s == pytest.approx(10.99)
    assert judged(recording(**values), "load_return", above_pu=0.9, share=0.4, max_s=1.0).measured == 0.0
    coarse = judged(recording(20.0, 0.2, **values), "load_return", above_pu=0.9, share=0.9, max_s=1.0, site="b")
    assert coarse.passed is None and "rows of 0.2 s hide" in coarse.reason


def test_a_load_that_is_not_seen_to_return_never_passes():
    """Voltage is back at 8.5 s, the load at 11 s: a record up to 9 s has seen half a second of waiting."""
    keys = {"above_pu": 0.9, "share": 0.9, "max_s": 1.0}
    parts = {"connected_share": {"a": away(4.0)}, "voltage": {"a": away(1.5)}}
    ends = judged(recording(9.0, **parts), "load_return", **keys)
    assert ends.measured == pytest.approx(0.5) and ends.passed is None
    assert "ends before the load is back" in ends.reason
    sagging = judged(recording(8.0, **parts), "load_return", **keys)
    assert sagging.passed is None and "ends before the voltage is back" in sagging.reason
    assert judged(recording(10.0, **parts), "load_return", **keys).passed is False
    parts = {"connected_share": {"a": away(4.0)}, "voltage": {"a": lambda t: np.where(t < 8.0, 1.0, np.nan)}}
    unseen = judged(recording(20.0, **parts), "load_return", **keys)
    assert unseen.passed is None and "voltage that is not finite" in unseen.reason


def test_rows_that_average_a_line_away_do_not_pass_it():
    """Means over 10 ms keep sinc(0.29) of 29 Hz: 86.8 %."""
    share, keys = np.sinc(0.29), {"low_hz": 5.0, "high_hz": 30.0, "max_mw": 1.0}
    hidden = judged(recording(power={"a": sine(29.0, 2.0 * share * 1.05)}), "band_amplitude", **keys)
    assert hidden.measured == pytest.approx(1.05 * share, abs=2.5e-3) and hidden.passed is None
    assert "keep 87% of a swing at 29 Hz: it may have 1.05 MW" in hidden.reason
    assert judged(recording(power={"a": sine(29.0, 2.0 * share * 0.95)}), "band_amplitude", **keys).passed


def test_rows_that_hide_a_shafts_peaks_do_not_pass_it():
    """A swing of 25 Hz seen each 10 ms is at most 1/cos(pi/4) larger than its largest value seen."""
    record = recording(shaft_torque={"g 1-2": sine(25.0, 0.2 * 0.75, 0.0)})
    known = replace(record, shaft_hz={"g 1-2": 25.0})
    for allowed, passed in ((0.107, True), (0.105, None), (0.074, False)):
        finding = judged(known, "shaft_torque", max_pu=allowed)
        assert finding.passed is passed, allowed
        assert ("rows of 0.01 s hide peaks of 25 Hz" in finding.reason) is (passed is None)
    assert judged(record, "shaft_torque", max_pu=0.076).passed  # of a shaft of which nothing is known
    fine = replace(recording(row_s=0.001, shaft_torque={"g 1-2": sine(25.0, 0.2, 0.0)}), shaft_hz={"g 1-2": 25.0})
    assert judged(fine, "shaft_torque", max_pu=0.1).passed  # within 5 %, as all rows are allowed
    blind = judged(replace(record, shaft_hz={"g 1-2": 60.0}), "shaft_torque", max_pu=1.0)
    assert blind.passed is None


def test_a_trace_tells_the_modes_of_its_shafts(scenario):
    shaft = """
        [run]
        duration_s = 0.1
        [grid]
        [[grid.area]]
        name = "w"
        inertia_s = 4.0
        [[grid.shaft]]
        name = "g"
        rated_mva = 100.0
        inertia_s = [0.5, 0.5]
        stiffness_pu = [20.0]
        generator_mass = 1
        coupling = 1.0
    """
    record = of_trace(em.run(scenario(shaft)), "made")
    assert record.shaft_hz == {"g 1-2": pytest.approx(math.sqrt(2 * 20.0 * 2 * math.pi * 60.0) / (2 * math.pi))}


def test_a_meter_for_another_grid_is_told():
    record = recording(600.0, 0.0025, voltage={"a": lambda t: 1.0 + 0.0 * t})
    ours, other = (judged(record, "flicker_pst", lamp_v=230, frequency_hz=hz, max_pst=1.0) for hz in (60.0, 50.0))
    assert ours.passed and ours.reason == ""
    assert other.passed and other.reason == "a meter for 50 Hz, the grid has 60 Hz"


def test_flicker_needs_its_ten_minutes_and_fine_rows():
    """0.894 % at 39 changes/min is Pst = 1 (Table 5 of IEC 61000-4-15, 230 V, 50 Hz)."""
    keys = {"lamp_v": 230, "frequency_hz": 50.0}

    def square(size: float):
        return lambda t: 1.0 + 0.5 * size * np.sign(np.sin(2.0 * np.pi * 39.0 / 120.0 * (t + 1e-6)))

    record = recording(720.0, 0.0025, voltage={"campus": square(0.00894)})
    assert judged(record, "flicker_pst", max_pst=1.05, **keys).measured == pytest.approx(1.0, abs=0.02)
    assert judged(record, "flicker_pst", max_pst=0.95, **keys).passed is False
    finding = judged(record, "flicker_plt", max_plt=1.0, **keys)
    assert finding.passed is None and "720 s is too short: 7200 s are looked at" in finding.reason
    short = judged(recording(599.0, 0.0025, voltage={"campus": square(0.1)}), "flicker_pst", max_pst=1.0, **keys)
    assert short.passed is None and np.isnan(short.measured) and "600 s" in short.reason
    coarse = judged(recording(720.0, 0.02, voltage={"campus": square(0.1)}), "flicker_pst", max_pst=1.0, **keys)
    assert coarse.passed is None and "rows of 0.02 s" in coarse.reason
    fast = judged(
        recording(600.0, 0.0025, voltage={"campus": sine(36.0, 0.01, 1.0)}), "flicker_pst", max_pst=9.0, **keys
    )
    assert fast.passed and "above 30 Hz, where an envelope is no flickermeter" in fast.reason
    remarked = judged(recording(720.0, 0.005, voltage={"campus": square(0.001)}), "flicker_pst", max_pst=1.0, **keys)
    assert remarked.passed and "200 rows a second" in remarked.reason


def test_flicker_over_two_hours():
    """Steady flicker: Plt = Pst. The worst of several 10 min is the one that counts for Pst."""
    keys = {"lamp_v": 230, "frequency_hz": 50.0}
    steady = recording(7200.0, 0.0025, voltage={"campus": sine(8.8, 0.0025, 1.0)})
    pst, plt = (judged(steady, f"flicker_{kind}", **{f"max_{kind}": 2.0}, **keys) for kind in ("pst", "plt"))
    assert plt.passed and plt.measured == pytest.approx(pst.measured, rel=1e-3)
    assert plt.at_s == 7200.0
    late = recording(1200.0, 0.0025, voltage={"campus": lambda t: sine(8.8, 0.0025, 1.0)(t) + 0.01 * (t > 900.0)})
    assert 900.0 < judged(late, "flicker_pst", max_pst=2.0, **keys).at_s < 902.0


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("sliding_window_change", {"window_s": 30.0, "max_mw": 9.0}),
        ("ramp_rate", {"over_s": 20.0, "max_mw_per_min": 1.0}),
        ("band_energy", {"low_hz": 0.01, "high_hz": 20.0, "max_fraction": 0.1, "reading": "variance"}),
        ("flicker_pst", {"lamp_v": 120, "frequency_hz": 60.0, "max_pst": 1.0}),
    ],
)
def test_a_short_record_never_passes(kind, keys):
    finding = judged(recording(power={"a": sine(0.5, 8.0)}, voltage={"a": sine(0.5, 0.01, 1.0)}), kind, **keys)
    assert finding.passed is None and "a record of 20 s" in finding.reason


def test_a_short_record_can_fail():
    finding = judged(recording(power={"a": sine(0.5, 12.0)}), "sliding_window_change", window_s=30.0, max_mw=9.0)
    assert finding.passed is False and "a record" not in finding.reason


@pytest.mark.parametrize(("row_s", "passed"), [(0.5, True), (0.51, None)])
def test_coarse_rows_never_pass_a_window(row_s, passed):
    record = recording(60.0, row_s, power={"a": sine(0.05, 8.0)})
    finding = judged(record, "sliding_window_change", window_s=5.0, max_mw=9.0)
    assert finding.passed is passed and ("rows of 0.51 s" in finding.reason) is (passed is None)


def test_rows_must_carry_the_band():
    keys = {"low_hz": 0.1, "high_hz": 20.0, "max_fraction": 0.9, "reading": "variance"}
    assert judged(recording(60.0, 0.025, power={"a": sine(0.05, 8.0)}), "band_energy", **keys).passed
    finding = judged(recording(60.0, 0.03, power={"a": sine(0.05, 8.0)}), "band_energy", **keys)
    assert finding.passed is None and "rows of 0.03 s carry at most 16.7 of 20 Hz" in finding.reason


@pytest.mark.parametrize("kind", sorted(limits.KINDS))
def test_what_nobody_recorded_is_not_assessable(kind):
    keys = {
        "sliding_window_change": {"window_s": 1.0}, "ramp_rate": {"over_s": 1.0}, "rocof": {"over_s": 1.0},
        "band_energy": {"low_hz": 0.1, "high_hz": 1.0, "reading": "variance"},
        "band_amplitude": {"low_hz": 0.1, "high_hz": 1.0},
        "flicker_pst": {"lamp_v": 120, "frequency_hz": 60.0}, "flicker_plt": {"lamp_v": 120, "frequency_hz": 60.0},
        "soc_window": {"low": 0.1}, "voltage_range": {"low_pu": 0.1}, "load_return": {"above_pu": 0.9, "share": 0.9},
    }.get(kind, {})  # fmt: skip
    finding = judged(recording(), kind, **keys, **{limits.KINDS[kind].allowed: 0.5})
    assert finding.passed is None and finding.allowed == 0.5 and "in the record" in finding.reason


def test_values_that_are_not_finite_are_not_assessable():
    finding = judged(recording(power={"a": lambda t: np.where(t > 4.995, np.nan, 1.0)}), "dynamic_range", max_mw=1.0)
    assert finding.passed is None and finding.reason == "values that are not finite, from 5 s on"
    broken = recording(power={"a": lambda t: np.where(t > 4.995, np.nan, sine(0.5, 8.0)(t))})
    assert judged(broken, "dynamic_range", max_mw=9.0).passed is None
    finding = judged(broken, "dynamic_range", max_mw=7.0)  # too much before that is too much
    assert finding.passed is False and finding.measured == pytest.approx(8.0) and finding.at_s == pytest.approx(1.5)


def test_a_limit_that_is_just_met_is_met():
    """Single precision of 1 GW is 6e-5 MW, beyond which a design for exactly 10 MW must not be thrown."""
    low, high = np.float32(1000.0), np.nextafter(np.float32(1010.0), np.float32(2000.0))
    record = recording(power={"a": lambda t: np.where(t > 7.0, high, low)})
    assert judged(record, "dynamic_range", max_mw=10.0).passed
    assert " 10         0 MW     pass" in limits.render(limits.assess(record, clause("dynamic_range", max_mw=10.0)))
    assert judged(record, "dynamic_range", max_mw=9.999).passed is False


def test_zero_has_no_sign():
    """Just met: no room. At rest, discharge positive: -0.0 MW. Just below: rounds to zero."""
    record = recording(
        power={"campus": lambda time_s: -1e-9 * (time_s > 7.0)}, soc={"campus": lambda time_s: -0.0 * time_s}
    )
    found = limits.assess(record, clause("dynamic_range", max_mw=1e-9))
    charge = limits.assess(record, clause("soc_window", low=0.0, high=1.0))
    figures = measures.measure(record)
    said = [limits.render(found), limits.render(charge), measures.render(figures), json.dumps(found.as_json())]
    said += [json.dumps(charge.as_json()), json.dumps([figure.as_json() for figure in figures])]
    assert found.limits[0].passed and found.limits[0].margin == 0.0 == charge.limits[0].margin
    for text in said:
        assert not re.search(r"-0(\.0*)?(?![.\d])", text), text
    assert [units.plain(x) for x in (-0.0, float("inf"), 1, "a")] == [0.0, None, 1, "a"]
    assert math.copysign(1.0, units.plain(-0.0)) == 1.0
    assert metrics._short(-1e-9) == "0.000"


def test_verdict_of_several_clauses():
    good, bad = (("dynamic_range", {"max_mw": max_mw}) for max_mw in (9.0, 7.0))
    open_ = ("tie_swing", {"max_mw": 1.0})
    record = recording(power={"a": sine(0.5, 8.0)})
    for clauses, verdict in (((good,), "pass"), ((good, open_), "not assessable"), ((good, open_, bad), "fail")):
        table = limits_schema.Limits(limit=tuple(clause(kind, **keys).limit[0] for kind, keys in clauses))
        assert limits.assess(record, table).verdict == verdict


def test_a_place_that_cannot_be_judged_comes_before_one_that_passes():
    record = recording(power={"a": sine(0.5, 8.0), "b": lambda t: np.full(len(t), np.nan)})
    finding = judged(record, "dynamic_range", max_mw=9.0)
    assert finding.passed is None and finding.where == "b"
    assert judged(record, "dynamic_range", max_mw=7.0).where == "a"


def test_a_trace_from_a_file(tmp_path):
    """Sites without a point of common coupling have no voltage, those without a battery no state of charge."""
    rows = block(TWO_SITES, 2000)
    rows["bess_soc"][:, 1] = np.nan
    trace = hdf5.read(write(tmp_path / "t.h5", TWO_SITES, rows))
    record = of_trace(trace, "t.h5")
    assert list(record.values["power"]) == ["west", "öst"] and record.span_s == 2.0
    assert list(record.values["voltage"]) == ["west"] and list(record.values["soc"]) == ["west/bess", "west/fast"]
    assert list(record.values["shaft torque"]) == ["g 1-2", "g 2-3"]
    assessment = em.assess(trace, clause("dynamic_range", max_mw=1.0, site="öst"))
    assert assessment.verdict == "fail" and assessment.trace == "made"
    power = rows["site_pcc_power_mw"][:, 1]
    assert assessment.limits[0].measured == pytest.approx(float(np.ptp(power.astype(float))))


@pytest.mark.parametrize(("skip_s", "passed", "measured"), [(0.0, False, 30.0), (7.0, True, 0.0), (6.99, False, 30.0)])
def test_a_start_can_be_left_out(skip_s, passed, measured):
    """A step of 30 MW into the row that begins at 7 s; an allowance of 10 MW in 5 s."""
    record = recording(power={"campus": step(7.0, 30.0)}, load={"campus": step(7.0, 30.0)})
    found = judged(record, "sliding_window_change", window_s=5.0, max_mw=10.0, skip_s=skip_s)
    assert (found.passed, found.measured) == (passed, pytest.approx(measured))
    assert ("not judged" in found.reason) == (skip_s > 0.0)


def test_what_is_left_after_the_start_must_show_the_window():
    record = recording(power={"campus": sine(0.5, 8.0)})
    found = judged(record, "sliding_window_change", window_s=5.0, max_mw=10.0, skip_s=16.0)
    assert found.passed is None and "a record of 4 s is too short" in found.reason
    assert judged(record, "soc_window", low=0.1, high=0.9, skip_s=30.0).passed is None


def test_what_a_clause_looks_at_is_all_that_is_read(tmp_path):
    """Judged on the channels of its quantities alone, every kind finds the same as on all."""
    rows = block(TWO_SITES, 2000)
    rows["site_connected_fraction"][:] = 0.5
    rows["site_pcc_voltage_pu"][:] = np.where(np.arange(2000) % 500 < 300, 1.0, 0.7)[:, None]
    path = write(tmp_path / "t.h5", TWO_SITES, rows)
    whole = of_trace(hdf5.read(path), "t")
    presets = [limits_schema.load(name) for name in catalog.names("limits")]
    made = [clause(kind, **keys, **{bound: 0.95}) for *_, kind, keys, bound, _, _ in KINDS]
    for table in (*presets, *made):
        channels = channels_of(limits.quantities(table))
        judged_alone = limits.assess(of_trace(hdf5.read(path, channels=channels), "t"), table)
        assert judged_alone.as_json() == limits.assess(whole, table).as_json()
        assert len(channels) < len(CHANNELS)
    assert {limit.kind for table in (*presets, *made) for limit in table.limit} == set(limits.KINDS)


def test_what_all_quantities_need_is_all_there_is(tmp_path):
    """Also the power of a site's only battery, which no quantity names as its channel."""
    path = write(tmp_path / "t.h5", TWO_SITES, block(TWO_SITES, 20))
    some = of_trace(hdf5.read(path, channels=channels_of(quantities)), "t").values
    whole = of_trace(hdf5.read(path), "t").values
    assert {q: set(at) for q, at in some.items()} == {q: set(at) for q, at in whole.items()}
    assert "öst" in some["battery power"] and "west/fast" in some["battery power"]


def test_an_incomplete_trace_is_said_to_be_one():
    record = recording(complete=False, power={"a": sine(0.5, 8.0)})
    assessment = limits.assess(record, clause("dynamic_range", max_mw=9.0))
    assert assessment.as_json()["complete"] is False
    assert "20 s of a run that did not end (interrupted): judged up to there" in limits.render(assessment)


def test_an_empty_trace_is_not_assessable(tmp_path):
    trace = hdf5.read(write(tmp_path / "t.h5", ONE_SITE, block(ONE_SITE, 0)))
    assert em.assess(trace, "ercot_draft").verdict == "not assessable"


def test_json_has_the_contracts_keys_and_no_nan():
    assessment = limits.assess(recording(power={"a": sine(0.5, 8.0)}), clause("tie_swing", max_mw=9.0))
    text = json.dumps(assessment.as_json(), allow_nan=False)
    (row,) = json.loads(text)["limits"]
    assert {"name", "kind", "measured", "allowed", "margin", "passed", "at_s", "where"} <= set(row)
    assert {"trace", "complete", "verdict", "limits"} <= set(json.loads(text))
    assert row["measured"] is None and row["passed"] is None


def test_table_in_text():
    record = recording(power={"a\x1b[2J": sine(0.5, 8.0)})
    text = str(limits.assess(record, clause("sliding_window_change", window_s=5.0, max_mw=7.0)))
    assert "\x1b" not in text and "a?[2J" in text
    assert all(
        word in text for word in ("FAIL", "MW", "-1", "1.500", "exceeded in 4 separate windows", "verdict: fail")
    )
    assert max(len(line) for line in text.splitlines()) <= 110
    name = "steady-state voltage band, interconnection agreement 4.2"
    wide = limits.render(limits.assess(record, clause("sliding_window_change", name=name, window_s=5.0, max_mw=7.0)))
    head, row = wide.splitlines()[1:3]
    assert row.startswith(f"{name} ") and head.index("status") == row.index("example")


def csv(path, time_s, power):
    path.write_text("time,load\n" + "".join(f"{t:.6f},{p:.6f}\n" for t, p in zip(time_s, power, strict=True)))
    return path


def test_a_recorded_power_unevenly_sampled(tmp_path):
    """A ramp of 2 MW/s for 10 s, sampled at random: 10 MW in any 5 s, 120 MW/min, wherever samples are."""
    time_s = np.cumsum(np.random.default_rng(0).uniform(0.1, 0.4, 200))
    record = of_file(
        csv(tmp_path / "load.csv", time_s, 1e3 * np.interp(time_s, [15, 25], [50, 70])), "time", "load", "kw"
    )
    assert not record.even and record.span_s == pytest.approx(time_s[-1] - time_s[0] + record.row_s)
    finding = judged(record, "sliding_window_change", window_s=5.0, max_mw=9.9)
    assert (finding.measured, finding.passed, finding.where) == (pytest.approx(10.0, rel=1e-5), False, "load")
    assert judged(record, "ramp_rate", over_s=5.0, max_mw_per_min=121.0).measured == pytest.approx(120.0, rel=1e-5)
    assert (
        judged(record, "flicker_pst", lamp_v=120, frequency_hz=60.0, max_pst=1.0).reason == "no voltage in the record"
    )


def test_band_energy_of_an_uneven_record(tmp_path):
    """A fifth of the variance at 0.4 Hz. Every 0.1 s, then every 0.3 s: rows taken as even would show that line twice,
    elsewhere. Lines between samples T apart cost (pi f T)^2/3 of its amplitude's square, 5 % at 0.3 s."""
    time_s = np.cumsum(np.repeat([0.1, 0.2, 0.3], 1000))
    power = sine(0.1, 8.0)(time_s) + sine(0.4, 4.0)(time_s)
    record = of_file(csv(tmp_path / "load.csv", time_s, power), "time", "load", "mw")
    finding = judged(record, "band_energy", low_hz=0.35, high_hz=0.45, max_fraction=0.5, reading="variance")
    assert finding.measured == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(
    ("text", "says"),
    [("t,load\n0,1\n1,2\n", "no column 'time'"), ("time,load\n0,1\n0,2\n", "repeats"), ("", "is empty")],
)
def test_bad_csv_in_words(tmp_path, text, says):
    (tmp_path / "load.csv").write_text(text)
    with pytest.raises(TraceError, match=says):
        of_file(tmp_path / "load.csv", "time", "load", "mw")


@pytest.mark.parametrize("name", catalog.names("limits"))
def test_presets_can_be_assessed(name):
    assert limits.assess(recording(power={"a": sine(0.5, 8.0)}), name).verdict in ("pass", "fail", "not assessable")


GOOD = '[[limit]]\nname = "a"\nkind = "dynamic_range"\nmax_mw = 1.0\nsource = "x"\nstatus = "draft"\n'

FLICKER = "frequency_hz = 60\nlamp_v = 100\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD.replace("1.0", "-1.0"), "limits.toml:4: limit.0.max_mw: is -1.0, must be > 0 MW"),
        (GOOD + "max_mv = 2.0\n", "limits.toml:7: limit.0.max_mv: unknown key; nearest: max_mw"),
        (GOOD.replace("dynamic_range", "dynamic"), "limits.toml:3: limit.0.kind: 'dynamic' is unknown; nearest: dyn"),
        (GOOD.replace('"draft"', '"law"'), "limit.0.status: 'law' is unknown; allowed: draft, example, in force, own"),
        (GOOD.replace("max_mw = 1.0\n", ""), "limit.0.max_mw: missing key: largest peak-to-peak power, in MW"),
        (GOOD.replace("dynamic_range", "soc_window").replace("max_mw = 1.0", "low = 0.5\nhigh = 0.4"), "low 0.5 must"),
        (GOOD.replace('"a"', '""'), "limits.toml:2: limit.0.name: is '', must not be empty"),
        (
            GOOD.replace("dynamic_range", "flicker_pst").replace("max_mw", "max_pst") + FLICKER,
            "limits.toml:8: limit.0.lamp_v: 100 is unknown; nearest: 120 (allowed: 120, 230)",
        ),
        ("[[limit]\n", "is not valid TOML"),
        ("limit = []\n", "limits.toml:1: limit: "),
        (GOOD + GOOD.replace("1.0", "true"), "limits.toml:10: limit.1.max_mw: is true"),
    ],
)  # fmt: skip
def test_bad_limits_in_words(tmp_path, text, says):
    (tmp_path / "limits.toml").write_text(text)
    with pytest.raises(ConfigError) as error:
        limits_schema.load(tmp_path / "limits.toml")
    assert says in str(error.value) and len(error.value.problems) == 1


def test_a_limit_of_ones_own_needs_no_source(tmp_path):
    (tmp_path / "limits.toml").write_text(GOOD.replace('source = "x"\nstatus = "draft"\n', ""))
    (limit,) = limits_schema.load(tmp_path / "limits.toml").limit
    assert (limit.source, limit.status) == ("not given", "own")


def test_unknown_limits_name_the_nearest():
    with pytest.raises(ConfigError, match="nearest: ercot_draft"):
        limits_schema.load("ercot_drat")
