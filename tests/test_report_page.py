"""The report's page in a real browser, headless: plots, zoom, print, and that nothing foreign runs or is fetched."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emulator import cli, limits_schema
from emulator.report import page
from emulator.trace import Event
from emulator.traces.hdf5 import TraceWriter

from .unit.synthetic import ONE_SITE, TWO_SITES, block, write
from .unit.test_report import TEN_MINUTES

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if not (BROWSER and DRIVER):
    pytest.skip(
        "no chromium with chromedriver on this machine: apt-get install chromium-driver", allow_module_level=True
    )

from selenium import webdriver  # noqa: E402
from selenium.webdriver import ActionChains  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402

# What would run if a text became markup somewhere: it changes the title of the page.
IMAGE = "<img src=x onerror='document.title=&quot;owned&quot;'>"
SCRIPT = "</script><script>document.title='owned'</script><!--"
QUOTES = "\"'`${1+1}&lt;\u2028\u2029\\u003c"
NAME = SCRIPT + IMAGE + QUOTES
PLACE = NAME.replace("/", "|")  # a slash in a name of a site is a folder in the names of metrics
PEAK_S, PEAK_MW, SPAN_S = 12.345, 500.0, 20.0
LIMITS = f"""
[[limit]]
name = {json.dumps(NAME)}
kind = "sliding_window_change"
window_s = 5.0
max_mw = 20.0
source = {json.dumps(NAME)}
status = "draft"
[[limit]]
name = "band"
kind = "band_energy"
low_hz = 0.1
high_hz = 20.0
max_fraction = 0.9
reading = "variance"
source = "made"
status = "example"
[[limit]]
name = "line"
kind = "band_amplitude"
low_hz = 1.0
high_hz = 4.0
max_mw = 5.0
source = "made"
status = "example"
[[limit]]
name = "deviation"
kind = "frequency_deviation"
max_hz = 0.04
source = "made"
status = "example"
"""


def made_rows(header, rows: int) -> dict[str, np.ndarray]:
    """A calm site with a swing at 2 Hz and, for one row, a peak."""
    rng = np.random.default_rng(5)
    found = {name: np.full_like(values, 50.0) for name, values in block(header, rows).items()}
    swing = 5.0 * np.sin(2 * np.pi * 2.0 * np.arange(rows) * header.dt_s)[:, None]
    for name in ("site_facility_power_mw", "site_pcc_power_mw"):
        found[name] += (swing + rng.normal(0.0, 0.5, found[name].shape)).astype(np.float32)
    at = round(PEAK_S / header.dt_s)
    found["site_pcc_power_mw"][at : at + 1, 0] = PEAK_MW
    found["bess_soc"][:] = 0.5
    found["area_frequency_hz"][:] = 60.0 + 0.01 * swing
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """A trace of many rows with hostile names, its limits, its report; and one of two traces, the second cut short."""
    folder = tmp_path_factory.mktemp("report")
    labels = {
        axis: tuple(f"{i}{PLACE}" if axis != "job" else f"{i}/{NAME}" for i, _ in enumerate(names))
        for axis, names in TWO_SITES.labels.items()
    }
    hostile = replace(TWO_SITES, labels=labels, config=f"[run]\nname = {json.dumps(NAME)}\n", platform=NAME)
    found = {name: folder / name for name in ("limits.toml", "one.html", "two.html", "cut.h5")}
    found["limits.toml"].write_text(LIMITS + TEN_MINUTES, "utf-8")
    clauses = limits_schema.load(found["limits.toml"])
    events = [Event(1.0, "checkpoint", labels["job"][0], 1.0), Event(8.0, "load_step", labels["area"][0], 100.0)]
    found["one.h5"] = write(folder / "one.h5", hostile, made_rows(hostile, round(SPAN_S * 1000)), events)
    with pytest.raises(RuntimeError), TraceWriter(found["cut.h5"], ONE_SITE, 3000) as writer:
        writer.append(0, made_rows(ONE_SITE, 3000), [])
        raise RuntimeError(NAME)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "MOST_BINS", 1000)
        page.write([found["one.h5"]], found["one.html"], clauses, NAME)
    page.write([found["one.h5"], found["cut.h5"]], found["two.html"], clauses, "limits.toml")
    return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1400,1000",
        f"--user-data-dir={tmp_path_factory.mktemp('browser')}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def opened(browser: webdriver.Chrome, path: Path) -> list[str]:
    """Load a page; returns every address that was asked for."""
    browser.get_log("performance")
    browser.get(path.as_uri())
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [its["params"]["request"]["url"] for its in messages if its["method"] == "Network.requestWillBeSent"]


def plot_of(browser, title: str):
    """The figure with a title, scrolled into view."""
    figures = browser.find_elements(By.TAG_NAME, "figure")
    figure = next(its for its in figures if title in its.find_element(By.CLASS_NAME, "title").text)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", figure)
    return figure


def drag(browser, figure, start: float, end: float) -> None:
    """From one share of the plotted width to another."""
    hit = figure.find_element(By.CSS_SELECTOR, ".hit")
    width = hit.rect["width"]
    chain = ActionChains(browser, duration=50)
    chain.move_to_element_with_offset(hit, round((start - 0.5) * width), 0).click_and_hold()
    chain.move_to_element_with_offset(hit, round((end - 0.5) * width), 0).release().perform()


def seen(browser) -> tuple[float, float]:
    """The time shown, in s."""
    first, last = re.findall(r"[\d.]+", browser.find_element(By.ID, "span").text)
    return float(first), float(last)


def top_of(figure, curve: int) -> float:
    """The highest point of a curve, as the value that the axis has there."""
    path = figure.find_elements(By.CSS_SELECTOR, "path.curve")[curve].get_attribute("d")
    heights = [float(y) for y in re.findall(r"[ML][\d.-]+ ([\d.-]+)", path)]
    marks = [(float(its.get_attribute("y")) - 4.0, its.text) for its in figure.find_elements(By.CSS_SELECTOR, "text")]
    labels = [(y, float(text)) for (y, text) in marks if re.fullmatch(r"-?[\d.]+", text) and y < 245.0]
    (y0, v0), (y1, v1) = labels[0], labels[-1]
    return v0 + (min(heights) - y0) / (y1 - y0) * (v1 - v0)


def test_opens_alone_and_without_complaint(browser, files):
    for name in ("one.html", "two.html"):
        asked = opened(browser, files[name])
        assert asked == [files[name].as_uri()], "nothing but the page itself is fetched"
        assert browser.get_log("browser") == [], "no error in the console, no violation of the policy"


def test_planted_texts_are_texts(browser, files):
    def texts(selector: str) -> list[str]:
        return [its.get_property("textContent") for its in browser.find_elements(By.CSS_SELECTOR, selector)]

    for name in ("one.html", "two.html"):
        opened(browser, files[name])
        assert browser.execute_script("return document.title") != "owned"
        assert browser.execute_script("return [document.images.length, document.scripts.length]") == [0, 3]
    opened(browser, files["one.html"])
    assert texts("head title") == texts("h1") == [NAME]
    assert f"0{PLACE}: consumption, and draw from the grid" in texts(".title")
    assert any(text.startswith(NAME) for text in texts("option"))
    assert {NAME, f"draft; source: {NAME}"} <= set(texts("#findings th, #findings td"))
    assert any(f"0/{NAME}" in text for text in texts("#costs th"))
    assert "owned" in texts("details pre")[0], "the configuration, as it is"


def test_verdict_equals_that_of_assess(browser, files, capsys):
    opened(browser, files["one.html"])
    status = cli.main(["assess", str(files["one.h5"]), "--limits", str(files["limits.toml"]), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (status, told["verdict"]) == (3, "fail")
    inside = browser.execute_script("return JSON.parse(document.getElementById('assessments').textContent)")
    assert inside == [told]
    rows = browser.find_elements(By.CSS_SELECTOR, "tr.finding")
    words = {True: "pass", False: "FAIL", None: "n/a"}
    for row, finding in zip(rows, told["limits"], strict=True):
        cells = [cell.get_property("textContent") for cell in row.find_elements(By.TAG_NAME, "td")]
        assert cells[5] == words[finding["passed"]]
        assert cells[7].startswith(finding["where"]) and finding["reason"] in cells[7]
        for text, key in zip(cells[1:4], ("measured", "allowed", "margin"), strict=True):
            assert text == "–" if finding[key] is None else float(text) == pytest.approx(finding[key], rel=5e-4)
    assert browser.find_element(By.CSS_SELECTOR, ".badges li").text.endswith(": fail")


def test_all_plots_are_drawn(browser, files):
    opened(browser, files["one.html"])
    for figure in browser.find_elements(By.TAG_NAME, "figure"):
        for path in figure.find_elements(By.CSS_SELECTOR, "path.curve"):
            box = browser.execute_script("const b = arguments[0].getBBox(); return [b.width, b.height]", path)
            assert box[0] > 300.0, figure.text
    colours = browser.execute_script("""
        return [...document.querySelectorAll("canvas.picture")].map((canvas) => {
          const shades = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          const found = new Set();
          for (let i = 0; i < shades.length; i += 4) if (shades[i + 3]) found.add(256 * shades[i] + shades[i + 1]);
          return found.size;
        })""")
    assert len(colours) == 4 and min(colours) > 20, "consumption and draw of two sites, in many shades"
    spectrum = plot_of(browser, "amplitude spectrum")
    assert "band, 0.1 to 20 Hz" in spectrum.text and spectrum.find_elements(By.CSS_SELECTOR, "rect.band")
    drawn = spectrum.find_elements(By.CSS_SELECTOR, "path.curve")[1].get_attribute("d")
    top = min(float(y) for y in re.findall(r"[ML][\d.-]+ ([\d.-]+)", drawn))
    [line] = spectrum.find_elements(By.CSS_SELECTOR, "line.allowed")
    assert float(line.get_attribute("y1")) == pytest.approx(top, abs=4.0), "the swing of 5 MW reaches what is allowed"
    levels = plot_of(browser, "frequency").find_elements(By.CSS_SELECTOR, "line.allowed")
    assert len(levels) == 2, "a swing of 0.05 Hz goes beyond 0.04 Hz on either side"
    marks = plot_of(browser, "voltage").find_elements(By.CSS_SELECTOR, "path.event")
    told = [its.find_element(By.TAG_NAME, "title").get_property("textContent") for its in marks]
    assert told == [f"load_step, 0{PLACE}, 8.000 s"], "what is no routine of a job"
    assert plot_of(browser, "ramp curve").find_elements(By.CSS_SELECTOR, "path.limit")


def test_the_peak_of_one_row_shows_and_can_be_zoomed_into(browser, files):
    """1,000 parts hold 20,000 rows; 2 MW are a pixel or two of the plot's height."""
    opened(browser, files["one.html"])
    power = plot_of(browser, "consumption, and draw from the grid")
    assert seen(browser) == (0.0, SPAN_S)
    assert top_of(power, 1) == pytest.approx(PEAK_MW, abs=4.0)
    ticks = [its.text for its in plot_of(browser, "frequency").find_elements(By.CSS_SELECTOR, "text")]
    power = plot_of(browser, "consumption, and draw from the grid")
    drag(browser, power, 0.55, 0.65)
    first, last = seen(browser)
    assert (first, last) == pytest.approx((11.0, 13.0), abs=0.05), "a plot of 1,100 pixels: 0.02 s each"
    assert top_of(power, 1) == pytest.approx(PEAK_MW, abs=4.0)
    assert ticks != [its.text for its in plot_of(browser, "frequency").find_elements(By.CSS_SELECTOR, "text")]
    hit = plot_of(browser, "consumption, and draw").find_element(By.CSS_SELECTOR, ".hit")
    at = round(((PEAK_S - first) / (last - first) - 0.5) * hit.rect["width"])
    ActionChains(browser, duration=50).move_to_element_with_offset(hit, at, 0).perform()
    told = power.find_element(By.CLASS_NAME, "readout").text
    assert f"to {PEAK_MW:.1f}" in told or f"to {PEAK_MW:.2f}" in told, told
    assert "every row" in told, "the moment's rows are all there"
    ActionChains(browser, duration=50).double_click(hit).perform()
    assert seen(browser) == (0.0, SPAN_S)


