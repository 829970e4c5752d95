"""Nonlinear least squares, and what its optimum says: errors of the parameters, and what the data leave open.

Residuals of a recording are correlated in time. The covariance is therefore the sandwich
    C = (J'J)^-1 S (J'J)^-1,  S = long-run covariance of the scores J_t r_t,
S with Bartlett's weights over a given bandwidth. Reference: Newey & West, Econometrica 55:703, 1987.
Coordinates are such that a step of one means as much for each parameter (`fit_problem`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import qr
from scipy.optimize import least_squares

NULL = 1e-7  # singular value over the largest below which a direction leaves no trace: float64 slopes carry 1e-10
OPEN = 0.5  # s.d. along a direction beyond which it counts as not identified: half the bounds' half width, or half an e
NAMED = 0.02  # share of a direction's largest component below which a parameter is not named with it
LAGS = 8  # bandwidth over the integrated correlation time: its bias is one over this


@dataclass(frozen=True)
class Solution:
    """A local optimum, or the best point so far."""

    place: np.ndarray  # (coordinates,)
    residual: np.ndarray  # (rows,)
    jacobian: np.ndarray  # (rows, coordinates)
    evaluations: int
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

    covariance: np.ndarray  # (coordinates, coordinates), of what is identified
    open: tuple[Direction, ...]
    bandwidth_rows: int

    def deviation(self) -> np.ndarray:
        """(coordinates,) s.d.; NaN for those that take part in an open direction."""
        variance = np.diag(self.covariance).copy()
        for direction in self.open:
            variance[part_of(direction)] = np.nan
        return np.sqrt(variance)


def part_of(direction: Direction) -> np.ndarray:
    """(coordinates,) which of them a direction names."""
    size = np.abs(direction.step)
    return size >= NAMED * size.max()


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
    message, evaluations, complete = "", 0, True
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
        place, evaluations = found.x, int(found.nfev)
        message = "" if found.status > 0 else f"stopped after {evaluations} evaluations, not converged"
    except KeyboardInterrupt:
        if not best:
            raise
        place, message, complete = best[0][1], "interrupted", False
    return Solution(place, residual(place), jacobian(place), evaluations, message, complete)


def long_run(scores: np.ndarray, bandwidth: int) -> np.ndarray:
    """(n, n) sum over all pairs of rows of the products of (rows, n) scores, with weights 1 - lag/bandwidth.

    Written as sums over blocks of `bandwidth` rows at every place: their products carry just these weights.
    """
    padded = np.concatenate([np.zeros((1, scores.shape[1])), np.cumsum(scores, axis=0)])
    padded = np.pad(padded, ((bandwidth - 1, bandwidth - 1), (0, 0)), mode="edge")
    blocks = padded[bandwidth:] - padded[:-bandwidth]
    return blocks.T @ blocks / bandwidth


def autocorrelation(values: np.ndarray) -> np.ndarray:
    """(rows,) coefficients by lag, products summed over the rows that there are; all 0 for a constant."""
    rows = len(values)
    power = np.abs(np.fft.rfft(values - values.mean(), 2 * rows)) ** 2
    products = np.fft.irfft(power)[:rows]
    return products / products[0] if products[0] > 0.0 else np.zeros(rows)


def bandwidth_of(residual: np.ndarray) -> int:
    """Bartlett bandwidth in rows: LAGS times the residual's integrated correlation time, up to a fifth of the rows."""
    rows, correlation = len(residual), autocorrelation(residual)
    end = int(np.argmax(correlation < 0.0)) or rows
    return int(np.clip(LAGS * (0.5 + correlation[1:end].sum()), 1, max(1, rows // 5)))


def information(solution: Solution, moving: np.ndarray, bandwidth: int) -> Information:
    """Errors and open directions at an optimum of those coordinates that no bound holds, (coordinates,) bool."""
    jacobian = np.where(moving[None, :], solution.jacobian, 0.0)
    influence = np.linalg.norm(jacobian, axis=0)
    mute = influence <= NULL * influence.max(initial=0.0)
    _, size, turn = np.linalg.svd(np.where(mute, 0.0, jacobian), full_matrices=False)
    seen = size > NULL * size.max(initial=0.0)
    scores = long_run(jacobian * solution.residual[:, None], bandwidth)
    inverse = np.where(seen, 1.0 / np.where(seen, size, 1.0) ** 2, 0.0)
    rows = len(solution.residual)
    free = rows / max(rows - int(seen.sum()), 1)
    spectral = free * inverse[:, None] * (turn @ scores @ turn.T) * inverse[None, :]  # along the directions
    deviation = np.sqrt(np.diag(spectral))
    fixed = seen & (deviation < OPEN)
    kept = np.where(fixed[:, None] & fixed[None, :], spectral, 0.0)
    every = np.eye(len(mute))
    none = [Direction(every[k], np.inf) for k in np.flatnonzero(mute & moving)]
    traded = [Direction(_upright(step), np.inf) for step in _legible(turn[~seen], ~mute)]
    loose = [Direction(_upright(turn[k]), float(deviation[k])) for k in np.flatnonzero(seen & ~fixed)]
    return Information(turn.T @ kept @ turn, (*none, *traded, *loose), bandwidth)


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
