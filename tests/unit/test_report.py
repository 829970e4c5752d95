"""The report without a browser: what it gathers is that of the whole trace, and what it holds is safe."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from emulator import cli, limits_schema, power_metrics, toml_text
from emulator.report import encode, gather, grid_modes, page
from emulator.report.distribution import ChangeCurve, Durations
from emulator.trace import Event, TraceError
from emulator.traces.hdf5 import TraceWriter
from emulator.welch import Spectrogram

from .synthetic import ONE_SITE, TWO_SITES, block, write

TEN_MINUTES = """
[[limit]]
name = "ten minutes"
kind = "flicker_pst"
lamp_v = 120
frequency_hz = 60
max_pst = 0.8
source = "made"
status = "draft"
"""
LIMITS = """
[[limit]]
name = "a swing"
kind = "dynamic_range"
max_mw = {max_mw}
source = "made"
status = "example"
"""


def limits_file(tmp_path, max_mw: float = 200.0):
    path = tmp_path / "limits.toml"
    path.write_text(LIMITS.format(max_mw=max_mw) + TEN_MINUTES)
    return path


def reported(tmp_path, *traces, limits=None) -> str:
    clauses = None if limits is None else limits_schema.load(limits)
    page.write(traces, tmp_path / "r.html", clauses, str(limits))
    return (tmp_path / "r.html").read_text("utf-8")


def data_of(text: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def u2(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<u2")


def ends_of(curve: dict) -> tuple[np.ndarray, np.ndarray]:
    """As the page's script decodes a curve."""
    step = (curve["hi"] - curve["lo"]) / encode.STEPS
    low, high = (u2(curve.get(name, curve["low"])) for name in ("low", "high"))
    return tuple(np.where(q == encode.NOTHING, np.nan, curve["lo"] + q * step) for q in (low, high))


