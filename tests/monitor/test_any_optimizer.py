"""A monitor and a guard do for any optimizer of torch what they do for ours, and say what is not known of it."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import pytorch_optimizer
import torch
from accelerate import Accelerator
from torch import nn

from equipoise import SMES, theory
from equipoise.errors import ArgumentError, RunStoppedError
from equipoise.monitor import Guard, JsonLines, LowerRate, Monitor, MoveInside, Rollback, Skip, Snapshots, Stop, Warn
from equipoise.monitor.integrations import follow_steps
from equipoise.optim._kernels import MEASURES, cpu
from equipoise.optim._kernels.looking import Seen, look
from equipoise.watch import Run, summary


def muon(parameters, **given):
    return torch.optim.Muon([each for each in parameters if each.dim() == 2], **given)


class EightBits(torch.optim.Optimizer):
    """Keeps numbers of eight bits under names of its own, as bitsandbytes does."""

    def __init__(self, parameters, lr=0.01):
        super().__init__(parameters, {"lr": lr, "betas": (0.9, 0.999)})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["state1"] = parameter.grad.sign().to(torch.uint8)
                parameter.sub_(parameter.grad.sign(), alpha=group["lr"])


EVERY = {
    "Adam": (torch.optim.Adam, {"weight_decay": 0.1}),
    "AdamW": (torch.optim.AdamW, {}),
    "AdamW fused": (torch.optim.AdamW, {"fused": True}),
    "AdamW foreach": (torch.optim.AdamW, {"foreach": True, "maximize": True}),
    "AMSGrad": (torch.optim.AdamW, {"amsgrad": True}),
    "NAdam": (torch.optim.NAdam, {}),
    "RAdam": (torch.optim.RAdam, {}),
    "Adagrad": (torch.optim.Adagrad, {}),
    "RMSprop": (torch.optim.RMSprop, {}),
    "RMSprop with momentum": (torch.optim.RMSprop, {"momentum": 0.9}),
    "SGD": (torch.optim.SGD, {}),
    "SGD with momentum": (torch.optim.SGD, {"momentum": 0.9, "fused": True}),
    "SGD of Nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "Adafactor": (torch.optim.Adafactor, {}),
    "Muon": (muon, {}),
    "Lion": (pytorch_optimizer.Lion, {}),
    "Schedule-Free": (pytorch_optimizer.ScheduleFreeAdamW, {}),
    "8 bits": (EightBits, {}),
}
LEAVES_ITS_UPDATE = ("Adam", "AdamW", "AdamW fused", "AdamW foreach", "AMSGrad", "RMSprop", "SGD with momentum")


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))


def batch(number, size=32):
    inputs = torch.randn(size, 4, generator=torch.Generator().manual_seed(number))
    return inputs, inputs[:, :3].argmax(1)


def backward(model, number, scale=lambda loss: loss):
    inputs, targets = batch(number)
    loss = nn.functional.cross_entropy(model(inputs.to(next(model.parameters()).dtype)), targets)
    scale(loss).backward()
    return loss.detach()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["by C", "by torch"])
@pytest.mark.parametrize("name", EVERY)
def test_every_number_is_what_one_would_compute_beside_it(name, dtype):
    make, given = EVERY[name]
    model = network().to(dtype)
    optimizer = make(model.parameters(), lr=0.01, **given)
    exact = {"rel": 1e-6 if dtype is torch.float64 else 2e-3, "abs": 1e-12}
    with Monitor(optimizer, model, every=2) as monitor:
        for number in range(6):
            before = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
            backward(model, number)
            gradients = {key: parameter.grad.clone() for key, parameter in model.named_parameters()}
            optimizer.step()
            optimizer.zero_grad()
            reading = monitor.step()
        assert set(reading.tensors) == ({"0.weight", "2.weight"} if name == "Muon" else set(before))
        assert reading.groups[0].lr == 0.01
        for key, found in reading.tensors.items():
            theta, gradient = model.get_parameter(key).detach(), gradients[key]
            lr, decay = 0.01, optimizer.param_groups[0].get("weight_decay", 0) if "AdamW" in name or name == "AMSGrad" else 0
            u = (before[key] * (1 - lr * decay) - theta) / lr
            assert found.gradient_rms == pytest.approx(gradient.square().mean().sqrt().item(), **exact)
            assert found.update_rms == pytest.approx(u.square().mean().sqrt().item(), **exact)
            assert found.largest_update == pytest.approx(u.abs().max().item(), **exact)
            assert found.parameter_rms == pytest.approx(theta.square().mean().sqrt().item(), **exact)
            assert found.update_ratio == pytest.approx((lr * u.norm() / theta.norm()).item(), **exact)
            assert found.zero_fraction == found.nonfinite_fraction == 0
            assert found.largest_update <= found.bound * 1.001
    assert (monitor._measurer.sums._memory == {}) == (name in LEAVES_ITS_UPDATE)


@pytest.mark.parametrize(
    ("name", "margin", "bound", "second_moment"),
    [
        ("Adam", theory.margin(0.9, 0.999), theory.max_update(0.9, 0.999, steps=6), True),
        ("AMSGrad", theory.margin(0.9, 0.999), theory.max_update(0.9, 0.999, steps=6), True),
        ("RMSprop", math.inf, theory.max_update(0.0, 0.99), True),
        ("SGD with momentum", theory.margin(0.9, 0.999, 0.0), math.inf, False),
        ("Lion", None, math.inf, False),
        ("Schedule-Free", None, math.inf, True),
        ("RMSprop with momentum", None, math.inf, True),
        ("8 bits", None, math.inf, False),
    ],
)
def test_what_the_theory_knows_of_the_family_is_shown_and_what_it_does_not_know_is_said(
    name, margin, bound, second_moment, tmp_path, capsys
):
    from equipoise.watch import show

    make, given = EVERY[name]
    model = network()
    optimizer = make(model.parameters(), lr=0.01, **given)
    with Monitor(optimizer, model, every=6, sinks=[JsonLines(tmp_path)]) as monitor:
        for number in range(6):
            backward(model, number)
            optimizer.step()
            optimizer.zero_grad()
            monitor.step(loss=1.0)
    group, tensor = monitor.last.groups[0], monitor.last.tensors["0.weight"]
    assert (len(group.exponent), len(group.betas)) == ((0, 0) if margin is None else (1, 1))
    assert math.isnan(group.margin) if margin is None else group.margin == pytest.approx(margin)
    assert tensor.bound == pytest.approx(bound)
    assert math.isfinite(tensor.second_moment) == second_moment
    with Run(tmp_path) as run:
        [found] = summary([run])
        show([run])
    assert found["optimizer"] == type(optimizer).__name__
    assert any("No stability margin and no update bound" in note for note in found["notes"]) == (margin is None)
    printed = " ".join(capsys.readouterr().out.split())
    assert ("stability margin" in printed.replace("No stability margin", "")) == (margin is not None)
    assert all(note[:40] in printed for note in found["notes"])
    assert run.last.groups[0].exponent == group.exponent


def test_an_unstable_adamw_is_a_verdict_as_ours_is_and_a_remedy_moves_it_inside():
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.99, 0.9))
    with Monitor(optimizer, model, every=1) as monitor:
        backward(model, 0)
        optimizer.step()
        monitor.step()
    assert [verdict.kind for verdict in monitor.verdicts] == ["unstable-margin"]
    said = MoveInside("beta2")({"optimizer": optimizer}, 1)
    assert said.startswith("In group 0 beta2 goes from 0.9 to 0.98")
    assert optimizer.param_groups[0]["betas"][1] > 0.98
    assert "no other" in MoveInside("exponent")({"a": torch.optim.AdamW(model.parameters(), betas=(0.99, 0.9))}, 1)
    assert "nothing is known" in MoveInside("beta1")({"a": pytorch_optimizer.Lion(model.parameters())}, 1)


# Wrappers.


def test_wrapped_optimizers_are_found_and_those_that_step_themselves_are_watched_themselves():
    model = network()
    inner = torch.optim.AdamW(model.parameters())
    lookahead = pytorch_optimizer.Lookahead(torch.optim.AdamW(model.parameters()))
    accelerated = Accelerator(cpu=True).prepare(inner)
    for given, found in ((accelerated, inner), (SimpleNamespace(optimizer=accelerated), inner), (lookahead, lookahead)):
        with Monitor(given, model, every=1) as monitor:
            assert monitor.optimizer is found
            handle = follow_steps(monitor, given)
            backward(model, 0)
            given.step() if hasattr(given, "step") else given.optimizer.step()
            handle.remove()
            assert monitor.last.tensors["0.weight"].update_rms > 0


@pytest.mark.parametrize("given", [None, nn.Linear(1, 1), SimpleNamespace(optimizer=3)])
def test_what_is_no_optimizer_is_refused_with_what_is(given):
    with pytest.raises(ArgumentError, match=r"optimizer = '.*' is not accepted: .* a torch.optim.Optimizer, or a wrapper"):
        Monitor(given, network())


# Gradients.


class WritesToGradients(torch.optim.SGD):
    """Consumes its gradients, as some optimizers do."""

    def step(self, closure=None):
        super().step(closure)
        for parameter in self.param_groups[0]["params"]:
            parameter.grad.fill_(math.nan)


def test_gradients_are_those_that_the_optimizer_used_although_it_writes_to_them():
    model = network()
    optimizer = WritesToGradients(model.parameters(), lr=0.1)
    with Monitor(optimizer, model, every=1) as monitor:
        backward(model, 0)
        used = model[0].weight.grad.clone()
        optimizer.step()
        tensor = monitor.step().tensors["0.weight"]
    assert tensor.gradient_rms == pytest.approx(used.square().mean().sqrt().item(), rel=1e-5)
    assert tensor.nonfinite_fraction == 0


def test_gradients_of_a_closure_are_read_inside_of_the_step():
    model = network()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
    with Monitor(optimizer, model, every=1) as monitor:
        before = model[0].weight.detach().clone()

        def closure():
            optimizer.zero_grad()
            inputs, targets = batch(0)
            loss = nn.functional.cross_entropy(model(inputs), targets)
            loss.backward()
            return loss

        optimizer.step(closure)
        tensor = monitor.step().tensors["0.weight"]
    moved = before - model[0].weight.detach()
    assert tensor.gradient_rms > 0
    assert tensor.update_rms == pytest.approx(moved.square().mean().sqrt().item(), rel=1e-4)  # lr is 1


def test_sparse_gradients_count_the_elements_that_they_leave_out_as_zeros():
    torch.manual_seed(0)
    model = nn.Embedding(10, 3, sparse=True)
    for optimizer in (torch.optim.SGD(model.parameters(), lr=0.1), torch.optim.SparseAdam(model.parameters())):
        with Monitor(optimizer, model, every=1, guard=Guard(Skip())) as monitor:
            optimizer.zero_grad()
            model(torch.tensor([1, 1, 4])).square().sum().backward()
            dense = model.weight.grad.to_dense()
            optimizer.step()
            tensor = monitor.step().tensors["weight"]
        assert tensor.zero_fraction == pytest.approx(0.8)
        assert tensor.gradient_rms == pytest.approx(dense.square().mean().sqrt().item(), rel=1e-5)


def test_a_step_that_a_fused_optimizer_skips_for_a_grad_scaler_was_not_made_and_gradients_are_unscaled():
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    guard = Guard(Skip(limit=1))
    with Monitor(optimizer, model, every=1, guard=guard) as monitor:
        for number, spoiled in enumerate((False, True, False)):
            optimizer.zero_grad()
            backward(model, number, scaler.scale)
            used = model[0].weight.grad.clone() / scaler.get_scale()
            if spoiled:
                model[0].weight.grad[0, 0] = math.inf
            scaler.step(optimizer)
            scaler.update()
            reading = monitor.step()
            assert (reading.made, bool(reading.tensors)) == (not spoiled, not spoiled)
            if not spoiled:
                size = used.square().mean().sqrt().item()
                assert reading.tensors["0.weight"].gradient_rms == pytest.approx(size, rel=1e-5)
    assert guard.skipped == 0  # the scaler's business


def test_an_optimizer_without_a_learning_rate_has_steps_for_updates():
    class FindsItsOwnRate(EightBits):
        @torch.no_grad()
        def step(self, closure=None):
            for parameter in self.param_groups[0]["params"]:
                parameter.sub_(0.5)

    model = network()
    optimizer = FindsItsOwnRate(model.parameters(), lr=None)
    with Monitor(optimizer, model, every=1) as monitor:
        backward(model, 0)
        optimizer.step()
        reading = monitor.step()
    assert math.isnan(reading.groups[0].lr)
    assert reading.tensors["0.weight"].update_rms == pytest.approx(0.5)


# Guards.


def spoil(model):
    model[0].weight.grad[0, 0] = math.nan


@pytest.mark.parametrize("name", ["AdamW", "AdamW fused", "SGD with momentum", "Muon", "Lion", "Adafactor", "Schedule-Free"])
def test_a_guard_skips_rolls_back_and_stops(name, tmp_path):
    make, given = EVERY[name]

    def trained(policy, spoiled):
        model = network()
        optimizer = make(model.parameters(), lr=0.01, **given)
        snapshots = Snapshots({"model": model, "optimizer": optimizer}, every=1)
        snapshots.take(0)
        with Monitor(optimizer, model, every=1, guard=Guard(policy, snapshots=snapshots)) as monitor:
            for number in range(6):
                optimizer.zero_grad()
                loss = backward(model, number)
                if number in spoiled:
                    spoil(model)
                optimizer.step()
                monitor.step(loss=loss)
        return model, monitor

    def good():
        model = network()
        optimizer = make(model.parameters(), lr=0.01, **given)
        for number in (0, 1, 2, 4, 5):
            optimizer.zero_grad()
            backward(model, number)
            optimizer.step()
        return model

    for policy in (Skip(), Rollback()):
        model, monitor = trained(policy, {3})
        for one, other in zip(model.parameters(), good().parameters(), strict=True):
            assert torch.equal(one, other)
        assert monitor.steps == (6 if isinstance(policy, Skip) else 5)
    with pytest.raises(RunStoppedError):
        trained(Stop(tmp_path / "report.md"), {3})
    assert "NaN or infinity" in (tmp_path / "report.md").read_text()


def test_a_rollback_lowers_the_rate_of_a_wrapped_optimizer():
    model = network()
    optimizer = Accelerator(cpu=True).prepare(torch.optim.AdamW(model.parameters(), lr=0.01))
    snapshots = Snapshots({"model": model, "optimizer": optimizer})
    guard = Guard(Rollback((LowerRate(0.5),)), snapshots=snapshots)
    with Monitor(optimizer, model, every=1, guard=guard) as monitor:
        snapshots.take(0)
        backward(model, 0)
        spoil(model)
        optimizer.step()
        monitor.step()
    assert optimizer.param_groups[0]["lr"] == 0.005
    assert all(parameter.isfinite().all() for parameter in model.parameters())


# Cost, and the sums.


def test_steps_that_are_not_read_run_no_operation_more():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counted(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.count += 1
            return function(*args, **(kwargs or {}))

    model = network()
    optimizer = pytorch_optimizer.Lion(model.parameters())
    backward(model, 0)
    optimizer.step()
    counts = []
    with Counted() as plain:
        optimizer.step()
    with Monitor(optimizer, model, every=100, guard=Guard(Warn())) as monitor, Counted() as watched:
        optimizer.step()
        monitor.step()
    counts += [plain.count, watched.count]
    assert counts[0] == counts[1] > 0


@pytest.mark.skipif(cpu.library() is None, reason="the kernel was not compiled")
def test_the_sums_of_the_c_code_are_those_of_torch():
    torch.manual_seed(0)
    for size in (1, 7, 256, 5000):
        g, theta, before, m = torch.randn(4, size).unbind()
        v = torch.rand(size)
        g[0], g[-1] = 0.0, math.inf if size > 1 else 0.0
        v[0] = m[0] = 0.0
        for seen in (
            Seen(gradient=g),
            Seen(theta=theta, before=before, v=v),
            Seen(theta=theta, m=m, v=v, m_scale=2.0, v_scale=3.0, eps=0.1),
            Seen(theta=theta, m=m, m_scale=2.0),
            Seen(theta=theta, m=torch.full((size,), math.nan), v=v),
        ):
            wide = {
                key: each.double() if torch.is_tensor(each) else each
                for key, each in ((k, getattr(seen, k)) for k in Seen.__slots__)
            }
            found, expected = look([seen, seen]), look([Seen(**wide)])
            assert found.shape == (2, len(MEASURES))
            torch.testing.assert_close(found, expected.expand(2, -1), rtol=1e-5, atol=1e-6, equal_nan=True)


def test_low_precision_and_complex_parameters_are_measured_too():
    for dtype in (torch.bfloat16, torch.complex64):
        weight = nn.Parameter(torch.ones(3, dtype=dtype))
        model = nn.Module()
        model.weight = weight
        for optimizer in (torch.optim.AdamW([weight], lr=0.5), torch.optim.SGD([weight], lr=0.5), SMES([weight], lr=0.5)):
            with Monitor(optimizer, model, every=1) as monitor:
                weight.grad = torch.full_like(weight, 0.5)
                optimizer.step()
                tensor = monitor.step().tensors["weight"]
            parts = 2 if dtype is torch.complex64 else 1
            assert tensor.gradient_rms == pytest.approx(0.5 / math.sqrt(parts), rel=1e-3)
            assert tensor.update_rms > 0
