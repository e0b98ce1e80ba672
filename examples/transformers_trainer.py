"""SMES and a monitor inside of the Trainer of transformers: two lines, marked below.

A GPT-2 of 120,000 parameters learns to write Python's own help texts, byte by byte: nothing is downloaded. Norms, biases
and embeddings have Adam's exponent and no decay, all others 1/4. Schedule, clipping, evaluation and checkpoints are the
Trainer's.

Run it: ``python examples/transformers_trainer.py`` (about a minute), and meanwhile, elsewhere, ``equipoise watch runs/gpt2``.
Needs ``pip install 'equipoise[transformers]'``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from pydoc_data.topics import topics

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from equipoise import SMES
from equipoise.balance import presets
from equipoise.monitor import JsonLines, Monitor
from equipoise.monitor.integrations import BEFORE_CLIPPING, follow_trainer, trainer_optimizer

LENGTH = 128


class Text(Dataset[dict[str, Tensor]]):
    def __init__(self, text: str) -> None:
        tokens = torch.tensor(list(text.encode()), dtype=torch.long)
        self.blocks = tokens[: len(tokens) // LENGTH * LENGTH].view(-1, LENGTH)

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.blocks[index], "labels": self.blocks[index]}


class Show(TrainerCallback):
    """Prints what the monitor has seen at every evaluation."""

    def __init__(self, monitored: TrainerCallback) -> None:
        self.monitored = monitored

    def on_evaluate(self, args, state, control, metrics, **kwargs) -> None:
        reading = self.monitored.monitor.last
        ratios = {name: tensor.update_ratio for name, tensor in reading.tensors.items()}
        fastest = max(ratios, key=ratios.__getitem__)
        print(
            f"step {reading.step:4}: loss {reading.metrics['loss']:.3f}, held out {metrics['eval_loss']:.3f},"
            f" gradient norm {reading.metrics[BEFORE_CLIPPING]:.2f} before clipping,"
            f" {fastest} changes most: by {ratios[fastest]:.1e} per step"
        )
        for verdict in self.monitored.monitor.verdicts:
            print(f"      {verdict.severity}: {verdict.message} {verdict.advice}")


def main(steps: int = 400, folder: Path = Path("runs/gpt2")) -> Monitor:
    set_seed(0)
    text = "\n".join(topics.values())
    held_out = len(text) // 10
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=256,
            n_positions=LENGTH,
            n_embd=64,
            n_layer=2,
            n_head=4,
            bos_token_id=0,
            eos_token_id=0,
            embd_pdrop=0.0,
            resid_pdrop=0.0,
            attn_pdrop=0.0,
        )
    )
    arguments = TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        max_steps=steps,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=2,
        learning_rate=5e-3,
        lr_scheduler_type="cosine",
        warmup_steps=steps // 10,
        weight_decay=0.1,
        eval_strategy="steps",
        eval_steps=max(steps // 8, 1),
        save_steps=max(steps // 2, 1),
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=Text(text[held_out:]),
        eval_dataset=Text(text[: min(held_out, 64 * LENGTH)]),
        optimizer_cls_and_kwargs=trainer_optimizer(SMES, arguments, matches=presets(model), exponent=0.25),  # 1: the optimizer
    )
    trainer.remove_callback(PrinterCallback)
    callback = follow_trainer(trainer, partial(Monitor, every=5, sinks=[JsonLines(folder)]))  # 2: the monitor
    trainer.add_callback(Show(callback))
    trainer.train()

    print(f"\nAll readings are in {folder}: equipoise watch {folder}")
    return callback.monitor


if __name__ == "__main__":
    main()
