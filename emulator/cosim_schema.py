"""The table of co-simulation: who the other federates are and what is taken from them. Needs no JAX, nor HELICS."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from emulator.tables import ADDRESS, PROGRAM, Name, Table, key

Key = Annotated[str, Field(min_length=1, max_length=256)]


class Cosim(Table):
    """HELICS: the program emulates the sites, other federates the grid. Publishes FEDERATE/SITE/power_mw and
    FEDERATE/SITE/reactive_mvar."""

    federate: Name = key("name among the federates, unique", "wattswing", source=PROGRAM)
    broker: str | None = key(
        "address, tcp://HOST:PORT; left out: this machine at HELICS's own port", None, pattern=ADDRESS
    )
    step_s: float = key("between exchanges, a multiple of dt_s", unit="s", gt=0, le=3600)
    timeout_s: float = key(
        "how long to wait for the broker, then for the other federates to start",
        30.0,
        unit="s",
        gt=0,
        le=86400,
        source=PROGRAM,
    )
    frequency_hz: dict[str, Key] = key(
        "publication to take each area's frequency from, by name of the area; left out: areas are emulated here",
        {},
        source=PROGRAM,
    )
    voltage_pu: dict[str, Key] = key(
        "publication to take the voltage at a site's point of common coupling from, by name of the site; left out: its "
        "[site.pcc] is emulated here",
        {},
        source=PROGRAM,
    )
