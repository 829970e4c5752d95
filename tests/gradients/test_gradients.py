"""jax.grad through em.rollout against central differences in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import emulator as em
from emulator import simulate
from tests.compiling import QUICKLY
from tests.invariance.test_invariance import CAMPUS


def objective(layout, state, inputs):
    """A smooth function of everything that a run leaves behind."""

    def loss(params):
        _, frames = em.rollout(layout, params, state, inputs)
        return (
            jnp.mean(frames.pcc_mw**2)
            + 1e3 * jnp.mean(frames.speed_pu**2)
            + jnp.mean((frames.soc - 0.4) ** 2)
            + jnp.mean(jnp.diff(frames.pcc_mw, axis=0) ** 2)
        )

    return jax.jit(loss)


def leaf_names(params) -> list[str]:
    return [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]


def test_every_parameter(x64, scenario):
    """Each leaf, perturbed along a random direction by a relative 3e-8.

    Tick means have kinks where an event crosses a tick's border: of N devices the share (2 x 3e-8 x 1 s) / 5 ms = 1e-5
    crosses one, which bounds that error; rounding gives 1e-16 / 3e-8 = 3e-9 of the loss.
    """
    inside = ("grid.area.0.governor.0.deadband_pu=1e-6", "grid.area.0.load_frequency_exponent=1.5")  # 0 is an end
    overrides = ("run.dt_s=0.005", "run.duration_s=3.0", *inside)
    layout, params, state, inputs = simulate.build(scenario(CAMPUS, *overrides))
    loss = objective(layout, state, inputs)
    gradient = jax.jit(jax.grad(loss), compiler_options=QUICKLY)(params)
    leaves, tree = jax.tree.flatten(params)
    slopes = jax.tree.leaves(gradient)
    assert all(np.isfinite(slope).all() for slope in slopes)
    rng = np.random.default_rng(0)
    checked = 0
    for i, (name, leaf, slope) in enumerate(zip(leaf_names(params), leaves, slopes, strict=True)):
        if leaf.size == 0 or not np.isfinite(leaf).all() or name.endswith("power_factor"):
            continue  # infinite = no limit; power_factor is 1, the end of its range, and touches reactive power only
        direction = rng.choice([-1.0, 1.0], leaf.shape) * np.maximum(np.abs(leaf), 1e-3)
        step = 3e-8

        def at(side, i=i, leaf=leaf, direction=direction, step=step):
            return float(
                loss(jax.tree.unflatten(tree, [*leaves[:i], leaf + side * step * direction, *leaves[i + 1 :]]))
            )

        difference = (at(1.0) - at(-1.0)) / (2 * step)
        along = float(np.sum(slope * direction))
        assert along == pytest.approx(difference, rel=1e-4, abs=1e-7), name
        checked += abs(difference) > 1e-6
    assert checked >= 25  # most parameters matter to this objective


CLOSED_LOOP = """
    [run]
    duration_s = 3.0
    dt_s = 0.005
    [[site]]
    name = "campus"
    area = "main"
    job = [{name = "base", kind = "constant", power_mw = 3.0, start_s = 1.0}]
    [site.bess]
    power_mw = 10.0
    energy_mwh = 2.0
    response_s = 0.1
    delay_s = 0.02
    [site.controller]
    kind = "low_pass"
    cutoff_hz = 0.1
    [[grid.area]]
    name = "main"
    rated_mva = 100.0
    inertia_s = 4.0
    governor = [{model = "reheat"}]
"""


def test_checkpointed_chunks_do_not_change_the_gradient(x64, scenario):
    """One chunk of 600 ticks and twelve of 50 give the same gradient."""
    gradients = []
    for chunk in (50, 600):
        layout, params, state, inputs = simulate.build(scenario(CLOSED_LOOP, f"run.chunk_ticks={chunk}"))
        slopes = jax.jit(jax.grad(objective(layout, state, inputs)), compiler_options=QUICKLY)(params)
        gradients.append(jax.tree.leaves(slopes))
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_gradient_of_a_closed_form(x64, scenario):
    """d(final SOC)/d(energy) of a constant discharge: P t / E^2."""
    text = """
        [run]
        duration_s = 10.0
        dt_s = 0.01
        [[site]]
        name = "campus"
        job = [{name = "late", kind = "constant", power_mw = 3.0, start_s = 0.01}]
        [site.bess]
        power_mw = 10.0
        energy_mwh = 2.0
        [site.controller]
        kind = "low_pass"
        cutoff_hz = 1e-12
    """
    layout, params, state, inputs = simulate.build(scenario(text))

    def final_soc(params):
        return em.rollout(layout, params, state, inputs)[1].soc[-1, 0]

    slope = jax.jit(jax.grad(final_soc), compiler_options=QUICKLY)(params).sites[0].storage.batteries[0].energy_mwh
    assert float(slope) == pytest.approx(3.0 * (9.99 - 0.01) / 3600.0 / 2.0**2, rel=1e-6)
