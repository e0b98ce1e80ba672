"""A whole suite: its studies one after another, each the study that it is, then one decision."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path

from equipoise.errors import StudyStoppedError
from equipoise.study._engines import Engine, ThisMachine
from equipoise.study._processes.stopping import Stop
from equipoise.study._report.progress import Progress, default_progress
from equipoise.study._run.turns import Existing, Means, heeding, in_turn
from equipoise.study._run.whole import WholeRun, planned
from equipoise.study._store import Turn
from equipoise.study._suite.analysis import SuiteAnalysis
from equipoise.study._suite.contents import of_stores, store_url
from equipoise.study._suite.page import write_suite
from equipoise.study._suite.spec import Suite, read_suite


def run_suite(
    suite: Suite | Path | str | Sequence[Path | str],
    *,
    store: str | None = None,
    report: Path | str | None = None,
    workers: int | None = None,
    gpus: int | None = None,
    engine: Engine | None = None,
    existing: Existing = "reuse",
    progress: Progress | None = None,
) -> SuiteAnalysis:
    """Run the trials of a suite that are missing, and decide over all of its tasks.

    Every task is a study, run as :func:`run` does. All of them are looked at before the first trial is run. The intervals of
    all arms on all tasks hold at once with 95 % confidence. A task on which too many trials failed has no verdict, and stops no
    other.

    Args:
        suite: the suite; or the path of a study file with several tasks, of a folder of study files, or several paths.
        store: the database that keeps the trials of all tasks, as a URL of SQLAlchemy; by default NAME.db beside the file with
            several tasks; files of their own keep their own.
        report: where to write the report, one HTML file with Markdown and CSV beside it, and one more for each task; by default
            none is written.
        workers, gpus, engine: what trials run on, as for :func:`run`.
        existing: what becomes of kept trials, as for :func:`run`.
        progress: is told what happens; by default a bar is drawn if stderr is a terminal.

    Raises:
        ArgumentError: `workers` or `gpus` is not a whole number of at least 1, or there are not so many GPUs.
        UnusableInputError: a file is not a study, or something of a study cannot be used or has changed; no trial was run.
        StudyStoppedError: it was interrupted, or the store failed. Trials that finished are kept.

    Example:
        >>> import tempfile
        >>> from equipoise.study import Arm, Study, Suite, run_suite
        >>> arms = [
        ...     Arm(name="adamw", optimizer="torch.optim.AdamW", baseline=True),
        ...     Arm(name="sgd", optimizer="torch.optim.SGD", momentum=0.9),
        ... ]
        >>> shared = dict(task="diabetes", epochs=1, seeds=2, tuning_seeds=1, learning_rates=[0.001], goal="minimize", arm=arms)
        >>> suite = Suite.of("two", {name: Study(name=name, metric=name, **shared) for name in ("rmse", "loss")})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = run_suite(suite, store=f"sqlite:///{folder}/two.db")
        >>> print(found.headline)
        Keep adamw: no other arm is shown to beat it on any of 2 tasks.
    """
    suite = suite if isinstance(suite, Suite) else read_suite(suite)
    means = Means(workers, gpus, engine or ThisMachine())
    stop, turns, tasks = Stop(), list[Turn](), len(suite.parts)
    with (
        default_progress() if progress is None else nullcontext(progress) as progress,
        heeding(stop, existing),
        closing(means.engine),
        ExitStack() as stack,
    ):
        runs = dict[str, WholeRun]()
        for task, part in suite.parts.items():
            table, url = planned(part.study, part.folder), store_url(part, store)
            entered = in_turn(part.study, part.folder, url, means, progress, stop, turns)
            keeping, conditions = stack.enter_context(entered)
            runs[task] = WholeRun(table, part.file, existing, means.engine, conditions, keeping, tasks)
        for whole in runs.values():
            whole.begin()
        for number, (task, whole) in enumerate(runs.items(), 1):
            progress.tell(f"task {task} ({number} of {tasks})")
            _complete(task, whole, progress)
    contents = of_stores(suite, store)
    if report is not None:
        write_suite(contents, Path(report))
    return contents.analysis


def _complete(task: str, whole: WholeRun, progress: Progress) -> None:
    """Run what is missing. If too many of its trials failed, a task has no verdict; the others have theirs."""
    try:
        whole.complete()
    except StudyStoppedError as error:
        if whole.keeping.stop.reason or any(cell.result is None and cell.failure is None for cell in whole.table.cells):
            raise StudyStoppedError(f"task {task}: {error}") from None
        progress.tell(f"task {task} has no verdict: {error}")
