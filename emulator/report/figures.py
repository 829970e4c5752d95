"""Key figures, batteries, grid, costs and events in tables. Signs: load positive = draws from the grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from emulator.report.gather import MOST_CURVES, MOST_EVENTS
from emulator.report.html import count, figure, folded, note, table
from emulator.report.run import Run

SIDES = (("facility", "consumes"), ("pcc", "draws from the grid"))
SITE_FIGURES = ("energy_mwh", "mean_mw", "peak_mw", "swing_mw", "change_5s_mw")
SITE_HEAD = ("", "energy MWh", "mean MW", "peak MW", "p-p MW", "largest change in 5 s MW")
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
JOB_COSTS = {
    "added_energy_mwh": "energy added by floors and dummy work MWh",
    "withheld_energy_mwh": "energy withheld by ceilings and caps MWh",
    "lost_iteration_s": "iterations longer by caps, ceilings and dummy work s",
}
BATTERY_COSTS = ("losses MWh", "throughput MWh", "equivalent cycles", "capacity fade")


def site_table(runs: Sequence[Run]) -> str:
    """Energy, mean, peak, swing of consumption and draw of each site."""
    sites = list(dict.fromkeys(site for run in runs for site in run.found.plan.header.labels["site"]))
    rows = []
    for site in sites:
        for key, words in SIDES:
            for run in runs:
                if site in run.found.plan.header.labels["site"]:
                    values = [run.found.metric(f"site.{site}.{key}_{name}") for name in SITE_FIGURES]
                    rows.append((run.named(f"{site} {words}"), *map(figure, values)))
    return table(SITE_HEAD, rows, range(1, 6)) or note("No sites: the grid alone was emulated.")


def battery_table(runs: Sequence[Run]) -> str:
    """Use, losses and wear of each battery."""
    rows = [row for run in runs for row in _battery_rows(run)]
    if not rows:
        return note("No battery.")
    losses = "Losses: energy in less energy out, less what is still stored."
    wear = "Full cycles and capacity fade are there for batteries whose temperature or ageing the configuration gives."
    return table(BATTERY_HEAD, rows, range(1, len(BATTERY_HEAD))) + note(f"{losses} {wear}")


def _battery_rows(run: Run) -> Iterator[tuple[str, ...]]:
    known = set()
    for battery in run.found.batteries:
        its, use, at = battery.rated, battery.result(), f"battery.{battery.rated.name.replace('/', '.')}"
        known.add(its.name.rpartition("/")[0])
        yield (
            run.named(its.name),
            f"{its.power_mw:g} MW, {its.energy_mwh:g} MWh",
            f"{100.0 * use.soc_min:.2f} to {100.0 * use.soc_max:.2f} %",
            *map(figure, (use.charged_mwh, use.discharged_mwh, use.losses_mwh, use.equivalent_cycles)),
            *(figure(run.found.metric(f"{at}.{key}")) for key in ("full_cycles", "capacity_fade")),
            f"{use.at_power_limit_s:g}",
            f"{use.at_soc_limit_s:g}",
        )
    for site in run.found.plan.labels("bess"):
        if site not in known:  # no configuration to tell its rating
            keys = ("soc_min", "soc_max", "bess_energy_in_mwh", "bess_energy_out_mwh")
            low, high, into, out = (run.found.metric(f"site.{site}.{key}") for key in keys)
            soc = f"{100.0 * low:.2f} to {100.0 * high:.2f} %"
            yield (run.named(site), "unknown", soc, figure(into), figure(out), *["–"] * 6)


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
                    values = (f"{value:.{decimals}f}" for value in (low, high, high - low))
                    rows.append((run.named(f"{name}, {label}"), *values, unit))
    shown = f"At most {MOST_CURVES} places of a kind are shown, the first ones; clauses are judged at all of them."
    found = table(("", "lowest", "highest", "p-p", "unit"), rows, (1, 2, 3)) or note("No grid areas, no voltage.")
    return found + (note(shown) if more else "")


def cost_table(runs: Sequence[Run]) -> str:
    """What mitigation costs: at the jobs, and in batteries."""
    jobs, batteries = [], []
    for run in runs:
        for job in run.found.plan.header.labels["job"]:
            at = f"job.{job.replace('/', '.')}"
            costs = (figure(run.found.metric(f"{at}.{key}")) for key in JOB_COSTS)
            jobs.append((run.named(job), *costs, count(run.found.metric(f"{at}.iterations"))))
        for battery in run.found.batteries:
            use, fade = battery.result(), f"battery.{battery.rated.name.replace('/', '.')}.capacity_fade"
            moved_mwh = use.charged_mwh + use.discharged_mwh
            values = (use.losses_mwh, moved_mwh, use.equivalent_cycles, run.found.metric(fade))
            batteries.append((run.named(battery.rated.name), *map(figure, values)))
    parts = [
        table(("job", *JOB_COSTS.values(), "iterations"), jobs, range(1, 6)),
        table(
            ("battery", "losses MWh", "throughput MWh", "equivalent cycles", "capacity fade"), batteries, range(1, 5)
        ),
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
