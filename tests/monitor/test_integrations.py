"""Monitors inside of frameworks: the real ones, on models of a few thousand parameters."""

import math
import subprocess
import sys
import warnings
from functools import partial

import lightning.pytorch as lightning
import pytest
import torch
import transformers
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from equipoise import SMES, Equipoise, KAdam
from equipoise.balance import Match, presets
from equipoise.errors import MissingExtraError, RunStoppedError
from equipoise.monitor import Guard, Monitor, Rollback, Skip, Snapshots, Stop
from equipoise.monitor.integrations import BEFORE_CLIPPING, follow_steps, follow_trainer, lightning_callback, trainer_optimizer

EVERY_STEP = partial(Monitor, every=1)


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self):
        self.records, self.closed = [], 0

    def open(self, run):
        self.run = run

    def write(self, record):
        self.records.append(record)

    def close(self):
        self.closed += 1


def total_gradient_norm(reading, model):
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return math.sqrt(sum(sizes[name] * tensor.gradient_rms**2 for name, tensor in reading.tensors.items()))


# ---- transformers


class Text(Dataset):
    """Blocks of 8 tokens, each one more than the token before it."""

    def __len__(self):
        return 48

    def __getitem__(self, index):
        tokens = (torch.arange(8) + index) % 16
        return {"input_ids": tokens, "labels": tokens}


def gpt2():
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    )


@pytest.fixture
def trainer(tmp_path):
    """A Trainer with SMES: 6 steps of 2 micro-batches."""

    def trainer(model=None, monitor=EVERY_STEP, optimizer=SMES, matches=(), **changes):
        arguments = transformers.TrainingArguments(
            **{
                "output_dir": str(tmp_path),
                "use_cpu": True,
                "per_device_train_batch_size": 4,
                "gradient_accumulation_steps": 2,
                "max_steps": 6,
                "logging_steps": 1,
                "save_strategy": "no",
                "report_to": "none",
                "disable_tqdm": True,
                "dataloader_pin_memory": False,
                "learning_rate": 1e-2,
                "weight_decay": 0.1,
            }
            | changes
        )
        made = transformers.Trainer(
            model or gpt2(),
            arguments,
            train_dataset=Text(),
            eval_dataset=Text(),
            optimizer_cls_and_kwargs=trainer_optimizer(optimizer, arguments, matches=matches),
        )
        made.remove_callback(transformers.PrinterCallback)
        return made, follow_trainer(made, monitor)

    return trainer


def logged(trainer, name):
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def test_a_reading_of_each_optimizer_step_has_the_loss_that_the_trainer_logs_for_it(trainer):
    made, callback = trainer()
    made.train()
    readings = callback.monitor.history
    assert [reading.step for reading in readings] == [1, 2, 3, 4, 5, 6]
    assert all(reading.made for reading in readings)
    assert [reading.metrics["loss"] for reading in readings] == pytest.approx(logged(made, "loss"), rel=1e-6)
    assert set(readings[0].tensors) == dict(made.model.named_parameters()).keys()


class Broken(transformers.GPT2LMHeadModel):
    """Whose loss is NaN from its sixth batch on."""

    batches = 0

    def forward(self, input_ids=None, labels=None, **kwargs):
        output = super().forward(input_ids=input_ids, labels=labels, **kwargs)
        self.batches += 1
        if self.batches >= 6:
            output.loss = output.loss * math.nan
        return output


def broken():
    return Broken(gpt2().config)


def test_a_loss_that_is_nan_in_one_micro_batch_is_read_though_the_trainer_logs_a_finite_one(trainer):
    made, callback = trainer(broken())
    made.train()
    losses = [reading.metrics["loss"] for reading in callback.monitor.history]
    assert list(map(math.isnan, losses)) == [False, False, True, True, True, True]
    assert all(map(math.isfinite, logged(made, "loss")))
    assert "nonfinite-loss" in {verdict.kind for verdict in callback.monitor.verdicts}


