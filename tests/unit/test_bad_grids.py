"""Grids that make no sense are refused in words, with the number to use."""

from __future__ import annotations

import pytest

from emulator import config
from emulator.complaint import ConfigError

GOOD = """
[run]
duration_s = 4.0
dt_s = 0.001
[[site]]
name = "campus"
area = "west"
job = [{name = "base", kind = "constant", power_mw = 10.0}]
[[grid.area]]
name = "west"
inertia_s = 4.0
load_mw = 100.0
governor = [{model = "lag"}]
agc = {bias_mw_per_hz = 300.0, reserve_mw = 50.0}
shedding = [{frequency_hz = 59.0, share = 0.1}]
[grid.area.inverters]
power_mw = 20.0
droop_pu = 0.01
[[grid.area]]
name = "east"
inertia_s = 4.0
[[grid.tie]]
between = ["west", "east"]
synchronizing_mw_per_rad = 300.0
[[grid.shaft]]
name = "unit"
area = "west"
preset = "ieee_first_benchmark"
coupling = 0.5
[[disturbance]]
kind = "generation_trip"
at_s = 1.0
area = "west"
mw = 10.0
inertia_mws = 100.0
"""
TIE = '[[grid.tie]]\nbetween = ["west", "east"]\nsynchronizing_mw_per_rad = 300.0\n'
SAG = "disturbance.0={kind='voltage_sag', at_s=1.0, depth_pu=0.1, duration_s=0.1}"
INVERTERS = "{power_mw=20.0, droop_pu=0.01, inertia_s=500.0, measurement_s=0.002, response_s=0.002}"
BESS = "site.0.bess={power_mw=1.0, energy_mwh=1.0, voltage_gain_pu=2.0}"
PCC = "site.0.pcc={short_circuit_ratio=5.0, x_over_r=10.0, nominal_kv=138.0, rated_mw=20.0}"


def refusal(tmp_path, text: str, *overrides: str) -> str:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "c.toml", overrides)
    return str(caught.value)


def test_the_good_one_is_good(tmp_path):
    (tmp_path / "c.toml").write_text(GOOD)
    config.load(tmp_path / "c.toml")
    config.load(
        tmp_path / "c.toml", [PCC, "site.0.facility.ride_through={}", "site.0.facility.constant_current_fraction=0.3"]
    )


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("grid.area.east.name=west",), "grid.area.1.name: 'west' is there 2 times; names must differ"),
        (("grid.area.west.inertia_s=-1.0",), "grid.area.0.inertia_s"),
        (("grid.area.west.governor.0.share=1.2",), "grid.area.0.governor.0.share"),
        (("grid.area.east.agc={bias_mw_per_hz=1.0, reserve_mw=1.0}",), "needs governors to give its orders to"),
        (("grid.area.west.governor.0.agc_participation=0.9",), "1 of 1 governor with agc_participation, sum 0.9: all"),
        (("grid.area.west.agc.cycle_s=0.0015",), "grid.area.0.agc.cycle_s: is 0.0015, no whole number of ticks"),
        (("grid.area.west.shedding.0.frequency_hz=60.0",), "is nominal, 60 Hz: below it sheds load"),
        (("grid.area.west.shedding.0.restore_hz=58.0",), "is 58, must be above 59 Hz"),
        (("grid.area.west.shedding.0.delay_s=0.0005",), "shedding.0.delay_s: is 0.0005, no whole number of ticks"),
        (("grid.area.west.inverters.response_s=0.0015",), "run.dt_s must be at most 0.00075 s"),
        (
            (f"grid.area.west.inverters={INVERTERS}",),
            "swings with the area's speed at 801 rad/s: run.dt_s must be at most 0.000624 s",
        ),
        (("grid.tie.0.initial_mw=301.0",), "no angle carries 300 MW or more"),
        (("grid.tie.0.limit_delay_s=0.0005",), "limit_delay_s"),
        (("grid.shaft.0.inertia_s=[1.0, 2.0]",), "stiffness_pu: has 5 values, must have 1: inertia_s has 2"),
        (("grid.shaft.0.generator_mass=6",), "generator_mass: is 6, counts from 0 to 5"),
        (("grid.shaft.0.stiffness_pu=[1.0, 1.0, -1.0, 1.0, 1.0]",), "has the value -1, must be positive"),
        (("grid.shaft.0.area=north",), "no area 'north'"),
        (("run.dt_s=0.01",), "swings at up to 47.46 Hz: run.dt_s must be at most 0.00527 s"),
        (("disturbance.0.inertia_mws=5000.0",), "leaves area west without inertia (-1000 MW s)"),
        (("disturbance.0.area=north",), "no area 'north'"),
        ((SAG,), "stiff voltage: give it [site.pcc]"),
        (("disturbance.0={kind='scr_change', at_s=9.0, short_circuit_ratio=3.0, site='campu'}",), "nearest: campus"),
        (("site.0.facility.ride_through={}",), "needs a voltage that moves: give site campus [site.pcc]"),
        ((BESS,), "voltage_gain_pu: needs a voltage that moves"),
        ((PCC, "site.0.facility.ride_through={trip_below_pu=0.95}"), "must be above trip_below_pu = 0.95"),
        (
            (PCC, "site.0.facility.constant_current_fraction=0.6", "site.0.facility.constant_impedance_fraction=0.6"),
            "sums to 1.2, at most 1",
        ),
    ],
)  # fmt: skip
def test_refused_in_words(tmp_path, overrides, says):
    assert says in refusal(tmp_path, GOOD, *overrides)


def test_areas_must_be_connected(tmp_path):
    assert "no ties connect east with west: add [[grid.tie]]" in refusal(tmp_path, GOOD.replace(TIE, ""))


def test_shares_of_stages_must_not_exceed_the_load(tmp_path):
    stages = "grid.area.west.shedding=[{frequency_hz=59.0, share=0.6}, {frequency_hz=58.8, share=0.6}]"
    assert "stages shed 1.2 of the load, at most 1 is there" in refusal(tmp_path, GOOD, stages)


def test_a_lone_shaft_needs_no_name(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(GOOD.replace('name = "unit"\n', ""))
    assert config.load(path).grid.shaft[0].name == "shaft"


def test_a_shaft_needs_its_area_named(tmp_path):
    text = GOOD.replace('area = "west"\npreset', "preset")
    assert "grid.shaft.0.area: missing key: give one of the grid's areas (west, east)" in refusal(tmp_path, text)
