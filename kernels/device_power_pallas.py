"""Accelerated `device_power` for a GPU: one fused Pallas kernel. Not measured on a GPU yet, so never chosen by itself.

One program, a single warp, takes one block of devices, several to a thread, through all ticks: states and parameters
stay in registers, ticks are a loop within the kernel, and a tick leaves two sums of the block behind. Ticks that share
a hash form a group; of the events only those are looked at that some device of the block passes within it.

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
    WORD,
    Devices,
    Drive,
    Settings,
    State,
    Switches,
    device_tick,
    filled_up,
    hashed,
    share_passed,
    signed,
)

BLOCK = 128  # devices of a program
WARPS = 1  # so that sums need no barrier
Means = tuple[jax.Array, jax.Array]  # of level and noise amplitude
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
    first = jnp.asarray(first_tick, jnp.int32)
    wide = (its, before, filled.tick, filled.fraction)
    spans = _under_way(filled.tick, blocks, _group_starts(first, ticks))
    steps, series = (drive.level_step, drive.noise_step), (drive.common, drive.cap, drive.poll.astype(jnp.int32))
    whole = (jnp.stack(settings), jnp.reshape(first, 1), *steps, *series)
    shape = jax.ShapeDtypeStruct((blocks, ticks), devices.gain.dtype)
    run = pl.pallas_call(
        functools.partial(_kernel, switches),
        grid=(blocks,),
        in_specs=(*jax.tree.map(_cut, wide), *map(_row, spans), *map(_all, whole)),
        out_specs=(jax.tree.map(_cut, before), _row(shape), _row(shape)),
        out_shape=(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), before), shape, shape),
        interpret=interpret,
        compiler_params=None if interpret else _triton(),
        name="device_power",
    )
    after, power, demand = run(*wide, *spans, *whole)
    sums = jnp.stack([jnp.sum(power, axis=0), jnp.sum(demand, axis=0)], axis=1)
    return jax.tree.map(lambda x: x[:count], after), sums


def _group_starts(first_tick: jax.Array, ticks: int) -> jax.Array:
    """(groups,) first tick, from the window's, of each group that reaches into it; the first may begin before it."""
    return WORD * jnp.arange(-(-(ticks + WORD - 1) // WORD), dtype=jnp.int32) - (first_tick & (WORD - 1))


def _under_way(tick: jax.Array, blocks: int, starts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(blocks, groups) first event, and that behind the last one, that some device of the block passes in the group."""
    events = tick.shape[0]
    by_block, starts = tick.reshape(events, blocks, BLOCK, 1), starts.reshape(1, 1, -1)
    earliest, latest = jnp.min(by_block, axis=2), jnp.max(by_block, axis=2)
    here = (earliest < starts + WORD) & (latest >= starts)
    place = jnp.arange(events, dtype=jnp.int32)[:, None, None]
    begin = jnp.min(jnp.where(here, place, events), axis=0, initial=events)
    return begin, jnp.max(jnp.where(here, place + 1, 0), axis=0, initial=0)


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


def _row(x: jax.Array | jax.ShapeDtypeStruct) -> pl.BlockSpec:
    """(blocks, n): a row to each program."""
    return pl.BlockSpec((None, x.shape[1]), lambda block: (block, 0))


def _triton() -> Any:
    """Compiler parameters that choose the backend: JAX's own choice does not compile this kernel."""
    try:
        from jax.experimental.pallas import triton
    except ImportError:
        raise ImportError(
            f"method 'pallas' needs Pallas's Triton backend, which JAX {jax.__version__} lacks: choose 'blocked'"
        ) from None
    return triton.CompilerParams(num_warps=WARPS, num_stages=1)


def _kernel(switches: Switches, *refs: Any) -> None:
    """One block of devices through all ticks. Arguments are references, in the order of `run` above."""
    devices, state, tick, fraction, begin, end, numbers, first, *others = refs
    level_step, noise_step, common, cap, poll, after, *sums = others
    settings = Settings(*(numbers[i] for i in range(len(Settings._fields))))
    gain, weight, key = (x[...] for x in devices)
    ticks, shift = common.shape[0], first[0] & (WORD - 1)
    zero = jnp.zeros(gain.shape, gain.dtype)

    def stepped(events: tuple[Any, Any], share: Callable[[jax.Array], jax.Array], means: Means) -> Means:
        """Means on top of which each of the events adds its steps, for a share."""

        def event(k: jax.Array, means: Means) -> Means:
            passed = share(k)
            return means[0] + level_step[k] * passed, means[1] + noise_step[k] * passed

        return jax.lax.fori_loop(*events, event, means)

    def group(g: jax.Array, carry: tuple[State, Means]) -> tuple[State, Means]:
        """Ticks that share a hash; `carry` holds the means that result from what is passed before them."""
        start, events = WORD * g - shift, (begin[g], end[g])
        word = hashed(key, first[0] + start >> 5) if switches.own else ABSENT

        def one(n: jax.Array, state: State) -> State:
            def share(k: jax.Array) -> jax.Array:
                return jnp.where(tick[k, :] < start, 0.0, share_passed(tick[k, :], fraction[k, :], n))

            own = signed(word, n - start, settings.innovation) if switches.own else ABSENT
            target = stepped(events, share, carry[1])
            state, power, demand = device_tick(
                switches, settings, gain, state, target, common[n], own, cap[n], poll[n] != 0
            )
            sums[0][n], sums[1][n] = jnp.sum(weight * power), jnp.sum(weight * demand)
            return state

        def within(k: jax.Array) -> jax.Array:
            return ((tick[k, :] >= start) & (tick[k, :] < start + WORD)).astype(gain.dtype)

        state = jax.lax.fori_loop(jnp.maximum(start, 0), jnp.minimum(start + WORD, ticks), one, carry[0])
        return state, stepped(events, within, carry[1])

    def before(k: jax.Array) -> jax.Array:
        return (tick[k, :] < -shift).astype(gain.dtype)

    passed = stepped((0, tick.shape[0]), before, (zero, zero))
    last, _ = jax.lax.fori_loop(0, begin.shape[0], group, (jax.tree.map(lambda x: x[...], state), passed))
    for ref, x in zip(jax.tree.leaves(after), jax.tree.leaves(last), strict=True):
        ref[...] = x
