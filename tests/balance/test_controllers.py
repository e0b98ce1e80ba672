"""Controllers keep what they promise: bounds, rate, the stable region, a spread within the tolerance, a resumed run."""

from __future__ import annotations

import io
import logging
import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import Parameter

from equipoise import SMES, Equipoise, KAdam
from equipoise.balance import GeneralizationController, HypergradientController, SpreadController
from equipoise.balance._control_laws import BAND, gap_law, hypergradient_law, spread_law
from equipoise.errors import ArgumentError, StateDictError
from equipoise.optim._telemetry import Telemetry
from equipoise.rules import Memory
from equipoise.theory import margin, update_spread
from tests.conformance.training import parameters, same, train

exponents = st.floats(-0.5, 0.5)
rates = st.floats(1e-3, 0.5)
decades = st.floats(0.0, 12.0)
tolerances = st.floats(0.1, 3.0)
deterministic = settings(max_examples=100, deadline=None, derandomize=True)

CLASSES = {"spread": SpreadController, "hypergradient": HypergradientController, "generalization": GeneralizationController}
every_class = pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)


# The laws


@given(exponents, decades, tolerances, rates)
@deterministic
def test_the_spread_law_keeps_the_rate_and_points_to_the_tolerance(exponent, spread, tolerance, rate):
    new = spread_law(exponent, spread, tolerance=tolerance, rate=rate)
    apart = update_spread(spread, exponent)
    assert abs(new - exponent) <= rate + 1e-15
    if apart > tolerance:
        assert new > exponent
    elif apart < BAND * tolerance:
        assert abs(new) < abs(exponent) or exponent == 0
    else:
        assert new == exponent


@given(st.floats(0.0, 0.5), decades, tolerances)
@deterministic
def test_the_spread_law_arrives_within_the_tolerance_and_stays(exponent, spread, tolerance):
    arrived = spread_law(exponent, spread, tolerance=tolerance, rate=1.0)
    assert update_spread(spread, arrived) <= tolerance
    assert spread_law(arrived, spread, tolerance=tolerance, rate=1.0) == arrived


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), exponents, rates)
@deterministic
def test_the_hypergradient_law_keeps_the_rate_and_goes_down_a_constant_slope_at_it(slopes, exponent, rate):
    averages, steady = Memory(0.0, 0.0), Memory(0.0, 0.0)
    at = falling = exponent
    for observations, slope in enumerate(slopes, start=1):
        new, averages = hypergradient_law(at, slope, averages, observations=observations, rate=rate)
        assert abs(new - at) <= rate * (1 + 1e-9) + 1e-15
        at = new
        falling, steady = hypergradient_law(falling, 3e-5, steady, observations=observations, rate=rate)
    assert falling == pytest.approx(exponent - rate * len(slopes))


@given(st.floats(1e-6, 1e6), st.lists(st.floats(-10.0, 10.0), min_size=1, max_size=10))
@deterministic
def test_the_hypergradient_law_does_not_depend_on_the_scale_of_slopes(scale, slopes):
    def run(scale):
        at, averages = 0.25, Memory(0.0, 0.0)
        for observations, slope in enumerate(slopes, start=1):
            # Squares that underflow are another matter.
            at, averages = hypergradient_law(at, scale * round(slope, 3), averages, observations=observations, rate=0.05)
        return at

    assert run(scale) == pytest.approx(run(1.0), abs=1e-9)


@given(exponents, st.floats(0.0, 1.0), st.floats(-2.0, 2.0), rates)
@deterministic
def test_the_gap_law_stays_between_0_and_home_and_keeps_the_rate(home, share, gap, rate):
    exponent = share * home
    new = gap_law(exponent, gap, home=home, opens=0.2, closes=0.1, rate=rate)
    assert min(0.0, home) <= new <= max(0.0, home)
    assert abs(new - exponent) <= rate + 1e-15
    if gap > 0.2:
        assert abs(new) <= abs(exponent)
    elif gap < 0.1:
        assert abs(home - new) <= abs(home - exponent)
    else:
        assert new == exponent


@pytest.mark.parametrize(("gap", "end"), [(0.3, 0.0), (0.0, -0.4)])
def test_the_gap_law_arrives_exactly_and_stays(gap, end):
    exponent = -0.2
    for _ in range(10):
        exponent = gap_law(exponent, gap, home=-0.4, opens=0.2, closes=0.1, rate=0.07)
    assert exponent == end


