"""A trace as load shapes of OpenDSS: a small script, and one file of raw float32 numbers for each column.

Reference: OpenDSS, LoadShape: `sngfile` is little-endian float32 without a head, `sinterval` in s, `UseActual` takes
values as kW and kvar. Its first value applies to the first step of a solution, at t = sinterval: a row's mean is used
over the row, at whose end the step is solved.
"""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from pathlib import Path

from emulator.trace import TraceError
from emulator.traces.columns import Columns
from emulator.traces.filesystem import whole
from emulator.traces.text import ROWS_AT_ONCE, numbers

POWER, REACTIVE = "site_pcc_power_mw", "site_pcc_reactive_mvar"


def write(columns: Columns, path_out: str | os.PathLike[str]) -> None:
    """Write a script (NAME.dss) that defines a shape for each column, and the files of their values beside it.

    A site's reactive power becomes `qmult` of its power's shape where both are among the columns.

    Raises:
      TraceError: a name that does not end in .dss; an offset, which shapes do not know; columns whose names are the
        same to OpenDSS; values that are no numbers; and as `csv.write`.
    """
    path = Path(path_out)
    if path.suffix != ".dss":
        raise TraceError(f"{path}: a script of OpenDSS ends in .dss; its shapes' files are written beside it")
    if columns.offset_s:
        raise TraceError("a load shape of OpenDSS starts with the solution: leave the time offset out")
    names = [re.sub(r"\W", "_", name.rstrip("]")).lower() for name in columns.names]  # letters' case is nothing to it
    if same := {name for name in names if names.count(name) > 1}:
        raise TraceError(f"several columns would be called {min(same)} in OpenDSS: export them one by one")
    files = [path.with_name(f"{path.stem}_{name}.sng") for name in names]
    with ExitStack() as stack:  # what is entered first takes its name last: the script
        script = stack.enter_context(whole(path))
        parts = [stack.enter_context(stack.enter_context(whole(file)).open("wb")) for file in files]
        for _, values in numbers(columns, "OpenDSS", ROWS_AT_ONCE):
            for part, column in zip(parts, values, strict=True):
                part.write(column.astype("<f4").tobytes())
        script.write_text(_script(columns, names, [file.name for file in files]), encoding="utf-8")


def _script(columns: Columns, names: list[str], files: list[str]) -> str:
    chosen = [(pick.channel.name, label) for pick, label in columns.labelled]
    reactive = {label: file for (channel, label), file in zip(chosen, files, strict=True) if channel == REACTIVE}
    lines = ["! Rows are means over sinterval; the first applies to the first step of a solution."]
    for (channel, label), name, file in zip(chosen, names, files, strict=True):
        powers = {label for other, label in chosen if other == POWER}
        if channel == REACTIVE and label in powers:
            continue
        shape = f"New LoadShape.{name} npts={columns.count()} sinterval={columns.row_s!r} UseActual=yes"
        qmult = f" qmult=[sngfile={reactive[label]}]" if channel == POWER and label in reactive else ""
        lines.append(f"{shape} mult=[sngfile={file}]{qmult}")
    return "\n".join([*lines, ""])
