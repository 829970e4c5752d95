"""Nonlinear least squares, and what its optimum says: errors of the parameters, and what the data leave open.

Residuals of a recording are correlated in time: errors take them as noise of a kind that is found along (`fit_noise`),
or as anything within groups of rows (`fit_errors`). Coordinates are such that a step of one means as much for each
parameter (`fit_problem`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import qr
from scipy.optimize import least_squares

from emulator.fit_errors import Spread
from emulator.units import counted

NULL = 1e-7  # singular value over the largest below which a direction leaves no trace: float64 slopes carry 1e-10
OPEN = 0.5  # s.d. along a direction beyond which it counts as not identified: half the bounds' half width, or half an e
NAMED = 0.02  # share of a direction's largest component below which a parameter is not named with it
MAIN = 0.5  # likewise, where the direction leaves a trace: the others' errors contain it


@dataclass(frozen=True)
class Solution:
    """A local optimum, or the best point so far."""

    place: np.ndarray  # (coordinates,)
    residual: np.ndarray  # (rows,)
    jacobian: np.ndarray  # (rows, coordinates)
    message: str  # "" where it converged
    complete: bool = True  # False where Ctrl-C ended it


@dataclass(frozen=True)
class Direction:
    """A change of several coordinates together that the data do not fix."""

    step: np.ndarray  # (coordinates,) of length 1, largest component positive
    deviation: float  # s.d. along it; infinite where it leaves no trace


@dataclass(frozen=True)
class Information:
    """What the optimum says."""

    covariance: np.ndarray  # (coordinates, coordinates), of all that leaves a trace
    freedom: np.ndarray  # (coordinates,) degrees of freedom of its diagonal
    open: tuple[Direction, ...]

    def deviation(self) -> np.ndarray:
        """(coordinates,) s.d.; NaN for those that are not identified."""
        found = np.sqrt(np.diag(self.covariance))
        found[found >= OPEN] = np.nan
        for direction in self.open:
            found[part_of(direction)] = np.nan
        return found


def part_of(direction: Direction) -> np.ndarray:
    """(coordinates,) which of them a direction names."""
    size = np.abs(direction.step)
    return size >= (NAMED if np.isinf(direction.deviation) else MAIN) * size.max()


def solve(
    residual: Callable[[np.ndarray], np.ndarray],
    jacobian: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
    most_evaluations: int,
    progress: Callable[[float], object],
    gain: float = 1e-8,
) -> Solution:
    """Smallest sum of squares within bounds, by scipy's trust-region reflective method from a start.

    Args:
      gain: relative decrease of the sum below which it has converged.
      progress: is told the root mean square after every evaluation.
    """
    best: list[tuple[float, np.ndarray]] = []

    def watched(place: np.ndarray) -> np.ndarray:
        found = residual(place)
        size = float(np.sqrt(np.mean(found**2)))
        if not best or size < best[0][0]:
            best[:] = [(size, place.copy())]
        progress(size)
        return found

    low, high = bounds
    inside = np.clip(start, low + 1e-6 * (high - low), high - 1e-6 * (high - low))  # scipy starts inside
    try:
        found = least_squares(
            watched,
            inside,
            jacobian,  # pyright: ignore[reportArgumentType]  its stubs know of names only
            (low, high),
            ftol=gain,
            xtol=1e-8,
            gtol=1e-12,
            max_nfev=most_evaluations,
        )
    except KeyboardInterrupt:
        if not best:
            raise
        place = best[0][1]
        return Solution(place, residual(place), jacobian(place), "interrupted", False)
    message = "" if found.status > 0 else f"stopped after {counted(found.nfev, 'evaluation')}, not converged"
    return Solution(found.x, found.fun, found.jac, message)


def information(
    solution: Solution, moving: np.ndarray, spread: Callable[[np.ndarray, np.ndarray], Spread]
) -> Information:
    """Errors and open directions at an optimum.

    A variance v whose own s.d. is u has as many degrees of freedom as a mean of squares with that, 2 (v/u)^2
    (Satterthwaite, Biometrics Bull. 2:110, 1946).

    Args:
      moving: (coordinates,) bool, those that no bound holds.
      spread: of (rows, directions) orthonormal slopes and (rows,) residuals.
    """
    jacobian = np.where(moving[None, :], solution.jacobian, 0.0)
    influence = np.linalg.norm(jacobian, axis=0)
    mute = influence <= NULL * influence.max(initial=0.0)
    basis, size, turn = np.linalg.svd(np.where(mute, 0.0, jacobian), full_matrices=False)
    seen = size > NULL * size.max(initial=0.0)
    change = turn[seen] / size[seen, None]  # of coordinates, per step along the basis
    along = spread(basis[:, seen], solution.residual)
    deviation = np.sqrt(np.diag(along.covariance)) / size[seen]
    every = np.eye(len(mute))
    none = [Direction(every[k], np.inf) for k in np.flatnonzero(mute & moving)]
    traded = [Direction(_upright(step), np.inf) for step in _legible(turn[~seen], ~mute)]
    loose = [Direction(_upright(turn[seen][k]), float(deviation[k])) for k in np.flatnonzero(deviation >= OPEN)]
    covariance, unsure = change.T @ along.covariance @ change, change.T @ along.unsure @ change
    variance, unsure_of = np.diag(covariance), (np.einsum("nkk->nk", unsure) ** 2).sum(axis=0)
    freedom = np.full(len(variance), np.inf)
    np.divide(2.0 * variance**2, unsure_of, out=freedom, where=unsure_of > 0.0)
    return Information(covariance, freedom, (*none, *traded, *loose))


def _upright(step: np.ndarray) -> np.ndarray:
    size = np.abs(step)
    return step * np.sign(step[np.argmax(size > 0.999 * size.max())])


def _legible(basis: np.ndarray, where: np.ndarray) -> np.ndarray:
    """(directions, coordinates) that span the same space, within the coordinates `where`, each with a coordinate of its
    own that no other has part in."""
    real = basis[np.linalg.norm(basis[:, where], axis=1) > 0.5]  # the others are those of mute coordinates
    if not len(real):
        return real
    *_, order = qr(real, mode="economic", pivoting=True)
    rows = np.linalg.solve(real[:, order[: len(real)]], real)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
