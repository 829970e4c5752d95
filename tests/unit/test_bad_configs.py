"""Every class of bad configuration is refused in words: file, line, key, value, what is allowed, the nearest name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from emulator import config, limits_schema
from emulator.complaint import ConfigError

GOOD = """
[run]
duration_s = 10.0
dt_s = 0.001

[[site]]
name = "north"
area = "main"
[[site.job]]
name = "base"
kind = "constant"
power_mw = 30.0
[[site.job]]
name = "train"
kind = "training"
accelerator = "h100"
devices = 64
workload = "dgx_h100_frontier"
[site.bess]
power_mw = 10.0
energy_mwh = 5.0
[site.controller]
kind = "low_pass"
cutoff_hz = 0.1

[grid]
[[grid.area]]
name = "main"
rated_mva = 1000.0
inertia_s = 4.0
[[grid.area.governor]]
model = "tgov1"
[[grid.area]]
name = "east"
inertia_s = 4.0
[[grid.tie]]
between = ["main", "east"]
synchronizing_mw_per_rad = 300.0

[[disturbance]]
kind = "load_step"
at_s = 1.0
area = "main"
mw = 5.0
"""


@pytest.fixture
def refusal(tmp_path):
    """Message of the refusal of GOOD with one text replaced by another."""

    def refuse(old: str, new: str) -> str:
        assert GOOD.count(old) >= 1
        path = tmp_path / "bad.toml"
        path.write_text(GOOD.replace(old, new, 1))
        with pytest.raises(ConfigError) as caught:
            config.load(path)
        return str(caught.value).replace(str(tmp_path) + "/", "")

    return refuse


def test_the_good_one_is_good(tmp_path):
    (tmp_path / "good.toml").write_text(GOOD)
    config.load(tmp_path / "good.toml")


CASES = [  # what, old, new, what the message must say
    (
        "misspelt kind",
        'kind = "constant"',
        'kid = "constant"',
        "bad.toml:11: site.0.job.0.kid: unknown key; nearest: kind",
    ),
    (
        "no kind",
        'kind = "constant"\n',
        "",
        "bad.toml:9: site.0.job.0.kind: missing key; allowed: constant, inference, replay, training",
    ),
    (
        "misspelt model",
        "model =",
        "modl =",
        "bad.toml:32: grid.area.0.governor.0.modl: unknown key; nearest: model",
    ),
    (
        "misspelt preset",
        "[site.bess]\n",
        '[site.bess]\nprset = "megablock"\n',
        "bad.toml:20: site.0.bess.prset: unknown key; nearest: preset",
    ),
    ("table for a list", "[[site]]", "[site]", "site: must be a list of tables: write [[site]]"),
    (
        "control character in a name",
        '"north"',
        '"a\\u0000b"',
        "site.0.name: is 'a\\x00b', must be 1 to 64 characters without",
    ),
    ("long name", '"north"', f'"{"n" * 65}"', "nnn', must have at most 64 characters"),
    (
        "title that clears a screen",
        "[run]",
        '[run]\nname = "a\\u001b[2J"',
        "run.name: is 'a\\x1b[2J', must be one line of text",
    ),
    ("switch for a number", "duration_s = 10.0", "duration_s = true", "run.duration_s: is true, must be a number of s"),
    (
        "unknown key",
        "power_mw = 10.0",
        "powr_mw = 10.0",
        "bad.toml:20: site.0.bess.powr_mw: unknown key; nearest: power_mw",
    ),
    (
        "unknown table",
        "[[disturbance]]",
        "[[disturbances]]",
        "bad.toml:40: disturbances: unknown key; nearest: disturbance",
    ),
    (
        "wrong type",
        "power_mw = 10.0",
        'power_mw = "ten"',
        "bad.toml:20: site.0.bess.power_mw: is 'ten', must be a number of MW, >= 0",
    ),
    ("float for int", "devices = 64", "devices = 64.5", "site.0.job.1.devices: is 64.5, must be a whole number"),
    ("bool for number", "mw = 5.0", "mw = true", "disturbance.0.mw: is true, must be a number of MW"),
    (
        "number for table",
        'area = "main"\n[[',
        'area = "main"\nfacility = 3\n[[',
        "bad.toml:9: site.0.facility: is 3, must be a table",
    ),
    ("table for list", "[[disturbance]]", "[disturbance]", "bad.toml:40: disturbance: must be a list"),
    (
        "out of range",
        "cutoff_hz = 0.1",
        "cutoff_hz = 0.0",
        "site.0.controller.cutoff_hz: is 0.0, must be > 0 and <= 1000 Hz",
    ),
    (
        "negative rating",
        "rated_mva = 1000.0",
        "rated_mva = -5",
        "grid.area.0.rated_mva: is -5, must be > 0 and <= 1e+08 MVA",
    ),
    (
        "NaN",
        "duration_s = 10.0",
        "duration_s = nan",
        "bad.toml:3: run.duration_s: is nan, must be a finite number of s",
    ),
    ("infinite", "mw = 5.0", "mw = inf", "disturbance.0.mw: is inf, must be a finite number"),
    ("unknown preset", '"h100"', '"h10"', "no preset 'h10' among accelerators; nearest: h100"),
    (
        "unknown kind",
        'kind = "constant"',
        'kind = "constnt"',
        "site.0.job.0.kind: 'constnt' is unknown; nearest: constant",
    ),
    ("unknown model", '"tgov1"', '"tgv1"', "grid.area.0.governor.0.model: 'tgv1' is unknown; nearest: tgov1"),
    ("missing key", "duration_s = 10.0\n", "", "bad.toml:2: run.duration_s: missing key"),
    ("missing kind", 'kind = "constant"\n', "", "site.0.job.0.kind: missing key"),
    ("bad TOML", "power_mw = 10.0", "power_mw = ", "is not valid TOML: Invalid value (at line 20"),
    ("preset out of place", "[run]", '[run]\npreset = "x"', "run.preset: no presets for this table"),
    ("two names", 'name = "train"', 'name = "base"', "'base' is there 2 times"),
    (
        "unknown area",
        'area = "main"\n[[',
        'area = "mian"\n[[',
        "bad.toml:8: site.0.area: no area 'mian'; nearest: main",
    ),
    ("unknown tie end", '"main", "east"]', '"main", "eest"]', "no area 'eest'; nearest: east"),
    ("area left out", 'area = "main"\n[[', "[[", "site.0.area: missing key: the grid has several areas (main, east)"),
    (
        "a tie twice",
        "per_rad = 300.0",
        'per_rad = 300.0\n[[grid.tie]]\nbetween = ["east", "main"]\nsynchronizing_mw_per_rad = 1.0',
        "these areas have a tie already",
    ),
    ("too much flow", "per_rad = 300.0", "per_rad = 300.0\ninitial_mw = 301.0", "no angle carries 300 MW or more"),
    ("ticks", "duration_s = 10.0", "duration_s = 10.0005", "no whole number of ticks of 0.001 s; nearest: 10"),
    ("delay ticks", "energy_mwh = 5.0", "energy_mwh = 5.0\ndelay_s = 0.0015", "site.0.bess.delay_s: is 0.0015"),
    (
        "dt too coarse",
        "dt_s = 0.001",
        "dt_s = 0.1",
        "grid.area.0.governor.0.t1_s: is 0.1 s, too short for ticks of 0.1 s: run.dt_s must be at most 0.05 s",
    ),
    (
        "dt too coarse for a lag",
        "energy_mwh = 5.0",
        "energy_mwh = 5.0\nresponse_s = 0.0005",
        "site.0.bess.response_s: is 0.0005 s, too short",
    ),
    (
        "SOC window",
        "energy_mwh = 5.0",
        "energy_mwh = 5.0\nsoc_min = 0.7",
        "site.0.bess.soc_initial: is 0.5, must lie within 0.7 to 1",
    ),
    ("no battery", "[site.bess]\npower_mw = 10.0\nenergy_mwh = 5.0\n", "", "'low_pass' needs a battery"),
    ("efficiency above 1", "energy_mwh = 5.0", "energy_mwh = 5.0\ncharge_efficiency = 1.1", "must be > 0 and <= 1"),
    ("step nowhere", 'area = "main"\nmw', "mw", "disturbance.0: needs one of site and area"),
    ("step after the end", "at_s = 1.0", "at_s = 11.0", "disturbance.0.at_s: is 11 s, the run ends at 10 s"),
    ("stop before start", "power_mw = 30.0", "power_mw = 30.0\nstart_s = 5.0\nstop_s = 4.0", "must be after start_s"),
    ("valve limits", '"tgov1"', '"tgov1"\nvmin_pu = 2.0', "must be below vmax_pu"),
    ("governor shares", '"tgov1"', '"tgov1"\n[[grid.area.governor]]\nmodel = "lag"\nshare = 0.5', "shares sum to 1.5"),
    (
        "no job",
        '[[site.job]]\nname = "base"\nkind = "constant"\npower_mw = 30.0\n[[site.job]]',
        "[[site.jobs]]",
        "unknown key; nearest: job",
    ),
    ("zero devices", "devices = 64", "devices = 0", "site.0.job.1.devices: is 0, must be >= 1"),
    ("rows", "[grid]", "[record]\nevery_ticks = 7\n[grid]", "must divide run.chunk_ticks = 100"),
]


@pytest.mark.parametrize(("old", "new", "says"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_refused_in_words(refusal, old, new, says):
    assert says in refusal(old, new)


PHASES = """
[run]
duration_s = 1.0
[[site]]
name = "a"
[[site.job]]
name = "t"
kind = "training"
devices = 2
accelerator = {idle_w = 10.0, tdp_w = 100.0}
[[site.job.workload.phase]]
name = "one"
duration_s = 0.6
level = 1.0
[[site.job.workload.phase]]
name = "two"
duration_s = 0.4
level = 0.1
"""


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("phase.0.spread_s=0.11", "at most a sixth of duration_s at its shortest, 0.1 s"),
        ("phase.0.wait_level=0.3", "needs barrier = true"),
        ("phase.1.release_skew_s=0.1", "needs a barrier at the end of the phase before"),
        ("phase.1.end_shift=0.1", "the last phase has no next one"),
        ("phase.0.end_shift=0.45", "may use up all of its duration_s"),
    ],
)
def test_phases_that_cannot_be(tmp_path, override, says):
    (tmp_path / "c.toml").write_text(PHASES)
    config.load(tmp_path / "c.toml")
    with pytest.raises(ConfigError, match=says):
        config.load(tmp_path / "c.toml", [f"site.0.job.0.workload.{override}"])


def test_spread_is_held_against_the_shortest_duration(tmp_path):
    """0.6 s less an end shift of 0.1 of the iteration, at twice the rate: 0.25 s."""
    (tmp_path / "c.toml").write_text(PHASES)
    keys = [f"site.0.job.0.workload.{key}" for key in ("rate_spread=0.999999", "phase.0.end_shift=0.1")]
    spread = "site.0.job.0.workload.phase.0.spread_s"
    config.load(tmp_path / "c.toml", [*keys, f"{spread}=0.0416"])
    with pytest.raises(ConfigError, match="at its shortest, 0.04167 s"):
        config.load(tmp_path / "c.toml", [*keys, f"{spread}=0.0418"])


def test_all_problems_at_once(refusal):
    message = refusal("power_mw = 10.0\nenergy_mwh = 5.0", "power_mw = -1\nenergy_mwh = 0")
    assert "site.0.bess.power_mw" in message and "site.0.bess.energy_mwh" in message


def test_problems_of_overrides_presets_and_schema_come_together(tmp_path):
    text = GOOD.replace('"h100"', '"h10"').replace("power_mw = 30.0", "power_mw = -30.0")
    (tmp_path / "bad.toml").write_text(text.replace("[grid]", '[site.facility]\npreset = "losless"\n[grid]'))
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "bad.toml", ["site.7.name=x", "run.seed", "grid.frequency_hz=5"])
    messages = [str(problem) for problem in caught.value.problems]
    expected = ("no item '7'", "KEY=VALUE", "no preset 'h10'", "no preset 'losless'", "power_mw", "frequency_hz")
    assert len(messages) == len(expected)  # an unknown accelerator is not blamed for the keys it would have brought
    for says in expected:
        assert sum(says in message for message in messages) == 1, says


def test_a_key_that_only_an_override_has_is_blamed_on_it(tmp_path):
    (tmp_path / "good.toml").write_text(GOOD)
    with pytest.raises(ConfigError, match="^--set: site.0.bes: unknown key; nearest: bess$"):
        config.load(tmp_path / "good.toml", ["site.0.bes.power_mw=3"])


def test_a_start_beyond_the_last_tick_is_refused(tmp_path):
    (tmp_path / "good.toml").write_text(GOOD)
    config.load(tmp_path / "good.toml", ["site.0.job.train.start_s=2147483"])
    with pytest.raises(ConfigError, match=r"start_s: is 2.14748e\+06 s, must be at most 2147483.647 s"):
        config.load(tmp_path / "good.toml", ["site.0.job.train.start_s=2147484"])


def test_overrides_are_blamed_on_the_command_line(tmp_path):
    (tmp_path / "good.toml").write_text(GOOD)
    with pytest.raises(ConfigError, match="^--set: site.0.bess.power_mw: is -3, must be >= 0 MW$"):
        config.load(tmp_path / "good.toml", ["site.0.bess.power_mw=-3"])
    with pytest.raises(ConfigError, match="has no item 'trian': it has 2; nearest: train"):
        config.load(tmp_path / "good.toml", ["site.0.job.trian.devices=3"])
    with pytest.raises(ConfigError, match="must be KEY=VALUE"):
        config.load(tmp_path / "good.toml", ["site.0.bess.power_mw"])


def test_a_folder_or_a_stream_is_no_configuration(tmp_path):
    for name in (tmp_path, "/dev/null"):
        with pytest.raises(ConfigError, match=f"^{name}: is a folder or a stream, must be a file$"):
            config.load(name)


def test_a_byte_order_mark_is_passed_over(tmp_path):
    """As some editors write it."""
    (tmp_path / "bom.toml").write_text(GOOD, encoding="utf-8-sig")
    (tmp_path / "good.toml").write_text(GOOD)
    assert config.load(tmp_path / "bom.toml") == config.load(tmp_path / "good.toml")


def test_unknown_file_names_the_nearest_preset():
    with pytest.raises(ConfigError, match="no such file, and no scenario preset of that name; nearest: campus_100mw"):
        config.load("campus_10mw")
    with pytest.raises(ConfigError, match="no scenario preset of that name; it is one of grids$"):
        config.load("kundur_0545")


def test_a_refusal_does_not_import_jax(tmp_path):
    (tmp_path / "bad.toml").write_text(GOOD.replace("power_mw = 10.0", "powr_mw = 10.0"))
    code = (
        "import sys; from emulator.cli import main; status = main(['run', 'bad.toml']);"
        "assert not {'jax', 'numpy', 'h5py'} & set(sys.modules); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "bad.toml:20: site.0.bess.powr_mw: unknown key; nearest: power_mw" in done.stderr
    assert "Traceback" not in done.stderr


DEEP = "more than 32 tables or lists in each other"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"a = {'[' * 3000}{']' * 3000}", f"is not valid TOML: {DEEP}"),  # which the reader of TOML does not bear
        (f"[{'.'.join('a' * 400)}]", f"is not valid TOML: {DEEP}"),  # and that we would not
        (f"a = {'9' * 5000}", "digits. for integer string conversion: value has 5000 digits$"),
        (b"\xff", "is not UTF-8 text"),
        ("", "(run: missing key: clock and seed|limit: missing key: clauses)$"),
    ],
)
def test_what_is_hardly_toml(tmp_path, text, says):
    """As a configuration, and as limits."""
    path = tmp_path / "bad.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8-sig"))  # as some editors do
    for load in (config.load, limits_schema.load):
        with pytest.raises(ConfigError, match=f"^{path}: .*{says}"):
            load(path)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        (f"a={'[' * 3000}{']' * 3000}", DEEP),
        (f"{'.'.join('a' * 3000)}=1", "must be KEY=VALUE with a dotted KEY"),
        ("site.²=1", "site: has no item '²': it has 1; allowed: north"),
        (f"site.{'9' * 5000}=1", "99': it has 1; allowed: north"),
    ],
)
def test_overrides_that_are_hardly_any(tmp_path, override, says):
    (tmp_path / "good.toml").write_text(GOOD)
    with pytest.raises(ConfigError, match=f"^--set: .*{says}"):
        config.load(tmp_path / "good.toml", [override])
