"""One training run: a small network predicts a number from the columns of a table.

Replace what says YOUR. All random numbers follow from the seed of the trial, which is set before train is called.
"""

import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.nn import functional

BATCH = 32


def load_data():
    """YOUR DATA: columns and targets for training, for validation and for the test."""
    columns, progress = load_diabetes(return_X_y=True)  # 442 patients: 10 numbers, and how their disease went on
    columns = torch.tensor(columns, dtype=torch.float32)
    targets = torch.tensor(progress, dtype=torch.float32)[:, None]
    training, validation, test = torch.randperm(len(targets)).split([262, 80, 100])

    def standardized(values):
        return (values - values[training].mean(0)) / values[training].std(0)  # by what training may know

    columns, targets = standardized(columns), standardized(targets)
    return [(columns[part], targets[part]) for part in (training, validation, test)]


def make_model():
    """YOUR MODEL."""
    return nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))


def error(model, columns, targets):
    """YOUR METRIC: the root of the mean squared error, in standard deviations of the target."""
    return functional.mse_loss(model(columns), targets).sqrt()


def train(trial):
    """Train once: the study calls this for every trial, each in a process of its own."""
    (columns, targets), validation, test = load_data()
    model = make_model()
    # The optimizer and the schedule of this arm, with the hyperparameters of this trial:
    optimizer = trial.optimizer(model)
    steps = trial.total_epochs * len(range(0, len(targets), BATCH))
    scheduler = trial.scheduler(optimizer, steps, default="cosine")
    # A trial that was interrupted goes on after its last finished epoch:
    trial.resume(model=model, optimizer=optimizer, scheduler=scheduler)
    for _ in trial.epochs():
        model.train()
        for batch in torch.randperm(len(targets)).split(BATCH):
            loss = functional.mse_loss(model(columns[batch]), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        model.eval()
        with torch.no_grad(), trial.evaluation():
            trial.report(
                loss=loss,
                validation_error=error(model, *validation),  # select_by in the study file
                error=error(model, *test),  # metric in the study file
            )
