"""Multi-mass generator shafts: how an area's electrical power twists them. Angles in electrical rad, torques per unit.

    2 H_k d(w_k)/dt = T_k - K_{k-1} (th_k - th_{k-1}) - K_k (th_k - th_{k+1}) - D_k w_k,   d(th_k)/dt = w0 w_k
Reference: IEEE First Benchmark Model, IEEE Trans. PAS 96(5):1565, 1977; Kundur, 1994, sec. 15.1.

One way: the grid twists the shaft, the shaft does not move the grid. Only what twists is kept, differences from one
mass to the next: the shaft as a whole follows its area. Linear, therefore stepped exactly, whatever the tick: a power
that is constant within the tick gives the exact twist at its end. Torques are deviations from those of the start.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import expm

from emulator.struct import quantity, struct


@struct
class ShaftParams:
    """One shaft, discretised: twist and speed difference of each section after a tick from those before it."""

    transition: jax.Array = quantity("1", "2 sections, 2 sections")
    drive: jax.Array = quantity("1", "2 sections", "by one pu of electrical power at the generator")
    stiffness_pu: jax.Array = quantity("pu/rad", "sections")
    coupling: jax.Array = quantity("1", "", "share of the area's change of power that the generator sees")
    rated_mva: jax.Array = quantity("MVA")


def state_matrix(
    inertia_s: Sequence[float],
    stiffness_pu: Sequence[float],
    damping_pu: Sequence[float],
    generator: int,
    frequency_hz: float,
) -> tuple[np.ndarray, np.ndarray]:
    """dx/dt = A x + b p, x = (twists in rad, speed differences in pu), p = electrical power of the generator in pu.

    Speeds of the masses relative to their centre of inertia, on which D acts, follow from the differences.
    """
    masses, sections = len(inertia_s), len(inertia_s) - 1
    inverse = np.diag(0.5 / np.asarray(inertia_s))
    apart = np.eye(sections, masses) - np.eye(sections, masses, 1)  # from values of masses to differences
    weighted = np.vstack([apart, np.asarray(inertia_s) / np.sum(inertia_s)])
    speeds = np.linalg.inv(weighted)[:, :sections]  # from differences to values about the centre of inertia
    torque = -apart.T * np.asarray(stiffness_pu)  # of the sections' twists on the masses
    load = np.zeros(masses)
    load[generator] = -1.0
    a = np.zeros((2 * sections, 2 * sections))
    a[:sections, sections:] = 2.0 * np.pi * frequency_hz * np.eye(sections)
    a[sections:, :sections] = apart @ inverse @ torque
    a[sections:, sections:] = -apart @ inverse @ np.diag(damping_pu) @ speeds
    return a, np.concatenate([np.zeros(sections), apart @ inverse @ load])


def discretised(a: np.ndarray, b: np.ndarray, dt_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Transition and drive over a tick of constant power. Reference: Van Loan, IEEE Trans. Autom. Control 23, 1978."""
    size = len(b)
    whole = np.zeros((size + 1, size + 1))
    whole[:size, :size], whole[:size, size] = a, b
    grown = expm(whole * dt_s)
    return grown[:size, :size], grown[:size, size]


def step(params: ShaftParams, twist: jax.Array, area_mw: jax.Array) -> jax.Array:
    """(2 sections,) state after a tick in which the area's electrical power is `area_mw` above that of the start."""
    power_pu = params.coupling * area_mw / params.rated_mva
    return jnp.sum(params.transition * twist[None, :], axis=1) + params.drive * power_pu


def torque_pu(params: ShaftParams, twist: jax.Array) -> jax.Array:
    """(sections,) change of torque since the start; positive where the first mass of the section runs ahead."""
    return params.stiffness_pu * twist[: params.stiffness_pu.shape[0]]
