"""Grid-forming batteries: alone against the closed form, beside machines against scipy, at their limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from emulator.complaint import ConfigError

ISLAND = """
    [run]
    duration_s = 10.0
    dt_s = 0.002
    [[site]]
    name = "campus"
    [[site.job]]
    name = "base"
    kind = "constant"
    power_mw = 50.0
    [site.bess]
    power_mw = 100.0
    energy_mwh = 100.0
    mode = "grid_forming"
    forming_droop_pu = 0.02
    forming_inertia_s = 5.0
    [[grid.area]]
    name = "island"
    rated_mva = 100.0
    inertia_s = 0.0
    [[disturbance]]
    kind = "load_step"
    at_s = 1.0
    site = "campus"
    mw = 30.0
"""


TIED = """
    [run]
    duration_s = 4.0
    dt_s = 0.001
    [[site]]
    name = "s"
    area = "a"
    job = [{name = "c", kind = "constant", power_mw = 10.0}]
    bess = {power_mw = 60.0, energy_mwh = 10.0, mode = "grid_forming"}
    [[grid.area]]
    name = "a"
    rated_mva = 100.0
    inertia_s = 0.0
    [[grid.area]]
    name = "b"
    rated_mva = 500.0
    inertia_s = 4.0
    load_mw = 100.0
    governor = [{model = "lag"}]
    [[grid.tie]]
    between = ["a", "b"]
    synchronizing_mw_per_rad = 100.0
    initial_mw = 5.0
    [[disturbance]]
    kind = "load_step"
    area = "b"
    at_s = 1.0
    mw = 20.0
"""


def test_the_only_source_carries_a_step_of_thirty_percent(x64, emulate):
    """w(t) = -R dP (1 - exp(-t / (2 H R))): droop in the end, virtual inertia on the way; time constant 0.2 s."""
    trace = emulate(ISLAND)
    t = trace.time_s - 1.0
    speed = np.where(t > 0, -0.02 * 0.3 * (1 - np.exp(-t / (2 * 5.0 * 0.02))), 0.0)
    # Runge-Kutta at dt/T = 0.01: 1e-10 of the swing.
    np.testing.assert_allclose(trace.area_frequency_hz[:, 0], 60 * (1 + speed), atol=1e-8)
    # It carries all there is, exactly as it comes: nothing is left for the grid, which is not there.
    expected = np.where(t >= -1e-9, 80.0, 50.0)
    # The tick's mean speed is that of its ends: (dt/T)^2/12 = 8e-6 of the step.
    np.testing.assert_allclose(trace.site_bess_power_mw[:, 0], expected, atol=3e-4)
    np.testing.assert_allclose(trace.site_pcc_power_mw[:, 0], 0.0, atol=3e-4)
    energy = np.sum(trace.site_bess_power_mw) * 0.002 / 3600
    assert 0.5 - trace.bess_soc[-1, 0] == pytest.approx(energy / 100.0, rel=1e-3)
    assert np.abs(trace.area_mechanical_power_mw).max() == 0.0


@pytest.mark.parametrize("override", ["response_s=0.05", "ramp_mw_per_s=20.0", "delay_s=0.1"])
def test_lag_ramp_and_delay_are_those_of_its_reference(x64, emulate, override):
    """Without orders they change nothing, whatever the tick: droop and inertia are the voltage source's own."""
    ideal, real = (emulate(ISLAND, "run.duration_s=2.0", *its) for its in ((), (f"site.0.bess.{override}",)))
    np.testing.assert_array_equal(real.area_frequency_hz, ideal.area_frequency_hz)
    np.testing.assert_array_equal(real.site_bess_power_mw, ideal.site_bess_power_mw)


def test_an_order_reaches_it_as_a_lag_of_its_reference(x64, emulate):
    """Beside machines of 1e8 MVA, whose speed stands still, power is P_ref: 30 MW through 1/(1 + 0.05 s)."""
    stiff = "grid.area.0={name='island', rated_mva=1e8, inertia_s=10.0}"
    order = "site.0.controller={kind='low_pass', cutoff_hz=1e-6}"
    trace = emulate(ISLAND, stiff, order, "site.0.bess.response_s=0.05", "run.duration_s=2.0")
    ticks = np.arange(1, len(trace.time_s) - 500 + 1)
    expected = 30.0 * (1.0 - np.exp(-ticks * 0.002 / 0.05))
    # The corner of 1e-6 Hz lets 2 pi 1e-6 of the order go in a second, the machines' speed 5e-4 MW.
    np.testing.assert_allclose(trace.site_bess_power_mw[500:, 0], expected, atol=1e-3)


