"""From a recording to a configuration: which fit it is, and the files that `run` takes.

Reference: Nocedal & Wright, Numerical Optimization, 2nd ed., ch. 10, for the search; `fit_solve` for its errors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import emulator
from emulator import fit_area, fit_power, schema, toml_text, tunables
from emulator.complaint import dotted
from emulator.fit_data import Columns
from emulator.fit_result import LEAST_FREEDOM, ONE, TWO, Estimate, Fitted
from emulator.fit_schema import Fit
from emulator.jobs_schema import TrainingJob
from emulator.scenario import jobs_of
from emulator.tables import Table
from emulator.units import counted

PLAIN = Columns()


def _silent(_: float) -> None:
    """Nobody listens."""


def fit(
    scenario: schema.Scenario,
    recording: Path,
    columns: Columns = PLAIN,
    progress: Callable[[float], object] = _silent,
) -> Fitted:
    """Fit the numbers of a scenario to a recording, as [fit] says.

    Run it in float64: slopes of sharp edges and small deviations need it.

    Args:
      recording: a trace of ours, or a CSV file.
      columns: of a CSV file.
      progress: is told the root mean square of the residuals after every emulation.

    Raises:
      ConfigError: [fit] names what is not there, or what cannot move.
      TraceError: a recording that cannot be read, or lacks the channel.
      FitError: one that says nothing of what is fitted.
    """
    asked = (scenario.fit or Fit()).quantity
    trains = any(isinstance(job, TrainingJob) for _, job in jobs_of(scenario))
    by_frequency = columns.frequency is not None or (bool(scenario.grid.area) and not trains)
    if asked == "frequency" or (asked is None and by_frequency):
        return fit_area.fit(scenario, recording, columns, progress)
    return fit_power.fit(scenario, recording, columns, progress)


def files(fitted: Fitted, out: Path, recording: Path, start: str) -> Mapping[Path, str]:
    """TOML texts that `run` takes, by file: a grid; or a workload, and an accelerator where one was fitted.

    Args:
      out: the file of the grid or workload.
      start: name of the configuration that the fit started from.
    """
    scenario = fitted.scenario
    if fitted.quantity == "frequency":
        return {out: _text(fitted, scenario.grid, ("grid",), f'[grid] preset = "{out.name}"', recording, start)}
    place = tunables.resolve(scenario, fitted.place)
    job = tunables.value_at(scenario, place)
    use = f'[[site.job]] workload = "{out.name}"'
    texts = {out: _text(fitted, job.workload, (*place, "workload"), use, recording, start)}
    if any(".accelerator." in each.name for each in fitted.estimates):
        beside = out.with_name(f"{out.stem}_accelerator.toml")
        use = f'[[site.job]] accelerator = "{beside.name}"'
        texts[beside] = _text(fitted, job.accelerator, (*place, "accelerator"), use, recording, start)
    return texts


def _text(fitted: Fitted, table: Table, at: tuple, use: str, recording: Path, start: str) -> str:
    """A table with where each fitted number comes from."""
    origins = {}
    for each in fitted.estimates:
        path = tunables.resolve(fitted.scenario, each.name)
        if path[: len(at)] == at:
            origins[dotted(path[len(at) :])] = f"fitted: {error_of(each)}"
    digest = hashlib.sha256(recording.read_bytes()).hexdigest()[:16]
    when = datetime.now(UTC).isoformat(timespec="seconds")
    said = f"fitted to {recording.name} (sha256 {digest}) by wattswing {emulator.__version__}, {when}; start: {start}"
    body = toml_text.to_toml(table, origins)
    return f"# {said}\n# Use: {use}\n\n{body}\n[about]\ndescription = {toml_text.toml_value(said)}\n"


def error_of(estimate: Estimate) -> str:
    """A number's error in words."""
    if estimate.held:
        return f"held by its bound, {estimate.held}"
    if np.isnan(estimate.deviation):
        return "not identified"
    if 0.0 < estimate.freedom < LEAST_FREEDOM:
        return "error cannot be stated: residual too slow"
    if np.isinf(estimate.deviation):
        return f"error cannot be stated from {counted(round(estimate.freedom + 1), 'iteration')}"
    return f"within {estimate.within(ONE):.2g} (68 %), {estimate.within(TWO):.2g} (95 %)"
