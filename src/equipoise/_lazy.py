"""Names that a package imports when they are first used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from equipoise.errors import MissingExtraError


def imported_on_first_use(
    package: str, homes: Mapping[str, str], extra: str | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The ``__getattr__`` and the ``__dir__`` of a package, by which Python finds names that it does not hold yet (PEP 562).

    Args:
        package: its ``__name__``.
        homes: for every public name the module below the package that holds it; "" where the name is itself a module.
        extra: the optional dependencies that some of these modules need.

    Raises:
        MissingExtraError: a name is asked for whose module needs a package that is not installed.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; public names are {', '.join(sorted(homes))}")
        try:
            module = importlib.import_module(f"{package}.{homes[name] or name}")
        except ModuleNotFoundError as error:
            if extra is None or (error.name or "").startswith("equipoise"):
                raise
            raise MissingExtraError(f"{package}.{name}", extra) from error
        return getattr(module, name) if homes[name] else module

    return find, lambda: sorted(homes)
