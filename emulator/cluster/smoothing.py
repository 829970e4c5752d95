"""Mitigations at the accelerator: power smoothing, dummy work, caps. What they are set to, as the kernel takes it.

The state machine itself is `kernels/device_tick.py`. W at the accelerator; shares of its range, idle to TDP.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.blocks import lag_gain, lag_mean_gain
from emulator.kernels.device_tick import Settings
from emulator.struct import quantity, static, struct


@struct
class LimitLayout:
    """Which mitigations a job has."""

    smoothing: bool = static()
    timers: bool = static()  # the floor waits before it ramps down
    averaged: bool = static()  # activity is judged by a running mean
    dummy: bool = static()
    dummy_period_ticks: int = static()
    cap: bool = static()


@struct
class SmoothingParams:
    """GPU power smoothing, parameters as in NVML's profiles."""

    floor_fraction: jax.Array = quantity("1", "", "of TDP")
    ramp_up_w_per_s: jax.Array = quantity("W/s")
    ramp_down_w_per_s: jax.Array = quantity("W/s")
    ceiling_fraction: jax.Array = quantity("1", "", "of TDP; infinite = none")
    stop_delay_s: jax.Array = quantity("s")
    min_floor_s: jax.Array = quantity("s")
    secondary_floor_w: jax.Array = quantity("W", "", "idle power where there is none")
    activation_offset_w: jax.Array = quantity("W")
    activation_window_s: jax.Array = quantity("s")


@struct
class DummyParams:
    """Dummy work that fills dips."""

    floor_fraction: jax.Array = quantity("1", "", "of TDP")
    latency_s: jax.Array = quantity("s")


def settings(
    idle_w: jax.Array,
    tdp_w: jax.Array,
    response_s: jax.Array,
    correlation_s: jax.Array,
    coherence: jax.Array,
    smoothing: SmoothingParams | None,
    dummy: DummyParams | None,
    dt_s: float,
) -> Settings:
    """The kernel's numbers: shares of the range, ticks."""
    range_w = tdp_w - idle_w
    gain = lag_gain(correlation_s, dt_s)
    zero = jnp.zeros_like(idle_w)

    def share(power_w: jax.Array) -> jax.Array:
        return (power_w - idle_w) / range_w

    def ticks(time_s: jax.Array) -> jax.Array:
        """To the nearest: in float32 a time over a tick may come out a little less than whole, and lose a tick."""
        return jnp.round(time_s / dt_s)

    made = Settings(
        response=lag_gain(response_s, dt_s),
        mean_response=lag_mean_gain(response_s, dt_s),
        coherent=jnp.sqrt(coherence),
        incoherent=jnp.sqrt(1.0 - coherence),
        fade=1.0 - gain,
        innovation=jnp.sqrt(gain * (2.0 - gain)),
        **{name: zero for name in Settings._fields[6:]},
    )
    if smoothing is not None:
        made = made._replace(
            floor=share(smoothing.floor_fraction * tdp_w),
            rest_floor=share(smoothing.secondary_floor_w),
            up=smoothing.ramp_up_w_per_s * dt_s / range_w,
            down=smoothing.ramp_down_w_per_s * dt_s / range_w,
            ceiling=_ceiling(smoothing.ceiling_fraction, idle_w, tdp_w),
            width=(1.0 - smoothing.floor_fraction) * tdp_w / range_w,
            active_above=smoothing.activation_offset_w / range_w,
            averaging=lag_gain(smoothing.activation_window_s, dt_s),
            stop_ticks=ticks(smoothing.stop_delay_s),
            hold_ticks=ticks(smoothing.min_floor_s),
        )
    if dummy is not None:
        made = made._replace(dummy_floor=share(dummy.floor_fraction * tdp_w), dummy_ticks=ticks(dummy.latency_s))
    return made


def _ceiling(fraction: jax.Array, idle_w: jax.Array, tdp_w: jax.Array) -> jax.Array:
    """Share of the range at a fraction of TDP; infinite stays so, with gradients that are not NaN."""
    finite = jnp.isfinite(fraction)
    return jnp.where(finite, (jnp.where(finite, fraction, 1.0) * tdp_w - idle_w) / (tdp_w - idle_w), jnp.inf)
