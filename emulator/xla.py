"""Settings of XLA: loops compiled whole, widest vectors, one JAX device per core, the same sums every time."""

from __future__ import annotations

import os

# Bytes that one pass of a loop body may touch for the loop to be compiled into a single function. XLA's own bound is
# near 1 kB; a tick of the plant touches some tens of kB and would be spread over a hundred kernels, each with its
# launch: 4.5 us a tick instead of 0.3 (docs/performance.md). Loops over devices touch more and keep their threads.
_LOOP_BYTES = 1_000_000
# XLA leaves half of an AVX-512 unit idle by default. Devices tick by tick are a quarter faster with all of it, and
# nothing is slower; a processor with narrower vectors takes what it has.
_VECTOR_BITS = 512


def compile_loops_whole() -> None:
    """Let XLA compile small loops whole and use the widest vectors, and let each core of the processor be a JAX device,
    so that devices emulated tick by tick use all of them. On a GPU, which else adds up in any order, let sums be the
    same every time. Must run before the first computation of the process."""
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_backend_extra_options" not in flags:
        flags += f" --xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold={_LOOP_BYTES}"
    if "xla_cpu_prefer_vector_width" not in flags:
        flags += f" --xla_cpu_prefer_vector_width={_VECTOR_BITS}"
    if "xla_force_host_platform_device_count" not in flags:
        flags += f" --xla_force_host_platform_device_count={os.cpu_count() or 1}"
    if "xla_gpu_deterministic_ops" not in flags:
        flags += " --xla_gpu_deterministic_ops=true"
    os.environ["XLA_FLAGS"] = flags.strip()
