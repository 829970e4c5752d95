"""Battery controllers: from site load and area frequency to the order for the battery. Discharge positive, MW.

Load-following controllers compute the power that the grid is meant to see and order the battery to carry the rest;
`preview` and `mpc` do so ahead of time. Droop and virtual inertia respond to frequency. A `composite` adds up the
orders of its stages. All start settled at the first tick's load. None integrates its own error, so nothing winds up
while the battery is at a limit. Restoring the state of charge is the same for all and lies in `storage`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from emulator.bess import band_stop, lqr, mpc, neural, preview
from emulator.bess.battery import BatteryState
from emulator.blocks import Compensated, compensated, compensated_add, deadband, lag_gain
from emulator.struct import quantity, static, struct

Kind = TypeVar("Kind")


class Measured(NamedTuple):
    """Inputs of a controller in a tick."""

    load_mw: jax.Array  # the site's consumption before the battery, tick mean, as measured
    speed_pu: jax.Array  # speed deviation of its area at the tick's start, as measured; 0 on an infinite grid
    soc_error: jax.Array  # state of charge less that at the start
    rated_mw: jax.Array  # of all batteries
    energy_mwh: jax.Array  # of all batteries
    battery: BatteryState  # the main one
    iteration_starts: jax.Array  # (planned jobs,) whether an iteration begins in the tick
    grid_states: jax.Array  # (grid states,) for a controller that feeds them back


class Controller(ABC):
    """Base of a controller of one's own, in JAX: a pytree of its numbers, such as the weights of a network.

    `docs/python.md` has an example. Its state is any pytree of arrays, of the same shapes and types in every tick.
    """

    soc_gain: jax.Array | float = 0.0  # share of rated power per unit of SOC error that restoration adds to its order

    @abstractmethod
    def initial(self, load_mw: jax.Array, rated_mw: jax.Array) -> Any:
        """State before the first tick, settled under the load of that tick, of all batteries' rated power."""

    @abstractmethod
    def command(self, state: Any, measured: Measured, tick: jax.Array, dt_s: float) -> tuple[Any, jax.Array]:
        """State after the tick and the order in it, MW, discharge positive; tick: int32, of dt_s each, in which the
        controller acts."""


@struct
class ControllerLayout:
    """Lengths of ring buffers and horizons; 0 where the kind of controller has none."""

    window_ticks: int = static()  # of a moving average; period of repetitive control and mpc
    lead_ticks: int = static()  # from an order to its effect
    step_ticks: int = static()  # mpc: length of a step of the horizon
    steps: int = static()  # mpc: steps of the horizon
    iterations: int = static()  # mpc: of the solver
    stages: tuple[ControllerLayout, ...] = static()


@struct
class LowPassParams:
    """y' = 2 pi f_c (u - y). Value and tick mean are exact, so energy does not depend on the tick."""

    cutoff_hz: jax.Array = quantity("Hz")
    soc_gain: jax.Array = quantity("1", "", "share of rated power per unit of SOC error")


@struct
class RampLimitParams:
    """y follows the load at no more than the rate."""

    ramp_mw_per_s: jax.Array = quantity("MW/s")
    soc_gain: jax.Array = quantity("1", "", "share of rated power per unit of SOC error")


@struct
class MovingAverageParams:
    """Mean of the load over the window that ends with this tick: gain sinc(f T), zero at every multiple of 1/T."""

    soc_gain: jax.Array = quantity("1", "", "share of rated power per unit of SOC error")


@struct
class ExpandingMeanParams:
    """Mean of the load since the start. Reference: arXiv 2508.14318, Figure 7 (read off the figure)."""

    soc_gain: jax.Array = quantity("1", "", "share of rated power per unit of SOC error")


@struct
class DroopParams:
    """P = -deadband(w)/R: proportional to the speed deviation beyond the dead-band."""

    gain_pu: jax.Array = quantity("pu", "", "1/R")
    deadband_pu: jax.Array = quantity("pu")
    soc_gain: jax.Array = quantity("1", "", "share of rated power per unit of SOC error")


@struct
class VirtualInertiaParams:
    """P = -2 H w s/(1 + T s): rate of change of frequency behind a lag; exact for a speed held in each tick."""

    inertia_s: jax.Array = quantity("s")
    filter_s: jax.Array = quantity("s")
    soc_gain: jax.Array = quantity("1", "", "share of rated power per unit of SOC error")


