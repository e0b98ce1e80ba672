"""A monitor says of real training what one would compute beside it, and costs nothing on the steps that it does not read."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from equipoise import SMES, Equipoise, KAdam, rules, theory
from equipoise.balance import Linear, Scheduler, SpreadController
from equipoise.errors import ArgumentError, GradientError, RunStoppedError, StateDictError
from equipoise.monitor import Guard, Monitor, Rollback, Skip, Snapshots, Stop, probe_scale_invariance
from equipoise.optim._telemetry import Telemetry
from tests.marks import needs_inductor

inside_torch = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:The .grad attribute:UserWarning")
"""What its compiler warns itself of."""


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


def batch(number: int, size: int = 32) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(size, 4, generator=torch.Generator().manual_seed(number))
    return inputs, inputs[:, :3].argmax(1)


def loss_of(model: nn.Module, number: int, size: int = 32) -> Tensor:
    inputs, targets = batch(number, size)
    return nn.functional.cross_entropy(model(inputs), targets)


def train(model, optimizer, monitor, steps, **spoiled) -> list:
    """The readings of some steps, whose numbers also name their batches."""
    found = []
    for number in steps:
        loss = loss_of(model, number)
        loss.backward()
        for name, value in spoiled.items():
            model.get_parameter(name.replace("__", ".")).grad.view(-1)[0] = value
        optimizer.step()
        optimizer.zero_grad()
        found.append(monitor.step(loss=loss))
    return [reading for reading in found if reading is not None]


def two_groups(model: nn.Module) -> list[dict]:
    """Of other hyperparameters."""
    vectors = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    return [
        {"params": [parameter for parameter in model.parameters() if parameter.dim() > 1]},
        {"params": vectors, "lr": 0.003, "betas": (0.8, 0.99), "exponent": 0.5, "weight_decay": 0.0},
    ]


close = {"rel": 2e-4, "abs": 1e-9}
"""Of an update we see what it made of a float32 parameter."""


@inside_torch
@pytest.mark.parametrize(
    ("kernel", "reference"),
    [
        ("fused", "none"),
        ("fused", "initial"),
        ("eager", "initial"),
        pytest.param("compiled", "initial", marks=needs_inductor),
    ],
)
def test_every_number_of_every_tensor_is_what_one_would_compute_beside_it(kernel, reference):
    model = network().double()
    optimizer = Equipoise(two_groups(model), 0.01, weight_decay=0.1, exponent=0.25, reference=reference, kernel=kernel)
    with Monitor(optimizer, model, every=3) as monitor:
        for number in range(1, 10):
            inputs, targets = batch(number)
            before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
            nn.functional.cross_entropy(model(inputs.double()), targets).backward()
            model.get_parameter("3.weight").grad[0] = 0
            gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
            optimizer.step()
            optimizer.zero_grad()
            reading = monitor.step()
            assert (reading is None) == (number % 3 > 0)
            if reading is None:
                continue
            assert (reading.step, reading.made) == (number, True)
            assert list(reading.tensors) == ["0.weight", "3.weight", "0.bias", "1.weight", "1.bias", "3.bias"]
            for group, values in zip(optimizer.param_groups, reading.groups, strict=True):
                names = [name for name, parameter in model.named_parameters() if any(parameter is p for p in group["params"])]
                lr, (beta1, beta2), exponent = group["lr"], group["betas"], group["exponent"]
                for name in names:
                    found, parameter = reading.tensors[name], model.get_parameter(name)
                    theta, gradient = parameter.detach(), gradients[name]
                    u = (before[name] * (1 - lr * group["weight_decay"]) - theta) / lr
                    v_hat = optimizer.state[parameter]["exp_avg_sq"] / (1 - beta2**number)
                    assert found.gradient_rms == pytest.approx(gradient.square().mean().sqrt().item(), **close)
                    assert found.update_rms == pytest.approx(u.square().mean().sqrt().item(), **close)
                    assert found.parameter_rms == pytest.approx(theta.square().mean().sqrt().item(), **close)
                    assert found.update_ratio == pytest.approx((lr * u.norm() / theta.norm()).item(), **close)
                    assert found.largest_update == pytest.approx(u.abs().max().item(), **close)
                    assert found.zero_fraction == (gradient == 0).double().mean()
                    assert found.nonfinite_fraction == 0
                    assert found.second_moment == pytest.approx(v_hat.mean().item(), **close)
                    assert math.isnan(found.norm_ratio)
                    R = 1.0 if reference == "none" else rules.reference(optimizer.state[parameter]["reference"]).item()
                    scale = R ** (0.5 - exponent)
                    sizes = (v_hat.numel() * v_hat.mean().item()) ** (0.5 - exponent) / scale
                    assert found.bound == pytest.approx(theory.max_update(beta1, beta2, steps=number) * sizes, **close)
                    assert found.largest_update <= found.bound
                members = [reading.tensors[name] for name in names]
                for name, scales in (
                    ("gradient_spread", [each.second_moment**0.5 for each in members]),
                    ("update_spread", [each.update_rms for each in members]),
                ):
                    assert getattr(values, name) == pytest.approx(math.log10(max(scales) / min(scales)), **close)
                assert (values.lr, values.exponent, values.betas) == (lr, (exponent,), ((beta1, beta2),))
                assert values.margin == values.margin_ahead == theory.margin(beta1, beta2, exponent)


def test_a_ratio_to_nothing_is_infinite_and_of_nothing_to_nothing_0():
    model = nn.Linear(2, 1)
    nn.init.zeros_(model.weight)
    optimizer = SMES(model.parameters(), lr=0.0)
    with Monitor(optimizer, model, every=1) as monitor:
        model.weight.grad, model.bias.grad = torch.ones(1, 2), None
        optimizer.step()
        assert monitor.step().tensors["weight"].update_ratio == 0
        assert list(monitor.last.tensors) == ["weight"]
        optimizer.param_groups[0]["lr"] = 1e-40  # too small to move it
        optimizer.step()
        found = monitor.step().tensors["weight"]
        assert (found.parameter_rms, found.update_ratio) == (pytest.approx(0, abs=1e-30), math.inf)


def test_what_is_not_finite_stays_so_and_is_counted():
    model = network()
    optimizer = SMES(model.parameters())
    with Monitor(optimizer, model, every=1) as monitor:
        (reading,) = train(model, optimizer, monitor, range(1), **{"3__weight": math.nan, "0__bias": math.inf})
    weight, bias, other = (reading.tensors[name] for name in ("3.weight", "0.bias", "1.bias"))
    assert (weight.nonfinite_fraction, bias.nonfinite_fraction, other.nonfinite_fraction) == (1 / 48, 1 / 16, 0)
    assert math.isnan(weight.gradient_rms)
    assert math.isnan(weight.largest_update)
    assert bias.gradient_rms == math.inf
    assert math.isnan(reading.groups[0].gradient_spread)
    assert weight.bound == bias.bound == math.inf > other.bound


# Metrics.


def test_a_metric_is_the_mean_since_the_last_reading_and_one_that_is_not_finite_is_never_lost():
    model = network()
    optimizer = SMES(model.parameters())
    with Monitor(optimizer, model, every=3) as monitor:
        losses = [loss_of(model, number).item() for number in range(3)]
        monitor.step(loss=losses[0], tokens=7)
        monitor.step(loss=torch.tensor(losses[1], dtype=torch.float64), accuracy=torch.tensor([0.5]))
        first = monitor.step(loss=losses[2])
        assert first.metrics == pytest.approx({"loss": sum(losses) / 3, "tokens": 7, "accuracy": 0.5}, rel=1e-15)
        monitor.step(loss=math.nan)
        monitor.step(loss=1.0)
        monitor.validation(loss=0.25, accuracy=1)
        second = monitor.step(loss=1.0, validation_accuracy=0)
        assert math.isnan(second.metrics.pop("loss"))
        assert second.metrics == {"validation_loss": 0.25, "validation_accuracy": 0.5}
        assert (first.made, first.tensors, len(first.groups)) == (False, {}, 1)  # there was no step of the optimizer
        assert not monitor.step()


def test_a_metric_may_be_overwritten_after_it_was_given():
    optimizer = SMES((model := nn.Linear(1, 1)).parameters())
    with Monitor(optimizer, model, every=2) as monitor:
        for dtype in (torch.float32, torch.float64):
            kept = torch.tensor(3.0, dtype=dtype)
            monitor.step(loss=kept)
            kept.zero_()
            assert monitor.step().metrics == {"loss": 3}


@pytest.mark.parametrize("value", ["0.5", None, torch.ones(2), torch.ones((), dtype=torch.complex64), [1.0]])
def test_a_metric_that_is_no_number_is_refused_by_name(value):
    optimizer = SMES((model := nn.Linear(1, 1)).parameters())
    with Monitor(optimizer, model) as monitor, pytest.raises(ArgumentError, match=r"accuracy = .* a number, or a tensor"):
        monitor.step(accuracy=value)


# Accumulation, scaled and low precision, compiled models.


def test_micro_batches_are_read_as_the_step_that_they_add_up_to():
    def reading(parts):
        model = network()
        model[1] = nn.LayerNorm(16)  # which does not see how a batch is cut
        optimizer = SMES(model.parameters(), exponent=0.5)
        with Monitor(optimizer, model, every=2) as monitor:
            for number in range(2):
                inputs, targets = batch(number)
                for part in range(parts):
                    loss = nn.functional.cross_entropy(model(inputs[part::parts]), targets[part::parts])
                    (loss / parts).backward()
                    monitor.micro_step(loss=loss)
                optimizer.step()
                optimizer.zero_grad()
                found = monitor.step()
        return found

    whole, cut = reading(1), reading(4)
    assert cut.metrics == pytest.approx(whole.metrics)
    for name, found in cut.tensors.items():
        assert found.gradient_rms == pytest.approx(whole.tensors[name].gradient_rms, rel=1e-5)
        assert found.second_moment == pytest.approx(whole.tensors[name].second_moment, rel=1e-5)


def test_a_nan_in_one_micro_batch_of_many_is_in_the_reading():
    optimizer = SMES((model := nn.Linear(1, 1)).parameters())
    with Monitor(optimizer, model, every=2) as monitor:
        for number in range(8):
            monitor.micro_step(loss=torch.tensor(math.nan if number == 2 else 1.0))
            if number % 4 == 3:
                reading = monitor.step()
    assert math.isnan(reading.metrics["loss"])


def test_under_autocast_and_a_scaler_readings_are_of_unscaled_gradients_and_a_skipped_step_is_no_incident():
    def readings(scale):
        model = network()
        optimizer = SMES(model.parameters())
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=scale > 1)
        with Monitor(optimizer, model, every=1) as monitor:
            for number in range(4):
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    loss = loss_of(model, number)
                scaler.scale(loss).backward()
                if number == 2 and scale > 1:
                    model[3].bias.grad[0] = math.inf
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
                if number != 2 or scale > 1:
                    monitor.step(loss=loss)
        return list(monitor.history), monitor.verdicts

    (plain, _), (scaled, verdicts) = readings(1.0), readings(2.0**12)
    assert [each.made for each in scaled] == [True, True, False, True]
    assert (scaled[2].tensors, verdicts) == ({}, [])
    assert math.isfinite(scaled[2].metrics["loss"])
    for one, other in zip(scaled[:2], plain[:2], strict=True):
        assert one.metrics == other.metrics
        assert repr(one.tensors) == repr(other.tensors)  # in which a NaN is one


@inside_torch
def test_tensors_of_compiled_models_have_the_names_that_they_have_in_the_model():
    model = network()
    names = [name for name, _ in model.named_parameters()]
    optimizer = SMES(model.parameters())
    compiled = torch.compile(model, backend="eager")
    with Monitor(optimizer, compiled, every=1) as monitor:
        train(compiled, optimizer, monitor, range(1))
        assert list(monitor.last.tensors) == names
    model[3] = torch.compile(model[3], backend="eager")
    with Monitor(optimizer, model, every=1) as monitor:
        train(model, optimizer, monitor, range(1))
        assert list(monitor.last.tensors) == names
        assert monitor.name == "Sequential"


def test_a_module_that_the_user_called_module_keeps_its_name():
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(4, 3)
            self.extra = nn.Linear(1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.module(x)

    model, alone = Wrapper(), nn.Parameter(torch.ones(2))
    optimizer = SMES([{"params": model.module.parameters()}, {"params": [alone]}])
    with Monitor(optimizer, model, every=1) as monitor:
        alone.grad = torch.ones(2)
        train(model, optimizer, monitor, range(1))
        assert list(monitor.last.tensors) == ["module.weight", "module.bias", "group 1, parameter 0"]


def test_parameters_that_join_later_are_read():
    model = network()
    optimizer = SMES(model[0].parameters())
    with Monitor(optimizer, model, every=1) as monitor:
        train(model, optimizer, monitor, range(1))
        assert list(monitor.last.tensors) == ["0.weight", "0.bias"]
        optimizer.add_param_group({"params": model[3].parameters(), "exponent": 0.0})
        train(model, optimizer, monitor, range(1))
        assert list(monitor.last.tensors) == ["0.weight", "0.bias", "3.weight", "3.bias"]
        assert monitor.last.groups[1].exponent == (0.0,)


def test_a_step_with_a_closure_is_read():
    model = network()
    optimizer = SMES(model.parameters())

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model, 0)
        loss.backward()
        return loss.item()

    with Monitor(optimizer, model, every=1) as monitor:
        optimizer.step(closure)
        reading = monitor.step()
    assert reading.made
    assert reading.tensors["3.bias"].gradient_rms == pytest.approx(model[3].bias.grad.square().mean().sqrt().item())


# Hyperparameters in motion.


@pytest.mark.parametrize("lr", [0.01, torch.tensor(0.01)])
def test_a_reading_has_the_hyperparameters_of_its_step_and_the_margin_that_is_to_come(lr):
    model = network()
    optimizer = SMES(model.parameters(), lr=lr, betas=(0.9, 0.99))
    rates = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    exponents = Scheduler(optimizer, exponent=Linear(0.25, 0.5, steps=4))
    with Monitor(optimizer, model, every=1, schedules=[exponents]) as monitor:
        for number in range(3):
            loss_of(model, number).backward()
            optimizer.step()
            rates.step()
            exponents.step()
            optimizer.zero_grad()
            (group,) = monitor.step().groups
            assert group.lr == pytest.approx(0.01 * 0.5**number)
            assert group.exponent == (0.25 + number / 16,)
            assert group.margin == theory.margin(0.9, 0.99, 0.25 + number / 16)
            assert group.margin_ahead == pytest.approx(theory.margin(0.9, 0.99))


def test_once_betas_have_changed_no_bound_is_claimed_but_it_is_when_an_exponent_has():
    model = network()
    optimizer = SMES(model.parameters())
    with Monitor(optimizer, model, every=1) as monitor:
        train(model, optimizer, monitor, range(1))
        optimizer.param_groups[0]["exponent"] = 0.5
        train(model, optimizer, monitor, range(1))
        assert monitor.last.tensors["0.bias"].bound == theory.max_update(0.9, 0.999, steps=2)
        optimizer.param_groups[0]["betas"] = (0.8, 0.999)
        train(model, optimizer, monitor, range(1))
        optimizer.param_groups[0]["betas"] = (0.9, 0.999)
        train(model, optimizer, monitor, range(1))
        assert [each.tensors["0.bias"].bound == math.inf for each in monitor.history] == [False, False, True, True]


@pytest.mark.parametrize("cls", [Equipoise, SMES])
def test_the_norms_of_scale_invariant_tensors_move_as_the_norm_dynamics_say(cls):
    """A small layer before a BatchNorm, with momentum and decay: without the cross term the prediction is far off."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 2))
    inputs = torch.randn(4096, 16)
    targets = (inputs[:, 0] * inputs[:, 1] + 0.5 * torch.randn(4096) > 0).long()
    found = probe_scale_invariance(model, lambda model: nn.functional.cross_entropy(model(inputs[:256]), targets[:256]))
    optimizer = cls(model.parameters(), lr=0.01, weight_decay=0.1)
    start = model[0].weight.norm().item()
    with Monitor(optimizer, model, every=5, invariance=found) as monitor:
        for number in range(400):
            rows = torch.randint(4096, (32,), generator=torch.Generator().manual_seed(number))
            nn.functional.cross_entropy(model(inputs[rows]), targets[rows]).backward()
            optimizer.step()
            optimizer.zero_grad()
            monitor.step()
    readings = [reading.tensors["0.weight"] for reading in monitor.history]
    assert readings[0].norm_ratio == 1
    assert [each.norm_ratio for each in readings] == pytest.approx([1] * 80, abs=0.06)
    assert all(math.isnan(each.norm_ratio) for name, each in monitor.last.tensors.items() if name != "0.weight")
    end = model[0].weight.norm().item()
    update = (512 * sum(each.update_rms**2 for each in readings) / 80) ** 0.5
    without = theory.norm_motion(start, update, 400, lr=0.01, weight_decay=0.1, factor=1.0).squared_norm[-1] ** 0.5
    assert without < 0.75 * start < start < 0.75 * end


