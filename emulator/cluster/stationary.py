"""Stationary distribution of a replica of `serving`, from the generator of its chain: host side, float64."""

from __future__ import annotations

from math import ceil, log

import numpy as np
from scipy import sparse
from scipy.linalg import eigvalsh_tridiagonal
from scipy.optimize import root_scalar
from scipy.sparse.linalg import splu
from scipy.stats import poisson

LEFT_OUT = 1e-9  # chance of states beyond the largest queue and batch that are kept
SLOWEST = 0.98  # fall-off of the queue, from one number of waiting requests to the next
MOST_STATES = 250_000  # some seconds


def stationary(requests_per_s: float, prefill_s: float, decode_s: float, batch: int) -> np.ndarray | None:
    """(waiting, decoding) chances of a replica's states under Poisson arrivals.

    The two are kept as far as chances beyond add up to about 1e-9. None where the queue grows without end, where it
    falls off by less than 2 % from one number of waiting requests to the next (it then takes thousands of prefills to
    settle), or where more than 250,000 states are needed.
    """
    if requests_per_s == 0.0:
        return np.ones((1, 1))
    # Unblocked, decoding is Poisson: where the batch is larger than that ever gets, it does not matter.
    most = max(1, min(batch, int(poisson.isf(LEFT_OUT / 10, requests_per_s * decode_s))))
    decay = _decay(requests_per_s, prefill_s, decode_s, most)
    longest = 0 if decay is None else ceil(log(LEFT_OUT) / log(decay))
    if decay is None or (longest + 1) * (most + 1) > MOST_STATES:
        return None
    generator = _generator(requests_per_s, prefill_s, decode_s, longest, most)
    likely = min(int(requests_per_s * decode_s), most)  # none waits, the mean number in decode
    return _solved(generator, (longest + 1) * (most + 1), likely).reshape(longest + 1, most + 1)


def _decay(requests_per_s: float, prefill_s: float, decode_s: float, most: int) -> float | None:
    """Ratio of the chances of n + 1 and n waiting requests, n large: the z < 1 at which
    z^-1 A_up + A_stay + z A_down, the blocks of the generator for n above 0, has the largest eigenvalue 0.

    That eigenvalue is convex in log z and 0 at z = 1: it is negative between the two roots. The matrix is tridiagonal
    in the requests in decode, with the eigenvalues of a symmetric one.
    Reference: Neuts, Matrix-Geometric Solutions in Stochastic Models, 1981, sections 1.3 and 1.7.
    """
    decoding = np.arange(most + 1)
    leaving = requests_per_s + (decoding < most) / prefill_s + decoding / decode_s

    def largest(z: float) -> float:
        beside = np.sqrt(z / prefill_s * decoding[1:] / decode_s)
        return float(eigvalsh_tridiagonal(requests_per_s / z - leaving, beside, "i", (most, most))[0])

    if not largest(SLOWEST) < 0 < largest(1e-12):
        return None
    return float(root_scalar(largest, bracket=(1e-12, SLOWEST)).root)


def _generator(requests_per_s: float, prefill_s: float, decode_s: float, longest: int, most: int) -> sparse.csc_matrix:
    """Q on states in the order of (waiting, decoding), row by row: rates from row to column."""
    waiting, decoding = sparse.identity(longest + 1), sparse.identity(most + 1)
    more_waiting, more_decoding = sparse.eye(longest + 1, k=1), sparse.eye(most + 1, k=1)
    rates = (
        requests_per_s * sparse.kron(more_waiting, decoding)
        + sparse.kron(more_waiting.T, more_decoding) / prefill_s
        + sparse.kron(waiting, sparse.diags(np.arange(1.0, most + 1), -1)) / decode_s
    )
    return (rates - sparse.diags(np.asarray(rates.sum(axis=1)).ravel())).tocsc()


def _solved(generator: sparse.csc_matrix, states: int, likely: int) -> np.ndarray:
    """(states,) pi with pi Q = 0: one likely state is set to 1 before all are scaled, so that they stay finite."""
    others = np.delete(np.arange(states), likely)
    factors = splu(generator[others][:, others].T.tocsc())
    chances = np.insert(factors.solve(-generator[[likely]][:, others].toarray().ravel()), likely, 1.0)
    return chances / chances.sum()
