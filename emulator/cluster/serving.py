"""Inference: replicas of a model that serve requests as they come. Levels are shares of a device's range; load in W.

A replica is a Markov chain in continuous time: requests arrive, wait, are prefilled one at a time and decoded together,
at most `batch` at once; prefill and decode take exponential times. A tick moves it by at most one arrival, one end of a
prefill and one end of a decode, each with probability 1 - exp(-rate dt): the error is O(rate dt), and a rule of the
configuration keeps rate dt below 0.2.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from emulator.cluster.iteration import Window
from emulator.kernels.device_tick import hashed
from emulator.struct import quantity, static, struct

ARRIVE, PREFILL, DECODE = 0x1B873593, 0x68E31DA4, 0xB5297A4D  # tell a replica's three draws apart
BURST, KEYS = range(2)  # streams of a job


@struct
class InferenceLayout:
    """Sizes and switches of an inference job."""

    stream: int = static()  # of its random draws, from the names of site and job
    replicas: int = static()
    devices_per_replica: int = static()
    start_tick: int = static()
    stop_tick: int = static()
    arrivals: Literal["poisson", "bursty", "diurnal"] = static()
    batch: int = static()


@struct
class InferenceParams:
    """Numbers of an inference job."""

    requests_per_s: jax.Array = quantity("1/s", "", "mean, per replica")
    burst_factor: jax.Array = quantity("1", "", "rate within a burst over the mean")
    burst_s: jax.Array = quantity("s", "", "mean length of a burst")
    burst_fraction: jax.Array = quantity("1", "", "share of time within bursts")
    day_s: jax.Array = quantity("s")
    day_swing: jax.Array = quantity("1", "", "amplitude over the mean")
    day_phase: jax.Array = quantity("1", "", "share of the day that has passed at the start")
    prefill_s: jax.Array = quantity("s", "", "mean")
    decode_s: jax.Array = quantity("s", "", "mean")
    prefill_level: jax.Array = quantity("1")
    decode_level_min: jax.Array = quantity("1", "", "one request")
    decode_level_max: jax.Array = quantity("1", "", "full batch")
    idle_w: jax.Array = quantity("W", "", "server power per device at rest")
    peak_w: jax.Array = quantity("W", "", "server power per device at level 1")


@struct
class InferenceState:
    """Requests in each replica."""

    waiting: jax.Array = quantity("1", "replicas")
    prefilling: jax.Array = quantity("1", "replicas", "0 or 1")
    decoding: jax.Array = quantity("1", "replicas")
    bursting: jax.Array = quantity("1", "", "1 within a burst, common to all replicas")


def initial(layout: InferenceLayout, dtype: jnp.dtype) -> InferenceState:
    """No requests."""
    none = jnp.zeros(layout.replicas, dtype)
    return InferenceState(waiting=none, prefilling=none, decoding=none, bursting=jnp.zeros((), dtype))


def advance(
    layout: InferenceLayout, params: InferenceParams, state: InferenceState, seed_key: jax.Array, window: Window
) -> tuple[InferenceState, jax.Array]:
    """State after a window of ticks, and (ticks,) W of all replicas. Before the start and after the stop no request
    arrives, and what is there is served to its end.

    Draws are keyed by replica and tick: neither windows nor other replicas change them.
    """
    key = jax.random.fold_in(seed_key, layout.stream)
    # Row by row, so that a replica's key does not depend on how many others there are.
    keys = jax.random.bits(jax.random.fold_in(key, KEYS), (layout.replicas,), jnp.uint32)
    at = window.first + jnp.arange(window.ticks, dtype=jnp.int32)
    dtype = state.waiting.dtype

    def one(state: InferenceState, tick: jax.Array) -> tuple[InferenceState, jax.Array]:
        bursting, rate = _rate(layout, params, state.bursting, key, tick, window.dt_s)
        on = (tick >= layout.start_tick) & (tick < layout.stop_tick)
        arrived = _happens(keys, ARRIVE, tick, jnp.where(on, rate, 0.0) * window.dt_s, dtype)
        prefilled = state.prefilling * _happens(keys, PREFILL, tick, window.dt_s / params.prefill_s, dtype)
        decoded = _happens(keys, DECODE, tick, state.decoding * (window.dt_s / params.decode_s), dtype)
        waiting = state.waiting + arrived
        prefilling, decoding = state.prefilling - prefilled, state.decoding + prefilled - decoded
        begins = ((waiting > 0) & (prefilling == 0) & (decoding < layout.batch)).astype(dtype)
        state = InferenceState(
            waiting=waiting - begins, prefilling=prefilling + begins, decoding=decoding, bursting=bursting
        )
        return state, jnp.mean(_level(layout, params, state))

    state, level = jax.lax.scan(one, state, at)
    devices = layout.replicas * layout.devices_per_replica
    return state, devices * (params.idle_w + (params.peak_w - params.idle_w) * level)


def _level(layout: InferenceLayout, params: InferenceParams, state: InferenceState) -> jax.Array:
    """(replicas,) level: that of prefill while one runs, else by the number of requests in decoding."""
    full = (state.decoding - 1.0) / max(layout.batch - 1, 1) if layout.batch > 1 else jnp.ones_like(state.decoding)
    decode = params.decode_level_min + (params.decode_level_max - params.decode_level_min) * full
    return jnp.where(state.prefilling > 0, params.prefill_level, jnp.where(state.decoding > 0, decode, 0.0))


def _rate(
    layout: InferenceLayout, params: InferenceParams, bursting: jax.Array, key: jax.Array, tick: jax.Array, dt_s: float
) -> tuple[jax.Array, jax.Array]:
    """Burst flag after the tick and arrivals per second and replica in it.

    Bursts are a two-state Markov process: mean length `burst_s`, share of time `burst_fraction`; the rate outside makes
    the mean come out. A day is a sine about the mean.
    """
    mean = params.requests_per_s
    if layout.arrivals == "bursty":
        share = params.burst_fraction
        ends, begins = dt_s / params.burst_s, dt_s / params.burst_s * share / (1.0 - share)
        draw = jax.random.uniform(jax.random.fold_in(jax.random.fold_in(key, BURST), tick), (), mean.dtype)
        changes = draw < -jnp.expm1(-jnp.where(bursting > 0, ends, begins))
        # Stationary from the first tick on.
        bursting = jnp.where(tick == 0, (draw < share).astype(mean.dtype), jnp.where(changes, 1 - bursting, bursting))
        outside = (1.0 - share * params.burst_factor) / (1.0 - share)
        return bursting, mean * jnp.where(bursting > 0, params.burst_factor, outside)
    if layout.arrivals == "diurnal":
        days = tick.astype(mean.dtype) * (dt_s / params.day_s) + params.day_phase
        return bursting, mean * (1.0 + params.day_swing * jnp.sin(2.0 * jnp.pi * days))
    return bursting, mean


def _happens(keys: jax.Array, salt: int, tick: jax.Array, expected: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """(replicas,) 1 with probability 1 - exp(-expected), else 0."""
    share = (hashed(keys ^ jnp.uint32(salt), tick) >> 8).astype(jnp.int32).astype(dtype) / 2.0**24
    return (share < -jnp.expm1(-expected)).astype(dtype)
