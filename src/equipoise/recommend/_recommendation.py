"""From evidence to an exponent per parameter group, what it would do to the updates, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from equipoise.hyperparameters import Pair
from equipoise.recommend._balance_numbers import BalanceNumbers, ExponentEffect, balance_numbers, most_demanding
from equipoise.recommend._evidence import Evidence, LayerGradients, NumberName, typical_scale
from equipoise.theory._exponent import scale_degree
from equipoise.theory._region import nearest_stable

DIFFERENT = 0.125
"""Exponents count as different where they lie farther apart than this, which is the step between the arms of a study."""

COMPARED_EXPONENTS = (0.0, 0.125, 0.25, 0.375, 0.5)

WHAT_IT_IS: dict[NumberName, tuple[str, Literal["higher", "lower"]]] = {
    "between": ("The spread between layers", "higher"),
    "within": ("The spread within a layer", "higher"),
    "density": ("How rare some gradients are", "higher"),
    "noise": ("The ratio of signal to noise", "lower"),
}
"""What a balance number is, and where it could move the exponent if it were known."""


@dataclass(frozen=True)
class UpdateSizes:
    """How large the updates of a layer would be at the recommended exponent, relative to Adam's; None where it was not seen.

    Adam has its own learning rate here, the recommended exponent the one that goes with it.
    """

    layer: LayerGradients
    factor: float | None
    """For a coordinate with the gradient scale of the layer."""
    low: float | None
    """For the coordinates with the smallest gradients, without a tenth of them at the end."""
    high: float | None
    """For the coordinates with the largest gradients, without a tenth of them at the end."""


@dataclass(frozen=True)
class Recommendation:
    """An exponent for one parameter group, with the numbers behind it."""

    group: int
    """The number of the parameter group."""
    exponent: float
    lowest: float
    """The lowest exponent that the numbers of any step asked for, of those at which as much was seen."""
    highest: float
    """The highest exponent that keeps updates bounded with these betas, with a tenth of the stability margin to spare."""
    betas: Pair
    adam_lr: float
    """The learning rate at which Adam's updates are as large as those of the run."""
    lr_factor: float
    """What to multiply Adam's learning rate by."""
    numbers: BalanceNumbers
    decided_by: tuple[str, ...]
    """Which of "spread", "density" and "noise" decided; none where exponent 0 is enough."""
    tolerance: float
    """Decades, as asked for."""
    within_tolerance: bool
    """Whether everything that was seen is within the tolerance at this exponent."""
    effects: tuple[ExponentEffect, ...]
    """The effects of 0, 1/8, 1/4, 3/8 and 1/2, as far as they are stable."""
    updates: tuple[UpdateSizes, ...]
    """One for each layer that was compared."""
    doubts: tuple[str, ...]
    """What could move the exponent if more had been seen, in sentences."""

    @property
    def confidence(self) -> Literal["good", "fair", "low"]:
        """Confidence in the balance numbers; which exponent trains best is another question."""
        return "good" if not self.doubts else "fair" if len(self.doubts) == 1 else "low"


def exponents(evidence: Evidence, tolerance: float = 0.3) -> list[Recommendation]:
    """Recommend an exponent for every parameter group that had gradients: the smallest that suffices at every step seen.

    Args:
        evidence: of the gradients of a run.
        tolerance: how far updates may lie apart, in decades (see :func:`equipoise.theory.recommend_exponent`). The default is a
            factor of 2.

    Raises:
        ArgumentError: the tolerance is not positive, or no exponent is stable with the betas of the run.

    Example:
        >>> import tempfile, torch
        >>> from equipoise import recommend
        >>> weights = [torch.nn.Parameter(torch.zeros(2, 2)) for _ in range(2)]
        >>> optimizer = torch.optim.AdamW(weights)
        >>> for weight, scale in zip(weights, [1.0, 1e-4]):
        ...     weight.grad = torch.full((2, 2), scale)
        >>> optimizer.step()
        >>> with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        ...     torch.save(optimizer.state_dict(), file.name)
        ...     evidence = recommend.from_checkpoint(file.name, reference="none")
        >>> [found] = exponents(evidence, tolerance=1.0)
        >>> round(found.numbers.between, 3), round(found.exponent, 3), found.decided_by
        (4.0, 0.375, ('spread',))
    """
    groups = sorted({layer.group for snapshot in evidence.snapshots for layer in snapshot.layers})
    return [_recommendation(evidence, group, tolerance) for group in groups]


def _recommendation(evidence: Evidence, group: int, tolerance: float) -> Recommendation:
    betas, adam_lr = evidence.groups[group].betas, evidence.groups[group].adam_lr
    highest = nearest_stable(*betas, 0.5).exponent
    layers_and_noise = [
        (layers, snapshot.noise[group])
        for snapshot in evidence.snapshots
        if (layers := [layer for layer in snapshot.layers if layer.group == group])
    ]
    numbers_of_steps = [balance_numbers(layers, noise) for layers, noise in layers_and_noise]
    numbers = most_demanding(numbers_of_steps)

    found = numbers.balanced(tolerance, betas, highest)
    as_much_seen = [each for each in numbers_of_steps if each.seen == numbers.seen]
    lowest = min([found.exponent, *(each.balanced(tolerance, betas, highest).exponent for each in as_much_seen)])

    last, _ = layers_and_noise[-1]
    # Without a reference the middle layer keeps the size of its updates.
    unit = typical_scale(last) if evidence.reference == "none" else 1.0
    degree = scale_degree(found.exponent)
    return Recommendation(
        group=group,
        exponent=found.exponent,
        lowest=lowest,
        highest=highest,
        betas=betas,
        adam_lr=adam_lr,
        lr_factor=unit**-degree,
        numbers=numbers,
        decided_by=found.decided_by,
        tolerance=found.tolerance,
        within_tolerance=found.within_tolerance,
        effects=tuple(numbers.effect(exponent, betas) for exponent in COMPARED_EXPONENTS if exponent <= highest),
        updates=tuple(_update_sizes(layer, unit, degree) for layer in last),
        doubts=tuple(_doubts(evidence, numbers, betas, found.exponent, lowest, highest)),
    )


def _update_sizes(layer: LayerGradients, unit: float, degree: float) -> UpdateSizes:
    def factor(scale: float | None) -> float | None:
        return None if scale is None or layer.reference is None else (scale / layer.reference / unit) ** degree

    return UpdateSizes(layer, factor(layer.scale), factor(layer.low), factor(layer.high))


def _doubts(
    evidence: Evidence, numbers: BalanceNumbers, betas: Pair, exponent: float, lowest: float, highest: float
) -> Iterator[str]:
    """What could move the exponent if more had been seen."""
    possible = {"higher": exponent < highest, "lower": exponent > 0}
    for name, (what, direction) in WHAT_IT_IS.items():
        reason, known = (evidence.rough, "known only roughly") if name in numbers.seen else (evidence.unseen, "not known")
        if name in reason and possible[direction]:
            yield f"{what} is {known}: {reason[name]}. The exponent could be {direction}."
    if exponent - lowest > DIFFERENT:
        yield f"The numbers changed with time: at other steps of the run, exponent {lowest:.2f} was enough."
    memory = 1 / (1 - betas[1])
    if evidence.steps is not None and evidence.steps < memory:
        yield f"The numbers cover {evidence.steps:,} steps, fewer than the {memory:,.0f} that beta2 remembers."