def test_buttons_and_moments_move_the_time_shown(browser, files):
    opened(browser, files["one.html"])
    press = {its.get_attribute("data-view"): its for its in browser.find_elements(By.CSS_SELECTOR, "[data-view]")}
    press["in"].click()
    assert seen(browser) == (5.0, 15.0)
    press["on"].click()
    press["on"].click()
    assert seen(browser) == (10.0, 20.0), "no further than the run's end"
    press["back"].click()
    assert seen(browser) == (5.0, 15.0)
    press["out"].click()
    assert seen(browser) == (0.0, SPAN_S)
    browser.execute_script("""const select = document.getElementById("moments"); select.value = "0";
        select.dispatchEvent(new Event("change"))""")
    first, last = seen(browser)
    assert first < PEAK_S < last < SPAN_S + 1e-9 and last - first < 12.1
    press["whole"].click()
    assert seen(browser) == (0.0, SPAN_S)


def test_a_spectrum_zooms_by_itself(browser, files):
    opened(browser, files["one.html"])
    spectrum = plot_of(browser, "amplitude spectrum")
    before = spectrum.find_element(By.CSS_SELECTOR, "path.curve").get_attribute("d")
    drag(browser, spectrum, 0.5, 0.8)
    assert spectrum.find_element(By.CSS_SELECTOR, "path.curve").get_attribute("d") != before
    assert seen(browser) == (0.0, SPAN_S)
    ActionChains(browser, duration=50).double_click(spectrum.find_element(By.CSS_SELECTOR, ".hit")).perform()
    assert spectrum.find_element(By.CSS_SELECTOR, "path.curve").get_attribute("d") == before


