"""Schedules written into an optimizer, step by step, as torch's schedulers write a learning rate."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch

from equipoise.balance._schedules import Schedule
from equipoise.balance._stability_ahead import ACCEPTED, outside
from equipoise.errors import ArgumentError, ScheduleWarning, StabilityWarning, StateDictError
from equipoise.hyperparameters import Hyperparameters

Stages: TypeAlias = Schedule | tuple[Schedule, ...]
"""One schedule for all stages, or one per stage."""
Groups: TypeAlias = Stages | list[Stages | None]
"""The same for all parameter groups, or a list with one entry per group, None where the group's value stays as it is."""


class Scheduler:
    """Writes scheduled values into the parameter groups of an optimizer.

    To be used as a scheduler of torch: ``step()`` after every step of the optimizer, beside any others (of the learning rate,
    or of this class for other values). Building one writes the values of step 0. A step that a GradScaler skips counts.

    Args:
        optimizer: an :class:`~equipoise.Equipoise`, or any other whose groups hold exponent, betas, eps and stages.
        exponent, beta1, beta2, eps: a schedule, whose values replace the present one; a tuple of schedules, one per stage (not
            for eps); or a list of these, one per parameter group, with None for a group whose value stays as it is.

    Raises:
        ArgumentError: something else than that, or a schedule that leaves what is accepted; the message says at which step.

    Warns:
        StabilityWarning: when it is built, where a schedule leaves the stable region, with the step. Values that it does
            not schedule are taken to stay as they are, and ten million steps are looked at.
        ScheduleWarning: at the step after the end of a schedule, whose last value is held from there on. A schedule whose last
            piece is a :class:`~equipoise.balance.Constant` has no end.

    Example:
        >>> from equipoise import SMES
        >>> from equipoise.balance import Constant, Linear
        >>> optimizer = SMES([torch.nn.Parameter(torch.ones(3))])
        >>> scheduler = Scheduler(optimizer, exponent=Linear(0.5, 0.0, steps=4), beta2=Constant(0.99))
        >>> for _ in range(3):
        ...     optimizer.step()
        ...     scheduler.step()
        >>> optimizer.param_groups[0]["exponent"], optimizer.param_groups[0]["betas"]
        (0.125, (0.9, 0.99))
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        exponent: Groups | None = None,
        beta1: Groups | None = None,
        beta2: Groups | None = None,
        eps: Groups | None = None,
    ) -> None:
        for group in optimizer.param_groups:
            if missing := {"exponent", "betas", "eps", "stages"} - set(group):
                accepted = f"an optimizer whose parameter groups hold {', '.join(sorted(missing))}, as Equipoise"
                raise ArgumentError("optimizer", type(optimizer).__name__, accepted)
        self.optimizer = optimizer
        self.last_step = 0
        """The step whose values the optimizer holds."""
        given = zip(ACCEPTED, (exponent, beta1, beta2, eps), strict=True)
        self.schedules: dict[str, list[tuple[Schedule, ...] | None]] = {
            name: _by_group(name, value, optimizer.param_groups) for name, value in given if value is not None
        }
        """By the name of the value: for each parameter group one schedule, or one per stage, or None."""
        if not any(self._scheduled()):
            raise ArgumentError("schedules", None, f"given for at least one of {', '.join(ACCEPTED)}")
        self._foresee()
        self._write()

    def step(self) -> None:
        """To the values of the next step."""
        scheduled = list(self._scheduled())
        self.last_step += 1
        self._write()
        ended: dict[str, list[int]] = {}
        for name, number, _, schedules in scheduled:
            if any(schedule.steps == self.last_step - 1 for schedule in schedules):
                ended.setdefault(name, []).append(number)
        for name, numbers in ended.items():
            warnings.warn(
                f"the schedule of {name} of {_words(numbers)} ended at step {self.last_step - 1} and the run goes on: its last"
                " value is held from here on. Piecewise(..., Constant(value)) says that this is meant",
                ScheduleWarning,
                stacklevel=2,
            )

    def state_dict(self) -> dict[str, Any]:
        """The number of the step, and the schedules, in plain values."""
        schedules = {
            name: [each and [schedule.plain() for schedule in each] for each in by_group]
            for name, by_group in self.schedules.items()
        }
        return {"last_step": self.last_step, "schedules": schedules}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue at the step of a state dict, and write its values into the optimizer at once.

        The state dict must hold the schedules that this scheduler was built with: nothing that it names is imported or called.
        To go on with other ones, replace them: ``{**saved, "schedules": scheduler.state_dict()["schedules"]}``.

        Raises:
            StateDictError: it is no state dict of this class, or one of other schedules or groups; nothing was changed.
        """
        own, step = self.state_dict(), state_dict.get("last_step")
        if set(state_dict) != set(own) or not isinstance(step, int) or step < 0:
            raise StateDictError(f"a state dict with the keys {', '.join(state_dict) or '(none)'} is not one of a Scheduler")
        saved, built = _by_name(state_dict["schedules"]), _by_name(own["schedules"])
        for name in {**built, **saved}:
            if saved.get(name) != built.get(name):
                raise StateDictError(
                    f"the saved schedule of {name} is {saved.get(name)}, and this scheduler was built with {built.get(name)}."
                    " To go on with its own schedules, replace 'schedules' in what was saved by that of its state_dict()"
                )
        self.last_step = step
        self._write()

    def _scheduled(self) -> Iterator[tuple[str, int, dict[str, Any], tuple[Schedule, ...]]]:
        """(name of the value, number of the group, the group, its schedules) wherever there are some."""
        groups = self.optimizer.param_groups
        for name, by_group in self.schedules.items():
            if len(by_group) != len(groups):
                accepted = f"with {len(by_group)} parameter groups, as when the scheduler was built"
                raise ArgumentError("optimizer", f"{type(self.optimizer).__name__} with {len(groups)} groups", accepted)
            for number, (group, schedules) in enumerate(zip(groups, by_group, strict=True)):
                if schedules is not None:
                    yield name, number, group, schedules

    def _write(self) -> None:
        scheduled = list(self._scheduled())
        # Groups often share a schedule: each is asked once.
        now = {each: float(each(self.last_step)) for each in {one for *_, schedules in scheduled for one in schedules}}
        for name, _, group, schedules in scheduled:
            values = [now[schedule] for schedule in schedules]
            if name in ("beta1", "beta2"):
                present = Hyperparameters.of_group(group)
                each = values if len(values) > 1 else values * len(present.betas)
                changed = tuple(
                    (new, beta2) if name == "beta1" else (beta1, new)
                    for (beta1, beta2), new in zip(present.betas, each, strict=True)
                )
                # One pair for all stages where that says it all: torch's schedulers that cycle beta1 know nothing else.
                group["betas"] = Hyperparameters(changed, present.exponents).group_values()["betas"]
            else:
                group[name] = tuple(values) if len(values) > 1 else values[0]

    def _foresee(self) -> None:
        """Refuse schedules that leave what is accepted, and warn of those that leave the stable region."""
        planned: list[dict[str, tuple[Schedule, ...]]] = [{} for _ in self.optimizer.param_groups]
        for name, number, _, schedules in self._scheduled():
            planned[number][name] = schedules
        alike: dict[Any, list[int]] = {}
        for number, (group, schedules) in enumerate(zip(self.optimizer.param_groups, planned, strict=True)):
            if schedules:
                alike.setdefault((Hyperparameters.of_group(group), tuple(schedules.items())), []).append(number)
        for (present, schedules), numbers in alike.items():
            if found := outside(present, dict(schedules)):
                first, lowest = found
                warnings.warn(
                    f"with this schedule {_words(numbers)} will leave the stable region, first at step {first.step}: margin"
                    f" {first.margin:+.4f} nats per step at {first.hyperparameters}; the lowest margin is {lowest.margin:+.4f},"
                    f" at step {lowest.step}. {lowest.assessment.sentence}",
                    StabilityWarning,
                    stacklevel=3,
                )