@struct
class CompositeParams:
    """The sum of its stages' orders."""

    stages: tuple[ControllerParams, ...] = quantity("")


ControllerParams = (
    LowPassParams
    | RampLimitParams
    | MovingAverageParams
    | ExpandingMeanParams
    | DroopParams
    | VirtualInertiaParams
    | neural.NeuralParams
    | band_stop.BandStopParams
    | preview.FeedForwardParams
    | preview.RepetitiveParams
    | lqr.LqrParams
    | mpc.MpcParams
    | CompositeParams
    | Controller
)


@struct
class FollowerState:
    towards_grid_mw: Compensated[jax.Array] = quantity("MW", "", "power that the grid is meant to see")


@struct
class WindowState:
    sum_mw: Compensated[jax.Array] = quantity("MW", "", "of the ring, less first_mw times its length")
    first_mw: jax.Array = quantity("MW", "", "load of the first tick")
    pending_mw: jax.Array = quantity("MW", "window ticks", "loads, a ring buffer indexed by tick")
    oldest_mw: jax.Array = quantity("MW", "", "the load that leaves the window in the next tick")


@struct
class SpeedState:
    filtered_pu: jax.Array = quantity("pu")


@struct
class CompositeState:
    stages: tuple[ControllerState, ...] = quantity("")


ControllerState = (
    FollowerState
    | WindowState
    | SpeedState
    | neural.NeuralState
    | band_stop.BandStopState
    | preview.FeedForwardState
    | preview.RepetitiveState
    | lqr.LqrState
    | mpc.MpcState
    | CompositeState
    | None
)


def initial(
    layout: ControllerLayout, params: ControllerParams, load_mw: jax.Array, rated_mw: jax.Array
) -> ControllerState:
    """Settled under a load that has always been there, at nominal speed."""
    match params:
        case Controller():
            return params.initial(load_mw, rated_mw)
        case LowPassParams() | RampLimitParams() | ExpandingMeanParams():
            return FollowerState(compensated(load_mw))
        case MovingAverageParams():
            ring = jnp.broadcast_to(load_mw, (layout.window_ticks,))
            return WindowState(
                sum_mw=compensated(jnp.zeros_like(load_mw)), first_mw=load_mw, pending_mw=ring, oldest_mw=load_mw
            )
        case DroopParams():
            return None
        case VirtualInertiaParams():
            return SpeedState(jnp.zeros_like(load_mw))
        case neural.NeuralParams():
            return neural.initial(load_mw / rated_mw)
        case band_stop.BandStopParams():
            return band_stop.initial(params, load_mw)
        case preview.FeedForwardParams():
            return preview.feed_forward_at_rest(params, load_mw)
        case preview.RepetitiveParams():
            return preview.repetitive_at_rest(layout.window_ticks, load_mw)
        case lqr.LqrParams():
            return lqr.initial(load_mw)
        case mpc.MpcParams():
            return mpc.initial(layout.window_ticks, layout.steps, load_mw)
        case CompositeParams():
            pairs = zip(layout.stages, params.stages, strict=True)
            return CompositeState(tuple(initial(at, p, load_mw, rated_mw) for at, p in pairs))


