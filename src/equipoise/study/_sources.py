"""The user's own code, from files beside the study and from modules, noted as it was when a process ran it.

What a trial did depends on the text of every file that it loaded, whatever stands in them later. So a trial's process notes the
text that it compiled, and compiles nothing else: not what was compiled before, not what is on disk a moment later.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import pkgutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Self

from equipoise._words import did_you_mean
from equipoise.study._data import data_folder
from equipoise.study._task_source import relative_name

PACKAGE = Path(__file__).parents[1]
TASKS = PACKAGE / "study" / "_tasks"
"""The built-in tasks count as a user's own. Everything else of the package counts by its version."""

DATA, SHARED_DATA = "data: ", "shared data: "
"""How the name of a file begins that holds data: of the study, or of the folder for all studies. It counts by its SHA-256."""

NOT_OWN = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}", sysconfig.get_path("stdlib") + os.sep)


class Sources(MetaPathFinder):
    """Notes the text of every source that this process loads from outside of installed packages.

    Args:
        folder: of the study.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.texts: dict[str, str] = {}
        """By the file's name, as :func:`relative_name` has it."""

    def install(self) -> Self:
        """Note every source from now on, and those that are loaded already, but for the script that started the study."""
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if file is not None and name not in ("__main__", "__mp_main__") and _is_own(file):
                self.note(Path(file), Path(file).read_bytes())
        sys.meta_path.insert(0, self)
        return self

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where the other finders find a module; but if it is a user's own, it is noted when it is loaded."""
        for finder in sys.meta_path:
            found = None if finder is self else finder.find_spec(fullname, path, target)
            if found is not None:
                if isinstance(found.loader, SourceFileLoader) and _is_own(found.loader.path):
                    found.loader = _NotingLoader(self, fullname, found.loader.path)
                return found
        return None

    def load(self, reference: str) -> Any:
        """The object that a reference names: ``file.py:name``, ``package.module:name``, ``package.module.name``.

        Raises:
            ImportError, AttributeError: there is none.
        """
        place, _, name = reference.rpartition(":")
        if not place:
            return pkgutil.resolve_name(reference)
        module = self._file(self._folder / place) if place.endswith(".py") else importlib.import_module(place)
        if not hasattr(module, name):
            raise AttributeError(f"{place} has no {name!r}{did_you_mean(name, vars(module))}")
        return getattr(module, name)

    def note(self, path: Path, text: bytes) -> None:
        """Note what is about to be compiled."""
        self.texts[source_name(path, self._folder)] = as_text(text)

    def note_data(self, path: Path) -> None:
        """Note what a file with data holds.

        Raises:
            OSError: it cannot be read.
        """
        file, shared = path.resolve(), data_folder().resolve()
        prefix, folder = (SHARED_DATA, shared) if file.is_relative_to(shared) else (DATA, self._folder)
        self.texts[prefix + relative_name(file, folder)] = data_text(file)

    def _file(self, path: Path) -> ModuleType:
        known = sys.modules.get(path.stem)
        if known is not None and getattr(known, "__file__", None) == str(path):
            return known
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))  # its neighbours can be imported, as if it were run by itself
        loader = _NotingLoader(self, path.stem, str(path))
        spec = importlib.util.spec_from_file_location(path.stem, path, loader=loader)
        assert spec is not None  # it has a loader
        module = importlib.util.module_from_spec(spec)
        if known is None:
            sys.modules[path.stem] = module  # what it defines can be pickled by name, as the workers of a DataLoader need
        loader.exec_module(module)
        return module


class _NotingLoader(SourceFileLoader):
    """Compiles a source every time, and notes it: what was compiled before may be of another text."""

    def __init__(self, sources: Sources, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self._sources = sources

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 (it is that of the module that this loader is for)
        text = self.get_data(self.path)
        self._sources.note(Path(self.path), text)
        return self.source_to_code(text, self.path)


def _is_own(file: str) -> bool:
    """Whether a file counts as a user's own. It is asked of thousands of modules in every trial, hence plain text."""
    if file.startswith(f"{PACKAGE}{os.sep}"):
        return file.startswith(f"{TASKS}{os.sep}")
    # Some modules that are no files name one without a folder.
    return file.endswith(".py") and os.path.isabs(file) and not any(place in file for place in NOT_OWN)


def source_name(path: Path, folder: Path) -> str:
    """What a source is called, so that it is the same in another folder and in another installation.

    Args:
        path: of the file.
        folder: of the study.
    """
    return relative_name(path.resolve(), PACKAGE.parent if path.is_relative_to(TASKS) else folder)


def as_text(source: bytes) -> str:
    """A source as every database can hold it."""
    return source.decode(errors="replace").replace("\0", "\ufffd")


def digest(text: str) -> str:
    """The SHA-256 of a source."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def code_digest(digests: Mapping[str, str]) -> str:
    """One SHA-256 for all sources of a trial.

    Args:
        digests: of each, by its name.
    """
    return digest("".join(f"{digests[name]} {name}\n" for name in sorted(digests)))


def data_text(file: Path) -> str:
    """What stands for the content of a file with data.

    Raises:
        OSError: it cannot be read.
    """
    found = file.stat()
    return _data_text(file, found.st_mtime_ns, found.st_size)


@lru_cache
def _data_text(file: Path, changed: int, size: int) -> str:  # noqa: ARG001 (a store asks often whether a file is the same)
    with file.open("rb") as content:
        return f"SHA-256 {hashlib.file_digest(content, 'sha256').hexdigest()}\n"


def read_source(name: str, folder: Path) -> str | None:
    """The present text of a source; None if there is no such file any more.

    Args:
        name: as noted.
        folder: of the study.
    """
    for prefix, place in ((DATA, folder), (SHARED_DATA, data_folder())):
        if name.startswith(prefix):
            try:
                return data_text(place / name.removeprefix(prefix))
            except OSError:
                return None
    root = PACKAGE.parent if name.startswith(relative_name(TASKS, PACKAGE.parent)) else folder
    try:
        return as_text((root / name).read_bytes())
    except OSError:
        return None
