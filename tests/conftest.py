"""Strict JAX for all tests, and a short way from TOML text to a trace."""

from __future__ import annotations

import gc
import os
import signal
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

# Two workers are enough for two cores: threads of NumPy's that wait for work, spinning, took nine tenths of the fits'.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from emulator.xla import compile_loops_whole

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
compile_loops_whole()

import jax  # noqa: E402

jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

from emulator import config, schema, simulate  # noqa: E402
from emulator.trace import Trace  # noqa: E402

# What a shell starts in the background ignores Ctrl-C, and so would the commands that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REFERENCE = Path(__file__).parents[2] / "shared" / "reference"


def pytest_collection_finish():
    """As `commands.common.prepare_jax`: what has been imported is not looked through again and again. The rest less
    often than every 700 objects, of which tracing makes many: 6 % of the processor time of what is traced."""
    gc.freeze()
    gc.set_threshold(20_000)


@pytest.fixture
def reference() -> Path:
    """Folder of published trajectories; they do not travel with the project."""
    if not REFERENCE.is_dir():
        pytest.skip("no reference trajectories beside this checkout")  # their licence keeps them out of it
    return REFERENCE


@pytest.fixture
def scenario(tmp_path: Path) -> Callable[..., schema.Scenario]:
    """Scenario from TOML text and overrides."""

    def load(text: str, *overrides: str) -> schema.Scenario:
        path = tmp_path / "scenario.toml"
        path.write_text(textwrap.dedent(text))
        return config.load(path, overrides)

    return load


@pytest.fixture
def emulate(scenario: Callable[..., schema.Scenario]) -> Callable[..., Trace]:
    """Trace in memory from TOML text and overrides."""

    def run(text: str, *overrides: str) -> Trace:
        return simulate.run(scenario(text, *overrides))

    return run


@pytest.fixture
def x64():
    """float64 for one test."""
    with jax.enable_x64(True):
        yield
