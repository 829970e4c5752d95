"""Inference: replicas of a model that serve requests as they come. Levels are shares of a device's range; load in W.

A replica is a Markov chain in continuous time of two numbers: requests whose prefill is not done, `waiting`, and
requests in decode, `decoding`. With a rate lambda(t) common to all replicas:

    arrival           waiting + 1                    at  lambda(t)
    end of a prefill  waiting - 1, decoding + 1      at  1 / prefill_s           while waiting > 0 and decoding < batch
    end of a decode   decoding - 1                   at  decoding / decode_s

One prefill at a time, none unless the batch has room, and none slows the decodes down: M/M/1 for prefill, M/M/inf for
decode, the first blocked by the second at a full batch. Level: prefill_level while a prefill is under way, else from
decode_level_min with one request to decode_level_max with a full batch, else 0.

Discretised by uniformisation, P = I + Q dt (Jensen, Skandinavisk Aktuarietidskrift 36:87, 1953): in a tick a replica
has one event at most, each with the chance rate x dt, at the tick's end. One even draw on (0, 1) decides, where three
stretches of that length lie side by side. I + Q dt has the stationary distribution of Q: under Poisson arrivals the
distribution of queue, batch and power has no error in dt, nor has the mean of a stay, 1 / rate. Of relative order
rate x dt is the error of what depends on order within a tick: correlations in time, the law of a stay (geometric for
exponential), and how fast the distribution follows a rate that changes. It needs
(peak lambda + 1 / prefill_s + batch / decode_s) dt <= 1; a rule of the configuration sees to it.

Draws are keyed by (seed, job's stream, replica, tick). Events are integers: power has derivatives by levels, idle_w,
peak_w and response_s along a given history of events, none by rates and times.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from emulator.blocks import lag_gain
from emulator.cluster.iteration import Window
from emulator.kernels.device_tick import hashed
from emulator.struct import quantity, static, struct

BURSTS, REPLICAS = range(2)  # streams of a job
START = -1  # tick whose draw decides in which state the run begins


@struct
class InferenceLayout:
    """Sizes and switches of an inference job."""

    stream: int = static()  # of its random draws, from the names of site and job
    replicas: int = static()
    devices_per_replica: int = static()
    start_tick: int = static()
    stop_tick: int = static()
    arrivals: Literal["poisson", "bursty", "diurnal"] = static()
    batch: int = static()  # requests that a replica decodes at most


@struct
class InferenceParams:
    """Numbers of an inference job; those of another kind of arrivals than the layout's have no effect."""

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
    response_s: jax.Array = quantity("s", "", "first-order time constant of power")
    start: jax.Array = quantity(
        "1", "waiting, decoding", "chances of a replica's states at tick 0, added up row by row"
    )


@struct
class InferenceState:
    """What a job carries from tick to tick; counts are int32."""

    waiting: jax.Array = quantity("1", "replicas", "requests whose prefill is not done, the one under way included")
    decoding: jax.Array = quantity("1", "replicas", "requests in decode")
    arrived: jax.Array = quantity("1", "replicas", "requests since tick 0")
    completed: jax.Array = quantity("1", "replicas", "requests since tick 0")
    bursting: jax.Array = quantity("1", "", "true within a burst, common to all replicas")
    level: jax.Array = quantity("1", "", "mean over replicas, filtered, at the end of the last tick")


def initial(layout: InferenceLayout, dtype: jnp.dtype) -> InferenceState:
    """No requests. In which state the run begins is drawn when its first tick is computed."""
    none, off = jnp.zeros(layout.replicas, jnp.int32), jnp.asarray(False)
    level = jnp.zeros((), dtype)
    return InferenceState(waiting=none, decoding=none, arrived=none, completed=none, bursting=off, level=level)


def advance(
    layout: InferenceLayout, params: InferenceParams, state: InferenceState, seed_key: jax.Array, window: Window
) -> tuple[InferenceState, jax.Array, jax.Array]:
    """State after a window of ticks, (ticks,) W of all replicas, and (ticks, 2) requests that arrive and that are
    completed. Before the start and after the stop no request arrives, and what is there is served to its end.

    A tick's power is that of the state in which it begins, passed through the devices' response 1/(1 + s response_s);
    the filter starts settled. Neither windows nor other replicas change a replica's draws.
    """
    key = jax.random.fold_in(seed_key, layout.stream)
    # Word by word, so that a replica's key does not depend on how many others there are.
    keys = jax.random.bits(jax.random.fold_in(key, REPLICAS), (layout.replicas,), jnp.uint32)
    at = window.first + jnp.arange(window.ticks, dtype=jnp.int32)
    word = jax.random.bits(jax.random.fold_in(key, BURSTS), (), jnp.uint32)
    bursting, rate_per_s = _arrival_rate(layout, params, state.bursting, word, at, window)
    arrives = (at >= layout.start_tick) & (at < layout.stop_tick)
    arrival = _words(jnp.where(arrives, rate_per_s, 0.0) * window.dt_s)
    prefill, decode = (_words(window.dt_s / mean_s) for mean_s in (params.prefill_s, params.decode_s))
    first = window.first == 0
    waits, decodes = _start(params.start, keys)
    waiting, decoding = jnp.where(first, waits, state.waiting), jnp.where(first, decodes, state.decoding)
    settled = jnp.where(first, _mean_level(layout, params, waiting, decoding), state.level)
    response = lag_gain(params.response_s, window.dt_s)

    def one(carry: tuple, xs: tuple[jax.Array, jax.Array]) -> tuple[tuple, tuple]:
        replicas, level = carry
        tick, arrival = xs
        so_far = _requests(replicas)  # of what is there: added up as it is drawn, each sum would hash anew
        level = level + response * (_mean_level(layout, params, *replicas[:2]) - level)
        replicas = _after_tick(layout.batch, replicas, hashed(keys, tick), arrival, prefill, decode)
        return (replicas, level), (level, so_far)

    begin = (waiting, decoding, state.arrived, state.completed), settled
    (replicas, level), (levels, so_far) = jax.lax.scan(one, begin, (at, arrival))
    ends = zip(so_far, _requests(replicas), strict=True)
    requests = jnp.stack([jnp.diff(each, append=last) for each, last in ends], axis=1)
    devices = layout.replicas * layout.devices_per_replica
    power_w = devices * (params.idle_w + (params.peak_w - params.idle_w) * levels)
    return InferenceState(*replicas, bursting, level), power_w, requests