@pytest.mark.parametrize("at_once", [777, 65_536])
def test_gathered_curves_equal_those_of_the_whole(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(gather, "ROWS_AT_ONCE", at_once)
    rows = block(TWO_SITES, 6000)
    path = write(tmp_path / "t.h5", TWO_SITES, rows, [Event(1.0, "load_step", "w", 5.0)])
    its = gather.plan(path)
    found = gather.gather(its, 500, ())
    bins = np.arange(6000) * 500 // 6000
    frequency = rows["area_frequency_hz"]
    rate = np.full_like(frequency, np.nan)
    rate[500:] = (frequency[500:] - frequency[:-500]) / 0.5
    for key, whole in (("tie", rows["tie_power_mw"]), ("torque", rows["shaft_torque_pu"]), ("rocof", rate)):
        for i in range(500):
            inside = whole[bins == i]
            low, high = np.fmin.reduce(inside), np.fmax.reduce(inside)
            np.testing.assert_array_equal(found.envelopes[key].low[i], low, err_msg=f"{key} {i}")
            np.testing.assert_array_equal(found.envelopes[key].high[i], high, err_msg=f"{key} {i}")
    assert its.labels("voltage") == ("west",), "a stiff voltage is no curve"
    assert found.counts == {"load_step": 1} and len(found.events) == 1


def test_page_keeps_every_peak(tmp_path, monkeypatch):
    """One row in 20,000 sticks out on either side; the page holds 1,000 parts, rounded outwards."""
    monkeypatch.setattr(page, "MOST_BINS", 1000)
    rows = block(ONE_SITE, 20_000)
    rows["site_pcc_power_mw"][12_345], rows["site_pcc_power_mw"][777] = 500.0, -500.0
    text = reported(tmp_path, write(tmp_path / "t.h5", ONE_SITE, rows))
    record = data_of(text)["traces"][0]
    low, high = ends_of(record["envelope"]["curves"]["pcc"][0])
    power = rows["site_pcc_power_mw"][:, 0].astype(np.float64).reshape(1000, 20)
    quantum = 1000.0 / encode.STEPS
    assert (high >= power.max(axis=1) - 1e-9).all() and (high - power.max(axis=1) <= 1.001 * quantum).all()
    assert (low <= power.min(axis=1) + 1e-9).all() and (power.min(axis=1) - low <= 1.001 * quantum).all()
    assert high[12_345 // 20] == pytest.approx(500.0) and low[777 // 20] == pytest.approx(-500.0)
    clip = record["clips"][0]
    assert clip["rows"] and clip["start"] <= 12.345 < clip["start"] + clip["count"] * clip["step"]
    values, same = ends_of(clip["curves"]["pcc"][0])
    first = round(clip["start"] / 0.001)
    assert np.array_equal(values, same)
    assert np.abs(values - rows["site_pcc_power_mw"][first : first + len(values), 0]).max() <= 1.001 * quantum


def test_short_runs_are_there_row_by_row(tmp_path):
    rows = block(ONE_SITE, 3000)
    record = data_of(reported(tmp_path, write(tmp_path / "t.h5", ONE_SITE, rows)))["traces"][0]
    assert record["envelope"]["rows"] and record["envelope"]["count"] == 3000 and record["clips"] == []
    assert "high" not in record["envelope"]["curves"]["soc"][0]


def test_missing_values_stay_missing():
    values = np.array([np.nan, 1.0, 3.0, np.nan])
    low, high = ends_of(encode.envelope(values, values + 1.0))
    assert np.isnan(low[[0, 3]]).all() and np.isnan(high[[0, 3]]).all()
    assert low[1] == 1.0 and high[2] == pytest.approx(4.0)
    assert np.isnan(ends_of(encode.envelope(values[:1], values[:1]))[0]).all()


@pytest.mark.parametrize("sizes", [(10_000,), (1, 2, 4000, 5997), (3333, 3333, 3334)])
def test_durations_equal_counts_whatever_the_blocks(sizes):
    values = np.random.default_rng(1).normal(50.0, 9.0, 10_000) ** 2
    durations, start = Durations(), 0
    for size in sizes:
        durations.add(values[start : start + size])
        start += size
    levels, share = durations.result()
    assert 500 < len(levels) <= 1024
    assert share[-1] == 1.0 and (np.diff(levels) < 0.0).all()
    assert np.array_equal(share, [(values >= level).mean() for level in levels])
    whole = Durations()
    whole.add(values)
    assert np.array_equal(whole.result()[0], levels)


def test_durations_of_what_does_not_vary():
    durations = Durations()
    assert len(durations.result()[0]) == 0
    durations.add(np.full(7, 30.0))
    durations.add(np.array([np.nan, 30.0]))
    levels, share = durations.result()
    assert levels == pytest.approx([30.0], rel=1e-8) and share == [1.0]


@pytest.mark.parametrize("size", [70, 5000])
def test_change_curve_equals_the_metric_that_limits_use(size):
    power = np.cumsum(np.random.default_rng(2).normal(0.0, 1.0, 5000))
    curve = ChangeCurve((0.0004, 0.05, 1.0, 3.0, 60.0), 5000, 0.001, 1)
    for start in range(0, 5000, size):
        curve.add(power[start : start + size])
    windows_s, largest = curve.result()
    assert windows_s.tolist() == [0.05, 1.0, 3.0], "below a row, and beyond the run, there is nothing to measure"
    for window_s, change in zip(windows_s, largest, strict=True):
        whole = power_metrics.changes_within(np.arange(5000) * 0.001, power, window_s)[1].max()
        assert change == pytest.approx(whole, rel=1e-12)


def test_spectrogram_finds_a_tone_when_it_sounds():
    """4 MW at 3 Hz in the second half only. A Hann window half over its beginning reads half of it."""
    time_s = np.arange(0.0, 120.0, 0.001)
    power = 60.0 + 4.0 * np.sin(2 * np.pi * 3.0 * time_s) * (time_s >= 60.0)
    image = Spectrogram(len(power), 0.001, 30.0, 480, 120)
    for start in range(0, len(power), 7777):
        image.add(power[start : start + 7777])
    middle_s = np.linspace(*image.span_s, len(image.amplitude) + 1)[:-1] + 0.5 * image.window_s / 4
    loudest = image.amplitude.argmax(axis=1)
    edges_hz = np.geomspace(image.low_hz, image.high_hz, 121)
    late = middle_s > 60.0 + 0.5 * image.window_s
    assert late.sum() > 40
    assert (edges_hz[loudest[late]] <= 3.0).all() and (edges_hz[loudest[late] + 1] > 3.0 - 1 / image.window_s).all()
    assert image.amplitude[late].max(axis=1) == pytest.approx(4.0, rel=1e-3)  # the averaging's sinc is undone
    assert image.amplitude[middle_s < 60.0 - 0.5 * image.window_s].max() < 1e-6
    assert image.span_s[0] >= 0.0 and image.span_s[1] <= 120.0


class Page(HTMLParser):
    """Elements with their attributes, and the rows of its tables as texts: those of findings, and all."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.findings: list[list[str]] = []
        self.rows: list[list[str]] = []
        self.within = False  # a table
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
            self.within = True
        if dict(attrs).get("class") == "finding":
            self.findings.append(self.rows[-1])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.within = self.within and tag != "table"

    def handle_data(self, data):
        if self.within and self.rows[-1]:
            self.rows[-1][-1] += data


def test_the_page_needs_nothing_else(tmp_path):
    """No address outside, no handler, no inline style: only the script and the style that the policy names."""
    text = reported(tmp_path, write(tmp_path / "t.h5", ONE_SITE, block(ONE_SITE, 3000)), limits=limits_file(tmp_path))
    found = Page(text)
    for tag, attributes in found.elements:
        assert not {"src", "srcset", "style", "action", "background"} & attributes.keys(), tag
        assert not [name for name in attributes if name.startswith("on")], tag
        assert attributes.get("href", "#").startswith("#"), tag
    assert {tag for tag, _ in found.elements} & {"link", "iframe", "object", "embed", "img", "base", "form"} == set()
    policy = next(its["content"] for tag, its in found.elements if its.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe" not in policy
    code = text[: text.index('id="assessments"')] + text[text.rindex("<script>") :]
    assert re.findall(r"https?://[^\s\"'<]*", code) == ["http://www.w3.org/2000/svg"], "a name, never fetched"
    assert (
        re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest|innerHTML|eval\(", code.replace("url(#${clip})", ""))
        is None
    )


def test_verdicts_and_rows_follow_the_assessment(tmp_path):
    path = write(tmp_path / "t.h5", ONE_SITE, block(ONE_SITE, 3000))
    for max_mw, verdict, words in ((200.0, "not assessable", "pass"), (20.0, "fail", "FAIL")):
        text = reported(tmp_path, path, limits=limits_file(tmp_path, max_mw))
        assert f"made: {verdict}</li>" in text
        rows = Page(text).findings
        assert [row[5] for row in rows] == [words, "n/a"]
        assert "too short" in rows[1][7] and rows[1][1] == "–"
    assert "nothing is judged" in reported(tmp_path, path)


def test_all_metrics_are_those_of_assess(tmp_path, capsys):
    path = write(tmp_path / "t.h5", TWO_SITES, block(TWO_SITES, 3000))
    assert cli.main(["assess", str(path), "--metrics", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["metrics"]
    rows = Page(reported(tmp_path, path)).rows
    table = rows[rows.index(["metric", "value", "unit", "at s", "remark"]) + 1 :]
    shown = iter(row for row in table if len(row) == 5)
    for its, row in zip(told, shown, strict=False):
        value = "–" if its["value"] is None else f"{its['value']:.6g}"
        at_s = "" if its["at_s"] is None else f"{its['at_s']:.3f}"
        assert row == [its["name"], value, "" if its["unit"] == "1" else its["unit"], at_s, its["remark"]]
    heads = [row[0] for row in table if len(row) == 1]
    assert heads[: heads.index("shaft, g 2-3") + 1] == list(
        dict.fromkeys(f"{its['quantity']}, {its['where']}" for its in told)
    )
    assert len(told) > 150 and {"amplification", "pst_max_230v", "damage", "trips"} <= {its["name"] for its in told}


def test_key_figures_stand_side_by_side(tmp_path):
    """A step of 30 MW in one row: 30 MW/s over 1 s, 6 MW/s over 5 s; the record is too short for a ramp over 60 s."""
    paths = []
    for i, step_mw in enumerate((30.0, 0.0)):
        rows = {name: np.full_like(values, 50.0) for name, values in block(ONE_SITE, 8000).items()}
        rows["site_pcc_power_mw"][4000:] += step_mw
        rows["site_pcc_voltage_pu"][:], rows["area_frequency_hz"][:] = 1.0, 60.0 + 0.3 * i
        rows["site_connected_fraction"][:] = 1.0
        rows["site_connected_fraction"][1000:3000] -= 0.5 * i
        paths.append(write(tmp_path / f"{i}.h5", ONE_SITE, rows))
    found = {row[0]: row[1:] for row in reversed(Page(reported(tmp_path, *paths)).rows)}
    assert found["A: campus draws from the grid"][4:] == ["30.00", "30.00", "6.000", "–"]
    assert found["B: campus draws from the grid"][4:] == ["0", "0", "0", "–"]
    flicker = found["campus: largest flicker severity Pst, 120 V lamp"]
    assert flicker == ["–", "–", "", "A, B: a record of 8 s is too short: 600 s are looked at"]
    assert found["campus: times that load left the grid"] == ["0", "1", "", ""]
    back = next(values for name, values in found.items() if name.startswith("campus: longest time with 0.9 pu"))
    assert back == ["0", "2", "s", ""]
    outside = [values[:2] for name, values in found.items() if name.startswith("main: time further than")]
    assert sorted(outside) == [["0", "0"], ["0", "8"], ["0", "8"]]


def test_plots_show_what_clauses_allow(tmp_path):
    clauses = tmp_path / "limits.toml"
    made = 'source = "made"\nstatus = "draft"\n'
    kinds = (
        'kind = "band_amplitude"\nlow_hz = 5.0\nhigh_hz = 20.0\nmax_mw = 700.0\n',
        'kind = "band_energy"\nlow_hz = 0.1\nhigh_hz = 2.0\nmax_fraction = 0.5\nreading = "variance"\n',
        'kind = "voltage_range"\nlow_pu = 0.9\nhigh_pu = 1.1\n',
        'kind = "frequency_deviation"\nmax_hz = 0.5\n',
        'kind = "rocof"\nover_s = 0.5\nmax_hz_per_s = 2.0\n',
        'kind = "rocof"\nover_s = 0.1\nmax_hz_per_s = 3.0\n',
        'kind = "soc_window"\nlow = 0.2\nhigh = 0.8\n',
        'kind = "shaft_torque"\nmax_pu = 0.4\n',
    )
    clauses.write_text("".join(f'[[limit]]\nname = "clause {i}"\n{made}{kind}' for i, kind in enumerate(kinds)))
    path = write(tmp_path / "t.h5", TWO_SITES, block(TWO_SITES, 3000))
    plots = data_of(reported(tmp_path, path, limits=clauses))["plots"]
    levels = {plot["title"]: plot["levels"] for plot in plots if plot.get("levels")}
    assert levels == {
        "frequency": [59.5, 60.5],
        "rate of change of frequency, over 0.5 s": [-2.0, 2.0],
        "voltage at the point of common coupling": [0.9, 1.1],
        "state of charge": [20.0, 80.0],
        "shaft torque, change since the start": [-0.4, 0.4],
    }
    spectrum = next(plot for plot in plots if "amplitude spectrum" in plot["title"])
    band = {"from": 5.0, "to": 20.0, "text": "clause 0, 700 MW, 5 to 20 Hz", "allowed": 700.0}
    assert spectrum["bands"] == [band, {"from": 0.1, "to": 2.0, "text": "clause 1, 0.1 to 2 Hz"}]
    assert spectrum["y_range"][1] > 700.0 and spectrum["y_range"][0] < spectrum["y_range"][1]


def test_runs_of_one_name_go_by_their_files(tmp_path):
    paths = [write(tmp_path / f"{name}.h5", ONE_SITE, block(ONE_SITE, 50)) for name in ("before", "after")]
    text = reported(tmp_path, *paths)
    assert "<h1>A: before.h5 · B: after.h5</h1>" in text and '<li class="">A: before.h5: not judged' in text
    assert "<h1>made</h1>" in reported(tmp_path, paths[0])


def test_an_unfinished_run_is_judged_to_its_end_and_said_so(tmp_path):
    rows = block(ONE_SITE, 2000)
    with pytest.raises(KeyboardInterrupt), TraceWriter(tmp_path / "t.h5", ONE_SITE, 2000) as writer:
        writer.append(0, rows, [])
        raise KeyboardInterrupt
    text = reported(tmp_path, tmp_path / "t.h5", limits=limits_file(tmp_path))
    assert "not complete: interrupted. All below covers 2 s, up to there." in text
    energy_mwh = rows["site_pcc_power_mw"].astype(np.float64).sum() * 0.001 / 3600.0
    assert f'<td class="number">{energy_mwh:.4g}</td>' in text, "figures come from the rows, the run wrote none"
    assert "only the run itself counts it" in text


def test_several_runs_share_plots(tmp_path):
    other = replace(ONE_SITE, config='[run]\nname = "after"\n[[site]]\nname = "campus"\n', seed=8)
    paths = [
        write(tmp_path / f"{header.seed}.h5", header, block(header, rows))
        for header, rows in ((ONE_SITE, 2000), (other, 3000))
    ]
    text = reported(tmp_path, *paths, limits=limits_file(tmp_path))
    data = data_of(text)
    assert (data["from_s"], data["to_s"]) == (0.0, 3.0)
    draw = next(plot for plot in data["plots"] if plot["title"].startswith("campus: power drawn"))
    assert [(one["trace"], one["label"], one["look"]) for one in draw["series"]] == [(0, "A", "c4"), (1, "B", "c0")]
    assert re.search(r"run\.name</th><td>made</td><td>after</td>", text)
    assert "site.campus.name</th><td>–</td><td>campus</td>" in text
    assert [row[0] for row in Page(text).findings] == ["A", "B", "A", "B"]


def test_a_grid_alone_and_many_sites(tmp_path):
    nowhere = {axis: () for axis in ONE_SITE.labels} | {"area": ("main",)}
    alone = replace(ONE_SITE, labels=nowhere, nominal_kv=())
    text = reported(tmp_path, write(tmp_path / "g.h5", alone, block(alone, 1500)))
    assert {plot["title"].split(",")[0] for plot in data_of(text)["plots"]} == {
        "frequency", "rate of change of frequency", "mechanical power of the generators",
    }  # fmt: skip
    names = tuple(f"s{i}" for i in range(12))
    many = replace(ONE_SITE, labels={**ONE_SITE.labels, "site": names}, nominal_kv=(138.0,) * 12)
    text = reported(tmp_path, write(tmp_path / "m.h5", many, block(many, 1500)))
    titles = [plot["title"] for plot in data_of(text)["plots"]]
    assert "sum of 12 sites: consumption, and draw from the grid" in titles
    assert "At most 8 places of a kind" in text and "s11 consumes" in text


@pytest.mark.parametrize("rows", [1, 2, 30])
def test_the_shortest_runs(tmp_path, rows):
    text = reported(tmp_path, write(tmp_path / "t.h5", ONE_SITE, block(ONE_SITE, rows)), limits=limits_file(tmp_path))
    assert "nan" not in text.lower().replace("isnan", "").replace('"nan', "").split('id="data"')[0]


def test_refusals_in_words(tmp_path):
    path = write(tmp_path / "t.h5", ONE_SITE, block(ONE_SITE, 50))
    (tmp_path / "r.html").write_text("what was there")
    with pytest.raises(TraceError, match="no such file"):
        reported(tmp_path, tmp_path / "none.h5")
    with pytest.raises(TraceError, match="without rows"):
        reported(tmp_path, write(tmp_path / "e.h5", ONE_SITE, block(ONE_SITE, 0)))
    with pytest.raises(TraceError, match="its configuration is not TOML"):
        header = replace(ONE_SITE, config="name =")
        reported(tmp_path, write(tmp_path / "c.h5", header, block(header, 9)))
    with pytest.raises(TraceError, match="9 traces: a report compares at most 8"):
        reported(tmp_path, *[path] * 9)
    assert (tmp_path / "r.html").read_text() == "what was there"
    with pytest.raises(TraceError, match="cannot write"):
        page.write([path], tmp_path / "t.h5" / "r.html", None, "")
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("none.h5", "--out", "r.html"), "none.h5: no such file"),
        (("t.h5", "--out", "r.pdf"), "a report ends in .html"),
        (("t.h5", "--out", "r.html", "--limits", "ercot"), "nearest: ercot_draft"),
    ],
)
def test_the_command_refuses_in_words(tmp_path, arguments, words):
    write(tmp_path / "t.h5", ONE_SITE, block(ONE_SITE, 50))
    call = [sys.executable, "-m", "emulator", "report", *arguments]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1) and words in done.stderr
    assert not (tmp_path / "r.html").exists()


def test_the_command_writes_the_page(tmp_path):
    write(tmp_path / "t.h5", ONE_SITE, block(ONE_SITE, 50))
    call = [sys.executable, "-m", "emulator", "report", "t.h5", "--limits", "ercot_draft", "--out", "a/r.html"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "also where a limit fails: assess says so"
    assert Page((tmp_path / "a" / "r.html").read_text()).findings


def test_modes_are_those_of_the_plant(x64):
    """Anderson & Mirheydar 1990, eq. 8: w^2 = (D R + K)/(2 H R T), zeta = (2 H R + (D R + K F) T)/(2 (D R + K)) w;
    their area: R 0.05, H 4 s, K 0.95, F 0.3, T 8 s, D 1. 2e-4: the tick of 1 ms, and its dead time of half a tick."""
    from emulator import config

    scenario = config.load("r1_load_step")
    header = replace(ONE_SITE, config=toml_text.to_toml(scenario))
    assert grid_modes.scenario_of(header) == scenario
    [(hz, ratio)] = grid_modes.modes(scenario)
    w = np.sqrt((0.05 + 0.95) / (2 * 4.0 * 0.05 * 8.0))
    assert hz == pytest.approx(w * np.sqrt(1 - ratio**2) / (2 * np.pi), rel=2e-4)
    assert ratio == pytest.approx((0.4 + (0.05 + 0.285) * 8.0) / 2.0 * w, rel=2e-4)


def test_why_there_are_no_modes(tmp_path):
    text = reported(tmp_path, write(tmp_path / "t.h5", ONE_SITE, block(ONE_SITE, 50)))
    assert "no modes are marked: its configuration" in text and "duration_s" in text