def test_it_is_listed_with_the_power_of_the_tick(emulate):
    """A battery with a temperature is recorded by itself too: the same power at the same time."""
    thermal = "{heat_capacity_kwh_per_k=5.0, cooling_kw_per_k=2.0, derate_from_c=45.0, derate_to_c=60.0}"
    trace = emulate(ISLAND, f"site.0.bess.thermal={thermal}", "site.0.bess.auxiliary_mw=0.5", "run.duration_s=2.0")
    np.testing.assert_array_equal(trace.battery_power_mw, trace.site_bess_power_mw)
    assert np.ptp(trace.battery_power_mw) > 29.0


def test_flat_start_alone(emulate):
    trace = emulate(ISLAND, "disturbance=[]")
    assert np.abs(trace.area_frequency_hz - 60).max() < 1e-9
    np.testing.assert_allclose(trace.site_bess_power_mw, 50.0, atol=1e-5)


def test_all_of_the_load_lost(emulate):
    """100 % load rejection: over-frequency by droop, 0.5 x 0.02, and no power."""
    trace = emulate(ISLAND, "disturbance.0.mw=-50.0")
    assert trace.complete
    assert trace.area_frequency_hz[-1, 0] == pytest.approx(60 * 1.01, abs=1e-4)
    assert trace.site_bess_power_mw[-1, 0] == pytest.approx(0.0, abs=1e-3)


def test_overload_of_the_only_source_ends_the_run(emulate):
    trace = emulate(ISLAND, "disturbance.0.mw=60.0")
    assert not trace.complete and "overload: the battery of site campus" in trace.stop_reason
    assert trace.time_s[-1] == pytest.approx(1.0, abs=2.1e-3)


@pytest.mark.parametrize(
    ("override", "at_s"),
    [
        ("site.0.bess.current_limit_pu=0.7", 1.0),  # 70 MW at 1 pu, the step asks for 80
        ("site.0.bess.availability=0.7", 1.0),
        ("disturbance=[{kind='bess_outage', at_s=4.0, share=0.6}]", 4.0),  # 40 MW are left for 50
    ],
)
def test_limits_of_its_converter_hold_for_it_too(emulate, override, at_s):
    trace = emulate(ISLAND, override)
    assert not trace.complete and "overload" in trace.stop_reason
    assert trace.time_s[-1] == pytest.approx(at_s, abs=2.1e-3)


def test_it_carries_its_own_auxiliaries(x64, emulate):
    """0.5 MW of its own on top of the load: nothing of it shows at the terminals but in the charge."""
    trace = emulate(ISLAND, "disturbance=[]", "site.0.bess.auxiliary_mw=0.5")
    assert np.abs(trace.area_frequency_hz - 60).max() < 1e-9
    np.testing.assert_allclose(trace.site_bess_power_mw, 50.0, atol=1e-9)
    assert (0.5 - trace.bess_soc[-1, 0]) * 100.0 == pytest.approx(50.5 * 9.998 / 3600, rel=1e-9)


def test_an_empty_battery_ends_the_run(emulate):
    trace = emulate(ISLAND, "site.0.bess.energy_mwh=0.1", "disturbance=[]")
    assert not trace.complete and "overload" in trace.stop_reason
    assert trace.time_s[-1] == pytest.approx(0.5 * 0.1 / 50.0 * 3600, abs=0.01)


