"""The overview picture: its panels, and that no peak and no line is lost on the way to it."""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import combinations, pairwise
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure

from emulator import plot, plot_tune, tune_result
from emulator.plot import overview
from emulator.trace import AXES, Header, TraceError
from emulator.traces.hdf5 import TraceWriter

from .synthetic import ONE_SITE, TWO_SITES, block, write


def figure_of(path, window_s=None):
    figure = Figure(layout="constrained")
    with rc_context({"text.parse_math": False}):  # as `picture` does
        plot._draw(figure, plot._gather(path, window_s))
    return figure


def titles(figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]


def made(tmp_path, header: Header, rows=None):
    return write(tmp_path / "t.h5", header, rows or block(header, 3000))


def test_png_has_the_size_promised(tmp_path):
    overview(made(tmp_path, ONE_SITE), tmp_path / "out" / "t.png")
    start = (tmp_path / "out" / "t.png").read_bytes()[:24]
    assert start[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", start[16:24]) == (1600, 1276)


def test_svg_is_made_by_its_ending(tmp_path):
    overview(made(tmp_path, ONE_SITE), tmp_path / "t.svg")
    root = ElementTree.parse(tmp_path / "t.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and (root.get("width"), root.get("height")) == (
        "864pt", "689.04pt",
    )  # fmt: skip
    assert sum(len(path.get("d", "")) > 10_000 for path in root.iter("{http://www.w3.org/2000/svg}path")) >= 4
    assert [path.name for path in tmp_path.iterdir() if "tmp" in path.name] == []


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_names_are_text_whatever_they_contain(tmp_path, ending):
    """Dollar signs are no formula, markup is no markup."""
    name = r"$\frac$ <script>alert(1)</script> --> & $x$"
    place = name.replace("/", "|")  # a slash is a folder in the names of metrics
    labels = {**ONE_SITE.labels, "site": (place,), "area": (place,)}
    header = replace(ONE_SITE, labels=labels, config=f"[run]\nname = '{name}'\n")
    path = made(tmp_path, header)
    overview(path, tmp_path / f"t.{ending}")
    assert figure_of(path).get_suptitle().startswith(name)
    if ending == "svg":
        root = ElementTree.parse(tmp_path / "t.svg").getroot()
        assert not any(element.tag.endswith("script") for element in root.iter())


def test_panels_of_one_site(tmp_path):
    figure = figure_of(made(tmp_path, ONE_SITE))
    assert [title.split(":")[0].split(",")[0] for title in titles(figure)] == [
        "campus", "battery", "voltage", "frequency", "amplitude spectrum of power",
    ]  # fmt: skip
    assert [axes.get_ylabel().split("\n")[0] for axes in figure.axes] == [
        "power (MW)", "power (MW)", "voltage (pu)", "frequency (Hz)", "amplitude (MW)", "state of charge",
    ]  # fmt: skip
    assert figure.get_suptitle() == "made: 3 s, tick 1 ms, complete"


def test_panels_follow_what_the_trace_has(tmp_path):
    figure = figure_of(made(tmp_path, TWO_SITES))
    assert [title.split(":")[0] for title in titles(figure)][:3] == ["west", "öst", "batteries"]
    assert "tie flow" in titles(figure)
    (voltages,) = (axes.get_legend() for axes in figure.axes if axes.get_ylabel() == "voltage (pu)")
    assert [text.get_text().split(":")[0] for text in voltages.get_texts()] == ["west"]  # the other's is stiff
    bare = replace(ONE_SITE, labels={**ONE_SITE.labels, "area": ()}, nominal_kv=(float("nan"),))
    rows = block(bare, 3000)
    rows["bess_soc"][:] = np.nan
    assert len(figure_of(made(tmp_path, bare, rows)).axes) == 2
    labels = {axis: () for axis in (*AXES, "device", "rack")} | {"area": ("main",)}
    grid_only = replace(ONE_SITE, labels=labels, nominal_kv=())
    assert titles(figure_of(made(tmp_path, grid_only))) == ["frequency"]


@pytest.mark.parametrize(
    ("name", "many"), [("southern{}", 6), ("northwest-region-{}", 12), ("a-very-large-campus-in-the-north-west-{}", 3)]
)
def test_no_words_lie_on_others_or_outside(tmp_path, name, many):
    """Titles, legends and labels of as many sites, and areas in a chain, with numbers as long as they come; panels
    stay as wide and as high as those of short names."""
    names = tuple(name.format(i) for i in range(many))
    ties = tuple(f"{a}-{b}" for a, b in pairwise(names))
    labels = {**TWO_SITES.labels, "site": names, "area": names, "tie": ties}
    header = replace(TWO_SITES, labels=labels, nominal_kv=(138.0,) * many, config=f"[run]\nname = '{name * 3}'\n")
    rows = block(header, 3000)
    figure = figure_of(made(tmp_path, header, rows))
    figure.draw_without_rendering()
    texts = [text for axes in figure.axes for text in (axes._left_title, axes.yaxis.label) if text.get_text()]
    legends = [legend for axes in figure.axes if (legend := axes.get_legend())]
    boxes = [its.get_window_extent() for its in (figure._suptitle, *texts, *legends)]
    boxes += [axes.bbox for axes in figure.axes if axes.get_ylabel() != "state of charge"]  # which is over another
    assert len(boxes) >= 18 and all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert not [(a, b) for a, b in combinations(boxes, 2) if a.overlaps(b)]
    assert all(axes.bbox.width > 0.8 * figure.bbox.width for axes in figure.axes)
    assert all(axes.bbox.height > 0.8 * figure.dpi for axes in figure.axes)  # inches; of short names 0.9
    shown = [text.get_text() for text in legends[-2].get_texts()]  # of ties: as many as have a colour, and the rest
    assert len(shown) == min(many - 1, plot.MOST_NAMED + 1)
    if many > plot.MOST_NAMED + 1:
        rest = rows["tie_power_mw"][:, plot.MOST_NAMED :]
        assert shown[-1] == f"{many - 1 - plot.MOST_NAMED} more: {rest.min():.1f} to {rest.max():.1f}"


def test_powers_of_ten_are_written_as_numbers():
    """matplotlib would write them as formulas, which `picture` leaves as they stand, as it does dollars in names."""
    axes = Figure().subplots()
    power = np.random.default_rng(0).normal(50.0, 10.0, (4000, 1))
    trace = SimpleNamespace(site_pcc_power_mw=power, header=SimpleNamespace(row_s=1e-3))
    with rc_context({"text.parse_math": False}):
        plot_tune._lines(axes, {"before": trace, "after": trace})
        axes.figure.draw_without_rendering()
    words = [label.get_text() for axis in (axes.xaxis, axes.yaxis) for label in axis.get_ticklabels()]
    assert {"1", "10"} <= set(words) and not any("$" in word for word in words)


def test_the_start_that_won_stands_out():
    """Of three, each a line; a dot at its best step, and one entry in the legend for each name."""
    axes = Figure().subplots()
    values = np.arange(24.0).reshape(4, 3, 2)  # steps, starts, names
    plot_tune._convergence(axes, "excess", values, ["a", "b"], (2, 1))
    lines, dots = ([line for line in axes.lines if line.get_marker() == mark] for mark in ("None", "o"))
    bold = [line for line in lines if line.get_alpha() == 1.0 and line.get_linewidth() > 1.0]
    assert len(lines) == 6 and [line.get_ydata().tolist() for line in bold] == [[2, 8, 14, 20], [3, 9, 15, 21]]
    assert [dot.get_xydata().tolist() for dot in dots] == [[[3.0, 14.0]], [[3.0, 15.0]]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]


@pytest.mark.parametrize(
    ("excess", "place"),
    [
        ([[[0.1], [-0.2]], [[-0.3], [-0.1]]], (0, 1)),  # least objective of those that meet it, here 2 of 2, 3, 4
        ([[[0.5], [0.4]], [[0.2], [0.3]]], (1, 0)),  # none meets it: the nearest
    ],
)
def test_the_best_step_meets_the_limits(monkeypatch, excess, place):
    monkeypatch.setattr(tune_result.tune_search, "constrained", lambda task: np.array([True]))
    history = SimpleNamespace(columns={"objective": np.array([[1.0, 2.0], [3.0, 4.0]]), "excess": np.array(excess)})
    assert tune_result.best_place(None, history) == place


def test_many_sites_are_summed(tmp_path):
    names = tuple(f"southern{i}" for i in range(6))
    header = replace(ONE_SITE, labels={**ONE_SITE.labels, "site": names}, nominal_kv=(138.0,) * 6)
    rows = block(header, 2000)
    rows["bess_soc"][:, 1] = np.nan  # no battery there
    path = made(tmp_path, header, rows)
    data = plot._gather(path)
    total = rows["site_facility_power_mw"].astype(float).sum(axis=1)
    assert [title for title, _ in data.groups] == ["sum of 6 sites"]
    assert data.curves["facility"].high.max() == pytest.approx(total.max(), rel=1e-12)
    mean = np.delete(rows["bess_soc"], 1, axis=1).mean(axis=1)
    assert data.curves["soc"].low.min() == pytest.approx(mean.min(), rel=1e-12)
    figure_of(path)


@pytest.mark.parametrize("at_once", [333, 65_536])
def test_every_peak_stays_visible(tmp_path, monkeypatch, at_once):
    """One row in 20,000 sticks out, on either side; pixels are 1,400."""
    monkeypatch.setattr(plot, "ROWS_AT_ONCE", at_once)
    rows = block(ONE_SITE, 20_000)
    for name in ("site_facility_power_mw", "site_pcc_power_mw"):
        rows[name][12_345], rows[name][777] = 500.0, -500.0
    data = plot._gather(made(tmp_path, ONE_SITE, rows))
    for curve in (data.curves["facility"], data.curves["pcc"]):
        assert curve.low.shape == (1400, 1)
        assert np.argmax(curve.high) == 12_345 * 1400 // 20_000 and curve.high.max() == 500.0
        assert np.argmin(curve.low) == 777 * 1400 // 20_000 and curve.low.min() == -500.0


def test_envelope_equals_that_of_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(plot, "ROWS_AT_ONCE", 100)
    rows = block(ONE_SITE, 4321)
    curve = plot._gather(made(tmp_path, ONE_SITE, rows)).curves["frequency"]
    pixel = np.arange(4321) * 1400 // 4321
    for i in (0, 1, 700, 1399):
        inside = rows["area_frequency_hz"][pixel == i, 0]
        assert (curve.low[i, 0], curve.high[i, 0]) == (inside.min(), inside.max())


@pytest.mark.parametrize("at_once", [100, 65_536])
@pytest.mark.parametrize(
    ("window_s", "rows"),
    [((1.0, 1.5), (1000, 1500)), ((-1.0, 0.25), (0, 250)), ((2.9, 9.0), (2900, 3000)), ((0.0004, 0.0006), (0, 1))],
)
def test_a_window_shows_the_rows_that_reach_into_it(tmp_path, monkeypatch, window_s, rows, at_once):
    monkeypatch.setattr(plot, "ROWS_AT_ONCE", at_once)
    whole = block(ONE_SITE, 3000)
    path = made(tmp_path, ONE_SITE, whole)
    data = plot._gather(path, window_s)
    for name, channel in (("pcc", "site_pcc_power_mw"), ("voltage", "site_pcc_voltage_pu")):
        values = whole[channel][slice(*rows)]
        assert (data.curves[name].low.min(), data.curves[name].high.max()) == (values.min(), values.max())
    figure = figure_of(path, window_s)
    start_s, until_s = (row / 1000 for row in rows)
    assert figure.get_suptitle() == f"made: {start_s:g} to {until_s:g} s of 3 s, tick 1 ms, complete"
    assert figure.axes[0].get_xlim() == pytest.approx((start_s, until_s))


@pytest.mark.parametrize("window_s", [(3.0, 4.0), (2.0, 1.0), (-2.0, 0.0), (1.0, 1.0)])
def test_an_empty_window_is_refused(tmp_path, window_s):
    with pytest.raises(TraceError, match="nothing from .* the trace goes from 0 to 3 s"):
        overview(made(tmp_path, ONE_SITE), tmp_path / "t.png", window_s)


def test_what_no_battery_tells_apart_is_one_curve(tmp_path):
    rows = block(ONE_SITE, 3000)
    rows["site_facility_power_mw"] = rows["site_pcc_power_mw"].copy()
    shown = [text.get_text() for text in figure_of(made(tmp_path, ONE_SITE, rows)).axes[0].get_legend().get_texts()]
    assert [text.split(":")[0] for text in shown] == ["site = grid"]
    rows["site_facility_power_mw"][1234] += 40.0
    shown = [text.get_text() for text in figure_of(made(tmp_path, ONE_SITE, rows)).axes[0].get_legend().get_texts()]
    assert [text.split(":")[0] for text in shown] == ["site", "grid"]


@pytest.mark.parametrize("hz", [0.05, 19.5])
@pytest.mark.parametrize(
    ("seconds", "dt_s", "at_once"), [(80, 0.001, 65_536), (80, 0.001, 7_777), (900, 0.01, 7_777), (60, 0.0125, 7_777)]
)
def test_spectrum_reads_the_amplitude_of_a_sine(tmp_path, monkeypatch, hz, seconds, dt_s, at_once):
    """7 MW whatever the tick: rows are means over a tick, as in a run. 1e-3 is for neighbours of the Hann line."""
    monkeypatch.setattr(plot, "ROWS_AT_ONCE", at_once)
    header = replace(ONE_SITE, dt_s=dt_s, double=True)
    total = round(seconds / dt_s)
    edges = np.arange(total + 1) * dt_s
    means = 50.0 - np.diff(7.0 * np.cos(2 * np.pi * hz * edges)) / (2 * np.pi * hz * dt_s)
    rows = {name: np.zeros((total, values.shape[1])) for name, values in block(header, 1).items()}
    rows["site_pcc_power_mw"] = means[:, None]
    found_hz, amplitude = plot._gather(made(tmp_path, header, rows)).spectra["pcc"].result(*plot.SPECTRUM_HZ)
    line = np.argmax(amplitude)
    assert found_hz[line] == pytest.approx(hz, abs=1e-9)
    assert amplitude[line] == pytest.approx(7.0, rel=1e-3)
    assert found_hz[0] >= 0.0099 and found_hz[-1] <= 20.03
    assert amplitude[np.abs(found_hz - hz) > 0.1 + 3 / seconds].max(initial=0.0) < 0.01


def test_a_short_or_steady_run_is_drawn_without_lines(tmp_path):
    rows = {name: np.full_like(values, 50.0) for name, values in block(ONE_SITE, 2000).items()}
    for header, made_rows in ((ONE_SITE, rows), (ONE_SITE, block(ONE_SITE, 1)), (ONE_SITE, block(ONE_SITE, 25))):
        figure = figure_of(made(tmp_path, header, made_rows))
        (spectrum,) = (axes for axes in figure.axes for text in axes.texts if "does not vary" in text.get_text())
        assert not spectrum.lines
        figure.savefig(tmp_path / "t.png")


def test_an_unfinished_run_says_so(tmp_path):
    with pytest.raises(KeyboardInterrupt), TraceWriter(tmp_path / "t.h5", ONE_SITE, 100) as writer:
        writer.append(0, block(ONE_SITE, 100), [])
        raise KeyboardInterrupt
    assert figure_of(tmp_path / "t.h5").get_suptitle().endswith("not complete: interrupted")


def test_a_running_trace_can_be_drawn(tmp_path):
    with TraceWriter(tmp_path / "t.h5", ONE_SITE, 100) as writer:
        for i in range(8):
            writer.append(100 * i, block(ONE_SITE, 100), [])
        assert "going on" in figure_of(tmp_path / "t.h5").get_suptitle()


@pytest.mark.parametrize(
    ("seconds", "unit", "scale"), [(60.0, "s", 1.0), (3600.0, "min", 60.0), (86_400.0, "h", 3600.0)]
)
def test_time_has_a_fitting_unit(tmp_path, seconds, unit, scale):
    header = replace(ONE_SITE, dt_s=seconds / 100)
    figure = figure_of(made(tmp_path, header, block(header, 100)))
    labelled = [axes for axes in figure.axes if axes.get_xlabel() == f"time ({unit})"]
    assert [axes.get_xlim() for axes in labelled] == [pytest.approx((0.0, seconds / scale))]


def test_refusals_in_words(tmp_path, monkeypatch):
    path = made(tmp_path, ONE_SITE)
    with pytest.raises(TraceError, match="ends in .png"):
        overview(path, tmp_path / "t.txt")
    with pytest.raises(TraceError, match="no such file"):
        overview(tmp_path / "none.h5", tmp_path / "t.png")
    (tmp_path / "t.png").mkdir()
    with pytest.raises(TraceError, match="cannot write .*t.png"):
        overview(path, tmp_path / "t.png")
    with pytest.raises(TraceError, match="without rows"):
        overview(made(tmp_path, ONE_SITE, block(ONE_SITE, 0)), tmp_path / "u.png")
    nothing = replace(
        ONE_SITE,
        labels={axis: () for axis in (*AXES, "device", "rack")},
        nominal_kv=(),
    )
    with pytest.raises(RuntimeError, match="half way"), plot.picture(tmp_path / "v.png") as figure:
        (tmp_path / "v.png").write_text("what was there")
        figure.text(0.5, 0.5, "half a picture")
        raise RuntimeError("half way")
    assert (tmp_path / "v.png").read_text() == "what was there" and not list(tmp_path.glob("*.tmp"))
    with pytest.raises(TraceError, match="nothing to draw"):
        overview(made(tmp_path, nothing, block(nothing, 9)), tmp_path / "u.png")
    monkeypatch.setattr(plot, "find_spec", lambda name: None)
    with pytest.raises(TraceError, match=r"install wattswing\[plot\]"):
        overview(path, tmp_path / "u.png")
