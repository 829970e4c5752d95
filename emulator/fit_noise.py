"""Noise of one event's recording, and what it makes of the errors of least squares. NumPy and SciPy.

Residuals are taken as stationary Gaussian noise: white, or autoregressive of order one or two (a correlation time; two,
or an oscillation), with or without white noise of a meter on top. Its numbers come from the restricted likelihood, that
of what is left whatever the fitted curve takes up (Patterson & Thompson, Biometrika 58:545, 1971; of autoregressive
noise Cheang & Reinsel, J. Am. Stat. Assoc. 95:1173, 2000); the kind by Akaike's criterion, corrected for few rows
(Hurvich & Tsai, Biometrika 76:297, 1989). The estimator's covariance is then the sandwich with the noise's own, and how
far that is known gives degrees of freedom (Kenward & Roger, Biometrics 53:983, 1997).

Partial autocorrelations inside (-1, 1) are all stationary autoregressions, and only those (Barndorff-Nielsen & Schou,
J. Multivariate Anal. 3:408, 1973). The inverse covariance of an autoregression is banded, so all costs grow with the
rows only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.linalg import cho_solve_banded, cholesky, cholesky_banded, orth, solve_triangular, solveh_banded
from scipy.optimize import minimize
from scipy.special import expit

from emulator.fit_errors import Spread
from emulator.fit_solve import NULL

MOST_LOGIT = 12.0  # of the white share: 6e-6 of the variance either way
DIFFERENCE = 1e-5  # for slopes of the likelihood: a curvature of 1 makes 5e-6 of it, rounding of 1e-10 another 1e-5
STEP = 0.02  # for its curvature, and the covariance's slopes: 4 % of a correlation time
TINY = np.finfo(np.float64).tiny  # variance of an exact fit, in its likelihood
LEAST_CURVATURE = 1e-3  # below which a number of the noise counts as free within 30 units of its coordinate


@dataclass(frozen=True)
class Process:
    """Stationary noise by its correlation."""

    coefficients: np.ndarray  # (order,) partial autocorrelations, inside (-1, 1)
    white: float  # share of the variance that is white

    def times(self, columns: np.ndarray) -> np.ndarray:
        """Correlation matrix times (rows, n) columns."""
        inverse, _ = _inverse(self.coefficients, len(columns))
        smooth = solveh_banded(inverse, columns, lower=True)
        return (1.0 - self.white) * smooth + self.white * columns

    def weighed(self, columns: np.ndarray) -> tuple[np.ndarray, float]:
        """(n, n) products of (rows, n) columns through the inverse correlation R^-1, and log det R.

        R = (1 - w) K + w I for the autoregression's K: R^-1 = ((1 - w) I + w K^-1)^-1 K^-1, all banded.
        """
        inverse, size = _inverse(self.coefficients, len(columns))
        if not self.white:
            return columns.T @ _banded(inverse, columns), -size
        mixed = self.white * inverse
        mixed[0] += 1.0 - self.white
        root = cholesky_banded(mixed, lower=True)
        product = columns.T @ cho_solve_banded((root, True), _banded(inverse, columns))
        return 0.5 * (product + product.T), 2.0 * float(np.log(root[0]).sum()) - size

    def correlation_rows(self) -> float:
        """After how many rows the slowest part has fallen to 1/e, of a swing a period over 2 pi; 0 for white noise."""
        if not len(self.coefficients):
            return 0.0
        roots = np.roots(_predictors(self.coefficients)[-1]).astype(complex)
        return float((1.0 / np.abs(np.log(roots))).max())


def _predictors(coefficients: np.ndarray) -> np.ndarray:
    """(order + 1, order + 1) weights of this value and those before it that make the error of predicting it from none,
    one, ... of them, each of unit variance (Levinson and Durbin)."""
    weights = np.zeros((len(coefficients) + 1, len(coefficients) + 1))
    row, left = np.ones(1), 1.0
    weights[0, 0] = 1.0
    for order, k in enumerate(coefficients, 1):
        row = np.append(row, 0.0)
        row, left = row - k * row[::-1], left * (1.0 - k**2)
        weights[order, : order + 1] = row / np.sqrt(left)
    return weights


def _inverse(coefficients: np.ndarray, rows: int) -> tuple[np.ndarray, float]:
    """(order + 1, rows) lower bands of an autoregression's inverse correlation, and the log of its determinant.

    W'W, where W, lower banded, makes white noise of it: the first rows are predicted from those that there are.
    """
    order, predictors = len(coefficients), _predictors(coefficients)
    whitening = np.repeat(predictors[-1][:, None], rows, axis=1)  # [lag, row]
    whitening[:, :order] = predictors[:-1].T
    bands = np.zeros((order + 1, rows))
    for apart in range(order + 1):
        for lag in range(order + 1 - apart):
            product = whitening[lag + apart, lag + apart :] * whitening[lag, lag + apart :]
            bands[apart, : len(product)] += product
    return bands, 2.0 * float(np.log(whitening[0]).sum())


def _banded(bands: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """A symmetric matrix, of lower bands, times (rows, n) columns."""
    product = bands[0][:, None] * columns
    for apart in range(1, len(bands)):
        band = bands[apart, :-apart, None]
        product[apart:] += band * columns[:-apart]
        product[:-apart] += band * columns[apart:]
    return product


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

    order: int
    mixed: bool  # with white noise on top

    def at(self, place: np.ndarray) -> Process:
        """At coordinates: artanh of the partial autocorrelations, and logit of the white share."""
        white = float(expit(place[self.order])) if self.mixed else 0.0
        return Process(np.tanh(place[: self.order]), white)


WHITE = Kind(0, False)


@dataclass(frozen=True)
class Likeliest:
    """The noise that residuals most likely are."""

    kind: Kind
    place: np.ndarray  # its coordinates

    @property
    def process(self) -> Process:
        """Its correlation."""
        return self.kind.at(self.place)

    def said(self, row_s: float) -> str:
        """In words."""
        over = f"noise correlated over {self.process.correlation_rows() * row_s:.3g} s"
        if not self.kind.order:
            return "white noise"
        return f"{over}, and {self.process.white:.0%} white" if self.kind.mixed else over

    def spread(self, basis: np.ndarray, residual: np.ndarray) -> Spread:
        """Of the least squares along orthonormal slopes (rows, directions), its residuals (rows,)."""
        columns = _columns(basis, residual)

        def covariance(at: np.ndarray) -> np.ndarray:
            process = self.kind.at(at)
            return likelihood(process, columns)[1] * (basis.T @ process.times(basis))

        here, steps = covariance(self.place), STEP * np.eye(len(self.place))
        slopes = [(covariance(self.place + step) - covariance(self.place - step)) / (2.0 * STEP) for step in steps]
        bend, axes = np.linalg.eigh(_curvature(partial(_loss, self.kind, columns), self.place))
        each = axes / np.sqrt(np.maximum(bend, LEAST_CURVATURE))
        size = here * np.sqrt(2.0 / (len(residual) - basis.shape[1]))
        return Spread(here, np.array([size, *(np.tensordot(axis, slopes, 1) for axis in each.T)]))


def likeliest(slopes: np.ndarray, residual: np.ndarray) -> Likeliest:
    """From residuals (rows,) of a fit that could move along slopes (rows, n)."""
    columns = _columns(orth(slopes, NULL), residual)
    free = len(columns) - columns.shape[1] + 1
    found = {WHITE: (np.zeros(0), _loss(WHITE, columns, np.zeros(0)))}
    for order in (1, 2):
        plain, mixed = Kind(order, False), Kind(order, True)
        before, swing = found[Kind(order - 1, False)][0], [_swing(residual)] if order == 2 else []
        found[plain] = _searched(plain, [np.append(before, 0.1), *swing], columns)
        starts = np.append(found[plain][0], -2.0), *(np.append(at, 0.0) for at in (_slow(order, residual), *swing))
        found[mixed] = _searched(mixed, starts, columns)

    def criterion(kind: Kind) -> float:
        place, loss = found[kind]
        numbers = len(place) + 1
        return loss + numbers * free / (free - numbers - 1)

    kind = min(found, key=criterion)
    return Likeliest(kind, found[kind][0])


def _loss(kind: Kind, columns: np.ndarray, place: np.ndarray) -> float:
    return -likelihood(kind.at(place), columns)[0]


def _slow(order: int, residual: np.ndarray) -> np.ndarray:
    """Coordinates of noise that is correlated over a fortieth of the record."""
    return np.append(np.arctanh(np.exp(-40.0 / len(residual))), np.zeros(order - 1))


def _swing(residual: np.ndarray) -> np.ndarray:
    """Coordinates of an oscillation at the residual's strongest frequency, which lasts for a tenth of the record."""
    rows = len(residual)
    turn = 2.0 * np.pi * np.argmax(np.abs(np.fft.rfft(residual))) / rows
    keep = np.exp(-10.0 / rows)
    return np.arctanh([2.0 * keep * np.cos(turn) / (1.0 + keep**2), -(keep**2)])


def _searched(kind: Kind, starts: Iterable[np.ndarray], columns: np.ndarray) -> tuple[np.ndarray, float]:
    """The best coordinates from any of the starts, no correlation longer than the record, and the loss there."""
    longest = np.arctanh(np.exp(-1.0 / len(columns)))
    bounds = [(-longest, longest)] * kind.order + [(-MOST_LOGIT, MOST_LOGIT)] * kind.mixed
    loss, options = partial(_loss, kind, columns), {"eps": DIFFERENCE}
    ends = [minimize(loss, start, method="L-BFGS-B", bounds=bounds, options=options) for start in starts]
    best = min(ends, key=lambda end: end.fun)
    return best.x, float(best.fun)


def _curvature(function: Callable[[np.ndarray], float], place: np.ndarray) -> np.ndarray:
    """(n, n) second derivatives at (n,), by central differences."""
    steps = STEP * np.eye(len(place))
    found = [
        [function(place + a + b) - function(place + a - b) - function(place - a + b) + function(place - a - b)
         for b in steps] for a in steps
    ]  # fmt: skip
    return np.array(found).reshape(len(place), len(place)) / (4.0 * STEP**2)
