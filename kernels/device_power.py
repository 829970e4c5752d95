"""Power of a job's devices tick by tick: definition and dispatch. All powers are shares of a device's range.

For devices that are not linear: power smoothing, dummy work, caps. A device with gain g, whose events change its level
and its noise amplitude at real times, draws in tick n

    d = g (L + a (sqrt(rho) c + sqrt(1 - rho) o))        demand; L the level's tick mean behind 1/(1 + s T)
    p = limits of `device_tick` applied to d

with c the fluctuation that all devices share, given per tick, and o the device's own: unit variance, correlation
exp(-|t|/T_n), from innovations of +1 or -1. Those make variance and correlation exact at any tick; the distribution is
normal where T_n spans many ticks (excess kurtosis -2 (1 - f)/(1 + f), f = exp(-2 dt/T_n)).
An innovation is one bit of hash(device key, n // 32): it depends on device and tick and on nothing else.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from emulator.kernels.device_power_blocked import blocked_device_power
from emulator.kernels.device_tick import (
    ABSENT,
    Devices,
    Drive,
    Settings,
    State,
    Switches,
    device_tick,
    innovations,
    tick_means,
)

Method = Literal["blocked", "dense", "pallas"]


def device_power(
    switches: Switches,
    settings: Settings,
    devices: Devices,
    state: State,
    drive: Drive,
    first_tick: jax.Array,
    keep: bool = False,
    method: Method | None = None,
    interpret: bool = False,
) -> tuple[State, jax.Array]:
    """Power and demand in a window of ticks.

    Args:
      devices, state: arrays (n,) of n devices.
      drive: what changes in time, see `Drive`; its `common` gives the length of the window.
      first_tick: int32, the window's first tick counted from the run's start: keys the innovations.
      keep: return each device's power instead of sums.
      method: "blocked" passes blocks of devices through all ticks; "dense" is the definition, and what `keep` uses;
        "pallas" is a fused kernel for a GPU, not measured on one yet and therefore only ever by choice. Left out:
        blocks on a CPU; elsewhere the definition, since a step of a loop is a launch there and blocks have many.
      interpret: run the Pallas kernel interpreted, on any machine; for tests.

    Returns:
      the state after the window, and (ticks, 2) weighted sums of power and demand, or (ticks, n) powers.
    """
    if method == "pallas":
        if keep:
            raise ValueError("method 'pallas' returns sums only: choose 'dense' to keep each device's power")
        from emulator.kernels.device_power_pallas import pallas_device_power  # experimental in JAX

        args = settings, devices, state, drive, first_tick
        return pallas_device_power(dense_device_power, interpret, switches, *args)
    if method is None:
        method = "blocked" if jax.default_backend() == "cpu" else "dense"
    if method == "blocked" and not keep:
        return blocked_device_power(switches, settings, devices, state, drive, first_tick)
    return dense_device_power(switches, settings, devices, state, drive, first_tick, keep)


def dense_device_power(
    switches: Switches,
    settings: Settings,
    devices: Devices,
    state: State,
    drive: Drive,
    first_tick: jax.Array,
    keep: bool,
) -> tuple[State, jax.Array]:
    """The definition, written out: every device, every event, every tick."""
    at = jnp.arange(drive.common.shape[0], dtype=jnp.int32)

    def one(state: State, xs: tuple[jax.Array, ...]) -> tuple[State, jax.Array]:
        n, common, cap, poll = xs
        target = tick_means(drive, n)
        own = innovations(settings, devices.key, first_tick + n) if switches.own else ABSENT
        state, power, demand = device_tick(switches, settings, devices.gain, state, target, common, own, cap, poll)
        if keep:
            return state, power
        return state, jnp.stack([jnp.sum(devices.weight * power), jnp.sum(devices.weight * demand)])

    return jax.lax.scan(one, state, (at, drive.common, drive.cap, drive.poll))
