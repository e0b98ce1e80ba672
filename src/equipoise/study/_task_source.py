"""The tasks of studies: those that are built in, and where any task is."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from equipoise._words import did_you_mean
from equipoise.errors import UnusableInputError
from equipoise.study._data import DATASETS, require

BUILT_IN_TASKS = {
    "digits": "equipoise.study._tasks.digits:digits",
    "digits-batchnorm": "equipoise.study._tasks.digits:digits_batchnorm",
    "deep-digits": "equipoise.study._tasks.digits:deep_digits",
    "long-tail-digits": "equipoise.study._tasks.digits:long_tail_digits",
    "characters": "equipoise.study._tasks.source_files:characters",
    "characters-layernorm": "equipoise.study._tasks.source_files:characters_layernorm",
    "words": "equipoise.study._tasks.source_files:words",
    "diabetes": "equipoise.study._tasks.tables:diabetes",
    "fashion-mnist": "equipoise.study._tasks.pictures:fashion_mnist",
    "fashion-mnist-batchnorm": "equipoise.study._tasks.pictures:fashion_mnist_batchnorm",
    "cifar-10": "equipoise.study._tasks.pictures:cifar_10",
    "cifar-10-batchnorm": "equipoise.study._tasks.pictures:cifar_10_batchnorm",
    "cifar-100": "equipoise.study._tasks.pictures:cifar_100",
    "cifar-100-batchnorm": "equipoise.study._tasks.pictures:cifar_100_batchnorm",
    "pictures": "equipoise.study._tasks.pictures:own_pictures",
    "pictures-batchnorm": "equipoise.study._tasks.pictures:own_pictures_batchnorm",
    "tiny-shakespeare": "equipoise.study._tasks.texts:tiny_shakespeare",
    "tiny-shakespeare-layernorm": "equipoise.study._tasks.texts:tiny_shakespeare_layernorm",
    "text": "equipoise.study._tasks.texts:own_text",
    "text-layernorm": "equipoise.study._tasks.texts:own_text_layernorm",
    "mail": "equipoise.study._tasks.messages:mail",
}
"""The tasks that a study file can name without saying where they are. The name of one on data that no package brings begins
with the name of the data."""


@dataclass(frozen=True)
class TaskSource:
    """Where a task's function is, and what it contained when the study ran."""

    module: str
    """A dotted name, or the absolute path of a file."""
    function: str
    folder: str
    """The folder of the study: files are named relative to it."""

    @property
    def place(self) -> str:
        """The module, named so that a study in another folder has the same: a file relative to the study's."""
        return relative_name(Path(self.module), Path(self.folder)) if self.module.endswith(".py") else self.module


def relative_name(path: Path, folder: Path) -> str:
    """A file's name relative to a folder that holds it, else its absolute one."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def locate_task(task: str, folder: Path) -> TaskSource:
    """Find the file that defines a task, without running it.

    Args:
        task: a built-in name, ``package.module:function``, or ``file.py:function`` relative to `folder`.
        folder: of the study file.

    Raises:
        UnusableInputError: there is no such file or module, or the data of a built-in task are missing.
    """
    if task in BUILT_IN_TASKS and (data := task.removesuffix("-batchnorm").removesuffix("-layernorm")) in DATASETS:
        require(data)
    module, separator, function = BUILT_IN_TASKS.get(task, task).rpartition(":")
    if not separator or not function.isidentifier():
        raise UnusableInputError(
            f"task = {task!r}: must be one of {', '.join(map(repr, BUILT_IN_TASKS))}, 'file.py:function' or"
            f" 'package.module:function'{did_you_mean(task, BUILT_IN_TASKS)}"
        )
    if module.endswith(".py"):
        file = (folder / module).resolve()
        module = str(file)
    else:
        try:
            found = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            found = None
        if found is None or found.origin is None:
            raise UnusableInputError(f"task = {task!r}: there is no module {module!r}")
        file = Path(found.origin)
    try:
        file.open("rb").close()
    except OSError as error:
        raise UnusableInputError(f"task = {task!r}: {file} cannot be read: {error.strerror}") from None
    return TaskSource(module, function, str(folder.resolve()))
