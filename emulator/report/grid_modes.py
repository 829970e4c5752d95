"""Modes of the plant that a trace was made with, read off its configuration, or why there are none."""

from __future__ import annotations

import tempfile
from pathlib import Path

from emulator import config, schema
from emulator.complaint import ConfigError
from emulator.trace import Header


def scenario_of(header: Header) -> schema.Scenario | str:
    """The configuration of a trace as this program reads it, or in words why it does not."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.toml"
        path.write_text(header.config, "utf-8")
        try:
            return config.load(path)
        except ConfigError as error:
            return str(error.problems[0]).replace(str(path), "its configuration")


def modes(scenario: schema.Scenario) -> list[tuple[float, float]] | str:
    """Frequency in Hz and damping ratio of every mode that oscillates, or in words why there are none. JAX in float64,
    see `modes_report`."""
    from emulator import modes_report
    from emulator.power_file import RecordError

    try:
        found = modes_report.modes_alone(scenario)
    except (modes_report.ModesError, RecordError) as error:
        return str(error)
    return [(mode.frequency_hz, mode.damping_ratio) for mode in found.modes if mode.frequency_hz > 0.0]
