"""Every public name of the package with its signature: ``python -m tests.public_names``."""

from __future__ import annotations

import enum
import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import equipoise


def public_modules() -> Iterator[str]:
    """The package, and every module in it without a part that starts with an underscore."""
    yield "equipoise"
    for module in pkgutil.walk_packages(equipoise.__path__, "equipoise."):
        if not any(part.startswith("_") for part in module.name.split(".")):
            yield module.name


def public_names() -> Iterator[str]:
    """A line for each, and one for each public method of a class."""
    for module_name in public_modules():
        module = importlib.import_module(module_name)
        for name in sorted(module.__all__):
            yield from _lines(f"{module_name}.{name}", getattr(module, name))


def _lines(name: str, value: object) -> Iterator[str]:
    if not inspect.isclass(value):
        yield name + (_signature(value) if callable(value) else "")
        return
    # The signature of an enum, or of an exception without one of its own, is Python's, and differs between its versions.
    own = "__init__" in vars(value) or "__new__" in vars(value)
    yield name + (_signature(value) if own and not issubclass(value, enum.Enum) else "")
    for member, method in sorted(vars(value).items()):
        if not member.startswith("_") and inspect.isroutine(inspect.unwrap(getattr(method, "__func__", method))):
            yield f"{name}.{member}" + _signature(getattr(value, member))


def _signature(value: object) -> str:
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


if __name__ == "__main__":
    print("\n".join(public_names()))
