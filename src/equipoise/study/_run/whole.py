"""A whole study: plan its trials, run those that are missing, analyse the results, write the report."""

from __future__ import annotations

import re
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path

from equipoise._files import read_text
from equipoise._words import did_you_mean
from equipoise.errors import StudyStoppedError, UnusableInputError
from equipoise.study._analysis import Analysis, Tuned, analyse, best_points, chosen_by_the_metric, too_few_seeds, tune
from equipoise.study._arms.space import Point
from equipoise.study._cells import Cell, Table, trials
from equipoise.study._engines import Engine, ThisMachine
from equipoise.study._processes.pool import Conditions
from equipoise.study._processes.rehearsal import made_of, rehearse
from equipoise.study._processes.stopping import Stop
from equipoise.study._records import Recorded, record_cells, record_study, recorded
from equipoise.study._report.page import report_file, report_study
from equipoise.study._report.progress import Progress, default_progress
from equipoise.study._run.changes import refuse_changed_arms, refuse_changed_sources
from equipoise.study._run.keeping import Keeping, unreported
from equipoise.study._run.turns import HOW_TO_GO_ON, Existing, Means, heeding, in_turn
from equipoise.study._spec import Study, parse_study
from equipoise.study._store import store_url
from equipoise.study._task_source import locate_task


