"""What keeps the house easy to enter: sizes of files and folders, words that no reader should meet, and what stays rare."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "equipoise"
MODULES = sorted(SOURCE.rglob("*.py"))
FOLDERS = sorted({path.parent for path in MODULES})
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts),
]
OTHERS = [path for folder in ("examples", "reproductions", "benchmarks") for path in (ROOT / folder).glob("*.py")]

LINES = 350
IGNORED = 40


def named(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_is_short_enough_to_read(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES


@pytest.mark.parametrize("folder", FOLDERS, ids=named)
def test_a_folder_holds_few_modules(folder):
    modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    rooms = [path for path in folder.iterdir() if (path / "__init__.py").exists()]
    assert len(modules) <= 10
    assert len(modules) + len(rooms) >= 3


@pytest.mark.parametrize("path", [*MODULES, *OTHERS, *PAGES], ids=named)
def test_nobody_meets_the_number_of_an_equation(path):
    """They have names: docs/equations.md."""
    assert re.findall(r"\bE(?:1[01]|[1-9])\b(?!\.)", path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_docstring_is_a_sentence(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = [node.value.value for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    assert [text for text in texts if isinstance(text, str) and text.startswith("Of ")] == []


def test_the_type_checker_is_rarely_told_to_look_away():
    found = [line for path in MODULES for line in path.read_text(encoding="utf-8").splitlines() if "pyright: ignore" in line]
    assert len(found) < IGNORED
