"""Hydro turbines: model hygov.

Deviations from the operating point, per unit on the governed share; see governor.py for what all models share.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from emulator.grid.limits import non_windup
from emulator.struct import quantity, struct


@struct
class HygovParams:
    """Hydro turbine: PI with permanent droop R and temporary droop r, gate servo, water column.

    Tf de/dt = n - w - R c - e;  dc/dt = (e/Tr + de/dt)/r, limited in rate and position;  Tg dg/dt = c - g;
    Tw dq/dt = 1 - h,  h = (q/g)^2;  Pm = At h (q - qNL) - Dturb g w.   Reference: IEEE PES-TR1 (2013), HYGOV.
    """

    share: jax.Array = quantity("1", "governors")
    deadband_pu: jax.Array = quantity("pu", "governors")
    droop_pu: jax.Array = quantity("pu", "governors")
    temporary_droop_pu: jax.Array = quantity("pu", "governors")
    tr_s: jax.Array = quantity("s", "governors")
    tf_s: jax.Array = quantity("s", "governors")
    tg_s: jax.Array = quantity("s", "governors")
    velm_pu_per_s: jax.Array = quantity("pu/s", "governors")
    gmin_pu: jax.Array = quantity("pu", "governors", "total gate")
    gmax_pu: jax.Array = quantity("pu", "governors", "total gate")
    tw_s: jax.Array = quantity("s", "governors")
    at: jax.Array = quantity("1", "governors")
    dturb_pu: jax.Array = quantity("pu", "governors")
    qnl_pu: jax.Array = quantity("pu", "governors")


@struct
class HygovState:
    filter_pu: jax.Array = quantity("pu", "governors")
    desired_pu: jax.Array = quantity("pu", "governors", "gate")
    gate_pu: jax.Array = quantity("pu", "governors")
    flow_pu: jax.Array = quantity("pu", "governors")


def hygov_slope(p: HygovParams, speed: jax.Array, order: jax.Array, operating: jax.Array, x: HygovState) -> HygovState:
    """Rates, pu/s; speed behind its dead-band. An order of power is one of gate / At."""
    error = p.droop_pu * (order / p.at - x.desired_pu) - speed
    filtered = (error - x.filter_pu) / p.tf_s
    rate = (x.filter_pu / p.tr_s + filtered) / p.temporary_droop_pu
    rate = jnp.clip(rate, -p.velm_pu_per_s, p.velm_pu_per_s)
    gate = initial_gate(p, operating)
    return HygovState(
        filtered,
        non_windup(rate, x.desired_pu, p.gmin_pu - gate, p.gmax_pu - gate),
        (x.desired_pu - x.gate_pu) / p.tg_s,
        -_head_change(p, operating, x) / p.tw_s,
    )


def hygov_power(p: HygovParams, speed: jax.Array, operating: jax.Array, x: HygovState) -> jax.Array:
    """At (h (q - qNL) - (q0 - qNL)) - Dturb g w; the dead-band does not act on the damping."""
    gate = initial_gate(p, operating)
    flowing = gate + x.flow_pu - p.qnl_pu
    power = p.at * (_head_change(p, operating, x) * flowing + x.flow_pu)
    return power - p.dturb_pu * (gate + x.gate_pu) * speed


def initial_gate(p: HygovParams, operating: jax.Array) -> jax.Array:
    """Gate, and flow, that carry the operating point at a head of 1."""
    return operating / p.at + p.qnl_pu


def _head_change(p: HygovParams, operating: jax.Array, x: HygovState) -> jax.Array:
    """h - 1 = (q/g)^2 - 1, without the cancellation."""
    gate = initial_gate(p, operating)
    opening = gate + x.gate_pu
    return (x.flow_pu - x.gate_pu) * (2.0 * gate + x.flow_pu + x.gate_pu) / opening**2
