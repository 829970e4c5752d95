"""Cells, temperature, outage, fleets and measurement of a site's batteries, against closed forms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp, trapezoid

import emulator as em
from emulator.bess import battery
from emulator.bess_schema import Bess
from emulator.complaint import ConfigError
from emulator.storages import _battery_params
from emulator.tune_batch import lost_mw as lost_mw_of
from tests.compiling import QUICKLY

LFP = (2.9, 3.2, 3.25, 3.28, 3.3, 3.32, 3.33, 3.34, 3.36, 3.4, 3.6)  # V, the shape of a textbook's, assumed
CELL = {"open_circuit_v": LFP, "lowest_v": 2.85, "highest_v": 3.65, "resistance_pu": 0.02}
SITE = """
    [run]
    duration_s = 20.0
    dt_s = 0.01
    chunk_ticks = 10
    [[site]]
    name = "campus"
    [[site.job]]
    name = "base"
    kind = "constant"
    power_mw = 50.0
    [site.bess]
    power_mw = 20.0
    energy_mwh = 1.0
    [site.controller]
    kind = "ramp_limit"
    ramp_mw_per_s = 0.2
    [[disturbance]]
    kind = "load_step"
    at_s = 1.0
    site = "campus"
    mw = 10.0
"""


def params(**more) -> battery.BatteryParams:
    return _battery_params(Bess.model_validate({"power_mw": 10.0, "energy_mwh": 10.0} | more))


def played(p, command_mw, dt_s=1.0, lost=0.0):
    """States after each tick of a battery that is given commands, and its powers."""
    start = battery.initial(p, 0)
    one = jnp.ones(())

    def tick(state, xs):
        order, number = xs
        limits = battery.bounds(p, state, lost * one, one, 0.0 * one, dt_s)
        state, acted = battery.step(p, state, order, limits, number, dt_s)
        return state, (state, acted)

    return jax.lax.scan(tick, start, (jnp.asarray(command_mw), jnp.arange(len(command_mw), dtype=jnp.int32)))[1]


def stored(soc: float) -> float:
    """Energy above SOC 0, over that at SOC 1: the integral of the open-circuit voltage, linear between its points."""
    volts = np.asarray(CELL["open_circuit_v"])
    at = np.linspace(0.0, 1.0, len(volts))
    below = np.append(at[at < soc], soc)
    return float(trapezoid(np.interp(below, at, volts), below) / trapezoid(volts, at))


def test_cells_conserve_energy_over_a_day(x64):
    """Terminal energy = change of what is stored - losses of converter and resistance, to 1e-6 of the throughput."""
    rng = np.random.default_rng(0)
    p = params(cell=CELL, charge_efficiency=0.98, discharge_efficiency=0.97)
    command = np.repeat(rng.uniform(-8.0, 8.0, 24 * 12), 300)  # five minutes each
    state, _ = played(p, command)
    power, soc = np.asarray(state.power_mw), np.asarray(state.soc.value + state.soc.rest)
    dc = np.where(power > 0, power / 0.97, power * 0.98)
    current = -np.diff(soc, prepend=0.5) * 3600.0  # of 10 MW over 10 MWh: the charge that went, per unit
    lost_mws = np.sum(dc - power) + np.sum(10.0 * 0.02 * current**2)
    energy = [stored(s) * 36000.0 for s in (0.5, soc[-1])]
    # Midpoint rule: third order in what a tick takes, 2e-4 of the charge, but second at the curve's ten kinks.
    assert np.sum(power) + lost_mws + energy[1] - energy[0] == pytest.approx(0.0, abs=1e-6 * np.abs(power).sum())
    assert np.ptp(soc) > 0.3 and lost_mws > 0.02 * np.abs(power).sum()


def test_losses_are_those_of_converter_and_resistance(x64, scenario):
    """Both of a run's metric and of tuning's cost; half the units are out of service. Charge that counted as energy, at
    whatever voltage it comes, would make it 31 % more. Midpoint rule: second order in 2e-4 of the charge, at kinks."""
    cells = ", ".join(f"{key} = {value}" for key, value in dict(CELL, open_circuit_v=list(LFP)).items())
    numbers = "power_mw = 40.0, energy_mwh = 0.4, availability = 0.5, soc_initial = 0.35, auxiliary_mw = 0.1"
    loaded = scenario(SITE, f"site.0.bess={{{numbers}, discharge_efficiency = 0.97, cell = {{{cells}}}}}")
    trace = em.run(loaded)
    power = np.asarray(trace.site_bess_power_mw[:, 0], np.float64) + 0.05
    current = -np.diff(trace.bess_soc[:, 0]) * 0.2 * 3600.0 / 0.01 / 20.0
    lost_mw = np.mean(power[:-1] * (1.0 / 0.97 - 1.0) + 20.0 * 0.02 * current**2 + 0.05)
    found = {its.name: its.value for its in em.measure(trace) if its.quantity == "battery"}
    near = 1e-7 * power.mean()
    assert found["losses_mwh"] * 3600.0 / 19.99 == pytest.approx(lost_mw, abs=near)
    layout, its, state, inputs = em.build(loaded)
    _, frames = jax.jit(em.rollout, static_argnums=0, compiler_options=QUICKLY)(layout, its, state, inputs)
    assert float(lost_mw_of(layout, its, frames)) == pytest.approx(lost_mw, abs=near)


def test_ideal_cells_are_no_cells(x64):
    """A flat voltage and next to no resistance."""
    command = 9.0 * np.sin(np.arange(600) / 50.0)
    flat = {"open_circuit_v": (3.3, 3.3 + 1e-12), "lowest_v": 3.0, "highest_v": 3.6, "resistance_pu": 1e-12}
    plain, celled = (played(params(**more), command)[0] for more in ({}, {"cell": flat}))
    np.testing.assert_allclose(celled.soc.value, plain.soc.value, atol=1e-11)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_terminal_voltage_takes_power_away_at_the_ends(x64, sign):
    """Ordered full power all the time: the terminal stays within its voltages, and reaches the one it runs into."""
    p = params(cell=CELL, soc_initial=0.5)
    state, acted = played(p, sign * np.full(4000, 10.0))
    soc = np.concatenate([[0.5], np.asarray(state.soc.value)[:-1]])
    power = np.asarray(state.power_mw) / 10.0
    v = np.interp(soc, np.linspace(0, 1, 11), np.asarray(p.cell.open_circuit_pu))
    i = (v - np.sqrt(v**2 - 4 * 0.02 * power)) / 0.04
    terminal = (v - 0.02 * i) * np.mean((np.array(LFP[1:]) + LFP[:-1]) / 2)
    assert terminal.min() >= 2.85 - 1e-9 and terminal.max() <= 3.65 + 1e-9
    held = np.asarray(acted.soc)
    assert held.any() and not held[:100].any()
    first = int(np.argmax(held))
    assert terminal[first] == pytest.approx(2.85 if sign > 0 else 3.65, abs=1e-3)
    assert np.all(np.abs(power[first + 1 :]) < 1.0)


def test_temperature_and_derating(x64):
    """C dT/dt = losses - G (T - ambient) under full power: exponential to losses / G, derated where that is too hot."""
    warm = {"heat_capacity_kwh_per_k": 20.0, "cooling_kw_per_k": 20.0, "derate_from_c": 60.0, "derate_to_c": 80.0}
    p = params(discharge_efficiency=0.95, energy_mwh=1000.0, thermal=warm)
    state, _ = played(p, np.full(2000, 9.0), dt_s=1.0)
    heat_kw, t = 9000.0 * (1 / 0.95 - 1), np.arange(1, 2001)
    expected = heat_kw / 20.0 * (1 - np.exp(-t / 3600.0))
    cool = expected < 35.0
    np.testing.assert_allclose(np.asarray(state.warmer_k.value)[cool], expected[cool], rtol=1e-12)
    p = params(discharge_efficiency=0.95, energy_mwh=1000.0, thermal=warm | {"cooling_kw_per_k": 10.0})
    hot = played(p, np.full(50000, 10.0), dt_s=1.0)[0]
    # Steady: k P = T - 25, P = 10 (80 - T) / 20.
    k = 1000.0 * (1 / 0.95 - 1) / 10.0
    steady = (k * 10.0 * 55.0 / 20.0) / (1 + k * 10.0 / 20.0)
    assert float(hot.warmer_k.value[-1]) == pytest.approx(steady, rel=1e-6)
    assert float(hot.power_mw[-1]) == pytest.approx(10.0 * (55.0 - steady) / 20.0, rel=1e-6)


NUMBERS = st.fixed_dictionaries(
    {
        "soc_min": st.floats(0.0, 0.4),
        "soc_max": st.floats(0.6, 1.0),
        "soc_initial": st.floats(0.4, 0.6),
        "charge_efficiency": st.floats(0.7, 1.0),
        "discharge_efficiency": st.floats(0.7, 1.0),
        "response_s": st.floats(0.1, 2.0),
        "ramp_mw_per_s": st.floats(0.5, 50.0),
        "current_limit_pu": st.floats(0.5, 1.2),
        "self_discharge_per_h": st.floats(0.0, 0.5),
        "energy_mwh": st.floats(0.03, 0.1),
    }
)


@settings(max_examples=1000, deadline=None)
@given(NUMBERS, st.booleans(), st.integers(0, 2**32 - 1))
def test_every_limit_holds(numbers, celled, seed):
    """Random batteries under wild orders, with outages: rating, current, ramp, window, terminal voltage."""
    p = params(**numbers, cell=CELL) if celled else params(**numbers)
    rng = np.random.default_rng(seed)
    order = np.repeat(rng.uniform(-20.0, 20.0, 4), 50).astype(np.float32)  # an end is met in one case of five
    lost = np.repeat(rng.choice([0.0, 0.0, 0.4, 1.0], 20), 10).astype(np.float32)
    voltage = np.repeat(rng.uniform(0.6, 1.1, 20), 10).astype(np.float32)
    powers, socs = (np.asarray(x, np.float64) for x in WILD(p, order, lost, voltage))
    eps = 1e-5  # float32: 1e-7 of 10 MW, and of sums of some such
    most = np.minimum(10.0, numbers["current_limit_pu"] * 10.0 * voltage) * (1.0 - lost)
    assert np.all(np.abs(powers) <= most + eps)
    before, step = np.concatenate([[numbers["soc_initial"]], socs[:-1]]), numbers["ramp_mw_per_s"] * 0.1
    # A battery that its rating, its store or its cells hold back may stop faster than its ramp, but never start so.
    starts = np.abs(powers) > np.abs(np.concatenate([[0.0], powers[:-1]]))
    assert np.all(np.abs(np.diff(powers, prepend=0.0))[starts] <= step + eps)
    # With cells the midpoint is itself an estimate: third order in what a tick takes, a hundredth.
    near = 1e-5 if celled else 1e-6
    assert np.all(socs <= numbers["soc_max"] + near)
    leaked = numbers["self_discharge_per_h"] * 20.0 / 3600.0
    assert np.all(socs >= numbers["soc_min"] - leaked - near)
    if celled:
        scale = np.mean((np.array(LFP[1:]) + LFP[:-1]) / 2)
        v = np.interp(before, np.linspace(0, 1, 11), LFP) / scale
        dc = (
            np.where(powers > 0, powers / numbers["discharge_efficiency"], powers * numbers["charge_efficiency"]) / 10.0
        )
        u = 0.5 * (v + np.sqrt(v**2 - 0.08 * dc))
        assert np.all((u >= 2.85 / scale - 1e-5) & (u <= 3.65 / scale + 1e-5))


@jax.jit
def WILD(p, order, lost, voltage):
    """Powers and states of charge after each tick of 0.1 s."""

    def tick(state, xs):
        command, gone, volts, number = xs
        limits = battery.bounds(p, state, gone, volts, jnp.zeros_like(volts), 0.1)
        state, _ = battery.step(p, state, command, limits, number, 0.1)
        return state, (state.power_mw, state.soc.value)

    return jax.lax.scan(tick, battery.initial(p, 0), (order, lost, voltage, jnp.arange(len(order), dtype=jnp.int32)))[1]


def test_self_discharge_and_auxiliaries(x64, emulate):
    """exp(-k t); the auxiliaries are drawn at the terminals, from the first tick on, and the grid stands still."""
    idle = played(params(self_discharge_per_h=0.1), np.zeros(3600))[0]
    assert float(idle.soc.value[-1]) == pytest.approx(0.5 * np.exp(-0.1), rel=2e-6)  # Euler: k^2 dt t / 2 = 1.4e-6
    grid = "grid={area=[{name='a', inertia_s=4.0, governor=[{model='reheat'}]}]}"
    trace = emulate(SITE, "site.0.bess.auxiliary_mw=0.5", "disturbance=[]", grid)
    assert np.all(trace.site_bess_power_mw == -0.5) and np.all(trace.site_pcc_power_mw == 50.5)
    assert np.all(trace.area_frequency_hz == 60.0) and np.all(trace.bess_soc == 0.5)


def test_outage(emulate):
    """All converters trip at once and return: in between the grid carries all. Half of them: half of the power."""
    out = "{kind='bess_outage', at_s=3.0, duration_s=4.0}"
    step = "{kind='load_step', at_s=1.0, site='campus', mw=10.0}"
    trace = emulate(SITE, f"disturbance=[{step}, {out}]", "site.0.bess.response_s=0.5")
    power = trace.site_bess_power_mw[:, 0]
    assert power[299] > 5.0 and np.all(power[300:700] == 0.0) and power[800] > 1.0
    assert [(e.kind, e.time_s) for e in trace.events if e.kind.startswith("bess_") and "limit" not in e.kind] == [
        ("bess_outage", 3.0), ("bess_return", 7.0)]  # fmt: skip
    half = emulate(SITE, f"disturbance=[{step}, {out.replace('}', ', share=0.8}')}]")
    assert half.site_bess_power_mw[310, 0] == pytest.approx(4.0)


def test_availability_takes_power_and_energy_along(emulate):
    whole = emulate(SITE, "site.0.bess.power_mw=8.0", "site.0.bess.energy_mwh=0.1")
    part = emulate(SITE, "site.0.bess.units=4", "site.0.bess.power_mw=4.0", "site.0.bess.energy_mwh=0.05",
                   "site.0.bess.availability=0.5")  # fmt: skip
    np.testing.assert_array_equal(whole.site_bess_power_mw, part.site_bess_power_mw)
    np.testing.assert_array_equal(whole.bess_soc, part.bess_soc)
    assert whole.site_bess_power_mw.max() == 8.0


def test_a_limit_of_current_shrinks_with_the_voltage(x64, emulate):
    """|P + jQ| <= V I S: in a sag active power gives way, or, with priority, reactive power first."""
    pcc = "site.0.pcc={short_circuit_ratio=5.0, x_over_r=10.0, nominal_kv=138.0, rated_mw=100.0}"
    sag = "{kind='voltage_sag', at_s=5.0, depth_pu=0.3, duration_s=5.0}"
    step = "{kind='load_step', at_s=1.0, site='campus', mw=20.0}"
    more = (pcc, f"disturbance=[{step}, {sag}]", "site.0.bess.current_limit_pu=1.0",
            "site.0.controller.ramp_mw_per_s=0.01", "site.0.bess.voltage_gain_pu=2.0",
            "site.0.bess.voltage_response_s=0.0")  # fmt: skip
    for priority in ("active", "reactive"):
        trace = emulate(SITE, *more, f"site.0.bess.priority={priority}")
        power, voltage = trace.site_bess_power_mw[:, 0], trace.site_pcc_voltage_pu[:, 0]
        mvar = -trace.site_pcc_reactive_mvar[:, 0]
        apparent = np.hypot(power, mvar)
        assert np.all(apparent[1:] <= 20.0 * voltage[:-1] + 1e-6)  # by the voltage of the tick before
        in_sag = slice(520, 990)
        assert np.all(apparent[in_sag] == pytest.approx(20.0 * voltage[in_sag], abs=1e-4))
        if priority == "active":
            assert np.all(mvar[in_sag] < 0.1)
        else:
            wanted = 2.0 * 20.0 * (voltage[0] - voltage[in_sag])
            assert np.all(mvar[in_sag] == pytest.approx(np.minimum(wanted, 20.0 * voltage[in_sag]), abs=1e-4))


def test_fast_and_slow_store_split_at_the_crossover(x64, emulate, tmp_path):
    """First-order: the fast one gets 1/(1 + (fc/f)^2)^0.5 of a sine, the slow one the rest; together all of it."""
    fast = "{name='fast', power_mw=20.0, energy_mwh=0.1, crossover_hz=0.2}"
    job = "{name='b', kind='replay', path='sine.csv', power_column='p', unit='mw'}"
    t = np.arange(0, 60.01, 0.01)
    wave = 50.0 + 5.0 * np.sin(2 * np.pi * 0.4 * t)
    np.savetxt(tmp_path / "sine.csv", np.column_stack([t, wave]), "%.9g", ",", header="t_s,p", comments="")
    trace = emulate(SITE, f"site.0.job=[{job}]", f"site.0.store=[{fast}]", "site.0.controller={kind='expanding_mean'}",
                    "disturbance=[]", "run.duration_s=60.0")  # fmt: skip
    both = trace.battery_power_mw[3000:5500]
    assert trace.header.labels["battery"] == ("campus/bess", "campus/fast")
    np.testing.assert_allclose(trace.battery_power_mw.sum(axis=1), trace.site_bess_power_mw[:, 0], atol=1e-9)
    gains = np.sqrt(2) * both.std(axis=0) / 5.0
    assert gains == pytest.approx([1 / np.hypot(1, 2), 2 / np.hypot(1, 2)], rel=0.01)  # ticks of 0.01 s: 1e-3


def test_a_hybrid_keeps_the_fast_stores_charge(x64, emulate, tmp_path):
    """Battery and supercapacitor of arXiv 2512.08076, crossover at 0.2 Hz, its dominant lines of 0.05 and 0.15 Hz: the
    fast store swings by the energy of its share, 2 A g / (2 pi f), and drifts by its losses alone."""
    t = np.arange(0, 200.01, 0.01)
    wave = 50.0 + sum(6.0 * np.sin(2 * np.pi * f * t) for f in (0.05, 0.15))
    np.savetxt(tmp_path / "sine.csv", np.column_stack([t, wave]), "%.9g", ",", header="t_s,p", comments="")
    job = "site.0.job=[{name='b', kind='replay', path='sine.csv', power_column='p', unit='mw'}]"
    main = "site.0.bess={preset='hess_bess'}"
    fast = "{name='fast', preset='hess_supercap', crossover_hz=0.2}"
    more = (job, main, "site.0.controller={kind='expanding_mean'}", "disturbance=[]", "run.duration_s=200.0")
    trace = emulate(SITE, *more, f"site.0.store=[{fast}]")
    charge_mwh = 0.1 * trace.battery_soc[:, 1]
    gains = {f: f / np.hypot(f, 0.2) for f in (0.05, 0.15)}
    expected_mwh = sum(2 * 6.0 * gain / (2 * np.pi * f) for f, gain in gains.items()) / 3600
    # The mean settles in the first half. Losses add a slope; the two lines, in phase only here and there, reach 0.8.
    rows = slice(9000, 19000)  # 100 s, five and fifteen periods
    drift_mwh = charge_mwh[19000] - charge_mwh[9000]
    swing_mwh = np.ptp(charge_mwh[rows] - drift_mwh * np.arange(10000) / 10000)
    assert 0.7 * expected_mwh < swing_mwh < 1.02 * expected_mwh
    power_mw = trace.battery_power_mw[rows, 1]
    lost_mw = np.where(power_mw > 0, power_mw * (1 / 0.97 - 1), -power_mw * 0.03).mean()
    assert -drift_mwh == pytest.approx((lost_mw + power_mw.mean()) * 100 / 3600, rel=1e-3)
    assert np.abs(power_mw.mean()) < 0.01 * np.abs(power_mw).mean()  # nothing but losses: it passes no mean on
    assert not [event for event in trace.events if event.kind == "bess_soc_limit"]


def test_batteries_without_crossover_share_by_power(emulate):
    other = "{name='other', power_mw=5.0, energy_mwh=1.0}"
    trace = emulate(SITE, f"site.0.store=[{other}]")
    ratio = trace.battery_power_mw[150:500, 0] / trace.battery_power_mw[150:500, 1]
    np.testing.assert_allclose(ratio, 4.0, rtol=1e-5)


def test_each_battery_is_restored_to_its_own_charge(emulate):
    """Different states of charge at the start, no load to follow: both go to theirs, at soc_gain P / E."""
    other = "{name='other', power_mw=10.0, energy_mwh=1.0, soc_initial=0.3, self_discharge_per_h=0.9}"
    trace = emulate(SITE, f"site.0.store=[{other}]", "disturbance=[]", "site.0.controller.soc_gain=200.0")
    # Leak 0.9 x 0.3 / h of 1 MWh = 0.27 MW, carried at an error of 0.27 / (200 x 10); the other one rests.
    assert trace.battery_soc[-1, 1] == pytest.approx(0.3 - 0.27 / 2000, abs=2e-6)
    assert np.all(trace.battery_soc[:, 0] == 0.5)


def test_measurement_lags(x64, emulate):
    """A step of load seen behind 1/(1 + T s), of frequency behind the phase-locked loop: droop answers as late."""
    trace = emulate(SITE, "site.0.measurement.filter_s=0.5", "site.0.controller.ramp_mw_per_s=1e-6")
    t = trace.time_s[100:] - 1.0
    np.testing.assert_allclose(trace.bess_command_mw[100:, 0], 10.0 * (1 - np.exp(-(t + 0.01) / 0.5)), atol=2e-5)
    grid = "grid={base_mva=1000.0, area=[{name='a', inertia_s=4.0, damping_pu=2.0}]}"
    droop = "site.0.controller={kind='droop', droop_pu=0.05}"
    seen = emulate(SITE, grid, droop, "site.0.measurement.pll_s=0.3")
    w = seen.area_frequency_hz[:, 0] / 60.0 - 1.0
    lagged = solve_ivp(
        lambda s, y: (np.interp(s, seen.time_s, w) - y) / 0.3, (0, 19.99), [0.0], t_eval=seen.time_s, max_step=0.01,
        rtol=1e-8, atol=1e-12,
    ).y[0]  # fmt: skip
    # The order of a tick follows the speed at its start, held over the tick: half a tick ahead of the exact lag.
    np.testing.assert_allclose(
        seen.bess_command_mw[:, 0], -20.0 / 0.05 * lagged, atol=0.02 * np.ptp(20.0 / 0.05 * lagged)
    )


def test_the_controller_acts_once_a_period(emulate):
    trace = emulate(SITE, "site.0.measurement.period_s=0.25")
    changes = np.flatnonzero(np.diff(trace.bess_command_mw[:, 0])) + 1
    assert len(changes) > 40 and set(changes % 25) == {0}
    # The filter's state goes on at the right speed: the ramp ends as without sampling, but for one period.
    plain = emulate(SITE)
    assert np.abs(trace.site_pcc_power_mw - plain.site_pcc_power_mw)[130:].max() <= 0.2 * 0.25 + 1e-4


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("site.0.bess.energy_mwh=1e-4",), "lasts 0.018 s at full power, less than a chunk of 0.1 s: give at least"),
        (("site.0.bess.soc_min=0.6", "site.0.bess.soc_max=0.6"), "soc_min: is 0.6, must be below soc_max = 0.6"),
        (("site.0.bess.charge_efficiency=1.01",), "charge_efficiency: is 1.01"),
        (("site.0.bess.delay_s=0.015",), "delay_s: is 0.015, no whole number of ticks"),
        (("site.0.store=[{name='f', power_mw=1.0, energy_mwh=1.0, crossover_hz=60.0}]",), "above half the tick rate"),
        (
            ("site.0.store=[{name='a', power_mw=1.0, energy_mwh=1.0, crossover_hz=1.0}, "
             "{name='b', power_mw=1.0, energy_mwh=1.0, crossover_hz=2.0}]",),
            "store.1.crossover_hz: is 2 Hz, must be below 1 Hz",
        ),
        (("site.0.store=[{name='f', power_mw=1.0, energy_mwh=1.0, delay_s=0.001}]",), "store.0.delay_s: is 0.001"),
        (("site.0.measurement.period_s=0.015",), "measurement.period_s: is 0.015, no whole number"),
        (("site.0.measurement.filter_s=0.001",), "filter_s: is 0.001 s, too short for ticks of 0.01 s"),
        (("site.0.bess.cell={open_circuit_v=[3.0, 2.9], lowest_v=2.0, highest_v=3.0, resistance_pu=0.1}",),
         "must rise"),
        (("site.0.bess.thermal={heat_capacity_kwh_per_k=1.0, cooling_kw_per_k=1.0, derate_from_c=50.0, "
          "derate_to_c=45.0}",), "derate_to_c: is 45, must be above"),
        (("site.0.bess.priority=reactive",), "current_limit_pu: missing key: with priority"),
        (("disturbance=[{kind='bess_outage', at_s=1.0, share=0.7}, {kind='bess_outage', at_s=2.0, share=0.5}]",),
         "disturbance.1.share: with outages before it 1.2 are lost"),
        (("disturbance=[{kind='bess_outage', at_s=1.0, site='campu'}]",), "no site 'campu'.*nearest: campus"),
    ],
)  # fmt: skip
def test_refused_in_words(scenario, overrides, says):
    with pytest.raises(ConfigError, match=says):
        scenario(SITE, *overrides)
