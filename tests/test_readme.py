"""What the README and the docs say is what happens."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_every_command_of_the_readme_runs(tmp_path):
    """In order, in an empty folder, two seconds of emulated time for the run."""
    commands = [line.split("#")[0] for line in blocks("sh")[1].splitlines() if line.startswith("wattswing")]
    assert len(commands) >= 5
    environment = {**os.environ, "XLA_FLAGS": "", "XDG_CACHE_HOME": str(ROOT / ".jax_cache")}
    for command in commands:
        words, _, target = command.partition(">")
        args = shlex.split(words)[1:]
        if args[0] == "run":
            args += ["--set", "run.duration_s=2"]
        done = subprocess.run(
            [sys.executable, "-m", "emulator", *args],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stderr}"
        if target:
            (tmp_path / target.strip()).write_text(done.stdout)
    assert {"a.h5", "a.png", "a.csv", "my_campus.toml"} <= {path.name for path in tmp_path.iterdir()}


def test_the_python_of_the_readme_runs():
    """Two seconds and a few devices in place of ten and 78,432; the lines are the README's."""
    (code,) = blocks("python")
    assert '"run.duration_s=10"' in code
    short = code.replace('"run.duration_s=10"', '"run.duration_s=2", "site.0.job.0.devices=64"')
    environment = {**os.environ, "XLA_FLAGS": ""}
    done = subprocess.run([sys.executable, "-c", short], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak, slope = (float(line) for line in done.stdout.split())
    assert peak > 0 and slope != 0.0


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
