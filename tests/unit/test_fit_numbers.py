"""The parts of a fit that need no emulation: errors from residuals, iterations in a record, noise, bad recordings."""

from __future__ import annotations

from functools import partial
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.linalg import expm, solve_continuous_lyapunov, toeplitz
from scipy.signal import lfilter
from scipy.stats import t as student

from emulator import (
    fit,
    fit_area,
    fit_data,
    fit_errors,
    fit_iterations,
    fit_leftover,
    fit_noise,
    fit_power,
    fit_solve,
)
from emulator.fit_data import Columns
from emulator.fit_emulation import Record
from emulator.fit_iterations import FitError, Iterations
from emulator.fit_mixture import factors, mixed
from emulator.fit_noise import Kind, Likely
from emulator.fit_process import Process
from emulator.fit_result import ONE, TWO, Estimate, estimates_of
from emulator.fit_solve import Solution
from emulator.trace import TraceError
from emulator.traces import hdf5
from emulator.tune_schema import Parameter
from tests.unit.synthetic import TWO_SITES, block, write


def ornstein(rng: np.random.Generator, rows: int, correlation_rows: float) -> np.ndarray:
    """(rows,) of unit variance and correlation exp(-|k|/T)."""
    keep = np.exp(-1.0 / correlation_rows)
    draws = rng.standard_normal(rows + 20 * int(correlation_rows))
    return lfilter([np.sqrt(1.0 - keep**2)], [1.0, -keep], draws)[-rows:]


def swinging(rows: int, time: float, damping: float) -> np.ndarray:
    """(rows,) correlation of x'' + 2 d/T x' + x/T^2 = white noise: exp(A k) S, S the stationary covariance."""
    rates = np.array([[0.0, 1.0], [-1.0 / time**2, -2.0 * damping / time]])
    stationary = solve_continuous_lyapunov(rates, -np.diag([0.0, 1.0]))
    return np.array([(expm(k * rates) @ stationary)[0, 0] for k in range(rows)]) / stationary[0, 0]


RELAXED = {time: np.exp(-np.arange(60) / time) for time in (0.5, 4.0, 9.0, 30.0)}