# What it costs, counted.

WAITS = {"item", "tolist", "numpy", "cpu", "__float__", "__int__", "__bool__", "__index__", "__array__", "is_nonzero"}


class Waits(TorchFunctionMode):
    """Counts the calls with which the host asks a tensor for its value: on a GPU each of them waits."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func.__name__ in WAITS:
            self.found[func.__name__] += 1
        return func(*args, **(kwargs or {}))


class Sizes(TorchDispatchMode):
    """The largest tensor that any operation of torch reads or makes, and how many operations there are."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        tensors = [each for each in torch.utils._pytree.tree_leaves((args, kwargs, made)) if isinstance(each, Tensor)]
        self.largest = max([self.largest, *map(Tensor.numel, tensors)])
        self.count += 1
        return made


def prepared(every: int):
    """A model with gradients, its optimizer after a step, and a monitor whose next reading is due after so many steps."""
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    optimizer = SMES(model.parameters(), kernel="fused")
    monitor = Monitor(optimizer, model, every=every)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    return optimizer, monitor, torch.tensor(1.0)


def test_a_step_without_a_reading_asks_no_tensor_for_its_value_and_measures_nothing():
    optimizer, monitor, loss = prepared(10)
    lent = []
    optimizer.register_step_post_hook(lambda optimizer, *_: lent.append(optimizer.telemetries))
    with Waits() as waits, Sizes() as sizes:
        for _ in range(9):
            optimizer.step()
            monitor.step(loss=loss)
    assert lent == [()] * 9
    assert not waits.found
    assert sizes.largest == 1
    assert sizes.count <= 9 * 6  # of one number each: the loss is added up where it is
    optimizer.step()
    assert len(lent[-1]) == 1
    assert monitor.step().made
    assert optimizer.telemetries == ()


