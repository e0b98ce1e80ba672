"""Trials as tasks of a Ray cluster. Their results come home to the one process that runs the study, which keeps them."""

from __future__ import annotations

import importlib.util
import pickle
import re
import shutil
import uuid
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from equipoise._words import counted, printable
from equipoise.errors import ArgumentError, MissingExtraError, UnusableInputError
from equipoise.study._cells import Cell, Failure
from equipoise.study._engines import arrival
from equipoise.study._engines.connection import connect, places
from equipoise.study._engines.node import Order, Outcome
from equipoise.study._processes.logs import log_of
from equipoise.study._processes.pool import TICK, Conditions, Keeper
from equipoise.study._processes.stopping import Stop

MOST_LOSSES = 5
"""A trial that has lost its process or its node so often has failed."""

LOST = ("WorkerCrashedError", "NodeDiedError", "LocalRayletDiedError", "ObjectLostError")
"""What Ray raises where the process that ran a task, its node, or what it has brought back is gone."""

BESIDE = ("db", "db-*", "logs", "resume", "spool", "report.*")
"""What a study writes beside its file, by the endings: not to be sent with the folder."""


@dataclass(frozen=True)
class _Sent:
    """A trial that the cluster has, or is about to have."""

    cell: Cell
    attempt: int = 1
    losses: int = 0


