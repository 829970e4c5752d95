"""Noise of one event's recording, and what it makes of the errors of least squares. NumPy and SciPy.

Residuals are taken as stationary Gaussian noise (`fit_process`): white, relaxing over a time, relaxing twice or
swinging, relaxing over two unlike times; with or without white noise of a meter on top. Its numbers come from the
restricted likelihood, that of what is left whatever the fitted curve takes up (Patterson & Thompson, Biometrika 58:545,
1971; of correlated noise Cheang & Reinsel, J. Am. Stat. Assoc. 95:1173, 2000); kinds weigh by Akaike's criterion,
corrected for few rows (Hurvich & Tsai, Biometrika 76:297, 1989). The estimator's covariance is then the sandwich with
the noise's own, and how far that is known gives degrees of freedom (Kenward & Roger, Biometrics 53:983, 1997). All
costs grow with the rows only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, combinations, product

import numpy as np
from scipy.linalg import cholesky, orth, solve_triangular
from scipy.optimize import minimize
from scipy.special import softmax

from emulator.fit_errors import Spread
from emulator.fit_process import Process
from emulator.fit_solve import NULL

LEAST_TIME = 0.1  # rows: what relaxes faster is white to 5e-5
LEAST_DAMPING, MOST_DAMPING = 1e-2, 3.0  # ratios: a swing's; beyond, the faster of two times is a 34th of the other
MOST_LOGIT = 12.0  # of the white share: 6e-6 of the variance either way
DIFFERENCE = 1e-5  # for slopes of the likelihood: a curvature of 1 makes 5e-6 of it, rounding of 1e-10 another 1e-5
GAIN = 1e-3  # of the log-likelihood in a step, below which a search has converged: 0.04 s.d. of one number
LEAST_WEIGHT = 0.01  # of a noise, below which it is left out
STEP = 0.02  # for its curvature, and the covariance's slopes: 2 % of a time
TINY = np.finfo(np.float64).tiny  # variance of an exact fit, in its likelihood
LEAST_CURVATURE = 1e-3  # below which a number of the noise counts as free within 30 units of its coordinate


def _columns(basis: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """(rows, directions + 1) basis, and of the residual what is not along it: the rest makes no difference but for
    rounding, where a fit is all but exact."""
    return np.asfortranarray(np.column_stack([basis, residual - basis @ (basis.T @ residual)]))


def likelihood(process: Process, columns: np.ndarray) -> tuple[float, float]:
    """Restricted log-likelihood at the likeliest variance, but for a constant, and that variance.

    Args:
      columns: (rows, directions + 1) directions that the fitted curve can move along, orthonormal, and the residual.
    """
    free = len(columns) - columns.shape[1] + 1
    product, size = process.weighed(columns)
    root = cholesky(product[:-1, :-1], lower=True)
    taken = solve_triangular(root, product[:-1, -1], lower=True)
    variance = float(product[-1, -1] - taken @ taken) / free
    spent = np.log(np.diag(root)).sum()
    return float(-0.5 * size - spent - 0.5 * free * np.log(max(variance, TINY))), variance


@dataclass(frozen=True)
class Kind:
    """A family of processes."""

    orders: tuple[int, ...]  # of each part; 0 = white

    def at(self, place: np.ndarray) -> Process:
        """At coordinates: logarithms of the parts' times and damping ratios, part by part, then logits of the shares of
        all parts but the first, beside that one."""
        ends = np.cumsum(self.orders)
        parts = np.split(np.exp(place[: ends[-1]]), ends[:-1])
        return Process(tuple(map(tuple, parts)), softmax(np.append(0.0, place[ends[-1] :])))

    def bounds(self, rows: int) -> list[tuple[float, float]]:
        """Of the coordinates: no time longer than the record."""
        every = {0: [], 1: [(LEAST_TIME, rows)], 2: [(1.0, rows / (2.0 * MOST_DAMPING)), (LEAST_DAMPING, MOST_DAMPING)]}
        logs = [(float(np.log(low)), float(np.log(high))) for order in self.orders for low, high in every[order]]
        return logs + [(-MOST_LOGIT, MOST_LOGIT)] * (len(self.orders) - 1)


WHITE = Kind((0,))
CORRELATED = tuple(Kind(orders) for orders in ((1,), (1, 0), (2,), (2, 0), (1, 1), (1, 1, 0)))


@dataclass(frozen=True)
class Likely:
    """A noise that residuals may well be."""

    kind: Kind
    place: np.ndarray  # its coordinates
    weight: float = 1.0  # among all that they may be; these sum to 1

    @property
    def process(self) -> Process:
        """Its correlation."""
        return self.kind.at(self.place)

    def said(self, row_s: float) -> str:
        """In words."""
        its, said = self.process, []
        for share, rows in zip(its.shares, its.correlation_rows(), strict=True):
            part = f"correlated over {rows * row_s:.3g} s" if rows else "white"
            said.append(part if len(its.shares) == 1 else f"{share:.0%} {part}")
        return f"noise, {', '.join(said)}"

    def spread(self, basis: np.ndarray, residual: np.ndarray) -> Spread:
        """Of the least squares along orthonormal slopes (rows, directions), its residuals (rows,)."""
        columns, count = _columns(basis, residual), len(self.place)

        def at(place: np.ndarray) -> tuple[float, np.ndarray]:
            process = self.kind.at(place)
            height, variance = likelihood(process, columns)
            return -height, variance * process.between(basis)

        steps = STEP * np.eye(count)
        loss, here = at(self.place)
        up, down = ([at(self.place + sign * step) for step in steps] for sign in (1, -1))
        slopes = [(high[1] - low[1]) / (2.0 * STEP) for high, low in zip(up, down, strict=True)]
        bend = np.diag([high[0] - 2.0 * loss + low[0] for high, low in zip(up, down, strict=True)])
        for i, j in combinations(range(count), 2):
            signs = ((1, 1), (1, -1), (-1, 1), (-1, -1))
            ends = [a * b * _loss(self.kind, columns, self.place + a * steps[i] + b * steps[j]) for a, b in signs]
            bend[i, j] = bend[j, i] = 0.25 * sum(ends)
        curvature, axes = np.linalg.eigh(bend / STEP**2)
        each = axes / np.sqrt(np.maximum(curvature, LEAST_CURVATURE))
        size = here * np.sqrt(2.0 / (len(residual) - basis.shape[1]))
        return Spread(here, np.array([size, *(np.tensordot(axis, slopes, 1) for axis in each.T)]))


def likely(slopes: np.ndarray, residual: np.ndarray) -> list[Likely]:
    """The noises that residuals (rows,) of a fit that could move along slopes (rows, n) may be, the likeliest first:
    of each kind the likeliest, by Akaike's weights (Burnham & Anderson, Sociol. Methods Res. 33:261, 2004)."""
    columns = _columns(orth(slopes, NULL), residual)
    free = len(columns) - columns.shape[1] + 1
    found = {WHITE: (np.zeros(0), _loss(WHITE, columns, np.zeros(0)))}
    found |= {kind: _searched(kind, _starts(kind, residual), columns) for kind in CORRELATED}

    def criterion(kind: Kind) -> float:
        place, loss = found[kind]
        numbers = len(place) + 1
        return loss + numbers * free / (free - numbers - 1)

    order = sorted(found, key=criterion)
    weights = np.exp(criterion(order[0]) - np.array([criterion(kind) for kind in order]))
    weights = weights[weights >= LEAST_WEIGHT * weights.sum()]
    each = zip(order, weights / weights.sum(), strict=False)
    return [Likely(kind, found[kind][0], float(weight)) for kind, weight in each]


