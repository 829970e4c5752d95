"""`wattswing check`."""

from __future__ import annotations

import argparse

from emulator import config, toml_text
from emulator.commands.common import DONE, config_arguments

TEXT = "validate a config, print all of it with every default, and where each number is from"
EXAMPLE = "wattswing check campus_100mw"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the resolved configuration; returns the exit status."""
    resolved = config.resolve(args.config, args.overrides)
    print(toml_text.to_toml(resolved.scenario, resolved.origins), end="")
    return DONE