def _requests(replicas: tuple) -> tuple[jax.Array, jax.Array]:
    """Arrived and completed, of all replicas, in one pass. Beyond 2^31 they wrap around, which differences undo."""
    none = jnp.zeros((), jnp.int32)
    return jax.lax.reduce(replicas[2:], (none, none), lambda a, b: (a[0] + b[0], a[1] + b[1]), (0,))


def _start(shares: jax.Array, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(replicas,) requests waiting and in decode, drawn from a table of chances added up."""
    state = jnp.searchsorted(shares.ravel(), _share(keys, shares.dtype), side="right").astype(jnp.int32)
    return state // shares.shape[1], state % shares.shape[1]


def _share(keys: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Even on (0, 1), for the start: the middles of 2^23 bins, exact in float32."""
    bins = (hashed(keys, jnp.asarray(START, jnp.int32)) >> 9).astype(jnp.int32)
    return (bins.astype(dtype) + 0.5) * 2.0**-23


def _after_tick(
    batch: int, replicas: tuple, word: jax.Array, arrival: jax.Array, prefill: jax.Array, decode: jax.Array
) -> tuple:
    """Waiting, decoding, arrived and completed after a tick.

    Args:
      word: (replicas,) draws.
      arrival, prefill, decode: how many words stand for an arrival, for the end of a prefill and for the end of one
        request's decode, in this order from 0 on. A draw below the first ones wraps around to one beyond all others.
    """
    waiting, decoding, arrived, completed = replicas
    prefilling = (waiting > 0) & (decoding < batch)
    arrives = (word < arrival).astype(jnp.int32)
    word = word - arrival
    prefilled = (prefilling & (word < prefill)).astype(jnp.int32)
    decoded = (word - prefill < decoding.astype(jnp.uint32) * decode).astype(jnp.int32)
    return waiting + arrives - prefilled, decoding + prefilled - decoded, arrived + arrives, completed + decoded


def _mean_level(layout: InferenceLayout, params: InferenceParams, waiting: jax.Array, decoding: jax.Array) -> jax.Array:
    """Mean level over replicas. It is linear in three counts: replicas that prefill, replicas that only decode, and the
    requests that the latter decode. Integers add up exactly, in whatever order."""
    prefilling = (waiting > 0) & (decoding < layout.batch)
    decodes = ~prefilling & (decoding > 0)
    counts = (prefilling.astype(jnp.int32), decodes.astype(jnp.int32), jnp.where(prefilling, 0, decoding))
    prefills, busy, requests = (jnp.sum(count).astype(params.idle_w.dtype) / layout.replicas for count in counts)
    low, high = params.decode_level_min, params.decode_level_max
    if layout.batch == 1:
        return params.prefill_level * prefills + high * busy
    return params.prefill_level * prefills + low * busy + (high - low) / (layout.batch - 1) * (requests - busy)


def _arrival_rate(
    layout: InferenceLayout,
    params: InferenceParams,
    bursting: jax.Array,
    word: jax.Array,
    at: jax.Array,
    window: Window,
) -> tuple[jax.Array, jax.Array]:
    """Whether the window ends in a burst, and (ticks,) arrivals per s and replica. A day is a sine about the mean.

    Bursts: a Markov-modulated Poisson process with two states (Fischer and Meier-Hellstern, Performance Evaluation
    18:149, 1993), stationary from tick 0 on, seen once a tick: the chances of a change are exact at any dt. The rate
    outside bursts, (1 - factor x fraction) / (1 - fraction) times the mean, keeps the mean.
    """
    mean = params.requests_per_s
    if layout.arrivals == "diurnal":
        days = at.astype(mean.dtype) * (window.dt_s / params.day_s) + params.day_phase
        return bursting, mean * (1.0 + params.day_swing * jnp.sin(2.0 * jnp.pi * days))
    if layout.arrivals == "poisson":
        return bursting, jnp.broadcast_to(mean, at.shape)
    fraction = params.burst_fraction
    forgotten = lag_gain(params.burst_s * (1.0 - fraction), window.dt_s)  # correlation decays with this time constant
    leaves, enters = _words((1.0 - fraction) * forgotten), _words(fraction * forgotten)
    bursting = jnp.where(window.first == 0, _share(word, mean.dtype) < fraction, bursting)

    def one(bursting: jax.Array, tick: jax.Array) -> tuple[jax.Array, jax.Array]:
        return bursting ^ (hashed(word, tick) < jnp.where(bursting, leaves, enters)), bursting

    bursting, bursts = jax.lax.scan(one, bursting, at)
    outside = (1.0 - params.burst_factor * fraction) / (1.0 - fraction)
    return bursting, mean * jnp.where(bursts, params.burst_factor, outside)


def _words(chance: jax.Array) -> jax.Array:
    """How many of the 2^32 words stand for an event of this chance, to the nearest one or to 2^-24 of them."""
    return jnp.round(chance * 2.0**32).astype(jnp.uint32)
