"""KAdam and a monitor inside of Lightning: one callback, marked below.

A small network learns to read handwritten digits (the 1,797 images that come with scikit-learn). Lightning accumulates
gradients, clips them and validates; the monitor reads what the optimizer makes of it, and continues from a checkpoint: the
second half of the training is a second fit.

Run it: ``python examples/lightning_module.py`` (about a minute), and meanwhile, elsewhere, ``equipoise watch runs/lightning``.
Needs ``pip install 'equipoise[lightning,study]'``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import lightning.pytorch as lightning
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from equipoise import KAdam
from equipoise.monitor import JsonLines, Monitor
from equipoise.monitor.integrations import BEFORE_CLIPPING, lightning_callback


class Digits(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(256, 10),
        )

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        return nn.functional.cross_entropy(self.layers(images), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        logits = self.layers(images)
        self.log("val_loss", nn.functional.cross_entropy(logits, labels))
        self.log("val_accuracy", (logits.argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> KAdam:
        return KAdam(self.parameters(), lr=1e-3, weight_decay=0.01, k=2)


class Show(lightning.Callback):
    """Prints what the monitor has seen at the end of every fifth epoch, and of those in which something was wrong."""

    def __init__(self, monitored: lightning.Callback) -> None:
        self.monitored = monitored

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        reading, verdicts = self.monitored.monitor.last, self.monitored.monitor.verdicts
        if trainer.current_epoch % 5 != 4 and not verdicts:
            return
        largest = max(tensor.largest_update / tensor.bound for tensor in reading.tensors.values())
        print(
            f"epoch {trainer.current_epoch:3}, step {reading.step:4}: loss {reading.metrics['loss']:.4f},"
            f" held out {trainer.callback_metrics['val_loss']:.4f} ({trainer.callback_metrics['val_accuracy']:.1%} right),"
            f" gradient norm {reading.metrics[BEFORE_CLIPPING]:.2f} before clipping,"
            f" updates at {largest:.0%} of their bound"
        )
        for verdict in verdicts:
            print(f"      {verdict.severity}: {verdict.message} {verdict.advice}")


def fit(epochs: int, folder: Path, checkpoint: Path | None = None) -> lightning.Trainer:
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    whole = TensorDataset(images, torch.tensor(digits.target))
    training, held_out = random_split(whole, [1440, 357], torch.Generator().manual_seed(0))
    watched = lightning_callback(partial(Monitor, every=5, sinks=[JsonLines(folder)]))  # here
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accumulate_grad_batches=2,
        gradient_clip_val=1.0,
        callbacks=[watched, Show(watched)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    batches, validation = DataLoader(training, 32, shuffle=True), DataLoader(held_out, 357)
    trainer.fit(Digits(), batches, validation, ckpt_path=checkpoint, weights_only=True)
    return trainer


def main(epochs: int = 60, folder: Path = Path("runs/lightning")) -> Monitor:
    lightning.seed_everything(0)
    half = fit(epochs // 2, folder)
    half.save_checkpoint(folder / "half.ckpt")
    monitor = fit(epochs, folder, folder / "half.ckpt").callbacks[0].monitor
    print(f"\n{monitor.steps} steps in two fits. All readings are in {folder}: equipoise watch {folder}")
    return monitor


if __name__ == "__main__":
    main()
