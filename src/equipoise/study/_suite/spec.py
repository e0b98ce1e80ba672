"""What a suite is: a study file with several tasks, or several study files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

from pydantic import ValidationError

from equipoise._files import parse_toml, read_text
from equipoise._words import listed
from equipoise.errors import UnusableInputError
from equipoise.study._faults import ACCEPTED, described
from equipoise.study._spec import TABLES, Study

TASK_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"

SHARED = ("name", "arm")
"""The keys that an entry of `[[task]]` cannot have: the first is its own, and arms are the same on every task."""


@dataclass(frozen=True)
class Part:
    """One task of a suite: the study that it is."""

    study: Study
    folder: Path
    """The file of its task is relative to it."""
    store: str
    """The name of the database in that folder which keeps the trials, without ".db"."""
    file: str = ""
    """The text of the file that it was read from."""


@dataclass(frozen=True)
class Suite:
    """Several studies that share their arms and are decided together.

    Raises:
        ValueError: there is no study, or what an arm is differs between them. What it searches may differ.

    Example:
        >>> suite = Suite.of("both", {"digits": study("digits"), "diabetes": study("diabetes")})  # doctest: +SKIP
    """

    name: str
    parts: Mapping[str, Part]
    """The studies by the name of their task."""

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("a suite needs at least one task")
        first, *others = self.parts.items()
        for task, part in others:
            if differing := _differing(first[1].study, part.study):
                raise ValueError(f"tasks of a suite must share their arms; {first[0]} and {task} differ in {differing}")

    @classmethod
    def of(cls, name: str, studies: Mapping[str, Study], folder: Path | str = ".") -> Self:
        """Studies that were made in Python, with one store, NAME.db.

        Args:
            name: of the suite.
            studies: by the name of their task; their own names must differ.
            folder: the files of the tasks are relative to it, and the store is in it.
        """
        return cls(name, {task: Part(study, Path(folder), name) for task, study in studies.items()})

    @property
    def studies(self) -> Mapping[str, Study]:
        """The studies by the name of their task."""
        return {task: part.study for task, part in self.parts.items()}


def is_suite(paths: Sequence[Path]) -> bool:
    """Whether paths are those of a suite: several files, a folder, or one file with `[[task]]` entries."""
    if len(paths) != 1 or paths[0].is_dir():
        return True
    return isinstance(parse_toml(read_text(paths[0]), paths[0]).get("task"), list)


def read_suite(paths: Path | str | Sequence[Path | str]) -> Suite:
    r"""Read and check a suite: one study file with `[[task]]` entries, a folder of study files, or several study files.

    An entry of `[[task]]` has a name, and any key of a study but `arm`: it stands in place of what the file says for all tasks.
    The study of a task is called SUITE.TASK. Files of their own are tasks under their own names.

    Raises:
        UnusableInputError: a file is missing, not TOML, or not a study, or the arms differ; the message lists every fault.

    Example:
        >>> import tempfile
        >>> shared = 'name = "both"\nepochs = 5\nseeds = 9\ntuning_seeds = 2\npoints = 4\n'
        >>> digits = '[[task]]\nname = "digits"\ntask = "digits"\nmetric = "accuracy"\ngoal = "maximize"\n'
        >>> diabetes = '[[task]]\nname = "diabetes"\ntask = "diabetes"\nmetric = "rmse"\ngoal = "minimize"\nepochs = 20\n'
        >>> arms = '[[arm]]\nname = "adamw"\noptimizer = "adamw"\nbaseline = true\n[[arm]]\nname = "sgd"\noptimizer = "sgd"\n'
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "both.toml")
        ...     _ = path.write_text(shared + digits + diabetes + arms)
        ...     suite = read_suite(path)
        >>> [(task, study.name, study.metric, study.epochs) for task, study in suite.studies.items()]
        [('digits', 'both.digits', 'accuracy', 5), ('diabetes', 'both.diabetes', 'rmse', 20)]
    """
    files = [Path(paths)] if isinstance(paths, Path | str) else [Path(path) for path in paths]
    place, name = listed([str(path) for path in files], 3), "suite"
    if len(files) == 1 and files[0].is_dir():
        name, files = files[0].resolve().name, sorted(files[0].glob("*.toml"))
        if not files:
            raise UnusableInputError(f"{place} holds no study file (*.toml)")
    texts = {path: read_text(path) for path in files}
    contents = {path: parse_toml(text, path) for path, text in texts.items()}
    try:
        if len(files) == 1 and isinstance(contents[files[0]].get("task"), list):
            return _several_tasks(files[0], texts[files[0]], contents[files[0]])
        return Suite(name, {part.study.name: part for part in _several_files(texts, contents)})
    except ValueError as error:
        raise UnusableInputError(f"{place}: {error}") from None


def _several_files(texts: Mapping[Path, str], contents: Mapping[Path, Mapping[str, Any]]) -> Iterator[Part]:
    names = set[str]()
    for path, content in contents.items():
        if isinstance(content.get("task"), list):
            raise UnusableInputError(f"{path} is a suite itself; several files must be studies with one task each")
        study, faults = _checked(content)
        if study is None:
            raise UnusableInputError(f"{path}: is not a study:\n" + "\n".join(f"  {fault}" for fault in faults))
        if study.name in names:
            raise UnusableInputError(
                f"{path}: its name, {study.name!r}, is that of another file of the suite; names must differ"
            )
        names.add(study.name)
        yield Part(study, path.parent, study.name, texts[path])


def _several_tasks(path: Path, text: str, content: Mapping[str, Any]) -> Suite:
    shared = {key: value for key, value in content.items() if key != "task"}
    name, parts = shared.get("name"), dict[str, Part]()
    faults: dict[str, list[str]] = {}
    found: list[str] = []
    for number, entry in enumerate(cast("list[Any]", content["task"]), 1):
        if not isinstance(entry, dict):
            found.append(f"task[{number}] must be a table: write [[task]], and below it its keys")
            continue
        own = cast("dict[str, Any]", entry)
        task = own.get("name")
        if not isinstance(task, str) or not re.fullmatch(TASK_NAME, task):
            found.append(f"task[{number}] name = {task!r} {ACCEPTED['string_pattern_mismatch']}")
            continue
        if task in parts or task in faults:
            found.append(f"task[{number}] name = {task!r} is that of another task; names must differ")
            continue
        if "arm" in own:
            found.append(f"task[{number}] arm is not accepted: arms are the same on every task of a suite")
        given = {key: value for key, value in own.items() if key not in SHARED}
        study, faults[task] = _checked({**shared, **given, "name": f"{name}.{task}" if isinstance(name, str) else name})
        if study is not None:
            parts[task] = Part(study, path.parent, str(name), text)
    everywhere = [fault for fault in next(iter(faults.values()), list[str]()) if all(fault in own for own in faults.values())]
    found += everywhere + [
        f"task {task!r}: {fault}" for task, own in faults.items() for fault in own if fault not in everywhere
    ]
    if found:
        raise UnusableInputError(f"{path}: is not a suite:\n" + "\n".join(f"  {fault}" for fault in found))
    return Suite(str(name), parts)


def _checked(content: Mapping[str, Any]) -> tuple[Study | None, list[str]]:
    try:
        return Study.model_validate(content), []
    except ValidationError as error:
        return None, list(described(error, TABLES))


def _differing(one: Study, other: Study) -> str:
    """What arms two studies do not share, and what of the shared ones is not the same, but for what they search."""
    first, second = ({arm.name: arm for arm in study.arms} for study in (one, other))
    if names := sorted(set(first).symmetric_difference(second)):
        return f"the arms {listed(names, 5)}"
    what = {"search", "learning_rates"}
    return listed(
        [f"the arm {name}" for name in first if first[name].model_dump(exclude=what) != second[name].model_dump(exclude=what)],
        5,
    )
