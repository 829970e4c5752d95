"""The grid as other federates emulate it, by HELICS: the one file that imports it.

HELICS's calls block in a thread of their own, so that Ctrl-C is heard while another federate takes its time.
Reference: Hardy et al., HELICS: A co-simulation framework for scalable multi-domain modeling and analysis, IEEE Access
12:24325, 2024; https://docs.helics.org.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any

import helics
import numpy as np

from emulator import schema
from emulator.cosim_schema import Cosim
from emulator.cosimulate import Draw, Given, PartnerError, nominal

RETRIES = 1  # of HELICS's to reach the broker, each as long as the first try
MOST_ITERATIONS = 100  # at the start: a loop gain of 0.85 settles to SETTLED in them
SETTLED = 1e-6  # relative: ten times the rounding of float32
NEVER_SET = -1e48  # below it: HELICS's value, -1e49, of what was never published


class FederationError(Exception):
    """There is no federation to take part in, in words for the user."""


class Federation:
    """A place among the federates; a context manager, which leaves them on exit. A `cosimulate.Partner`."""

    def __init__(self, scenario: schema.Scenario) -> None:
        """Joins the broker.

        Raises:
          FederationError: it cannot be reached in time, or another federate has the name.
        """
        assert (its := scenario.cosim) is not None
        self._cosim, self._nominal, self._aside = its, nominal(scenario), _Aside()
        where = f"at {its.broker}" if its.broker else "on this machine"
        try:
            self._federate = self._aside.call(_joined, its).result()
        except helics.HelicsException as error:
            raise FederationError(_not_joined(its, where, str(error))) from error
        sites, areas = [site.name for site in scenario.site], [area.name for area in scenario.grid.area]
        self._mw = [self._published(f"{site}/power_mw", "MW") for site in sites]
        self._mvar = [self._published(f"{site}/reactive_mvar", "MVAR") for site in sites]
        self._hz = self._taken([(f"{a}/frequency_hz", its.frequency_hz[a]) for a in areas if its.frequency_hz], "Hz")
        self._pu = self._taken([(f"{s}/voltage_pu", its.voltage_pu[s]) for s in sites if s in its.voltage_pu], "pu")

    def __enter__(self) -> Federation:
        return self

    def __exit__(self, *error: object) -> None:
        helics.helicsFederateDisconnect(self._federate)  # also ends a call that is still waiting
        self._aside.end()

    def begin(self, draw_at: Callable[[Given], Draw]) -> Given:
        """Wait until all federates are there, and iterate with those that do to a common start.

        Raises:
          FederationError: they are not, within cosim.timeout_s, do not publish what is asked of them, or find no start.
        """
        try:
            self._aside.call(helics.helicsFederateEnterInitializingMode, self._federate).result(self._cosim.timeout_s)
            self._settle(draw_at)
        except TimeoutError as error:
            late = f"the other federates are not all there after {self._cosim.timeout_s:g} s (cosim.timeout_s)"
            raise FederationError(f"{late}: start them, or tell the broker to wait for fewer") from error
        except helics.HelicsException as error:
            raise FederationError(f"the federation does not start: {self._explained(str(error))}") from error
        for key in self.silent():
            print(f"wattswing: warning: {key} has no value at the start: nominal until one comes", file=sys.stderr)
        return self._values()

    def _settle(self, draw_at: Callable[[Given], Draw]) -> None:
        """Publish what is drawn at rest as long as it changes with what comes back."""
        enter, again = (
            helics.helicsFederateEnterExecutingModeIterative,
            helics.HELICS_ITERATION_REQUEST_ITERATE_IF_NEEDED,
        )
        published = Draw(np.array(np.nan), np.array(np.nan))
        for _ in range(MOST_ITERATIONS):
            draw = draw_at(self._values())
            if not np.allclose(draw, published, rtol=SETTLED, atol=0.0):
                self._publish(published := draw)
            result = self._aside.call(enter, self._federate, again).result(self._cosim.timeout_s)
            if result == helics.HELICS_ITERATION_RESULT_NEXT_STEP:
                return
        raise FederationError(f"powers and voltages do not settle in {MOST_ITERATIONS} iterations at the start")

    def exchange(self, time_s: float, draw: Draw) -> Given:
        """Publish, and wait for the others to come to `time_s`.

        Raises:
          PartnerError: the broker has ended the federation.
        """
        try:
            self._publish(draw)
            granted_s = self._aside.call(helics.helicsFederateRequestTime, self._federate, time_s).result()
        except helics.HelicsException as error:
            raise PartnerError(f"the federation failed at {time_s:g} s: {error}") from error
        if granted_s >= helics.HELICS_TIME_MAXTIME:
            raise PartnerError(f"the broker has ended the federation before {time_s:g} s")
        return self._values()

    def silent(self) -> list[str]:
        """Keys of which no value has come so far."""
        return [key for its, key in (*self._hz, *self._pu) if helics.helicsInputGetDouble(its) <= NEVER_SET]

    def ages(self) -> dict[str, float]:
        """Time of the last value of each key, s; HELICS has those of before the start at -1 ns."""
        return {key: max(helics.helicsInputLastUpdateTime(its), 0.0) for its, key in (*self._hz, *self._pu)}

    def _published(self, name: str, unit: str) -> Any:
        return helics.helicsFederateRegisterPublication(self._federate, name, helics.HELICS_DATA_TYPE_DOUBLE, unit)

    def _taken(self, names: list[tuple[str, str]], unit: str) -> list[tuple[Any, str]]:
        found = []
        for name, key in names:
            its = helics.helicsFederateRegisterInput(self._federate, name, helics.HELICS_DATA_TYPE_DOUBLE, unit)
            helics.helicsInputAddTarget(its, key)
            helics.helicsInputSetOption(its, helics.HELICS_HANDLE_OPTION_CONNECTION_REQUIRED, 1)
            found.append((its, key))
        return found

    def _publish(self, draw: Draw) -> None:
        for places, powers in ((self._mw, draw.mw), (self._mvar, draw.mvar)):
            for place, power in zip(places, powers, strict=True):
                helics.helicsPublicationPublishDouble(place, float(power))

    def _values(self) -> Given:
        def read(inputs: list[tuple[Any, str]], otherwise: np.ndarray) -> np.ndarray:
            values = np.array([helics.helicsInputGetDouble(its) for its, _ in inputs])
            return np.where(values <= NEVER_SET, otherwise, values)

        return Given(read(self._hz, self._nominal.frequency_hz), read(self._pu, self._nominal.voltage_pu))

    def _explained(self, text: str) -> str:
        keys = [key for its, key in (*self._hz, *self._pu) if helics.helicsInputGetName(its) in text]
        return f"{text} (to be taken from {', '.join(keys)})" if keys else text


def _joined(its: Cosim) -> Any:
    """A HELICS federate that the broker knows."""
    tries = f"--networkretries={RETRIES} --networktimeout={its.timeout_s / (1 + RETRIES):g}s"
    core = f"--federates=1 --loglevel=no_print {tries}"
    info = helics.helicsCreateFederateInfo()
    helics.helicsFederateInfoSetCoreTypeFromString(info, "zmq")
    helics.helicsFederateInfoSetCoreInitString(info, core + (f" --broker={its.broker}" if its.broker else ""))
    helics.helicsFederateInfoSetFlagOption(info, helics.HELICS_FLAG_UNINTERRUPTIBLE, True)  # steps stay whole
    level = helics.HELICS_LOG_LEVEL_NO_PRINT
    helics.helicsFederateInfoSetIntegerProperty(info, helics.HELICS_PROPERTY_INT_LOG_LEVEL, level)
    return helics.helicsCreateValueFederate(its.federate, info)


def _not_joined(its: Cosim, where: str, text: str) -> str:
    if "duplicate" in text:
        return (
            f"cosim.federate: another federate of the broker {where} is called {its.federate!r}: give it another name"
        )
    start = "start one, say `helics_broker -f 2` for two federates, or set cosim.broker"
    return f"cosim.broker: no HELICS broker {where} within {its.timeout_s:g} s: {start} ({text})"


class _Aside:
    """A thread that makes one call after another; the program's end does not wait for it."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        Thread(target=self._serve, name="federate", daemon=True).start()

    def call(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._calls.put((future, function, args))
        return future

    def end(self) -> None:
        self._calls.put(None)

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function, args = call
            try:
                future.set_result(function(*args))
            except helics.HelicsException as error:
                future.set_exception(error)
