"""The page of equations refers to what exists: its tests, its files, its functions and its own headings."""

import importlib
import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "equations.md").read_text(encoding="utf-8")


def test_every_test_that_it_names_exists():
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    defined = {name for file in ROOT.glob("tests/**/*.py") for name in re.findall(r"def (test_\w+)", file.read_text("utf-8"))}
    assert len(named) > 10
    assert named <= defined


def test_every_file_that_it_names_exists():
    named = set(re.findall(r"`(tests/[\w/.]+)`", PAGE)) | set(re.findall(r"\]\(([\w/-]+\.md)\)", PAGE))
    assert named
    assert [name for name in named if not (ROOT / name).exists() and not (ROOT / "docs" / name).exists()] == []


def test_every_script_that_it_names_can_be_found():
    named = set(re.findall(r"python -m ([\w.]+)", PAGE))
    assert named
    assert [name for name in named if importlib.util.find_spec(name) is None] == []


def test_every_function_of_the_theory_is_in_it():
    theory = importlib.import_module("equipoise.theory")
    functions = [name for name in theory.__all__ if name.islower()]
    assert [name for name in functions if f"`{name}`" not in PAGE and f"`equipoise.theory.{name}`" not in PAGE] == []


def test_every_heading_has_the_label_of_its_name():
    headings = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    labels = re.findall(r"^\(([\w-]+)\)=$", PAGE, re.MULTILINE)
    assert labels == [heading.lower().replace(" ", "-") for heading in headings]
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= set(labels)
