"""Band-stop on named bands: the grid sees the load without them, the battery carries what they hold.

    H(s) = (s^2 + w0^2) / (s^2 + B s + w0^2),  w0^2 = w_low w_high,  B = sqrt(19) (w_high - w_low)
so that |H|^2 = 1/20 at both edges of a band and less within: 95 % of its energy goes. Several bands in a row.
Trapezoidal rule, warped to be exact at w0; states are deviations from the load of the first tick.
Reference: Zavalishin, The Art of VA Filter Design, 2.1.2, 2018, sec. 4.2 (state-variable filter).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.blocks import Compensated, compensated, compensated_add
from emulator.struct import quantity, struct

WIDER = 19.0**0.5  # than the band: |H|^2 = 1/(1 + (B/band)^2) at its edges


@struct
class BandStopParams:
    low_hz: jax.Array = quantity("Hz", "bands")
    high_hz: jax.Array = quantity("Hz", "bands")
    soc_gain: jax.Array = quantity("1", "", "share of rated power per unit of SOC error")


@struct
class BandStopState:
    first_mw: jax.Array = quantity("MW", "", "load of the first tick")
    in_band_mw: Compensated[jax.Array] = quantity("MW", "bands")
    below_mw: Compensated[jax.Array] = quantity("MW", "bands")


def initial(params: BandStopParams, load_mw: jax.Array) -> BandStopState:
    """Under a load that has always been there."""
    none = compensated(jnp.zeros_like(params.low_hz))
    return BandStopState(first_mw=load_mw, in_band_mw=none, below_mw=none)


def step(
    params: BandStopParams, state: BandStopState, load_mw: jax.Array, dt_s: float
) -> tuple[BandStopState, jax.Array]:
    """State after a tick and what all bands hold of the load in it."""
    middle = jnp.sqrt(params.low_hz * params.high_hz)
    g = jnp.tan(jnp.pi * middle * dt_s)
    k = WIDER * (params.high_hz - params.low_hz) / middle
    rest_mw, moves = load_mw - state.first_mw, []
    for i in range(params.low_hz.shape[0]):
        before, below = state.in_band_mw.value[i], state.below_mw.value[i]
        band = (before + g[i] * (rest_mw - below)) / (1.0 + g[i] * (g[i] + k[i]))
        moves.append((2.0 * (band - before), 2.0 * g[i] * band))
        rest_mw = rest_mw - k[i] * band
    after = BandStopState(
        first_mw=state.first_mw,
        in_band_mw=compensated_add(state.in_band_mw, jnp.stack([move for move, _ in moves])),
        below_mw=compensated_add(state.below_mw, jnp.stack([move for _, move in moves])),
    )
    return after, load_mw - state.first_mw - rest_mw
