"""A reading: what was measured of a training run at one step, in plain numbers, which sinks keep and verdicts judge."""

from __future__ import annotations

from dataclasses import dataclass

NAME_LENGTH = 1000
"""So many characters the name of a run, a metric or a tensor may have."""


@dataclass(frozen=True, slots=True)
class TensorReading:
    """One parameter tensor, the whole of it where it is sharded: gradient g, update u (what lr multiplies), parameter theta."""

    gradient_rms: float
    """The root mean square of g, as the optimizer used it: after unscaling and clipping."""
    update_rms: float
    """The root mean square of u. For optimizers of other makers whose state does not tell it, u is the change of theta per
    learning rate, weight decay included."""
    parameter_rms: float
    """The root mean square of theta after the step."""
    update_ratio: float
    """|lr u| / |theta|; infinite where theta is 0 and u is not, 0 where both are."""
    largest_update: float
    """max |u|; NaN where one is."""
    bound: float
    """The update bound: the largest max |u| that gradients can cause; infinite where there is none, or where it is not
    known."""
    zero_fraction: float
    """The share of the elements of g that are 0."""
    nonfinite_fraction: float
    """The share of the elements of g that are infinite or NaN."""
    second_moment: float
    """The mean of the first stage's second moment after the step, bias-corrected where the theory knows the optimizer; NaN
    where the optimizer keeps none."""
    norm_ratio: float
    """|theta| / the norm that its updates predict, where theta is known to be scale-invariant; NaN elsewhere."""


@dataclass(frozen=True, slots=True)
class Jump:
    """A setting that is far beyond everything that it was before."""

    name: str
    """As "lr of group 0", "beta2 of group 1", "weight_decay of group 0" or "batch_size"."""
    before: float
    """The highest value so far, or for betas the value in the step before."""
    now: float


@dataclass(frozen=True, slots=True)
class GroupReading:
    """One parameter group: the hyperparameters of the step, and what follows from them and from its tensors."""

    lr: float
    """NaN where the optimizer has none."""
    exponent: tuple[float, ...]
    """One per stage; none for an optimizer that the theory does not know."""
    betas: tuple[tuple[float, float], ...]
    """One pair per stage."""
    margin: float
    """The stability margin of the stage that decides, in nats per step. Positive is stable; NaN without a stage."""
    margin_ahead: float
    """The least margin from here on along the known schedules; the present one where there is none."""
    gradient_spread: float
    """Decades between the scales of the tensors' gradients, sqrt(second_moment) or, where there is none, gradient_rms; 0 with
    fewer than two that had any."""
    update_spread: float
    """Decades between the update RMS of the tensors; 0 with fewer than two that moved."""


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
    """The parameters that had a gradient, by name."""
    jumps: tuple[Jump, ...] = ()
    """The settings that jumped before this step."""
    loop_step: int = 0
    """How many steps the training loop has made, counting those that a rollback undid; 0 where that is not known."""
