"""`wattswing fit`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emulator import config
from emulator.commands.common import DONE, INTERRUPTED, UsageError, config_arguments, prepare_jax
from emulator.complaint import ConfigError

TEXT = "numbers of a workload, its accelerators or a grid area from a recording, with their errors"
EXAMPLE = """wattswing run r1_load_step --set record.every_ticks=20 --out event.h5
wattswing fit r1_load_step event.h5 --set grid.area.main.inertia_s=6.0 --out fitted.toml --plot fit.png"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What follows the command's name."""
    config_arguments(parser)
    parser.add_argument("trace", type=Path, metavar="TRACE", help="a trace of ours (HDF5), or a CSV file")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE.toml",
        help="what was found, as a preset: [[site.job]] workload = 'FILE.toml', or [grid] preset = 'FILE.toml'",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="measured against fitted: PNG, SVG or PDF")
    parser.add_argument("--time-column", default="t_s", metavar="NAME", help="of the CSV file, in s; default: t_s")
    parser.add_argument(
        "--power-column", metavar="NAME", help="of the CSV file; default: p_mw, or with --frequency-column no load"
    )
    parser.add_argument("--unit", choices=("w", "kw", "mw"), default="mw", help="of the power column; default: mw")
    parser.add_argument("--frequency-column", metavar="NAME", help="of the CSV file, in Hz: fits an area")


def run(args: argparse.Namespace) -> int:
    """Fit, print, write; returns the exit status."""
    scenario = config.load(args.config, args.overrides)
    if args.out is not None and args.out.suffix != ".toml":
        raise UsageError(f"--out {args.out}: must end in .toml, configurations name it so")
    prepare_jax(None, True)
    from tqdm import tqdm

    from emulator import fit, fit_report, plot, plot_fit
    from emulator.fit_data import Columns
    from emulator.fit_iterations import FitError
    from emulator.simulate import SimulationError
    from emulator.trace import TraceError
    from emulator.traces.filesystem import must_be_writable, whole

    columns = Columns(args.time_column, args.power_column, args.unit, args.frequency_column)
    bar = tqdm(unit=" emulations", disable=not sys.stderr.isatty())

    def show(rms: float) -> None:
        bar.update()
        bar.set_postfix(residual=f"{rms:.4g}")

    try:
        if args.out is not None:
            must_be_writable(args.out)
        if args.plot is not None:
            plot.must_be_drawable(args.plot)
        with bar:
            fitted = fit.fit(scenario, args.trace, columns, show)
    except ConfigError as error:
        raise config.located(error, args.config, args.overrides) from error
    except (FitError, SimulationError, TraceError) as error:
        raise UsageError(str(error)) from error
    print(fit_report.render(fitted, args.trace.name))
    try:
        if args.out is not None:
            for path, text in fit.files(fitted, args.out, args.trace, args.config).items():
                with whole(path) as part:
                    part.write_text(text, "utf-8")
                print(f"written: {path}")
        if args.plot is not None:
            plot_fit.picture(fitted, args.plot)
            print(f"written: {args.plot}")
    except TraceError as error:
        raise UsageError(str(error)) from error
    if not fitted.complete:
        print("\ninterrupted: the best so far", file=sys.stderr)
        return INTERRUPTED
    return DONE
