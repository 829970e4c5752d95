"""Pictures of sweeps, from files made without an emulation."""

from __future__ import annotations

import itertools
import struct
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure

import emulator as em
from emulator import plot_sweep, toml_text
from emulator.limits import Assessment, Finding
from emulator.trace import TraceError
from emulator.traces import sweeps

UNITS, CUTOFF, RATIO, CONTROLLER = (
    f"site.campus.{key}" for key in ("bess.units", "controller.cutoff_hz", "pcc.short_circuit_ratio", "controller")
)
CONFIG = '[run]\nname = "sizes"\nduration_s = 120.0\n[[site]]\nname = "campus"\n[sweep.values]\n'
SEEDS = 3


@pytest.fixture(scope="module")
def scenario():
    return em.load("battery_sizes")


@pytest.fixture
def made(tmp_path, scenario):
    """A file of a batch in which a scenario changes by `change_mw(values, seed)` within 5 s."""

    def make(values, change_mw=lambda values, seed: 8.0 + seed, clauses=("rule",), stopped=lambda values: False):
        results = []
        for combination in itertools.product(*values.values()):
            chosen = dict(zip(values, combination, strict=True))
            for seed in range(SEEDS):
                change = change_mw(chosen, seed)
                results.append(result(chosen, seed, change, clauses, stopped(chosen), scenario))
        lists = (
            f"{toml_text.toml_value(k)} = {toml_text.toml_value([str(x) for x in v])}\n" for k, v in values.items()
        )
        sweeps.write(tmp_path / "s.h5", results, CONFIG + "".join(lists))
        return tmp_path / "s.h5"

    return make


def result(values, seed, change_mw, clauses, stopped, scenario):
    at = "site.campus."
    metrics = {f"{at}pcc_peak_mw": 90.0, f"{at}pcc_swing_mw": 2.0 * change_mw, f"{at}pcc_change_5s_mw": change_mw}
    metrics |= {f"{at}soc_min": 0.4, f"{at}soc_max": 0.6}
    measured = {"rule": (change_mw, 10.0), "other": (80.0, 100.0)}  # and allowed
    findings = tuple(
        Finding(name, "sliding_window_change", found, allowed, allowed - found, "MW", found <= allowed, 1.0, "campus",
                "", "own", "")
        for name, (found, allowed) in measured.items() if name in clauses
    )  # fmt: skip
    return SimpleNamespace(
        case=SimpleNamespace(values=values, seed=seed, scenario=scenario),
        metrics=metrics,
        complete=not stopped,
        stop_reason="voltage collapse" if stopped else "end of run",
        assessment=Assessment("s", True, "", 120.0, findings) if clauses else None,
    )


def figure_of(path):
    found = sweeps.read(path)
    axes = [plot_sweep._axis(found, name) for name in found.values or ("seed",)]
    figure = Figure(layout="constrained")
    with rc_context({"text.parse_math": False}):  # as `plot.picture` does
        plot_sweep._curves(figure, found, axes[0]) if len(axes) == 1 else plot_sweep._maps(figure, found, axes)
    return figure


def texts(axes):
    return [text.get_text() for text in axes.texts]


def dots(axes, label):
    """(x, y) of the curve of that name in the legend."""
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return np.array(line.get_data())