@pytest.mark.parametrize(
    ("parts", "shares", "correlations"),
    [
        (((),), [1.0], [np.eye(1, 60)[0]]),
        (((9.0,),), [1.0], [RELAXED[9.0]]),
        (((9.0,), ()), [0.7, 0.3], [RELAXED[9.0], np.eye(1, 60)[0]]),
        (((3.0, 0.2),), [1.0], [swinging(60, 3.0, 0.2)]),
        (((3.0, 1.0), ()), [0.7, 0.3], [swinging(60, 3.0, 1.0), np.eye(1, 60)[0]]),
        (((1.5, 2.5), (30.0,)), [0.4, 0.6], [swinging(60, 1.5, 2.5), RELAXED[30.0]]),
        (((0.5,), (30.0,)), [0.4, 0.6], [RELAXED[0.5], RELAXED[30.0]]),
        (((4.0,), (30.0,), ()), [0.3, 0.6, 0.1], [RELAXED[4.0], RELAXED[30.0], np.eye(1, 60)[0]]),
    ],
)
def test_products_are_those_of_the_correlation(parts, shares, correlations):
    """Against the dense matrix of the same correlations, and the restricted likelihood that they make (Harville, J. Am.
    Stat. Assoc. 72:320, 1977). Its condition is below 1e5: 1e-10 is left of float64."""
    process = Process(parts, np.array(shares))
    dense = toeplitz(np.array(shares) @ np.array(correlations))
    columns = np.asfortranarray(np.random.default_rng(0).standard_normal((60, 3)))
    product, size = process.weighed(columns)
    np.testing.assert_allclose(process.between(columns), columns.T @ dense @ columns, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(product, columns.T @ np.linalg.solve(dense, columns), rtol=1e-9, atol=1e-8)
    assert size == pytest.approx(np.linalg.slogdet(dense)[1], abs=1e-9)

    columns = np.linalg.qr(columns)[
        0
    ]  # two directions and a residual that they leave: -(log|R| + log|X'R^-1 X|)/2 + ...
    inverse, log_sizes = np.linalg.inv(dense), np.linalg.slogdet(dense)[1]
    information = columns[:, :2].T @ inverse @ columns[:, :2]
    taken = inverse @ columns[:, :2] @ np.linalg.solve(information, columns[:, :2].T @ inverse)
    variance = columns[:, 2] @ (inverse - taken) @ columns[:, 2] / 58
    log_sizes += np.linalg.slogdet(information)[1]
    found = fit_noise.likelihood(process, columns)
    assert found == pytest.approx((-0.5 * log_sizes - 29.0 * np.log(variance), variance), rel=1e-9)


@pytest.mark.parametrize("rows", [24, 400])
def test_every_noise_that_a_search_may_meet_has_a_likelihood(rows):
    """At the ends of all bounds together and a step beyond, where noise is smoothest, and in between: of white
    residuals, and of such as drift. A swing that lasted for a thousand of its times would have none in float64."""
    rng, since = np.random.default_rng(9), np.maximum(np.linspace(-1.0, 19.0, rows), 0.0)
    kept, slow = np.exp(-since / 0.6), np.exp(-since / 8.0)
    jacobian = np.stack([kept * np.sin(3.0 * since), 1.0 - kept, 1.0 - slow, since * slow, np.ones(rows)], axis=1)
    for residual in (rng.standard_normal(rows), np.cumsum(np.cumsum(rng.standard_normal(rows)))):
        columns = fit_noise._columns(np.linalg.qr(jacobian)[0], residual)
        for kind in fit_noise.CORRELATED:
            low, high = np.array(kind.bounds(rows)).T
            off = fit_noise.STEP
            ends = (*product(*zip(low, high, strict=True)), *product(*zip(low - off, high + off, strict=True)))
            places = [*ends, *(low + (high - low) * rng.random((20, len(low))))]
            found = [fit_noise.likelihood(kind.at(np.array(place)), columns) for place in places]
            assert np.isfinite(found).all(), kind


def test_the_error_of_a_mean_is_known_in_closed_form():
    """Of n values with correlation r^|k| and variance v, v/n ((1 + r)/(1 - r) - 2 r (1 - r^n)/(n (1 - r)^2)); v by the
    restricted likelihood is x'Px/(n - 1), P what R^-1 leaves beside the mean. Its degrees of freedom, from the s.d. of
    log(s^2/(1 - r)^2), 2/n and 4 (1 + r)/(1 - r)/n of r's own: to a share of (1 + r)/(1 - r)/n, 1 %, of finite n."""
    rows, r = 2000, 0.8
    x = ornstein(np.random.default_rng(2), rows, -1.0 / np.log(r))
    mean, one = np.full((rows, 1), rows**-0.5), np.ones(rows)
    inverse = np.linalg.inv(toeplitz(r ** np.arange(rows)))
    left = inverse - np.outer(inverse @ one, one @ inverse) / (one @ inverse @ one)
    variance = x @ left @ x / (rows - 1)
    exact = variance * ((1 + r) / (1 - r) - 2 * r * (1 - r**rows) / (rows * (1 - r) ** 2))
    spread = Likely(Kind((1,)), np.log([-1.0 / np.log(r)])).spread(mean, x)
    assert spread.covariance[0, 0] == pytest.approx(exact, rel=1e-9)
    noise = fit_noise.likely(mean, x)[0]
    assert noise.kind == Kind((1,))
    solution = Solution(np.zeros(1), x, mean, "")
    found = float(np.exp(-1.0 / noise.process.parts[0][0]))
    freedom = fit_solve.information(solution, np.ones(1, bool), noise.spread).freedom[0]
    assert freedom == pytest.approx(rows / (1.0 + 2.0 * (1.0 + found) / (1.0 - found)), rel=0.03)


def line(rows: int) -> np.ndarray:
    """Slopes (rows, 2) of a level and a slope."""
    return np.stack([np.ones(rows), np.linspace(-1.0, 1.0, rows)], axis=1)


def stated(jacobian: np.ndarray, noise: np.ndarray) -> list[Estimate]:
    """Each number, which is 0, with its error."""
    place = np.linalg.lstsq(jacobian, noise, rcond=None)[0]
    solution = Solution(place, jacobian @ place - noise, jacobian, "")
    noises = fit_noise.likely(jacobian, solution.residual)
    every = [fit_solve.information(solution, np.ones(len(place), bool), noise.spread) for noise in noises]
    says = mixed(every, np.array([noise.weight for noise in noises]))
    return [Estimate("x", 0.0, *map(float, each)) for each in zip(place, says.deviation(), says.freedom, strict=True)]


def test_errors_hold_for_correlated_residuals():
    """A line through noise correlated over a fortieth of the rows, 40 times: intervals for 68 and 95 % hold that many
    of the 80 numbers, to 3 of their own s.d., 0.156 and 0.070. Taken for white they would hold a third: they are three
    times too narrow (sqrt(2 T) of T = 5 rows)."""
    rng, jacobian = np.random.default_rng(1), line(200)
    every = [each for _ in range(40) for each in stated(jacobian, 0.1 * ornstein(rng, 200, 5.0))]
    for share, margin in ((ONE, 0.156), (TWO, 0.070)):
        assert np.mean([abs(each.value) < each.within(share) for each in every]) == pytest.approx(share, abs=margin)


def test_white_noise_has_the_freedom_of_its_rows():
    """And what is left over, over that."""
    jacobian, residual = line(200), np.random.default_rng(2).standard_normal(200)
    residual -= jacobian @ np.linalg.lstsq(jacobian, residual, rcond=None)[0]
    white = Likely(fit_noise.WHITE, np.zeros(0))
    says = fit_solve.information(Solution(np.zeros(2), residual, jacobian, ""), np.ones(2, bool), white.spread)
    np.testing.assert_allclose(says.freedom, 198.0)
    np.testing.assert_allclose(
        says.covariance, residual @ residual / 198 * np.linalg.inv(jacobian.T @ jacobian), atol=1e-12
    )


def test_an_oscillation_is_not_taken_for_slow_noise():
    """Of 8 periods that decay over a quarter of the record, below a meter's white noise: a line's s.d., to a factor two
    as one record tells it. One correlation time alone would say 10 times as much."""
    rows, lag = 400, np.arange(400)
    correlation = np.exp(-lag / 100.0) * np.cos(2.0 * np.pi * lag / 50.0)
    correlation[0] += 0.2
    noise = 0.1 * np.linalg.cholesky(toeplitz(correlation)) @ np.random.default_rng(3).standard_normal(rows)
    jacobian = line(rows)
    estimator = np.linalg.pinv(jacobian)
    true = 0.1 * np.sqrt(np.diag(estimator @ toeplitz(correlation) @ estimator.T))
    found = fit_noise.likely(jacobian, noise)[0].process
    assert max(found.correlation_rows()) == pytest.approx(50.0 / (2.0 * np.pi), rel=0.1)  # one period in eight
    ratio = [each.deviation for each in stated(jacobian, noise)] / true
    assert (ratio > 0.5).all() and (ratio < 2.0).all(), ratio


def test_an_exact_fit_has_no_error():
    """Nor is what a search, ended early, has left along the curve an error: 1e-9 beside it is, to float64's 1e-16."""
    assert [each.within(TWO) for each in stated(line(50), np.zeros(50))] == [0.0, 0.0]
    basis, noise = np.linalg.qr(line(50))[0], 1e-9 * np.random.default_rng(0).standard_normal(50)
    white = Likely(fit_noise.WHITE, np.zeros(0))
    early, whole = (white.spread(basis, left).covariance for left in (noise + basis.sum(axis=1), noise))
    np.testing.assert_allclose(early, whole, rtol=1e-6, atol=1e-30)


def test_slow_noise_is_told_in_words():
    """From a twentieth of the record on."""
    for share, count in ((0.049, 1), (0.051, 2)):
        said = fit_area.said([Likely(Kind((1,)), np.log([share * 1000]))], np.ones(1), 0.02, 1000)
        assert len(said) == count and said[0].endswith(f"noise, correlated over {20 * share:.3g} s")
    assert said[1].startswith("warning: that is 0.051 of the recording")


def test_noise_that_is_not_ruled_out_is_told_in_words():
    """Where it is as likely as one in ten, and makes an error half as large again."""
    slow = Kind((1, 1))
    for weight, factor, count in ((0.3, 1.6, 2), (0.3, 1.4, 1), (0.09, 1.6, 1)):
        noises = [Likely(fit_noise.WHITE, np.zeros(0), 1.0 - weight), Likely(slow, np.log([1.0, 20.0, 3.0]), weight)]
        notes = fit_area.said(noises, np.array([0.9, factor]), 0.1, 1000)
        assert notes[0] == f"errors take the residual as noise, white ({1.0 - weight:.0%}), or of 1 other kind"
        assert len(notes) == count
        if count == 2:
            assert notes[1] == (
                "warning: the recording does not rule out noise, 25% correlated over 0.1 s, 75% correlated over 2 s "
                "(30%): errors would be 1.6 times as large"
            )


def test_a_mixture_of_errors_has_the_intervals_that_are_given():
    """Of 70 and 30 %, one s.d. 3 times the other's, with 8 and 200 degrees of freedom: the two intervals hold 68 and
    95 % of the mixture; of one kind alone nothing changes."""
    weights, deviations, freedoms = np.array([0.7, 0.3]), np.array([0.01, 0.03]), np.array([200.0, 8.0])
    says = [
        fit_solve.Information(np.diag([d**2, 0.0]), np.array([f, np.inf]), ())
        for d, f in zip(deviations, freedoms, strict=True)
    ]
    both = mixed(says, weights)
    estimate = Estimate("x", 0.0, 0.0, both.deviation()[0], both.freedom[0])
    for share in (ONE, TWO):
        held = 2.0 * student.cdf(estimate.within(share) / deviations, freedoms) - 1.0
        assert weights @ held == pytest.approx(share, abs=1e-6)
    assert (both.covariance[1, 1], both.freedom[1]) == (0.0, np.inf)
    np.testing.assert_allclose(factors(says, both), deviations / both.deviation()[0])
    alone = mixed(says[1:], np.ones(1))
    np.testing.assert_allclose([alone.deviation()[0], alone.freedom[0]], [0.03, 8.0], rtol=1e-5)


def test_kinds_that_cannot_state_an_error_count_only_where_they_are_most():
    """With less than one degree of freedom under a kind of 40 % the error is that of the other; of 60 %, none."""
    says = [fit_solve.Information(np.diag([d**2]), np.array([f]), ()) for d, f in ((0.01, 20.0), (0.1, 0.3))]
    most, least = (mixed(says, np.array([weight, 1.0 - weight])) for weight in (0.6, 0.4))
    np.testing.assert_allclose([most.deviation()[0], most.freedom[0]], [0.01, 20.0], rtol=1e-5)
    assert least.freedom[0] < 1.0


def test_noise_of_two_unlike_times_is_found():
    """Half relaxes over 2 rows, half over 200, of 4,000: times to a factor two, and a line's s.d. likewise, as one
    record tells them. One time alone would say a third of it: that of half the variance over some 20 rows."""
    rng, jacobian, rows = np.random.default_rng(5), line(4000), np.arange(4000)
    noise = np.sqrt(0.5) * (ornstein(rng, 4000, 2.0) + ornstein(rng, 4000, 200.0))
    found = fit_noise.likely(jacobian, noise)[0]
    assert found.kind.orders.count(1) == 2
    fast, slow = found.process.correlation_rows()[:2]
    assert 1.0 < fast < 4.0 and 100.0 < slow < 400.0
    estimator = np.linalg.pinv(jacobian)
    through = estimator @ toeplitz(0.5 * np.exp(-rows / 2.0) + 0.5 * np.exp(-rows / 200.0)) @ estimator.T
    ratio = [each.deviation for each in stated(jacobian, noise)] / np.sqrt(np.diag(through))
    assert (ratio > 0.5).all() and (ratio < 2.0).all(), ratio


def test_a_meter_that_holds_its_values_is_read_once_for_each(tmp_path):
    """Polled every 20 ms, renewed every 0.1 s: one value for each renewal, none between two, evenly apart."""
    made = 1.0 + np.sin(np.arange(50.0))
    polled_s = 0.02 * np.arange(250)
    path = tmp_path / "held.csv"
    rows = (f"{t:.9g},{made[int(t / 0.1 + 1e-9)]:.9g}" for t in polled_s)
    path.write_text("t_s,p_mw\n" + "\n".join(rows) + "\n")
    job = SimpleNamespace(devices=1, accelerator=SimpleNamespace(devices_per_server=1, servers_per_rack=1))
    series = fit_data.power(path, Columns(), None, job, "device")  # type: ignore[arg-type]
    assert series.row_s == pytest.approx(0.1)
    np.testing.assert_allclose(series.means(0, series.rows(0.1), 0.1), made[1 : 1 + series.rows(0.1)], rtol=1e-8)
    assert series.rows(0.1) >= 48


def test_an_error_without_a_degree_of_freedom_is_not_stated():
    """Of two numbers with the same s.d., the one whose s.d. is hardly known."""
    paths = ("grid.area.main.inertia_s", "grid.area.main.damping_pu")
    parameters = [Parameter(path=path, low=0.0, high=2.0, scale="linear") for path in paths]
    one = np.ones(2)
    task = SimpleNamespace(
        paths=paths, parameters=parameters, start=one, log=np.zeros(2, bool), unit=one, values=lambda place: place
    )
    says = fit_solve.Information(0.01 * np.eye(2), np.array([0.99, 1.01]), ())
    found = estimates_of(task, Solution(one, one, np.eye(2), ""), says, (np.zeros(2), np.full(2, 2.0)))
    assert np.isinf(found[0].deviation) and found[1].deviation == pytest.approx(0.1)
    assert fit.error_of(found[0]) == "error cannot be stated: residual too slow"


def groups_of_two(rng: np.random.Generator, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Slopes (rows, 2) and groups (rows,), 50 rows each: a level, and a slope that every other group lacks."""
    group = np.repeat(np.arange(groups), 50)
    slope = np.tile(np.linspace(-1.0, 1.0, 50), groups) * (group % 2)
    return np.stack([np.ones(len(group)), slope], axis=1), group


@pytest.mark.parametrize("groups", [4, 12])
def test_intervals_hold_for_few_groups(groups):
    """Noise that is correlated all through a group, fitted 2,000 times: intervals for 68 and 95 % hold that many, to 3
    of their own s.d., 0.0312 and 0.0140; of 4 groups the slope shows in 2 only, whose intervals are too wide. Taken as
    normal they hold too few."""
    rng, inside, normal = np.random.default_rng(4), [], []
    jacobian, group = groups_of_two(rng, groups)
    for _ in range(2000):
        noise = np.repeat(rng.standard_normal(groups), 50) + 0.3 * rng.standard_normal(len(group))
        place = np.linalg.lstsq(jacobian, noise, rcond=None)[0]
        solution = Solution(1e-3 * place, 1e-3 * (jacobian @ place - noise), jacobian, "")
        said = fit_solve.information(solution, np.array([True, True]), partial(fit_errors.by_groups, group=group))
        estimate = Estimate("x", 0.0, solution.place[0], said.deviation()[0], said.freedom[0])
        assert estimate.freedom == pytest.approx(groups - 1)
        inside.append([abs(estimate.value) < estimate.within(share) for share in (ONE, TWO)])
        normal.append(abs(estimate.value) < 2.0 * estimate.deviation)
    share = np.mean(inside, axis=0)
    assert abs(share[0] - ONE) < 0.0312 and abs(share[1] - TWO) < 0.014, share
    if groups == 4:
        assert np.mean(normal) < 0.9, np.mean(normal)


def test_the_interval_of_a_deviation_is_that_of_its_square():
    """A s.d. of 0.02 whose square, 4e-4, has an error of 3e-4: 68 % reach from 0.01 to 0.0265, 95 % down to 0."""
    found = Estimate("x.noise", 0.0, 0.02, 3e-4 / 0.04, 1e6, root=True)
    assert found.within(ONE) == pytest.approx(0.01, rel=1e-3)
    assert found.within(TWO) == 0.02
    none = Estimate("x.noise", 0.0, 0.0, 0.01, 1e6, root=True)  # nothing found, a square of up to 1e-4
    assert none.within(ONE) == pytest.approx(0.01, rel=1e-3)


def test_errors_are_told_in_words():
    assert fit.error_of(Estimate("x", 0.0, 1.0, np.inf, 2)) == "error cannot be stated from 3 iterations"
    assert fit.error_of(Estimate("x", 0.0, 1.0, np.inf, 0)) == "error cannot be stated from 1 iteration"
    assert fit.error_of(Estimate("x", 0.0, 1.0, np.nan, 2)) == "not identified"
    assert fit.error_of(Estimate("x", 0.0, 1.0, 0.1, np.inf)) == "within 0.1 (68 %), 0.2 (95 %)"


def test_another_unit_is_refused():
    record = Record(np.full(10, 1500.0), 1.0, 1.0, Iterations(np.arange(3.0), np.ones(3), 0))
    with pytest.raises(FitError, match="mean is 1500 MW, that of CONFIG 1.5 MW: are --unit"):
        fit_power._same_size(record, 1.5)
    fit_power._same_size(record, 1500.0 / 3.9)


def test_a_drift_is_warned_of():
    """Of 0.1 in ten iterations whose means scatter by 0.01; not where they scatter alone."""
    its = Iterations(np.arange(10.0), np.ones(10), 0)
    scatter = 0.01 * np.random.default_rng(6).standard_normal(10)
    which = np.repeat(np.arange(10), 5)
    (warning,) = fit_leftover._drift(its, which, (np.linspace(0.0, 0.1, 10) + scatter)[which])
    assert "drifts by +0.1" in warning or "drifts by +0.09" in warning
    assert not fit_leftover._drift(its, which, scatter[which])


def test_what_one_group_alone_tells_is_not_stated():
    """A slope that only one of four groups has: without it nothing is left to fit."""
    group = np.repeat(np.arange(4), 50)
    jacobian = np.stack([np.ones(200), np.tile(np.linspace(-1.0, 1.0, 50), 4) * (group == 2)], axis=1)
    residual = 1e-2 * np.random.default_rng(8).standard_normal(200)
    residual -= jacobian @ np.linalg.lstsq(jacobian, residual, rcond=None)[0]
    says = fit_solve.information(
        Solution(np.zeros(2), residual, jacobian, ""), np.ones(2, bool), partial(fit_errors.by_groups, group=group)
    )
    assert np.isnan(says.deviation()[1]) and says.deviation()[0] < 0.01


def test_what_leaves_no_trace_is_named():
    """Of five columns the second is the negative of the first, and the fourth is nothing: a trade and a mute one."""
    rng = np.random.default_rng(2)
    jacobian = rng.standard_normal((400, 5))
    jacobian[:, 1], jacobian[:, 3] = -jacobian[:, 0], 0.0
    solution = Solution(np.zeros(5), 0.01 * rng.standard_normal(400), jacobian, "")
    says = fit_solve.information(solution, np.ones(5, bool), fit_noise.likely(jacobian, solution.residual)[0].spread)
    named = [tuple(np.flatnonzero(fit_solve.part_of(each))) for each in says.open]
    assert sorted(named) == [(0, 1), (3,)]
    trade = next(each for each in says.open if len(np.flatnonzero(fit_solve.part_of(each))) == 2)
    np.testing.assert_allclose(trade.step[:2], np.sqrt(0.5) * np.array([1.0, 1.0]), atol=1e-9)
    assert np.isnan(says.deviation()[[0, 1, 3]]).all()
    np.testing.assert_allclose(says.deviation()[[2, 4]], 0.01 / 20.0, rtol=0.2)  # 1/sqrt(400) of the noise


def test_an_interrupted_search_keeps_its_best():
    calls = []

    def residual(x: np.ndarray) -> np.ndarray:
        calls.append(x.copy())
        if len(calls) == 4:
            raise KeyboardInterrupt
        return np.array([x[0] ** 3 - 8.0, x[1] - 1.0])

    def jacobian(x: np.ndarray) -> np.ndarray:
        return np.array([[3.0 * x[0] ** 2, 0.0], [0.0, 1.0]])

    bounds = np.full(2, -10.0), np.full(2, 10.0)
    found = fit_solve.solve(residual, jacobian, np.array([5.0, 5.0]), bounds, 50, lambda rms: None)
    assert not found.complete and found.message == "interrupted"
    assert abs(found.place[0] ** 3 - 8.0) < 117.0  # of the start
    np.testing.assert_array_equal(found.place, min(calls[:3], key=lambda x: np.sum(residual_of(x) ** 2)))


def residual_of(x: np.ndarray) -> np.ndarray:
    return np.array([x[0] ** 3 - 8.0, x[1] - 1.0])


def stretched(rng: np.random.Generator, jitter: float, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Rows of 0.02 s and the lengths of the iterations in them: two levels, a slope, each stretched as a whole."""
    lengths = 3.0 / (1.0 + jitter * rng.standard_normal(count))
    starts = np.concatenate([[0.7], 0.7 + np.cumsum(lengths)])
    rows = np.arange(0.0, starts[-1], 0.02)
    which = np.clip(np.searchsorted(starts, rows, side="right") - 1, 0, count - 1)
    share = (rows - starts[which]) / lengths[which]
    shape = np.interp(share % 1.0, [0.0, 0.02, 0.6, 0.65, 0.9, 1.0], [0.2, 1.0, 0.9, 0.2, 0.3, 0.2])
    return shape + 0.01 * rng.standard_normal(len(rows)), lengths


@pytest.mark.parametrize("jitter", [0.003, 0.05])
def test_iterations_are_found(jitter):
    """Every whole iteration, its length to half a row: the noise shifts an edge of slope 13/s by 0.01/13 s only."""
    values, lengths = stretched(np.random.default_rng(5), jitter)
    period_s = fit_iterations.period_of(values, 0.02, 3.6)
    assert period_s == pytest.approx(3.0, rel=0.01 + jitter)  # the peak is as broad as the lengths are
    found = fit_iterations.iterations_at(fit_iterations.recurrences(values, 0.02, period_s))
    assert found.left_out == 0 and len(found.length_s) >= len(lengths) - 2
    # An edge within an iteration recurs after parts of two: lengths from edge to edge are weighted means of neighbours.
    assert found.period_s == pytest.approx(1.0 / np.mean(1.0 / lengths), rel=jitter)


@pytest.mark.parametrize("together", [1, 3])
def test_noise_is_told_from_a_meters_own(together):
    """Two phases of 0.05 and 0.02 with 0.1 s of correlation, and white noise of 0.03 on top, which a meter adds, whose
    values are means over so many rows. 4 s.d. as stated; taken for means over one row, 0.05 would be 0.048."""
    rng, row_s, rows = np.random.default_rng(3), 0.02, 30_000
    phase = (np.arange(rows) // 100) % 2
    fine = ornstein(rng, rows * 10, 50.0)  # at 2 ms
    level = np.array([0.05, 0.02])[phase]
    means = np.convolve(fine.reshape(rows, 10).mean(axis=1), np.full(together, 1.0 / together), "same")
    residual = level * means + 0.03 * rng.standard_normal(rows)
    which, lengths_s = np.arange(rows) // 200, (row_s, together * row_s)
    found = fit_iterations.noise_of(residual, np.zeros(rows), phase, which, 2, lengths_s, 1.0)
    assert abs(found.correlation_s - 0.1) < 4.0 * found.correlation_error_s
    assert found.correlation_error_s < 0.015
    assert (np.abs(found.deviation - [0.05, 0.02]) < 4.0 * found.deviation_error).all()
    assert (found.deviation_error < [0.003, 0.0015]).all()


def test_bad_recordings_are_refused(tmp_path):
    with pytest.raises(FitError, match="constant"):
        fit_iterations.period_of(1.0 + 1e-9 * np.random.default_rng(0).standard_normal(1000), 0.01, 1.0)
    with pytest.raises(FitError, match=r"covers 1 s; 3 whole iterations of some 1 s"):
        fit_iterations.period_of(np.random.default_rng(0).standard_normal(100), 0.01, 1.0)
    with pytest.raises(FitError, match="does not repeat itself after 0.625 to 1.6 s"):
        fit_iterations.period_of(np.linspace(0.0, 1.0, 1000) ** 2, 0.01, 1.0)
    with pytest.raises(FitError, match="alike in the recording: 1, at least 3"):
        fit_iterations.iterations_at(np.array([0.0, 1.0]))
    with pytest.raises(TraceError, match="cannot be read: No such file"):
        fit_data.is_trace(tmp_path / "none.h5")
    path = tmp_path / "f.csv"
    path.write_text("t_s,f_hz\n0,60\n1,59\n")
    with pytest.raises(TraceError, match="--frequency-column"):
        fit_data.frequency(path, Columns(), "main")
    with pytest.raises(TraceError, match="no column 'hz'; nearest: f_hz"):
        fit_data.frequency(path, Columns(frequency="hz"), "main")
    with pytest.raises(TraceError, match="holds one load, CONFIG has 2 sites"):
        fit_data.loads(path, Columns(power="f_hz"), ("a", "b"))


def test_a_trace_has_no_columns_to_name(tmp_path):
    (tmp_path / "a.h5").write_bytes(fit_data.HDF5_SIGNATURE)
    for columns, option in ((Columns(power="load"), "--power-column load"), (Columns(frequency="f"), "--frequency-")):
        with pytest.raises(TraceError, match=f"is a trace, which has no columns: leave {option}"):
            fit_data.loads(tmp_path / "a.h5", columns, ("campus",))


def test_only_what_is_fitted_is_read(tmp_path, monkeypatch):
    """Of a trace's channels each that a fit of an area needs, once: an hour at 1 ms has seconds of each."""
    made = block(TWO_SITES, 10)
    path, read, wanted = write(tmp_path / "t.h5", TWO_SITES, made), hdf5.read, []
    monkeypatch.setattr(hdf5, "read", lambda path, channels=None: wanted.append(channels) or read(path, None, channels))
    found = fit_data.frequency(path, Columns(), "e")
    drawn = fit_data.loads(path, Columns(), ("öst",))
    assert wanted == [("area_frequency_hz",), ("site_pcc_power_mw",)]
    np.testing.assert_array_equal(found.values, made["area_frequency_hz"][:, 1])
    assert list(drawn) == ["west", "öst"]
    np.testing.assert_array_equal(drawn["öst"].values, made["site_pcc_power_mw"][:, 1])
