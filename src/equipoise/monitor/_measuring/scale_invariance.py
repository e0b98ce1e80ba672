r"""Which parameters of a model are scale-invariant: those whose norm :func:`equipoise.theory.norm_motion` predicts.

f(cW) = f(W) for every c > 0 implies <W, grad f(W)> = 0 and grad f(cW) = grad f(W) / c. All three are measured, because the
first two are also met, nearly, by a large tensor that matters little: doubling one layer of a deep network hardly changes the
loss, and two random directions in N dimensions have a cosine of N^(-1/2). The third then fails by about 1: where the loss is
about linear in W, its gradient does not depend on |W|.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from equipoise.errors import ArgumentError
from equipoise.optim._state import as_real

SCALES = (2.0, 0.5)
"""Powers of two: scaling by them rounds nothing, in any precision, so that what is left of a change is the model's."""


class ScaleVerdict(Enum):
    """What the probe says of a parameter. The values are the words that users read."""

    INVARIANT = "scale-invariant"
    NOT_INVARIANT = "not scale-invariant"
    NO_INFLUENCE = "no influence to measure"
    """|W| |grad|, to first order the most that the loss can change when W moves by its own length, is below the square root of
    the rounding (float32: 0.03 %) of the loss: W is 0, or does not matter, as a bias that BatchNorm subtracts again."""


@dataclass(frozen=True)
class ScaleInvariance:
    """What the probe measured of one parameter W."""

    verdict: ScaleVerdict
    change: float
    """The larger of |f(cW) - f(W)| / |f(W)| for c = 2 and c = 1/2."""
    cosine: float
    """<W, grad> / (|W| |grad|), over all elements; 0 where W or the gradient is 0."""
    gradient_change: float
    """The larger of |c grad f(cW) - grad f(W)| / |grad f(W)| for the same two c; 0 where the gradient is 0."""


def probe_scale_invariance(
    model: nn.Module, loss: Callable[[nn.Module], Tensor], *, tolerance: float = 0.05
) -> dict[str, ScaleInvariance]:
    """Measure, for every trained parameter W of a model, whether the loss f depends on the scale of W.

    A parameter is scale-invariant if the change of the loss, the cosine and the change of the gradient are all within the
    tolerance. It is not 0 because the eps of a normalization layer breaks the invariance by a few eps / variance of what it
    normalizes, and low precision by its rounding. Small networks on digits, at the start: at most 0.004 (bfloat16 0.03) for
    what is scale-invariant, and for the rest a change of the gradient of 0.2 to 3.

    The model is probed in its present mode: in training a BatchNorm normalizes by the batch; in evaluation it does not,
    and nothing before it is scale-invariant. It is left as it was, also when the loss raises: parameters, `.grad`, buffers,
    training flags, and the state of torch's random numbers. Every evaluation starts from that state, so that dropout draws the
    same masks. Costs two evaluations and backward passes per parameter, and the memory of a second copy of the model.

    Args:
        model: every parameter with `requires_grad` is probed. A tied one is scaled wherever it is used, and reported once.
        loss: maps the model to a scalar, always on the same data, for example ``lambda model: cross_entropy(model(x), y)``. It
            reaches the parameters through the model, and does not call ``backward``.
        tolerance: the most that each of the three may be.

    Returns:
        One result per parameter, by its name in ``model.named_parameters()``.

    Raises:
        ArgumentError: a tolerance outside of (0, 1), or a loss that is not a finite scalar other than 0, does not depend on the
            model, or differs when it is evaluated again.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
        >>> x, y = torch.randn(64, 4), torch.randn(64, 1)
        >>> found = probe_scale_invariance(model, lambda model: nn.functional.mse_loss(model(x), y))
        >>> for name, result in found.items():
        ...     print(name, result.verdict.value)
        0.weight scale-invariant
        0.bias no influence to measure
        1.weight not scale-invariant
        1.bias no influence to measure
        3.weight not scale-invariant
        3.bias not scale-invariant
    """
    if not 0 < tolerance < 1:
        raise ArgumentError("tolerance", tolerance, "in (0, 1)")
    probe = _Probe(model, loss)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    base, gradients = probe.evaluate(names)
    if not 0 < abs(base) < math.inf:
        raise ArgumentError("loss", loss, f"a function that returns a finite number other than 0 (here it returned {base})")
    again, _ = probe.evaluate([])
    # Sums in another order differ by rounding; other data or masks differ by far more than a part of the tolerance.
    if abs(again - base) > 0.1 * tolerance * abs(base):
        raise ArgumentError("loss", loss, f"the same whenever torch's random state is (here {base:g}, then {again:g})")
    return {name: probe.judge(name, base, gradient, tolerance) for name, gradient in zip(names, gradients, strict=True)}