def test_a_reading_asks_once_and_passes_over_no_tensor_of_the_model():
    optimizer, monitor, loss = prepared(1)
    with Waits() as waits, Sizes() as sizes:
        optimizer.step()
        reading = monitor.step(loss=loss)
    assert waits.found == {"numpy": 1}
    assert sizes.largest <= 4 * (8 + 20) + 16  # the measures and the squares of four tensors, and a few numbers
    assert reading.tensors["0.weight"].gradient_rms > 0


# Sharing an optimizer, errors, ends.


def test_telemetry_of_the_user_stays_where_it_is():
    model = network()
    optimizer = SMES(model.parameters())
    own = Telemetry(optimizer)
    with Monitor(optimizer, model, every=2) as monitor:
        train(model, optimizer, monitor, range(4))
        assert optimizer.telemetries == (own,)
        found = own.read()[model[3].bias]
        assert monitor.last.tensors["3.bias"].gradient_rms == pytest.approx((found.gradient / 3) ** 0.5)
    assert optimizer.telemetries == (own,)


@pytest.mark.parametrize("first", ["monitor", "controller"])
@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_controller_and_two_monitors_share_what_is_measured(first, every):
    model = network()
    optimizer = SMES(model.parameters())
    made = {
        "controller": lambda: SpreadController(optimizer, every=2),
        "monitor": lambda: Monitor(optimizer, model, every=every),
    }
    parts = {name: made[name]() for name in sorted(made, reverse=first == "monitor")}
    with parts["monitor"] as monitor, Monitor(optimizer, model, every=2) as other:
        for number in range(6):
            loss_of(model, number).backward()
            optimizer.step()
            optimizer.zero_grad()
            found = [each.step() for each in (monitor, other)]
            assert optimizer.telemetries == ()
            assert [reading is not None for reading in found] == [(number + 1) % every == 0, number % 2 == 1]
            assert all(reading is None or len(reading.tensors) == 6 for reading in found)
    assert len(parts["controller"].history) == 3


