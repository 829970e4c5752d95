"""`wattswing schema`."""

from __future__ import annotations

import argparse
import json

from emulator import schema
from emulator.commands.common import DONE

TEXT = "the config's JSON Schema, for editors"
EXAMPLE = "wattswing schema > wattswing.schema.json"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    del parser


def run(args: argparse.Namespace) -> int:
    """Print the schema; returns the exit status."""
    print(json.dumps(schema.Scenario.model_json_schema(), indent=2))
    return DONE
