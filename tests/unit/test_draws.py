"""Draws are the same in float32 and in float64, and side by side; arrays are made without compiling."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emulator import draws
from emulator.bess import neural
from emulator.struct import as_array, stacked


@pytest.mark.parametrize("draw", [draws.normal, draws.uniform, draws.even])
def test_same_in_both_precisions(draw):
    single = draw(jax.random.key(3), (1000,), jnp.float32)
    with jax.enable_x64(True):
        double = draw(jax.random.key(3), (1000,), jnp.float64)
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(single, double)


def test_even_draws_never_reach_the_ends():
    found = draws.even(jax.random.key(0), (2**22,), jnp.float32)  # 2^23 bins: an end among them would show by 40 %
    assert found.min() > -1.0 and found.max() < 1.0
    assert abs(found.mean()) < 5 / np.sqrt(3 * 2**22)  # five standard deviations


def test_networks_start_the_same():
    """To one rounding of float32: the draws are equal, the scale by a root may be rounded apart."""
    single = neural.weights(5, ())
    with jax.enable_x64(True):
        double = neural.weights(5, ())
    for name, values in single.items():
        np.testing.assert_allclose(double[name], values, rtol=2**-23)


def test_streams_folded_side_by_side_are_those_folded_alone():
    key, several = jax.random.key(3), jax.random.split(jax.random.key(4), 3)
    for found, alone in (
        (draws.folds(key, jnp.arange(3)), [jax.random.fold_in(key, i) for i in range(3)]),
        (draws.folds(several, jnp.int32(7)), [jax.random.fold_in(each, 7) for each in several]),
    ):
        assert [jax.random.key_data(each).tolist() for each in found] == [
            jax.random.key_data(each).tolist() for each in alone
        ]


def test_known_numbers_become_arrays_without_a_program(caplog):
    """JAX would compile one for each shape, in some 40 ms."""
    with jax.log_compiles():
        rows = [as_array([0.1 * i] * 17) for i in range(2)]
        both = stacked(rows)
    assert not caplog.records
    assert rows[0].dtype == jnp.result_type(float) and both.tolist() == [row.tolist() for row in rows]