def test_after_a_step_that_failed_the_optimizer_is_as_it_was():
    model = network()
    optimizer = SMES(model.parameters())
    with Monitor(optimizer, model, every=2) as monitor:
        train(model, optimizer, monitor, range(1))
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        model[0].bias.grad = torch.sparse_coo_tensor([[0]], [1.0], (16,), check_invariants=True)
        with pytest.raises(GradientError):
            optimizer.step()
        optimizer.zero_grad()
        reading = monitor.step()
        assert (reading.made, reading.tensors) == (False, {})
        assert optimizer.telemetries == ()


def test_a_step_without_any_gradient_was_not_made():
    model = network()
    optimizer = SMES(model.parameters())
    with Monitor(optimizer, model, every=1) as monitor:
        optimizer.step()
        assert not monitor.step().made


def test_arguments_outside_of_what_is_accepted_are_refused():
    model = network()
    with pytest.raises(ArgumentError, match="every = 0"):
        Monitor(SMES(model.parameters()), model, every=0)
    found = probe_scale_invariance(model, lambda model: loss_of(model, 0))
    with pytest.raises(ArgumentError, match=r"invariance = '0\.weight' is not accepted: .* that the optimizer has"):
        Monitor(SMES(model[3].parameters()), model, invariance=found)


def test_a_closed_monitor_sees_nothing_more():
    model = network()
    optimizer = SMES(model.parameters())
    monitor = Monitor(optimizer, model, every=1)
    monitor.close()
    monitor.close()
    optimizer.register_step_post_hook(lambda optimizer, *_: lent.append(optimizer.telemetries))
    lent = []
    loss_of(model, 0).backward()
    optimizer.step()
    assert lent == [()]


