"""Modes of the linearised plant, who takes part in them, and the response from a load's swing to the grid.

The map from tick to tick is what runs, so a mode is an eigenvalue mu of its matrix: s = ln(mu)/dt.
Phases of the response refer to rows of a trace: of a swing of tick means, powers answer as means over the same tick,
states (frequency, tie flow, torque) as they are at its start, half a tick before the middle that the mean stands for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import eig, schur

from emulator.linearise import Linear, Where, linearised
from emulator.plant import Layout, Params

ALIKE = 1e-9  # eigenvalues no further apart count as one with several directions
INTEGRATOR_S = 1e6  # time constants beyond it count as none: an integrator; rounding gives 1e8 to 1e9 s
FADED = 0.1  # what is left of a delay's own mode once the delay is over
LIGHT = 0.1  # damping ratio below which a mode is worth avoiding
LEAST_FACTOR = 0.01  # participation worth listing
SWINGS_HZ = (0.1, 2.0)  # inter-area and local modes. Reference: Kundur, 1994, sec. 12.1


@dataclass(frozen=True)
class Mode:
    """An eigenvalue, or a pair of conjugate ones, above zero frequency."""

    frequency_hz: float  # |Im s| / 2 pi; 0 where it does not oscillate
    damping_ratio: float  # -Re s / |s|; 1 where it does not oscillate, negative where it grows
    time_constant_s: float  # -1 / Re s; negative where it grows
    participation: tuple[tuple[str, float], ...]  # states and their shares of the sum over all, largest first
    mu: complex


@dataclass(frozen=True)
class Modes:
    """All that the matrix holds: modes by frequency and time constant, and what is none."""

    modes: tuple[Mode, ...]
    integrators: tuple[str, ...]  # the state with the largest part in each
    held: tuple[str, ...]  # states that do not change: constants, orders between two cycles, limits reached
    memory: int  # eigenvalues that are gone within a tick, or that are a delay's own


class Spectrum(NamedTuple):
    """Eigenvalues of a matrix, those that are equal in one cluster."""

    mu: np.ndarray
    cluster: np.ndarray  # of each eigenvalue
    vectors: list[tuple[np.ndarray, np.ndarray]]  # of each cluster: right and left eigenvectors, as columns


def moving(linear: Linear) -> np.ndarray:
    """(states,) true where a tick may change the state. What none does is a constant, and no mode."""
    a = np.asarray(linear.a)
    return ~((a == np.eye(len(a))).all(axis=1) & (np.asarray(linear.b) == 0.0))


def spectrum_of(a: np.ndarray) -> Spectrum:
    """Eigenvalues with right and left eigenvectors, those of equal eigenvalues together."""
    mu, right, left = _eigen(a)
    cluster = np.full(len(mu), -1)
    vectors = []
    for i in range(len(mu)):
        if cluster[i] < 0:
            its = (np.abs(mu - mu[i]) < ALIKE) & (cluster < 0)
            cluster[its] = len(vectors)
            vectors.append((right[:, its], left[:, its]))
    return Spectrum(mu, cluster, vectors)


def _eigen(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues, and right and left eigenvectors as columns."""
    mu, left, right = cast("tuple[np.ndarray, np.ndarray, np.ndarray]", eig(a, left=True))
    return mu, right, left


def projector(spectrum: Spectrum, i: int) -> np.ndarray:
    """(states, states) part of the state that moves with eigenvalue i and those equal to it: R (L^H R)^-1 L^H."""
    right, left = spectrum.vectors[spectrum.cluster[i]]
    return right @ np.linalg.pinv(left.conj().T @ right) @ left.conj().T


def _diagonal(spectrum: Spectrum, i: int) -> np.ndarray:
    """(states,) of the projector."""
    right, left = spectrum.vectors[spectrum.cluster[i]]
    return np.sum((right @ np.linalg.pinv(left.conj().T @ right)) * left.conj(), axis=1)


