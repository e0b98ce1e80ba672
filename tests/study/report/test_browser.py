"""The report in a real browser: every figure is drawn, names are text wherever they stand, and it fits screens and paper."""

from __future__ import annotations

import base64
import shutil
import time

import pytest

from equipoise.study._report.page import report_study
from tests.marks import BROWSER
from tests.study.report.made import make_store

DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(BROWSER is None or DRIVER is None, reason="needs chromium and chromedriver on the path")

CALL = "window.ran=1"
ARMS = (
    f"<script>{CALL}</script>",
    f'<a href="javascript:{CALL}">arm</a>',
    f"<img src=x onerror={CALL}> {{{{7*7}}}} %{{x}}",
    "\x1b]0;title\x07\x1b[31mred\nline \u202e\u2066 " + "long" * 50,
)
METRIC = f'</script><script>{CALL}</script><a href="http://127.0.0.1:1/">m</a>'
OTHERS = (
    f"$\\href{{javascript:{CALL}}}{{x}}$",
    f"\"><svg onload={CALL}> ' onfocus={CALL} autofocus",
    "<b>bold</b><br>&lt;i&gt;",
    "--bad",
    "=HYPERLINK('http://127.0.0.1:1/')",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    profile = tmp_path_factory.mktemp("profile")
    for flag in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"),
        *("disable-component-update", "disable-sync", f"user-data-dir={profile}"),
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    store = make_store(folder / "widgets.db", arms=ARMS, metric=METRIC, select_by=OTHERS[0], more=OTHERS[1:], trouble=True)
    report_study(store, None, folder / "report.html")
    store.close()
    return folder / "report.html"


def show(browser, path, width, scheme="light"):
    browser.get_log("browser")
    browser.get_log("performance")
    values = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", values)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(path.as_uri())
    until(browser, "[...document.querySelectorAll('.plot')].every(plot => plot.querySelector('.main-svg'))")


def value(browser, expression):
    return browser.execute_script(f"return {expression}")


def until(browser, expression):
    deadline = time.monotonic() + 60
    while not value(browser, expression):
        assert time.monotonic() < deadline, expression
        time.sleep(0.05)


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (800, "light"), (1400, "light")])
def test_nothing_in_a_name_runs_or_leads_anywhere_and_no_screen_is_too_narrow(browser, hostile, width, scheme):
    show(browser, hostile, width, scheme)
    assert value(browser, "typeof window.ran") == "undefined"
    assert value(browser, "document.querySelectorAll('a, img, b, iframe, [onload], [onfocus], [onerror]').length") == 0
    assert value(browser, "document.querySelectorAll('script').length") == 3
    assert value(browser, "document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []
    requests = [entry["message"] for entry in browser.get_log("performance") if 'requestWillBeSent"' in entry["message"]]
    assert all(hostile.as_uri() in request for request in requests)


def test_the_names_are_there_to_read(browser, hostile):
    show(browser, hostile, 1400)
    text = value(browser, "document.body.innerText")
    for name in (*ARMS[:3], METRIC, OTHERS[0]):
        assert name in text
    assert "�]0;title��[31mred�line ��" in text


def test_every_number_can_be_chosen_and_every_mark_pointed_at(browser, hostile):
    show(browser, hostile, 800)
    options = value(browser, "document.getElementById('number').options.length")
    assert options == 6
    for index in range(options):
        browser.execute_script(f"number.value = {index}; number.dispatchEvent(new Event('change'))")
    browser.execute_script("whole.click()")
    # Pointing at a mark makes plotly write its text, which is where it would read names as HTML.
    browser.execute_script(
        """
        for (const plot of document.querySelectorAll(".plot")) {
          const marks = plot.data.map((trace, curveNumber) => ({ curveNumber, pointNumber: 0 }));
          Plotly.Fx.hover(plot, marks.filter(mark => plot.data[mark.curveNumber].hoverinfo !== "skip").slice(0, 4));
        }
        """
    )
    assert value(browser, "document.querySelectorAll('.hoverlayer text').length") > 0
    assert value(browser, "typeof window.ran") == "undefined"
    assert value(browser, "document.querySelectorAll('a').length") == 0


def test_a_lost_seed_stands_out_with_its_value(browser, hostile):
    show(browser, hostile, 800)
    dots = "[...document.querySelectorAll('[data-figure=dots] .textpoint text')].map(text => text.textContent).filter(Boolean)"
    words = value(browser, dots)
    assert "diverged" in words
    assert any(word.startswith("0.09") for word in words)


def test_an_arm_that_went_astray_does_not_flatten_the_others(browser, hostile):
    show(browser, hostile, 800)
    axis = "document.querySelector('[data-figure=curves]')._fullLayout.yaxis.range"
    low, _ = value(browser, axis)
    assert low > 0.4
    browser.execute_script("whole.click()")
    low, _ = value(browser, axis)
    assert low < 0.1


def test_colours_follow_the_scheme_and_paper_is_light(browser, hostile):
    show(browser, hostile, 800, "dark")
    paper = "document.querySelector('[data-figure=forest] .main-svg').style.background"
    assert value(browser, paper) == "rgb(22, 24, 27)"
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert value(browser, paper) == "rgb(255, 255, 255)"
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert value(browser, paper) == "rgb(22, 24, 27)"
