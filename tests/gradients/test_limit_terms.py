"""Limits as terms in JAX: equal to what the judge in NumPy finds on the same rows, slopes as central differences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emulator import limit_terms, limits
from emulator import limits_schema as schema
from emulator.recording import Recording
from tests.compiling import QUICKLY

SAID = {"name": "clause", "source": "test", "status": "example"}
ROW_S, ROWS, NOMINAL_HZ = 0.02, 700, 60.0
CLAUSES = [
    {"kind": "sliding_window_change", "window_s": 1.0, "max_mw": 10.0},
    {"kind": "sliding_window_change", "window_s": 1.013, "max_mw": 10.0},  # ends between rows
    {"kind": "sliding_window_change", "window_s": 14.0, "max_mw": 10.0},  # the whole record
    {"kind": "sliding_window_change", "window_s": 1.0, "max_mw": 10.0, "skip_s": 1.31},  # within a row
    {"kind": "sliding_window_change", "window_s": 1.0, "max_mw": 10.0, "skip_s": 1.3},
    {"kind": "ramp_rate", "over_s": 0.5, "max_mw_per_min": 100.0},
    {"kind": "ramp_rate", "over_s": 0.507, "max_mw_per_min": 100.0},
    {"kind": "dynamic_range", "max_mw": 20.0},
    {"kind": "band_energy", "low_hz": 0.1, "high_hz": 2.0, "max_fraction": 0.2, "reading": "variance"},
    {"kind": "band_energy", "low_hz": 0.1, "high_hz": 2.0, "max_fraction": 0.2, "reading": "magnitude"},
    {"kind": "band_amplitude", "low_hz": 0.4, "high_hz": 2.0, "max_mw": 1.0},
    {"kind": "band_amplitude", "low_hz": 5.0, "high_hz": 25.0, "max_mw": 1.0},
    {"kind": "voltage_change", "max_pct": 3.0},
    {"kind": "voltage_range", "low_pu": 0.9, "high_pu": 1.1},
    {"kind": "frequency_deviation", "max_hz": 0.2},
    {"kind": "rocof", "over_s": 0.5, "max_hz_per_s": 0.5},
    {"kind": "tie_swing", "max_mw": 20.0},
    {"kind": "shaft_torque", "max_pu": 1.0},
    {"kind": "soc_window", "low": 0.1, "high": 0.9},
    {"kind": "soc_window", "low": 0.4, "high": 0.95},
]
OFFSET = {"power": 100.0, "voltage": 1.0, "frequency": 0.0, "soc": 0.5, "tie flow": 0.0, "shaft torque": 0.0}
SIZE = {"power": 8.0, "voltage": 0.02, "frequency": 0.2, "soc": 0.15, "tie flow": 8.0, "shaft torque": 0.6}


def test_every_kind_of_limit_is_tested():
    """Flicker's proxy below; the return of load counts time, which has no slope."""
    assert set(limits.KINDS) - {clause["kind"] for clause in CLAUSES} == {"flicker_pst", "flicker_plt", "load_return"}


def clause(table):
    return schema.Limits.model_validate({"limit": [SAID | table]})


def series(quantity, rows=ROWS, seed=1):
    """(rows, 2 places) a swing, a drift and noise."""
    rng, t = np.random.default_rng(seed), np.arange(rows)[:, None] * ROW_S
    swing = np.sin(2 * np.pi * np.array([[0.31, 0.74]]) * t + rng.uniform(0, 6, (1, 2)))
    return OFFSET[quantity] + SIZE[quantity] * (swing + 0.05 * rng.standard_normal((rows, 2)))


def judged(table, quantity, values, row_s=ROW_S):
    """Margin that `limits.assess` finds."""
    shown = values + NOMINAL_HZ if quantity == "frequency" else values
    places = {name: shown[:, i] for i, name in enumerate(("a", "b"))}
    time_s = np.arange(len(values)) * row_s
    found = limits.assess(Recording("r", time_s, row_s, True, NOMINAL_HZ, True, "", {quantity: places}), table)
    return found.limits[0].margin


def names_of(table):
    return "-".join(map(str, table.values()))