def modes_of(linear: Linear, dt_s: float, names: list[str], ring_lengths: list[int]) -> Modes:
    """Modes of the plant, with participation factors |p_k| / sum |p|, p_k the projector's diagonal: phi_k psi_k.

    Reference: Kundur, Power System Stability and Control, 1994, sec. 12.2 (participation factors).
    Args:
      names, ring_lengths: of each state, see `linearise`.
    """
    moves = moving(linear)
    places = np.flatnonzero(moves)
    spectrum = spectrum_of(np.asarray(linear.a)[np.ix_(moves, moves)])
    rings = np.asarray(ring_lengths)[places]
    found, integrators, memory = [], [], 0
    for i, mu in enumerate(spectrum.mu):
        if mu.imag < 0.0:
            continue
        factors = np.abs(_diagonal(spectrum, i))
        factors = factors / factors.sum() if factors.sum() > 0.0 else factors
        if _is_memory(mu, factors, rings):
            memory += 1 if mu.imag == 0.0 else 2
            continue
        s = np.log(mu) / dt_s
        shares = _shares(factors, [names[k] for k in places])
        if abs(s) < 1.0 / INTEGRATOR_S:
            integrators.append(shares[0][0])
            continue
        found.append(
            Mode(
                frequency_hz=float(abs(s.imag) / (2.0 * np.pi)),
                damping_ratio=float(-s.real / abs(s)),
                time_constant_s=float(-1.0 / s.real) if s.real else float("inf"),
                participation=tuple(shares),
                mu=complex(mu),
            )
        )
    found.sort(key=lambda mode: (mode.frequency_hz == 0.0, mode.frequency_hz, mode.time_constant_s))
    held = tuple(names[k] for k in np.flatnonzero(~moves))
    return Modes(tuple(found), tuple(integrators), held, memory)


def _is_memory(mu: complex, factors: np.ndarray, rings: np.ndarray) -> bool:
    """Gone within a tick, or a delay's own: mostly in a ring, and faded once the delay is over. A ring's eigenvalues
    are 0, as many as it has slots, which rounding scatters over a circle: they are no modes."""
    longest = int(rings.max(initial=0))
    own = longest > 0 and factors[rings > 0].sum() > 0.5 and abs(mu) ** longest < FADED
    return bool(abs(mu) < np.exp(-1.0) or own)


def _shares(factors: np.ndarray, names: list[str]) -> list[tuple[str, float]]:
    """Shares of states by name, largest first, those worth listing."""
    total: dict[str, float] = {}
    for name, factor in zip(names, factors, strict=True):
        total[name] = total.get(name, 0.0) + float(factor)
    ordered = sorted(total.items(), key=lambda item: -item[1])
    return [item for i, item in enumerate(ordered) if i == 0 or item[1] >= LEAST_FACTOR]


def response(linear: Linear, dt_s: float, frequency_hz: np.ndarray) -> np.ndarray:
    """(frequencies, outputs) complex H(f) = C (e^(2 pi i f dt) 1 - A)^-1 B + D, per MW of load."""
    moves = moving(linear)
    a = np.asarray(linear.a)[np.ix_(moves, moves)]
    b, c, d = np.asarray(linear.b)[moves], np.asarray(linear.c)[:, moves], np.asarray(linear.d)
    # Once for all frequencies, and never ill-conditioned as eigenvectors may be.
    triangular, turn = cast("tuple[np.ndarray, np.ndarray]", schur(a, output="complex"))
    z = np.exp(2.0j * np.pi * frequency_hz * dt_s)
    right, states = turn.conj().T @ b, np.zeros((len(z), len(b)), complex)
    for i in reversed(range(len(b))):
        states[:, i] = (right[i] + states[:, i + 1 :] @ triangular[i, i + 1 :]) / (z - triangular[i, i])
    return states @ (c @ turn).T + d


