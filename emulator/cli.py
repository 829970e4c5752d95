"""The `wattswing` command. Parses, prepares JAX, calls a driver, turns errors into one paragraph and an exit status.

Exit status: 0 done; 2 bad config or arguments; 3 a limit failed; 4 the emulation stopped physically; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from emulator import __version__, catalog, config, limits_schema, schema
from emulator.complaint import ConfigError

DONE, BAD, FAILED, STOPPED, INTERRUPTED = 0, 2, 3, 4, 130


class UsageError(Exception):
    """Arguments that do not make sense together, or a file that is not what it should be."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    args = _parser().parse_args(arguments)
    try:
        return args.command(args)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    except (ConfigError, UsageError) as error:
        if args.debug:
            raise
        print(f"wattswing: {error}", file=sys.stderr)
        return BAD


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wattswing",
        description="Emulates large AI computing sites on a power grid.",
        epilog="example: wattswing run campus_100mw --out campus.h5",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(
        name: str, does: Callable[[argparse.Namespace], int], text: str, example: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text.capitalize() + ".", epilog=f"example: {example}")
        sub.add_argument("--debug", action="store_true", help="show the Python traceback of an error")
        sub.set_defaults(command=does)
        return sub

    text = "one emulation, streamed to HDF5"
    _run_arguments(command("run", _run, text, "wattswing run campus_100mw --set run.duration_s=30"))

    sweep = command(
        "sweep",
        _sweep,
        "a batch of scenarios: every combination of [sweep.values], each with every seed",
        "wattswing sweep battery_sizes --out sizes.h5",
    )
    _config_arguments(sweep)
    sweep.add_argument("--out", type=Path, metavar="FILE.h5", help="what was found; default: CONFIG's name _sweep.h5")

    text = "controller and battery size by gradient, against limits, over many scenarios"
    _tune_arguments(command("tune", _tune, text, "wattswing tune tune_low_pass --out tuned"))

    check = command(
        "check",
        _check,
        "validate, print the resolved config with every default and its source",
        "wattswing check campus_100mw",
    )
    _config_arguments(check)

    presets = command("presets", _presets, "what ships", "wattswing presets batteries")
    presets.add_argument("kind", nargs="?", choices=catalog.kinds(), metavar="KIND", help=", ".join(catalog.kinds()))

    plot = command("plot", _plot, "overview picture of a trace", "wattswing plot campus_100mw.h5 --out campus.png")
    plot.add_argument("trace", type=Path, metavar="TRACE.h5")
    plot.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="PNG, SVG or PDF, by its ending")

    example = "wattswing export campus_100mw.h5 --format csv --out campus.csv --every 100"
    _export_arguments(command("export", _export, "a trace for other tools", example))

    text = "judge a trace, or a recorded power, by a utility's limits"
    _assess_arguments(command("assess", _assess, text, "wattswing assess campus_100mw.h5 --limits ercot_draft"))

    text = "modes of grid, battery and controller, response to a load's swing, and iteration periods to avoid"
    _modes_arguments(command("modes", _modes, text, "wattswing modes campus_100mw --out modes.png"))

    command("schema", _schema, "the config's JSON Schema, for editors", "wattswing schema > wattswing.schema.json")

    bench = command("bench", _bench, "speed of this machine", "wattswing bench --json")
    bench.add_argument("--json", action="store_true", help="for programs")
    return parser


def _config_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="a TOML file or the name of a scenario preset")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="dotted path, list items by index or name: site.0.job.pretrain.devices=4096",
    )


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    _config_arguments(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE.h5", help="trace to write, replacing it; default: CONFIG's name .h5"
    )
    parser.add_argument("--platform", choices=("cpu", "gpu", "tpu"), help="where to compute; default: JAX's choice")
    parser.add_argument("--x64", action="store_true", help="compute in float64")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no summary")


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trace", type=Path, metavar="TRACE.h5")
    parser.add_argument("--format", choices=("csv",), required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="PATH")
    parser.add_argument("--channels", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="rows to merge into one: powers are averaged")


def _tune_arguments(parser: argparse.ArgumentParser) -> None:
    _config_arguments(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the results; default: CONFIG's name _tuned")
    parser.add_argument("--resume", action="store_true", help="go on from the history in the folder")
    parser.add_argument(
        "--pareto",
        type=int,
        default=0,
        metavar="N",
        help="also a front of MW against MWh against margin, by N times 3 searches side by side",
    )


def _assess_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trace", type=Path, metavar="TRACE.h5", help="a trace, or with --csv a CSV file")
    parser.add_argument("--limits", required=True, metavar="LIMITS", help="a TOML file or the name of a limits preset")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--csv", action="store_true", help="TRACE is a CSV file with a time and a power column")
    parser.add_argument("--time-column", default="t_s", metavar="NAME", help="of the CSV file, in s; default: t_s")
    parser.add_argument("--power-column", default="p_mw", metavar="NAME", help="of the CSV file; default: p_mw")
    parser.add_argument("--unit", choices=("w", "kw", "mw"), default="mw", help="of the power column; default: mw")


def _modes_arguments(parser: argparse.ArgumentParser) -> None:
    _config_arguments(parser)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="also a picture: PNG, SVG or PDF, by its ending")
    parser.add_argument(
        "--site", metavar="NAME", help="site, or area, whose load swings; default: the first site, else the first area"
    )


def _run(args: argparse.Namespace) -> int:
    out = args.out or Path(Path(args.config).stem + ".h5")
    if out.suffix not in (".h5", ".hdf5"):
        raise UsageError(f"--out {out}: a trace ends in .h5")
    scenario = config.load(args.config, args.overrides)
    _prepare_jax(args.platform, args.x64)
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
            outcome = simulate.stream(scenario, header, writer, bar.update)
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


