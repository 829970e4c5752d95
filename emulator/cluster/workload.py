"""Training iterations: phases with durations and levels, drawn anew for every iteration.

Levels are shares of a device's range: 0 = idle, 1 = peak.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.draws import even
from emulator.struct import quantity, struct

# Streams of a job: a draw depends on (seed, job, stream, iteration or tick, device) and on nothing else.
STREAMS = 10
JOB, ITERATIONS, DEVICES, GAINS, NOISE, OWN_NOISE, DEVICE_KEYS, SLOW, PAUSES, FAULTS = range(STREAMS)


@struct
class WorkloadParams:
    """Numbers of a workload; `phases` is the number of phases."""

    duration_s: jax.Array = quantity("s", "phases")
    level: jax.Array = quantity("1", "phases")
    wait_level: jax.Array = quantity("1", "phases", "while waiting at the barrier that ends the phase")
    level_jitter: jax.Array = quantity("1", "phases")
    noise: jax.Array = quantity("1", "phases")
    spread_s: jax.Array = quantity("s", "phases")
    release_skew_s: jax.Array = quantity("s", "phases")
    stage_delay_s: jax.Array = quantity("s", "phases")
    end_shift: jax.Array = quantity("1", "phases")
    rate_spread: jax.Array = quantity("1")
    jitter: jax.Array = quantity("1")
    noise_correlation_s: jax.Array = quantity("s")
    noise_coherence: jax.Array = quantity("1", "", "share of the noise's variance that is common to all devices")
    slow_fraction: jax.Array = quantity("1")
    slow_by: jax.Array = quantity("1")


@struct
class Iteration:
    """One iteration as drawn, common to all devices."""

    duration_s: jax.Array = quantity("s", "phases")
    level: jax.Array = quantity("1", "phases")
    wait_level: jax.Array = quantity("1", "phases")


def normal_of(even: jax.Array) -> jax.Array:
    """Standard normal draws from draws that are even on (-1, 1)."""
    return jnp.sqrt(2.0) * jax.lax.erf_inv(even)


def job_rate(params: WorkloadParams, key: jax.Array) -> jax.Array:
    """Iteration rate of a job over the nominal one, drawn once."""
    return 1.0 + params.rate_spread * even(key, (), params.rate_spread.dtype)


def draw_iteration(params: WorkloadParams, rate: jax.Array, key: jax.Array) -> Iteration:
    """Durations and levels of the iteration whose random stream is `key`, of a job with rate `rate`.

    T_i = T / (r (1 + xi_i)) with xi_i normal per iteration (arXiv 2508.16457, Table I);
    an end shift moves time between a phase and the next and leaves the iteration's length alone.
    """
    phases = params.duration_s.shape[0]
    draws = even(key, (2 * phases + 1,), params.duration_s.dtype)
    xi = params.jitter * normal_of(draws[0])
    duration_s = params.duration_s / (rate * (1.0 + xi))
    shift_s = params.end_shift * draws[1 : phases + 1] * jnp.sum(duration_s)
    offset = params.level_jitter * normal_of(draws[phases + 1 :])
    return Iteration(
        duration_s=duration_s + shift_s - jnp.roll(shift_s, 1),
        level=params.level + offset,
        wait_level=params.wait_level + offset,
    )
