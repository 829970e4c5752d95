"""Errors of a least-squares fit to events that recur, and of moments of what it leaves over. NumPy.

The fit is made anew without each of the events in turn, the jackknife by groups (Tukey, Ann. Math. Stat. 29:614, 1958;
for least squares in one linear step the CV3 of MacKinnon, Nielsen & Webb, J. Appl. Econometrics 38:671, 2023). It takes
residuals as independent from group to group, and as anything within one. Of n groups its variance has n - 1 degrees of
freedom: intervals are Student's (Bester, Conley & Hansen, J. Econometrics 165:137, 2011; Ibragimov & Mueller, J. Bus.
Econ. Stat. 28:453, 2010).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LONE = 1e-9  # share of a direction's trace outside a group below which that group alone tells of it


@dataclass(frozen=True)
class Spread:
    """Errors of the least squares along directions."""

    covariance: np.ndarray  # (directions, directions)
    unsure: np.ndarray  # (n, directions, directions) its independent changes, by an s.d. each of what is unsure


def autocorrelation(values: np.ndarray) -> np.ndarray:
    """(rows,) coefficients by lag, products summed over the rows that there are; all 0 for a constant."""
    rows = len(values)
    power = np.abs(np.fft.rfft(values - values.mean(), 2 * rows)) ** 2
    products = np.fft.irfft(power)[:rows]
    return products / products[0] if products[0] > 0.0 else np.zeros(rows)


def by_groups(basis: np.ndarray, residual: np.ndarray, group: np.ndarray) -> Spread:
    """Of the least squares along orthonormal slopes (rows, directions).

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
    covariance = jackknife(np.array(moves))
    return Spread(covariance, covariance[None] * np.sqrt(2.0 / (len(moves) - 1)))


def jackknife(without: np.ndarray) -> np.ndarray:
    """(n, n) covariance of n statistics from their values (groups, n) without each group."""
    groups = len(without)
    apart = without - without.mean(axis=0)
    return (groups - 1) / groups * (apart.T @ apart)


def root_error(value: np.ndarray, variance_error: np.ndarray) -> np.ndarray:
    """Error of a s.d. from that of its square; where it is hardly above 0, how far above it may well be."""
    return variance_error / np.maximum(2.0 * value, np.sqrt(variance_error))
