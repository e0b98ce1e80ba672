"""One training run: a small transformer learns the next character of a text.

Replace what says YOUR. All random numbers follow from the seed of the trial, which is set before train is called.
"""

import argparse
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

CONTEXT, WIDTH, BATCH, STEPS = 32, 64, 16, 25  # so many steps count as one epoch


def load_data():
    """YOUR DATA: the characters of a text for training, for validation and for the test, as numbers below 128."""
    text = Path(argparse.__file__).read_bytes()  # a text that every Python brings: 100,000 characters of ASCII
    characters = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    return characters.tensor_split([len(text) * 8 // 10, len(text) * 9 // 10])


class Model(nn.Module):
    """YOUR MODEL: from characters (batch, context) to scores of the following ones (batch, context, 128)."""

    def __init__(self):
        super().__init__()
        self.character = nn.Embedding(128, WIDTH)
        self.position = nn.Embedding(CONTEXT, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, nhead=4, dim_feedforward=256, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, 128)

    def forward(self, characters):
        """The scores."""
        x = self.character(characters) + self.position.weight
        return self.head(self.blocks(x, mask=nn.Transformer.generate_square_subsequent_mask(CONTEXT), is_causal=True))


def sample(text, count):
    """Windows of a text at random places, and the characters that follow theirs."""
    places = torch.randint(len(text) - CONTEXT, (count, 1)) + torch.arange(CONTEXT + 1)
    return text[places[:, :-1]], text[places[:, 1:]]


def loss_of(model, inputs, following):
    """YOUR METRIC: the cross-entropy, in nats per character."""
    return functional.cross_entropy(model(inputs).flatten(0, 1), following.flatten())


def train(trial):
    """Train once: the study calls this for every trial, each in a process of its own."""
    text, *unseen = load_data()
    validation, test = (sample(part, 200) for part in unseen)
    model = Model()
    # The optimizer and the schedule of this arm, with the hyperparameters of this trial:
    optimizer = trial.optimizer(model)
    scheduler = trial.scheduler(optimizer, trial.total_epochs * STEPS, default="cosine")
    # A trial that was interrupted goes on after its last finished epoch:
    trial.resume(model=model, optimizer=optimizer, scheduler=scheduler)
    for _ in trial.epochs():
        model.train()
        for _ in range(STEPS):
            loss = loss_of(model, *sample(text, BATCH))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        model.eval()
        with torch.no_grad(), trial.evaluation():
            trial.report(
                loss=loss,
                validation_loss=loss_of(model, *validation),  # select_by in the study file
                test_loss=loss_of(model, *test),  # metric in the study file
            )
