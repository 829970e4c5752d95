"""Reserves of an area besides its governors: inverters with fast frequency response, and automatic generation control.

Power positive = into the grid. Per unit on each fleet's power; orders of the AGC in MW.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.blocks import deadband
from emulator.struct import quantity, struct


@struct
class InverterParams:
    """Fleets of inverters, at most one an area.

    T_m dw_m/dt = w - w_m;   T_r dp/dt = sat(-2 H (w - w_m)/T_m - deadband(w_m)/R) - p,   |sat| <= 1
    Synthetic inertia acts on the measured rate of change, droop on the measured deviation beyond the dead-band.
    Reference: ENTSO-E, Need for synthetic inertia, 2018; structure as REPC/REEC frequency control, WECC 2019 [M].
    """

    power_mw: jax.Array = quantity("MW", "inverters", "limit either way")
    inertia_s: jax.Array = quantity("s", "inverters", "synthetic, on power_mw")
    gain_pu: jax.Array = quantity("pu", "inverters", "1/R; 0 = no droop")
    deadband_pu: jax.Array = quantity("pu", "inverters")
    measurement_s: jax.Array = quantity("s", "inverters")
    response_s: jax.Array = quantity("s", "inverters")


@struct
class InverterState:
    measured_pu: jax.Array = quantity("pu", "inverters")
    power_pu: jax.Array = quantity("pu", "inverters")


def inverter_slope(params: InverterParams, speed_pu: jax.Array, x: InverterState) -> InverterState:
    """Rates of the states, 1/s."""
    rate = (speed_pu - x.measured_pu) / params.measurement_s
    droop = params.gain_pu * deadband(x.measured_pu, params.deadband_pu)
    target = jnp.clip(-2.0 * params.inertia_s * rate - droop, -1.0, 1.0)
    return InverterState(measured_pu=rate, power_pu=(target - x.power_pu) / params.response_s)


@struct
class AgcParams:
    """Automatic generation control of areas that have it.

    ACE = dP_export + B df;   order = -(K_p ACE + K_i sum of ACE), sampled once a cycle, limited in size and rate.
    Reference: Kundur, 1994, sec. 11.1.6; NERC BAL-001 (there with -10 B in MW per 0.1 Hz).
    """

    bias_mw_per_hz: jax.Array = quantity("MW/Hz", "agcs")
    proportional_gain: jax.Array = quantity("1", "agcs")
    integral_gain_per_s: jax.Array = quantity("1/s", "agcs")
    cycle_s: jax.Array = quantity("s", "agcs")
    reserve_mw: jax.Array = quantity("MW", "agcs", "largest order either way")
    ramp_mw_per_s: jax.Array = quantity("MW/s", "agcs", "infinite = no limit")


@struct
class AgcState:
    integral_mw: jax.Array = quantity("MW", "agcs")
    order_mw: jax.Array = quantity("MW", "agcs")


def agc_step(
    cycle_ticks: tuple[int, ...],
    params: AgcParams,
    state: AgcState,
    tick: jax.Array,
    exports_mw: jax.Array,
    deviation_hz: jax.Array,
) -> AgcState:
    """State after a tick: a new order at the end of each cycle, held in between.

    Anti-windup: the integral stops while the order is at its size limit and the error would drive it further out.

    Args:
      tick: int32.
      exports_mw, deviation_hz: (agcs,) deviations of net exports and frequency.
    """
    due = (tick + 1) % jnp.asarray(cycle_ticks, jnp.int32) == 0
    error_mw = exports_mw + params.bias_mw_per_hz * deviation_hz
    integral = state.integral_mw - params.integral_gain_per_s * params.cycle_s * error_mw
    wanted = integral - params.proportional_gain * error_mw
    outwards = (jnp.abs(wanted) > params.reserve_mw) & (wanted * error_mw < 0.0)
    integral = jnp.where(outwards, state.integral_mw, integral)
    order = jnp.clip(wanted, -params.reserve_mw, params.reserve_mw)
    # As a rate: an infinite limit times the cycle would have no gradient.
    rate = jnp.clip((order - state.order_mw) / params.cycle_s, -params.ramp_mw_per_s, params.ramp_mw_per_s)
    order = state.order_mw + rate * params.cycle_s
    return AgcState(
        integral_mw=jnp.where(due, integral, state.integral_mw), order_mw=jnp.where(due, order, state.order_mw)
    )
