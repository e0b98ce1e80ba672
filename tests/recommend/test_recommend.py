"""From runs, checkpoints and tasks whose gradients are known to the exponent that the balance numbers give."""

import json
import math
import re
import tomllib

import pytest
import tomlkit
import torch

from equipoise import SMES, recommend
from equipoise.errors import UnusableInputError
from equipoise.monitor import GroupReading, JsonLines, Reading, TensorReading
from equipoise.monitor._recording.run_file import RunInfo
from equipoise.theory import recommend_exponent

TASK = """
import torch

def train(trial):
    weights = [torch.nn.Parameter(torch.zeros(2, 50)) for _ in range(2)]
    optimizer = trial.optimizer(weights)
    for epoch in trial.epochs():
        for step in range(25):
            for weight, scale in zip(weights, [1.0, SCALE]):
                weight.grad = scale * (0.5 + torch.randn(2, 50)) * (torch.rand(2, 50) < RATE)
            optimizer.step()
        trial.report(loss=float(weights[0].detach().mean()))
"""


@pytest.fixture
def task(tmp_path):
    """A task with two layers whose gradients have known scales and rates."""

    def write(scale=1.0, rate=1.0):
        file = tmp_path / "task.py"
        file.write_text(TASK.replace("SCALE", str(scale)).replace("RATE", str(rate)))
        return f"{file}:train"

    return write


@pytest.fixture
def answer(run):
    """The JSON of a recommendation: all of it, and the first group."""

    def answer(*arguments):
        code, out, err = run("recommend", *arguments, "--json", *([] if "--tolerance" in arguments else ["--tolerance", 1]))
        assert code == 0, err
        found = json.loads(out)
        return found, found["groups"][0]

    return answer


def checkpoint(path, cls, scales, steps=400, **arguments):
    """The checkpoint of an optimizer whose layers have gradients of these scales: numbers, or functions of the step."""
    weights = [torch.nn.Parameter(torch.zeros(4, 50)) for _ in scales]
    optimizer = cls(weights, lr=0.01, **arguments)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        for weight, scale in zip(weights, scales, strict=True):
            weight.grad = (scale(step) if callable(scale) else scale) * torch.randn(4, 50, generator=generator)
        optimizer.step()
    torch.save({"optimizer": optimizer.state_dict()}, path)
    return path


@pytest.mark.parametrize("cls", [torch.optim.Adam, torch.optim.AdamW, SMES])
def test_a_checkpoint_with_layers_four_decades_apart_asks_for_what_the_law_says(tmp_path, answer, cls):
    path = checkpoint(tmp_path / "state.pt", cls, [1.0, 1e-4])
    _, group = answer(path, "--reference", "none")
    assert group["balance"]["between"] == pytest.approx(4.0, abs=0.02)
    assert group["exponent"] == pytest.approx(recommend_exponent(group["balance"]["between"]).exponent)
    assert group["exponent"] == pytest.approx(0.375, abs=0.001)
    assert group["decided_by"] == ["spread"]
    assert group["balance"]["ends"] == ["0", "1"]
    # Two decades on each side of the middle: x^(1-2p) each.
    assert [layer["factor"] for layer in group["layers"]] == pytest.approx([10**0.5, 10**-0.5], rel=0.02)


@pytest.mark.parametrize(("cls", "arguments"), [(torch.optim.RMSprop, {"alpha": 0.999}), (torch.optim.SGD, {"momentum": 0.9})])
def test_rmsprop_and_sgd_with_momentum_show_how_far_layers_lie_apart_too(tmp_path, answer, cls, arguments):
    path = checkpoint(tmp_path / "state.pt", cls, [1.0, 1e-3], **arguments)
    _, group = answer(path, "--reference", "none")
    assert group["balance"]["between"] == pytest.approx(3.0, abs=0.1)
    assert any("momentum is one sample" in doubt for doubt in group["doubts"]) == (cls is torch.optim.SGD)


