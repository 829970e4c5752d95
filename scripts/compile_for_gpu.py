"""What XLA makes of a scenario and of the devices' kernel for an H100, on a machine without a GPU. Nothing is run.

Usage: compile_for_gpu.py [SCENARIO]. Needs wattswing[cuda12], whose compiler works without a device. Prints the
launches of each loop, what surrounds them first, and the registers of the fused kernel as its ptxas counts them.
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
LINE = re.compile(r"^( *)\d+: k(While|CustomKernel|Kernel|Copy|Memset)", re.MULTILINE)


def compiled(function: Callable[..., object], *args: object) -> None:
    """Compile `function` for the GPU. XLA writes into DUMP what it makes of it."""
    try:
        its = topologies.get_topology_desc("H100", platform="cuda", topology="1x1x1", target_config=H100)
    except NotImplementedError:
        sys.exit("compile_for_gpu.py: JAX has no compiler for CUDA here: pip install 'wattswing[cuda12]'")
    mesh = jax.sharding.Mesh(np.array(its.devices), ("gpu",))
    there = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x), sharding=there), args)
    for file in (*DUMP.glob("*.ptx"), *DUMP.glob("*.thunk_sequence.txt")):
        file.unlink()
    with patch.object(jax, "default_backend", lambda: "gpu"):  # what depends on it goes the GPU's way
        jax.jit(function, out_shardings=there).lower(*shapes).compile()


def launches() -> list[tuple[int, int]]:
    """Depth and launches, those of inner loops apart: of what is run once (depth 0), and of each loop's turn."""
    (file,) = DUMP.glob("*.thunk_sequence.txt")
    found, around = [[0, 0]], [(-1, 0)]  # indentation of the loops that surround a line, and their places in `found`
    for indent, kind in LINE.findall(file.read_text()):
        while around[-1][0] >= len(indent):
            around.pop()
        if kind == "While":
            found.append([len(around), 0])
            around.append((len(indent), len(found) - 1))
        else:
            found[around[-1][1]][1] += 1
    return [(depth, count) for depth, count in found]


def registers() -> str:
    """Of the fused kernel, in the words of ptxas."""
    (ptx,) = (file for file in DUMP.glob("*.ptx") if "entry device_power" in file.read_text())
    ptxas = next(file for path in sys.path for file in Path(path).glob("nvidia/*/bin/ptxas"))
    arguments = [ptxas, "-arch=sm_90a", "-v", ptx, "-o", DUMP / "device_power.cubin"]
    said = subprocess.run(arguments, capture_output=True, text=True, check=True).stderr
    return "; ".join(line.split(":")[-1].strip() for line in said.splitlines() if "spill" in line or "Used" in line)


def main() -> None:
    """Print it all."""
    scenario = config.load(sys.argv[1] if len(sys.argv) > 1 else "campus_100mw")
    layout, *args = simulate.build(scenario, simulate.WINDOW_TICKS)
    compiled(functools.partial(rollout, layout), *args)
    report(f"{scenario.run.name}, {simulate.WINDOW_TICKS:,} ticks")
    switches, load = kernel_load(DEVICES, 2000)
    for method in ("dense", "blocked", "pallas"):
        compiled(functools.partial(device_power, switches, method=method), *load)
        report(f"{DEVICES:,} devices, 2,000 ticks, {method}")
    print(registers())


def report(what: str) -> None:
    """Print the launches of what was compiled last."""
    print(what)
    for depth, count in launches():
        print(f"  {'    ' * depth}{count} launches {'a turn' if depth else 'in all'}")


main()
