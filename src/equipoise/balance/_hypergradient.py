r"""How the loss after a step depends on the exponent of that step, and a controller that descends it.

theta_t = theta_(t-1) (1 - lr wd) - lr u(p) with u = m_hat / (w + eps), w = R^(1/2 - p) v_hat^p, and R is held. Then
dw/dp = w ln(v_hat / R), and with g the gradient at theta_t::

    d loss / dp = <g, -lr du/dp> = lr <g, u ln(v_hat / R) w / (w + eps)>

At eps = 0 that is lr <g, u ln(v_hat / R)>. With several stages p is the exponent of the last one, into which the others
only feed. Where an objective is maximized, the loss is its negative.

Source: the idea is that of Baydin et al., arXiv 1703.04782, for the learning rate; this derivative is derived here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from equipoise import rules
from equipoise.balance._control_laws import hypergradient_law
from equipoise.balance._controller import Controller
from equipoise.errors import ArgumentError
from equipoise.hyperparameters import whole_number
from equipoise.optim import _sharding as sharding
from equipoise.optim._groups import values_for_step
from equipoise.optim._state import memories_of, view_of

BLOCK = 1 << 16
"""So many elements at a time on the CPU: their temporaries stay in cache."""


def hypergradient(gradient: Tensor, memory: rules.Memory, step: rules.Step) -> Tensor:
    """d loss / d exponent of the last stage, for one tensor, as a float64 of no dimension.

    A second moment that has underflowed to 0 counts as the smallest normal number, for its logarithm.

    Args:
        gradient: of the loss after the step, any shape.
        memory: of the last stage after the step, of that shape.
        step: that was made.

    Example:
        Uphill, larger updates make it worse. Here v < R, so that a larger exponent makes them larger:

        >>> sgd = rules.Step(1, lr=0.1, stages=[rules.Stage(0.0, 0.0, 0.0)])
        >>> after = rules.Memory(torch.tensor([0.5]), torch.tensor([0.25]), torch.ones(rules.REFERENCE_STEPS))
        >>> round(float(hypergradient(torch.tensor([-2.0]), after, sgd)), 4)
        0.1386
    """
    beta1, _, _ = step.stages[-1]
    total = torch.zeros((), dtype=torch.float64, device=gradient.device)
    size = BLOCK if gradient.device.type == "cpu" else max(gradient.numel(), 1)
    g, m, v = (tensor.reshape(-1) for tensor in (gradient, memory.m, memory.v))
    for start in range(0, g.numel(), size):
        block = slice(start, start + size)
        total += _slope_of_block(g[block], memory._replace(m=m[block], v=v[block]), step)
    lr = -step.lr if step.maximize else step.lr
    return total * (lr / rules.correction(beta1, step.number - memory.m_born))


def _slope_of_block(gradient: Tensor, memory: rules.Memory, step: rules.Step) -> Tensor:
    """<g, m ln(v_hat / R) w / (w + eps)^2>."""
    _, beta2, exponent = step.stages[-1]
    precision = torch.promote_types(memory.m.dtype, torch.float32)
    v_hat = memory.v.to(precision) / rules.correction(beta2, step.number - memory.v_born)
    # Without a reference R is 1; while it is 0 no gradient was seen, every m is 0, and any other will do.
    reference = 1.0 if memory.squares is None else float(rules.reference(memory.squares)) or 1.0
    inverse = rules.normalize(1.0, v_hat, exponent, step.eps, reference ** (0.5 - exponent))  # 1 / (w + eps)
    factor = torch.addcmul(inverse, inverse, inverse, value=-step.eps)  # w / (w + eps)^2
    logarithm = v_hat.clamp_min_(torch.finfo(precision).tiny).div_(reference).log_()
    return torch.dot(gradient.to(precision) * memory.m.to(precision), factor.mul_(logarithm))


class HypergradientController(Controller):
    r"""Descends the loss in the exponent of each group: the derivative of the loss after a step by the exponent of that step.

    Every so many steps it computes ``hypergradient`` for each of its groups, with the values that the step used, and moves
    the exponent by ``hypergradient_law`` of ``_control_laws.py``. It sees one step ahead and no further. Without a
    reference scale the exponent changes the size of updates above all: what is found is a learning rate rather than a balance.

    The gradients are those that the next step is about to use: of the loss after the step, on other data. They must be there
    when ``step()`` is called, not computed by a closure.

    Args:
        optimizer: an :class:`~equipoise.Equipoise`.
        bounds: of the exponent.
        rate: the largest change at a time.
        every: steps between measurements. One takes as long as 5 to 11 steps of the fused CPU kernel
            (``benchmarks/controllers.py``). In a run of a few thousand steps that is worth it more often.
        gradients: a function that returns the gradients of a validation loss, one per parameter in the order of the groups
            (None where there is none), as ``torch.autograd.grad`` does. It must leave ``.grad`` alone.
        groups: numbers of the parameter groups whose exponents move; None is all.

    Raises:
        ArgumentError: an argument outside of what is accepted.

    Example:
        While the gradient stays the same larger updates are better. The steep coordinate counts most; its v is above R, so
        that a smaller exponent makes its updates larger:

        >>> from equipoise import SMES
        >>> weight = torch.nn.Parameter(torch.tensor([1.0, 100.0]))
        >>> optimizer = SMES([weight], lr=1e-3)
        >>> controller = HypergradientController(optimizer, every=1)
        >>> for _ in range(3):
        ...     weight.grad = torch.tensor([1.0, 1e-3])
        ...     optimizer.step()
        >>> [round(decision.after, 3) for decision in controller.history]
        [0.2, 0.15]
    """

    reading = "hypergradient"

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        bounds: tuple[float, float] = (0.0, 0.5),
        rate: float = 0.05,
        every: int = 400,
        gradients: Callable[[], Sequence[Tensor | None]] | None = None,
        groups: Sequence[int] | None = None,
    ) -> None:
        super().__init__(optimizer, bounds, rate, groups)
        whole_number("every", every)
        self.every = every
        self._gradients = gradients
        self._averages: dict[int, tuple[float, float, int]] = dict.fromkeys(self.groups, (0.0, 0.0, 0))
        """By group: both averages of its hypergradients, as its law keeps them, and how many there were."""
        self._noted: dict[int, dict[str, Any]] = {}
        """What the step that is to be judged used: values of each group, and which of its parameters took part."""
        self._handles = [optimizer.register_step_pre_hook(self._before)]

    def state_dict(self) -> dict[str, Any]:
        """What the next decisions depend on, and the history, in plain values."""
        return {**super().state_dict(), "averages": dict(self._averages), "noted": dict(self._noted)}

    def _load(self, state_dict: Mapping[str, Any]) -> None:
        self._averages, self._noted = dict(state_dict["averages"]), dict(state_dict["noted"])

    def _before(self, _: Any, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        if (closure := named.get("closure", (*arguments, None)[1])) is not None:
            raise ArgumentError("closure", closure, "None: the hypergradient needs the gradients before step() is called")
        self.steps += 1
        if self._noted:
            with torch.no_grad():
                self._judge()
        self._noted = {number: self._note(number) for number in self.groups} if self.steps % self.every == 0 else {}

    def _note(self, number: int) -> dict[str, Any]:
        """What the coming step uses and will not leave behind."""
        group = self._group(number)
        kept = {name: group[name] for name in ("betas", "eps", "exponent", "maximize")}
        return {**kept, "lr": float(group["lr"]), "moving": [parameter.grad is not None for parameter in group["params"]]}

    def _judge(self) -> None:
        """Every group by the step that was noted, with the gradients of now."""
        gradients = self._present_gradients()
        slopes: list[Tensor] = []
        sources: list[tuple[int, Tensor]] = []
        for number in self.groups:
            group, noted = self._group(number), self._noted[number]
            step = values_for_step({**group, **noted}).step
            for parameter, moving in zip(group["params"], noted["moving"], strict=True):
                gradient = gradients[parameter]
                if gradient is None or not moving:  # the loss does not depend on it
                    continue
                state, view = self.optimizer.state[parameter], view_of(parameter)
                seen = view.of(sharding.aligned(gradient, parameter))
                memory = memories_of(state, view, group)[-1]
                slopes.append(hypergradient(seen, memory, step._replace(number=state["step"].item())).cpu())
                sources.append((number, parameter))
        here = torch.stack(slopes) if slopes else torch.zeros(0)
        whole = sharding.of_whole_tensors(here, [parameter for _, parameter in sources], lambda shards: shards.sum(0))
        for number in self.groups:
            slope = math.fsum(float(value) for (owner, _), value in zip(sources, whole, strict=True) if owner == number)
            self._follow(number, slope)

    def _present_gradients(self) -> dict[Tensor, Tensor | None]:
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        if self._gradients is None:
            return {parameter: parameter.grad for parameter in parameters}
        with torch.enable_grad():
            given = self._gradients()
        shapes = [None if gradient is None else tuple(gradient.shape) for gradient in given]
        if len(given) != len(parameters) or any(
            shape not in (None, parameter.shape) for shape, parameter in zip(shapes, parameters, strict=True)
        ):
            expected = [tuple(parameter.shape) for parameter in parameters]
            accepted = f"a function that returns one gradient, or None, per parameter, of the shapes {expected}"
            raise ArgumentError("gradients", shapes, accepted)
        return dict(zip(parameters, given, strict=True))

    def _follow(self, number: int, slope: float) -> None:
        if not math.isfinite(slope):
            self._keep(number, slope)
            return
        m, v, observations = self._averages[number]
        wanted, after = hypergradient_law(
            self.exponent(number), slope, rules.Memory(m, v), observations=observations + 1, rate=self.rate
        )
        self._averages[number] = (after.m, after.v, observations + 1)
        self._decide(number, wanted, slope)