class RayCluster:
    """Runs the trials of a study on a Ray cluster, each as a task with processor cores of its own, and one GPU if asked.

    A trial runs on its node as it would here, watched in a process of its own, and its result comes home to this process. So a
    study has the same verdict on a cluster, and may run in part there and in part here. A trial that loses its process or its
    node begins again elsewhere, which uses up none of the study's `retries`.

    Ray sends the study's folder to the nodes. Every node needs this package and torch in the same versions.

    Args:
        address: "auto" for the cluster that this machine belongs to, "HOST:PORT" for the one with that head, or "local" for one
            of this machine alone, which ends with the run.

    Raises:
        MissingExtraError: Ray is not installed.
        ArgumentError: it is no such address.

    Example:
        >>> from equipoise.study import RayCluster
        >>> RayCluster("10.0.0.1:6379")  # for equipoise.study.run(..., engine=...)
        RayCluster('10.0.0.1:6379')
    """

    def __init__(self, address: str = "auto") -> None:
        if importlib.util.find_spec("ray") is None:
            raise MissingExtraError("a Ray cluster", "ray")
        head = re.fullmatch(r"[^/:]+:(\d{1,5})", address)
        if address not in ("auto", "local") and (head is None or int(head[1]) > 65535):
            raise ArgumentError("address", address, "'auto', 'local' or HOST:PORT")
        self.address = address
        self._ray: Any = None
        self._folder = ""
        """What the cluster was sent."""
        self._mark: Path | None = None
        """A file in the folder for checkpoints: nodes that see it share the folder."""

    def __repr__(self) -> str:
        return f"RayCluster({self.address!r})"

    def execute(self, cells: Sequence[Cell], conditions: Conditions, keeper: Keeper, stop: Stop) -> None:
        """Run the trials of cells, and give the cells their results and failures.

        Raises:
            UnusableInputError: the cluster cannot be used, or has no node that a trial fits on. No trial was run.
        """
        if not cells:
            return
        ray = self._connected(cells[0], conditions)
        resources = {"CPU": cells[0].assignment.threads, "GPU": 0 if conditions.gpus is None else 1}
        self._refuse_if_none_fits(resources, conditions)
        # Ray ends the process of a task that had a GPU, unless told otherwise. But it is the trial's process that uses the GPU.
        task = ray.remote(num_cpus=resources["CPU"], num_gpus=resources["GPU"], max_calls=0, max_retries=0)(arrival.arrive)
        waiting = deque(_Sent(cell) for cell in cells)
        running: dict[Any, _Sent] = {}
        try:
            while running or (waiting and not stop.reason):
                room = self._room(resources, conditions)
                while waiting and not stop.reason and len(running) < room:
                    sent = waiting.popleft()
                    running[self._send(task, sent.cell, conditions)] = sent
                ended, _ = ray.wait(list(running), timeout=TICK)
                for reference in ended:
                    again = self._receive(reference, running.pop(reference), conditions, keeper, stop)
                    if again is not None:
                        waiting.appendleft(again)
                keeper.tick()
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def close(self) -> None:
        """Leave the cluster. A local one ends."""
        if self._ray is not None:
            self._ray.shutdown()
            self._ray = None
        if self._mark is not None:
            self._mark.unlink(missing_ok=True)
            with suppress(OSError):  # trials that did not finish have left something there
                self._mark.parent.rmdir()
            self._mark = None

    def _connected(self, cell: Cell, conditions: Conditions) -> Any:
        """The module `ray`, with a connection to the cluster that lasts until :meth:`close`."""
        task = cell.assignment.task
        checkpoints = conditions.checkpoints.resolve()
        if self._mark is not None and (self._folder, self._mark.parent) == (task.folder, checkpoints):
            return self._ray
        self.close()  # another study, of several that run together, has other folders
        if Path(task.place).is_absolute():
            raise UnusableInputError(
                f"{task.place} is outside of the study's folder, {task.folder}, and only that is sent to the Ray cluster: move"
                " the file there, or run the study from a folder that holds both"
            )
        checkpoints.mkdir(exist_ok=True)
        self._mark = checkpoints / f".seen-{uuid.uuid4().hex}"
        self._mark.touch()
        name = conditions.logs.name.removesuffix(".logs")
        self._folder = task.folder
        self._ray = connect(self.address, Path(task.folder), [f"/{name}.{ending}" for ending in BESIDE])
        self._ray.cloudpickle.register_pickle_by_value(arrival)
        return self._ray

    def _refuse_if_none_fits(self, resources: dict[str, int], conditions: Conditions) -> None:
        """Ray would wait for ever, unless a node is added: whoever has said how many `workers` there are expects that."""
        if conditions.workers is None and places(self._ray, resources) == 0:
            needed = counted(resources["CPU"], "core") + (" and a GPU" if resources["GPU"] else "")
            raise UnusableInputError(
                f"no node of the Ray cluster has {needed} for a trial: add one, or say how many trials may run at once"
                " (workers), and Ray waits for nodes"
            )

    def _room(self, resources: dict[str, int], conditions: Conditions) -> int:
        """How many trials the cluster is given at a time. It has no more than it can run, so that a study can be stopped."""
        wanted = conditions.workers or max(1, places(self._ray, resources))
        return wanted if conditions.gpus is None else min(wanted, conditions.gpus)

    def _send(self, task: Any, cell: Cell, conditions: Conditions) -> Any:
        assert self._mark is not None  # it is connected
        gpus = None if conditions.gpus is None else 1
        order = Order(replace(cell, failure=None), conditions.timeout, gpus, self._mark)
        software = {package: version(package) for package in ("equipoise", "torch")}
        return task.options(name=cell.label).remote(pickle.dumps(order), software)

    def _receive(self, reference: Any, sent: _Sent, conditions: Conditions, keeper: Keeper, stop: Stop) -> _Sent | None:
        """Give the cell what came of its trial, tell the keeper, and say what to send again, if anything."""
        errors = self._ray.exceptions
        try:
            found: Outcome | str = self._ray.get(reference)
        except tuple(getattr(errors, name) for name in LOST) as error:
            again = replace(sent, losses=sent.losses + 1) if sent.losses + 1 < MOST_LOSSES else None
            failure = Failure(f"its process or its node was lost: {_first_line(error)}", "", "")
            return _failed(sent.cell, failure, again, keeper)
        except errors.RayError as error:  # no memory left on the node, a full disk there, and others
            outcome = Outcome(failure=Failure(f"{type(error).__name__}: {_first_line(error)}", "", ""))
        else:
            if isinstance(found, str):  # the next node may be no better: it is for a person to see to
                stop.ask(found)
                return _failed(sent.cell, Failure(found, "", ""), None, keeper)
            outcome = found
        return self._keep(outcome, sent, conditions, keeper, stop)

    def _keep(self, outcome: Outcome, sent: _Sent, conditions: Conditions, keeper: Keeper, stop: Stop) -> _Sent | None:
        cell, log = sent.cell, log_of(sent.cell, conditions.logs)
        if outcome.failure is not None:
            again = replace(sent, attempt=sent.attempt + 1) if sent.attempt <= conditions.retries else None
            _write(log, outcome.log, sent.attempt, stop)
            return _failed(cell, replace(outcome.failure, log=str(log)), again, keeper)
        cell.result, cell.failure = outcome.result, None
        keeper.keep(cell, outcome.sources)
        _write(log, outcome.log, sent.attempt, stop)
        shutil.rmtree(conditions.checkpoints / cell.assignment.key, ignore_errors=True)
        return None


def _failed(cell: Cell, failure: Failure, again: _Sent | None, keeper: Keeper) -> _Sent | None:
    cell.failure = failure
    keeper.failed(cell, again is not None)
    return again


def _write(log: Path, text: bytes, attempt: int, stop: Stop) -> None:
    """Write what a trial printed. Later attempts add to that of the first."""
    try:
        with log.open("wb" if attempt == 1 else "ab") as file:
            file.write(text)
    except OSError as error:
        stop.ask(f"{log} cannot be written: {error.strerror}")


def _first_line(error: Exception) -> str:
    return printable(next(iter(str(error).strip().splitlines()), type(error).__name__), 300)
