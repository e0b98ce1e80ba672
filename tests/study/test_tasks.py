"""The built-in tasks train on real data, the same way for the same seed and for every arm."""

from __future__ import annotations

import pkgutil

import pytest
import torch

from equipoise.study._cells import Assignment
from equipoise.study._data import DATASETS
from equipoise.study._task_source import BUILT_IN_TASKS, TaskSource
from equipoise.study._tasks.digits import LONG_TAIL
from equipoise.study._tasks.training import Examples, Shuffled, split
from equipoise.study._tasks.transformer import Size
from equipoise.study._worker import Report, Trial

from .originals import write_everything

ON_DATA = [name for name in BUILT_IN_TASKS if name.removesuffix("-batchnorm").removesuffix("-layernorm") in DATASETS]
PACKAGED = [name for name in BUILT_IN_TASKS if name not in ON_DATA]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The folder with small data of every kind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EQUIPOISE_DATA", str(tmp_path_factory.mktemp("data")))
        write_everything(tmp_path_factory.mktemp("originals"))
        patch.setattr("equipoise.study._tasks.texts.STEPS_PER_EPOCH", 4)
        patch.setattr("equipoise.study._tasks.texts.EVALUATED_WINDOWS", 4)
        patch.setattr("equipoise.study._tasks.texts.SIZE", Size(width=32, depth=1, heads=2, context=32, batch=8))
        yield


def train(name: str, seed: int = 0, epochs: int = 1, optimizer: str = "torch.optim.AdamW", rate: float = 0.01) -> list[Report]:
    reports: list[Report] = []
    assigned = Assignment(TaskSource("", "", ""), "loss", epochs, optimizer, {}, rate, seed)
    torch.manual_seed(seed)
    pkgutil.resolve_name(BUILT_IN_TASKS[name])(Trial(assigned, reports.append))
    return reports


@pytest.mark.parametrize(
    ("name", "epochs", "rate", "metric", "good"),
    [
        ("digits", 4, 0.01, "accuracy", 0.93),
        ("digits-batchnorm", 4, 0.01, "accuracy", 0.96),
        ("deep-digits", 10, 0.003, "accuracy", 0.3),  # guessing: 0.1
        ("long-tail-digits", 4, 0.01, "balanced_accuracy", 0.5),  # guessing: 0.1
        ("characters", 4, 0.01, "accuracy", 0.26),  # the most frequent character: 0.25
        ("characters-layernorm", 4, 0.01, "accuracy", 0.28),
        ("words", 2, 0.03, "accuracy", 0.35),  # the largest file: 0.07
        ("diabetes", 4, 0.003, "rmse", -0.9),  # the mean: 1
    ],
)
def test_a_few_epochs_learn_what_there_is_to_learn(name, epochs, rate, metric, good):
    reports = train(name, epochs=epochs, rate=rate)
    assert [report.epoch for report in reports] == list(range(1, epochs + 1))
    last = reports[-1].metrics
    assert last.keys() == {"loss", "validation_loss", "test_loss", metric, f"validation_{metric}"}
    assert (-last[metric] if metric == "rmse" else last[metric]) > good
    assert last["loss"] < reports[0].metrics["loss"]


@pytest.mark.parametrize("name", PACKAGED)
def test_a_seed_fixes_the_whole_trial(name):
    assert train(name, seed=3) == train(name, seed=3)


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("name", ON_DATA)
def test_tasks_on_data_learn_the_same_way_for_the_same_seed_and_report_what_all_tasks_do(name):
    first, again = (train(name, seed=3, epochs=2, rate=0.003) for _ in range(2))
    assert first == again
    assert first[-1].metrics.keys() == {"loss", "validation_loss", "test_loss", "accuracy", "validation_accuracy"}
    assert first[-1].metrics["loss"] < first[0].metrics["loss"]


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("name", "rate", "good"), [("fashion-mnist", 0.01, 0.3), ("pictures-batchnorm", 0.01, 0.6), ("mail", 0.1, 0.9)]
)
def test_tasks_on_data_learn_what_there_is_to_learn(name, rate, good):
    assert train(name, epochs=12, rate=rate)[-1].metrics["accuracy"] > good


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(("name", "added"), [("cifar-10", "batchnorm"), ("tiny-shakespeare", "layernorm")])
def test_normalization_makes_another_task_of_the_same_data(name, added):
    assert train(name) != train(f"{name}-{added}")


def test_another_seed_makes_another_trial():
    assert train("digits", seed=3) != train("digits", seed=4)


@pytest.mark.parametrize("name", ["digits", "characters", "words", "diabetes"])
def test_every_arm_starts_from_the_same_weights_on_the_same_examples(name):
    still = {each: train(name, optimizer=each, rate=1e-30) for each in ("torch.optim.SGD", "equipoise.SMES")}
    assert still["torch.optim.SGD"] == still["equipoise.SMES"]


@pytest.mark.parametrize("name", ["digits", "characters"])
def test_normalization_makes_another_task(name):
    with_it = {"digits": "digits-batchnorm", "characters": "characters-layernorm"}[name]
    assert train(name) != train(with_it)


def test_gradients_vanish_through_the_deep_network():
    seen = []

    class Recording(torch.optim.SGD):
        def step(self, closure=None):
            weights = [parameter for parameter in self.param_groups[0]["params"] if parameter.ndim == 2]
            seen.append([weight.grad.square().mean().sqrt().item() for weight in weights])
            return super().step(closure)

    recorded = Trial(Assignment(TaskSource("", "", ""), "loss", 1, "", {}, 1e-30, 0), lambda _: None)
    recorded.optimizer = lambda network: Recording(network.parameters(), lr=1e-30)
    torch.manual_seed(0)
    pkgutil.resolve_name(BUILT_IN_TASKS["deep-digits"])(recorded)
    assert all(first < 0.03 * last for first, *_, last in seen)


def test_training_validation_and_test_share_no_example_and_leave_none_out():
    numbers = torch.arange(20)
    data = split(Examples(numbers, numbers), training=11, validation=4, batch=4)
    training = torch.cat([batch.inputs for batch in data.training])
    assert sorted(torch.cat([training, data.validation.inputs, data.test.inputs]).tolist()) == numbers.tolist()
    assert (len(data.training), len(training), len(data.validation.inputs)) == (3, 11, 4)


def test_every_epoch_shuffles_anew():
    batches = Shuffled(Examples(torch.arange(50), torch.arange(50)), 50)
    first, second = (next(iter(batches)).inputs.tolist() for _ in range(2))
    assert first != second
    assert sorted(first) == sorted(second)


def test_the_tail_is_long():
    assert LONG_TAIL == (100, 60, 36, 22, 13, 8, 5, 3, 2, 1)
