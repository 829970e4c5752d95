"""A grid for co-simulation: one area's swing equation and a Thevenin source, in plain Python, with the broker.

    python scripts/cosimulate_grid.py cosimulation &
    wattswing federate cosimulation --out campus.h5

Takes its parameters from the same configuration: first area, first site. Each step of cosim.step_s:

    2 H dw/dt = (P0 - P)/S - D w         exact for P held, D > 0; P: what the site drew in the step before
    V^4 + (2(RP + XQ) - E^2) V^2 + (P^2 + Q^2) Z^2 = 0, upper root; E = 1 pu

Reference: Kundur, Power System Stability and Control, 1994, sec. 3.9 and 14.1.
"""

from __future__ import annotations

import math
import sys

from emulator import config
from emulator.schema import Scenario


class Grid:
    """Frequency and voltage at a site that draws power; at rest under the first one it hears of."""

    def __init__(self, scenario: Scenario) -> None:
        area, pcc = scenario.grid.area[0], scenario.site[0].pcc
        assert pcc is not None, "needs [site.pcc]"
        self.nominal_hz, self.area, self.pcc = scenario.grid.frequency_hz, area, pcc
        self.rated_mva = area.rated_mva or scenario.grid.base_mva
        self.start_mw, self.speed_pu = math.nan, 0.0

    def frequency_hz(self) -> float:
        """At this moment."""
        return self.nominal_hz * (1.0 + self.speed_pu)

    def voltage_pu(self, mw: float, mvar: float) -> float:
        """At the site, under what it draws."""
        p, q, z = mw / self.pcc.rated_mw, mvar / self.pcc.rated_mw, 1.0 / self.pcc.short_circuit_ratio
        r = z / math.hypot(1.0, self.pcc.x_over_r)
        half = 0.5 - r * (p + self.pcc.x_over_r * q)
        return math.sqrt(half + math.sqrt(half**2 - z**2 * (p**2 + q**2)))

    def advance(self, mw: float, seconds: float) -> None:
        """Swing under a power held; the first one is what the generators supply from then on."""
        if math.isnan(self.start_mw):
            self.start_mw = mw
        damping = self.area.damping_pu
        settled = (self.start_mw - mw) / (self.rated_mva * damping)
        decay = math.exp(-damping * seconds / (2.0 * self.area.inertia_s))
        self.speed_pu = settled + (self.speed_pu - settled) * decay


def main(name: str, *overrides: str) -> None:
    """Take part in a federation of two, whose broker this is, until the run's end."""
    import helics as h

    scenario = config.load(name, overrides)
    assert (its := scenario.cosim) is not None, "needs [cosim]"
    address = ["--port=" + its.broker.rpartition(":")[2]] if its.broker else []
    broker = h.helicsCreateBroker("zmq", "", " ".join(["-f 2", *address]))
    info = h.helicsCreateFederateInfo()
    h.helicsFederateInfoSetCoreTypeFromString(info, "zmq")
    h.helicsFederateInfoSetCoreInitString(info, f"--broker={its.broker}" if its.broker else "")
    h.helicsFederateInfoSetFlagOption(info, h.HELICS_FLAG_UNINTERRUPTIBLE, True)
    federate, site = h.helicsCreateValueFederate("grid", info), scenario.site[0].name
    outputs = [h.helicsFederateRegisterPublication(federate, name, h.HELICS_DATA_TYPE_DOUBLE, unit)
               for name, unit in (("frequency_hz", "Hz"), ("voltage_pu", "pu"))]  # fmt: skip
    inputs = [h.helicsFederateRegisterSubscription(federate, f"{its.federate}/{site}/{name}", unit)
              for name, unit in (("power_mw", "MW"), ("reactive_mvar", "MVAR"))]  # fmt: skip
    grid, last = Grid(scenario), 0.0
    h.helicsFederateEnterInitializingMode(federate)
    h.helicsPublicationPublishDouble(outputs[0], grid.nominal_hz)
    while True:  # to the voltage at which the site is at rest
        mw, mvar = (h.helicsInputGetDouble(taken) if h.helicsInputIsUpdated(taken) else 0.0 for taken in inputs)
        if abs((voltage := grid.voltage_pu(mw, mvar)) - last) > 1e-9:
            h.helicsPublicationPublishDouble(outputs[1], last := voltage)
        if (
            h.helicsFederateEnterExecutingModeIterative(federate, h.HELICS_ITERATION_REQUEST_ITERATE_IF_NEEDED)
            == h.HELICS_ITERATION_RESULT_NEXT_STEP
        ):
            break
    for step in range(1, round(scenario.run.duration_s / its.step_s) + 1):
        mw, mvar = (h.helicsInputGetDouble(taken) for taken in inputs)
        grid.advance(mw, its.step_s)
        for output, value in zip(outputs, (grid.frequency_hz(), grid.voltage_pu(mw, mvar)), strict=True):
            h.helicsPublicationPublishDouble(output, value)
        h.helicsFederateRequestTime(federate, step * its.step_s)
    h.helicsFederateDisconnect(federate)
    h.helicsBrokerWaitForDisconnect(broker, 2000)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
