"""wattswing: large AI computing sites on a power grid, emulated.

    import emulator as em
    trace = em.run(em.load("campus_100mw"))

docs/python.md tells how the names in `__all__` go together.
Names load on first use, so that checking a configuration never imports JAX.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emulator.bess.controller import Controller
    from emulator.complaint import ConfigError
    from emulator.config import load
    from emulator.limits import assess
    from emulator.measures import measure
    from emulator.own_controller import with_controller
    from emulator.parameters import parameters
    from emulator.rollout import rollout
    from emulator.schema import Scenario
    from emulator.simulate import SimulationError, build, run, stream
    from emulator.sweep import Case, cases_of, sweep
    from emulator.trace import Trace, TraceError
    from emulator.traces.hdf5 import read
    from emulator.traces.saving import write
    from emulator.tunables import PathError
    from emulator.tune import TuningError, tune
    from emulator.xla import compile_loops_whole

__version__ = "0.1.0"
__all__ = [
    "Case",
    "ConfigError",
    "Controller",
    "PathError",
    "Scenario",
    "SimulationError",
    "Trace",
    "TraceError",
    "TuningError",
    "assess",
    "build",
    "cases_of",
    "compile_loops_whole",
    "load",
    "measure",
    "parameters",
    "read",
    "rollout",
    "run",
    "stream",
    "sweep",
    "tune",
    "with_controller",
    "write",
]

_HOME = {
    "Case": "emulator.sweep",
    "ConfigError": "emulator.complaint",
    "Controller": "emulator.bess.controller",
    "PathError": "emulator.tunables",
    "Scenario": "emulator.schema",
    "SimulationError": "emulator.simulate",
    "Trace": "emulator.trace",
    "TraceError": "emulator.trace",
    "TuningError": "emulator.tune",
    "assess": "emulator.limits",
    "build": "emulator.simulate",
    "cases_of": "emulator.sweep",
    "compile_loops_whole": "emulator.xla",
    "load": "emulator.config",
    "measure": "emulator.measures",
    "parameters": "emulator.parameters",
    "read": "emulator.traces.hdf5",
    "rollout": "emulator.rollout",
    "run": "emulator.simulate",
    "stream": "emulator.simulate",
    "sweep": "emulator.sweep",
    "tune": "emulator.tune",
    "with_controller": "emulator.own_controller",
    "write": "emulator.traces.saving",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


class _Package(ModuleType):
    """Keeps `em.rollout` the function: importing the submodule of that name would otherwise put the module there."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
