"""The table [fit]: what of a recording is fitted, and which numbers of the configuration may move for it."""

from __future__ import annotations

from typing import Literal

from emulator.tables import PROGRAM, Some, Table, key
from emulator.tune_schema import Parameter


class Fit(Table):
    """From a recording to the configuration's numbers; `wattswing fit` looks for them, `run` ignores the table."""

    quantity: Literal["power", "frequency"] | None = key(
        "what of the recording is fitted; left out: frequency where there is an area and no training job, else power",
        None,
    )
    measured: Literal["site", "job", "rack", "device"] = key(
        "whose power was recorded: what the site draws, its job's servers, those of a rack, or one accelerator with "
        "its share of the server; of several racks or devices in a trace, their mean",
        "site",
        source=PROGRAM,
    )
    average_s: float | None = key(
        "time over which the meter averages each value of a power in a CSV file; left out: from one to the next",
        None,
        unit="s",
        gt=0,
        le=100,
    )
    job: str | None = key("training job, SITE/JOB; left out: the only one", None)
    area: str | None = key("whose frequency was recorded; left out: the only one", None)
    parameters: Some[Parameter] = key(
        "numbers that may move, with their bounds; left out: all that such a recording can say something about",
        (),
        source=PROGRAM,
    )