def _loss(kind: Kind, columns: np.ndarray, place: np.ndarray) -> float:
    return -likelihood(kind.at(place), columns)[0]


def _starts(kind: Kind, residual: np.ndarray) -> Iterator[np.ndarray]:
    """Coordinates here and there: each part over one of a few times, longer than the one before; or a swing at the
    residual's strongest frequency that lasts for a tenth of the record; shares more and less than even."""
    rows = len(residual)
    swing_rows = rows / (2.0 * np.pi * max(1, int(np.argmax(np.abs(np.fft.rfft(residual))))))
    times = np.geomspace(1.0, rows / 10.0, 4)
    twice = [(time, 1.0) for time in times]
    alone = {0: [()], 1: [(time,) for time in times], 2: [(swing_rows, 10.0 * swing_rows / rows), *twice]}
    for parts in product(*(alone[order] for order in kind.orders)):
        slow = [part for part in parts if len(part) == 1]
        if slow == sorted(set(slow)):
            for shares in product((-1.5, 1.5), repeat=len(parts) - 1):
                yield np.array([*np.log(list(chain(*parts))), *shares])


def _searched(kind: Kind, starts: Iterable[np.ndarray], columns: np.ndarray) -> tuple[np.ndarray, float]:
    """The best coordinates from the best of the starts, and the loss there."""
    loss = partial(_loss, kind, columns)
    losses = [(loss(start), start) for start in starts]
    least, start = min(losses, key=lambda each: each[0])
    options = {"eps": DIFFERENCE, "ftol": GAIN / max(1.0, abs(least))}
    end = minimize(loss, start, method="L-BFGS-B", bounds=kind.bounds(len(columns)), options=options)
    return end.x, float(end.fun)
