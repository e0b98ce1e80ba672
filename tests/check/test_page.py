"""The page of ``equipoise check --explain``: its formulas are those of the theory, and it works without a network."""

import html
import json
import math
import re
import subprocess

import numpy as np
import pytest

from equipoise.check._page import write_explanation
from equipoise.errors import UnusableInputError
from equipoise.theory import assess, continuous_margin, margin, max_update, stage_updates, worst_case_gradients
from equipoise.theory._flow import discrepancy
from tests.marks import BROWSER, needs_browser


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.html"
    write_explanation(path, {assess((0.9, 0.999)): ["mine"]})
    return path


def opened(path, source):
    """The DOM after the browser has loaded a source."""
    path.write_text(source, encoding="utf-8")
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={path.parent / 'profile'}", "--dump-dom"]
    done = subprocess.run([BROWSER, *arguments, path.as_uri()], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def evaluated(page, expression, given=None):
    """The value of a JavaScript expression of `given` in the page; what is not finite comes as a string that float() reads."""
    guard = "<script>window.failures = []; addEventListener('error', event => failures.push(event.message))</script>"
    script = (
        f"<script>{{ const given = {json.dumps(given)}, found = document.createElement('pre'); found.id = 'found';"
        " const plain = (key, value) => typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;"
        f" found.textContent = JSON.stringify([failures, {expression}], plain); document.body.append(found); }}</script>"
    )
    source = page.read_text(encoding="utf-8").replace("<title>", guard + "<title>").replace("</body>", script + "</body>")
    printed = opened(page.with_name("evaluated.html"), source)
    failures, value = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', printed, re.DOTALL)[1]))
    assert failures == []
    return value


def cases():
    rng = np.random.default_rng(0)
    near1 = lambda: 1 - 10 ** -rng.uniform(0, 5)  # noqa: E731
    found = [(near1(), near1(), rng.choice([0.5, rng.uniform(-0.2, 0.6)]), int(rng.integers(1, 40))) for _ in range(200)]
    found += [(0.0, 0.9, 0.5, 5), (0.0, 0.0, 0.25, 5), (0.5, 0.0, 0.25, 1), (0.9, 0.81, 0.5, 9), (0.8, 0.8, 0.25, 30)]
    found += [
        (0.9, 0.999, 0.25, 300),
        (0.95, 0.7, 0.5, 60),
        (0.9, 0.999, 0.0, 7),
        (0.9, 0.999, 0.5, 300),
        (0.9, 0.999, 0.75, 4),
    ]
    return [(float(beta1), float(beta2), float(p), n) for beta1, beta2, p, n in found]


@needs_browser
def test_the_page_computes_what_the_theory_computes(page):
    expression = """given.map(([b1, b2, p, n]) => ({
        margin: equipoise.margin(b1, b2, p), continuous: equipoise.continuousMargin(b1, b2, p),
        limit: equipoise.maxUpdate(b1, b2, p), bound: equipoise.maxUpdate(b1, b2, p, n),
        gradients: p <= 0.5 ? equipoise.worstCaseGradients(b1, b2, p, n) : [],
        stages: equipoise.assess(b1, b2, p, 3), one: equipoise.assess(b1, b2, p, 1)}))"""
    for values, found in zip(cases(), evaluated(page, expression, cases()), strict=True):
        beta1, beta2, p, n = values
        close = {"rel": 1e-9, "abs": 1e-12}
        assert float(found["margin"]) == pytest.approx(margin(beta1, beta2, p), **close), values
        assert float(found["continuous"]) == pytest.approx(continuous_margin(beta1, beta2, p), **close), values
        assert float(found["limit"]) == pytest.approx(max_update(beta1, beta2, p), **close), values
        assert float(found["bound"]) == pytest.approx(max_update(beta1, beta2, p, n), **close), values
        if p <= 0.5:
            assert found["gradients"] == pytest.approx(worst_case_gradients(beta1, beta2, p, n), abs=1e-7), values
        chain = assess((beta1, beta2), p, 3)
        assert found["stages"]["stable"] == chain.stable
        assert float(found["stages"]["bound"]) == pytest.approx(chain.max_update, **close), values
        one = assess((beta1, beta2), p)
        assert [found["one"][name] for name in ("sentence", "growth", "advice")] == [one.sentence, one.growth.value, one.advice]


@needs_browser
def test_the_page_sends_gradients_through_the_stages_as_the_rule_does(page):
    gradients = [1.0, -0.5, 0.0, 0.0, 2.0, 1e-3, -1.0, 0.0, 0.3]
    chosen = [(0.9, 0.999, 0.5, 1), (0.5, 0.8, 0.25, 3), (0.9, 0.99, 0.0, 2), (0.9, 0.99, -0.25, 2), (0.0, 0.9, 0.75, 1)]
    expression = f"given.map(([b1, b2, p, k]) => equipoise.stageUpdates({gradients}, b1, b2, p, k))"
    for (beta1, beta2, p, k), found in zip(chosen, evaluated(page, expression, chosen), strict=True):
        assert found == pytest.approx(stage_updates(gradients, (beta1, beta2), p, k)[-1], rel=1e-12, abs=1e-15)


@needs_browser
def test_the_page_follows_the_flow_and_the_rule(page):
    chosen = [(10.0, 0.6, 0.9, 0.999, 0.5, 1, 0.05), (1.0, 1.0, 0.9, 0.99, 0.25, 2, 0.1), (10.0, 0.6, 0.5, 0.7, 0.0, 1, 0.02)]
    expression = """given.map(([curvature, start, ...rest]) => [
        equipoise.steps(curvature, start, ...rest, 60), equipoise.flow(curvature, start, ...rest, 60)
        .filter((value, index) => index % equipoise.PARTS === 0)])"""
    for values, (steps, curve) in zip(chosen, evaluated(page, expression, chosen), strict=True):
        curvature, start, beta1, beta2, p, k, lr = values
        hyperparameters = {"lr": lr, "betas": (beta1, beta2), "exponent": p, "stages": k, "eps": 0.0}
        expected = discrepancy(lambda theta, curvature=curvature: curvature * theta, [start], steps=60, **hyperparameters)
        assert steps == pytest.approx(expected.theta[:, 0], rel=1e-9, abs=1e-12), values
        assert curve == pytest.approx(expected.flow.theta[:, 0], abs=1e-4), values


@needs_browser
def test_sliders_and_numbers_change_the_verdict_and_the_page_loads_nothing(page):
    expression = """(() => {
        const text = id => document.getElementById(id).textContent, found = [text("sentence")];
        for (const [id, value] of given) {
            document.getElementById(id).value = value;
            document.getElementById(id).dispatchEvent(new Event("input"));
            found.push(text("sentence"));
        }
        const value = id => document.getElementById(id).value;
        const state = {found, beta2: value("beta2"), range: value("beta1-range"), className: document.body.className,
            bound: text("bound"),
            drawn: [...document.querySelectorAll("svg")].map(svg => svg.childElementCount), updates: text("worst"),
            loaded: performance.getEntriesByType("resource").length};
        document.getElementById("reset").click();
        return {...state, reset: text("sentence")};
    })()"""
    moves = [("beta1", "0.95"), ("beta2-range", "0.5"), ("exponent", "0.12"), ("stages-range", "2"), ("beta2", "2")]
    state = evaluated(page, expression, moves)
    beta2 = 1 - 10**-0.5
    expected = [assess((0.9, 0.999)), assess((0.95, 0.999)), assess((0.95, beta2)), assess((0.95, beta2), 0.12)]
    expected += [assess((0.95, beta2), 0.12, 2)] * 2  # a beta of 2 is marked by the browser and changes nothing
    assert state["found"] == [one.sentence for one in expected]
    assert [one.stable for one in expected] == [True, True, False, True, True, True]
    assert float(state["range"]) == pytest.approx(-math.log10(0.05), abs=0.005)
    assert state["beta2"] == "2"
    assert state["className"] == "stable"
    assert state["bound"].startswith(f"{expected[-1].max_update:.5g} ")
    assert min(state["drawn"]) > 5
    assert "sent through all of them" in state["updates"]
    assert state["loaded"] == 0
    assert state["reset"] == expected[0].sentence


@needs_browser
def test_every_kind_of_verdict_is_drawn(tmp_path):
    kinds = [((0.9, 0.0), 0.25), ((0.0, 0.0), 0.5), ((0.9, 0.999), 0.75), ((0.9, 0.999), -0.25), ((0.9, 0.81), 0.5)]
    found = [assess(*kind) for kind in kinds]
    write_explanation(tmp_path / "page.html", {one: ["mine"] for one in found})
    expression = """[...document.querySelectorAll("option")].map((option, index) => {
        const select = document.getElementById("group");
        select.selectedIndex = index;
        select.dispatchEvent(new Event("input"));
        return [[...document.querySelectorAll(".point")].map(mark => mark.tagName),
            document.getElementById("sentence").textContent,
            document.querySelector("main").innerHTML.match(/NaN|undefined|Infinity/)];
    })"""
    expected = [[["circle" if one.stable else "rect"], one.sentence, None] for one in found]
    assert evaluated(tmp_path / "page.html", expression) == expected


@needs_browser
def test_nothing_is_wider_than_the_window_from_400_to_1600_pixels(page):
    frames = "".join(
        f'<iframe style="width: {width}px; height: 900px" srcdoc="{html.escape(page.read_text(encoding="utf-8"))}"></iframe>'
        for width in (400, 800, 1600)
    )
    measure = """<script>onload = () => {
        const roots = [...document.querySelectorAll("iframe")].map(frame => frame.contentDocument.documentElement);
        document.title = roots.map(root => `${root.scrollWidth} <= ${root.clientWidth}`).join();
    }</script>"""
    printed = opened(page.with_name("frames.html"), f"<!doctype html><title></title>{frames}{measure}")
    widths = re.findall(r"(\d+) &lt;= (\d+)", re.search("<title>(.*?)</title>", printed)[1])
    assert len(widths) == 3
    assert all(int(wide) <= int(window) for wide, window in widths)


def test_the_page_names_nothing_to_load_and_every_control_has_a_label(page):
    source = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in source
    assert not re.search(r"<(?:link|img|iframe|object|embed)|\b(?:src|href)=|@import|fetch\(|XMLHttpRequest", source)
    controls = re.findall(r"<input ([^>]*)>", source)
    assert [re.search('type="([a-z]+)"', control)[1] for control in controls] == ["range", "number"] * 5
    labelled = set(re.findall(r'<label for="([^"]+)"', source))
    assert all("aria-label=" in control or re.search(r'id="([^"]+)"', control)[1] in labelled for control in controls)


def values_of(path):
    return json.loads(re.search(r'<script type="application/json" id="values">(.*?)</script>', path.read_text(), re.DOTALL)[1])


def test_check_explain_writes_the_page_and_says_where(run, tmp_path):
    path = tmp_path / "page.html"
    code, out, err = run("check", "--betas", 0.95, 0.7, "--exponent", 0.4, "--stages", 2, "--explain", path)
    assert (code, err) == (1, f"explained: {path}\n")
    assert out.startswith("UNSTABLE")
    (group,) = values_of(path)
    assert (group["betas"], group["exponent"], group["stages"]) == ([0.95, 0.7], 0.4, 2)
    assert group["origin"] == "Opened with the values of: command line."


def test_of_several_settings_the_worst_is_shown_first_and_names_are_escaped(run, tmp_path):
    evil = "</script><script>alert(1)</script>"
    settings = {
        "fine": {"betas": [0.9, 0.999]},
        evil: {"betas": [0.95, 0.7]},
        "worse": {"betas": [0.99, 0.5]},
        "same": {"betas": [0.9, 0.999]},
    }
    (tmp_path / "c.json").write_text(json.dumps(settings))
    run("check", tmp_path / "c.json", "--explain", tmp_path / "page.html")
    assert evil not in (tmp_path / "page.html").read_text()
    groups = values_of(tmp_path / "page.html")
    assert [group["first"] for group in groups] == [False, False, True]
    assert [group["label"] for group in groups] == [
        "fine.betas and 1 more: stable",
        f"{evil}.betas: unstable",
        "worse.betas: unstable",
    ]


@needs_browser
def test_a_name_from_a_file_is_text_in_the_page(tmp_path):
    evil = "</script><img src=x onerror=alert(1)>"
    write_explanation(tmp_path / "page.html", {assess((0.9, 0.999)): [evil], assess((0.95, 0.7)): ["second"]})
    expression = """[[...document.querySelectorAll("option")].map(option => option.textContent),
        document.querySelectorAll("img").length, document.getElementById("group").selectedIndex,
        document.getElementById("groups").hidden]"""
    assert evaluated(tmp_path / "page.html", expression) == [[f"{evil}: stable", "second: unstable"], 0, 1, False]


def test_stages_that_differ_are_shown_by_the_one_that_decides(tmp_path):
    found = assess([(0.9, 0.999), (0.95, 0.7)], (0.25, 0.125), 2)
    write_explanation(tmp_path / "page.html", {found: ["mine"]})
    (group,) = values_of(tmp_path / "page.html")
    assert (group["betas"], group["exponent"], group["stages"]) == ([0.95, 0.7], 0.125, 1)
    assert (
        group["origin"] == "Opened with the values of: mine. Its 2 stages differ; this page shows stage 2 alone, which decides."
    )


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(UnusableInputError, match=r"page\.pdf: an explanation is written as \.html, not as \.pdf"):
        write_explanation(tmp_path / "page.pdf", {assess((0.9, 0.999)): ["mine"]})
