"""What a verdict on a run is, where verdicts begin, and since when something holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

from equipoise.errors import ArgumentError
from equipoise.hyperparameters import whole_number


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that is wrong."""

    kind: str
    severity: Literal["trouble", "warning"]
    """Trouble spoils the parameters, or has: a guard acts. A person should know of a warning."""
    step: int
    """Of the newest reading."""
    since: int
    """The step of the first reading from which it has held without a break, as far back as readings are kept."""
    where: tuple[str, ...]
    """Names of tensors, or "group 0"; empty where it is the run."""
    confidence: float
    """In [0, 1]; each kind says how it comes to it."""
    message: str
    """What, with numbers."""
    advice: str
    """What to do."""


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
    """So many readings tell what is usual of the loss. More would take longer to forget how high it was at the start."""
    fewest: int = 10
    """Before there are so many, what is usual is not known."""
    recent: int = 5
    """The median of so many is the level of now: one bad batch, or two, are not a divergence."""
    spike: float = 4.0
    """Standard deviations above the usual, of a normal distribution with the same median absolute deviation. Healthy
    training stays below, noisy as it is: the tests train on pictures and on text."""
    rise: float = 0.1
    """The level must also be a tenth above the usual: the loss of a large batch is so quiet that a spike may mean nothing."""
    start: float = 5.0
    """Times the loss at the start of the run: a learning rate that is far too large spoils the very first steps, before there
    is a usual. The batches of one and the same model differ by less, unless it is nearly perfect on them."""
    explosion: float = 100.0
    """Times the usual size of a gradient: two decades are more than batches differ by."""
    vanishing: float = 1e-4
    """Of the median tensor's update: in healthy networks tensors lie within three decades, even at an exponent of 0."""
    persistence: int = 5
    """Readings in a row for what a single batch may cause: a tensor without a gradient, or with hardly any."""
    bound_slack: float = 0.05
    """Moments in bfloat16 are rounded by up to 1/256, over and over. Nothing else exceeds E5."""
    overfitting: float = 0.02
    """Of its least value, so much must the validation loss have risen: less is noise between validations."""
    validations: int = 3
    """In a row, for the same reason."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int":
                whole_number(field.name, value)
            if field.type == "float" and not 0 < value < math.inf:
                raise ArgumentError(field.name, value, "a positive finite number")


def first_of(count: int, holds: Callable[[int], bool]) -> int:
    """The index from which something holds without a break up to the last of `count`; `count` where it does not hold there.

    Example:
        >>> first_of(4, lambda index: [True, False, True, True][index])
        2
    """
    first = count
    while first > 0 and holds(first - 1):
        first -= 1
    return first