class _Probe(nn.Module):
    """The loss of a model as a module: torch can call it with other tensors in the place of parameters and buffers."""

    def __init__(self, model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self) -> Tensor:
        return self.loss(self.model)

    def evaluate(self, names: list[str], scale: float = 1.0) -> tuple[float, list[Tensor]]:
        """The loss with these parameters scaled, and its gradient for each. What the loss changes is put back."""
        tensors = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        for name, parameter in self.model.named_parameters():
            copy = parameter.detach().clone()
            tensors[name] = (scale * copy if name in names else copy).requires_grad_(parameter.requires_grad)
        devices = {tensor.device for tensor in tensors.values() if tensor.device.type != "cpu"}
        flags = {module: module.training for module in self.model.modules()}
        stand_ins = {f"model.{name}": tensor for name, tensor in tensors.items()}
        try:
            with torch.enable_grad(), torch.random.fork_rng(devices):  # pyright: ignore[reportUnknownMemberType]
                value: Any = functional_call(self, stand_ins, ())
        finally:
            for module, training in flags.items():
                module.training = training
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
            raise ArgumentError(
                "loss", self.loss, "a function of the model that returns a tensor of one element, with a gradient"
            )
        inputs = [tensors[name] for name in names]
        # With no inputs torch would differentiate for all leaves, and fill their .grad.
        gradients = torch.autograd.grad(value, inputs, allow_unused=True, materialize_grads=True) if inputs else ()
        return float(value.detach()), [as_real(gradient.to_dense()) for gradient in gradients]

    def judge(self, name: str, base: float, gradient: Tensor, tolerance: float) -> ScaleInvariance:
        """Probe one parameter; `base` and `gradient` are the loss and its gradient where the parameter is."""
        weight = as_real(self.model.get_parameter(name).detach())
        dtype = torch.promote_types(weight.dtype, torch.float32)
        w, g = weight.to(dtype).flatten(), gradient.to(dtype).flatten()
        size = _norm(g)
        influence = _norm(w) * size
        changes, gradient_changes = [0.0], [0.0]
        for scale in SCALES:
            value, (there,) = self.evaluate([name], scale)
            changes.append(abs(value - base) / abs(base))
            if size:
                gradient_changes.append(_norm(scale * there.to(dtype).flatten() - g) / size)
        # Unlike Python's own, torch's maximum of something with a NaN is NaN, which is within no tolerance.
        change, gradient_change = (float(torch.tensor(values).max()) for values in (changes, gradient_changes))
        cosine = float(w @ g) / influence if influence else 0.0
        if influence <= math.sqrt(torch.finfo(weight.dtype).eps) * abs(base):
            verdict = ScaleVerdict.NO_INFLUENCE
        elif change <= tolerance and abs(cosine) <= tolerance and gradient_change <= tolerance:
            verdict = ScaleVerdict.INVARIANT
        else:
            verdict = ScaleVerdict.NOT_INVARIANT
        return ScaleInvariance(verdict, change, cosine, gradient_change)


def _norm(vector: Tensor) -> float:
    return float(torch.linalg.vector_norm(vector))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
