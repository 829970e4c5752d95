"""Order of the integrator, measured."""

from __future__ import annotations

import numpy as np

from emulator.blocks import rk4_increment


def test_fourth_order(x64):
    """Halving the step divides the error of a nonlinear oscillator by 16."""
    import jax.numpy as jnp

    def pendulum(x):
        angle, speed = x
        return speed, -4.0 * jnp.sin(angle) - 0.1 * speed

    def at_two_seconds(steps: int) -> np.ndarray:
        x = jnp.asarray(1.0), jnp.asarray(0.0)
        for _ in range(steps):
            increment = rk4_increment(pendulum, x, 2.0 / steps)
            x = x[0] + increment[0], x[1] + increment[1]
        return np.array(x)

    exact = at_two_seconds(640)
    errors = [np.abs(at_two_seconds(n) - exact).max() for n in (20, 40, 80)]
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert np.all(np.abs(orders - 4.0) < 0.2), orders


def test_the_grid_converges_at_fourth_order(scenario, x64):
    """The whole closed loop of two areas: frequency half a second after a step, as the tick shrinks."""
    from emulator import simulate

    text = """
        [run]
        duration_s = 3.2
        chunk_ticks = 1
        [[grid.area]]
        name = "a"
        inertia_s = 1.0
        [[grid.area.governor]]
        model = "lag"
        lag_s = 0.5
        [[grid.area]]
        name = "b"
        inertia_s = 2.0
        damping_pu = 2.0
        [[grid.tie]]
        between = ["a", "b"]
        synchronizing_mw_per_rad = 300.0
        initial_mw = 100.0
        [[disturbance]]
        kind = "load_step"
        area = "a"
        at_s = 0.0
        mw = 150.0
    """
    at_s = {}
    for dt_s in (0.05, 0.025, 0.0125, 0.003125):
        trace = simulate.run(scenario(text, f"run.dt_s={dt_s}"))
        at_s[dt_s] = trace.area_frequency_hz[np.searchsorted(trace.time_s, 3.0 - 1e-9)]
    errors = [np.abs(at_s[dt_s] - at_s[0.003125]).max() for dt_s in (0.05, 0.025, 0.0125)]
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert np.all(np.abs(orders - 4.0) < 0.3), (orders, errors)
