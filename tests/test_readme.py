"""What the README and the docs say is what happens."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from emulator import catalog, cli, config, power_file, simulate
from emulator.traces import saving

from .test_cli import wattswing  # noqa: F401  a fixture

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_every_command_of_the_readme_runs(wattswing, tmp_path):  # noqa: F811
    """In order, in an empty folder, two seconds of emulated time and, of a sweep, one seed."""
    commands = commands_of(README)
    assert len(commands) >= 8
    shorter = {"run": ["--set", "run.duration_s=2"]}
    shorter["sweep"] = [*shorter["run"], "--set", "sweep.seeds=1"]
    for command in commands:
        words, _, target = command.partition(">")
        args = shlex.split(words)[1:]
        done = wattswing(*args, *shorter.get(args[0], []))
        assert done.returncode == 0, f"{command}: {done.stderr}"
        if target:
            (tmp_path / target.strip()).write_text(done.stdout)
    assert {"a.h5", "a.png", "a.csv", "my_campus.toml"} <= {path.name for path in tmp_path.iterdir()}


def commands_of(text: str) -> list[str]:
    """Lines of a page's blocks that start with `wattswing`, without their comments."""
    found = "\n".join(re.findall(r"^```(?:sh)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    return [line.split("#")[0].strip() for line in found.splitlines() if line.startswith("wattswing ")]


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.stem)
def test_every_command_of_a_page_has_what_it_needs(page):
    """Parses as it stands, and reads presets and what commands above it on the page, or a block of it, write."""
    text = page.read_text("utf-8")
    made = set(re.findall(r"^# (\S+\.\w+)$", text, re.MULTILINE))  # first lines of blocks that show a file
    for command in commands_of(text):
        words, _, target = command.partition(">")
        args = vars(cli.parser().parse_args(shlex.split(words)[1:]))
        reads = [args.get("trace"), *(args.get("traces") or ()), args.get("config")]
        presets = catalog.names("scenarios")
        missing = {str(its) for its in reads if its is not None} - made - set(presets)
        assert not missing, f"{command}: nothing on the page makes {missing}"
        made |= {target.strip(), str(args.get("out")), f"{Path(str(args.get('config'))).stem}.h5"}


TINY = """
[run]
duration_s = 0.2
[[site]]
name = "campus"
area = "main"
job = [{name = "base", kind = "constant", power_mw = 50.0}]
[site.bess]
power_mw = 30.0
energy_mwh = 60.0
[site.controller]
kind = "low_pass"
cutoff_hz = 0.1
[[grid.area]]
name = "main"
inertia_s = 4.0
[[disturbance]]
kind = "load_step"
at_s = 0.1
site = "campus"
mw = 10.0
"""


def test_the_python_of_the_readme_runs(tmp_path):
    """The lines are the README's; a load step in place of the demo, whose gradient takes 15 s to compile."""
    (code,) = blocks("python")
    scenario = '"campus_100mw", ["run.duration_s=10"]'
    assert scenario in code
    (tmp_path / "tiny.toml").write_text(TINY)
    short = code.replace(scenario, '"tiny.toml"')
    environment = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", short], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    peak, slope = (float(line) for line in done.stdout.split())
    assert peak > 0 and slope != 0.0


def test_the_python_of_its_page_runs(tmp_path):
    """All blocks of docs/python.md, in order, on a load step instead of the demo. A batch cut short goes on."""
    page = (ROOT / "docs" / "python.md").read_text("utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    short = re.sub('"(campus_100mw|battery_sizes)"', '"tiny.toml"', code)
    short = short.replace("run.duration_s=10", "run.duration_s=0.2")
    assert short.count('"tiny.toml"') == 5 and short.count("run.duration_s=0.2") == 4
    sweep = '[sweep]\nseeds = 2\n[sweep.values]\n"site.campus.bess.power_mw" = [10.0, 30.0]\n'
    (tmp_path / "tiny.toml").write_text(TINY + sweep)
    (tmp_path / "my_load.toml").write_text(TINY)
    environment = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": str(ROOT)}
    there = tmp_path / "batch" / "0.01_0.h5"
    there.parent.mkdir()
    trace = simulate.run(config.load(str(tmp_path / "tiny.toml")))
    saving.write(trace, there)
    before = there.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", short + "\nprint((again.site_pcc_power_mw == trace.site_pcc_power_mw).all())"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("True\n")
    assert (tmp_path / "task_0.csv").read_text().count("\n") == 5  # four cases
    assert there.read_bytes() == before and len([*there.parent.iterdir()]) == 6


def test_what_export_says_of_gaps_makes_a_file_that_is_taken(tmp_path, monkeypatch):
    """50 ms of a logger with a hole of a second and a value that is missing."""
    page = (ROOT / "docs" / "export.md").read_text("utf-8")
    (code,) = re.findall(r"^  ```python\n(.*?)^  ```", page, re.DOTALL | re.MULTILINE)
    lines = [f"2026-11-26 12:00:{0.05 * i:06.3f};{1000 + i},5" for i in range(100) if not 40 <= i < 60]
    lines[10] = lines[10].partition(";")[0] + ";"
    (tmp_path / "logger.csv").write_text("\n".join(["time;P total (kW)", *lines, ""]))
    monkeypatch.chdir(tmp_path)
    exec(textwrap.dedent(code), {})
    time_s, power_w = power_file.read("site.csv", "t_s", "p_kw", "kw")
    assert time_s == pytest.approx(0.05 * np.arange(99), abs=1e-9)
    assert power_w == pytest.approx(1e3 * (1000.5 + np.arange(99)), rel=1e-9)  # the logger rises by 1 kW a sample


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *ROOT.glob("docs/*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_configuration_reference_is_what_the_schema_says():
    path = ROOT / "scripts" / "write_configuration_reference.py"
    spec = importlib.util.spec_from_file_location("write_configuration_reference", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "configuration.md").read_text("utf-8") == module.reference()
