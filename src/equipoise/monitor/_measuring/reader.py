"""From a step of an optimizer to what is read of it, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from equipoise.balance._scheduler import Scheduler
from equipoise.errors import ArgumentError
from equipoise.hyperparameters import Hyperparameters
from equipoise.monitor._measuring.gathering import gather
from equipoise.monitor._measuring.margin_ahead import Prospect
from equipoise.monitor._measuring.quantities import GroupValues, PredictedNorm, Tensors, group_reading, tensor_readings
from equipoise.monitor._measuring.readings import GroupReading, TensorReading
from equipoise.monitor._measuring.scale_invariance import ScaleInvariance, ScaleVerdict
from equipoise.optim._kernels import MEASURES
from equipoise.optim._optimizer import Equipoise
from equipoise.optim._state import suffixes
from equipoise.optim._telemetry import Parts, Telemetry, elements_of
from equipoise.theory._region import Floats

PARAMETER, UPDATE = MEASURES.index("parameter"), MEASURES.index("update")


class Seen:
    """What of a step has to be kept until it is read, because it will be gone, or changed by a scheduler."""

    def __init__(self, optimizer: Equipoise, telemetry: Telemetry | None = None) -> None:
        self.telemetry = telemetry
        self.groups: list[dict[str, Any]] = [
            # Schedulers write into a learning rate that is a tensor.
            {**group, "lr": torch.as_tensor(group["lr"], dtype=torch.float64).detach().clone()}
            for group in optimizer.param_groups
        ]
        self.referenced: list[int] = []
        """The parameters with a reference that a bound depends on, each by its identity."""
        references: dict[torch.device, list[Tensor]] = {}
        for group in optimizer.param_groups:
            if group["reference"] != "none" and group["stages"] == 1:
                for parameter in group["params"]:
                    reference = optimizer.state.get(parameter, {}).get("reference")  # [] would make a state
                    if reference is not None:
                        references.setdefault(reference.device, []).append(reference)
                        self.referenced.append(id(parameter))
        self.references = [torch.stack(theirs) for theirs in references.values()]
        """R of E3 before the step."""


class Reader:
    """Reads the steps of an optimizer, and knows of them what one step alone does not tell.

    Args:
        optimizer: whose steps they are.
        model: whose names its parameters have.
        schedules: along which margins are foreseen.
        invariance: of the model.

    Raises:
        ArgumentError: the invariance of a parameter that the optimizer does not have.
    """

    def __init__(
        self,
        optimizer: Equipoise,
        model: nn.Module,
        schedules: Sequence[Scheduler],
        invariance: Mapping[str, ScaleInvariance],
    ) -> None:
        self._optimizer = optimizer
        self._model = model
        self._prospect = Prospect(schedules)
        self._begun: dict[int, Any] = {}
        """By group, what its moments began with."""
        self._changed: set[int] = set()
        """The groups whose moments have seen something else since."""
        self.places: dict[Tensor, tuple[str, int]] = {}
        """Of every parameter: its name, and the number of its group."""
        self.name()
        known = {name for name, _ in self.places.values()}
        if strangers := [name for name in invariance if plain_name(name) not in known]:
            raise ArgumentError("invariance", strangers[0], "by names of parameters of the model that the optimizer has")
        self._norms = {
            plain_name(name): PredictedNorm() for name, found in invariance.items() if found.verdict is ScaleVerdict.INVARIANT
        }

    def name(self) -> None:
        """Find the parameters that the optimizer has now."""
        names = {parameter: plain_name(name) for name, parameter in self._model.named_parameters()}
        self.places = {
            parameter: (names.get(parameter, f"group {number}, parameter {place}"), number)
            for number, group in enumerate(self._optimizer.param_groups)
            for place, parameter in enumerate(group["params"])
        }

    def watch(self) -> None:
        """Before every step: has anything changed that a bound relies on?"""
        for number, group in enumerate(self._optimizer.param_groups):
            present = group["betas"], group["exponent"] if group["stages"] > 1 else None
            if self._begun.setdefault(number, present) != present:
                self._changed.add(number)

    def read(
        self, made: bool, seen: Seen, means: Mapping[str, Tensor]
    ) -> tuple[dict[str, float], tuple[GroupReading, ...], dict[str, TensorReading]]:
        """The metrics, the groups and the tensors of a step: one wait for the device, and one collective.

        Args:
            made: whether there was a step.
            seen: before it.
            means: of the metrics.
        """
        parts: Parts = seen.telemetry.parts if made and seen.telemetry is not None else ()
        parameters = [parameter for some, _ in parts for parameter in some]
        states = [self._optimizer.state[parameter] for parameter in parameters]
        rates = [group["lr"] for group in seen.groups]
        beside = [*rates, *(state["step"] for state in states), *seen.references]
        device = self._optimizer.param_groups[0]["params"][0].device
        measured, numbers, metrics = gather(parts, beside, means, device)
        lrs, steps, known = np.split(numbers, [len(rates), len(rates) + len(states)])
        references = dict(zip(seen.referenced, known.tolist(), strict=True))
        groups = [
            GroupValues(
                lr=lr,
                weight_decay=group["weight_decay"],
                hyperparameters=Hyperparameters.of_group(group),
                referenced=group["reference"] != "none",
                changed=number in self._changed,
            )
            for number, (group, lr) in enumerate(zip(seen.groups, lrs.tolist(), strict=True))
        ]
        places = [self.places[parameter] for parameter in parameters]
        members: list[list[int]] = [[] for _ in groups]
        for index, (_, number) in enumerate(places):
            members[number].append(index)
        found: dict[int, TensorReading] = {}
        for given, indices in zip(groups, members, strict=True):
            stages = len(given.hyperparameters.betas)
            born = np.array([_born(states[index], stages) for index in indices]).reshape(len(indices), 2 * stages)
            rows, step = measured[indices], steps[indices]
            tensors = Tensors(
                elements=np.array([elements_of(parameters[index]) for index in indices], dtype=np.float64),
                ages=step - born[:, 1],
                alike=(born == born[:, :1]).all(axis=1),
                references=np.array([references.get(id(parameters[index]), 0.0) for index in indices]),
                norm_ratios=np.array(
                    [
                        self._norm_ratio(places[index][0], row, given, at)
                        for index, row, at in zip(indices, rows, step, strict=True)
                    ]
                ),
            )
            found.update(zip(indices, tensor_readings(rows, tensors, given), strict=True))
        readings = {name: found[index] for index, (name, _) in enumerate(places)}
        read = tuple(
            group_reading(given, self._prospect.least(number, given.hyperparameters), (found[index] for index in indices))
            for number, (given, indices) in enumerate(zip(groups, members, strict=True))
        )
        return metrics, read, readings

    def _norm_ratio(self, name: str, row: Floats, given: GroupValues, step: float) -> float:
        if name not in self._norms:
            return math.nan
        return self._norms[name].ratio(float(row[PARAMETER]), float(row[UPDATE]), given, step)

    def state_dict(self) -> dict[str, Any]:
        """In plain values."""
        norms = {name: norm.state_dict() for name, norm in self._norms.items()}
        return {"begun": dict(self._begun), "changed": sorted(self._changed), "norms": norms}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue."""
        self._begun, self._changed = dict(state_dict["begun"]), set(state_dict["changed"])
        for name in self._norms.keys() & state_dict["norms"].keys():
            self._norms[name].load_state_dict(state_dict["norms"][name])


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's own module, inside of DDP and of what ``torch.compile`` makes, in any order."""
    if isinstance(model, nn.parallel.DistributedDataParallel):
        return unwrapped(model.module)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    inner = getattr(model, "_orig_mod", None)
    return unwrapped(inner) if isinstance(inner, nn.Module) else model


def plain_name(name: str) -> str:
    """Of a parameter, without what ``torch.compile`` of a part of the model adds."""
    return name.replace("_orig_mod.", "")


def _born(state: Mapping[str, Any], stages: int) -> list[float]:
    """The steps of a parameter before each of its averages began."""
    return [state.get(f"born_{key}{suffix}", 0) for suffix in suffixes(stages) for key in ("exp_avg", "exp_avg_sq")]
