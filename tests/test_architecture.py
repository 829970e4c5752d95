"""Who may import whom, and how large files may grow: ARCHITECTURE.md, held."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEAVES = {"struct", "units", "clock", "blocks", "draws"}
BOXES = {"cluster", "facility", "bess", "grid"}
ONLY_IN = {  # a library, and the only files that may import it
    "h5py": {
        f"emulator/traces/{name}.py"
        for name in (
            *("checked", "chunks", "from_hdf5", "hdf5", "hdf5_filling", "hdf5_layout", "history", "matlab", "netcdf"),
            *("opening", "state_file", "sweeps", "system"),
        )
    },
    "isal": {"emulator/traces/chunks.py"},
    "matplotlib": {f"emulator/{name}.py" for name in ("plot", "plot_modes", "plot_tune", "plot_fit", "plot_sweep")},
    "optax": {"emulator/tune_search.py"},
    "helics": {"emulator/federation.py"},
    "signal": {"emulator/commands/interruption.py"},  # who uses the package keeps the handlers that are set
    "tqdm": {f"emulator/commands/{name}.py" for name in ("run", "sweep", "tune", "fit")},
}
TUNER = {"tune", "tune_batch", "tune_problem", "tune_report", "tune_result", "tune_search", "plot_tune"}
BEFORE_JAX = (
    "config",
    "schema",
    "complaint",
    "rules",
    "catalog",
    "limits_schema",
    "cosim_schema",
    "cosim_rules",
    "controller_rules",
    "jobs_schema",
    "model_schema",
    "training_model",
    "tables",
    "topology",
    "clock",
    "cli",
    "reading",
    "__init__",
    "xla",
)


def sources() -> list[Path]:
    return sorted([*ROOT.glob("emulator/*.py"), *ROOT.glob("emulator/[!kp]*/*.py"), *ROOT.glob("kernels/*.py")])


def imports(path: Path, top_level_only: bool = False) -> Iterator[str]:
    """Dotted names that a file imports."""
    tree = ast.parse(path.read_text())
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(path: Path) -> set[str]:
    """First parts below `emulator` of what a file imports."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("emulator.")}


def test_there_is_something_to_check():
    assert len(sources()) > 25


@pytest.mark.parametrize("box", sorted(BOXES))
def test_boxes_never_import_each_other(box):
    for path in ROOT.glob(f"emulator/{box}/*.py"):
        allowed = LEAVES | {box, "kernels"}
        if path.name == "replay.py":
            allowed |= {"jobs_schema", "power_file", "reading"}  # reads a file that the configuration names
        assert ours(path) <= allowed, path


def test_leaves_import_leaves_only():
    for name in LEAVES:
        assert ours(ROOT / "emulator" / f"{name}.py") <= LEAVES


def test_kernels_know_nothing_of_the_emulator():
    for path in ROOT.glob("kernels/*.py"):
        assert ours(path) <= {"kernels"}, path


def test_imports_point_one_way():
    """cli -> drivers -> rollout -> plant -> boxes."""
    assert ours(ROOT / "emulator/plant.py") <= LEAVES | BOXES | {"disturbance", "frame", "power_limit"}
    assert ours(ROOT / "emulator/rollout.py") <= LEAVES | {"plant", "cluster", "frame"}
    drivers = {"simulate", "side_by_side", "cosimulate", "federation", "sweep", "bench", "cli"}
    fits = {"fit", "fit_area", "fit_power"}
    for path in sources():
        if path.parent.name != "commands" and path.stem not in {
            *drivers,
            *fits,
            *TUNER,
            "sweeps",
            "sweep_report",
            "__init__",
            "__main__",
        }:
            assert not ours(path) & drivers, path
    for path in sources():
        if path.parent.name != "commands" and path.stem not in {*TUNER, "rules", "schema", "__init__"}:
            assert not ours(path) & TUNER, path


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_libraries_stay_behind_one_file(library):
    users = {str(p.relative_to(ROOT)) for p in sources() if any(n.split(".")[0] == library for n in imports(p))}
    assert users == ONLY_IN[library]


def test_checking_a_config_needs_no_jax():
    commands = ROOT.glob("emulator/commands/*.py")
    for path in (*(ROOT / "emulator" / f"{name}.py" for name in BEFORE_JAX), *commands):
        assert not any(n.split(".")[0] in {"jax", "numpy", "h5py"} for n in imports(path, top_level_only=True)), path


def test_global_settings_in_one_place():
    users = {str(p.relative_to(ROOT)) for p in sources() if "jax.config.update" in p.read_text()}
    assert users == {"emulator/commands/common.py"}


def test_only_drivers_compile():
    """No jit inside the library: one boundary per driver."""
    users = {p.stem for p in sources() if "jax.jit" in p.read_text()}
    assert users <= {
        "placement",
        "cosimulate",
        "bench",
        "side_by_side",
        "modes_report",
        "waveform",
        "lqr_design",
        "fit_area",
        "fit_emulation",
        *TUNER,
    }


def test_every_file_that_the_architecture_names_is_there():
    named = set(re.findall(r"`((?:emulator|kernels|tests)/[\w/]+\.py)`", (ROOT / "ARCHITECTURE.md").read_text("utf-8")))
    named -= {"kernels/NAME.py"}  # stands for any
    assert len(named) > 30 and all((ROOT / path).is_file() for path in named), sorted(named)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("path", sources(), ids=lambda p: p.stem)
def test_sizes(path):
    text = path.read_text()
    assert text.count("\n") <= 400
    for function in functions(ast.parse(text)):
        doc = ast.get_docstring(function, clean=False) or ""
        assert function.end_lineno - function.lineno - doc.count("\n") <= 70, function.name


@pytest.mark.parametrize("path", sources(), ids=lambda p: p.stem)
def test_public_functions_say_what_they_do(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "module without docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


def test_files_appear_whole():
    """One way, `filesystem.whole`, beside that of the checkpoint."""
    replacing = {path.name for path in sources() if "os.replace(" in path.read_text()}
    assert replacing == {"filesystem.py", "state_file.py"}
