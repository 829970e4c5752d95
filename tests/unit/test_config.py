"""Reading, overriding, resolving."""

from __future__ import annotations

import pytest

from emulator import config, toml_text
from emulator.complaint import ConfigError, Problem

CAMPUS = """
[run]
duration_s = 10.0

[[site]]
name = "north"

[[site.job]]
name = "pretrain"
kind = "training"
accelerator = "h100"
devices = 1024
workload = "dgx_h100_frontier"

[[site.job]]
name = "base"
kind = "constant"
power_mw = 3.0

[site.bess]
preset = "megapack_2_xl"
units = 4
soc_initial = 0.6
"""


@pytest.fixture
def campus(tmp_path):
    path = tmp_path / "campus.toml"
    path.write_text(CAMPUS)
    return path


def test_presets_fill_and_keys_override(campus):
    site = config.load(campus).site[0]
    assert site.bess.power_mw == 1.9 and site.bess.units == 4 and site.bess.soc_initial == 0.6
    assert site.job[0].accelerator.tdp_w == 700.0
    assert len(site.job[0].workload.phase) > 3


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("run.duration_s=30", lambda s: s.run.duration_s == 30.0),
        ("site.0.job.pretrain.devices=4096", lambda s: s.site[0].job[0].devices == 4096),
        ("site.north.job.1.power_mw=7.5", lambda s: s.site[0].job[1].power_mw == 7.5),
        ("site.0.job.pretrain.accelerator.idle_w=90", lambda s: s.site[0].job[0].accelerator.idle_w == 90.0),
        ("site.0.job.pretrain.accelerator.idle_w=90", lambda s: s.site[0].job[0].accelerator.tdp_w == 700.0),
        ("site.0.job.pretrain.accelerator=a100", lambda s: s.site[0].job[0].accelerator.tdp_w == 400.0),
        ("site.0.job.pretrain.workload.phase.1.level=0.5", lambda s: s.site[0].job[0].workload.phase[1].level == 0.5),
        ("site.0.job.pretrain.workload.phase.1.level=0.5", lambda s: s.site[0].job[0].workload.phase[0].level == 1.0),
        (
            "site.0.job.pretrain.workload.phase.forward.level=0.5",
            lambda s: s.site[0].job[0].workload.phase[1].level == 0.5,
        ),
        (
            "site.0.pcc={short_circuit_ratio=5, x_over_r=10, nominal_kv=138, rated_mw=20}",
            lambda s: s.site[0].pcc.rated_mw == 20,
        ),
        ("site.0.facility.psu_efficiency=0.9", lambda s: s.site[0].facility.psu_efficiency == 0.9),
        ("grid.preset=sfr_anderson", lambda s: s.grid.area[0].inertia_s == 4.0),
    ],
)
def test_overrides(campus, override, value):
    assert value(config.load(campus, [override]))


def test_an_override_inside_a_preset_keeps_the_sources_of_the_rest(campus):
    """The last one reaches into what the one before it brings."""
    overrides = ["grid.preset=two_area_r9", "site.0.area=east", "grid.area.east.inertia_s=3"]
    resolved = config.resolve(campus, overrides)
    assert [area.inertia_s for area in resolved.scenario.grid.area] == [6.5, 3.0]
    assert resolved.origins["grid.area.1.inertia_s"] == "--set"
    assert resolved.origins["grid.area.0.inertia_s"].startswith("preset two_area_r9: Kundur")
    with pytest.raises(ConfigError, match="^--set: grid.area: has no item 'easst': it has 2; nearest: east$"):
        config.load(campus, [*overrides, "grid.area.easst.inertia_s=3"])
    with pytest.raises(ConfigError, match="^--set: grid.area.1.inertia_s: is -3, must be >= 0"):
        config.load(campus, [*overrides, "grid.area.east.inertia_s=-3"])