def test_the_trainers_gradients_are_read_after_clipping_with_their_norm_before_it(trainer):
    made, callback = trainer(max_grad_norm=1e-3)
    made.train()
    for reading, norm in zip(callback.monitor.history, logged(made, "grad_norm"), strict=True):
        assert total_gradient_norm(reading, made.model) == pytest.approx(1e-3, rel=1e-2)
        assert reading.metrics[BEFORE_CLIPPING] == pytest.approx(norm, rel=1e-6)
        assert norm > 0.1


def test_an_evaluation_comes_with_the_next_reading(trainer):
    made, callback = trainer(eval_strategy="steps", eval_steps=2)
    made.train()
    found = [reading.metrics.get("validation_loss") for reading in callback.monitor.history]
    first, second, _ = logged(made, "eval_loss")
    assert found == [None, None, pytest.approx(first), None, pytest.approx(second), None]
    assert "validation_runtime" in callback.monitor.history[2].metrics
    assert made.evaluate()["eval_loss"] == pytest.approx(logged(made, "eval_loss")[-1])


@pytest.mark.parametrize("restored", [False, True], ids=["kept", "restored by the trainer"])
def test_a_training_that_is_resumed_continues_the_count_and_the_parameters(trainer, restored):
    whole, _ = trainer(save_strategy="steps", save_steps=3)
    whole.train()
    resumed, callback = trainer(save_strategy="steps", save_steps=3, restore_callback_states_from_checkpoint=restored)
    resumed.train(resume_from_checkpoint=f"{resumed.args.output_dir}/checkpoint-3")
    assert [reading.step for reading in callback.monitor.history] == [4, 5, 6]
    assert not [verdict for verdict in callback.monitor.verdicts if verdict.severity == "trouble"]
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_second_training_begins_a_new_count_and_sees_every_loss_once(trainer):
    made, callback = trainer()
    made.train()
    first = callback.monitor
    made.train()
    assert callback.monitor is not first
    assert [reading.step for reading in callback.monitor.history] == [1, 2, 3, 4, 5, 6]
    assert [reading.metrics["loss"] for reading in callback.monitor.history] == pytest.approx(logged(made, "loss")[-6:])
    assert made.training_step.__func__ is transformers.Trainer.training_step


