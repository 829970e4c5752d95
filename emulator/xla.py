"""One setting of XLA's CPU compiler that the closed loop lives by."""

from __future__ import annotations

import os

# Bytes that one pass of a loop body may touch for the loop to be compiled into a single function. XLA's own bound is
# near 1 kB; a tick of the plant touches some tens of kB and would be spread over a hundred kernels, each with its
# launch: 4.5 us a tick instead of 0.3 (docs/performance.md). Loops over devices touch more and keep their threads.
_LOOP_BYTES = 1_000_000


def compile_loops_whole() -> None:
    """Let XLA compile small loops whole. Must run before the first computation of the process; no effect on GPUs."""
    flag = f"--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold={_LOOP_BYTES}"
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_backend_extra_options" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()
