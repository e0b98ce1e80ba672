"""Messages that lie in the folder for data: is it spam?"""

from __future__ import annotations

import torch
from torch import nn

from equipoise.study._data import Mail, load, require
from equipoise.study._tasks.training import Examples, accuracy, cross_entropy, split, train
from equipoise.study._worker import Trial


def mail(trial: Trial) -> None:
    """Whether a message is spam, by the mean of the embeddings of its words; reports accuracy.

    Most words are rare: half of them are in four messages or fewer, so that in most steps their embeddings have no gradient.
    """
    found = load(trial.data(require("mail")), Mail)
    messages = Examples(torch.as_tensor(found.words), torch.as_tensor(found.labels).long())
    network = nn.Sequential(nn.EmbeddingBag(int(found.words.max()) + 1, 32, padding_idx=0), nn.Linear(32, 2))
    sixth = len(found.labels) // 6
    train(trial, network, split(messages, len(found.labels) - 2 * sixth, sixth, 32), cross_entropy, accuracy)
