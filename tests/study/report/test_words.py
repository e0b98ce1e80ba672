"""What a person sees of a study: the verdict and its table first, the same numbers everywhere, nothing from a network."""

from __future__ import annotations

import html
import io
import json
import re
from functools import partial
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from equipoise._words import printable
from equipoise.check._map import RegionPoint
from equipoise.hyperparameters import Hyperparameters
from equipoise.study._analysis import Analysis, Compared, Question, Tuned, decide
from equipoise.study._arms.space import Point
from equipoise.study._cells import Result
from equipoise.study._report.contents import astray
from equipoise.study._report.figures.charts import region_points
from equipoise.study._report.markdown import line
from equipoise.study._report.page import report_analysis
from equipoise.study._report.table import as_plain, print_report
from equipoise.study._spec import Study

EVIL = "<script>alert('arm')</script>\x1b[31m\r\u202e"


def make_study(seeds: int = 8, names: tuple[str, str, str] = ("adamw", "sgd", "quarter")) -> Study:
    optimizers = ("torch.optim.AdamW", "torch.optim.SGD", "equipoise.SMES")
    return Study.model_validate(
        {
            "name": "widgets",
            "task": "digits",
            "metric": "accuracy",
            "goal": "maximize",
            "epochs": 3,
            "seeds": seeds,
            "tuning_seeds": 1,
            "learning_rates": [0.01, 0.1, 1.0],
            "arm": [
                {"name": name, "optimizer": optimizer, "baseline": index == 0}
                for index, (name, optimizer) in enumerate(zip(names, optimizers, strict=True))
            ],
        }
    )


def make_analysis(study: Study, effects: tuple[float, float, float], diverged: int = 0) -> Analysis:
    """An analysis of made-up curves: `effects` are the arms' means, the last `diverged` seeds of the second arm diverged."""
    rng = np.random.default_rng(1)
    names = [arm.name for arm in study.arms]
    noise = rng.normal(0, 0.01, size=(len(effects), study.seeds))
    arms = []
    for index, (arm, effect) in enumerate(zip(study.arms, effects, strict=True)):
        points = tuple(Point({"lr": rate}) for rate in (0.01, 0.1, 1.0))
        tuned = Tuned(arm, points, ((0.5,), (0.9,), (0.4,)), (0, 0, 1), points[1])
        lost = [index == 1 and seed >= study.seeds - diverged for seed in range(study.seeds)]
        values = [0.1 if gone else effect + shift for gone, shift in zip(lost, noise[index], strict=True)]
        results = [
            Result(gone, 1.0, {"loss": {1: 1.0}, "accuracy": {1: 0.2} if gone else {1: 0.2, 2: 0.4, 3: value}})
            for gone, value in zip(lost, values, strict=True)
        ]
        arms.append(Compared(arm.name, tuple(study.seeds_for_comparison), tuple(results), tuple(values), tuned))
    places = {names[0]: Hyperparameters.parse((0.9, 0.999)), names[2]: Hyperparameters.parse((0.9, 0.99), 0.25)}
    return decide(Question.of_study(study), arms, 0.1, study, places)


def printed(analysis: Analysis, width: int) -> str:
    stream = io.StringIO()
    print_report(analysis, Console(file=stream, width=width))
    return stream.getvalue()


