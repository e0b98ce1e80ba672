r"""The exponent in closed loop: measured while training, and moved a little at a time.

A controller takes readings, asks its law (``_control_laws.py``), and writes an exponent into parameter groups; where a
group has several stages, that of the last one. What it writes stays inside of its bounds and of the stable region, with a
tenth of the margin to spare (:func:`~equipoise.theory.nearest_stable`). No change exceeds the rate, unless scheduled betas have
moved the boundary to below the exponent. Every change is logged (``equipoise``, INFO).

To resume, build the controller with the same arguments and load its state dict, after that of the optimizer; the run then
goes on as if it had not been interrupted. In distributed training all processes must come to the same readings: of gradients,
averaged or sharded, they do; losses are to be averaged first.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from equipoise.errors import ArgumentError, StateDictError
from equipoise.hyperparameters import Hyperparameters
from equipoise.theory._assessment import assess
from equipoise.theory._region import nearest_stable

HISTORY = 1000
"""So many decisions are kept, and saved. The log has all that changed something."""

NEEDED = frozenset({"exponent", "betas", "eps", "stages", "reference"})
"""What a parameter group must hold."""


class Decision(NamedTuple):
    """What a controller made of one reading."""

    step: int
    """The controller's own count, from 1: of steps of the optimizer, or of reports."""
    group: int
    before: float
    """The exponent of the last stage."""
    after: float
    reading: float
    """The spread of gradients in decades, the hypergradient, or the gap."""


class Controller(ABC):
    """What the controllers share: which groups they move, how far, the log, and the state dict."""

    reading = ""
    """What a reading is, for the log."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        bounds: tuple[float, float] | None,
        rate: float,
        groups: Sequence[int] | None,
    ) -> None:
        count = len(optimizer.param_groups)
        for group in optimizer.param_groups:
            if missing := NEEDED - set(group):
                accepted = f"an optimizer whose parameter groups hold {', '.join(sorted(missing))}, as Equipoise"
                raise ArgumentError("optimizer", type(optimizer).__name__, accepted)
        self.groups = list(range(count) if groups is None else groups)
        """The numbers of the parameter groups whose exponents it moves."""
        if not self.groups or len(set(self.groups)) < len(self.groups) or not set(self.groups) <= set(range(count)):
            accepted = f"different numbers of parameter groups, from 0 to {count - 1}, or None for all"
            raise ArgumentError("groups", groups, accepted)
        if bounds is not None and not (len(bounds) == 2 and -math.inf < bounds[0] < bounds[1] <= 0.5):
            raise ArgumentError("bounds", bounds, "a pair (low, high) of exponents with low < high <= 0.5")
        if not 0 < rate <= 0.5:
            raise ArgumentError("rate", rate, "in (0, 0.5]")
        self.optimizer = optimizer
        self.rate = rate
        self.steps: int = 0
        """How many steps or reports it has seen."""
        self.history: deque[Decision] = deque(maxlen=HISTORY)
        """The last decisions, also those to change nothing."""
        exponents = map(self.exponent, self.groups)
        self._bounds = {
            number: bounds or (min(0.0, exponent), max(0.0, exponent))
            for number, exponent in zip(self.groups, exponents, strict=True)
        }
        self._handles: list[Any] = []
        for number in self.groups:
            self._check_start(number)

    def remove(self) -> None:
        """Leave the optimizer alone from now on."""
        for handle in self._handles:
            handle.remove()

    def exponent(self, number: int) -> float:
        """The exponent of the last stage of a parameter group, as it is now."""
        return Hyperparameters.of_group(self._group(number)).exponents[-1]

    def state_dict(self) -> dict[str, Any]:
        """What the next decisions depend on, and the history, in plain values."""
        return {"groups": list(self.groups), "steps": self.steps, "history": [tuple(each) for each in self.history]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a state dict.

        Raises:
            StateDictError: it is not one of this class, or one for other parameter groups; nothing was loaded.
        """
        if set(state_dict) != set(self.state_dict()):
            keys = ", ".join(sorted(state_dict)) or "(none)"
            raise StateDictError(f"a state dict with the keys {keys} is not one of a {type(self).__name__}")
        if state_dict["groups"] != self.groups:
            raise StateDictError(
                f"the state dict is for the parameter groups {state_dict['groups']} and the controller for {self.groups}:"
                " they must agree"
            )
        self._load(state_dict)
        self.steps = state_dict["steps"]
        self.history = deque((Decision(*each) for each in state_dict["history"]), maxlen=HISTORY)

    @abstractmethod
    def _load(self, state_dict: Mapping[str, Any]) -> None:
        """What the class adds to the state dict."""

    def _group(self, number: int) -> dict[str, Any]:
        return self.optimizer.param_groups[number]

    def _limit(self, number: int) -> float:
        """The largest exponent of the last stage of a group that is within the bounds, and stable."""
        group = self._group(number)
        return nearest_stable(*Hyperparameters.of_group(group).betas[-1], self._bounds[number][1]).exponent

    def _check_start(self, number: int) -> None:
        """Refuse a group whose exponent is not where the controller would keep it."""
        group, (low, high), limit = self._group(number), self._bounds[number], self._limit(number)
        exponents = Hyperparameters.of_group(group).exponents
        if not low <= exponents[-1] <= limit:
            stability = "" if limit == high else f", which betas = {group['betas']} allow with a tenth of the margin to spare"
            accepted = f"from {low:g} to {limit:.4g}{stability} at the start, in the last stage of parameter group {number}"
            raise ArgumentError("exponent", group["exponent"], accepted)
        # A last stage at 1/2 bounds whatever the stages before it let through; anywhere else they must be stable too.
        found = assess(group["betas"], (*exponents[:-1], low), group["stages"])
        if not found.stable:
            accepted = f"stable in every stage, as the last exponent of parameter group {number} will not stay at 1/2"
            raise ArgumentError("betas", group["betas"], f"{accepted}. {found.sentence}")

    def _decide(self, number: int, wanted: float, reading: float) -> None:
        """Give a group the exponent that is wanted, as far as it is allowed."""
        group = self._group(number)
        *others, before = Hyperparameters.of_group(group).exponents
        after = min(max(wanted, self._bounds[number][0]), self._limit(number))
        self.history.append(Decision(self.steps, number, before, after, reading))
        if after != before:
            group["exponent"] = (*others, after) if others else after
            logging.getLogger("equipoise").info(
                "%s, step %d: the exponent of parameter group %d goes from %.6g to %.6g (%s: %.4g)",
                type(self).__name__,
                *self.history[-1][:4],
                self.reading,
                reading,
            )

    def _keep(self, number: int, reading: float) -> None:
        """Leave a group as it is, because its reading is not a finite number."""
        logging.getLogger("equipoise").warning(
            "%s, step %d: the exponent of parameter group %d stays as it is (%s: %s)",
            type(self).__name__,
            self.steps,
            number,
            self.reading,
            reading,
        )
        self._decide(number, self.exponent(number), reading)
