"""Results that others made get the verdict that a study would give, whatever the format they come in."""

from __future__ import annotations

import io
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from equipoise.errors import ArgumentError, UnusableInputError
from equipoise.study import judge
from equipoise.study._report.table import print_report
from equipoise.study._statistics.paired import compare

ACCURACY = {"adamw": 0.90, "sgd": 0.92, "lion": 0.87}
SEEDS = 6
QUESTION = {"arm": "optimizer", "seed": "seed", "metric": "accuracy", "baseline": "adamw"}


def accuracies() -> dict[str, dict[str, float]]:
    """Arm -> seed -> accuracy, the seeds as texts, which they are in a CSV file."""
    rng = random.Random(0)
    return {arm: {str(seed): round(mean + rng.gauss(0, 0.005), 4) for seed in range(SEEDS)} for arm, mean in ACCURACY.items()}


def records() -> list[dict[str, object]]:
    return [
        {"optimizer": arm, "seed": int(seed), "accuracy": value}
        for arm, own in accuracies().items()
        for seed, value in own.items()
    ]


def as_csv(rows: list[dict[str, object]], delimiter: str = ",") -> str:
    lines = [delimiter.join(rows[0]), *(delimiter.join(map(str, row.values())) for row in rows)]
    return "\n".join(lines) + "\n"