# The spread


def layered(scales: list[float]) -> tuple[list[Parameter], list[torch.Tensor]]:
    """Layers and gradients of these sizes."""
    generator = torch.Generator().manual_seed(0)
    return [Parameter(torch.zeros(30)) for _ in scales], [scale * torch.randn(30, generator=generator) for scale in scales]


def spread_of_updates(optimizer: Equipoise) -> float:
    """Decades between the RMS of updates in one step of a copy of the parameters."""
    with Telemetry(optimizer) as telemetry:
        optimizer.step()
    sizes = [each.update / each.elements for each in telemetry.read().values()]
    return math.log10(max(sizes) / min(sizes)) / 2


@pytest.mark.parametrize(
    "arguments",
    [
        {"exponent": 0.0},
        {"exponent": 0.5},
        {"exponent": -0.2},
        {"stages": 2, "exponent": (0.125, 0.0), "betas": (0.9, 0.99)},
    ],
    ids=str,
)
def test_the_spread_controller_brings_the_updates_of_layers_within_the_tolerance(arguments):
    params, gradients = layered([1.0, 0.1, 1e-3, 1e-5])
    optimizer = Equipoise(params, **{"eps": 1e-12, **arguments})
    controller = SpreadController(optimizer, tolerance=1.0, bounds=(-0.25, 0.5), every=5, rate=0.03)
    for _ in range(150):
        for parameter, gradient in zip(params, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
    assert 0.99 * BAND <= spread_of_updates(optimizer) <= 1.0
    assert max(abs(each.after - each.before) for each in controller.history) <= 0.03 + 1e-15


def test_a_deep_network_whose_gradients_vanish_is_trained_within_the_tolerance():
    """By the balance numbers the median of its updates is within the tolerance, though single steps are noisier."""
    torch.manual_seed(0)
    layers = [layer for _ in range(6) for layer in (nn.Linear(12, 12), nn.Sigmoid())]
    model = nn.Sequential(*layers, nn.Linear(12, 1))
    matrices = [parameter for parameter in model.parameters() if parameter.dim() == 2]
    biases = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    optimizer = Equipoise([{"params": matrices, "exponent": 0.0}, {"params": biases}], lr=1e-3)
    controller = SpreadController(optimizer, tolerance=1.5, every=5, groups=[0])
    telemetry = Telemetry(optimizer)
    apart = []
    for _ in range(300):
        inputs = torch.randn(64, 12)
        optimizer.zero_grad()
        nn.functional.mse_loss(model(inputs), inputs.sin().sum(dim=1, keepdim=True)).backward()
        optimizer.step()
        measured = telemetry.read()
        sizes = [measured[parameter].update / measured[parameter].elements for parameter in matrices]
        apart.append(math.log10(max(sizes) / min(sizes)) / 2)
    assert statistics.median(apart[:5]) > 4
    assert statistics.median(apart[-100:]) < 1.5
    assert all(update_spread(each.reading, each.before) <= 1.5 for each in list(controller.history)[-20:])
    assert optimizer.param_groups[0]["exponent"] < 0.48
    assert optimizer.param_groups[1]["exponent"] == 0.5


def test_with_a_reference_only_what_gradients_moved_apart_since_counts():
    params, gradients = layered([1.0, 1e-4])
    optimizer = SMES(params, betas=(0.9, 0.9))
    controller = SpreadController(optimizer, every=1)
    for number in range(200):
        for parameter, gradient, factor in zip(params, gradients, (1.0, 0.01 if number >= 20 else 1.0), strict=True):
            parameter.grad = factor * gradient
        optimizer.step()
    readings = [decision.reading for decision in controller.history]
    assert readings[10] == pytest.approx(0.0, abs=0.05)
    assert readings[-1] == pytest.approx(2.0, abs=0.05)


def test_a_tensor_that_joins_later_is_measured_by_its_own_age():
    params, gradients = layered([1.0, 1.0])
    optimizer = Equipoise(params, exponent=0.1)
    controller = SpreadController(optimizer, every=1)
    for number in range(4):
        params[0].grad, params[1].grad = gradients[0], gradients[1] if number == 3 else None
        optimizer.step()
    assert controller.history[-1].reading < 0.2


def test_each_group_comes_to_the_exponent_that_its_layers_together_need():
    params, gradients = layered([1.0, 1e-4])
    optimizer = Equipoise([{"params": params[:1], "exponent": 0.1}, {"params": params[1:], "exponent": 0.2}])
    SpreadController(optimizer, every=1, rate=0.02)
    for _ in range(20):
        for parameter, gradient in zip(params, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
    first, second = (group["exponent"] for group in optimizer.param_groups)
    assert 0.37 < first < 0.41
    assert 0.37 < second < 0.41


def test_only_the_steps_that_the_controller_reads_are_measured_and_a_users_own_telemetry_stays():
    params, gradients = layered([1.0, 1e-4])
    optimizer = Equipoise(params, exponent=0.0)
    SpreadController(optimizer, every=2)
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append(len(optimizer.telemetries)))
    for number in range(5):
        for parameter, gradient in zip(params, gradients, strict=True):
            parameter.grad = gradient
        if number == 3:
            own = Telemetry(optimizer)
        optimizer.step()
    assert seen == [0, 1, 0, 2, 1]
    assert optimizer.telemetries == (own,)
    assert set(own.read()) == set(params)


def test_a_layer_without_a_gradient_does_not_count_and_one_that_is_not_a_number_is_said(caplog):
    params, gradients = layered([1.0, 0.1, 0.0])
    optimizer = Equipoise(params, exponent=0.0)
    controller = SpreadController(optimizer, every=1, tolerance=3.0)
    for poison in (0.0, math.nan):
        for parameter, gradient in zip(params, gradients, strict=True):
            parameter.grad = gradient + poison
        with caplog.at_level(logging.WARNING, "equipoise"):
            optimizer.step()
    assert controller.history[0].reading < 1.3
    assert math.isnan(controller.history[1].reading)
    assert "stays as it is (decades between gradients: nan)" in caplog.text


def test_a_step_in_which_nothing_can_be_compared_decides_nothing_and_says_so(caplog):
    params, _ = layered([1.0, 1.0])
    optimizer = Equipoise(params, exponent=0.1)
    controller = SpreadController(optimizer, every=1)
    with caplog.at_level(logging.INFO, "equipoise"):
        optimizer.step()
    assert not controller.history
    assert "fewer than two tensors" in caplog.text


# Losses


def test_the_gap_moves_every_group_towards_0_and_back_to_where_it_was():
    optimizer = SMES([{"params": parameters(), "exponent": 0.4}, {"params": parameters(), "exponent": -0.2}])
    controller = GeneralizationController(optimizer, rate=0.1)
    found = []
    for training in (1.0, 0.7, 0.7, 0.85, 0.95, 0.95, 0.95):
        controller.report(training, 1.0)
        found.append([group["exponent"] for group in optimizer.param_groups])
    first, second = zip(*found, strict=True)
    assert first == pytest.approx([0.4, 0.3, 0.2, 0.2, 0.3, 0.4, 0.4])
    assert second == pytest.approx([-0.2, -0.1, 0.0, 0.0, -0.1, -0.2, -0.2])


@pytest.mark.parametrize("losses", [(math.nan, 1.0), (1.0, math.inf), (1.0, math.nan)], ids=str)
def test_a_loss_that_is_not_finite_is_said_and_changes_nothing(losses, caplog):
    optimizer = SMES(parameters())
    controller = GeneralizationController(optimizer)
    with caplog.at_level(logging.WARNING, "equipoise"):
        controller.report(*losses)
    assert "stays as it is (gap: nan)" in caplog.text
    assert optimizer.param_groups[0]["exponent"] == 0.25


# What all share


@given(
    st.lists(st.floats(-3.0, 1.0), min_size=1, max_size=20),
    st.floats(-0.3, 0.0),
    st.floats(0.2, 0.5),
    st.sampled_from([(0.9, 0.999), (0.9, 0.7), (0.95, 0.85), (0.0, 0.0), (0.5, 0.0)]),
)
@deterministic
def test_whatever_is_wanted_the_exponent_stays_within_its_bounds_and_the_stable_region(wanted, low, high, betas):
    optimizer = Equipoise([Parameter(torch.zeros(2))], betas=betas, exponent=low)
    controller = HypergradientController(optimizer, bounds=(low, high))
    for exponent in wanted:
        controller._decide(0, exponent, 0.0)
        now = optimizer.param_groups[0]["exponent"]
        assert low <= now <= high
        assert margin(*betas, now) > 0
        controller._decide(0, now, 0.0)
        assert optimizer.param_groups[0]["exponent"] == now


def test_the_region_wins_where_scheduled_betas_move_its_boundary_below_the_exponent():
    optimizer = SMES(parameters(), exponent=0.5)
    controller = GeneralizationController(optimizer)
    optimizer.param_groups[0]["betas"] = (0.95, 0.8)
    controller.report(1.0, 1.0)
    assert optimizer.param_groups[0]["exponent"] == pytest.approx(0.9 * math.log(0.95) / math.log(0.8))


def test_in_a_group_with_several_stages_the_last_exponent_moves():
    optimizer = KAdam(parameters(), k=3)
    GeneralizationController(optimizer, rate=0.125).report(0.5, 1.0)
    assert optimizer.param_groups[0]["exponent"] == (0.5, 0.5, 0.375)
    train(optimizer, 1)


def test_every_change_is_logged(caplog):
    optimizer = SMES(parameters())
    controller = GeneralizationController(optimizer)
    with caplog.at_level(logging.INFO, "equipoise"):
        controller.report(0.5, 1.0)
        controller.report(0.85, 1.0)
    assert [record.getMessage() for record in caplog.records] == [
        "GeneralizationController, step 1: the exponent of parameter group 0 goes from 0.25 to 0.2 (gap: 0.5)"
    ]
    assert [tuple(decision) for decision in controller.history] == [
        (1, 0, 0.25, 0.2, 0.5),
        (2, 0, 0.2, 0.2, pytest.approx(0.15)),
    ]


def loaded(saved: dict) -> dict:
    """Through a file."""
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def controlled(cls: type, reference: str):
    first, *others = parameters()
    optimizer = SMES([{"params": [first]}, {"params": others, "exponent": 0.4}], lr=0.05, reference=reference)
    return optimizer, cls(optimizer, **({} if cls is GeneralizationController else {"every": 3}))


def advance(optimizer, controller, steps: range) -> None:
    for number in steps:
        train(optimizer, 1, start=number)
        if isinstance(controller, GeneralizationController):
            controller.report(1.0 + math.sin(number), 2.0)


@every_class
@pytest.mark.parametrize("interrupted", [2, 3, 4, 9])
@pytest.mark.parametrize("reference", ["none", "initial"])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_last_bit(cls, interrupted, reference):
    optimizer, controller = controlled(cls, reference)
    advance(optimizer, controller, range(14))
    before, saving = controlled(cls, reference)
    advance(before, saving, range(interrupted))
    saved = loaded({"optimizer": before.state_dict(), "controller": saving.state_dict()})
    weights = [parameter.detach() for group in before.param_groups for parameter in group["params"]]

    resumed, continuing = controlled(cls, reference)
    for parameter, weight in zip((p for group in resumed.param_groups for p in group["params"]), weights, strict=True):
        parameter.data.copy_(weight)
    resumed.load_state_dict(saved["optimizer"])
    continuing.load_state_dict(saved["controller"])
    advance(resumed, continuing, range(interrupted, 14))
    assert len({decision.after for decision in controller.history}) > 2
    assert same(resumed.state_dict()["state"], optimizer.state_dict()["state"])
    assert [group["exponent"] for group in resumed.param_groups] == [group["exponent"] for group in optimizer.param_groups]
    assert same(continuing.state_dict(), controller.state_dict())


@every_class
def test_a_state_dict_of_something_else_is_refused_and_nothing_is_loaded(cls):
    _, controller = controlled(cls, "none")
    before = controller.state_dict()
    with pytest.raises(StateDictError, match=rf"keys last_epoch is not one of a {cls.__name__}"):
        controller.load_state_dict({"last_epoch": 3})
    with pytest.raises(StateDictError, match=r"for the parameter groups \[1\] and the controller for \[0, 1\]"):
        controller.load_state_dict({**before, "groups": [1], "steps": 7})
    assert same(controller.state_dict(), before)


@every_class
def test_the_history_is_bounded(cls):
    optimizer = SMES(parameters())
    controller = cls(optimizer)
    for _ in range(1100):
        controller._decide(0, 0.2, 1.0)
    assert len(controller.state_dict()["history"]) == 1000


@pytest.mark.parametrize("cls", [SpreadController, HypergradientController])
def test_a_removed_controller_leaves_the_optimizer_alone(cls):
    optimizer, controller = controlled(cls, "none")
    controller.remove()
    advance(optimizer, controller, range(8))
    assert controller.steps == 0
    assert [group["exponent"] for group in optimizer.param_groups] == [0.25, 0.4]


@every_class
@pytest.mark.parametrize(
    ("made", "arguments", "message"),
    [
        ({}, {"rate": 0.0}, r"rate = 0.0 .* in \(0, 0.5\]"),
        ({}, {"groups": [0, 0]}, r"groups = \[0, 0\] .* from 0 to 0, or None for all"),
        ({}, {"groups": [1]}, r"groups = \[1\]"),
        ({}, {"groups": []}, r"groups = \[\]"),
        ({"betas": (0.95, 0.9), "exponent": 0.45}, {}, r"exponent = 0.45 .* from 0 to 0.43\d+, which betas .* allow"),
        (
            {"stages": 2, "exponent": (0.4, 0.5), "betas": ((0.95, 0.85), (0.9, 0.999))},
            {},
            r"betas = .* stable in every stage, as the last exponent of parameter group 0 will not stay at 1/2. Not safe",
        ),
    ],
)
def test_what_no_controller_accepts(cls, made, arguments, message):
    optimizer = Equipoise(parameters(), **{"exponent": 0.25, **made})
    with pytest.raises(ArgumentError, match=message):
        cls(optimizer, **arguments)


@pytest.mark.parametrize("cls", [SpreadController, HypergradientController])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bounds": (0.3, 0.2)}, r"bounds = \(0.3, 0.2\) .* low < high <= 0.5"),
        ({"bounds": (0.0, 0.6)}, r"low < high <= 0.5"),
        ({"bounds": (math.nan, 0.5)}, r"low < high <= 0.5"),
        ({"bounds": (0.3, 0.5)}, r"exponent = 0.25 .* from 0.3 to 0.5 at the start, in the last stage of parameter group 0"),
        ({"every": 0}, r"every = 0 .* a whole number of at least 1"),
        ({"every": True}, r"every = True"),
    ],
)
def test_what_controllers_of_steps_do_not_accept(cls, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        cls(SMES(parameters()), **arguments)


@pytest.mark.parametrize(
    ("optimizer", "arguments", "message"),
    [
        (lambda: Equipoise(parameters()), {"tolerance": 0.0}, r"tolerance = 0.0 .* in decades"),
        (lambda: Equipoise(parameters()[:1]), {}, r"groups = \[0\] .* at least two tensors, .* \(there is 1\)"),
        (
            lambda: Equipoise([{"params": [p]} for p in parameters()]),
            {"groups": [1]},
            r"groups = \[1\] .* at least two tensors",
        ),
        (lambda: KAdam(parameters()), {}, r"exponent = 0.5 .* other than 1/2 before the last stage in parameter group 0"),
    ],
)
def test_a_spread_that_cannot_be_controlled_is_refused(optimizer, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        SpreadController(optimizer(), **arguments)


@pytest.mark.parametrize(
    ("exponent", "arguments", "message"),
    [
        (0.25, {"opens": 0.1, "closes": 0.1}, r"opens, closes = \(0.1, 0.1\) .* closes < opens < 1"),
        (0.25, {"opens": 1.5}, r"closes < opens < 1"),
        (0.0, {}, r"exponent = 0.0 .* other than 0, towards which it is to move"),
    ],
)
def test_a_gap_that_cannot_be_controlled_is_refused(exponent, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        GeneralizationController(SMES(parameters(), exponent=exponent), **arguments)


@pytest.mark.parametrize("loss", [0.0, -1.0])
def test_a_validation_loss_that_nothing_can_be_measured_against_is_refused(loss):
    with pytest.raises(ArgumentError, match=r"validation_loss = .* positive"):
        GeneralizationController(SMES(parameters())).report(0.5, loss)


@every_class
def test_an_optimizer_without_an_exponent_is_refused(cls):
    with pytest.raises(ArgumentError, match=r"optimizer = 'AdamW' .* hold exponent, reference, stages, as Equipoise"):
        cls(torch.optim.AdamW(parameters()))
