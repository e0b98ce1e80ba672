"""The report of a suite: from its stores alone, for a manager first, with a page for each task."""

from __future__ import annotations

import csv
import json
import re

import pytest

from equipoise.cli import main
from equipoise.study._suite.contents import of_stores
from equipoise.study._suite.page import write_suite
from tests.study.report.test_browser import browser, show, value  # noqa: F401  (a fixture)
from tests.study.suite.made import made_analysis, make_suite


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("both")
    suite = make_suite(folder)
    write_suite(of_stores(suite, None), folder / "both.report.html")
    return folder


def test_the_decision_stands_first_and_each_task_has_its_own_page(written):
    page = (written / "both.report.html").read_text()
    words = re.sub(r"\s+", " ", re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL))
    assert "Suite both · complete Choose by task: sgd on widgets, adamw on gadgets. What this rests on" in words
    assert "sgd: better on 1, worse on 1." in words
    assert "2 tasks say little about another one. Only an arm that wins on each of 6 tasks (7, corrected for 3 arms)" in words
    assert "all 6 intervals hold at once with 95 % confidence" in words
    assert "120 trials took" in words
    for task in ("widgets", "gadgets"):
        assert f'href="both.report.{task}.html"' in page
        own = (written / f"both.report.{task}.html").read_text()
        assert "adjusted for 6 comparisons on 2 tasks" in own
        assert "One task was tried" not in own
    assert (written / "both.report.html").stat().st_size < 6e6


def test_markdown_and_csv_beside_it_say_the_same(written):
    words = (written / "both.report.md").read_text()
    assert words.startswith("# Choose by task: sgd on widgets, adamw on gadgets.")
    assert "[The whole report of this task](both.report.gadgets.html)" in words
    with (written / "both.report.csv").open(newline="") as file:
        rows = {(row["task"], row["arm"]): row for row in csv.DictReader(file)}
    assert len(rows) == 8
    assert rows["widgets", "adamw"]["verdict"] == "baseline"
    assert [rows[task, "sgd"]["verdict"] for task in ("widgets", "gadgets")] == ["better", "worse"]
    assert float(rows["widgets", "sgd"]["spreads_from_best"]) == 0
    assert float(rows["gadgets", "sgd"]["spreads_from_best"]) > 1


def test_a_suite_that_runs_has_no_decision_and_a_task_that_is_finished_has_its_verdict(tmp_path):
    contents = of_stores(make_suite(tmp_path, compared=0.5), None)
    assert not contents.settled
    assert list(contents.analysis.tasks) == ["widgets"]
    assert contents.analysis.undecided == {"gadgets": "46 of 60 trials are finished"}
    write_suite(contents, tmp_path / "both.html")
    assert "No decision yet: 106 of 120 trials are finished." in (tmp_path / "both.html").read_text()


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (800, "light"), (1400, "light")])
def test_the_page_is_drawn_and_no_screen_is_too_narrow(browser, written, width, scheme):  # noqa: F811
    show(browser, written / "both.report.html", width, scheme)
    assert value(browser, "document.querySelectorAll('.plot .main-svg').length") > 0
    assert value(browser, "document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []


@pytest.fixture
def call(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["study", *map(str, arguments)])
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run


def test_results_of_others_with_a_column_of_tasks_are_decided_together(call, tmp_path):
    values = {arm: [0.9 + 0.01 * (seed % 3) + gain for seed in range(8)] for arm, gain in (("adamw", 0.0), ("sgd", 0.05))}
    rows = [
        f"{task},{arm},{seed},{number}"
        for task in ("=digits", "words")
        for arm, own in values.items()
        for seed, number in enumerate(own)
    ]
    table = tmp_path / "results.csv"
    table.write_text("\n".join(["workload,optimizer,seed,accuracy", *rows]))
    asked = ["--arm", "optimizer", "--seed", "seed", "--metric", "accuracy", "--baseline", "adamw", "--task", "workload"]
    code, out, _ = call("judge", table, *asked, "--report", tmp_path / "judged.html", "--json")
    found = json.loads(out)
    expected = made_analysis(dict.fromkeys(("=digits", "words"), values))
    assert (code, found["headline"]) == (0, "Use sgd in place of adamw: better on all 2 tasks.")
    contrast = expected.tasks["words"].contrasts[0]
    assert found["tasks"]["words"]["arms"][1]["interval"] == pytest.approx(list(contrast.interval))
    assert "'=digits,sgd" in (tmp_path / "judged.csv").read_text()
    table.write_text("\n".join(["workload,optimizer,seed,accuracy", *rows[8:]]))
    code, _, err = call("judge", table, *asked)
    assert code == 2
    assert "workload '=digits' has no arm 'adamw' to be the baseline" in err