AREAS = """
preset = "sfr_anderson"
[[area]]
name = "west"
inertia_s = 4.0
[[area]]
name = "east"
inertia_s = 5.0
[[tie]]
between = ["west", "east"]
synchronizing_mw_per_rad = 300.0
"""


def test_an_override_inside_a_preset_of_ones_own(campus):
    """Also in what a base of it brings: presets that ship, or more of one's own."""
    for name, text in (("areas.toml", AREAS), ("mine.toml", 'preset = "areas.toml"\nfrequency_hz = 50.0\n')):
        (campus.parent / name).write_text(text)
    overrides = ["site.0.area=east", "grid.preset=mine.toml"]
    resolved = config.resolve(campus, [*overrides, "grid.area.east.inertia_s=3", "grid.area.0.inertia_s=2"])
    grid = resolved.scenario.grid
    assert [(area.name, area.inertia_s) for area in grid.area] == [("west", 2.0), ("east", 3.0)]
    assert (grid.frequency_hz, grid.base_mva) == (50.0, 1000.0)
    assert resolved.origins["grid.base_mva"].startswith("preset sfr_anderson")
    at = {key: resolved.origins[f"grid.{key}"] for key in ("area.1.inertia_s", "area.1.name", "frequency_hz")}
    assert at == {"area.1.inertia_s": "--set", "area.1.name": "areas.toml:7", "frequency_hz": "mine.toml:2"}
    with pytest.raises(ConfigError, match="^--set: grid.area: has no item 'easst': it has 2; nearest: east$"):
        config.load(campus, [*overrides, "grid.area.easst.inertia_s=3"])
    (campus.parent / "areas.toml").write_text('preset = "mine.toml"')
    with pytest.raises(ConfigError, match="/areas.toml:1: grid.preset: 'mine.toml' has itself as a base$"):
        config.load(campus, overrides)
    with pytest.raises(ConfigError, match=r"^--set: grid.area: must be a list .* --set 'grid.area=\[{...}\]'$"):
        config.load(campus, ["grid.area.east.inertia_s=3"])


def test_a_presets_numbers_are_the_presets_when_an_override_brings_it(campus):
    """Only what --set gives itself is from there; lines of the table that it replaces count no more."""
    overrides = ["site.0.bess={preset='megablock', units=3, soc_max=0.9}", "site.0.job.pretrain.accelerator=h200"]
    origins = config.resolve(campus, [*overrides, "site.0.bess.soc_max=0.8"]).origins
    assert origins["site.0.bess.energy_mwh"] == "preset megablock: 20 MWh AC [V]"
    assert origins["site.0.job.0.accelerator.idle_w"].startswith("preset h200: ")
    assert {origins[f"site.0.bess.{key}"] for key in ("units", "soc_max")} == {"--set"}
    assert origins["site.0.bess.soc_initial"].startswith("default: ")
    with pytest.raises(ConfigError, match="^--set: site.0.bess.soc_initial: is 0.6, must lie within 0.7 to 1"):
        config.load(campus, ["site.0.bess={preset='megablock', soc_initial=0.6, soc_min=0.7}"])


@pytest.mark.parametrize("brought", ["set", "written"])
def test_a_preset_of_ones_own_is_named_by_file_and_line(campus, brought):
    """In origins as in what is wrong, by the reader and by drivers."""
    slow, table = campus.parent / "slow.toml", "{preset='slow.toml', soc_gain=0.5}"
    slow.write_text('kind = "low_pass"\n\ncutoff_hz = 0.0123\n')
    by_set = [f"site.0.controller={table}"] if brought == "set" else []
    if brought == "written":
        campus.write_text(f"{CAMPUS}\n[site.controller]\npreset = 'slow.toml'\nsoc_gain = 0.5\n")
    origins = config.resolve(campus, by_set).origins
    assert origins["site.0.controller.cutoff_hz"] == "slow.toml:3"
    assert origins["site.0.controller.soc_gain"] == ("--set" if by_set else "campus.toml:27")
    wrong = ConfigError([Problem("config", None, "site.0.controller.cutoff_hz", "cannot be tuned")])
    assert str(config.located(wrong, str(campus), by_set)) == f"{slow}:3: site.0.controller.cutoff_hz: cannot be tuned"
    slow.write_text('kind = "low_pass"\n\ncutoff_hz = -1.0\n')
    with pytest.raises(ConfigError, match=f"^{slow}:3: site.0.controller.cutoff_hz: is -1.0, must be"):
        config.load(campus, by_set)
    with pytest.raises(ConfigError, match="^--set: site.0.controller.cutoff_hz: is -2, must be"):
        config.load(campus, [*by_set, "site.0.controller.cutoff_hz=-2"])