def test_a_number_may_be_saved_as_a_tensor_of_one(tmp_path, answer):
    path = checkpoint(tmp_path / "state.pt", torch.optim.SGD, [1.0, 1e-3], momentum=0.9, dampening=0.5)
    expected = answer(path)
    saved = torch.load(path, weights_only=True)
    for group in saved["optimizer"]["param_groups"]:
        group["dampening"] = torch.tensor(0.5)
    torch.save(saved, path)
    assert answer(path) == expected


def test_against_a_reference_only_what_moved_since_counts(tmp_path, answer):
    grows = checkpoint(tmp_path / "grows.pt", SMES, [1.0, lambda step: 1e-4 if step < 20 else 1e-2])
    _, group = answer(grows)
    assert group["balance"]["between"] == pytest.approx(2.0, abs=0.05)
    assert group["exponent"] == pytest.approx(0.25, abs=0.01)
    assert answer(checkpoint(tmp_path / "stays.pt", SMES, [1.0, 1e-4]))[1]["exponent"] == 0


def test_a_checkpoint_of_adam_does_not_know_what_moved_since_a_reference_and_says_so(tmp_path, answer):
    path = checkpoint(tmp_path / "state.pt", torch.optim.AdamW, [1.0, 1e-4], steps=30)
    _, group = answer(path)
    assert group["balance"]["between"] is None
    assert group["sure"] == "low"
    assert "has no reference scale from the start of the run" in group["doubts"][0]
    assert "The numbers cover 30 steps, fewer than the 1,000 that beta2 remembers." in group["doubts"]


def test_betas_that_leave_no_half_are_not_given_one(tmp_path, answer):
    with pytest.warns(match="margin"):
        path = checkpoint(tmp_path / "state.pt", SMES, [1.0, 1e-6], betas=(0.95, 0.7), exponent=0.4)
    _, group = answer(path, "--reference", "none")
    assert group["exponent"] == group["highest"] == pytest.approx(0.129, abs=0.001)
    assert group["balance"]["within_tolerance"] is False


def test_unless_told_otherwise_updates_come_within_a_factor_of_2(tmp_path, run):
    path = checkpoint(tmp_path / "state.pt", torch.optim.AdamW, [1.0, 1e-4])
    _, out, _ = run("recommend", path, "--reference", "none")
    assert "group 0: exponent 0.46\n" in out  # (1 - 2p) 4 = 0.3
    text = out.replace("\n" + " " * 20, " ")
    assert "Decided by the spread between layers. From this exponent on, updates lie within a factor of 2." in text


def run_folder(folder, spreads):
    """A run with one reading every 10 steps; the second layer is so many decades below the first."""
    sink = JsonLines(folder)
    sink.open(RunInfo("mine", 0.0, {}, ("first", "second", "bias"), ((4, 4), (4, 4), (4,)), (0, 0, 0)))
    group = GroupReading(0.01, (0.5,), ((0.9, 0.999),), 0.1, 0.1, 0.0, 0.0)
    for index, spread in enumerate(spreads, 1):
        scales = {"first": 1.0, "second": 10.0**-spread, "bias": 1e-9}
        tensors = {
            name: TensorReading(scale, 0.3, 1.0, 0.01, 1.0, 7.0, 0.0, 0.0, scale**2, math.nan) for name, scale in scales.items()
        }
        sink.write(Reading(10 * index, 0.0, True, {"loss": 1.0}, (group,), tensors))
    sink.close()
    return folder


def test_a_run_asks_for_what_its_worst_moment_asks_for(tmp_path, answer):
    folder = run_folder(tmp_path, [5.0, 2.0, 4.0] + [2.0] * 200)  # before step 20 nothing counts
    found, group = answer(folder, "--reference", "none")
    assert "of 202 readings from step 20 to 2,030" in found["source"]
    assert group["lowest"] == pytest.approx(0.25, abs=0.001)
    assert group["exponent"] == group["lowest"]  # the spike is not among the 32 that are looked at
    _, group = answer(run_folder(tmp_path / "short", [0.0, 2.0, 4.0, 2.0]), "--reference", "none")
    assert (group["exponent"], group["lowest"]) == pytest.approx((0.375, 0.25), abs=0.001)