def test_a_resumed_run_reads_on_as_if_it_had_not_stopped(tmp_path):
    def begin():
        torch.manual_seed(0)
        model = network()
        optimizer = KAdam(model.parameters(), k=2, lr=0.01, weight_decay=0.1)
        found = probe_scale_invariance(model, lambda model: loss_of(model, 0))
        return model, optimizer, Monitor(optimizer, model, every=4, invariance=found)

    model, optimizer, monitor = begin()
    train(model, optimizer, monitor, range(6))
    optimizer.param_groups[0]["betas"] = (0.8, 0.999)
    train(model, optimizer, monitor, range(6, 7))
    torch.save([each.state_dict() for each in (model, optimizer, monitor)], tmp_path / "saved.pt")
    train(model, optimizer, monitor, range(7, 12))
    resumed = begin()
    for each, state in zip(resumed, torch.load(tmp_path / "saved.pt", weights_only=True), strict=True):
        each.load_state_dict(state)
    found = train(*resumed, range(7, 12))
    assert [reading.step for reading in found] == [8, 12]
    for one, other in zip(found, list(monitor.history)[1:], strict=True):
        assert repr(one.tensors) == repr(other.tensors)
        assert (one.metrics, one.groups) == (other.metrics, other.groups)
    assert found[-1].tensors["0.weight"].norm_ratio != 1
    assert found[-1].tensors["0.weight"].bound == math.inf
    with pytest.raises(StateDictError, match="keys steps is not one of a Monitor"):
        monitor.load_state_dict({"steps": 3})


