"""Where a run is computed: all of it on JAX's devices, or the jobs' power there and the closed loop on a CPU.

On a GPU every operation of a tick is a kernel launch: 37 in the demo, at some 2 us each, where a CPU core takes 0.2 us
for all of them (docs/performance.md). Job power has no loop over ticks, or one that treats all devices of a job at
once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from emulator.frame import Frame
from emulator.plant import Inputs, Layout, Params
from emulator.rollout import JobWork, State, closed_loop, job_power, rollout

Step = Callable[[State, Inputs], tuple[State, Frame]]


def compiled(layout: Layout, params: Params, state: State, inputs: Inputs) -> Step:
    """The compiled function that takes a run through a window, for arguments of these shapes.

    Raises:
      RuntimeError: JAX has other devices, and no CPU beside them.
    """
    if jax.default_backend() == "cpu" or any(site.power_limit is not None for site in params.sites):
        return whole(layout, params, state, inputs)  # where a site orders caps, jobs and loop take turns in every chunk
    return apart(layout, params, state, inputs, SingleDeviceSharding(jax.devices("cpu")[0]))


def whole(layout: Layout, params: Params, state: State, inputs: Inputs) -> Step:
    """All on JAX's devices: nonlinear devices are spread over them, the closed loop is on the first."""
    step = jax.jit(rollout, static_argnums=0)
    if any(job.path == "devices" for job in layout.training):
        everywhere = _everywhere()
        params, state, inputs = jax.device_put((params, state, inputs), everywhere)
        step = jax.jit(rollout, static_argnums=0, in_shardings=everywhere, out_shardings=everywhere)
    run = step.lower(layout, params, state, inputs).compile()
    return lambda state, inputs: run(params, state, inputs)


def apart(layout: Layout, params: Params, state: State, inputs: Inputs, here: Sharding) -> Step:
    """`rollout` in two parts: the jobs on JAX's devices, where their states stay, and the closed loop `here`."""
    there = _everywhere()
    params_there, params_here = jax.device_put(params, there), jax.device_put(params, here)

    def of_jobs(state: State, inputs: Inputs) -> tuple[Params, State, Inputs]:
        return params_there, *jax.device_put((replace(state, plant=()), inputs), there)

    def of_loop(state: State, inputs: Inputs, done: tuple) -> tuple:
        bare = replace(state, training=(), inference=())
        return params_here, *jax.device_put((bare, JobWork(((), ()), *done), inputs.external), here)

    first = of_jobs(state, inputs)
    work = jax.jit(job_power, static_argnums=0, out_shardings=there).lower(layout, *first).compile()
    _, *done = work(*first)
    loop = jax.jit(closed_loop, static_argnums=0).lower(layout, *of_loop(state, inputs, tuple(done))).compile()

    def step(state: State, inputs: Inputs) -> tuple[State, Frame]:
        (training, inference), *done = work(*of_jobs(state, inputs))
        after, frames = loop(*of_loop(state, inputs, tuple(done)))
        return replace(after, training=training, inference=inference), frames

    return step


def _everywhere() -> NamedSharding:
    """Replicated on all of JAX's devices."""
    return NamedSharding(Mesh(np.array(jax.devices()), ("devices",)), PartitionSpec())