def test_a_run_against_a_reference_counts_from_step_20(tmp_path, answer):
    _, group = answer(run_folder(tmp_path, [0.0, 4.0, 4.0, 1.5]))
    assert group["balance"]["between"] == pytest.approx(2.5, abs=1e-4)
    assert group["balance"]["ends"] == ["second", "first"]


def test_names_are_text(tmp_path, run):
    evil = "{missing:>9999999999}\x1b]0;title\x07{0}"
    sink = JsonLines(tmp_path)
    sink.open(RunInfo(evil, 0.0, {}, (evil, "b"), ((4, 4), (4, 4)), (0, 0)))
    group = GroupReading(0.01, (0.5,), ((0.9, 0.999),), 0.1, 0.1, 0.0, 0.0)
    tensors = {name: TensorReading(1.0, 0.3, 1.0, 0.01, 1.0, 7.0, 0.5, 0.0, 1.0, math.nan) for name in (evil, "b")}
    sink.write(Reading(20, 0.0, True, {evil: 1.0}, (group,), tensors))
    sink.close()
    code, out, err = run("recommend", tmp_path)
    assert (code, err) == (0, "")
    assert "{missing:>9999999999}�]0;title�{0}" in out
    assert out.replace("\n", "").isprintable()


def test_of_a_run_that_was_resumed_with_more_or_fewer_groups_the_present_ones_count(tmp_path, answer, run):
    run_folder(tmp_path, [2.0, 2.0])
    sink = JsonLines(tmp_path)
    sink.open(RunInfo("mine", 0.0, {}, ("first", "second"), ((4, 4), (4, 4)), (0, 1)))
    group = GroupReading(0.01, (0.5,), ((0.9, 0.999),), 0.1, 0.1, 0.0, 0.0)
    measured = TensorReading(1.0, 0.3, 1.0, 0.01, 1.0, 7.0, 0.0, 0.0, 1.0, math.nan)
    sink.write(Reading(30, 0.0, True, {}, (group, group), dict.fromkeys(("first", "second"), measured)))
    sink.close()
    code, out, err = run("recommend", tmp_path, "--reference", "none")  # more groups than in the beginning
    assert (code, err, "group 1: exponent" in out) == (0, "", True)
    run_folder(tmp_path, [2.0] * 5)
    found, group = answer(tmp_path, "--reference", "none")
    assert found["steps"] == 50
    assert group["balance"]["between"] == pytest.approx(2.0, abs=1e-4)


def test_a_run_ends_where_gradients_are_not_finite(tmp_path, answer):
    found, group = answer(run_folder(tmp_path, [0.0, 2.0, 2.0, math.nan, 9.0]), "--reference", "none")
    assert "after which gradients were not finite (step 40)" in found["source"]
    assert group["exponent"] == pytest.approx(0.25, abs=0.001)


def test_a_task_is_watched_for_so_many_steps_and_rare_gradients_ask_for_more(task, answer):
    found, group = answer(task(scale=1e-3, rate=0.02), "--steps", 220, "--reference", "none")
    assert found["steps"] == 220
    assert 0.005 < group["balance"]["density"] < 0.03
    assert group["exponent"] == 0.5 or "density" in group["decided_by"]
    _, dense = answer(task(scale=1e-3), "--steps", 220, "--reference", "none")
    assert dense["balance"]["between"] == pytest.approx(3.0, abs=0.1)
    assert dense["balance"]["density"] == 1.0
    assert dense["exponent"] == pytest.approx(1 / 3, abs=0.02)
    # All coordinates of the first layer carry signal and noise at once, and so do those of the second: little is lost.
    assert dense["balance"]["noise"] > 0.5


def test_a_task_that_ends_early_is_read_as_far_as_it_went(task, answer):
    found, _ = answer(task(), "--steps", 1000, "--epochs", 6)
    assert found["steps"] == 120
    assert "after which it ended" in found["source"]


