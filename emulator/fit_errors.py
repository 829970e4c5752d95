"""Errors of a least-squares fit whose residuals are correlated, and of moments of what it leaves over. NumPy.

One event: residuals as a stationary series, the scores' long-run covariance with Bartlett's weights (Newey & West,
Econometrica 55:703, 1987). Events that recur: the fit is made anew without each of them in turn, the jackknife by
groups (Tukey, Ann. Math. Stat. 29:614, 1958; for least squares in one linear step the CV3 of MacKinnon, Nielsen & Webb,
J. Appl. Econometrics 38:671, 2023). It takes residuals as independent from group to group, and as anything within one.
Of n groups its variance has n - 1 degrees of freedom: intervals are Student's (Bester, Conley & Hansen,
J. Econometrics 165:137, 2011; Ibragimov & Mueller, J. Bus. Econ. Stat. 28:453, 2010).
"""

from __future__ import annotations

import numpy as np

LAGS = 8  # bandwidth over the integrated correlation time: its bias is one over this
LONE = 1e-9  # share of a direction's trace outside a group below which that group alone tells of it


def in_time(basis: np.ndarray, residual: np.ndarray, bandwidth: int) -> np.ndarray:
    """(directions, directions) covariance of the least squares along orthonormal slopes (rows, directions), residuals
    correlated over fewer rows than a bandwidth."""
    rows, count = basis.shape
    return rows / max(rows - count, 1) * long_run(basis * residual[:, None], bandwidth)


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


def freedom_of(rows: int, bandwidth: int) -> float:
    """Degrees of freedom of a long-run variance with Bartlett's weights: 3 rows/(2 bandwidth), half of those of a
    spectral estimate away from frequency 0 (Priestley, Spectral Analysis and Time Series, 1981, table 6.2)."""
    return 1.5 * rows / bandwidth


def by_groups(basis: np.ndarray, residual: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(directions, directions) covariance of the least squares along orthonormal slopes (rows, directions).

    Without group g, of slopes U_g, the solution moves by (I - U_g'U_g)^-1 U_g' r_g. A direction of which one group
    alone tells moves by far too much, so that it counts as not identified.

    Args:
      group: (rows,) of each row.
    """
    moves = []
    for each in np.unique(group):
        slopes, own = basis[group == each], residual[group == each]
        share, turn = np.linalg.eigh(slopes.T @ slopes)
        left = 1.0 - share
        move = (turn.T @ (slopes.T @ own)) / np.maximum(left, LONE)
        moves.append(turn @ np.where(left > LONE, move, np.linalg.norm(residual) / LONE))
    return jackknife(np.array(moves))


def jackknife(without: np.ndarray) -> np.ndarray:
    """(n, n) covariance of n statistics from their values (groups, n) without each group."""
    groups = len(without)
    apart = without - without.mean(axis=0)
    return (groups - 1) / groups * (apart.T @ apart)


def root_error(value: np.ndarray, variance_error: np.ndarray) -> np.ndarray:
    """Error of a s.d. from that of its square; where it is hardly above 0, how far above it may well be."""
    return variance_error / np.maximum(2.0 * value, np.sqrt(variance_error))
