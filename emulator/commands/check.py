"""`wattswing check`."""

from __future__ import annotations

import argparse
import sys

from emulator import config, schema, toml_text
from emulator.commands.common import DONE, config_arguments

TEXT = "validate a config, print all of it with every default, and where each number is from"
EXAMPLE = "wattswing check campus_100mw"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the resolved configuration; returns the exit status."""
    resolved = config.resolve(args.config, args.overrides)
    for warning in _flagged(resolved.scenario):
        print(f"wattswing: warning: {warning}", file=sys.stderr)
    print(toml_text.to_toml(resolved.scenario, resolved.origins), end="")
    return DONE


def _flagged(scenario: schema.Scenario) -> list[str]:
    """What to know about the replayed files. NumPy is imported only where there are some."""
    jobs = [job for site in scenario.site for job in site.job]
    if not any(job.kind == "replay" for job in jobs):
        return []
    from emulator.cluster import replay

    return replay.flagged(jobs, scenario.run.dt_s)