def calmed(
    linear: Linear, dt_s: float, modes: Modes, frequency_hz: np.ndarray, found: np.ndarray, damping_ratio: float
) -> np.ndarray:
    """The response `found` as it would be if every mode that is less damped had this damping ratio.

    A mode's part of it, (n1 s + n0)/(s^2 + 2 zeta w s + w^2), gets another zeta only: what it gives far below and far
    above its frequency stays, at w it becomes zeta / damping_ratio of itself.
    """
    moves = moving(linear)
    spectrum = spectrum_of(np.asarray(linear.a)[np.ix_(moves, moves)])
    b, c = np.asarray(linear.b)[moves], np.asarray(linear.c)[:, moves]
    z = np.exp(2.0j * np.pi * frequency_hz * dt_s)
    done: set[int] = set()
    for mode in modes.modes:
        i = int(np.argmin(np.abs(spectrum.mu - mode.mu)))
        cluster = int(spectrum.cluster[i])
        if mode.frequency_hz == 0.0 or mode.damping_ratio >= damping_ratio or cluster in done:
            continue
        done.add(cluster)
        r = c @ projector(spectrum, i) @ b
        part = r / (z[:, None] - mode.mu) + r.conj() / (z[:, None] - mode.mu.conjugate())
        s = abs(np.log(mode.mu)) * complex(-damping_ratio, np.sqrt(1.0 - damping_ratio**2))
        before, after = (_pair(z, mu) / _pair(np.ones(1), mu) for mu in (mode.mu, np.exp(s)))
        found = found + part * (before / after - 1.0)[:, None]
    return found


def _pair(z: np.ndarray, mu: complex) -> np.ndarray:
    return (z - mu) * (z - mu.conjugate())


def damping_ratio(
    layout: Layout, params: Params, job_mw: jax.Array, where: Where, directions: tuple[np.ndarray, np.ndarray]
) -> jax.Array:
    """Damping ratio of one mode, differentiable in `params`: -Re s / |s|, e^(s dt) = psi^H A phi / (psi^H phi).

    The quotient is stationary in phi and psi, so that its derivative at the eigenvectors is that of the eigenvalue
    although they are held. Reference: Kundur, 1994, sec. 12.2 (eigenvalue sensitivity); Ostrowski, Arch. Ration.
    Mech. Anal. 3:325, 1959.
    Args:
      directions: (states,) right and left eigenvector, see `directions_of`; of an eigenvalue that occurs once.
    """
    phi, psi = (jnp.asarray(vector) for vector in directions)
    a = linearised(layout, params, job_mw, where).a.astype(phi.dtype)
    s = jnp.log(psi.conj() @ a @ phi / (psi.conj() @ phi)) / layout.dt_s
    return -s.real / jnp.abs(s)


def least_damping_ratio(layout: Layout, params: Params, job_mw: jax.Array) -> jax.Array:
    """Least damping ratio of any mode between `SWINGS_HZ`, 1 where there is none; differentiable in `params`.

    By the same quotient as `damping_ratio`, the mode being found anew at each point. Runs where JAX has an eigensolver
    for any matrix: on a CPU. In float32 it is good to 1e-6 over dt_s times the mode's frequency.
    """
    a = linearised(layout, params, job_mw, Where("site", 0)).a
    mu, left, right = jax.lax.linalg.eig(jax.lax.stop_gradient(a))
    rate = jnp.log(jnp.where(jnp.abs(mu) > 0.0, mu, 1.0)) / layout.dt_s
    hz = rate.imag / (2.0 * jnp.pi)
    ratio = jnp.where((SWINGS_HZ[0] <= hz) & (hz <= SWINGS_HZ[1]), -rate.real / jnp.abs(rate), jnp.inf)
    i = jnp.argmin(ratio)
    phi, psi = right[:, i], left[:, i].conj()
    s = jnp.log(psi @ a.astype(phi.dtype) @ phi / (psi @ phi)) / layout.dt_s
    return jnp.where(jnp.isfinite(ratio[i]), -s.real / jnp.abs(s), 1.0)


def directions_of(linear: Linear, mode: Mode) -> tuple[np.ndarray, np.ndarray]:
    """(states,) right and left eigenvector of a mode."""
    mu, right, left = _eigen(np.asarray(linear.a))
    i = int(np.argmin(np.abs(mu - mode.mu)))
    return right[:, i], left[:, i]
