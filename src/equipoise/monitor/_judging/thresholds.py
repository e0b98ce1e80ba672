"""Where verdicts begin."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from equipoise.errors import ArgumentError
from equipoise.hyperparameters import whole_number


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where verdicts begin.

    Raises:
        ArgumentError: a value outside of what is accepted.

    Example:
        >>> Thresholds(spike=8.0).spike
        8.0
    """

    loss: str = "loss"
    """The metric that should fall."""
    validation_loss: str = "validation_loss"
    """The same on data that the model does not learn from."""
    window: int = 50
    """The usual loss is the median of so many readings. More would take longer to forget how high it was at the start."""
    fewest: int = 10
    """Before there are so many readings, nobody knows what is usual."""
    recent: int = 5
    """The present level of the loss is the median of so many readings: one bad batch, or two, are not a divergence."""
    spike: float = 4.0
    """A divergence is so many standard deviations above the usual loss. (The standard deviation is that of a normal
    distribution with the same median absolute deviation.) Healthy training stays below: the tests train on pictures and on
    text."""
    rise: float = 0.1
    """The level must also be a tenth above the usual: the loss of a large batch varies so little that a spike may mean
    nothing."""
    start: float = 5.0
    """So many times the loss at the start of the run is a divergence too: a learning rate that is far too large spoils the very
    first steps, before anything is usual. Batches differ by less, unless the model is nearly perfect on them."""
    recovery: int = 20
    """So many readings a run has, after a rollback, to reach the loss from before it again. It begins with the very same
    weights, so that only other batches or another learning rate keep it from that."""
    jump: float = 3.0
    """So many times everything that it was before is too much for a learning rate, a weight decay or a batch in one step, and
    so many times as long or short a memory for a beta. Warm-ups at most double a learning rate in a step."""
    explosion: float = 100.0
    """So many times its usual size is too much for a gradient: batches differ by less than two decades."""
    vanishing: float = 1e-4
    """An update below this share of the median tensor's is too small: in healthy networks all updates lie within three decades,
    even at an exponent of 0."""
    persistence: int = 5
    """So many readings in a row must show what a single batch may cause: a tensor without a gradient, or with hardly any."""
    bound_slack: float = 0.05
    """An update may exceed its bound by this share, because moments in bfloat16 are rounded by up to 1/256, over and over.
    Nothing else exceeds the bound."""
    overfitting: float = 0.02
    """The validation loss must have risen by this share of its least value: less is noise between validations."""
    validations: int = 3
    """So many validations in a row must show it, for the same reason."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int":
                whole_number(field.name, value)
            if field.type == "float" and not 0 < value < math.inf:
                raise ArgumentError(field.name, value, "a positive finite number")