def test_overrides_come_before_presets(campus):
    scenario = config.load(campus, ["site.0.bess.preset=megablock", "site.0.bess.units=2"])
    assert scenario.site[0].bess.energy_mwh == 20.0 and scenario.site[0].bess.units == 2


def test_files_of_overrides_are_looked_for_where_one_is(campus, tmp_path, monkeypatch):
    """A preset and a recording in the working directory; one that is not there stays beside the configuration."""
    here = tmp_path / "here"
    here.mkdir()
    (here / "slow.toml").write_text('kind = "low_pass"\ncutoff_hz = 0.0123\n')
    (here / "load.csv").write_text("t_s,p_mw\n0,1\n1,2\n")
    (campus.parent / "other.csv").write_text("t_s,p_mw\n0,1\n1,2\n")
    monkeypatch.chdir(here)
    scenario = config.load(campus, ["site.0.controller={preset='slow.toml'}"])
    assert scenario.site[0].controller.cutoff_hz == 0.0123
    for name, folder in (("load.csv", here), ("other.csv", campus.parent)):
        scenario = config.load(campus, [f"site.0.job=[{{name='a', kind='replay', repeat=true, path='{name}'}}]"])
        assert scenario.site[0].job[0].path == str(folder / name)


@pytest.mark.parametrize("name", ["campus_100mw", "r1_load_step"])
def test_resolved_text_loads_again_to_the_same(tmp_path, name):
    scenario = config.load(name)
    (tmp_path / "resolved.toml").write_text(toml_text.to_toml(scenario))
    assert config.load(tmp_path / "resolved.toml") == scenario


def test_any_text_survives_the_round_trip(campus, tmp_path):
    scenario = config.load(campus, ["run.name='a \"b\" \\ é 漢 end'"])
    (tmp_path / "resolved.toml").write_text(toml_text.to_toml(scenario), "utf-8")
    assert config.load(tmp_path / "resolved.toml").run.name == scenario.run.name


def test_origins_name_line_preset_override_and_default(campus):
    resolved = config.resolve(campus, ["run.seed=3"])
    origins = resolved.origins
    assert origins["run.duration_s"] == "campus.toml:3"
    assert origins["site.0.job.1.power_mw"] == "campus.toml:18"
    assert origins["run.seed"] == "--set"
    assert origins["site.0.bess.power_mw"].startswith("preset megapack_2_xl: 1.9 MW")
    assert origins["site.0.bess.soc_initial"] == "campus.toml:23"
    assert origins["run.dt_s"].startswith("default: ")


def test_every_value_of_the_resolved_text_has_an_origin(campus):
    resolved = config.resolve(campus)
    for line in toml_text.to_toml(resolved.scenario, resolved.origins).splitlines():
        assert not line or line.startswith("[") or " # " in line, line


def test_replay_paths_are_relative_to_the_config(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/load.csv").write_text("t_s,p_mw\n0,1\n1,2\n2,1\n")
    (tmp_path / "sub/c.toml").write_text(
        '[run]\nduration_s = 2.0\n[[site]]\nname = "a"\n[[site.job]]\nname = "r"\nkind = "replay"\npath = "load.csv"\n'
    )
    assert config.load(tmp_path / "sub/c.toml").site[0].job[0].path == str(tmp_path / "sub/load.csv")