def command(
    layout: ControllerLayout,
    params: ControllerParams,
    state: ControllerState,
    measured: Measured,
    tick: jax.Array,
    dt_s: float,
) -> tuple[ControllerState, jax.Array]:
    """State after the tick and the order in it, which may be more than the battery can do; tick: int32."""
    load_mw, speed_pu = measured.load_mw, measured.speed_pu
    match params:
        case Controller():
            return params.command(state, measured, tick, dt_s)
        case CompositeParams():
            done = [
                command(at, p, s, measured, tick, dt_s)
                for at, p, s in zip(layout.stages, params.stages, _typed(CompositeState, state).stages, strict=True)
            ]
            return CompositeState(tuple(s for s, _ in done)), sum((o for _, o in done), jnp.zeros_like(load_mw))
        case LowPassParams() | RampLimitParams() | ExpandingMeanParams():
            towards_grid, grid_mw = follow(params, _typed(FollowerState, state).towards_grid_mw, load_mw, tick, dt_s)
            return FollowerState(towards_grid), load_mw - grid_mw
        case MovingAverageParams():
            return _windowed(_typed(WindowState, state), load_mw, tick)
        case DroopParams():
            return None, -params.gain_pu * deadband(speed_pu, params.deadband_pu) * measured.rated_mw
        case VirtualInertiaParams():
            error = speed_pu - (filtered := _typed(SpeedState, state).filtered_pu)
            after = SpeedState(filtered + lag_gain(params.filter_s, dt_s) * error)
            return after, -2.0 * params.inertia_s * error / params.filter_s * measured.rated_mw
        case neural.NeuralParams():
            its = _typed(neural.NeuralState, state)
            after, share = neural.step(params, its, load_mw / measured.rated_mw, speed_pu, measured.soc_error, dt_s)
            return after, share * measured.rated_mw
        case band_stop.BandStopParams():
            return band_stop.step(params, _typed(band_stop.BandStopState, state), load_mw, dt_s)
        case preview.FeedForwardParams():
            its = _typed(preview.FeedForwardState, state)
            return preview.feed_forward(params, its, load_mw, measured.iteration_starts, layout.lead_ticks, dt_s)
        case preview.RepetitiveParams():
            its = _typed(preview.RepetitiveState, state)
            return preview.repetitive(params, its, load_mw, tick, layout.lead_ticks, dt_s)
        case lqr.LqrParams():
            its = _typed(lqr.LqrState, state)
            return lqr.step(
                params, its, load_mw, measured.grid_states, measured.battery, measured.soc_error, tick, dt_s
            )
        case mpc.MpcParams():
            its, at = _typed(mpc.MpcState, state), layout
            off_mwh, sizes = measured.soc_error * measured.energy_mwh, (at.lead_ticks, at.step_ticks, at.iterations)
            return mpc.step(params, its, load_mw, off_mwh, measured.rated_mw, tick, *sizes, dt_s)


def _typed(kind: type[Kind], state: ControllerState) -> Kind:
    """The state, if it is of the kind that the controller's parameters need; else TypeError."""
    if not isinstance(state, kind):
        raise TypeError(f"{type(state).__name__} is no {kind.__name__}")
    return state


def soc_gain(params: ControllerParams) -> jax.Array | float:
    """Share of rated power per unit of SOC error, of all stages together."""
    if isinstance(params, CompositeParams):
        gains = [soc_gain(stage) for stage in params.stages]
        return sum(gains[1:], gains[0])
    return params.soc_gain


def follow(
    params: LowPassParams | RampLimitParams | ExpandingMeanParams,
    towards_grid: Compensated[jax.Array],
    load_mw: jax.Array,
    tick: jax.Array,
    dt_s: float,
) -> tuple[Compensated[jax.Array], jax.Array]:
    """Power that the grid is meant to see: at the end of a tick of constant load, and its mean over the tick, MW."""
    error_mw = load_mw - towards_grid.value
    match params:
        case LowPassParams():
            turn = 2.0 * jnp.pi * params.cutoff_hz * dt_s
            gain = -jnp.expm1(-turn)
            return compensated_add(towards_grid, gain * error_mw), load_mw - gain / turn * error_mw
        case RampLimitParams():
            most_mw = params.ramp_mw_per_s * dt_s
            step_mw = jnp.clip(error_mw, -most_mw, most_mw)
            return compensated_add(towards_grid, step_mw), towards_grid.value + 0.5 * step_mw
        case ExpandingMeanParams():
            mean = compensated_add(towards_grid, error_mw / (tick + 1).astype(error_mw.dtype))
            return mean, mean.value


def _windowed(state: WindowState, load_mw: jax.Array, tick: jax.Array) -> tuple[WindowState, jax.Array]:
    """Moving average, as a sum of differences from the first load: a constant load then gives an order of exactly 0."""
    size = state.pending_mw.shape[0]
    total = compensated_add(state.sum_mw, load_mw - state.oldest_mw)
    # The next tick's value is read after the write: read before it, XLA would copy the whole ring in every tick.
    ring = state.pending_mw.at[tick % size].set(load_mw)
    after = WindowState(total, first_mw=state.first_mw, pending_mw=ring, oldest_mw=ring[(tick + 1) % size])
    return after, load_mw - state.first_mw - total.value / size
