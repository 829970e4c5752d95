"""Grids that ship: each stands still for ten minutes, and what its header claims of its modes is so."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import emulator as em
from emulator import catalog, simulate
from tests.compiling import QUICKLY

CALM = """
    [run]
    duration_s = 600.0
    dt_s = 0.005
    [record]
    every_ticks = 20
    [grid]
    preset = "{name}"
"""


@pytest.mark.parametrize("name", catalog.names("grids"))
def test_stands_still_for_ten_minutes(emulate, name):
    """A flat start: 1e-6 Hz. Areas that generate for no load but a site's get one."""
    trace = emulate(CALM.format(name=name))
    assert np.abs(trace.area_frequency_hz - trace.header.frequency_hz).max() < 1e-6
    assert not trace.events


@pytest.mark.parametrize(("name", "hz", "damping"), [("kundur_0545", 0.545, 0.032), ("kundur_0647", 0.647, 0.0343)])
def test_kundur_like_modes(x64, emulate, name, hz, damping):
    """Ring-down after a small step: frequency by the zero crossings, damping by the decrement of the peaks, 0.5 %."""
    step = '[[disturbance]]\n    kind = "load_step"\n    at_s = 0.0\n    area = "west"\n    mw = 1.0\n'
    trace = emulate(CALM.format(name=name) + "    " + step, "run.duration_s=30.0", "record.every_ticks=1")
    slip = trace.area_frequency_hz[:, 0] - trace.area_frequency_hz[:, 1]
    t = trace.time_s
    up = np.flatnonzero((slip[:-1] < 0) & (slip[1:] >= 0))
    crossing = t[up] - slip[up] * (t[1] - t[0]) / (slip[up + 1] - slip[up])
    damped_hz = 1.0 / np.diff(crossing).mean()
    assert damped_hz / np.sqrt(1 - damping**2) == pytest.approx(hz, rel=5e-3)
    peaks = [slip[a:b].max() for a, b in zip(up[:-1], up[1:], strict=True)]
    decrement = -np.polyfit(np.arange(len(peaks)), np.log(peaks), 1)[0]
    assert decrement / np.hypot(2 * np.pi, decrement) == pytest.approx(damping, rel=5e-3)


def test_gradient_of_the_nadir(x64, scenario):
    """Of the five-area system after a trip: every float parameter of the grid against central differences."""
    trip = '[[disturbance]]\n    kind = "generation_trip"\n    at_s = 0.1\n    area = "centre"\n    mw = 900.0\n'
    text = CALM.format(name="five_area") + "    " + trip
    layout, params, state, inputs = simulate.build(scenario(text, "run.duration_s=8.0", "record.every_ticks=1"))

    def lowest(grid):
        _, frames = em.rollout(layout, replace(params, grid=grid), state, inputs)
        return jnp.min(frames.speed_pu)

    nadir, slopes_of = (jax.jit(each, compiler_options=QUICKLY) for each in (lowest, jax.grad(lowest)))
    slopes = slopes_of(params.grid)
    leaves, tree = jax.tree.flatten(params.grid)
    checked = 0
    for i, (leaf, slope) in enumerate(zip(leaves, jax.tree.leaves(slopes), strict=True)):
        assert np.isfinite(slope).all()
        if leaf.size == 0 or not np.isfinite(leaf).all() or not np.any(leaf):
            continue  # without a limit, or the ideal part: an end of its range
        size = 1e-6

        def at(side, i=i, leaf=leaf, size=size):
            return float(nadir(jax.tree.unflatten(tree, [*leaves[:i], leaf * (1 + side * size), *leaves[i + 1 :]])))

        difference = (at(1.0) - at(-1.0)) / (2 * size)
        assert float(np.sum(slope * leaf)) == pytest.approx(difference, rel=1e-4, abs=1e-9)
        checked += abs(difference) > 1e-8
    assert checked >= 12
