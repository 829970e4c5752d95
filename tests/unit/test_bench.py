"""What `wattswing bench` says where it cannot measure all."""

from __future__ import annotations

import sys

import jax
from jax.experimental import pallas

from emulator import bench


def test_a_jax_that_cannot_compile_the_fused_kernel_is_a_line_beside_the_rest(monkeypatch):
    """As on a GPU whose JAX lacks Pallas's Triton backend."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.delattr(pallas, "triton", raising=False)
    monkeypatch.setitem(sys.modules, "jax.experimental.pallas.triton", None)
    monkeypatch.setattr(bench, "DEVICES", 70)
    found = bench.gpu_kernel_rates()
    assert found["device_kernel_by_xla_device_ticks_per_s"] > 0 and len(found) == 2
    first, rate, why = bench.render({"machine": "a machine", **found}).splitlines()
    assert first == "a machine" and float(rate.split()[1]) > 0
    assert why.startswith("device_kernel_fused_not_measured ") and f"Triton backend, which JAX {jax.__version__}" in why