class Page(HTMLParser):
    """Tags, text outside of scripts, and everything that a browser would load."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.loads: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        if self.tags and self.tags[-1] not in ("script", "style"):
            self.text.append(data.strip())


def test_the_verdict_names_the_best_arm_with_its_interval():
    analysis = make_analysis(make_study(), (0.8, 0.7, 0.9))
    number = r"\+0\.\d+"
    expected = rf"quarter beats adamw: accuracy better by {number} \(95 % interval {number} to {number}, p = \S+\)\."
    assert re.fullmatch(expected, analysis.headline)
    assert "Shown to be worse than adamw: sgd." in analysis.remarks


def test_without_a_difference_the_verdict_says_that_none_was_shown():
    assert make_analysis(make_study(), (0.8, 0.8, 0.8)).headline == "No arm is shown to beat adamw."


def test_the_table_is_sorted_by_the_metric_and_marks_the_baseline():
    table = make_analysis(make_study(), (0.8, 0.7, 0.9)).table.rows
    assert [row[0] for row in table] == ["quarter", "adamw", "sgd"]
    assert [row[1] for row in table] == ["better", "baseline", "worse"]


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_shows_verdict_and_table_within_its_width(width):
    analysis = make_analysis(make_study(), (0.8, 0.7, 0.9), diverged=1)
    text = printed(analysis, width)
    assert text.index("quarter beats adamw") < text.index("95 % interval")
    assert "sgd: 1 of 8 seeds diverged" in text
    # One line per arm: nothing is folded.
    assert (
        sum(line.startswith(("adamw", "quarter", "sgd ")) and line.rstrip().endswith(" 0.1") for line in text.splitlines()) == 3
    )
    assert max(map(len, text.splitlines())) <= width


def test_json_holds_the_numbers_of_the_table():
    analysis = make_analysis(make_study(), (0.8, 0.7, 0.9))
    entries = json.loads(json.dumps(as_plain(analysis), allow_nan=False))
    assert entries["headline"] == analysis.headline
    assert [arm["mean"] for arm in entries["arms"]] == [arm.mean for arm in analysis.arms]
    assert entries["arms"][2]["adjusted_p_value"] == analysis.contrasts[1].adjusted_p_value


def test_the_page_loads_nothing_and_begins_with_the_decision(tmp_path):
    analysis = make_analysis(make_study(), (0.8, 0.7, 0.9), diverged=2)
    path = tmp_path / "report.html"
    report_analysis(analysis, path)
    source = path.read_text()
    page = Page(source)
    assert page.loads == []
    assert source.count("plotly.js v") == 1
    body = source.index("<body>")
    decision = source.index("<h1>Use quarter in place of adamw", body)
    assert decision < source.index('class="plot"', body) < source.index(analysis.headline, body) < source.index("<table", body)
    for row in analysis.table.rows:
        assert set(row) - {""} <= set(page.text)
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "report.md"}


def test_text_from_the_study_file_is_text_on_the_page_and_in_the_terminal(tmp_path):
    path = tmp_path / "report.html"
    analysis = make_analysis(make_study(names=("adamw", "sgd", EVIL)), (0.8, 0.7, 0.9))
    report_analysis(analysis, path)
    source = path.read_text()
    assert EVIL not in source
    assert printable(EVIL) in " ".join(Page(source).text)
    assert set(printed(analysis, 80)) & {"\x1b", "\r", "\u202e"} == set()


def test_an_arm_without_a_place_on_the_map_is_named(tmp_path):
    path = tmp_path / "report.html"
    report_analysis(make_analysis(make_study(), (0.8, 0.7, 0.9)), path)
    assert "Without a place on this map: sgd." in path.read_text()


def test_the_map_shows_the_hyperparameters_that_the_study_recorded():
    points = region_points(make_analysis(make_study(), (0.8, 0.7, 0.9)).hyperparameters)
    assert points == [RegionPoint("adamw", 0.9, 0.999, 0.5), RegionPoint("quarter", 0.9, 0.99, 0.25)]


def test_a_seed_far_from_the_others_of_its_arm_collapsed_and_one_at_the_end_of_the_crowd_did_not():
    results = (Result(False, 1.0),) * 6
    arm = partial(Compared, "quarter", tuple(range(6)), results)
    assert astray(arm((0.96, 0.97, 0.96, 0.95, 0.97, 0.1)), "maximize") == [0.1]
    assert astray(arm((0.96, 0.97, 0.96, 0.95, 0.97, 0.93)), "maximize") == []
    assert astray(arm((1.0, 1.0, 1.0, 1.0, 1.0, 0.999)), "maximize") == []
    assert astray(arm((0.1, 0.11, 0.1, 0.1, 0.09, 1e30)), "minimize") == [1e30]
    assert astray(arm((0.1, 0.11, 0.1, 0.1, 0.09, -1e30)), "minimize") == []


@given(st.text(st.sampled_from("ab 1.)-+=#>*_`~|[](){}<!&/:\\\n\t") | st.characters(), max_size=60))
@example("1. a")
@example("    code")
@example("<b>&lt;")
def test_no_text_is_markdown(words):
    shown = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(f"- {line(printable(words))}")
    assert set(re.findall(r"</?(\w+)", shown)) <= {"ul", "li"}
    assert " ".join(html.unescape(re.sub(r"</?(?:ul|li)>", "", shown)).split()) == " ".join(printable(words).split())
