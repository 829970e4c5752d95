"""What XLA makes of a scenario and of the devices' kernel for an H100 or a TPU v5e, without either. Nothing is run.

Usage: compile_for.py h100|v5e [SCENARIO]. Needs wattswing[cuda12] or wattswing[tpu], whose compilers work without a
device. Prints the launches of each loop on a GPU, the operations of each on a TPU, what surrounds them first, and the
registers of the fused kernel, a GPU's, as its ptxas counts them.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

KEPT = tempfile.TemporaryDirectory()
DUMP = Path(KEPT.name)
os.environ["XLA_FLAGS"] = f"--xla_dump_to={DUMP}"
os.environ["JAX_PLATFORMS"] = "cpu"

from emulator.xla import compile_loops_whole  # noqa: E402

compile_loops_whole()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.experimental import topologies  # noqa: E402

from emulator import config, simulate  # noqa: E402
from emulator.bench import DEVICES, kernel_load  # noqa: E402
from emulator.kernels.device_power import device_power  # noqa: E402
from emulator.rollout import rollout  # noqa: E402

# Reference: NVIDIA, H100 Tensor Core GPU Architecture, table 3; CUDA C++ Programming Guide, compute capability 9.0.
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024  threads_per_warp: 32  threads_per_core_limit: 2048  core_count: 132
  fpus_per_core: 128  shared_memory_per_block: 49152  shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448  registers_per_core_limit: 65536  registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000  l2_cache_size: 52428800  clock_rate_ghz: 1.98  device_memory_size: 84942979072
  cuda_compute_capability { major: 9 }
}
platform_name: "CUDA"  runtime_version { major: 12 minor: 9 }  dnn_version_info { major: 9 minor: 1 }
device_description_str: "H100"
"""
TARGETS: dict[str, tuple[str, str, dict[str, Any], str]] = {  # JAX's name of the backend, topology, extra
    "h100": ("gpu", "H100", {"platform": "cuda", "topology": "1x1x1", "target_config": H100}, "cuda12"),
    "v5e": ("tpu", "v5e:1x1", {"platform": "tpu", "chips_per_host_bounds": [1, 1, 1]}, "tpu"),
}
LAUNCH = re.compile(r"^( *)\d+: k(While|CustomKernel|Kernel|Copy|Memset)", re.MULTILINE)
COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*?^\}", re.MULTILINE | re.DOTALL)
OPERATION = re.compile(r"^  .* = .*?[\])}] ([a-z][a-z0-9-]*)\((?:.*body=%?([\w.-]+))?", re.MULTILINE)
NO_WORK = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while")


def compiled(target: str, function: Callable[..., object], *args: object) -> jax.stages.Compiled:
    """`function` compiled for a target. For a GPU, XLA writes into DUMP what it makes of it."""
    backend, name, options, extra = TARGETS[target]
    try:
        its = topologies.get_topology_desc(name, **options)
    except (NotImplementedError, RuntimeError) as error:  # JAX's own, of CUDA and of TPUs
        sys.exit(f"compile_for.py: no compiler for {target} here, pip install 'wattswing[{extra}]': {error}")
    mesh = jax.sharding.Mesh(np.array(its.devices), ("there",))
    there = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x), sharding=there), args)
    for file in (*DUMP.glob("*.ptx"), *DUMP.glob("*.thunk_sequence.txt")):
        file.unlink()
    with patch.object(jax, "default_backend", lambda: backend):  # what depends on it goes the target's way
        return jax.jit(function, out_shardings=there).lower(*shapes).compile()


def launches() -> list[tuple[int, int]]:
    """Depth and launches, those of inner loops apart: of what is run once (depth 0), and of each loop's turn."""
    (file,) = DUMP.glob("*.thunk_sequence.txt")
    found, around = [[0, 0]], [(-1, 0)]  # indentation of the loops that surround a line, and their places in `found`
    for indent, kind in LAUNCH.findall(file.read_text()):
        while around[-1][0] >= len(indent):
            around.pop()
        if kind == "While":
            found.append([len(around), 0])
            around.append((len(indent), len(found) - 1))
        else:
            found[around[-1][1]][1] += 1
    return [(depth, count) for depth, count in found]


def operations(program: jax.stages.Compiled) -> list[tuple[int, int]]:
    """As `launches`: fused or single operations of the program for a TPU, which runs as a whole."""
    text = program.as_text() or ""
    bodies = {
        name: OPERATION.findall(found.group()) for found in COMPUTATION.finditer(text) for name in found.groups()[1:]
    }
    (entry,) = re.findall(r"^ENTRY %?([\w.-]+)", text, re.MULTILINE)

    def within(name: str, depth: int) -> list[tuple[int, int]]:
        inner = [each for _, body in bodies[name] if body for each in within(body, depth + 1)]
        return [(depth, sum(kind not in NO_WORK for kind, _ in bodies[name])), *inner]

    return within(entry, 0)


def registers() -> str:
    """Of the fused kernel, in the words of ptxas."""
    (ptx,) = (file for file in DUMP.glob("*.ptx") if "entry device_power" in file.read_text())
    ptxas = next(file for path in sys.path for file in Path(path).glob("nvidia/*/bin/ptxas"))
    arguments = [ptxas, "-arch=sm_90a", "-v", ptx, "-o", DUMP / "device_power.cubin"]
    said = subprocess.run(arguments, capture_output=True, text=True, check=True).stderr
    return "; ".join(line.split(":")[-1].strip() for line in said.splitlines() if "spill" in line or "Used" in line)


def main() -> None:
    """Print it all."""
    target, scenario = sys.argv[1], config.load(sys.argv[2] if len(sys.argv) > 2 else "campus_100mw")
    layout, *args = simulate.build(scenario, simulate.WINDOW_TICKS)
    report(target, f"{scenario.run.name}, {simulate.WINDOW_TICKS:,} ticks", functools.partial(rollout, layout), *args)
    switches, load = kernel_load(DEVICES, 2000)
    for method in ("dense", "blocked", "pallas") if target == "h100" else ("dense", "blocked"):
        kernel = functools.partial(device_power, switches, method=method)
        report(target, f"{DEVICES:,} devices, 2,000 ticks, {method}", kernel, *load)
    if target == "h100":
        print(registers())


def report(target: str, what: str, function: Callable[..., object], *args: object) -> None:
    """Compile a function and print what each loop of it does in a turn."""
    program = compiled(target, function, *args)
    memory = program.memory_analysis()
    assert memory is not None
    print(f"{what}: {memory.temp_size_in_bytes / 1e6:.0f} MB beside arguments and results")
    kind, loops = ("launches", launches()) if target == "h100" else ("operations", operations(program))
    for depth, count in loops:
        print(f"  {'    ' * depth}{count} {kind} {'a turn' if depth else 'in all'}")


main()
