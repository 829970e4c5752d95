"""The files of a search: tuned.toml, tuned_scenario.toml, summary.json, tune.png, and pareto.csv of a front."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import emulator
from emulator import plot_tune, schema, toml_text
from emulator.traces.filesystem import whole
from emulator.traces.history import History
from emulator.tune_problem import Task
from emulator.tune_schema import COSTS
from emulator.units import counted, plain


def write(
    folder: Path,
    scenario: schema.Scenario,
    tuned: schema.Scenario,
    task: Task,
    summary: Mapping[str, Any],
    history: History,
) -> None:
    """Write all files but the history, which the search writes as it goes.

    Raises:
      TraceError: one cannot be written.
    """
    texts = dict(_controllers(scenario, tuned, task, summary))
    texts["tuned_scenario.toml"] = toml_text.to_toml(tuned)
    texts["summary.json"] = json.dumps(_json(summary), indent=2) + "\n"
    if "pareto" in summary:
        texts["pareto.csv"] = _csv(summary["pareto"])
    for name, text in texts.items():
        with whole(folder / name) as part:
            part.write_text(text, "utf-8")
    plot_tune.picture(folder / "tune.png", scenario, tuned, task, history)


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO(newline="")
    lines = csv.DictWriter(text, rows[0])
    lines.writeheader()
    lines.writerows(rows)
    return text.getvalue()


def _controllers(
    scenario: schema.Scenario, tuned: schema.Scenario, task: Task, summary: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Name and text of a controller preset: tuned.toml for the first site with a tuned controller, or the first site;
    tuned_SITE.toml for each further one."""
    sites = list(dict.fromkeys(p[1] for p in task.paths if p[0] == "site" and p[2] == "controller"))
    for place in sites or range(len(tuned.site))[:1]:
        site = tuned.site[int(place)]
        first = place == (sites or [0])[0]
        about = _about(scenario, site, task, summary)
        name = "tuned.toml" if first else f"tuned_{site.name}.toml"
        made = f"# Made by: wattswing tune {scenario.run.name}"
        yield name, f"{made}\n\n{toml_text.to_toml(site.controller)}\n{about}"


def _about(scenario: schema.Scenario, site: schema.Site, task: Task, summary: Mapping[str, Any]) -> str:
    """Provenance."""
    tune = task.tune
    before, after = summary["objective_before"], summary["objective_after"]
    values: dict[str, Any] = {
        "description": f"Tuned for {scenario.run.name}, site {site.name}, on {counted(len(tune.train_seeds), 'seed')}",
        "config": scenario.run.name,
        "emulator_version": emulator.__version__,
        "train_seeds": tuple(tune.train_seeds),
        "held_out_seeds": tuple(tune.held_out_seeds),
        "limits": tune.limits or "",
        "tuning_dt_s": task.scenario.run.dt_s,
        "steps": summary["steps"],
        "complete": summary["complete"],
        "objective_before": before,
        "objective_after": after,
    }
    lines = ["[about]", *(f"{name} = {toml_text.toml_value(value)}" for name, value in values.items())]
    lines += ["", "[about.parameters]"]
    lines += [f"{toml_text.toml_value(path)} = {value!r}" for path, value in summary["parameters"].items()]
    chosen = f"choice of wattswing tune {scenario.run.name} where about.parameters has it, else of its configuration"
    keys = [name for name in type(site.controller).model_fields if name != "kind"]
    lines += ["", "[about.sources]", *(f"{name} = {toml_text.toml_value(chosen)}" for name in keys)]
    return "\n".join(lines) + "\n"


def _json(value: Any) -> Any:
    """For JSON."""
    if isinstance(value, Mapping):
        return {str(key): _json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_json(one) for one in value]
    return plain(value)


def render(summary: Mapping[str, Any]) -> str:
    """What the command prints at the end."""
    lines = [f"{'parameter':40s} {'before':>12s} {'after':>12s}"]
    for name, value in summary["parameters"].items():
        lines.append(f"{name:40.40s} {summary['start'][name]:z12.6g} {value:z12.6g}")
    for name in summary["train"]["mean_cost"]["after"]:
        before, after = (summary["train"]["mean_cost"][when][name] for when in ("before", "after"))
        lines.append(f"{name:40.40s} {before:z12.6g} {after:z12.6g} {_unit(COSTS.get(name, '1'))}".rstrip())
    units = {its["name"]: its["unit"] for its in summary["limits"]}
    for name in summary["train"]["worst_margin"]["after"]:
        before, after = (summary["train"]["worst_margin"][when][name] for when in ("before", "after"))
        unit = _unit(units.get(name, "1"))
        lines.append(f"{'margin, ' + name:40.40s} {before:z12.4g} {after:z12.4g} {unit}".rstrip())
    for tick, found in summary.get("held_out", {}).items():
        which = summary["judged_on"].replace("_", "-").removesuffix("-seeds")
        lines.append(
            f"{which}, {tick.replace('_', ' ')} {found['dt_s']:g} s: {found['passed_before']} of {found['scenarios']} "
            f"scenarios passed before, {found['passed']} after: {found['verdict']}"
        )
    return "\n".join(lines)


def _unit(unit: str) -> str:
    return "" if unit == "1" else unit