def test_a_training_after_one_that_failed_sees_every_loss_once(trainer):
    class Interrupts(transformers.TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            if state.global_step == 2:
                raise KeyboardInterrupt

    made, callback = trainer()
    made.add_callback(interrupts := Interrupts())
    with pytest.raises(KeyboardInterrupt):
        made.train()
    made.remove_callback(interrupts)
    made.train()
    losses = [reading.metrics["loss"] for reading in callback.monitor.history]
    assert losses == pytest.approx(logged(made, "loss")[-6:])


def test_a_guard_that_stops_ends_train_and_nothing_broken_is_saved(trainer, tmp_path):
    sink = Kept()
    made, callback = trainer(
        broken(),
        lambda optimizer, model: Monitor(optimizer, model, every=1, sinks=[sink], guard=Guard(Stop(tmp_path / "report.md"))),
        save_strategy="epoch",
        max_steps=-1,
        num_train_epochs=2,
    )
    with pytest.raises(RunStoppedError):
        made.train()
    assert made.state.global_step == callback.monitor.steps == 3
    assert not list(tmp_path.glob("checkpoint-*"))
    assert sink.closed
    assert sink.records[-1].kind == "stop"
    assert "loss is nan" in (tmp_path / "report.md").read_text()
    assert made.training_step.__func__ is transformers.Trainer.training_step


class BrokenOnce(Broken):
    """Whose loss is NaN in its sixth batch alone."""

    def forward(self, input_ids=None, labels=None, **kwargs):
        output = super().forward(input_ids, labels, **kwargs)
        if self.batches == 6:
            self.batches = -1000
        return output


def test_a_guard_goes_back_inside_of_the_trainer_which_goes_on_with_the_next_batches(trainer):
    def monitor(optimizer, model):
        kept = Snapshots({"model": model, "optimizer": optimizer, "schedule": made.lr_scheduler}, every=1)
        return Monitor(optimizer, model, every=1, guard=Guard(Rollback(), snapshots=kept))

    made, callback = trainer(BrokenOnce(gpt2().config), monitor)
    made.train()
    assert made.state.global_step == 6
    assert callback.monitor.guard.rollbacks == 1
    assert made.lr_scheduler.last_epoch == 5
    assert all(bool(parameter.isfinite().all()) for parameter in made.model.parameters())
    assert not [verdict for verdict in callback.monitor.verdicts if verdict.severity == "trouble"]


def test_the_trainers_optimizer_decays_all_but_norms_and_biases(trainer):
    made, _ = trainer(optimizer=KAdam)
    made.create_optimizer()
    assert type(made.optimizer) is KAdam
    assert [group["weight_decay"] for group in made.optimizer.param_groups] == [0.1, 0.0]
    names = {parameter: name for name, parameter in made.model.named_parameters()}
    free = {names[parameter] for parameter in made.optimizer.param_groups[1]["params"]}
    assert free == {name for name in names.values() if name.endswith("bias") or ".ln_" in name}
    assert all(group["lr"] == 1e-2 and group["betas"] == (0.9, 0.999) for group in made.optimizer.param_groups)


def test_rules_by_layer_make_the_trainers_groups_and_train(trainer):
    model = gpt2()
    made, callback = trainer(model, matches=[Match("wte", lr_scale=0.1), *presets(model, exponent=0.5)])
    made.train()
    groups = made.optimizer.param_groups
    assert groups[0]["name"] == "wte"
    assert groups[-1]["exponent"] == 0.25
    assert groups[-1]["weight_decay"] == 0.1
    assert {group["exponent"] for group in groups[1:-1]} == {0.5}
    first = callback.monitor.history[0].groups
    assert first[0].lr == pytest.approx(0.1 * first[-1].lr)


# ---- Lightning


class Module(lightning.LightningModule):
    """Least squares, in automatic optimization."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        self.losses = []

    def loss(self, batch):
        inputs, targets = batch
        return (self.layers(inputs) - targets).square().mean()

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self):
        return SMES(self.parameters(), lr=1e-2)


def batches(size=4):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(24, 4, generator=generator)
    return DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), batch_size=size)


@pytest.fixture
def fit(tmp_path):
    """Fit a module with Lightning's Trainer: 6 batches."""

    def fit(module, *callbacks, checkpoint=None, validation=None, plugins=None, **changes):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about this machine, and the size of the data
            trainer = lightning.Trainer(
                **{
                    "accelerator": "cpu",
                    "max_epochs": 1,
                    "logger": False,
                    "enable_progress_bar": False,
                    "enable_model_summary": False,
                    "enable_checkpointing": False,
                    "default_root_dir": tmp_path,
                }
                | changes,
                callbacks=list(callbacks),
                plugins=plugins,
            )
            trainer.fit(module, batches(), validation, ckpt_path=checkpoint, weights_only=True)
        return trainer

    return fit


def test_lightnings_readings_are_those_of_a_plain_loop(fit):
    callback = lightning_callback(EVERY_STEP)
    fit(Module(), callback)
    plain = Module()
    optimizer = plain.configure_optimizers()
    with Monitor(optimizer, plain, every=1) as monitor:
        for batch in batches():
            optimizer.zero_grad()
            loss = plain.loss(batch)
            loss.backward()
            optimizer.step()
            monitor.step(loss=loss)
    assert len(monitor.history) == 6
    for one, other in zip(monitor.history, callback.monitor.history, strict=True):
        assert (one.step, one.made, one.metrics, one.groups) == (other.step, other.made, other.metrics, other.groups)
        assert repr(one.tensors) == repr(other.tensors)  # NaN equals itself there


def test_lightnings_accumulated_batches_are_one_step_with_the_mean_of_their_losses(fit):
    callback = lightning_callback(EVERY_STEP)
    fit(module := Module(), callback, accumulate_grad_batches=4)
    readings = callback.monitor.history
    assert [reading.step for reading in readings] == [1, 2]
    assert readings[0].metrics["loss"] == pytest.approx(sum(module.losses[:4]) / 4)
    assert readings[1].metrics["loss"] == pytest.approx(sum(module.losses[4:]) / 2)


def test_lightnings_gradients_are_read_after_clipping_with_their_norm_before_it(fit):
    clipped, free = lightning_callback(EVERY_STEP), lightning_callback(EVERY_STEP)
    fit(module := Module(), clipped, gradient_clip_val=1e-3)
    fit(Module(), free)
    assert total_gradient_norm(clipped.monitor.history[0], module) == pytest.approx(1e-3, rel=1e-2)
    before = total_gradient_norm(free.monitor.history[0], module)
    assert clipped.monitor.history[0].metrics[BEFORE_CLIPPING] == pytest.approx(before, rel=1e-6)
    assert BEFORE_CLIPPING not in free.monitor.history[0].metrics


def test_a_step_that_lightnings_scaler_skips_is_no_incident_and_gradients_are_unscaled(fit):
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**40))
    scaled, full = lightning_callback(EVERY_STEP), lightning_callback(EVERY_STEP)
    fit(module := Module(), scaled, plugins=plugin, max_epochs=6)
    fit(Module(), full)
    made = [reading.made for reading in scaled.monitor.history]
    assert len(made) == 36
    assert made[0] is False
    assert made[-1] is True
    assert not [verdict for verdict in scaled.monitor.verdicts if verdict.severity == "trouble"]
    first = next(reading for reading in scaled.monitor.history if reading.made)
    assert total_gradient_norm(first, module) < 10 * total_gradient_norm(full.monitor.history[0], module)


