"""What verdicts say of readings: made up ones with known answers, and those of real training."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from equipoise import Equipoise, theory
from equipoise.errors import ArgumentError
from equipoise.monitor import Monitor, Thresholds, judge
from equipoise.monitor._judging.judge import KINDS, divergence
from equipoise.study._tasks.transformer import Transformer
from equipoise.theory._assessment import rounded_towards_stability
from reproductions import text
from reproductions.sizes import SIZES

from . import samples
from .samples import group

LOSSES = [math.exp(number % 5 - 2) for number in range(20)]
"""Logarithms -2 to 2, equally often: median 0, median absolute deviation 1."""


def tensor(**values):
    """One that nothing is wrong with, but for some values."""
    return samples.tensor(0.5, **{"nonfinite_fraction": 0.0, **values})


def reading(step=1, loss=0.5, **values):
    return samples.reading(step, loss, **{"tensors": {"first": tensor()}, **values})


def history(losses):
    return [reading(step, loss) for step, loss in enumerate(losses, 1)]


def tensors(count=6, **values):
    """Readings in which one tensor, "odd", is different from three usual ones."""
    usual = {name: tensor() for name in ("first", "second", "third")}
    return [reading(step, tensors={**usual, "odd": tensor(**values)}) for step in range(1, count + 1)]


def kinds(readings):
    return [verdict.kind for verdict in judge(readings)]


def test_nothing_is_wrong_with_a_healthy_run_or_an_empty_one():
    assert judge([]) == []
    assert judge(history([2.0 / step**0.5 for step in range(1, 120)])) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["loss", "validation_loss"])
def test_a_loss_that_is_not_finite_is_trouble_since_its_first_step(name, value):
    readings = [reading(step, metrics={name: value} if step in (4, 6) else {"other": 1.0}) for step in range(1, 7)]
    [verdict] = judge(readings)
    assert (verdict.kind, verdict.severity, verdict.since, verdict.step) == ("nonfinite-loss", "trouble", 4, 6)
    assert verdict.confidence == 1
    assert str(value) in verdict.message
    assert judge(readings[:5]) == []


@given(st.lists(st.sampled_from([0.1, 1.0, 1e30, -1.0, 0.0, math.nan, math.inf]), max_size=80))
def test_a_nan_is_masked_by_no_other_loss(losses):
    assert "nonfinite-loss" in kinds(history([*losses, math.nan]))


def test_a_gradient_that_is_not_finite_is_trouble_that_names_the_tensors():
    readings = tensors(3) + [replace(each, step=each.step + 3) for each in tensors(2, nonfinite_fraction=0.25)]
    [verdict] = judge(readings)
    assert (verdict.kind, verdict.severity, verdict.since, verdict.where) == ("nonfinite-gradient", "trouble", 4, ("odd",))
    assert "odd: 0.25" in verdict.message


def test_a_step_that_was_not_made_is_no_incident_and_breaks_no_since():
    skipped = reading(3, made=False, tensors={})
    bad = tensors(4, nonfinite_fraction=1.0)
    readings = [bad[0], bad[1], skipped, bad[3]]
    assert judge(readings[:3]) == []
    assert judge(readings)[0].since == 1


@pytest.mark.parametrize("size", [math.nan, math.inf])
def test_a_parameter_that_is_not_finite_is_trouble(size):
    [verdict] = judge(tensors(1, parameter_rms=size))
    assert (verdict.kind, verdict.severity, verdict.where) == ("nonfinite-parameter", "trouble", ("odd",))


def test_an_update_beyond_its_bound_is_trouble_and_one_at_it_is_not():
    bound = theory.max_update(0.9, 0.999)
    assert judge(tensors(1, largest_update=bound, bound=bound)) == []
    [verdict] = judge(tensors(1, largest_update=1.06 * bound, bound=bound))
    assert (verdict.kind, verdict.severity, verdict.where) == ("bound-exceeded", "trouble", ("odd",))
    assert judge(tensors(1, largest_update=math.inf, bound=math.inf)) == []


def test_a_loss_five_deviations_above_the_usual_is_divergence_with_the_confidence_that_cantelli_gives():
    readings = history([*LOSSES, *[math.exp(5 * 1.4826)] * 5])
    verdict = divergence(readings, Thresholds())
    assert (verdict.severity, verdict.since, verdict.where) == ("trouble", 23, ())  # with the third of the five
    assert verdict.confidence == pytest.approx(1 - 1 / 26)
    assert "risen to 1657: 5 standard deviations above the 1 that was usual" in verdict.message
    assert divergence(readings, Thresholds(spike=5.1)) is None


def test_two_bad_batches_of_five_are_no_divergence_and_three_are():
    assert judge(history([*LOSSES, 1e6, 1.0, 1e6, 1.0, 1.0])) == []
    assert kinds(history([*LOSSES, 1e6, 1.0, 1e6, 1.0, 1e6])) == ["divergence"]


def test_what_is_usual_is_not_known_of_a_few_readings():
    assert judge(history([1.0] * 9 + [4.9] * 5)) == []
    assert kinds(history([1.0] * 10 + [4.9] * 5)) == ["divergence"]


def test_a_quiet_loss_must_rise_by_a_tenth():
    assert judge(history([3.0] * 50 + [3.29] * 5)) == []
    assert kinds(history([3.0] * 50 + [3.31] * 5)) == ["divergence"]


def test_a_loss_that_is_negative_is_judged_without_logarithms():
    usual = [-10.0 + number % 5 for number in range(20)]  # median -8, median absolute deviation 1
    readings = history([*usual, *[-8 + 4.5 * 1.4826] * 5])
    assert divergence(readings, Thresholds()).confidence == pytest.approx(1 - 1 / (1 + 4.5**2))
    assert divergence(readings, Thresholds(spike=4.6)) is None


def test_losses_that_are_not_finite_count_as_the_highest_of_all():
    assert set(kinds(history([*LOSSES, math.nan, 1.0, math.inf, 1.0, math.nan]))) == {"nonfinite-loss", "divergence"}


def test_a_loss_far_above_that_of_the_start_is_divergence_before_anything_is_usual():
    readings = history([2.3, 40.0, 900.0, 200.0, 90.0, 60.0])
    verdict = divergence(readings, Thresholds())
    assert verdict.message == "loss has risen to 90: 39.1 times the 2.3 of the run's first reading."
    later = [replace(each, step=each.step + 100) for each in readings]  # the first reading is not that of the start
    assert divergence(later, Thresholds()) is None


def digits():
    data = load_digits()
    pixels, labels = torch.tensor(data.images, dtype=torch.float32)[:1200, None] / 16, torch.tensor(data.target)[:1200]
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    )

    def batches():
        while True:
            for chosen in torch.randperm(len(labels)).split(64):
                yield pixels[chosen], labels[chosen]

    return nn.Sequential(network, nn.Linear(512, 10)), batches()


def characters():
    size, codes, generator = SIZES["quick"], text.load().training, torch.Generator().manual_seed(0)

    def batches():
        while True:
            yield text.windows(codes, size.batch, size.context, generator)

    return Transformer(size), batches()


@pytest.mark.parametrize("task", [digits, characters])
def test_real_training_is_divergence_when_the_learning_rate_becomes_100_times_as_large_and_not_before(task):
    torch.manual_seed(0)
    model, batches = task()
    optimizer = Equipoise(model.parameters(), lr=3e-3)
    found = []
    with Monitor(optimizer, model, every=1) as monitor:
        for number in range(135):
            if number == 120:
                optimizer.param_groups[0]["lr"] *= 100
            inputs, targets = next(batches)
            loss = functional.cross_entropy(model(inputs).flatten(0, -2), targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            monitor.step(loss=loss)
            found += [verdict for verdict in monitor.verdicts if verdict.severity == "trouble"]
    assert (found[0].kind, found[0].step) == ("jump", 121)
    assert {verdict.kind for verdict in found[1:]} == {"divergence"}
    assert 120 < found[1].step <= 130


def test_gradients_a_hundred_times_their_usual_size_explode():
    readings = [*tensors(11), replace(tensors(1, gradient_rms=60.0)[0], step=12)]
    [verdict] = judge(readings)
    assert (verdict.kind, verdict.severity, verdict.since, verdict.where) == ("exploding", "warning", 12, ("odd",))
    assert verdict.confidence == pytest.approx(1 - 1 / 120)
    assert judge([*readings[:-1], replace(tensors(1, gradient_rms=49.0)[0], step=12)]) == []


@pytest.mark.parametrize(
    ("kind", "values"), [("vanishing", {"update_rms": 0.4e-4}), ("dead-layer", {"zero_fraction": 1.0, "gradient_rms": 0.0})]
)
def test_a_tensor_that_does_not_learn_is_a_warning_after_five_readings_in_a_row(kind, values):
    readings = tensors(7, **values)
    [verdict] = judge(readings)
    assert (verdict.kind, verdict.severity, verdict.since, verdict.where) == (kind, "warning", 1, ("odd",))
    assert verdict.confidence == 1 - 0.5**7
    healthy = [replace(each, step=number) for number, each in enumerate([*readings, *tensors(1), *readings[:4]], 1)]
    assert judge(healthy) == []


def test_a_tensor_is_named_only_when_it_itself_has_been_dead_for_five_readings():
    readings = tensors(7, zero_fraction=1.0)
    newest = replace(readings[-1], tensors={**readings[-1].tensors, "first": tensor(zero_fraction=1.0)})
    [verdict] = judge([*readings[:-1], newest])
    assert verdict.where == ("odd",)


def test_the_layers_before_a_dead_relu_are_named():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
    nn.init.constant_(model[2].bias, -100.0)
    optimizer = Equipoise(model.parameters())
    with Monitor(optimizer, model, every=1) as monitor:
        for _ in range(5):
            optimizer.zero_grad()
            loss = (model(torch.randn(16, 4)) - 1).square().mean()
            loss.backward()
            optimizer.step()
            monitor.step(loss=loss)
    [verdict] = [each for each in monitor.verdicts if each.kind == "dead-layer"]
    assert verdict.where == ("0.weight", "0.bias", "2.weight", "2.bias", "4.weight")


def validated(validations, training):
    """A validation at every second reading."""
    readings = []
    for number, (validation, loss) in enumerate(zip(validations, training, strict=True)):
        readings.append(reading(2 * number + 1, loss))
        readings.append(reading(2 * number + 2, metrics={"loss": loss, "validation_loss": validation}))
    return readings


def test_a_validation_loss_that_rises_three_times_while_training_fits_is_overfitting():
    readings = validated([1.0, 0.8, 0.81, 0.9, 0.95, 1.0], [1.0, 0.8, 0.7, 0.6, 0.5, 0.4])
    [verdict] = judge(readings)
    assert (verdict.kind, verdict.severity, verdict.since, verdict.confidence) == ("overfitting", "warning", 8, 1 - 0.5**3)
    assert "from 0.8 to 1, while loss fell from 0.8 to 0.4" in verdict.message
    assert judge(readings[:-2]) == []
    assert judge(validated([1.0, 0.8, 0.9, 0.9, 0.9], [1.0, 0.8, 0.9, 0.9, 0.9])) == []  # both rise


def test_a_margin_that_is_lost_is_a_warning_with_the_nearest_stable_values():
    lost = group(theory.margin(0.95, 0.7), betas=((0.95, 0.7),))
    readings = [reading(1), *[reading(step, groups=(group(), lost)) for step in (2, 3)]]
    [verdict] = judge(readings)
    assert (verdict.kind, verdict.severity, verdict.since, verdict.where) == ("unstable-margin", "warning", 2, ("group 1",))
    assert "-0.1270 nats" in verdict.message
    nearest = rounded_towards_stability(theory.nearest_stable(0.95, 0.7))
    assert f"beta1 <= {nearest.beta1}, beta2 >= {nearest.beta2}, exponent <= {nearest.exponent}." in verdict.advice


def test_a_margin_that_the_schedule_will_lose_is_a_warning_now():
    [verdict] = judge([reading(groups=(group(0.1, margin_ahead=-0.02),))])
    assert (verdict.kind, verdict.where) == ("unstable-margin", ("group 0",))
    assert "schedule" in verdict.message
    assert "-0.0200" in verdict.message


def test_an_exponent_above_a_half_is_unstable_whatever_its_margin():
    assert kinds([reading(groups=(group(0.1, exponent=(0.6,)),))]) == ["unstable-margin"]
    two = group(0.1, exponent=(0.6, 0.5), betas=((0.9, 0.999), (0.9, 0.999)))  # the last stage alone decides
    assert judge([reading(groups=(two,))]) == []


def test_trouble_comes_before_warnings():
    readings = tensors(6, zero_fraction=1.0)
    readings[-1] = replace(readings[-1], metrics={"loss": math.nan})
    assert kinds(readings) == ["nonfinite-loss", "dead-layer"]
    assert len(KINDS) == 12


@pytest.mark.parametrize(
    ("name", "value"),
    [("spike", 0.0), ("rise", math.nan), ("start", math.inf), ("window", 0), ("recent", 2.5), ("fewest", True)],
)
def test_thresholds_outside_of_what_is_accepted_are_refused(name, value):
    with pytest.raises(ArgumentError, match=f"{name} = .* must be"):
        Thresholds(**{name: value})
