"""A whole study: plan its trials, run those that are missing, analyse the results, write the report."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from pathlib import Path

import torch
from torch import nn
from torch.optim import Adam, AdamW

from equipoise.errors import MissingExtraError, StabilityWarning, UnusableInputError
from equipoise.hyperparameters import Hyperparameters, whole_number
from equipoise.optim._optimizer import Equipoise
from equipoise.study._analysis import Analysis, analyse, tune
from equipoise.study._cells import Cell, Table, trials
from equipoise.study._processes.children import execute, usable_cores
from equipoise.study._records import record_cells, record_study
from equipoise.study._report.page import write_html
from equipoise.study._report.progress import Progress, default_progress
from equipoise.study._spec import Study, locate_task, read_study
from equipoise.study._store import Store, sqlite_url
from equipoise.study._worker import build_optimizer


def run(
    study: Study | Path | str,
    *,
    folder: Path | str | None = None,
    store: str | None = None,
    report: Path | str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Analysis:
    """Run the trials of a study that are missing, and compare its arms.

    Every learning rate of every arm trains on the tuning seeds. Then every arm trains at its best learning rate on fresh seeds,
    the same for all arms, and is compared with the baseline seed by seed (a paired t interval, and an exact sign-flip test with
    Holm's correction). Trials run in processes of their own and are kept as soon as they finish: an interrupted study continues
    where it was, and a second run of a finished one trains nothing.

    A script that calls this needs the usual guard of :mod:`multiprocessing`, ``if __name__ == "__main__":``.

    Args:
        study: the study, or the path of its TOML file.
        folder: the file of a task is relative to it; by default the folder of the study file, else the working directory.
        store: the database that keeps the trials, as a URL of SQLAlchemy; by default NAME.db in `folder`.
        report: where to write the report, one HTML file; by default none is written.
        workers: how many trials run at once; by default one for each usable core.
        progress: is told what happens; by default a bar is drawn if stderr is a terminal.

    Returns:
        The verdict (`headline`, `remarks`), every arm's values, and the contrasts with the baseline.

    Raises:
        ArgumentError: `workers` is not a whole number of at least 1.
        UnusableInputError: the file is not a study, its task or an arm's optimizer cannot be used, the store cannot be opened
            (in these cases no trial was run), or the report cannot be written.
        StudyStoppedError: a trial failed, or none of them reported a finite number. Trials that finished are kept.

    Example:
        >>> import tempfile
        >>> from equipoise.study import Arm, Study, run
        >>> study = Study(
        ...     name="first",
        ...     task="diabetes",
        ...     metric="rmse",
        ...     goal="minimize",
        ...     epochs=1,
        ...     seeds=2,
        ...     tuning_seeds=1,
        ...     learning_rates=[0.001],
        ...     arm=[
        ...         Arm(name="adamw", optimizer="torch.optim.AdamW", baseline=True),
        ...         Arm(name="sgd", optimizer="torch.optim.SGD", momentum=0.9),
        ...     ],
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     analysis = run(study, folder=folder)
        >>> print(analysis.headline)
        No arm is shown to beat adamw.
        >>> [(arm.name, len(arm.values)) for arm in analysis.arms]
        [('adamw', 2), ('sgd', 2)]
    """
    file = ""
    if isinstance(study, Study):
        folder = Path() if folder is None else Path(folder)
    else:
        path = Path(study)
        folder = path.parent if folder is None else Path(folder)
        study, file = read_study(path), path.read_text(encoding="utf-8")
    if workers is None:
        workers = usable_cores()
    whole_number("workers", workers)
    table = Table(study, locate_task(study.task, folder))
    tuning = table.plan_tuning()
    with default_progress() if progress is None else nullcontext(progress) as progress:
        table.hyperparameters = _check_arms(table, progress.warn)
        with closing(Store(store or sqlite_url(folder / f"{study.name}.db"))) as database:
            with database.engine.begin() as connection:
                record_study(connection, table, file)
                record_cells(connection, table, tuning)
            _complete(study, tuning, database, progress, workers)
            tuned = [tune(table, arm) for arm in study.arms]
            comparison = table.plan_comparison({found.arm.name: found.point for found in tuned})
            with database.engine.begin() as connection:
                record_cells(connection, table, comparison)
            _complete(study, comparison, database, progress, workers)
    analysis = analyse(table, tuned)
    if report is not None:
        write_html(analysis, Path(report))
    return analysis


def _check_arms(table: Table, warn: Callable[[str], None]) -> dict[str, Hyperparameters]:
    """Make every arm's optimizer and controller once on small parameters, to see before any training that it can be made.

    Returns:
        By the name of the arm, the hyperparameters of those optimizers that have the update rule: the report draws them.

    Raises:
        UnusableInputError: an optimizer or a controller cannot be made.
    """
    found: dict[str, Hyperparameters] = {}
    for arm in table.study.arms:
        optimizer = _make_optimizer(next(cell for cell in table.cells if cell.arm == arm.name), warn)
        group = optimizer.param_groups[0]
        if isinstance(optimizer, Equipoise):
            found[arm.name] = Hyperparameters.of_group(group)
        elif type(optimizer) in (Adam, AdamW):
            found[arm.name] = Hyperparameters.parse(group["betas"])
    return found


def _make_optimizer(cell: Cell, warn: Callable[[str], None]) -> torch.optim.Optimizer:
    assignment = cell.assignment
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", StabilityWarning)
            made, _ = build_optimizer(assignment, probe())
    except ModuleNotFoundError as error:
        if error.name == "pytorch_optimizer":
            raise MissingExtraError(f"arm {cell.arm!r}", "optimizers") from error
        raise UnusableInputError(f"arm {cell.arm!r}: {assignment.optimizer} cannot be made: {error}") from error
    except Exception as error:  # whatever a third party's constructor raises, the arm is at fault
        name, controller = assignment.optimizer, assignment.controller
        wanted = name if controller is None else f"{name} with {controller['name']}"
        raise UnusableInputError(f"arm {cell.arm!r}: {wanted} cannot be made: {error}") from error
    for warning in caught:
        warn(f"arm {cell.arm!r}: {warning.message}")
    return made


def probe() -> nn.Module:
    """A small model with parameters in every role."""
    return nn.Sequential(nn.Embedding(4, 2), nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 2), nn.Linear(2, 4))


def _complete(study: Study, cells: Sequence[Cell], store: Store, progress: Progress, workers: int) -> None:
    """Fill the cells of a phase: with results that are kept, and by running the trials that are not."""
    store.fill(cells)
    planned = trials(cells)
    missing = [cell for cell in planned if cell.result is None]
    progress.phase(cells[0].phase, len(planned), len(planned) - len(missing))

    def keep(cell: Cell) -> None:
        store.add(study.name, cell)
        progress.finished(cell)

    execute(missing, workers, keep)
    store.fill(cells)  # also arms that share trials, and what another process has kept before this one