def test_the_command_draws_it(made, tmp_path):
    plot_sweep.picture(made({UNITS: [10, 20]}), tmp_path / "s.png")
    start = (tmp_path / "s.png").read_bytes()[:24]
    assert start[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", start[16:24]) == (1333, 1200)


def test_one_value_shows_every_seed_in_every_panel(made):
    figure = figure_of(made({UNITS: [10, 20, 50, 100]}, lambda v, seed: 100.0 / v[UNITS] + seed))
    power, charge, margin = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == ["drawn from the grid (MW)", "state of charge", "margin (MW)"]
    x, y = dots(power, "change within 5 s")
    assert list(x) == [10] * 3 + [20] * 3 + [50] * 3 + [100] * 3
    assert list(y[:6]) == [10.0, 11.0, 12.0, 5.0, 6.0, 7.0]
    np.testing.assert_allclose(dots(margin, "rule")[1], 10.0 - y)
    bars = power.collections[2].get_segments()[0]  # of the third curve, at the first value
    assert bars.tolist() == [[10.0, 10.0], [10.0, 12.0]]
    failed = figure_of(made({UNITS: [10, 20]}, lambda v, seed: 30.0)).axes[-1]
    assert failed.get_ylim()[0] < -20.0 and failed.get_ylim()[1] > 0.0  # the limit is in view
    assert failed.patches[0].get_extents().y1 == failed.transData.transform((0.0, 0.0))[1]  # shaded up to there
    assert charge.get_legend() is not None


@pytest.mark.parametrize(
    ("values", "scale", "labels"),
    [
        ([10, 20, 50, 100], "log", ["10", "20", "50", "100"]),
        ([20, 40, 60], "linear", ["20", "40", "60"]),
        ([0.005, 0.01, 0.02], "log", ["0.005", "0.01", "0.02"]),
        ([0, 1, 10, 100], "linear", ["0", "1", "10", "100"]),  # 0 has no logarithm
        ([5, 50], "linear", ["5", "50"]),
    ],
)
def test_values_are_named_and_spread(made, values, scale, labels):
    axes = figure_of(made({UNITS: values})).axes[-1]
    assert axes.get_xscale() == scale and axes.get_xlabel() == "bess.units"
    assert [text.get_text() for text in axes.get_xticklabels()] == labels


def test_many_values_are_not_all_named(made):
    axes = figure_of(made({UNITS: list(range(5, 105, 5))})).axes[-1]
    assert len(axes.get_xticks()) < 12


def test_texts_and_tables_are_named_in_their_order(made):
    figure = figure_of(made({CONTROLLER: ["none", {"kind": "low_pass", "cutoff_hz": 0.01}, "droop"]}))
    axes = figure.axes[-1]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["none", "low_pass, cutoff_hz:\n0.01", "droop"]
    x, _ = dots(axes, "rule")
    assert list(x) == [0, 0, 0, 1, 1, 1, 2, 2, 2] and axes.get_xlim() == (-0.5, 2.5)
    assert len(figure.axes[0].lines) == 2 * 3  # dots and crosses, no lines that join what has no order


def test_seeds_alone_are_shown_one_by_one(made):
    axes = figure_of(made({})).axes[-1]
    assert axes.get_xlabel() == "seed" and list(dots(axes, "rule")[0]) == [0, 1, 2]


def test_without_limits_and_battery_there_is_power_only(made):
    path = made({UNITS: [10, 20]}, clauses=())
    with h5py.File(path, "r+") as file:
        file["sweep/site.campus.soc_min"][:] = np.nan
    assert [axes.get_ylabel() for axes in figure_of(path).axes] == ["drawn from the grid (MW)"]


def test_a_map_shows_the_worst_seed(made):
    """Of the margin the least, of the swing the largest; rows are the first value, columns the second."""
    figure = figure_of(
        made(
            {UNITS: [20, 40], CUTOFF: [0.005, 0.01, 0.02]}, lambda v, seed: 4.0 * v[UNITS] * 100 * v[CUTOFF] / 20 + seed
        )
    )
    margin, swing = figure.axes[:2]
    assert (margin.get_title(), swing.get_title()) == ("margin (MW)", "swing (MW)")
    assert texts(margin) == ["+6", "+4", "+0", "+4", "+0", "-8"] and texts(swing)[0] == "8"
    np.testing.assert_allclose(margin.images[0].get_array(), [[6.0, 4.0, 0.0], [4.0, 0.0, -8.0]], atol=1e-9)
    assert [t.get_text() for t in margin.get_xticklabels()] == ["0.005", "0.01", "0.02"]
    assert [t.get_text() for t in margin.get_yticklabels()] == ["20", "40"]
    assert figure.get_supxlabel() == "margin of rule"


def test_letters_tell_which_clause_decides(made):
    """As shares of what clauses allow: 20 of 100 MW are less room than 5 of 10."""
    path = made(
        {UNITS: [20, 40], CUTOFF: [0.01, 0.02]}, lambda v, seed: 5.0 if v[UNITS] < 30 else 15.0, ("rule", "other")
    )
    figure = figure_of(path)
    assert texts(figure.axes[0]) == ["+20 a", "+20 a", "-50 b", "-50 b"]
    assert figure.axes[0].get_title() == "least margin (% of what its clause allows)"
    assert figure.get_supxlabel() == "margin of a: other; b: rule"
    margin = figure_of(made({UNITS: [20, 40]}, lambda v, seed: v[UNITS] / 4.0, ("rule", "other"))).axes[-1]
    assert dots(margin, "other")[1][:3].tolist() == [20.0] * 3 and dots(margin, "rule")[1][3:].tolist() == [0.0] * 3


def test_what_stopped_is_said_in_maps_and_curves(made):
    maps = figure_of(made({UNITS: [20, 40], CUTOFF: [0.01, 0.02]}, stopped=lambda v: v[UNITS] < 30))
    assert [("stopped" in text) for text in texts(maps.axes[0])] == [True, True, False, False]
    curves = figure_of(made({UNITS: [20, 40]}, stopped=lambda v: v[UNITS] < 30))
    assert list(dots(curves.axes[0], "peak")[0]) == [40, 40, 40]
    assert "stopped early" in [text.get_text() for text in curves.axes[0].get_legend().get_texts()]


def test_three_values_make_a_map_each(made):
    figure = figure_of(made({RATIO: [2.0, 4.0, 8.0], UNITS: [20, 40], CUTOFF: [0.01, 0.02]}, lambda v, seed: v[RATIO]))
    shown = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in shown] == [f"pcc.short_circuit_ratio = {ratio}" for ratio in (2, 4, 8)]
    assert [texts(axes)[0] for axes in shown] == ["+8", "+6", "+2"]
    assert len({tuple(axes.images[0].get_clim()) for axes in shown}) == 1  # one scale of colours


