"""What was seen of a training run at one step: plain numbers, which sinks keep and verdicts judge."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorReading:
    """One parameter tensor, the whole of it where it is sharded: gradient g, update u (what lr multiplies), parameter theta."""

    gradient_rms: float
    """The root mean square of g, as the optimizer used it: after unscaling and clipping."""
    update_rms: float
    """The root mean square of u."""
    parameter_rms: float
    """The root mean square of theta after the step."""
    update_ratio: float
    """|lr u| / |theta|, without weight decay; infinite where theta is 0 and u is not, 0 where both are."""
    largest_update: float
    """max |u|; NaN where one is."""
    bound: float
    """What E5 allows max |u| to be; infinite where it allows anything, or where that cannot be known."""
    zero_fraction: float
    """Of the elements of g, those that are 0."""
    nonfinite_fraction: float
    """Of the elements of g, those that are infinite or NaN."""
    second_moment: float
    """The mean of the first stage's second moment after the step, bias-corrected."""
    norm_ratio: float
    """|theta| / the norm that E8 predicts, where theta is known to be scale-invariant; NaN elsewhere."""


@dataclass(frozen=True, slots=True)
class GroupReading:
    """One parameter group: the hyperparameters of the step, and what they and its tensors amount to."""

    lr: float
    exponent: tuple[float, ...]
    """One per stage."""
    betas: tuple[tuple[float, float], ...]
    """One pair per stage."""
    margin: float
    """Of E4, in nats per step: that of the stage that decides. Positive is stable."""
    margin_ahead: float
    """The least margin from here on along the known schedules; the present one where there is none."""
    gradient_spread: float
    """Decades between the scales of the tensors' gradients, sqrt(second_moment) (E7); 0 with fewer than two that had any."""
    update_spread: float
    """Decades between the update RMS of the tensors (E7); 0 with fewer than two that moved."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A whole model at one step."""

    step: int
    """Counted from 1: how often the monitor was told that a step had ended."""
    time: float
    """Seconds since the epoch."""
    made: bool
    """Whether the optimizer made its step. Where it did not, as when a GradScaler skipped it, `tensors` is empty."""
    metrics: dict[str, float]
    """The loss, and whatever else was given; what is not finite stays so."""
    groups: tuple[GroupReading, ...]
    tensors: dict[str, TensorReading]
    """By name; only those that had a gradient."""
