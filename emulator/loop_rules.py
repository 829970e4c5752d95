"""Rules on what answers to frequency or voltage a tick late: too strong for the ticks, it would oscillate of itself,
and end as a collapse that no physics asks for. Each yields the path of the key at fault and what to do.

A lag of T turns by a = 1 - exp(-dt/T) of its way in a tick. With M = 2 H S and an answer of K MW per pu of speed

    z^2 - (2 - a - g) z + (1 - a) = 0,  g = a K dt/M:   stable below g = 4 - 2a, held to g <= 1
    z = 1 - a (1 + k X') of the reactive support k:   stable below a (1 + k X') = 2, held to 1.5
X' = -dV/dQ is the reactance X of a circuit without load, and grows with load; twice as much is allowed for.
Reference: Jury, Theory and Application of the z-Transform Method, 1964 (stability criterion).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from emulator import bess_rules, controller_schema
from emulator.complaint import Path
from emulator.grid_rules import momentum_mws
from emulator.grid_schema import ScrChange
from emulator.schema import Pcc, Scenario, Site

Problems = Iterator[tuple[Path, str]]

MOST_OF_WAY = 1.5  # that the reactive support makes up in a tick: what is off is then halved
STEEPER = 2.0  # slope of a loaded circuit over that of one without load


def loops(scenario: Scenario) -> Problems:
    """Every such rule that the scenario breaks."""
    elsewhere = scenario.cosim
    if elsewhere is None or not elsewhere.frequency_hz:
        yield from _frequency(scenario)
    for i, site in enumerate(scenario.site):
        given = elsewhere is not None and site.name in elsewhere.voltage_pu
        if site.pcc is not None and not given and (problem := _voltage(scenario, site, site.pcc)):
            yield ("site", i, "bess", "voltage_gain_pu"), problem


def _frequency(scenario: Scenario) -> Problems:
    """All batteries of an area together."""
    dt_s = scenario.run.dt_s
    for area in scenario.grid.area:
        places = [i for i, site in enumerate(scenario.site) if site.area in (area.name, None)]
        answers = {i: _answer_mw(scenario.site[i], dt_s) for i in places}
        answer_mw, momentum = sum(answers.values()), momentum_mws(scenario, area)
        if 0 < momentum < answer_mw * dt_s:
            first = max(answers, key=lambda i: answers[i])
            yield (
                ("site", first, "controller", "kind"),
                f"answers to the frequency of area {area.name} too strongly for ticks of {dt_s:g} s, a tick late, and "
                f"would make it oscillate: run.dt_s must be at most {momentum / answer_mw:.3g} s, or give the battery "
                "a longer response_s or the controller less to do",
            )


def _answer_mw(site: Site, dt_s: float) -> float:
    """MW per pu of speed within a tick. A controller that acts less often is held to what it is, not to the ticks."""
    if site.bess is None or site.measurement.period_s is not None:
        return 0.0
    gain = 0.0
    for stage in controller_schema.stages_of(site.controller):
        match stage:
            case controller_schema.DroopController():
                gain += 1.0 / stage.droop_pu
            case controller_schema.VirtualInertiaController():
                gain += 2.0 * stage.inertia_s / stage.filter_s
    batteries = [its for _, its in bess_rules.batteries(site)]
    power_mw = sum(its.availability * its.units * its.power_mw for its in batteries)
    turn = _turn(min(its.response_s for its in batteries), dt_s) * _turn(site.measurement.pll_s, dt_s)
    return turn * gain * power_mw


def _voltage(scenario: Scenario, site: Site, pcc: Pcc) -> str:
    """What is wrong with a site's reactive support; "" if nothing is."""
    its, dt_s = site.bess, scenario.run.dt_s
    if its is None or its.voltage_gain_pu == 0:
        return ""
    changes = [it for it in scenario.disturbance if isinstance(it, ScrChange) and it.site in (site.name, None)]
    ratio = min([pcc.short_circuit_ratio, *(it.short_circuit_ratio for it in changes)])
    reactance = pcc.x_over_r / math.hypot(1.0, pcc.x_over_r) / ratio
    rated_mva = its.units * its.availability * (its.power_mw if its.rated_mva is None else its.rated_mva)
    loop = its.voltage_gain_pu * rated_mva / pcc.rated_mw * reactance
    steep = 1.0 + STEEPER * loop
    if _turn(its.voltage_response_s, dt_s) * steep <= MOST_OF_WAY:
        return ""
    least_s = -1.01 * dt_s / math.log1p(-MOST_OF_WAY / steep)  # rounded up
    return (
        f"answers to a voltage that it moves {loop:.3g} times as far, a tick of {dt_s:g} s late, and would make it "
        f"oscillate: give voltage_response_s of {least_s:.3g} s at least, shorter ticks, or less gain"
    )


def _turn(lag_s: float, dt_s: float) -> float:
    return 1.0 if lag_s <= 0 else -math.expm1(-dt_s / lag_s)