def test_comparison_shows_both_and_what_did_not_end(browser, files):
    opened(browser, files["two.html"])
    warning = browser.find_element(By.CLASS_NAME, "warning").get_property("textContent")
    assert warning.startswith("B: not complete: error: </script>") and warning.endswith("covers 3 s, up to there.")
    frequency = plot_of(browser, "rate of change of frequency")
    assert len(frequency.find_elements(By.CSS_SELECTOR, "path.curve")) == 3, "two areas before, one after"
    assert seen(browser) == (0.0, SPAN_S)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(browser, files, scheme):
    preference = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": preference})
    opened(browser, files["one.html"])
    paper, ink = browser.execute_script("""const its = getComputedStyle(document.body), sum = (a, b) => a + Number(b);
        return [its.backgroundColor, its.color].map((c) => c.match(/\\d+/g).slice(0, 3).reduce(sum, 0))""")
    assert (paper > 600 and ink < 200) if scheme == "light" else (paper < 200 and ink > 600)


@pytest.mark.parametrize("height_mm", [297.0, 279.4], ids=["A4", "Letter"])
def test_prints_without_cut_plots(browser, files, height_mm):
    """Plots do not break, and each fits a page between its margins of 15 mm: 96 pixels an inch."""
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    opened(browser, files["one.html"])
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    sizes = browser.execute_script("""return [...document.querySelectorAll("figure")].map((figure) =>
        [getComputedStyle(figure).breakInside, figure.getBoundingClientRect().height])""")
    hidden = browser.execute_script("return getComputedStyle(document.getElementById('view')).display")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    assert len(sizes) > 10 and hidden == "none"
    assert all(rule == "avoid" and 100.0 < height < (height_mm - 30.0) / 25.4 * 96.0 for rule, height in sizes)
    paper = {"paperWidth": 8.27, "paperHeight": height_mm / 25.4, "preferCSSPageSize": False}
    printed = browser.execute_cdp_cmd("Page.printToPDF", paper)
    assert printed["data"].startswith("JVBER"), "%PDF in base64"