def test_what_is_missing_stays_empty(made):
    """An interrupted sweep."""
    path = made({UNITS: [20, 40], CUTOFF: [0.01, 0.02]})
    with h5py.File(path, "r+") as file:
        file["sweep/limit.rule.margin"][-SEEDS:] = np.nan
    assert len(texts(figure_of(path).axes[0])) == 3


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({UNITS: [1], CUTOFF: [0.1], RATIO: [2.0], CONTROLLER: ["none"]}, "at most 3 swept keys"),
        ({RATIO: list(range(1, 14)), UNITS: [1], CUTOFF: [0.1]}, "the first of three with 12 values"),
    ],
)
def test_more_than_a_picture_shows_is_refused(made, tmp_path, values, said):
    with pytest.raises(TraceError, match=said):
        plot_sweep.picture(made(values), tmp_path / "s.png")
    assert not (tmp_path / "s.png").exists()


def test_damage_is_refused_in_words(made, tmp_path):
    path = made({UNITS: [10, 20]})
    with h5py.File(path, "r+") as file:
        del file["sweep/seed"].attrs["units"]
    assert sweeps.is_sweep(path)
    with pytest.raises(TraceError, match=r"s.h5: cannot be read as a sweep"):
        plot_sweep.picture(path, tmp_path / "s.png")
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 9
    with pytest.raises(TraceError, match="sweep of schema version 9; this program reads 1"):
        plot_sweep.picture(path, tmp_path / "s.png")
    (tmp_path / "text.h5").write_text("no HDF5")
    assert not sweeps.is_sweep(tmp_path / "text.h5") and not sweeps.is_sweep(tmp_path / "none.h5")
