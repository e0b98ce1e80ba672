"""Measures one step of an optimizer, and names what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from equipoise.balance._scheduler import Scheduler
from equipoise.errors import ArgumentError
from equipoise.monitor._measuring.gathering import gather
from equipoise.monitor._measuring.margin_ahead import MarginAhead
from equipoise.monitor._measuring.optimizers.sums import sums_of
from equipoise.monitor._measuring.optimizers.theory import first_betas, group_values, is_corrected
from equipoise.monitor._measuring.parameter_names import names_and_groups, plain_name
from equipoise.monitor._measuring.predicted_norm import PredictedNorm
from equipoise.monitor._measuring.quantities import GroupValues, TensorColumns, group_reading, tensor_readings
from equipoise.monitor._measuring.readings import GroupReading, TensorReading
from equipoise.monitor._measuring.scale_invariance import ScaleInvariance, ScaleVerdict
from equipoise.optim._kernels import MEASURES
from equipoise.optim._state import suffixes
from equipoise.optim._telemetry import Parts, elements_of
from equipoise.rules import REFERENCE_STEPS, reference
from equipoise.theory._region import Floats

PARAMETER, UPDATE = MEASURES.index("parameter"), MEASURES.index("update")


class StateBeforeStep:
    """What is kept before a step until it is measured, because the step replaces it, or a scheduler changes it afterwards."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.groups: list[dict[str, Any]] = [{**group, "lr": _learning_rate(group)} for group in optimizer.param_groups]


