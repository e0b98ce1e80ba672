"""Controllers that take readings from the scale of gradients and from losses."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from equipoise import rules
from equipoise.balance._control_laws import gap_law, spread_law
from equipoise.balance._controller import Controller
from equipoise.errors import ArgumentError
from equipoise.hyperparameters import Hyperparameters, whole_number
from equipoise.optim._optimizer import Equipoise
from equipoise.optim._telemetry import MEASURING, Measures, Telemetry
from equipoise.theory._exponent import scale_degree


class SpreadController(Controller):
    r"""Keeps the updates of layers within a number of decades of each other.

    Every so many steps it reads, with :class:`~equipoise.Telemetry`, the mean second moment of every tensor in its
    groups: the scale of its gradients, over the memory of beta2. If the largest and the smallest scale are S decades apart,
    updates are (1 - 2p) S decades apart (see "Balance numbers" in docs/equations.md). ``spread_law`` of ``_control_laws.py``
    keeps that within the tolerance, for each group by its own exponent. A tensor that never had a gradient has no scale and
    does not count.

    Updates also lie apart for reasons that no exponent changes, as how much of a gradient is noise, which momentum averages
    out: these are left alone.

    A reference divides the scale of a tensor out: with "initial" updates spread only as far as gradients have moved apart since
    it was taken.

    Args:
        optimizer: an :class:`~equipoise.Equipoise`.
        tolerance: decades between updates.
        bounds: of the exponent.
        rate: the largest change at a time.
        every: steps between measurements.
        groups: numbers of the parameter groups whose tensors are compared and whose exponents move; None is all. Leave
            out norms, biases and embeddings that have an exponent of their own: their gradients differ for other reasons.

    Raises:
        ArgumentError: an argument outside of what is accepted; fewer than two tensors to compare; groups in which the last
            exponent has no influence (1/2 in a stage before the last).

    Example:
        Two layers whose gradients are four decades apart:

        >>> from equipoise import Equipoise
        >>> first, second = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
        >>> optimizer = Equipoise([first, second], exponent=0.0)
        >>> controller = SpreadController(optimizer, tolerance=1.0, every=10)
        >>> for _ in range(100):
        ...     first.grad, second.grad = torch.full((3,), 1.0), torch.full((3,), 1e-4)
        ...     optimizer.step()
        >>> round(optimizer.param_groups[0]["exponent"], 3), round(controller.history[-1].reading, 3)
        (0.4, 4.0)
    """

    reading = "decades between gradients"

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        tolerance: float = 1.0,
        *,
        bounds: tuple[float, float] = (0.0, 0.5),
        rate: float = 0.05,
        every: int = 50,
        groups: Sequence[int] | None = None,
    ) -> None:
        super().__init__(optimizer, bounds, rate, groups)
        if not 0 < tolerance < math.inf:
            raise ArgumentError("tolerance", tolerance, "a positive finite number, in decades")
        if not isinstance(optimizer, Equipoise):
            raise ArgumentError("optimizer", type(optimizer).__name__, MEASURING)
        layers = sum(parameter.numel() > 0 for number in self.groups for parameter in self._group(number)["params"])
        if layers < 2:
            accepted = f"groups that hold at least two tensors, whose updates can lie apart (there is {layers})"
            raise ArgumentError("groups", self.groups, accepted)
        for number in self.groups:
            group = self._group(number)
            if _degree_before(group) == 0:
                accepted = f"other than 1/2 before the last stage in parameter group {number}: no scale gets past it"
                raise ArgumentError("exponent", group["exponent"], accepted)
        self.tolerance = tolerance
        whole_number("every", every)
        self.every = every
        self._telemetry: Telemetry | None = None
        """Open during a step that is measured, closed after it, None on other steps."""
        self._handles = [optimizer.register_step_pre_hook(self._before), optimizer.register_step_post_hook(self._after)]

    def _load(self, state_dict: Mapping[str, Any]) -> None:
        pass

    def remove(self) -> None:
        """Leave the optimizer alone from now on."""
        super().remove()
        if self._telemetry is not None:
            self._telemetry.close()

    def _before(self, optimizer: Equipoise, *_: Any) -> None:
        if self._telemetry is not None:  # still open after a step that failed
            self._telemetry.close()
        self.steps += 1
        self._telemetry = Telemetry(optimizer) if self.steps % self.every == 0 else None

    def _after(self, *_: Any) -> None:
        if self._telemetry is None:
            return
        self._telemetry.close()
        measured = self._telemetry.read()
        scales = [
            self._scale(number, parameter, measured[parameter])
            for number in self.groups
            for parameter in self._group(number)["params"]
            if parameter in measured and measured[parameter].second_moment != 0
        ]
        if len(scales) < 2:
            logging.getLogger("equipoise").info(
                "SpreadController, step %d: fewer than two tensors had a gradient, nothing to compare", self.steps
            )
            return
        finite = math.isfinite(math.fsum(scales))  # max would lose a NaN
        spread = max(scales) - min(scales) if finite else math.nan
        for number in self.groups:
            if finite:
                self._decide(
                    number, spread_law(self.exponent(number), spread, tolerance=self.tolerance, rate=self.rate), spread
                )
            else:
                self._keep(number, spread)

    def _scale(self, number: int, parameter: Tensor, measured: Measures) -> float:
        """The common logarithm of what enters the last stage of a tensor, measured against the reference."""
        group, state = self._group(number), self.optimizer.state[parameter]
        _, beta2 = Hyperparameters.of_group(group).betas[0]
        age = float(state["step"]) - state.get("born_exp_avg_sq", 0)
        v_hat = measured.second_moment / measured.elements / rules.correction(beta2, age)
        reference = float(rules.reference(state["reference"])) if "reference" in state else 1.0
        return _degree_before(group) * math.log10(v_hat / (reference or 1.0)) / 2


class GeneralizationController(Controller):
    r"""Moves the exponent towards 0 while the model fits better than it generalises, and back when it no longer does.

    The gap is (validation loss - training loss) / validation loss: 0 where nothing was memorised, 1 where nothing else was.
    Each report of both losses moves the exponent of every group by ``gap_law`` of ``_control_laws.py``, between 0 and
    where it was when the controller was built. Between the two thresholds nothing changes (hysteresis).

    Args:
        optimizer: an :class:`~equipoise.Equipoise`.
        opens: the gap above which the exponent moves towards 0.
        closes: the gap below which it moves back.
        rate: the change per report.
        groups: numbers of the parameter groups whose exponents move; None is all.

    Raises:
        ArgumentError: an argument outside of what is accepted; groups whose exponent is 0, which have nowhere to go.

    Example:
        >>> from equipoise import SMES
        >>> optimizer = SMES([torch.nn.Parameter(torch.ones(3))], exponent=0.5)
        >>> controller = GeneralizationController(optimizer, rate=0.125)
        >>> for training, validation in [(1.0, 1.0), (0.5, 0.8), (0.4, 0.8), (0.7, 0.8), (0.75, 0.8)]:
        ...     controller.report(training, validation)
        >>> [decision.after for decision in controller.history]
        [0.5, 0.375, 0.25, 0.25, 0.375]
    """

    reading = "gap"

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        opens: float = 0.2,
        closes: float = 0.1,
        rate: float = 0.05,
        groups: Sequence[int] | None = None,
    ) -> None:
        super().__init__(optimizer, None, rate, groups)
        if not -math.inf < closes < opens < 1:
            raise ArgumentError("opens, closes", (opens, closes), "shares of the validation loss with closes < opens < 1")
        if idle := [number for number in self.groups if self.exponent(number) == 0]:
            accepted = f"other than 0, towards which it is to move, in parameter group {idle[0]}"
            raise ArgumentError("exponent", self._group(idle[0])["exponent"], accepted)
        self.opens, self.closes = opens, closes
        self._home = {number: self.exponent(number) for number in self.groups}

    def report(self, training_loss: float, validation_loss: float) -> None:
        """Decide on the two losses, both means over examples, as after an epoch.

        With a loss that is not finite the exponents stay as they are, which is logged as a warning.

        Raises:
            ArgumentError: a validation loss that is not positive.
        """
        if validation_loss <= 0:
            raise ArgumentError("validation_loss", validation_loss, "positive, as the gap is measured against it")
        self.steps += 1
        gap = float((validation_loss - training_loss) / validation_loss)
        for number, home in self._home.items():
            if not math.isfinite(gap):
                self._keep(number, gap)
                continue
            wanted = gap_law(self.exponent(number), gap, home=home, opens=self.opens, closes=self.closes, rate=self.rate)
            self._decide(number, wanted, gap)

    def state_dict(self) -> dict[str, Any]:
        """What the next decisions depend on, and the history, in plain values."""
        return {**super().state_dict(), "home": dict(self._home)}

    def _load(self, state_dict: Mapping[str, Any]) -> None:
        self._home = dict(state_dict["home"])
        self._bounds = {number: (min(0.0, home), max(0.0, home)) for number, home in self._home.items()}


def _degree_before(group: Mapping[str, Any]) -> float:
    """The degree, in the scale of the gradient, of what enters the last stage."""
    *others, _ = Hyperparameters.of_group(group).exponents
    return scale_degree((*others, 0.0), group["stages"])