class Kept:
    """A sink."""

    def __init__(self) -> None:
        self.found = []

    def open(self, run) -> None:
        self.found.append(run)

    def write(self, record) -> None:
        self.found.append(record)

    def close(self) -> None:
        self.found.append(None)


def test_sinks_are_told_of_the_run_every_reading_and_every_verdict():
    model, sink = network(), Kept()
    optimizer = SMES(two_groups(model))
    with Monitor(optimizer, model, every=2, sinks=[sink], name="first") as monitor:
        train(model, optimizer, monitor, range(3))
        train(model, optimizer, monitor, range(1), **{"3__weight": math.nan})
    run, first, second, *verdicts, end = sink.found
    assert (run.name, run.tensors[1], run.shapes[1], run.group_of) == ("first", "3.weight", (3, 16), (0, 0, 1, 1, 1, 1))
    assert [first, second] == list(monitor.history)
    assert verdicts == monitor.verdicts
    assert any("3.weight" in each.where for each in verdicts)
    assert end is None


def test_a_guard_that_stops_the_run_has_told_the_sinks_why(tmp_path):
    model, sink = network(), Kept()
    optimizer = SMES(model.parameters())
    guard = Guard(Stop(tmp_path / "report.md"))
    with Monitor(optimizer, model, every=1, sinks=[sink], guard=guard) as monitor:
        train(model, optimizer, monitor, range(2))
        with pytest.raises(RunStoppedError, match="stopped at step 3"):
            train(model, optimizer, monitor, range(1), **{"3__weight": math.nan})
    *_, action, end = sink.found
    assert (action.kind, action.step, end) == ("stop", 3, None)
    assert action.verdicts == tuple(each for each in monitor.verdicts if each.severity == "trouble")
    assert monitor.last.step == 3


