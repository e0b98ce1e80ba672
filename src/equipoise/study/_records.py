"""What the store holds of a study besides its trials: its file, its plan, where and how it was run. A report needs no more."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sqlalchemy import Column, ForeignKey, Integer, String, Table, Text, delete, insert, select
from sqlalchemy.engine import Connection

from equipoise.hyperparameters import Hyperparameters
from equipoise.study._cells import Cell
from equipoise.study._cells import Table as Plan
from equipoise.study._names import LONGEST_NAME
from equipoise.study._store import METADATA, Address, Moment
from equipoise.study._task_source import TaskSource

STUDIES = Table(
    "study",
    METADATA,
    Column("name", String(LONGEST_NAME), primary_key=True),
    Column("recorded_at", Moment, nullable=False),
    Column("study", Text, nullable=False),  # as JSON
    Column("file", Text, nullable=False),  # as it was written; empty for a study that was made in Python
    Column("task", Text, nullable=False),
    Column("hyperparameters", Text, nullable=False),
    Column("command", Text, nullable=False),
    Column("environment", Text, nullable=False),
)

CELLS = Table(
    "cell",
    METADATA,
    Column("study", String(LONGEST_NAME), ForeignKey("study.name"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("phase", String(16), nullable=False),
    Column("arm", String(LONGEST_NAME), nullable=False),
    Column("trial", String(64), nullable=False, index=True),
    Column("assignment", Text, nullable=False),
)


def record_study(connection: Connection, plan: Plan, file: str, address: Address) -> None:
    """Write what a study is, in place of what an earlier run wrote.

    Args:
        connection: to the store, in a transaction.
        plan: with the hyperparameters of the arms.
        file: the text of the study file, or "".
        address: of the store. Its passwords are left out of the command that is running.
    """
    name = plan.study.name
    connection.execute(delete(CELLS).where(CELLS.c.study == name))
    connection.execute(delete(STUDIES).where(STUDIES.c.name == name))
    connection.execute(
        insert(STUDIES),
        {
            "name": name,
            "recorded_at": datetime.now(UTC),
            "study": plan.study.model_dump_json(by_alias=True),
            "file": file,
            "task": json.dumps(asdict(plan.task)),
            "hyperparameters": json.dumps({arm: asdict(found) for arm, found in plan.hyperparameters.items()}),
            "command": shlex.join(map(address.hide, [Path(sys.orig_argv[0]).name, *sys.orig_argv[1:]])),
            "environment": json.dumps(environment()),
        },
    )


@dataclass(frozen=True)
class Recorded:
    """What an earlier run wrote."""

    study: dict[str, Any]
    """As JSON has it."""
    hyperparameters: dict[str, Hyperparameters]
    task: TaskSource
    file: str
    """The text of the study file; "" if the study was made in Python."""
    command: str
    environment: dict[str, str]
    recorded_at: datetime


def recorded(connection: Connection, name: str) -> Recorded | None:
    """What an earlier run wrote of a study; None if there was none.

    Args:
        connection: to the store.
        name: of the study.
    """
    row = connection.execute(select(STUDIES).where(STUDIES.c.name == name)).one_or_none()
    if row is None:
        return None
    hyperparameters = {
        arm: Hyperparameters(tuple((first, second) for first, second in found["betas"]), tuple(found["exponents"]))
        for arm, found in json.loads(row.hyperparameters).items()
    }
    return Recorded(
        json.loads(row.study),
        hyperparameters,
        TaskSource(**json.loads(row.task)),
        row.file,
        row.command,
        json.loads(row.environment),
        row.recorded_at,
    )


def record_cells(connection: Connection, plan: Plan, cells: list[Cell]) -> None:
    """Write the cells of a phase behind those of the plan of a study that came before them.

    Args:
        connection: to the store, in a transaction.
        plan: has `cells` at its end.
        cells: as they were planned.
    """
    name, first = plan.study.name, len(plan.cells) - len(cells)
    connection.execute(delete(CELLS).where(CELLS.c.study == name, CELLS.c.position >= first))
    connection.execute(
        insert(CELLS),
        [
            {
                "study": name,
                "position": first + index,
                "phase": cell.phase,
                "arm": cell.arm,
                "trial": cell.assignment.key,
                "assignment": json.dumps(asdict(cell.assignment)),
            }
            for index, cell in enumerate(cells)
        ],
    )


def environment() -> dict[str, str]:
    """The versions and the machine that a study runs with, by what each is called."""
    found = {package: version(package) for package in ("equipoise", "torch", "numpy")}
    found["python"] = platform.python_version()
    found["system"] = platform.platform()
    found["processor"] = platform.processor() or platform.machine()
    found["cores"] = str(os.cpu_count())
    import torch  # not for those who read what was recorded

    if torch.cuda.is_available():
        found["gpu"] = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return found