def written(tmp_path: Path, text: str, name: str = "results.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def weights_and_biases(rows: list[dict[str, object]]) -> str:
    """The table of runs, as its page exports it."""
    heading = '"Name","State","Notes","User","Tags","Created","Runtime","Sweep","optimizer","seed","accuracy"\n'
    line = '"run-{0}-{1}","finished","-","me","","2026-01-01T00:00:00.000Z","62","","{0}","{1}","{2}"\n'
    return heading + "".join(line.format(*row.values()) for row in rows)


def mlflow(rows: list[dict[str, object]]) -> str:
    """What ``mlflow experiments csv`` writes."""
    heading = "run_id,experiment_id,status,artifact_uri,metrics.accuracy,params.optimizer,params.seed,tags.mlflow.user\n"
    return heading + "".join(
        f"{index:032x},0,FINISHED,file:///a,{row['accuracy']},{row['optimizer']},{row['seed']},me\n"
        for index, row in enumerate(rows)
    )


def nested(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Runs as the API of W&B gives them."""
    return [
        {"config": {"optimizer": row["optimizer"], "seed": row["seed"]}, "summary": {"accuracy": row["accuracy"]}}
        for row in rows
    ]


def ray_tune(rows: list[dict[str, object]]) -> str:
    """What ``ResultGrid.get_dataframe().to_csv()`` writes."""
    heading = "accuracy,timestamp,done,training_iteration,trial_id,time_total_s,config/optimizer,config/seed,logdir\n"
    return heading + "".join(
        f"{row['accuracy']},1795573694,False,1,d8780_{index:05},62.0,{row['optimizer']},{row['seed']},d8780_{index:05}\n"
        for index, row in enumerate(rows)
    )


def optuna(rows: list[dict[str, object]]) -> str:
    """What ``study.trials_dataframe().to_csv()`` writes, where the study's metric has a name."""
    heading = "number,value_accuracy,datetime_start,duration,params_optimizer,params_seed,state\n"
    return heading + "".join(
        f"{index},{row['accuracy']},2026-01-01 00:00:00.000000,0 days 00:01:02,{row['optimizer']},{row['seed']},COMPLETE\n"
        for index, row in enumerate(rows)
    )


FORMATS = {
    "comma-separated": as_csv(records()),
    "comma-separated with a byte order mark and Windows line ends": "\ufeff" + as_csv(records()).replace("\n", "\r\n"),
    "semicolon-separated": as_csv(records(), ";"),
    "tab-separated": as_csv(records(), "\t"),
    "JSON lines": "".join(json.dumps(record) + "\n" for record in records()),
    "a JSON list": json.dumps(records(), indent=1),
    "a table of runs of W&B": weights_and_biases(records()),
    "nested objects": "".join(json.dumps(record) + "\n" for record in nested(records())),
    "MLflow": mlflow(records()),
    "Ray Tune": ray_tune(records()),
    "Optuna": optuna(records()),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_comparison_of_its_numbers(name, tmp_path):
    found = judge(written(tmp_path, FORMATS[name]), **QUESTION)
    assert list(found.contrasts) == compare(accuracies(), "adamw", "maximize")
    assert [c.verdict for c in found.contrasts] == ["better", "worse"]
    assert found.headline.startswith("sgd beats adamw: accuracy better by +0.0")


def epochs_of(value: float) -> dict[int, float]:
    return {epoch: round(value * (1 - 0.5**epoch), 6) for epoch in range(1, 9)}


def with_epochs() -> list[dict[str, object]]:
    return [
        {**record, "accuracy": value, "epoch": epoch, "time": 2.5 * epoch}
        for record in records()
        for epoch, value in epochs_of(float(str(record["accuracy"]))).items()
    ]


def test_of_several_rows_of_a_run_the_last_decides_in_whatever_order_they_are(tmp_path):
    rows = with_epochs()
    random.Random(1).shuffle(rows)
    found = judge(written(tmp_path, as_csv(rows)), **QUESTION, epoch="epoch", seconds="time", target=0.85)
    order = ["adamw", "sgd", "lion"]
    ends = {arm: {seed: epochs_of(value)[8] for seed, value in own.items()} for arm, own in accuracies().items()}
    assert {arm.name: dict(zip(arm.seeds, arm.values, strict=True)) for arm in found.arms} == ends
    epochs, seconds = found.time_to_target
    assert (epochs.unit, epochs.budget, seconds.unit, seconds.budget) == ("epoch", 8, "second", 20)
    assert epochs.means["sgd"] < epochs.means["adamw"] < epochs.means["lion"]
    assert seconds.means == pytest.approx({arm: 2.5 * epochs.means[arm] for arm in order})


def test_rows_without_the_metric_are_no_readings_and_a_run_without_any_has_diverged(tmp_path):
    rows = [row for row in with_epochs() if (row["optimizer"], row["seed"]) != ("lion", 5)]
    rows += [{"optimizer": "lion", "seed": 5, "accuracy": "", "epoch": 1, "time": 2.5}]
    rows += [{**row, "epoch": row["epoch"] + 100, "accuracy": ""} for row in rows]
    found = judge(written(tmp_path, as_csv(rows)), **QUESTION, epoch="epoch")
    assert [arm.diverged for arm in found.arms] == [0, 0, 1]
    worst = min(float(str(row["accuracy"])) for row in rows if row["accuracy"] != "")
    assert dict(zip(found.arms[2].seeds, found.arms[2].values, strict=True))["5"] == worst


@pytest.mark.parametrize("broken", ["nan", "inf", "-inf", "", "1e999"])
def test_a_run_without_a_finite_end_counts_with_the_worst_value_and_never_as_better(broken, tmp_path):
    rows = records()
    rows[SEEDS]["accuracy"] = broken  # sgd, seed 0
    found = judge(written(tmp_path, as_csv(rows)), **QUESTION)
    sgd = found.arms[1]
    assert (sgd.diverged, found.divergence[0].only_arm) == (1, 1)
    assert sgd.values[0] == min(value for own in accuracies().values() for value in own.values())
    assert all(map(math.isfinite, sgd.values))
    assert any("sgd: 1 of 6 seeds diverged" in remark for remark in found.remarks)
    lost = judge(written(tmp_path, as_csv(rows)), **QUESTION, diverged=0.1)
    assert lost.arms[1].values[0] == 0.1


def test_an_arm_that_never_ends_with_a_number_is_worse_and_not_better(tmp_path):
    rows = [{**row, "accuracy": "nan"} if row["optimizer"] == "sgd" else row for row in records()]
    found = judge(written(tmp_path, as_csv(rows)), **QUESTION)
    assert found.contrasts[0].verdict == "worse"
    with pytest.raises(UnusableInputError, match="no run ends with a finite accuracy"):
        judge(written(tmp_path, as_csv([{**row, "accuracy": "nan"} for row in rows])), **QUESTION)


def test_seeds_that_only_one_arm_has_are_said_and_left_out_of_its_comparison(tmp_path):
    rows = [row for row in records() if (row["optimizer"], row["seed"]) not in (("sgd", 2), ("sgd", 3))]
    found = judge(written(tmp_path, as_csv(rows)), **QUESTION)
    assert [len(c.seeds) for c in found.contrasts] == [4, 6]
    assert found.remarks[0] == "sgd: no result with seed 2, 3; its comparison rests on the other 4."


@pytest.mark.parametrize(
    ("metric", "goal"),
    [("test_loss", "minimize"), ("val/Accuracy", "maximize"), ("eval.perplexity", "minimize"), ("f1", "maximize")],
)
def test_the_name_of_a_metric_tells_its_goal(metric, goal, tmp_path):
    rows = [{metric if name == "accuracy" else name: value for name, value in record.items()} for record in records()]
    assert judge(written(tmp_path, as_csv(rows)), **QUESTION | {"metric": metric}).question.goal == goal


def test_a_name_that_tells_no_goal_asks_for_it(tmp_path):
    rows = [{"x" if name == "accuracy" else name: value for name, value in record.items()} for record in records()]
    path = written(tmp_path, as_csv(rows))
    with pytest.raises(ArgumentError, match="goal = None is not accepted: goal must be 'maximize' or 'minimize'"):
        judge(path, **QUESTION | {"metric": "x"})
    assert judge(path, **QUESTION | {"metric": "x"}, goal="minimize").contrasts[0].mean < 0


REFUSED = {
    "a column that is not there": (
        as_csv(records()).replace("optimizer", "arm"),
        "has no column 'optimizer'; its columns",
    ),
    "a name that fits two columns": (mlflow(records()).replace("tags.mlflow.user", "tags.seed"), "has several columns 'seed'"),
    "a repeated heading": (as_csv(records()).replace("accuracy", "seed"), "has several columns named 'seed'"),
    "a short row": (as_csv(records()) + "adamw,99\n", "line 20 has 2 fields where the headings have 3"),
    "words for a number": (as_csv(records()).replace("lion,3,0", "lion,3,about 0"), "line 17: accuracy = 'about 0."),
    "a run that is there twice": (
        as_csv(records() + records()[:1]),
        "has a second row; name the column",
    ),
    "a baseline that is not there": (as_csv(records()).replace("adamw", "adam"), "has no arm 'adamw' to be the baseline"),
    "one arm only": (as_csv(records()[:SEEDS]), "has one arm only: 'adamw'"),
    "no seed in common": (
        as_csv([row | {"seed": index} for index, row in enumerate(records())]),
        "has 0 seeds that the",
    ),
    "no seed": (as_csv(records()).replace("sgd,4", "sgd,"), "line 12 has no seed"),
    "nothing": ("", "has no line of headings"),
    "headings only": ("optimizer,seed,accuracy\n", "holds no rows"),
    "a quote that never ends": (as_csv(records()) + '"adamw', "unexpected end of data"),
    "JSON that is not": ('{"optimizer": "adamw",\n', "line 1 is not valid JSON"),
    "JSON that is no object": ("[1, 2]", "entry 1 is no object"),
    "too deep JSON": ('{"a":' * 5_000 + "1" + "}" * 5_000, "nested too deeply"),
    "an integer of many digits": ('{"optimizer": "a", "seed": 1, "accuracy": ' + "9" * 5_000 + "}", "not valid JSON"),
    "every run an arm": (
        as_csv([row | {"optimizer": index} for index, row in enumerate(records() * 10)]),
        "are to be arms",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_judged_is_refused_in_one_line_that_says_where_and_why(fault, tmp_path):
    text, message = REFUSED[fault]
    path = written(tmp_path, text)
    with pytest.raises(UnusableInputError) as refused:
        judge(path, **QUESTION)
    assert message in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400 + len(str(path))


@pytest.mark.parametrize(
    "argument", [{"margin": 0.0}, {"margin": math.nan}, {"target": math.inf}, {"diverged": math.nan}, {"folders": "x"}]
)
def test_arguments_are_checked(argument, tmp_path):
    (name,) = argument
    with pytest.raises(ArgumentError, match=f"{name} = .* is not accepted"):
        judge(written(tmp_path, as_csv(records())), **QUESTION, **argument)


def test_a_target_needs_epochs(tmp_path):
    with pytest.raises(ArgumentError, match="target"):
        judge(written(tmp_path, as_csv(records())), **QUESTION, target=0.9)


def test_every_column_of_the_verdict_is_printed_in_the_table(tmp_path):
    analysis, printed = judge(written(tmp_path, as_csv(records())), **QUESTION), io.StringIO()
    print_report(analysis, Console(file=printed, width=100))
    table = next(block for block in printed.getvalue().split("\n\n") if block.startswith("arm"))
    assert table.split("\n")[0].split() == " ".join(analysis.table.headings).split()
    assert f"{analysis.contrasts[0].adjusted_p_value:.2g}" in table


def test_a_large_table_is_judged(tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"{arm},{seed},{rng.normal():.4f}" for arm in range(5) for seed in range(1_000)]
    found = judge(written(tmp_path, "arm,seed,loss\n" + "\n".join(lines)), arm="arm", seed="seed", metric="loss", baseline="0")
    assert len(found.contrasts) == 4