def _by_group(name: str, given: Groups, groups: Sequence[Mapping[str, Any]]) -> list[tuple[Schedule, ...] | None]:
    """What was given for one value, as one entry per parameter group."""
    entries: list[Stages | None] = given if isinstance(given, list) else [given] * len(groups)
    if len(entries) != len(groups):
        accepted = f"one schedule, or a list of {len(groups)}, one per parameter group (a tuple is one per stage)"
        raise ArgumentError(name, given, accepted)
    return [
        None if entry is None else _by_stage(name, entry, 1 if name == "eps" else group["stages"])
        for entry, group in zip(entries, groups, strict=True)
    ]


def _by_stage(name: str, given: Stages, stages: int) -> tuple[Schedule, ...]:
    """One schedule for all stages, or one per stage."""
    schedules: tuple[Schedule, ...] = given if isinstance(given, tuple) else (given,)
    fits = len(schedules) == stages or not isinstance(given, tuple)
    if not fits or not all(isinstance(schedule, Schedule) for schedule in schedules):
        per_stage = f", a tuple of {stages} schedules, one per stage," if stages > 1 else ""
        accepted = f"a schedule, as Cosine(0.5, 0.0, steps=1000) or Function('package.module:function', steps=1000){per_stage}"
        raise ArgumentError(name, given, f"{accepted} or a list with one per parameter group")
    return schedules


def _by_name(schedules: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The schedules of a state dict, each by what it is the schedule of."""
    return {
        f"{name} of {_words([number])}": each for name, by_group in schedules.items() for number, each in enumerate(by_group)
    }


def _words(numbers: Sequence[int]) -> str:
    return f"parameter group{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