@pytest.mark.parametrize(("power_mw", "droop"), [(100.0, 0.02), (12.0, 0.004)])
def test_beside_machines_solved_by_another_program(x64, emulate, power_mw, droop):
    """With a reheat unit: within its limit, and held at a limit of 12 MW, where the machines carry the rest."""
    machines = (
        "grid.area.0.inertia_s=3.0",
        "grid.area.0.rated_mva=200.0",
        "grid.area.0.governor=[{model='lag', lag_s=0.5}]",
        f"site.0.bess.power_mw={power_mw}",
        f"site.0.bess.forming_droop_pu={droop}",
    )
    trace = emulate(ISLAND, *machines)

    def derivative(t, x):
        speed, governor = x
        others = 200.0 * governor - 30.0
        gain, virtual = power_mw / droop, 2 * 5.0 * power_mw
        free = (others - gain * speed) / (2 * 3.0 * 200.0 + virtual)
        power = np.clip(-gain * speed - virtual * free, -power_mw, power_mw)
        return (others + power) / (2 * 3.0 * 200.0), (-speed / 0.05 - governor) / 0.5

    t = trace.time_s[500:] - 1.0
    found = solve_ivp(derivative, (0, t[-1]), [0.0, 0.0], "LSODA", t, rtol=1e-10, atol=1e-13, max_step=0.01).y
    swing = np.ptp(found[0])
    np.testing.assert_allclose(trace.area_frequency_hz[500:, 0] / 60 - 1, found[0], atol=1e-4 * swing)
    assert trace.complete and trace.site_bess_power_mw.max() <= power_mw * (1 + 1e-12)
    assert (trace.site_bess_power_mw.max() == power_mw) == (power_mw == 12.0)


def test_tied_to_machines_solved_by_another_program(x64, emulate):
    """An area without machines, 15 MW of load and export on its battery, tied to 500 MVA that meet a step of 20 MW."""
    trace = emulate(TIED)

    def slope(t, y):
        first, second, angle, governed = y
        flow = 100.0 * np.sin(np.arcsin(0.05) + angle) - 5.0
        swings = (-flow - 60.0 / 0.02 * first) / 480.0, (500.0 * governed - 20.0 + flow) / 4000.0
        return [*swings, 120.0 * np.pi * (first - second), (-second / 0.05 - governed) / 0.3]

    after = trace.time_s >= 1.0
    solved = solve_ivp(slope, (1.0, 4.0), np.zeros(4), rtol=1e-10, atol=1e-13, t_eval=trace.time_s[after])
    # Runge-Kutta at 1 ms: fourth order in the fastest constant, 0.16 s: (1/160)^4 of the swing of 0.1 Hz.
    np.testing.assert_allclose(trace.area_frequency_hz[after], 60.0 * (1.0 + solved.y[:2].T), atol=1e-9, rtol=0.0)
    assert trace.site_bess_power_mw[0, 0] == pytest.approx(15.0) and np.ptp(trace.area_frequency_hz) > 0.05


@pytest.mark.parametrize(
    "override",
    ["site.s.bess.power_mw=0.0", "site.s.bess.mode='grid_following'"],
)
def test_a_tied_area_without_any_source_is_refused(scenario, override):
    with pytest.raises(ConfigError, match="of power_mw above 0, must be grid_forming"):
        scenario(TIED, override)


@pytest.mark.parametrize(
    ("override", "settles_s"),
    [
        ("site.s.bess.forming_inertia_s=0.005", 0.0002),  # 2 H R
        ("grid.area.b={name='b', rated_mva=500.0, inertia_s=0.01, damping_pu=20.0}", 0.001),  # 2 H / D
        (
            "grid.area.b={name='b', rated_mva=500.0, inertia_s=0.004, governor=[{model='reheat'}]}",
            0.008 / 5.7,
        ),  # 2 H R/(K F)
    ],
)
def test_a_speed_that_settles_within_ticks_is_refused(scenario, override, settles_s):
    """Runge-Kutta would diverge, and the run end as if the battery were overloaded."""
    with pytest.raises(ConfigError, match=f"speed settles in {settles_s:g} s"):
        scenario(TIED, override, "grid.tie.0.synchronizing_mw_per_rad=10.0", "grid.tie.0.initial_mw=0.0")


def test_a_forming_battery_helps(emulate):
    """The dip beside machines is shallower than with the same battery at rest."""
    machines = (
        "grid.area.0.inertia_s=3.0",
        "grid.area.0.governor=[{model='lag', lag_s=0.5}]",
        "grid.area.0.rated_mva=200.0",
    )
    forming, following = (
        emulate(ISLAND, *machines, f"site.0.bess.mode={mode}").area_frequency_hz.min()
        for mode in ("grid_forming", "grid_following")
    )
    assert forming > following + 0.2


@pytest.mark.parametrize("override", ["site.0.bess.mode=grid_following", "grid.area.0.governor=[{model='lag'}]"])
def test_no_machines_and_no_former_is_refused(scenario, override):
    with pytest.raises(ConfigError, match="must be grid_forming"):
        scenario(ISLAND, override)
