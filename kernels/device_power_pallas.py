"""Accelerated `device_power` for a GPU: one fused Pallas kernel. Not measured on a GPU yet, so never chosen by itself.

One program takes one block of devices, one to a thread, through all ticks: states and parameters stay in registers,
ticks are a loop within the kernel, and a tick leaves two sums of the block behind. Events are looked at in every tick,
as the definition does; there is no short cut for those that have passed.

Forward in the kernel, backward through the definition: `jax.custom_vjp` keeps the arguments and differentiates the
dense version at them, at its cost in time and memory. Forward-mode differentiation (`jax.jvp`) is not defined.

It compiles with Pallas's Triton backend, which JAX has deprecated from 0.11 on: a JAX without it runs this kernel only
interpreted (`interpret=True`), as does a CPU, where that serves tests and nothing else.
Reference: docs.jax.dev/en/latest/pallas.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from emulator.kernels.device_tick import (
    ABSENT,
    Devices,
    Drive,
    Settings,
    State,
    Switches,
    device_tick,
    filled_up,
    innovations,
    share_passed,
)

BLOCK = 128  # devices of a program: 4 warps
Result = tuple[State, jax.Array]
Definition = Callable[..., Result]  # as `device_power.dense_device_power`


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def pallas_device_power(
    definition: Definition,
    interpret: bool,
    switches: Switches,
    settings: Settings,
    devices: Devices,
    state: State,
    drive: Drive,
    first_tick: jax.Array,
) -> Result:
    """As `device_power.device_power`, sums only. Gradients are those of `definition`."""
    if not interpret and jax.default_backend() != "gpu":
        raise ValueError(
            f"method 'pallas' is a GPU kernel and JAX runs on '{jax.default_backend()}' here: "
            "choose 'blocked', or pass interpret=True to test it"
        )
    count, ticks = devices.gain.shape[0], drive.common.shape[0]
    blocks = -(-count // BLOCK)
    its, before, filled = filled_up(blocks * BLOCK, devices, state, drive)
    wide = (its, before, filled.tick, filled.fraction)
    first = jnp.reshape(first_tick, 1).astype(jnp.int32)
    steps, series = (drive.level_step, drive.noise_step), (drive.common, drive.cap, drive.poll.astype(jnp.int32))
    whole = (jnp.stack(settings), first, *steps, *series)
    shape = jax.ShapeDtypeStruct((blocks, ticks), devices.gain.dtype)
    run = pl.pallas_call(
        functools.partial(_kernel, switches),
        grid=(blocks,),
        in_specs=jax.tree.map(_cut, wide) + jax.tree.map(_all, whole),
        out_specs=(jax.tree.map(_cut, wide[1]), _row(ticks), _row(ticks)),
        out_shape=(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), wide[1]), shape, shape),
        interpret=interpret,
        compiler_params=None if interpret else _triton(),
        name="device_power",
    )
    after, power, demand = run(*wide, *whole)
    sums = jnp.stack([jnp.sum(power, axis=0), jnp.sum(demand, axis=0)], axis=1)
    return jax.tree.map(lambda x: x[:count], after), sums


def _forward(definition: Definition, interpret: bool, switches: Switches, *args: Any) -> tuple[Result, tuple]:
    return pallas_device_power(definition, interpret, switches, *args), args


def _backward(definition: Definition, interpret: bool, switches: Switches, args: tuple, slopes: Result) -> tuple:
    _, pull = jax.vjp(lambda *args: definition(switches, *args, False), *args)
    return pull(slopes)


pallas_device_power.defvjp(_forward, _backward)


def _cut(x: jax.Array) -> pl.BlockSpec:
    """(devices,) or (events, devices): a block of devices to each program."""
    if x.ndim == 1:
        return pl.BlockSpec((BLOCK,), lambda block: (block,))
    return pl.BlockSpec((x.shape[0], BLOCK), lambda block: (0, block))


def _all(x: jax.Array) -> pl.BlockSpec:
    """All of a vector to every program."""
    return pl.BlockSpec(x.shape, lambda block: (0,))


def _row(ticks: int) -> pl.BlockSpec:
    """(blocks, ticks): a row to each program."""
    return pl.BlockSpec((None, ticks), lambda block: (block, 0))


def _triton() -> Any:
    """Compiler parameters that choose the backend: JAX's own choice does not compile this kernel."""
    try:
        from jax.experimental.pallas import triton
    except ImportError:
        raise ImportError(
            f"method 'pallas' needs Pallas's Triton backend, which JAX {jax.__version__} lacks: choose 'blocked'"
        ) from None
    return triton.CompilerParams(num_warps=BLOCK // 32, num_stages=1)


def _kernel(switches: Switches, *refs: Any) -> None:
    """One block of devices through all ticks. Arguments are references, in the order of `run` above."""
    devices, state, tick, fraction, numbers, first, level_step, noise_step, common, cap, poll, after, *sums = refs
    settings = Settings(*(numbers[i] for i in range(len(Settings._fields))))
    gain, weight, key = (x[...] for x in devices)
    start = first[0]
    zero = jnp.zeros(gain.shape, gain.dtype)

    def one(n: jax.Array, state: State) -> State:
        def event(k: jax.Array, means: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            passed = share_passed(tick[k, :], fraction[k, :], n)
            return means[0] + level_step[k] * passed, means[1] + noise_step[k] * passed

        target = jax.lax.fori_loop(0, tick.shape[0], event, (zero, zero))
        own = innovations(settings, key, start + n) if switches.own else ABSENT
        state, power, demand = device_tick(
            switches, settings, gain, state, target, common[n], own, cap[n], poll[n] != 0
        )
        sums[0][n], sums[1][n] = jnp.sum(weight * power), jnp.sum(weight * demand)
        return state

    last = jax.lax.fori_loop(0, common.shape[0], one, jax.tree.map(lambda x: x[...], state))
    for ref, x in zip(jax.tree.leaves(after), jax.tree.leaves(last), strict=True):
        ref[...] = x
