"""A report needs nothing but the store: of a study that is finished, that runs, or in which trials failed."""

from __future__ import annotations

import csv

import pytest

from equipoise.errors import UnusableInputError
from equipoise.study._report.contents import MOST_CHARTED, of_store
from equipoise.study._report.page import report_study
from equipoise.study._report.status import read_status
from equipoise.study._report.stored import read_curves, read_record
from tests.study.recorder import run
from tests.study.report.made import COLLAPSED, DIVERGED, FAILED, make_store


@pytest.fixture
def made(tmp_path):
    opened = []

    def make(**arguments):
        opened.append(make_store(tmp_path / "widgets.db", **arguments))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


def test_the_store_alone_gives_the_verdict_that_the_run_gave(write_study, tmp_path):
    task = """
def train(trial):
    for epoch in trial.epochs():
        lost = trial.seed == 10001 and trial.learning_rate == 0.1 and epoch == 2
        trial.report(loss=float("nan") if lost else (1 + trial.seed % 10_000 / 1000) / trial.learning_rate / epoch)
"""
    analysis, _ = run(write_study(task=task))
    from equipoise.study._store import Store, sqlite_url

    store = Store(sqlite_url(tmp_path / "store.db"))
    found = of_store(store).verdict
    store.close()
    assert found is not None
    assert (found.headline, found.remarks, found.contrasts) == (analysis.headline, analysis.remarks, analysis.contrasts)
    assert [arm.values for arm in found.arms] == [arm.values for arm in analysis.arms]
    assert found.hyperparameters == analysis.hyperparameters


def test_a_finished_study_has_a_decision_and_what_it_cost(made, tmp_path):
    contents = report_study(made(), None, tmp_path / "widgets.report.html")
    text = (tmp_path / "widgets.report.md").read_text()
    assert text.startswith("# Use sgd in place of adamw: accuracy is better by 0.03")
    assert "sgd did better than adamw on 7 of 7 seeds." in text
    assert "60 trials took 11.5 min of computing in all." in text
    assert "8 kB of optimizer state (8 bytes per parameter)" in text
    assert "No seed of any arm diverged, and none ended far from the others of its arm." in text
    assert contents.settled


def test_lost_seeds_and_failed_trials_are_said_to_a_manager_and_shown_with_their_logs(made, tmp_path):
    report_study(made(trouble=True), "widgets", tmp_path / "widgets.report.html")
    text = (tmp_path / "widgets.report.md").read_text()
    risk = text[text.index("## The risk") : text.index("## What to do next")]
    assert "kadam: 1 of 7 seeds collapsed, to 0.09" in risk
    assert "quarter: 1 of 7 seeds diverged, each counted as accuracy = 0.05" in risk
    assert "1 of 60 trials failed and are missing" in risk
    assert "killed by signal 9" in risk
    page = (tmp_path / "widgets.report.html").read_text()
    assert "widgets.logs/one.log" in page
    assert "<pre>the last &lt;b&gt;line&lt;/b&gt;</pre>" in page.replace("\n", "")
    with (tmp_path / "widgets.report.csv").open() as file:
        lines = {(line["arm"], line["seed"], line["phase"]): line for line in csv.DictReader(file)}
    assert lines["sgd", str(FAILED), "comparison"]["status"] == "failed"
    assert lines["quarter", str(DIVERGED), "comparison"]["status"] == "diverged"
    assert lines["quarter", str(DIVERGED), "comparison"]["accuracy"] == "nan"
    assert float(lines["kadam", str(COLLAPSED), "comparison"]["accuracy"]) < 0.1


@pytest.mark.parametrize(
    ("arguments", "done"),
    [({"tuned": False}, 16), ({"compared": None}, 32), ({"compared": 0.0}, 32), ({"compared": 0.5}, 46)],
)
def test_a_study_that_is_not_finished_has_a_report_without_a_verdict(made, tmp_path, arguments, done):
    contents = report_study(made(**arguments), None, tmp_path / "widgets.report.html")
    text = (tmp_path / "widgets.report.md").read_text()
    assert text.startswith(f"# No decision yet: {done} of 60 trials are finished.")
    assert "The verdict for each arm" not in text
    assert "better" not in text
    assert contents.verdict is None


def test_the_status_counts_what_the_store_holds(made):
    status = read_status(made(trouble=True, compared=0.75))
    tuning, comparison = status.phases["tuning"], status.phases["comparison"]
    assert (tuning.planned, tuning.finished, tuning.diverged, tuning.failed, tuning.waiting) == (32, 32, 0, 0, 0)
    assert (comparison.planned, comparison.finished, comparison.diverged) == (28, 20, 1)
    assert (comparison.failed, comparison.waiting) == (1, 7)
    assert (status.runner, status.seconds_left) == ("", None)


def test_before_the_settings_are_chosen_the_comparison_is_counted_as_it_will_be(made):
    assert read_status(made(tuned=False)).phases["comparison"].planned == 28


def test_what_is_read_of_a_curve_does_not_grow_with_its_length(made):
    store = made(epochs=250)
    record = read_record(store)
    results = [cell.result for cell in record.table.cells]
    assert max(len(result.curves["accuracy"]) for result in results if result is not None) == 1
    bands = read_curves(store, record, "loss")
    assert {len(band.epochs) for band in bands.values()} == {100}
    assert {(band.epochs[0], band.epochs[-1]) for band in bands.values()} == {(1, 250)}


def test_thousands_of_reported_names_are_not_all_drawn_but_all_in_the_table(made, tmp_path):
    names = [f"layer.{index}.norm" for index in range(2_000)]
    contents = report_study(made(more=names, epochs=1, seeds=2, compared=0.5), None, tmp_path / "widgets.report.html")
    assert list(contents.curves)[:2] == ["accuracy", "validation_accuracy"]
    assert len(contents.curves) == MOST_CHARTED
    page = (tmp_path / "widgets.report.html").read_text()
    assert "1,990 more numbers. Their last values are in widgets.report.csv" in page
    assert len(page) < 6e6
    with (tmp_path / "widgets.report.csv").open() as file:
        assert set(names) < set(next(csv.reader(file)))


def test_last_values_are_those_of_the_last_epoch(made):
    store = made(trouble=True)
    record = read_record(store)
    kept = store.results(record.cells)
    for key, cells in record.cells.items():
        result = cells[0].result
        if result is not None:
            assert result.curves.keys() == kept[key].curves.keys() == {"accuracy", "validation_accuracy", "loss"}
            assert all(result.last(name) == pytest.approx(kept[key].last(name), nan_ok=True) for name in result.curves)
    assert record.names == ["accuracy", "loss", "validation_accuracy"]


def test_a_study_that_the_store_does_not_hold_is_named_with_those_that_it_does(made):
    with pytest.raises(UnusableInputError, match=r"does not tell of a study 'gadgets'; it holds 'widgets'"):
        of_store(made(), "gadgets")