class StepMeasurer:
    """Measures the steps of an optimizer, and remembers what one step alone does not tell.

    Args:
        optimizer: the optimizer whose steps are measured.
        model: the model that gives its parameters their names.
        schedules: the schedulers along which margins are foreseen.
        invariance: what the probe of scale invariance found, by the names of parameters.

    Raises:
        ArgumentError: the invariance of a parameter that the optimizer does not have.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        model: nn.Module,
        schedules: Sequence[Scheduler],
        invariance: Mapping[str, ScaleInvariance],
    ) -> None:
        self._optimizer = optimizer
        self._model = model
        self._margin_ahead = MarginAhead(schedules)
        self.sums = sums_of(optimizer)
        """What measures the steps that are read."""
        self._first_values: dict[int, Any] = {}
        """What the moments of each group began with, by its number."""
        self._changed: set[int] = set()
        """The groups whose moments have seen something else since."""
        self.places: dict[Tensor, tuple[str, int]] = {}
        """The name of every parameter, and the number of its group."""
        self.find_parameters()
        known = {name for name, _ in self.places.values()}
        if strangers := [name for name in invariance if plain_name(name) not in known]:
            raise ArgumentError("invariance", strangers[0], "by names of parameters of the model that the optimizer has")
        self._norms = {
            plain_name(name): PredictedNorm() for name, found in invariance.items() if found.verdict is ScaleVerdict.INVARIANT
        }

    def find_parameters(self) -> None:
        """Find the parameters that the optimizer has now, and their names."""
        self.places = names_and_groups(self._optimizer, self._model)

    def note_changes(self) -> None:
        """Note, before every step, whether anything has changed that a bound relies on."""
        for number, group in enumerate(self._optimizer.param_groups):
            present = first_betas(group), group["exponent"] if group.get("stages", 1) > 1 else None
            if self._first_values.setdefault(number, present) != present:
                self._changed.add(number)

    def measure(
        self, made: bool, before: StateBeforeStep, means: Mapping[str, Tensor]
    ) -> tuple[dict[str, float], tuple[GroupReading, ...], dict[str, TensorReading]]:
        """The metrics, the groups and the tensors of a step. It waits once for the device, and makes one collective.

        Args:
            made: whether the optimizer made the step.
            before: what was kept before it.
            means: the means of the metrics, which may still be on the device.
        """
        parts: Parts = self.sums.parts if made else ()
        parameters = [parameter for some, _ in parts for parameter in some]
        states = [self._optimizer.state[parameter] for parameter in parameters]
        rates = [group["lr"] for group in before.groups]
        referenced = [row for row, state in enumerate(states) if "reference" in state]
        beside = [*rates, *map(_steps_of, states), *(states[row]["reference"] for row in referenced)]
        device = self._optimizer.param_groups[0]["params"][0].device
        measured, numbers, metrics = gather(parts, beside, means, device)
        lrs, steps, known = np.split(numbers, [len(rates), len(rates) + len(states)])
        squares = known.reshape(-1, REFERENCE_STEPS)
        references = dict(zip(referenced, map(float, map(reference, squares)), strict=True))
        lr_of_row = np.array([lrs[self.places[parameter][1]] for parameter in parameters])
        measured = self.sums.per_learning_rate(measured, parameters, lr_of_row)

        measured_itself = np.array([parameter not in self.sums.displaced for parameter in parameters], np.bool_)
        names = [self.places[parameter][0] for parameter in parameters]
        members: list[list[int]] = [[] for _ in before.groups]  # the rows of `measured` that belong to each group
        for row, parameter in enumerate(parameters):
            members[self.places[parameter][1]].append(row)
        by_row: dict[int, TensorReading] = {}
        groups: list[GroupReading] = []
        for number, (group, lr, rows) in enumerate(zip(before.groups, lrs.tolist(), members, strict=True)):
            given = group_values(self._optimizer, group, lr, changed=number in self._changed)
            stages = len(given.hyperparameters.betas) if given.hyperparameters else 1
            # Shape (tensors, averages): the steps of each tensor before each of its averages began.
            born = np.array([_born(states[row], stages) for row in rows]).reshape(len(rows), 2 * stages)
            columns = TensorColumns(
                elements=np.array([elements_of(parameters[row]) for row in rows], dtype=np.float64),
                ages=steps[rows] - born[:, 1] if is_corrected(self._optimizer) else np.full(len(rows), math.inf),
                alike=(born == born[:, :1]).all(axis=1) & measured_itself[rows],
                references=np.array([references.get(row, 0.0) for row in rows]),
                norm_ratios=np.array([self._norm_ratio(names[row], measured[row], given, steps[row]) for row in rows]),
            )
            readings = tensor_readings(measured[rows], columns, given)
            by_row.update(zip(rows, readings, strict=True))
            groups.append(group_reading(given, self._margin_ahead.least(number, given.hyperparameters), readings))
        return metrics, tuple(groups), {name: by_row[row] for row, name in enumerate(names)}

    def _norm_ratio(self, name: str, row: Floats, given: GroupValues, step: float) -> float:
        if name not in self._norms:
            return math.nan
        return self._norms[name].ratio(float(row[PARAMETER]), float(row[UPDATE]), given, step)

    def state_dict(self) -> dict[str, Any]:
        """What the next measurement depends on, in plain values."""
        norms = {name: norm.state_dict() for name, norm in self._norms.items()}
        return {"begun": dict(self._first_values), "changed": sorted(self._changed), "norms": norms}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where a state dict was made."""
        self._first_values, self._changed = dict(state_dict["begun"]), set(state_dict["changed"])
        for name in self._norms.keys() & state_dict["norms"].keys():
            self._norms[name].load_state_dict(state_dict["norms"][name])


def _learning_rate(group: Mapping[str, Any]) -> Tensor:
    """A copy, because schedulers write into a learning rate that is a tensor; NaN where there is none."""
    lr = group.get("lr")
    return torch.as_tensor(math.nan if lr is None else lr, dtype=torch.float64).detach().clone()


def _steps_of(state: Mapping[str, Any]) -> Tensor:
    """How many steps a parameter has seen; NaN where its state does not say."""
    steps = state.get("step")
    return steps if isinstance(steps, Tensor) and steps.numel() == 1 else torch.tensor(math.nan)


def _born(state: Mapping[str, Any], stages: int) -> list[float]:
    """The steps of a parameter before each of its averages began."""
    return [state.get(f"born_{key}{suffix}", 0) for suffix in suffixes(stages) for key in ("exp_avg", "exp_avg_sq")]