class Manual(Module):
    """Two optimizers in manual optimization, the second every other batch."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.losses.append(loss.item())
        optimizers = self.optimizers()
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        optimizers[0].step()
        if batch_idx % 2:
            optimizers[1].step()
        return loss

    def configure_optimizers(self):
        return SMES(self.layers[0].parameters(), lr=1e-2), KAdam(self.layers[2].parameters(), lr=1e-2)


def test_in_manual_optimization_a_step_is_a_batch_in_which_the_optimizer_of_that_number_stepped(fit):
    first, second = lightning_callback(EVERY_STEP), lightning_callback(EVERY_STEP, optimizer=1)
    fit(module := Manual(), first, second)
    assert [reading.metrics["loss"] for reading in first.monitor.history] == pytest.approx(module.losses)
    assert set(first.monitor.last.tensors) == {"layers.0.weight", "layers.0.bias"}
    pairs = zip(module.losses[::2], module.losses[1::2], strict=True)
    assert [reading.metrics["loss"] for reading in second.monitor.history] == pytest.approx([sum(p) / 2 for p in pairs])
    assert set(second.monitor.last.tensors) == {"layers.2.weight", "layers.2.bias"}


def test_lightnings_validation_comes_with_the_next_reading_and_its_sanity_check_does_not(fit):
    callback = lightning_callback(EVERY_STEP)
    trainer = fit(Module(), callback, validation=batches(24), max_epochs=2, num_sanity_val_steps=1)
    found = [reading.metrics.get("validation_loss") for reading in callback.monitor.history]
    assert [value is not None for value in found] == [False] * 6 + [True] + [False] * 5
    assert found[6] > trainer.callback_metrics["val_loss"].item()


def test_a_fit_that_is_resumed_continues_the_count_and_the_parameters(fit, tmp_path):
    whole, part = Module(), Module()
    fit(whole, lightning_callback(EVERY_STEP), max_epochs=2)
    trainer = fit(part, lightning_callback(EVERY_STEP))
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed, callback = Module(), lightning_callback(EVERY_STEP)
    fit(resumed, callback, checkpoint=tmp_path / "half.ckpt", max_epochs=2)
    assert [reading.step for reading in callback.monitor.history] == [7, 8, 9, 10, 11, 12]
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


class BrokenModule(Module):
    """Whose loss is NaN in its third batch."""

    def loss(self, batch):
        return super().loss(batch) * (math.nan if len(self.losses) == 2 else 1.0)


def test_a_guard_that_stops_ends_fit_and_closes_the_sinks(fit, tmp_path):
    sink, guard = Kept(), Guard(Stop(tmp_path / "report.md"))
    callback = lightning_callback(partial(Monitor, every=1, sinks=[sink], guard=guard))
    with pytest.raises(RunStoppedError):
        fit(BrokenModule(), callback)
    assert callback.monitor.steps == 3
    assert sink.closed
    assert sink.records[-1].kind == "stop"


@pytest.mark.parametrize("accumulated", [1, 3])
def test_a_guard_that_skips_sees_the_gradients_that_lightning_makes_within_the_step(fit, accumulated):
    callback = lightning_callback(partial(Monitor, every=1, guard=Guard(Skip())))
    fit(module := BrokenModule(), callback, accumulate_grad_batches=accumulated)
    broken = 2 // accumulated
    assert [reading.made for reading in callback.monitor.history] == [step != broken for step in range(6 // accumulated)]
    assert callback.monitor.guard.skipped == 1
    assert all(bool(parameter.isfinite().all()) for parameter in module.parameters())


# ---- other loops


def test_steps_of_a_loop_that_cannot_be_changed_are_counted_until_that_ends():
    layer = nn.Linear(2, 1)
    optimizer = SMES(layer.parameters())
    monitor = Monitor(optimizer, layer, every=1)
    handle = follow_steps(monitor, optimizer)
    for _ in range(3):
        layer(torch.ones(2)).sum().backward()
        optimizer.step()
    handle.remove()
    optimizer.step()
    monitor.close()
    assert [(reading.step, reading.made, set(reading.tensors)) for reading in monitor.history] == [
        (step, True, {"weight", "bias"}) for step in (1, 2, 3)
    ]


def test_composers_optimizer_monitor_gets_the_norms_of_the_step_before():
    """What composer/callbacks/optimizer_monitor.py of mosaicml 0.32.1 does at the end of a batch, which needs torch < 2.7.1."""
    layer = nn.Linear(3, 2)
    optimizer = Equipoise(layer.parameters(), lr=0.1)
    optimizer.add_param_group({"params": [extra := nn.Parameter(torch.ones(2))], "lr": 0.2})
    parameters = {**dict(layer.named_parameters()), "extra": extra}
    for step in range(3):
        before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        optimizer.zero_grad()
        (layer(torch.full((4, 3), step + 1.0)) * extra).square().sum().backward()
        optimizer.step()
        metrics = {}
        for name, parameter in parameters.items():
            metrics.update(optimizer.report_per_parameter_metrics(parameter, name, metrics))
        if step == 0:
            assert metrics == {}
            continue
        for name, parameter in parameters.items():
            update = (before[name] - parameter).detach()
            rate = 0.2 if name == "extra" else 0.1
            assert metrics[f"l2_norm/grad/{name}"] == pytest.approx(parameter.grad.norm().item())
            assert metrics[f"l2_norm/param/{name}"] == pytest.approx(parameter.norm().item())
            assert metrics[f"l2_norm/update/{name}"] == pytest.approx(update.norm().item(), rel=1e-5)
            assert metrics[f"largest_update/{name}"] == pytest.approx(update.abs().max().item() / rate, rel=1e-5)


def test_no_framework_is_imported_before_it_is_asked_for():
    code = """
import sys
import equipoise.monitor.integrations
found = [name for name in ("transformers", "accelerate", "lightning", "pytorch_lightning", "composer") if name in sys.modules]
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_callback_for_lightning_without_lightning_names_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'equipoise\[lightning\]'"):
        lightning_callback()
