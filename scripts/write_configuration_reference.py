"""Write docs/configuration.md from the schema, so that it says what the program does.

python scripts/write_configuration_reference.py
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path

from emulator import (
    bess_schema,
    controller_schema,
    cosim_schema,
    fit_schema,
    governor_schema,
    grid_schema,
    jobs_schema,
    schema,
    tune_schema,
)
from emulator.complaint import bounds, unit_of
from emulator.tables import Table

DOCS = Path(__file__).parents[1] / "docs" / "configuration.md"

HEAD = """# Configuration

One TOML file describes a run. Unknown keys are errors. A table left out means the ideal part: no `[site.facility]` =
lossless, no battery, no PCC = stiff voltage, no `[grid]` = an infinite grid. `preset = "NAME"` in `[site.facility]`,
`[site.bess]`, `[site.controller]` or `[grid]` takes a shipped table as its base, and so do the texts
`accelerator = "NAME"` and `workload = "NAME"`; other keys override it. A TOML file of your own serves as well, as in
`preset = "acme_block.toml"`, looked for beside the configuration. `wattswing presets` lists what ships,
`wattswing check CONFIG` prints what a file comes to and where each number is from, and
`--set site.0.job.pretrain.devices=4096` overrides a key from the command line.

Tags of sources: [V] read in the source, [S] read in a secondary source, [D] derived, [M] textbook knowledge not
verified again.

This page is written by `scripts/write_configuration_reference.py` from the schema.
"""

TABLES: tuple[tuple[str, type[Table]], ...] = (
    ("[run]", schema.Run),
    ("[[site]]", schema.Site),
    ('[[site.job]], kind = "training"', jobs_schema.TrainingJob),
    ("[site.job.accelerator]", jobs_schema.Accelerator),
    ("[site.job.workload]", jobs_schema.Workload),
    ("[[site.job.workload.phase]]", jobs_schema.Phase),
    ("[site.job.workload.checkpoint]", jobs_schema.Checkpoint),
    ("[site.job.workload.evaluation]", jobs_schema.Evaluation),
    ("[site.job.workload.stall]", jobs_schema.DataStall),
    ("[site.job.workload.fault]", jobs_schema.Fault),
    ("[site.job.smoothing]", jobs_schema.Smoothing),
    ("[site.job.dummy_work]", jobs_schema.DummyWork),
    ("[[site.job.cap]]", jobs_schema.Cap),
    ('[[site.job]], kind = "inference"', jobs_schema.InferenceJob),
    ("[site.job.service]", jobs_schema.Service),
    ('[[site.job]], kind = "replay"', jobs_schema.ReplayJob),
    ('[[site.job]], kind = "constant"', jobs_schema.ConstantJob),
    ("[site.facility]", schema.Facility),
    ("[site.facility.ride_through]", schema.RideThrough),
    ("[site.pcc]", schema.Pcc),
    ("[site.bess]", schema.Bess),
    ("[site.bess.cell]", bess_schema.Cell),
    ("[site.bess.thermal]", bess_schema.Thermal),
    ("[site.bess.ageing]", bess_schema.Ageing),
    ("[[site.store]]", schema.Store),
    ("[site.measurement]", schema.Measurement),
    ('[site.controller], kind = "low_pass"', controller_schema.LowPassController),
    ('[site.controller], kind = "ramp_limit"', controller_schema.RampLimitController),
    ('[site.controller], kind = "moving_average"', controller_schema.MovingAverageController),
    ('[site.controller], kind = "expanding_mean"', controller_schema.ExpandingMeanController),
    ('[site.controller], kind = "droop"', controller_schema.DroopController),
    ('[site.controller], kind = "virtual_inertia"', controller_schema.VirtualInertiaController),
    ('[site.controller], kind = "neural"', controller_schema.NeuralController),
    ('[site.controller], kind = "band_stop"', controller_schema.BandStopController),
    ("[[site.controller.band]]", controller_schema.Band),
    ('[site.controller], kind = "feed_forward"', controller_schema.FeedForwardController),
    ('[site.controller], kind = "repetitive"', controller_schema.RepetitiveController),
    ('[site.controller], kind = "lqr"', controller_schema.LqrController),
    ('[site.controller], kind = "mpc"', controller_schema.MpcController),
    ('[site.controller], kind = "composite"', controller_schema.CompositeController),
    ("[grid]", grid_schema.Grid),
    ("[[grid.area]]", grid_schema.Area),
    ('[[grid.area.governor]], model = "reheat"', governor_schema.ReheatGovernor),
    ('[[grid.area.governor]], model = "lag"', governor_schema.LagGovernor),
    ('[[grid.area.governor]], model = "tgov1"', governor_schema.Tgov1Governor),
    ('[[grid.area.governor]], model = "gast"', governor_schema.GastGovernor),
    ('[[grid.area.governor]], model = "ieeeg1"', governor_schema.Ieeeg1Governor),
    ('[[grid.area.governor]], model = "hygov"', governor_schema.HygovGovernor),
    ('[[grid.area.governor]], model = "engine"', governor_schema.EngineGovernor),
    ("[grid.area.inverters]", grid_schema.Inverters),
    ("[grid.area.agc]", grid_schema.Agc),
    ("[[grid.area.shedding]]", grid_schema.Shedding),
    ("[[grid.tie]]", grid_schema.Tie),
    ("[[grid.shaft]]", grid_schema.Shaft),
    ('[[disturbance]], kind = "load_step"', grid_schema.LoadStep),
    ('[[disturbance]], kind = "generation_trip"', grid_schema.GenerationTrip),
    ('[[disturbance]], kind = "voltage_sag"', grid_schema.VoltageSag),
    ('[[disturbance]], kind = "scr_change"', grid_schema.ScrChange),
    ('[[disturbance]], kind = "bess_outage"', grid_schema.BessOutage),
    ('[[disturbance]], kind = "tie_outage"', grid_schema.TieOutage),
    ("[record]", schema.Record),
    ("[sweep]", schema.Sweep),
    ("[tune]", tune_schema.Tune),
    ("[[tune.parameters]]", tune_schema.Parameter),
    ("[[tune.objective]]", tune_schema.Term),
    ("[fit]", fit_schema.Fit),
    ("[cosim]", cosim_schema.Cosim),
)


def reference() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(line for title, table in TABLES for line in section(title, table))])


def section(title: str, table: type[Table]) -> Iterator[str]:
    """One table of the configuration."""
    yield from (f"## `{title}`", "")
    if table.__doc__:
        yield from (table.__doc__.strip(), "")
    yield from ("| key | unit | range | default | meaning |", "|---|---|---|---|---|")
    for name, field in table.model_fields.items():
        if field.description is None:
            continue  # kind and model, which the title names
        choices = typing.get_args(field.annotation) if typing.get_origin(field.annotation) is typing.Literal else ()
        allowed = ", ".join(f"`{choice}`" for choice in choices) or bounds(field)
        yield f"| `{name}` | {unit_of(field)} | {allowed} | {default_of(field)} | {field.description} |"
    yield ""


def default_of(field: typing.Any) -> str:
    """Default and its source; tables left out are described by what leaving them out means."""
    if field.is_required():
        return "required"
    if field.default is None:
        return ""
    source = (field.json_schema_extra or {}).get("source", "")
    shown = "" if isinstance(field.default, Table | tuple) else f"{field.default!r}"
    return f"{shown} ({source})" if shown and source else shown or source


if __name__ == "__main__":
    DOCS.write_text(reference(), "utf-8")