def test_a_step_that_a_guard_skips_is_read_as_not_made():
    model = network()
    optimizer = SMES(model.parameters())
    with Monitor(optimizer, model, every=1, guard=Guard(Skip())) as monitor:
        before = model[3].weight.detach().clone()
        (reading,) = train(model, optimizer, monitor, range(1), **{"3__weight": math.nan})
        assert torch.equal(model[3].weight, before)
        assert (reading.made, reading.tensors) == (False, {})
        (reading,) = train(model, optimizer, monitor, range(1))
        assert reading.made


def test_a_rollback_takes_the_monitor_back_and_the_readings_that_it_undid_are_forgotten():
    model = network()
    optimizer = SMES(model.parameters())
    guard = Guard(Rollback(), snapshots=Snapshots({"model": model, "optimizer": optimizer}, every=2))
    with Monitor(optimizer, model, every=1, guard=guard) as monitor:
        train(model, optimizer, monitor, range(3))
        good = [parameter.detach().clone() for parameter in model.parameters()]
        train(model, optimizer, monitor, range(3, 4))
        train(model, optimizer, monitor, range(1), **{"3__weight": math.nan})
        # The step before is not suspect, but only that of step 3 was kept.
        assert (guard.rollbacks, monitor.steps) == (1, 3)
        assert all(map(torch.equal, model.parameters(), good))
        assert [reading.step for reading in monitor.history] == [1, 2, 3]
        (reading,) = train(model, optimizer, monitor, range(3, 4))
        assert reading.step == 4