@pytest.mark.long
def test_the_study_that_is_written_runs_and_tests_the_recommendation_against_adamw_and_sgd(task, run, tmp_path):
    path = tmp_path / "trial.toml"
    code, out, err = run(
        "recommend", task(scale=1e-3), "--steps", 120, "--reference", "none", "--epochs", 1,
        "--write", path, "--metric", "loss", "--goal", "minimize",
    )  # fmt: skip
    assert code == 2
    assert "it ended after 25 steps" in err
    code, out, err = run(
        "recommend", task(scale=1e-3), "--steps", 120, "--reference", "none", "--epochs", 5, "--tolerance", 1,
        "--write", path, "--metric", "loss", "--goal", "minimize",
    )  # fmt: skip
    assert (code, err) == (0, f"written: {path}\n")
    study = tomllib.loads(path.read_text())
    exponents = {arm["name"]: arm.get("exponent") for arm in study["arm"]}
    assert exponents == {
        "adamw": None, "sgd": None, "lower": pytest.approx(0.208, abs=0.02), "recommended": pytest.approx(1 / 3, abs=0.02),
        "higher": pytest.approx(0.458, abs=0.02),
    }  # fmt: skip
    assert (study["seeds"], study["tuning_seeds"], study["epochs"]) == (8, 2, 5)
    assert path.read_text().startswith("# Tests a recommendation: exponent 0.33")
    for arm in [study, *study["arm"]]:
        arm |= {"learning_rates": arm["learning_rates"][:1]} if "learning_rates" in arm else {}
    path.write_text(tomlkit.dumps(study | {"seeds": 2, "tuning_seeds": 1, "epochs": 1}))
    code, out, err = run("study", "run", path, "--workers", 1)
    assert code == 0, err
    assert "recommended" in out


def test_the_command_writes_what_python_returns(tmp_path, answer):
    path = checkpoint(tmp_path / "state.pt", SMES, [1.0, 1e-4], steps=60)
    evidence = recommend.from_checkpoint(path)
    assert recommend.as_dict(evidence, recommend.exponents(evidence, tolerance=1.0)) == answer(path)[0]
    written = recommend.write_study(
        tmp_path / "study.toml", evidence, recommend.exponents(evidence), task="digits", metric="accuracy", goal="maximize"
    )
    assert written.exponent == 0
    with pytest.raises(UnusableInputError, match="exists: choose another name"):
        recommend.write_study(tmp_path / "study.toml", evidence, [written], task="digits", metric="accuracy", goal="maximize")


def test_no_equation_number_reaches_a_user(tmp_path, run):
    path = checkpoint(tmp_path / "state.pt", SMES, [1.0, 1e-4], steps=60)
    for arguments in [(path,), (path, "--json"), ("--help",)]:
        assert not re.search(r"\bE\d", run("recommend", *arguments)[1])


def test_lines_fit_into_80_columns(task, tmp_path, run):
    for arguments in [(task(rate=0.3), "--steps", 120), (checkpoint(tmp_path / "state.pt", SMES, [1.0, 1e-4], steps=60),)]:
        code, out, _ = run("recommend", *arguments)
        assert code == 0
        own = [line for line in out.splitlines() if str(tmp_path) not in line]
        assert max(map(len, own)) <= 80
        assert out.startswith("RECOMMENDED for equipoise.SMES")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.pt"], "absent.pt: there is no such run, checkpoint or task; built-in tasks are digits"),
        (["absent.py:train"], "absent.py cannot be read"),
        (["."], "readings.jsonl"),
        (["digits", "--write", "x.toml"], "--write needs --metric and --goal"),
        (["digits", "--metric", "loss"], "--metric, --select-by, --goal and --task go with --write"),
        ([".", "--steps", "3"], "--steps, --lr and --seed go with a TASK"),
        ([".", "--write", "x.toml", "--metric", "loss", "--goal", "minimize"], "--write needs --task"),
    ],
)
def test_unusable_input_exits_with_2(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("recommend", *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_a_task_that_fails_or_diverges_says_so(run, tmp_path):
    file = tmp_path / "task.py"
    file.write_text("def train(trial):\n    raise KeyError('mine')\n")
    code, _, err = run("recommend", f"{file}:train")
    assert code == 2
    assert "KeyError: 'mine'" in err
    file.write_text(TASK.replace("SCALE", "float('nan')").replace("RATE", "1.0"))
    code, _, err = run("recommend", f"{file}:train", "--steps", 60)
    assert code == 2
    assert "it diverged at lr 0.001" in err
