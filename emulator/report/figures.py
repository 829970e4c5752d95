"""Sites, batteries, grid, costs and events in tables. Signs: load positive = draws from the grid."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

from emulator.power_metrics import RAMPS_S
from emulator.report.gather import MOST_CURVES, MOST_EVENTS
from emulator.report.html import count, figure, folded, note, table
from emulator.report.run import Run

SIDES = (("load", "consumes"), ("power", "draws from the grid"))
SITE_FIGURES = (
    "energy_mwh", "mean_mw", "peak_mw", "swing_mw", "change_5s_mw",
    *(f"ramp_{over_s:g}s_mw_per_s" for over_s in RAMPS_S),
)  # fmt: skip
SITE_HEAD = (
    "", "energy MWh", "mean MW", "peak MW", "p-p MW", "largest change in 5 s MW",
    *(f"ramp over {over_s:g} s MW/s" for over_s in RAMPS_S),
)  # fmt: skip
BATTERY_HEAD = (
    "", "rated", "SOC", "in MWh", "out MWh", "losses MWh", "equivalent cycles", "full cycles", "capacity fade",
    "at power limit s", "at SOC limit s",
)  # fmt: skip
GRID_FIGURES = {  # name, unit and decimals
    "frequency": ("frequency", "Hz", 4),
    "rocof": ("rate of change of frequency", "Hz/s", 4),
    "voltage": ("voltage at the PCC", "pu", 4),
    "tie": ("tie flow", "MW", 2),
    "torque": ("change of shaft torque", "pu", 4),
}
BATTERY_FIGURES = (
    "charged_mwh", "discharged_mwh", "losses_mwh", "equivalent_cycles", "full_cycles", "capacity_fade",
    "at_power_limit_s", "at_soc_limit_s",
)  # fmt: skip
JOB_COSTS = {
    "added_energy_mwh": "energy added by floors and dummy work MWh",
    "withheld_energy_mwh": "energy withheld by ceilings and caps MWh",
    "energy_overhead_pct": "net, of what the job wanted %",
    "lost_iteration_s": "iterations longer by caps, ceilings and dummy work s",
}
BATTERY_COSTS = ("losses MWh", "throughput MWh", "equivalent cycles", "capacity fade")


def site_table(runs: Sequence[Run]) -> str:
    """Energy, mean, peak, swing, change and ramps of consumption and draw of each site."""
    rows = []
    for site in dict.fromkeys(site for run in runs for site in run.found.plan.header.labels["site"]):
        for quantity, words in SIDES:
            for run in runs:
                if site in run.found.plan.header.labels["site"]:
                    shown = quantity if site in run.places(quantity) else "power"  # without a battery they are one
                    values = (run.value(shown, site, name) for name in SITE_FIGURES)
                    rows.append((run.named(f"{site} {words}"), *map(figure, values)))
    found = table(SITE_HEAD, rows, range(1, len(SITE_HEAD)))
    return found or note("No sites: the grid alone was emulated.")


def battery_table(runs: Sequence[Run]) -> str:
    """Use, losses and wear of each battery."""
    rows = [_battery_row(run, at) for run in runs for at in run.places("battery")]
    if not rows:
        return note("No battery.")
    losses = "Losses: energy in less energy out, less what is still stored."
    wear = "Full cycles and capacity fade are there for batteries whose temperature or ageing the configuration gives."
    return table(BATTERY_HEAD, rows, range(1, len(BATTERY_HEAD))) + note(f"{losses} {wear}")


def _battery_row(run: Run, at: str) -> tuple[str, ...]:
    rating = run.ratings.get(at)
    low, high = (100.0 * run.value("battery", at, f"soc_{end}") for end in ("min", "max"))
    return (
        run.named(at),
        f"{rating.power_mw:g} MW, {rating.energy_mwh:g} MWh" if rating else "unknown",
        f"{low:.2f} to {high:.2f} %",
        *(figure(run.value("battery", at, name)) for name in BATTERY_FIGURES),
    )


def grid_table(runs: Sequence[Run]) -> str:
    """Extremes of frequency, its rate of change, voltage, tie flows and torques."""
    rows, more = [], False
    for key, (name, unit, decimals) in GRID_FIGURES.items():
        for label in dict.fromkeys(label for run in runs for label in run.found.plan.labels(key)):
            for run in runs:
                labels = run.found.plan.labels(key)
                more |= len(labels) == MOST_CURVES
                if label in labels:
                    low, high = run.found.range_of(key, labels.index(label))
                    values = (f"{value:z.{decimals}f}" for value in (low, high, high - low))
                    rows.append((run.named(f"{name}, {label}"), *values, unit))
    shown = f"At most {MOST_CURVES} places of a kind are shown, the first ones; clauses are judged at all of them."
    found = table(("", "lowest", "highest", "p-p", "unit"), rows, (1, 2, 3)) or note("No grid areas, no voltage.")
    return found + (note(shown) if more else "")


def cost_table(runs: Sequence[Run]) -> str:
    """What mitigation costs: at the jobs, and in batteries."""
    jobs, batteries = [], []
    for run in runs:
        for job in run.found.plan.header.labels["job"]:
            costs = (figure(run.value("mitigation", job, name)) for name in JOB_COSTS)
            iterations = run.found.plan.first.metrics.get(f"job.{job.replace('/', '.')}.iterations", nan)
            jobs.append((run.named(job), *costs, count(iterations)))
        for at in run.places("battery"):
            values = {name: run.value("battery", at, name) for name in BATTERY_FIGURES}
            moved_mwh = values["charged_mwh"] + values["discharged_mwh"]
            costs = (values["losses_mwh"], moved_mwh, values["equivalent_cycles"], values["capacity_fade"])
            batteries.append((run.named(at), *map(figure, costs)))
    parts = [
        table(("job", *JOB_COSTS.values(), "iterations"), jobs, range(1, len(JOB_COSTS) + 2)),
        table(("battery", *BATTERY_COSTS), batteries, range(1, len(BATTERY_COSTS) + 1)),
    ]
    if any(not run.found.plan.first.complete for run in runs):
        parts.append(note("A dash: only the run itself counts it, and only at its end."))
    return "".join(parts) or note("No jobs, no batteries.")


def event_tables(runs: Sequence[Run]) -> str:
    """How many events of each kind, and the first ones."""
    kinds = list(dict.fromkeys(kind for run in runs for kind in run.found.counts))
    if not kinds:
        return note("None.")
    head, columns = ("kind", *(run.label or "count" for run in runs)), range(1, len(runs) + 1)
    counts = table(head, [(kind, *(str(run.found.counts[kind]) for run in runs)) for kind in kinds], columns)
    rows = [
        (run.named(f"{event.time_s:.3f}"), event.kind, event.where, figure(event.value))
        for run in runs
        for event in run.found.events
    ]
    listed = table(("at s", "kind", "where", "value"), rows, (3,))
    marked = (
        f"Triangles at the top of plots over time mark events, at most {MOST_EVENTS} of a run; "
        "starts and pauses of jobs and a battery's power limit are only listed."
    )
    return counts + note(marked) + folded(f"the first {MOST_EVENTS} of each run", listed)
