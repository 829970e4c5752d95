"""Errors where the residual's noise may be of several kinds: the mixture of what each makes of them. NumPy and SciPy.

Which kind it is, is not known either: the error is distributed as under each of them by its weight (Buckland, Burnham &
Augustin, Biometrics 53:603, 1997; of whole distributions, Hoeting et al., Statist. Sci. 14:382, 1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import root_scalar
from scipy.special import stdtr, stdtrit

from emulator.fit_result import LEAST_FREEDOM, ONE, TWO
from emulator.fit_solve import Information

MOST_FREEDOM = 1e7  # beyond it the distribution is the normal one
MAJORITY = 0.5  # weight of kinds under which an error can be stated, below which it is not; the others' is warned of
CLOSE = 1e-9  # of logarithms: how far the roots are sought


def mixed(says: Sequence[Information], weights: np.ndarray) -> Information:
    """Of kinds of noise, the likeliest first, whose open directions these are. S.d. and degrees of freedom are of
    Student's distribution whose intervals for 68 and 95 % are those of the mixture."""
    deviations = np.array([np.sqrt(np.diag(each.covariance)) for each in says])
    freedoms = np.array([each.freedom for each in says])
    each = [_student(weights, *both) for both in zip(deviations.T, freedoms.T, strict=True)]
    deviation, freedom = np.array(each).T
    wider = np.divide(deviation, deviations[0], out=np.ones_like(deviation), where=deviations[0] > 0.0)
    return replace(says[0], covariance=says[0].covariance * np.outer(wider, wider), freedom=freedom)


def factors(says: Sequence[Information], mixture: Information) -> np.ndarray:
    """(kinds,) by how much each makes an error larger than the mixture has it, at most."""
    stated = np.sqrt(np.diag(mixture.covariance))
    there = stated > 0.0
    return np.array([np.max(np.sqrt(np.diag(each.covariance))[there] / stated[there], initial=0.0) for each in says])


def _student(weights: np.ndarray, deviations: np.ndarray, freedoms: np.ndarray) -> tuple[float, float]:
    """S.d. and degrees of freedom of Student's distribution in place of a mixture of such."""
    if not deviations.all():  # a fit without a residual, or a number without a trace
        return 0.0, np.inf
    stated = freedoms >= LEAST_FREEDOM
    if weights[stated].sum() < MAJORITY:
        return float(deviations[0]), float(freedoms[~stated] @ weights[~stated])
    weights, deviations = weights[stated] / weights[stated].sum(), deviations[stated]
    freedoms = np.minimum(freedoms[stated], MOST_FREEDOM)
    one, two = (_half_width(share, weights, deviations, freedoms) for share in (ONE, TWO))

    def tail(log_freedom: float) -> float:
        """How much further TWO is out than ONE, beside the mixture's."""
        return np.log(_times(TWO, np.exp(log_freedom)) / _times(ONE, np.exp(log_freedom))) - np.log(two / one)

    ends = (np.log(LEAST_FREEDOM), np.log(MOST_FREEDOM))
    freedom = MOST_FREEDOM  # whose tail is the shortest
    if tail(ends[1]) < 0.0:
        freedom = np.exp(root_scalar(tail, bracket=ends, xtol=CLOSE).root) if tail(ends[0]) > 0.0 else LEAST_FREEDOM
    return one / float(_times(ONE, freedom)), float(freedom)


def _times(share: float, freedom: float | np.ndarray) -> np.ndarray:
    """Half width, in s.d., of the interval that holds so much of Student's distribution."""
    return stdtrit(freedom, 0.5 + 0.5 * share)


def _half_width(share: float, weights: np.ndarray, deviations: np.ndarray, freedoms: np.ndarray) -> float:
    """That of the mixture: between the narrowest and the widest of its parts."""
    logs = np.log(deviations * _times(share, freedoms))

    def beyond(log_width: float) -> float:
        return float(weights @ (2.0 * stdtr(freedoms, np.exp(log_width) / deviations) - 1.0)) - share

    return float(np.exp(root_scalar(beyond, bracket=(logs.min() - 1e-6, logs.max() + 1e-6), xtol=CLOSE).root))
