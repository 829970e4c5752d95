"""Voltage at the point of common coupling."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from emulator.grid.voltage import PccParams, Point, Source, point


def constant_power(scr: float, x_over_r: float, p: float, q: float) -> Point:
    """Point of a draw p + jq per unit behind a source of 1 pu."""
    params = PccParams(*(jnp.asarray(x) for x in (scr, x_over_r, 100.0)), dependence=None)
    zero = jnp.asarray(0.0)
    return point(params, Source(zero, zero), jnp.asarray(100.0 * p), jnp.asarray(100.0 * q), zero, zero)


@pytest.mark.parametrize("scr", [3.0, 8.0, 20.0])
@pytest.mark.parametrize("x_over_r", [5.0, 20.0])
@pytest.mark.parametrize(("p", "q"), [(0.0, 0.0), (1.0, 0.0), (0.8, 0.3), (-0.5, 0.2)])
def test_solves_the_circuit(x64, scr, x_over_r, p, q):
    """The power that flows at the found voltage is the power asked for: complex circuit, no formula of ours."""
    v, _, collapsed = constant_power(scr, x_over_r, p, q)
    assert not collapsed
    z = 1 / scr
    r = z / np.hypot(1, x_over_r)
    impedance = complex(r, r * x_over_r)
    current = np.conj(complex(p, q) / float(v))  # with the terminal voltage as reference
    assert abs(float(v) + impedance * current) == pytest.approx(1.0, abs=1e-12)
    assert float(v) > 0.5


def test_collapse_is_flagged_and_finite():
    v, _, collapsed = constant_power(1.0, 10.0, 0.9, 0.0)
    assert collapsed and np.isfinite(v)


COLLAPSE = """
    [run]
    duration_s = 2.0
    [[site]]
    name = "campus"
    [[site.job]]
    name = "a"
    kind = "constant"
    power_mw = 40.0
    [[site.job]]
    name = "b"
    kind = "constant"
    power_mw = 60.0
    start_s = 1.0
    [site.pcc]
    short_circuit_ratio = 1.0
    x_over_r = 10.0
    nominal_kv = 110.0
    rated_mw = 100.0
"""


def test_collapse_stops_the_run_and_keeps_the_trace(emulate):
    trace = emulate(COLLAPSE)
    assert not trace.complete
    assert "voltage collapse at site campus, 1 s" in trace.stop_reason
    assert trace.time_s[-1] == 1.0  # the row of the collapse is the last one
