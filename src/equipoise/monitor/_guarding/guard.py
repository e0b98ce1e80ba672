"""Acts on trouble: never in silence, never without a limit, and in the same way on every process."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from equipoise._files import replace_file
from equipoise.errors import ArgumentError, StateDictError, UnusableInputError
from equipoise.monitor._guarding.nonfinite_gradients import gradients_overflow, nonfinite_gradient_names
from equipoise.monitor._guarding.policies import Policy, Rollback, Skip, Stop
from equipoise.monitor._guarding.snapshots import Snapshots, Stateful
from equipoise.monitor._judging.judge import judge
from equipoise.monitor._judging.recovery import Recovery
from equipoise.monitor._judging.thresholds import Thresholds
from equipoise.monitor._judging.verdict import Verdict
from equipoise.monitor._measuring.readings import Reading
from equipoise.monitor._processes import from_every_process, true_on_any_process
from equipoise.optim import _sharding as sharding

_log = logging.getLogger("equipoise")


@dataclass(frozen=True, slots=True)
class Action:
    """Something that a guard did about trouble."""

    kind: Literal["warn", "skip", "rollback", "stop"]
    step: int
    """The step of the reading that it acted on."""
    to_step: int | None
    """The step that a rollback went back to; None for any other action."""
    verdicts: tuple[Verdict, ...]
    """The verdicts that made the guard act."""
    message: str
    """What was done, in one or more sentences."""


class Guard:
    """Judges every reading of a monitor, keeps the good states, and acts on trouble.

    Args:
        on_trouble: the policy: :class:`Warn`, :class:`Skip`, :class:`Rollback` or :class:`Stop`.
        snapshots: where good states are kept: the states at readings without trouble. Rollback needs them; with any other
            policy they are there for a person. Call ``snapshots.take(0)`` before the first step to be able to go back to the
            very beginning.
        thresholds: where verdicts begin.

    Raises:
        ArgumentError: a Rollback without snapshots.

    Example:
        >>> from equipoise.monitor import Warn
        >>> reading = Reading(step=1, time=0.0, made=True, metrics={"loss": float("nan")}, groups=(), tensors={})
        >>> [verdict], action = Guard(Warn()).consider([reading])
        >>> verdict.kind, action.kind
        ('nonfinite-loss', 'warn')
    """

    def __init__(
        self,
        on_trouble: Policy,
        *,
        snapshots: Snapshots | None = None,
        thresholds: Thresholds = Thresholds(),  # noqa: B008
    ) -> None:
        if isinstance(on_trouble, Rollback) and snapshots is None:
            raise ArgumentError("snapshots", None, "given with Rollback: Guard(Rollback(...), snapshots=Snapshots({...}))")
        self.on_trouble = on_trouble
        self.snapshots = snapshots
        self.thresholds = thresholds
        self.skipped: int = 0
        """Steps whose gradients were dropped, in the whole run."""
        self.rollbacks: int = 0
        """Rollbacks in the whole run."""
        self._dropped: list[str] = []
        """For every step that was skipped since the last reading, the parameters that were to blame."""
        self._returned: int | None = None
        """The step that the last rollback went back to."""
        self._recovery: Recovery | None = None
        """What the run has to reach again after a rollback, until it has."""
        self._run = "the run"
        self._known: set[tuple[str, tuple[str, ...]]] = set()
        """What was wrong at the last reading, and has been logged: kinds and places."""
        self._done: list[str] = []
        """The messages of all skips and rollbacks, for a report."""

    def attach(self, monitor: Stateful, run: str) -> None:
        """Let snapshots hold the monitor too, so that its steps go back with everything else, and name the run in messages. The
        monitor calls this."""
        self._run = f"run {run}"
        if self.snapshots is not None:
            self.snapshots.objects["monitor"] = monitor

    def before_step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Drop gradients that are not finite, if that is the policy, and say whether they were. Call it before every step.

        With the policy Skip and several processes this is a collective: all of them must make this step.
        """
        if not isinstance(self.on_trouble, Skip) or getattr(optimizer, "found_inf", None) is not None:
            return False  # a GradScaler has looked already, and this optimizer skips the step by itself
        if not true_on_any_process(gradients_overflow(optimizer)):
            return False
        names = sorted({name for names in from_every_process(nonfinite_gradient_names(optimizer)) for name in names})
        if not names:
            return False
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        self.skipped += 1
        self._dropped.append(", ".join(names))
        _log.error(
            "equipoise, %s: NaN or infinity in the gradients of %s: this step is not made (%d of at most %d)",
            self._run,
            self._dropped[-1],
            self.skipped,
            self.on_trouble.limit,
        )
        return True

    def consider(self, history: Sequence[Reading]) -> tuple[list[Verdict], Action | None]:
        """Judge the newest reading. If there is no trouble, take a snapshot when one is due; if there is, act on it.

        With several processes this is a collective.

        Args:
            history: readings, the newest last. After a rollback the caller drops those after ``action.to_step``.

        Returns:
            What is wrong, and what was done. After an action of kind "stop" the caller is to raise ``RunStoppedError``.
        """
        step = history[-1].step
        verdicts = _from_every_process(self._judged(history))
        new = [verdict for verdict in verdicts if (verdict.kind, verdict.where) not in self._known]
        self._known = {(verdict.kind, verdict.where) for verdict in verdicts}
        for verdict in new:
            level = logging.ERROR if verdict.severity == "trouble" else logging.WARNING
            _log.log(level, "equipoise, %s, step %d: %s %s", self._run, step, verdict.message, verdict.advice)
        trouble = [verdict for verdict in verdicts if verdict.severity == "trouble"]
        # Before it has recovered nobody knows whether a state is good.
        if not trouble and self._recovery is None and self.snapshots is not None and self.snapshots.due(step):
            self.snapshots.take(step)
        return verdicts, self._act(history, trouble, new)

    def _judged(self, history: Sequence[Reading]) -> list[Verdict]:
        """The verdicts on the newest reading, and whether the run has recovered from a rollback."""
        found = judge(history, self.thresholds)
        if self._recovery is None:
            return found
        if self._recovery.reached(history, self.thresholds):
            step, level = history[-1].step, self._recovery.level
            _log.warning("equipoise, %s, step %d: %s is at %.4g again", self._run, step, self.thresholds.loss, level)
            self._recovery = None
            return found
        lost = self._recovery.verdict(history, self.thresholds)
        return found if lost is None else [lost, *found]

    def state_dict(self) -> dict[str, Any]:
        """How much of the limits is used up, and what is still to be recovered, in plain values."""
        recovery = None if self._recovery is None else tuple(self._recovery)
        return {"skipped": self.skipped, "rollbacks": self.rollbacks, "recovery": recovery}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where a state dict was made.

        Raises:
            StateDictError: it is no state dict of this class; nothing was changed.
        """
        if not {"skipped", "rollbacks"} <= set(state_dict) <= set(self.state_dict()):
            raise StateDictError(f"a state dict with the keys {', '.join(state_dict) or '(none)'} is not one of a Guard")
        self.skipped, self.rollbacks = state_dict["skipped"], state_dict["rollbacks"]
        recovery = state_dict.get("recovery")  # earlier versions had none
        self._recovery = None if recovery is None else Recovery(*recovery)

    def _act(self, history: Sequence[Reading], trouble: list[Verdict], new: list[Verdict]) -> Action | None:
        step = history[-1].step
        match self.on_trouble:
            case Skip() as policy if self._dropped:
                return self._skip(policy, step, trouble)
            case Rollback() as policy if trouble:
                return self._roll_back(policy, history, trouble)
            case Stop() as policy if trouble:
                return self._stop(policy, step, trouble, "Trouble, and the policy is to stop.")
            case _:
                said = [verdict.message for verdict in new if verdict in trouble]
                return Action("warn", step, None, tuple(trouble), " ".join(said)) if said else None

    def _skip(self, policy: Skip, step: int, trouble: list[Verdict]) -> Action:
        dropped, self._dropped = self._dropped, []
        message = (
            f"{len(dropped)} step(s) before step {step} or this one not made, for NaN or infinity in the gradients of"
            f" {'; '.join(dropped)}. That makes {self.skipped} in this run, of at most {policy.limit}."
        )
        self._done.append(message)
        if self.skipped > policy.limit:
            return self._stop(policy.otherwise, step, trouble, "More steps were dropped than the limit allows.")
        return Action("skip", step, None, tuple(trouble), message)

    def _roll_back(self, policy: Rollback, history: Sequence[Reading], trouble: list[Verdict]) -> Action:
        assert self.snapshots is not None
        step = history[-1].step
        if self.rollbacks == policy.limit:
            return self._stop(policy.otherwise, step, trouble, f"Trouble again, after {self.rollbacks} rollbacks.")
        before = min(self._first_bad_step(history, verdict) for verdict in trouble)
        if self._returned is not None and self.snapshots.steps[-1:] == [self._returned]:
            before = min(before, self._returned)  # that one was not good enough
        had = self.snapshots.remedies
        try:
            snapshot = self.snapshots.restore(before=before)
        except UnusableInputError as error:
            return self._stop(policy.otherwise, step, trouble, f"No rollback: {error}.")
        self.rollbacks += 1
        self._returned = snapshot.step
        self._recovery = Recovery.of(history, snapshot.step, self.thresholds)
        self._known.clear()
        if policy.rewind is not None:
            policy.rewind(snapshot.step)
        self.snapshots.remedies = had + 1
        remedies = [remedy(self.snapshots.objects, had + 1 - snapshot.remedies) for remedy in policy.remedies]
        data = "" if policy.rewind is not None else " The data stay where they are."
        loop = history[-1].loop_step
        if loop and loop != snapshot.step:
            data += f" The training loop has made {loop} steps, and counts on."
        message = " ".join(
            [
                f"Back from step {step} to step {snapshot.step}, rollback {self.rollbacks} of at most {policy.limit}.{data}",
                *remedies,
            ]
        )
        self._done.append(message)
        _log.error("equipoise, %s: %s", self._run, message)
        return Action("rollback", step, snapshot.step, tuple(trouble), message)

    def _first_bad_step(self, history: Sequence[Reading], verdict: Verdict) -> int:
        """The step from which states may be bad. The level of a loss is that of several readings, all of which may be bad."""
        steps = [reading.step for reading in history]
        lag = self.thresholds.recent - 1 if verdict.kind == "divergence" else 0
        return steps[max(0, steps.index(verdict.since) - lag)]

    def _stop(self, policy: Stop, step: int, trouble: list[Verdict], why: str) -> Action:
        path = Path(policy.report).absolute()
        said = [f"- since step {each.since}: {each.message} {each.advice}" for each in trouble]
        snapshot = "None was asked for." if self.snapshots is None else self.snapshots.newest
        report = [
            f"# equipoise stopped {self._run} at step {step}",
            why,
            "## What is wrong",
            "\n".join(said) or "Nothing else than that.",
            "## What was tried",
            "\n".join(f"- {message}" for message in self._done) or "Nothing.",
            "## The last good snapshot",
            snapshot,
        ]
        message = (
            f"equipoise stopped {self._run} at step {step}. {why} {' '.join(each.message for each in trouble)} Report: {path}"
        )
        if sharding.is_distributed() and torch.distributed.get_rank():
            return Action("stop", step, None, tuple(trouble), message)
        try:
            replace_file(path, "\n\n".join(report).encode() + b"\n")
        except UnusableInputError as error:
            message = f"{message} (not written: {error})"
        _log.error("%s", message)
        return Action("stop", step, None, tuple(trouble), message)


def _from_every_process(verdicts: list[Verdict]) -> list[Verdict]:
    """The verdicts of all processes, the same list on each of them."""
    found: dict[tuple[str, tuple[str, ...]], Verdict] = {}
    for rank, theirs in enumerate(from_every_process(verdicts)):
        for verdict in theirs:
            here = verdict if rank == 0 else replace(verdict, message=f"Process {rank}: {verdict.message}")
            found.setdefault((verdict.kind, verdict.where), here)
    return list(found.values())