def run(
    study: Study | Path | str,
    *,
    folder: Path | str | None = None,
    store: str | None = None,
    report: Path | str | None = None,
    workers: int | None = None,
    gpus: int | None = None,
    engine: Engine | None = None,
    existing: Existing = "reuse",
    progress: Progress | None = None,
) -> Analysis:
    """Run the trials of a study that are missing, and compare its arms.

    Every arm tries equally many points of its search on the tuning seeds. Then it trains at its best point on fresh seeds, the
    same for all arms, and is compared with the baseline seed by seed: the paired t intervals of all arms hold at once with
    95 % confidence, and verdicts are read off them. Trials run in processes of their own and are kept as soon as they finish:
    an interrupted study continues where it was, and a second run of a finished one trains nothing. A trial that fails stops no
    other: it is missing in the verdict, which says so, and the next run tries it again.

    Ctrl-C, SIGTERM or SIGHUP let the trials that run finish and start no more. A second one ends them at once.

    A script that calls this needs the usual guard of :mod:`multiprocessing`, ``if __name__ == "__main__":``.

    Args:
        study: the study, or the path of its TOML file.
        folder: the file of a task is relative to it; by default the folder of the study file, else the working directory.
        store: the database that keeps the trials, as ``postgresql://user@host/database``; by default the SQLite file NAME.db in
            `folder`.
        report: where to write the report, one HTML file with Markdown and CSV beside it; of a folder, NAME.report.html in it.
            By default none is written.
        workers: how many trials run at once; by default as many as there are `gpus`, or else as many as the usable cores carry:
            their number divided by the study's threads.
        gpus: give each trial one of so many GPUs: the first that this process may use, or those of the cluster. By default
            every trial sees all GPUs of this machine, and none on a cluster.
        engine: where trials run: by default in processes of this machine, or on a :class:`RayCluster`. Results do not depend on
            it.
        existing: what becomes of kept trials. "reuse" takes them, and refuses to run if the task or an arm is not what it was
            for them; "fork" runs what has changed anew beside them; "fresh" runs everything anew.
        progress: is told what happens; by default a bar is drawn if stderr is a terminal.

    Returns:
        The verdict (`headline`, `remarks`), every arm's values, and the contrasts with the baseline.

    Raises:
        ArgumentError: `workers` or `gpus` is not a whole number of at least 1, or there are not so many GPUs.
        UnusableInputError: the file is not a study, its task or an arm's optimizer cannot be used or has changed, the store
            cannot be opened (in these cases no trial was run), or the report cannot be written.
        StudyStoppedError: it was interrupted, the store failed, the task never reports the metric, too many trials failed for a
            verdict, or none of them reported a finite number. Trials that finished are kept.

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
    with _in_its_turn(study, folder, store, Means(workers, gpus, engine or ThisMachine()), existing, progress) as running:
        running.begin()
        analysis = analyse(running.table, running.complete())
        if report is not None:
            report_study(running.store, running.study.name, report_file(Path(report), running.study.name))
    return analysis


def probe(study: Path | str, *, store: str | None = None, workers: int | None = None, progress: Progress | None = None) -> None:
    """Run the first trial of every arm, unless it is kept: it shows that the task works, and how long it takes.

    Raises:
        ArgumentError, UnusableInputError: as :func:`run`.
        StudyStoppedError: it was interrupted, the store failed, or a trial did.
    """
    with _in_its_turn(study, None, store, Means(workers), "reuse", progress) as running:
        running.try_each_arm()


@contextmanager
def _in_its_turn(
    study: Study | Path | str,
    folder: Path | str | None,
    store: str | None,
    means: Means,
    existing: Existing,
    progress: Progress | None,
) -> Generator[WholeRun]:
    """What runs a study, while no other process does; the arguments are as those of :func:`run`."""
    file = ""
    if isinstance(study, Study):
        folder = Path() if folder is None else Path(folder)
    else:
        path = Path(study)
        folder = path.parent if folder is None else Path(folder)
        file = read_text(path)
        study = parse_study(file, path)
    url = store_url(study, folder) if store is None else store
    table, stop = planned(study, folder), Stop()
    with (
        default_progress() if progress is None else nullcontext(progress) as progress,
        heeding(stop, existing),
        closing(means.engine) as engine,
        in_turn(study, folder, url, means, progress, stop, []) as (keeping, conditions),
    ):
        yield WholeRun(table, file, existing, engine, conditions, keeping)


def planned(study: Study, folder: Path) -> Table:
    """The trials that tuning begins with.

    Raises:
        UnusableInputError: there is no such task.
    """
    table = Table(study, locate_task(study.task, folder))
    table.plan_tuning()
    return table


class WholeRun:
    """One run of a study, in its turn.

    Args:
        table: with the cells that are tuned.
        file: the text of the study file, or "".
        existing: what becomes of kept trials.
        engine: runs trials.
        conditions: how trials are run.
        keeping: takes what comes of them.
        tasks: how many tasks are decided together, of which this is one.
    """

    def __init__(
        self,
        table: Table,
        file: str,
        existing: Existing,
        engine: Engine,
        conditions: Conditions,
        keeping: Keeping,
        tasks: int = 1,
    ) -> None:
        self.table, self.study, self.file = table, table.study, file
        self.comparisons = tasks * (len(table.study.arms) - 1)
        self.existing: Existing = existing
        self.engine, self.conditions, self.keeping = engine, conditions, keeping
        self.store, self.progress = keeping.store, keeping.progress
        self.rehearsed = False

    def begin(self) -> None:
        """See what is kept and whether everything can be run, and write what the study is.

        Raises:
            UnusableInputError: something cannot be used, or has changed. No trial was run.
        """
        former = self._begin(self.table.cells)
        self.store.do(lambda connection: record_study(connection, self.table, self.file, self.store.address))
        if former is None:  # else what was planned is known, also the comparison
            self.store.do(lambda connection: record_cells(connection, self.table, self.table.cells))

    def complete(self) -> list[Tuned]:
        """Run everything that is missing once it has begun, and return how the arms were tuned.

        Raises:
            UnusableInputError: the code of kept trials is not what it was.
            StudyStoppedError: the run stopped before its end.
        """
        self._train(list(self.table.cells))
        for ended, following in pairwise(self.study.rungs):
            tuned = self._tuned(ended.stop_after)
            left = {found.arm.name: best_points(found, self.study.selection.goal, following.points) for found in tuned}
            self._tune_more(left, following.stop_after)
        tuned = self._tuned()
        for _ in range(self.study.extend):
            if not any(found.at_edge for found in tuned):
                break
            further = self.study.further_points
            self._tune_more({found.arm.name: further(found.arm, found.tried, found.point, found.edges) for found in tuned})
            tuned = self._tuned()
        if self.study.baseline.name not in [found.arm.name for found in tuned]:
            missing = self.table.missing()
            raise StudyStoppedError(
                f"{len(missing)} trials failed, too many for any comparison; the first is {missing[0].label}:"
                f" {missing[0].why_missing}; {HOW_TO_GO_ON[self.existing]}"
            )
        comparison = self.table.plan_comparison({found.arm.name: found.point for found in tuned})
        self._prepare(comparison)
        self._train(comparison)
        return tuned

    def try_each_arm(self) -> None:
        """Run the first trial of every arm, unless it is kept.

        Raises:
            UnusableInputError: as in :meth:`begin`.
            StudyStoppedError: it stopped before its end, or a trial failed.
        """
        tuning = list(self.table.cells)
        if self._begin(tuning) is None:  # else a report shows what was run before
            self.store.do(lambda connection: record_study(connection, self.table, self.file, self.store.address))
            self.store.do(lambda connection: record_cells(connection, self.table, tuning))
        first = list({cell.arm: cell for cell in reversed(tuning)}.values())
        self._run_missing(first, later=0)
        for cell in first:
            if cell.result is None:
                raise StudyStoppedError(f"the first trial of {cell.arm} failed: {cell.why_missing}")

    def _begin(self, tuning: Sequence[Cell]) -> Recorded | None:
        """See what is kept and whether everything can be run; return what an earlier run wrote of the study."""
        try:
            self.conditions.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnusableInputError(f"{self.conditions.logs} cannot be made: {error.strerror}") from None
        if read := self.keeping.spool.empty_into(self.store):
            self.progress.tell(f"{read} result(s) that the store could not take in an earlier run are in it now")
        if self.existing == "fresh":
            self._begin_anew()
        former = self.store.do(lambda connection: recorded(connection, self.study.name))
        if former is not None:
            if self.existing == "reuse" and self.store.keys_of(self.study.name):
                refuse_changed_arms(former.study, self.study)
            self.table.hyperparameters = former.hyperparameters
        for remark in [*chosen_by_the_metric(self.study), *too_few_seeds(self.study.seeds, self.comparisons)]:
            self.progress.tell(f"warning: {remark}")
        self._prepare(tuning)
        return former

    def _tuned(self, stop_after: int | None = None) -> list[Tuned]:
        """How the arms were tuned, without those of which no point has all results."""
        return [found for arm in self.study.arms if (found := tune(self.table, arm, stop_after)) is not None]

    def _tune_more(self, points: Mapping[str, Sequence[Point]], stop_after: int | None = None) -> None:
        cells = self.table.plan_more_tuning(points, stop_after)
        self._prepare(cells)
        self._train(cells)

    def _begin_anew(self) -> None:
        kept = self.store.keys_of(self.study.name)
        self.store.set_aside(kept)
        for key in {*kept, *(cell.assignment.key for cell in self.table.cells)}:
            shutil.rmtree(self.conditions.checkpoints / key, ignore_errors=True)

    def _prepare(self, cells: Sequence[Cell]) -> None:
        """Fill the cells of a phase with what is kept, and see to it that the others can be run."""
        self.store.fill(cells)
        for cell in cells:
            if absent := unreported(cell):
                raise UnusableInputError(f"trial {cell.label} is kept, and {absent}")
        keys = [cell.assignment.key for cell in cells if cell.result is None]
        outdated = self.store.outdated(keys)
        if outdated.keys and self.existing == "reuse":
            refuse_changed_sources(outdated)
        self.store.set_aside(outdated.keys)
        if keys and not self.rehearsed:
            self._rehearse()

    def _rehearse(self) -> None:
        """See whether the task can be loaded, the optimizers made, and whether the metric's name is one that the task knows."""
        arms = {cell.arm: cell for cell in reversed(self.table.cells)}
        log = self.conditions.logs / "rehearsal.log"
        found = rehearse([arms[arm.name] for arm in self.study.arms], self.study.task, log, self.study.timeout)
        self.rehearsed = True
        self.table.hyperparameters = found.hyperparameters
        for warning in found.warnings:
            self.progress.warn(warning)
        words = set(re.findall(r"\w+", " ".join(found.sources.values())))
        for name in sorted(self.table.cells[0].assignment.needed):
            if words and not all(made_of(word, words) for word in re.findall(r"\w+", name)):
                files = ", ".join(sorted(found.sources))
                doubt = f"the task may never report {name!r}, because {files} does not contain that name"
                self.progress.tell(f"warning: {doubt}{did_you_mean(name, words)}")

    def _train(self, cells: Sequence[Cell]) -> None:
        """Plan the trials of a phase, and run those that are not kept."""
        self.store.do(lambda connection: record_cells(connection, self.table, list(cells)))
        self._run_missing(cells, later=0 if cells[0].phase == "comparison" else len(self.study.arms) * self.study.seeds)

    def _run_missing(self, cells: Sequence[Cell], later: int) -> None:
        planned = trials(cells)
        missing = [cell for cell in planned if cell.result is None]
        done = len(planned) - len(missing)
        self.progress.phase(cells[0].phase, len(planned), done, later)
        if done:
            self._tell_what_is_reused([cell for cell in planned if cell.result is not None])
        self.engine.execute(missing, self.conditions, self.keeping, self.keeping.stop)
        if reason := self.keeping.stop.reason:
            finished = sum(cell.result is not None for cell in planned)
            raise StudyStoppedError(
                f"{reason}; {finished} of the {len(planned)} trials of the {cells[0].phase} are finished and kept;"
                f" {HOW_TO_GO_ON[self.existing]}"
            )
        self.store.fill(cells)  # also arms that share trials

    def _tell_what_is_reused(self, cells: Sequence[Cell]) -> None:
        between = self.store.finished_between(cell.assignment.key for cell in cells)
        assert between is not None  # they are kept
        first, last = (f"{time:%Y-%m-%d %H:%M}" for time in between)
        when = first if first == last else f"{first} to {last}"
        self.progress.tell(f"{len(cells)} trial(s) are reused, from {when} UTC; --fresh runs them anew")