def _sweep(args: argparse.Namespace) -> int:
    from emulator import config

    base = config.load(args.config, args.overrides)
    _prepare_jax(None, False)
    from tqdm import tqdm

    from emulator import simulate
    from emulator.sweep import cases_of, render, sweep
    from emulator.trace import TraceError
    from emulator.traces import sweeps

    out = args.out or Path(Path(args.config).stem + "_sweep.h5")
    cases = cases_of(args.config, args.overrides)
    try:
        with tqdm(total=len(cases), unit="scenario", disable=not sys.stderr.isatty()) as bar:
            results = sweep(cases, bar.update)
        sweeps.write(out, results, config.to_toml(base))
    except (simulate.SimulationError, TraceError) as error:
        raise UsageError(str(error)) from error
    print(render(results))
    print(f"{len(results)} scenarios in {out}")
    return DONE if all(result.complete for result in results) else STOPPED


def _tune(args: argparse.Namespace) -> int:
    scenario = config.load(args.config, args.overrides)
    if args.pareto < 0:
        raise UsageError(f"--pareto {args.pareto}: at least 0")
    _prepare_jax(None, False)
    from tqdm import tqdm

    from emulator import simulate, tune_report
    from emulator.trace import TraceError
    from emulator.tune import Progress, TuningError, tune

    out = args.out or Path(Path(args.config).stem + "_tuned")
    bar = tqdm(total=scenario.tune and scenario.tune.steps, unit="step", disable=not sys.stderr.isatty())

    def show(done: Progress) -> None:
        bar.update(done.steps - bar.n)
        bar.set_postfix(objective=f"{done.objective:.5g}", margin=f"{done.worst_margin:.2%}", s=f"{done.step_s:.2f}")

    def warn(text: str) -> None:
        print(f"wattswing: warning: {text}", file=sys.stderr)

    try:
        with bar:
            found = tune(scenario, out, args.resume, args.pareto, show, warn)
    except (simulate.SimulationError, TraceError, TuningError) as error:
        raise UsageError(str(error)) from error
    print(tune_report.render(found.summary))
    if not found.complete:
        print(f"\ninterrupted: {out} holds the best so far; go on with --resume", file=sys.stderr)
        return INTERRUPTED
    print(f"{found.summary['steps']} steps, {found.summary['seconds']:.0f} s; results in {out}")
    return DONE


def _check(args: argparse.Namespace) -> int:
    resolved = config.resolve(args.config, args.overrides)
    print(config.to_toml(resolved.scenario, resolved.origins), end="")
    return DONE


def _presets(args: argparse.Namespace) -> int:
    for kind in [args.kind] if args.kind else catalog.kinds():
        print(f"{kind}:")
        for name in catalog.names(kind):
            print(f"  {name:24s} {catalog.describe(kind, name)}")
    return DONE


def _plot(args: argparse.Namespace) -> int:
    from emulator import plot
    from emulator.trace import TraceError

    try:
        plot.overview(args.trace, args.out)
    except TraceError as error:
        raise UsageError(str(error)) from error
    return DONE


def _export(args: argparse.Namespace) -> int:
    from emulator.trace import TraceError
    from emulator.traces import csv

    try:
        csv.write(args.trace, args.out, args.channels, args.every)
    except TraceError as error:
        raise UsageError(str(error)) from error
    return DONE


def _assess(args: argparse.Namespace) -> int:
    clauses = limits_schema.load(args.limits)
    from emulator import limits, recording
    from emulator.trace import TraceError
    from emulator.traces import hdf5

    try:
        if args.csv:
            recorded = recording.of_csv(args.trace, args.time_column, args.power_column, args.unit)
        else:
            recorded = recording.of_trace(hdf5.read(args.trace), str(args.trace))
    except TraceError as error:
        raise UsageError(str(error)) from error
    assessment = limits.assess(recorded, clauses)
    print(json.dumps(assessment.as_json(), indent=2) if args.json else limits.render(assessment))
    return FAILED if assessment.verdict == "fail" else DONE


def _modes(args: argparse.Namespace) -> int:
    scenario = config.load(args.config, args.overrides)
    _prepare_jax(None, True)
    from emulator import modes_report, plot_modes
    from emulator.trace import TraceError

    try:
        found = modes_report.analyse(scenario, args.site)
        if args.out is not None:
            plot_modes.picture(found, args.out)
    except (modes_report.ModesError, TraceError) as error:
        raise UsageError(str(error)) from error
    print(json.dumps(modes_report.as_json(found), indent=2) if args.json else modes_report.render(found))
    return DONE


def _schema(args: argparse.Namespace) -> int:
    print(json.dumps(schema.Scenario.model_json_schema(), indent=2))
    return DONE


def _bench(args: argparse.Namespace) -> int:
    _prepare_jax(None, False)
    from emulator import bench

    figures = bench.measure()
    print(json.dumps(figures, indent=2) if args.json else bench.render(figures))
    return DONE


def _prepare_jax(platform: str | None, x64: bool) -> None:
    """Everything that is global in JAX, set in this one place before its first computation."""
    from emulator.xla import compile_loops_whole

    compile_loops_whole()
    import jax

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wattswing"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_enable_x64", x64)
    if platform is not None:
        jax.config.update("jax_platforms", platform)
        try:
            jax.devices()
        except RuntimeError as error:
            raise UsageError(f"--platform {platform}: JAX finds no such device here ({error})") from error