@pytest.mark.parametrize("rows", (ROWS, ROWS - 1))
def test_terms_equal_the_judge_and_their_slopes_the_differences(x64, rows):
    """Both in float64: to rounding, 1e-15 of sums of some 1e3 rows and of 60 Hz; 1e-10 of the allowed is ample.
    Terms are piecewise smooth in the rows: a step of 1e-6 along a random direction stays on one piece but for ties.
    All clauses in one compiled function, each on its own copy of the rows."""
    tables = [clause(table) for table in CLAUSES]
    quantities = [limits.KINDS[table["kind"]].quantity for table in CLAUSES]
    values = [series(quantity, rows) for quantity in quantities]

    def total(each):
        margins = [limit_terms.room(one.limit[0], x, ROW_S) for one, x in zip(tables, each, strict=True)]
        return sum(margins), jnp.stack(margins)

    both = jax.jit(jax.grad(total, has_aux=True), compiler_options=QUICKLY)
    slopes, margins = both(values)
    drawn = [np.random.default_rng(2).standard_normal(x.shape) for x in values]
    along = [x * SIZE[quantity] for x, quantity in zip(drawn, quantities, strict=True)]
    above, below = (both([x + step * d for x, d in zip(values, along, strict=True)])[1] for step in (1e-6, -1e-6))
    differences = (np.asarray(above) - np.asarray(below)) / 2e-6
    for i, table in enumerate(CLAUSES):
        name = names_of(table)
        wanted = judged(tables[i], quantities[i], values[i])
        assert float(margins[i]) == pytest.approx(wanted, rel=1e-10, abs=1e-11), name
        slope = float(np.sum(np.asarray(slopes[i]) * along[i]))
        assert slope == pytest.approx(differences[i], rel=1e-6, abs=1e-7), name
        assert abs(slope) > 1e-6, name


@pytest.mark.parametrize(("hz", "lamp_v"), ((0.5, 120), (2.0, 230), (8.8, 230), (20.0, 120)))
def test_flicker_proxy_of_an_even_swing(x64, hz, lamp_v):
    """A steady sine is felt evenly but for the smoothing's ripple g = 1/sqrt(1 + (4 pi f 0.3 s)^2), of which the
    meter's percentiles see a part: its Pst lies between the proxy and sqrt(1 + g) of it. The meter itself and the
    record's first second, in which its filters settle, make 3 %."""
    limit = clause({"kind": "flicker_pst", "lamp_v": lamp_v, "frequency_hz": 60.0, "max_pst": 1.0})
    row_s, rows = 0.0025, 240_000
    swing = 1.0 + 0.01 * np.sin(2 * np.pi * hz * np.arange(rows) * row_s)
    values = np.stack([swing, np.ones(rows)], axis=1)
    proxy = 1.0 - float(limit_terms.room(limit.limit[0], jnp.asarray(values), row_s))
    meter = 1.0 - judged(limit, "voltage", values, row_s)
    ripple = 1.0 / np.hypot(1.0, 4 * np.pi * hz * 0.3)
    assert 0.97 * proxy < meter < 1.03 * proxy * np.sqrt(1.0 + ripple)
    assert meter > 0.3


def test_slope_of_the_flicker_proxy(x64):
    """Smooth where anything swings: a central difference of 1e-6 along a random direction in float64."""
    limit = clause({"kind": "flicker_pst", "lamp_v": 120, "frequency_hz": 60.0, "max_pst": 1.0}).limit[0]
    values = series("voltage")
    direction = np.random.default_rng(2).standard_normal(values.shape)
    term = jax.jit(lambda x: limit_terms.room(limit, x, 0.005))
    slope = float(jnp.sum(jax.grad(term)(jnp.asarray(values)) * direction))
    difference = (float(term(values + 1e-6 * direction)) - float(term(values - 1e-6 * direction))) / 2e-6
    assert slope == pytest.approx(difference, rel=1e-6) and abs(slope) > 1e-3


def test_still_rows_have_finite_slopes():
    """A constant has no swing: shares and flicker are 0 there, and so are their slopes."""
    tables = CLAUSES + [{"kind": "flicker_pst", "lamp_v": 120, "frequency_hz": 60.0, "max_pst": 1.0}]

    def total(each):
        margins = [limit_terms.room(clause(table).limit[0], x, 0.005) for table, x in zip(tables, each, strict=True)]
        return sum(margins), margins

    both = jax.jit(jax.grad(total, has_aux=True), compiler_options=QUICKLY)
    slopes, margins = both([jnp.ones((ROWS, 1))] * len(tables))
    for table, margin, slope in zip(tables, margins, slopes, strict=True):
        assert np.isfinite(margin) and np.isfinite(slope).all(), table
