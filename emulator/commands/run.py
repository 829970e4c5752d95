"""`wattswing run`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from emulator import config, schema
from emulator.commands.common import DONE, INTERRUPTED, STOPPED, UsageError, config_arguments, prepare_jax

if TYPE_CHECKING:
    from emulator.simulate import Outcome

TEXT = "one emulation, streamed to HDF5"
EXAMPLE = "wattswing run campus_100mw --set run.duration_s=30"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    config_arguments(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE.h5", help="trace to write, replacing it; default: CONFIG's name .h5"
    )
    parser.add_argument("--platform", choices=("cpu", "gpu", "tpu"), help="where to compute; default: JAX's choice")
    parser.add_argument("--x64", action="store_true", help="compute in float64")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no summary")


def run(args: argparse.Namespace) -> int:
    """Emulate, write, summarise; returns the exit status."""
    scenario = config.load(args.config, args.overrides)
    prepare_jax(args.platform, args.x64)
    from emulator import simulate

    return write(args, scenario, simulate.stream)


def write(args: argparse.Namespace, scenario: schema.Scenario, stream: Callable[..., Outcome]) -> int:
    """Emulate by `stream`, as `simulate.stream`, into a file, and summarise; returns the exit status."""
    out = args.out or Path(Path(args.config).stem + ".h5")
    if out.suffix not in (".h5", ".hdf5"):
        raise UsageError(f"--out {out}: a trace ends in .h5")
    from tqdm import tqdm

    from emulator import metrics, simulate
    from emulator.trace import TraceError
    from emulator.traces.hdf5 import TraceWriter

    header = simulate.header_of(scenario)
    for warning in simulate.warnings(scenario):
        print(f"wattswing: warning: {warning}", file=sys.stderr)
    try:
        writer = TraceWriter(out, header, max(1, simulate.WINDOW_TICKS // header.every_ticks))
    except TraceError as error:
        raise UsageError(str(error)) from error
    quiet = args.quiet or not sys.stderr.isatty()
    bar = tqdm(total=simulate.run_ticks(scenario), unit="tick", unit_scale=True, disable=quiet)
    try:
        with bar, writer:
            outcome = stream(scenario, header, writer, progress=bar.update)
    except simulate.SimulationError as error:
        raise UsageError(str(error)) from error
    except TraceError as error:
        print(f"wattswing: {error}; the file holds the rows up to there", file=sys.stderr)
        return STOPPED
    except KeyboardInterrupt:
        print(f"\ninterrupted: {out} holds all rows up to here", file=sys.stderr)
        return INTERRUPTED
    if not args.quiet:
        print(metrics.render(outcome.metrics, header, outcome.emulated_s, outcome.wall_s))
        for line in simulate.paths(scenario):
            print(line)
        print(f"set-up and compilation {outcome.setup_s:.1f} s; trace in {out}")
    if not outcome.complete:
        print(f"wattswing: stopped: {outcome.stop_reason}; {out} holds the trace up to there", file=sys.stderr)
        return STOPPED
    return DONE
