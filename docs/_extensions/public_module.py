"""A directive that shows a public module: its docstring, a table of its names, and an entry for each of them.

What is shown comes from ``__all__``, so that a new public name needs no new line in the documentation. An object that two
modules offer (``equipoise.Monitor`` and ``equipoise.monitor.Monitor``) has one entry; every other name of it leads there.
"""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

FRONT_DOOR = "equipoise"
ROOMS = (
    "equipoise.optim",
    "equipoise.balance",
    "equipoise.migrate",
    "equipoise.check",
    "equipoise.theory",
    "equipoise.hyperparameters",
    "equipoise.rules",
    "equipoise.monitor",
    "equipoise.monitor.integrations",
    "equipoise.watch",
    "equipoise.study",
    "equipoise.recommend",
    "equipoise.errors",
)


def homes() -> dict[int, str]:
    """The name under which each public object has its entry, by its identity: the first room that offers it has the entry."""
    found: dict[int, str] = {}
    for room in ROOMS:
        module = importlib.import_module(room)
        for name in module.__all__:
            value = getattr(module, name)
            setattr(module, name, value)  # autodoc asks dir(), which does not list what is imported on first use
            if callable(value) or inspect.ismodule(value):
                found.setdefault(id(value), f"{room}.{name}")
    return found


HOMES = homes()


class PublicModule(SphinxDirective):
    """``.. public-module:: equipoise.theory``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Write reStructuredText, and have it parsed."""
        (name,) = self.arguments
        module = importlib.import_module(name)
        public: list[str] = list(module.__all__)
        if name == FRONT_DOOR:
            here, lines = [], [f".. py:module:: {name}", "", *inspect.getdoc(module).splitlines(), ""]
        else:
            here = [each for each in public if HOMES.get(id(getattr(module, each)), f"{name}.{each}") == f"{name}.{each}"]
            lines = [f".. automodule:: {name}", "   :no-members:", ""]
        lines += [".. list-table::", "   :class: names", ""] if public else []
        for each in filter(lambda each: _summed_up(module, each), public):
            home = HOMES.get(id(getattr(module, each)), f"{name}.{each}")
            lines += [f"   * - :py:obj:`{each} <{home}>`", f"     - {_first_sentence(getattr(module, each))}"]
        lines += [""]
        for each in here:
            value = getattr(module, each)
            kind = "class" if inspect.isclass(value) else "function" if callable(value) and _summed_up(module, each) else "data"
            if inspect.isclass(value) and issubclass(value, BaseException):
                kind = "exception"
            lines += [f".. auto{kind}:: {name}.{each}"]
            if inspect.isclass(value):
                lines += ["   :members:", *(["   :show-inheritance:"] if value.__bases__ != (object,) else [])]
            lines += ["", ""]
        container = nodes.Element()
        self.state.nested_parse(StringList(lines, f"{name} (public-module)"), self.content_offset, container)
        return container.children


def _first_sentence(value: Any) -> str:
    sentence = re.split(r"(?<=[.])\s|\n\n|::\n", inspect.getdoc(value) or "", maxsplit=1)[0].split("\n")
    as_plain_text(sentence)
    return " ".join(sentence)


def _summed_up(module: Any, name: str) -> bool:
    """Whether a name has a docstring of its own; an alias of a type has that of ``typing``."""
    value = getattr(module, name)
    return inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value)


def lead_home(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> nodes.reference | None:
    """Resolve a reference to a public object by any of its names, also by the private module that defines it."""
    if node.get("refdomain") != "py":
        return None
    target = str(node["reftarget"])
    for candidate in (target, f"{node.get('py:module')}.{target}", f"{FRONT_DOOR}.{target}"):
        value = _imported(candidate)
        if value is None:
            continue
        home = HOMES.get(id(value))
        owner, _, member = candidate.rpartition(".")
        if home is None and id(_imported(owner)) in HOMES:
            home = f"{HOMES[id(_imported(owner))]}.{member}"
        if home is not None and home != target:
            kind = "mod" if inspect.ismodule(value) else "obj"
            return env.domains.python_domain.resolve_xref(env, node["refdoc"], app.builder, kind, home, node, content)
    return None


def _imported(dotted: str) -> Any:
    """The object with a dotted name in this package, or None."""
    parts = dotted.split(".")
    if parts[0] != FRONT_DOOR:
        return None
    value: Any = importlib.import_module(FRONT_DOOR)
    for number, part in enumerate(parts[1:], 2):
        try:
            value = getattr(value, part)
        except AttributeError:
            try:
                value = importlib.import_module(".".join(parts[:number]))
            except ImportError:
                return None
    return value


LITERAL = re.compile(r"(``.*?``|`.*?`)")


def as_plain_text(lines: list[str]) -> None:
    """Escape what would be markup, in place: |W| and a * b in a docstring mean what a reader of the source sees."""
    block = None  # the indent of the paragraph that announced a literal block
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if block is not None and line.strip() and indent <= block:
            block = None
        if block is None and not line.lstrip().startswith((">>>", "...")):
            parts = LITERAL.split(line)
            lines[i] = "".join(part if part.startswith("`") else re.sub(r"([|*])", r"\\\1", part) for part in parts)
        if line.endswith("::"):
            block = indent


def process_docstring(*arguments: Any) -> None:
    """Called by autodoc with the application, the kind, the name and the object, its options, and the lines to be changed."""
    kind, lines = arguments[1], arguments[-1]
    as_plain_text(lines)
    if kind in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]  # an empty comment, else napoleon takes what stands before the first colon for a type


def process_signature(*arguments: Any) -> tuple[str | None, str | None]:
    """Called by autodoc with, among others, the signature; make defaults that are no expressions into names that parse."""
    signature, returned = arguments[-2:]
    if signature is not None:
        signature = re.sub(r"<(?:class|function) '?(?:\w+\.)*(\w+)[^>]*>", r"\1", signature.replace("<factory>", "..."))
    return signature, returned


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.add_directive("public-module", PublicModule)
    app.connect("autodoc-process-docstring", process_docstring, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", process_signature)
    app.connect("missing-reference", lead_home)
    return {"parallel_read_safe": True}
