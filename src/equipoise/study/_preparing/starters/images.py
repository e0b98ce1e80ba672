"""One training run: a small convolutional network learns handwritten digits.

Replace what says YOUR. All random numbers follow from the seed of the trial, which is set before train is called.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

BATCH = 64


def load_data():
    """YOUR DATA: images and labels for training, for validation and for the test."""
    pixels, labels = load_digits(return_X_y=True)  # 1,797 images of 8 x 8 pixels
    images = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    labels = torch.tensor(labels)
    return [(images[part], labels[part]) for part in torch.randperm(len(labels)).split([1200, 200, 397])]


def make_model():
    """YOUR MODEL."""
    return nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 10),
    )


def accuracy(model, images, labels):
    """YOUR METRIC: the share of the images that are recognised."""
    return (model(images).argmax(1) == labels).float().mean()


def train(trial):
    """Train once: the study calls this for every trial, each in a process of its own."""
    (images, labels), validation, test = load_data()
    model = make_model()
    # The optimizer and the schedule of this arm, with the hyperparameters of this trial:
    optimizer = trial.optimizer(model)
    steps = trial.total_epochs * len(range(0, len(labels), BATCH))
    scheduler = trial.scheduler(optimizer, steps, default="cosine")
    # A trial that was interrupted goes on after its last finished epoch:
    trial.resume(model=model, optimizer=optimizer, scheduler=scheduler)
    for _ in trial.epochs():
        model.train()
        for batch in torch.randperm(len(labels)).split(BATCH):
            loss = functional.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        model.eval()
        with torch.no_grad(), trial.evaluation():
            trial.report(
                loss=loss,
                validation_accuracy=accuracy(model, *validation),  # select_by in the study file
                accuracy=accuracy(model, *test),  # metric in the study file
            )
