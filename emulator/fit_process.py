"""Stationary noise as a sum of relaxing and swinging parts, and products through its correlation. NumPy and SciPy.

A part is white; or white noise relaxed over a time (Ornstein & Uhlenbeck); or what white noise makes of a second-order
system, which relaxes twice or swings, as a load's noise does behind an area's inertia. In rows of a recording each is
an autoregression of a moving average, and so is their sum (Granger & Morris, J. R. Stat. Soc. A 139:246, 1976): what
the filter Theta/Phi makes of white noise of variance v and of the state it starts in, of covariance P. With the
filter's matrix F, of determinant 1, and the free response Z of its state the correlation is R = v FF' + ZPZ'. F^-1 is
the filter Phi/Theta, F^-1 Z that one's own free response: R^-1 costs one pass over the rows, and a matrix as small as
the state (Woodbury).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.polynomial import chebyshev, legendre, polynomial
from scipy.linalg import solve_triangular, toeplitz
from scipy.signal import lfilter

FADED = 50.0  # times that a response falls by e until it is nothing: 2e-22
PLACES, SHARES = legendre.leggauss(24)  # Gauss's rule: to rounding for exp(-12 s) over a row, the steepest there is


@dataclass(frozen=True)
class Process:
    """Stationary noise of unit variance, a sum of independent parts."""

    parts: tuple[tuple[float, ...], ...]  # of each none = white; its time, or its time and damping ratio; in rows
    shares: np.ndarray  # (parts,) of the variance; their sum is 1

    def weighed(self, columns: np.ndarray) -> tuple[np.ndarray, float]:
        """(n, n) products of (rows, n) columns through the inverse correlation R^-1, and log det R.

        With X = F^-1 columns, Y = F^-1 Z and G = Y'Y: v X'R^-1X = X'X - X'Y P (v + GP)^-1 Y'X, and det R = v^rows
        det(1 + GP/v).
        """
        its, rows = _filter_of(self), len(columns)
        states = len(its.start)
        white, free = np.asarray(lfilter(its.phi, its.theta, columns.T)), _free(its.phi, its.theta, rows)
        crossed = free @ white[:, : free.shape[1]].T
        mixed = its.variance * np.eye(states) + free @ free.T @ its.start
        product = white @ white.T - crossed.T @ its.start @ np.linalg.solve(mixed, crossed)
        size = (rows - states) * np.log(its.variance) + np.linalg.slogdet(mixed)[1]
        return 0.5 * (product + product.T) / its.variance, float(size)

    def between(self, columns: np.ndarray) -> np.ndarray:
        """(n, n) products of (rows, n) columns through the correlation R."""
        its = _filter_of(self)
        passed = np.asarray(lfilter(its.theta, its.phi, columns[::-1].T))
        free = _free(its.theta, its.phi, len(columns))
        along = free @ columns[: free.shape[1]]
        return its.variance * (passed @ passed.T) + along.T @ its.start @ along

    def correlation_rows(self) -> list[float]:
        """Of each part: after how many rows its slowest has fallen to 1/e; of a swing a period over 2 pi; 0 = white."""
        return [_slowest(part) for part in self.parts]


def _slowest(part: tuple[float, ...]) -> float:
    if len(part) < 2:
        return sum(part)
    time, damping = part
    return time * (damping + np.sqrt(damping**2 - 1.0)) if damping > 1.0 else time


@dataclass(frozen=True)
class _Part:
    """An autoregression of a moving average, of unit variance."""

    weights: np.ndarray  # (order + 1,) from lag 0 on, where it is 1, that make the moving average of it
    moved: np.ndarray  # (2 n + 1,) covariance of that, by lag from -n to n
    correlation: np.ndarray  # (lags,) from lag 0 on


def _part(part: tuple[float, ...], lags: int) -> _Part:
    lag = np.arange(lags)
    if not part:
        return _Part(np.ones(1), np.ones(1), 1.0 * (lag == 0))
    if len(part) == 1:
        rate = 1.0 / part[0]
        return _Part(np.array([1.0, -np.exp(-rate)]), np.array([-np.expm1(-2.0 * rate)]), np.exp(-rate * lag))
    time, damping = part
    return _second_order(time, damping, lag)


def _second_order(time: float, damping: float, lag: np.ndarray) -> _Part:
    """x'' + 2 r x' + x/T^2 = white noise, r = damping/T, whose response to an impulse is g(t) = exp(-r t) sin(w t)/w.

    Over two rows the noise makes g(s) and g(s + 1) - 2 exp(-r) cos(w) g(s) = -exp(-2 r) g(s - 1) of it: the moving
    average. Its variance is T^2/(4 r).
    """
    rate = damping / time
    turn = np.sqrt(complex(1.0 / time**2 - rate**2))

    def impulse(since: np.ndarray) -> np.ndarray:
        return np.exp(-rate * since) * (since * np.sinc(turn * since / np.pi)).real

    weights = np.array([1.0, -2.0 * np.exp(-rate) * np.cos(turn).real, np.exp(-2.0 * rate)])
    since = 0.5 * (PLACES + 1.0)
    first, second = impulse(since), -np.exp(-2.0 * rate) * impulse(since - 1.0)
    own, crossed = 0.5 * SHARES @ (first**2 + second**2), 0.5 * SHARES @ (first * second)
    moved = 4.0 * rate / time**2 * np.array([crossed, own, crossed])
    return _Part(weights, moved, np.exp(-rate * lag) * np.cos(turn * lag).real + rate * impulse(lag))


@dataclass(frozen=True)
class _Filter:
    """Theta/Phi of white noise, as `lfilter` has it."""

    phi: np.ndarray  # (states + 1,) from lag 0 on, where it is 1
    theta: np.ndarray  # (states + 1,) likewise, its roots inside the unit circle
    variance: float  # of the white noise
    start: np.ndarray  # (states, states) covariance of the state at the first row


def _filter_of(process: Process) -> _Filter:
    """Phi is all parts' weights; of the moving average each part makes its own through the others' weights."""
    lags = 1 + max(1, sum(map(len, process.parts)))
    every = [_part(part, lags - 1) for part in process.parts]
    phi, moved = _padded(_product(part.weights for part in every), lags), np.zeros(lags)
    for i, (share, part) in enumerate(zip(process.shares, every, strict=True)):
        others = _product(each.weights for j, each in enumerate(every) if j != i)
        both = np.convolve(np.correlate(others, others, "full"), part.moved)
        moved += share * _padded(both[len(both) // 2 :], lags)
    theta, variance = _factor(moved)
    correlation = process.shares @ np.array([part.correlation for part in every])
    return _Filter(phi, theta, variance, _start(phi, theta, variance, correlation))


def _product(polynomials: Iterable[np.ndarray]) -> np.ndarray:
    return reduce(np.convolve, polynomials, np.ones(1))


def _padded(values: np.ndarray, count: int) -> np.ndarray:
    return np.append(values, np.zeros(count - len(values)))


def _factor(covariance: np.ndarray) -> tuple[np.ndarray, float]:
    """(lags,) a moving average's weights, roots inside the unit circle, and variance of its noise, from its covariance
    by lag: g_0 + sum g_k (z^k + z^-k) = g_0 + 2 sum g_k T_k(c), c = (z + 1/z)/2, of which each root is a pair z, 1/z.
    """
    c = chebyshev.chebroots(np.append(covariance[0], 2.0 * covariance[1:])).astype(complex)
    apart = np.sqrt(c**2 - 1.0)
    outside = np.where(np.abs(c + apart) >= 1.0, c + apart, c - apart)
    weights = _padded(polynomial.polyfromroots(1.0 / outside)[::-1].real, len(covariance))
    return weights, float(covariance[0] / (weights @ weights))


def _start(phi: np.ndarray, theta: np.ndarray, variance: float, correlation: np.ndarray) -> np.ndarray:
    """(states, states) covariance P of the state, from R = v FF' + ZPZ' in as many rows: what the noise since does not
    make of their correlation (states,) by lag."""
    states = len(correlation)
    made = toeplitz(lfilter(theta, phi, np.eye(1, states)[0]), np.zeros(states))
    free = _free(theta, phi, states).T
    half = solve_triangular(free, toeplitz(correlation) - variance * made @ made.T, lower=True)
    return solve_triangular(free, half.T, lower=True)


def _free(above: np.ndarray, below: np.ndarray, rows: int) -> np.ndarray:
    """(states, rows at most) what a filter makes of each of its states, until that is nothing: below the smallest
    normal number, where it would end, each row takes a hundred times as long."""
    states, slowest = len(below) - 1, float(np.abs(np.roots(below)).max(initial=1e-9))
    lasting = min(rows, states + int(FADED / -np.log(slowest)) if slowest < 1.0 else rows)
    return lfilter(above, below, np.zeros((states, lasting)), zi=np.eye(states))[0]
