"""A small neural policy: four features through two layers of 16, seeded. Its order is a share of rated power.

share = tanh(w3 . tanh(W2 tanh(W1 f + b1) + b2)),   f = (load less two low-passes of it, speed, SOC error), scaled.
The last layer starts at zero: before it has been trained, a policy orders nothing.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.blocks import lag_gain
from emulator.draws import normal
from emulator.struct import quantity, struct

FEATURES, HIDDEN = 4, 16
SLOWER = 10.0
SPEED_SCALE = 100.0  # a deviation of 1 % is 1
SOC_SCALE = 10.0  # an error of a tenth is 1


@struct
class NeuralParams:
    """Weights, and the time over which the load is averaged for the first feature; ten times that for the second."""

    average_s: jax.Array = quantity("s")
    first: jax.Array = quantity("1", "hidden, features")
    first_bias: jax.Array = quantity("1", "hidden")
    second: jax.Array = quantity("1", "hidden, hidden")
    second_bias: jax.Array = quantity("1", "hidden")
    last: jax.Array = quantity("1", "hidden")
    soc_gain: jax.Array = quantity("1", "", "share of rated power per unit of SOC error")


@struct
class NeuralState:
    fast: jax.Array = quantity("1", "", "low-pass of the load, over rated power")
    slow: jax.Array = quantity("1", "", "the same, ten times as slow")


def weights(seed: int, last: tuple[float, ...]) -> dict[str, jax.Array]:
    """Layers of normal draws scaled by the root of their inputs; the last as given, zeros where it is empty.

    Reference: LeCun et al., Efficient BackProp, 1998, sec. 4.6.
    """
    first, second = jax.random.split(jax.random.key(seed))
    return {
        "first": normal(first, (HIDDEN, FEATURES), jnp.float32) / jnp.sqrt(FEATURES),
        "first_bias": jnp.zeros(HIDDEN),
        "second": normal(second, (HIDDEN, HIDDEN), jnp.float32) / jnp.sqrt(HIDDEN),
        "second_bias": jnp.zeros(HIDDEN),
        "last": jnp.asarray(last) if last else jnp.zeros(HIDDEN),
    }


def initial(load: jax.Array) -> NeuralState:
    """Under a load, over rated power, that has always been there."""
    return NeuralState(fast=load, slow=load)


def step(
    params: NeuralParams, state: NeuralState, load: jax.Array, speed_pu: jax.Array, soc_error: jax.Array, dt_s: float
) -> tuple[NeuralState, jax.Array]:
    """State after a tick and the order as a share of rated power, within +-1. load: over rated power."""
    after = NeuralState(
        fast=state.fast + lag_gain(params.average_s, dt_s) * (load - state.fast),
        slow=state.slow + lag_gain(SLOWER * params.average_s, dt_s) * (load - state.slow),
    )
    features = jnp.stack([load - after.fast, load - after.slow, SPEED_SCALE * speed_pu, SOC_SCALE * soc_error])
    hidden = _layer(params.first, params.first_bias, features)
    hidden = _layer(params.second, params.second_bias, hidden)
    return after, jnp.tanh(jnp.sum(params.last * hidden))


def _layer(matrix: jax.Array, bias: jax.Array, inputs: jax.Array) -> jax.Array:
    """(outputs,) tanh(matrix @ inputs + bias), term by term: these fuse with the rest of the tick, where a product or a
    sum over many scenarios would be a call of a library in every tick."""
    total = bias
    for i in range(inputs.shape[0]):
        total = total + matrix[:, i] * inputs[i]
    return jnp.tanh(total)
