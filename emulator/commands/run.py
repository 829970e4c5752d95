"""`wattswing run`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from emulator import config
from emulator.commands.common import DONE, INTERRUPTED, STOPPED, UsageError, config_arguments, hdf5_path, prepare_jax
from emulator.commands.interruption import interrupts_later

if TYPE_CHECKING:
    from emulator.carry import Checkpoint
    from emulator.schema import Scenario
    from emulator.simulate import Outcome
    from emulator.trace import Header
    from emulator.traces.hdf5 import TraceWriter

TEXT = "one emulation, streamed to HDF5"
EXAMPLE = "wattswing run campus_100mw --set run.duration_s=30"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    config_arguments(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE.h5", help="trace to write, replacing it; default: CONFIG's name .h5"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with a trace that was cut short, from the checkpoint beside it"
    )
    where = "where to compute; default: cpu, or what JAX_PLATFORMS says"
    parser.add_argument("--platform", choices=("cpu", "gpu", "tpu"), help=where)
    parser.add_argument("--x64", action="store_true", help="compute in float64")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no summary")


def run(args: argparse.Namespace) -> int:
    """Emulate, write, summarise; returns the exit status."""
    scenario, out = config.load(args.config, args.overrides), out_of(args)
    if args.resume and (over := _over(out)) is not None:
        return over
    prepare_jax(args.platform, args.x64)
    from emulator import simulate

    return write(args, out, scenario, simulate.stream, resumable=True)


def out_of(args: argparse.Namespace) -> Path:
    """The trace to write."""
    return hdf5_path(args.out or Path(Path(args.config).stem + ".h5"))


def write(
    args: argparse.Namespace, out: Path, scenario: Scenario, stream: Callable[..., Outcome], resumable: bool
) -> int:
    """Emulate by `stream`, as `simulate.stream`, into a file, and summarise; returns the exit status.

    Args:
      resumable: whether `stream` takes a keeper of checkpoints and a checkpoint to go on from.
    """
    from tqdm import tqdm

    from emulator import simulate
    from emulator.trace import TraceError

    header = simulate.header_of(scenario)
    for warning in simulate.warnings(scenario):
        print(f"wattswing: warning: {warning}", file=sys.stderr)
    quiet = args.quiet or not sys.stderr.isatty()
    try:
        with ExitStack() as stack:
            with interrupts_later():
                writer, start = _writer(out, scenario, header, resumable and args.resume)
                stack.enter_context(writer)
            if writer.network:
                print(f"wattswing: warning: {_ON_A_NETWORK.format(out=out, kind=writer.network)}", file=sys.stderr)
            ticks = simulate.run_ticks(scenario)
            bar = stack.enter_context(tqdm(total=ticks, unit="tick", unit_scale=True, disable=quiet))
            kept = {"keeper": writer, "start": start} if resumable else {}
            outcome = stream(scenario, header, writer, progress=bar.update, **kept)
        if not args.quiet:
            _summarise(out, scenario, header, outcome)
    except simulate.SimulationError as error:
        raise UsageError(str(error)) from error
    except TraceError as error:
        print(f"wattswing: {error}; {_kept(out, 'make room and ')}", file=sys.stderr)
        return STOPPED
    except KeyboardInterrupt:
        print(f"\ninterrupted: {_kept(out)}", file=sys.stderr)
        return INTERRUPTED
    if not outcome.complete:
        print(f"wattswing: stopped: {outcome.stop_reason}; {out} holds the trace up to there", file=sys.stderr)
        return STOPPED
    return DONE


def _summarise(out: Path, scenario: Scenario, header: Header, outcome: Outcome) -> None:
    from emulator import metrics, simulate
    from emulator.traces import hdf5

    print(metrics.render(outcome.metrics, header, outcome.emulated_s, outcome.wall_s))
    for line in (*metrics.render_alarms(hdf5.read_events(out)), *simulate.paths(scenario, outcome.metrics)):
        print(line)
    print(f"set-up and compilation {outcome.setup_s:.1f} s; trace in {out}")


_ON_A_NETWORK = (
    "{out} lies on a network file system ({kind}): no other program can read it while it is written, and after a kill "
    "it may open only once `--resume` has put it back to its last checkpoint"
)


def _over(out: Path) -> int | None:
    """Exit status of a run that has ended, said in words; None where there is something to resume."""
    from emulator.trace import TraceError
    from emulator.traces import hdf5, state_file

    try:
        trace = hdf5.read(out, slice(0, 0))
    except TraceError as error:
        if not out.is_file():
            raise UsageError(f"--resume: {error}; start anew without --resume") from error
        return None  # damaged, but perhaps not beyond its checkpoint
    if trace.complete:
        state_file.path_of(out).unlink(missing_ok=True)
        print(f"{out} is complete: nothing to resume")
        return DONE
    if trace.stop_reason and not state_file.path_of(out).is_file():
        if trace.stop_reason == "interrupted":
            raise UsageError(f"--resume {out}: interrupted before its first checkpoint; start anew without --resume")
        print(f"wattswing: {out} cannot go on: {trace.stop_reason}", file=sys.stderr)
        return STOPPED
    return None


def _writer(out: Path, scenario: Scenario, header: Header, resume: bool) -> tuple[TraceWriter, Checkpoint | None]:
    """A new trace, or one put back to its checkpoint. UsageError where that cannot be."""
    from emulator import checkpoint, simulate
    from emulator.carry import differences
    from emulator.trace import TraceError
    from emulator.traces import state_file
    from emulator.traces.hdf5 import TraceWriter

    rows = max(1, simulate.window_ticks(scenario) // header.every_ticks)
    try:
        if not resume:
            return TraceWriter(out, header, rows), None
        start, around = state_file.read(state_file.path_of(out))
        if different := differences(start.made_with, checkpoint.made_with(scenario, header)):
            raise UsageError(f"--resume {out}: belongs to another run: {'; '.join(different)}")
        return TraceWriter(out, header, rows, around), start
    except TraceError as error:
        raise UsageError(str(error)) from error


def _kept(out: Path, before: str = "") -> str:
    """What a trace holds that is not written on, and, where it can be, how to go on, and what to do before."""
    from emulator.trace import TraceError
    from emulator.traces import hdf5, state_file

    try:
        trace = hdf5.read(out, slice(-1, None))
    except TraceError as error:
        return str(error)
    until_s = trace.time_s[-1] + trace.header.row_s if len(trace.time_s) else 0.0
    onward = f"; {before}go on with --resume" if state_file.path_of(out).is_file() else ""
    return f"{out} holds all rows up to here, {until_s:.12g} s{onward}"
