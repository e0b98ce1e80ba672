"""The snippets of the guides run as they are printed, twice in a row, and print what the page says they print.

A block whose caption is a file's name is that file. Blocks of Python share one namespace for each page; a block of text after
one is its output. In a block of shell, lines after a command are what it prints; a command without such lines only has to
succeed.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDES = Path(__file__).parent.parent / "docs" / "guides"
PAGES = sorted(GUIDES.glob("*.md"))
LONG = {"choose", "compare"}
"""They run studies."""

BLOCK = re.compile(r"^```(?:\{code-block\} )?(\w+)\n(?::caption: (\S+)\n)?(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page):
    """Language, caption or "", and content of every block of code."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def run_python(code, namespace):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "guide", "exec"), namespace)
    return printed.getvalue()


def run_shell(block, folder):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        done = subprocess.run(
            command, shell=True, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, encoding="utf-8"
        )
        if expected:
            assert done.stdout == expected, command
        else:
            assert done.returncode == 0, f"{command}\n{done.stderr}"


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page.stem, marks=pytest.mark.long if page.stem in LONG else ()) for page in PAGES]
)
def test_the_snippets_of_a_guide_run_twice_in_a_row(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        namespace, printed = {"__name__": "guide"}, ""
        for language, caption, content in blocks(page):
            if caption:
                (tmp_path / caption).write_text(content, encoding="utf-8")
            elif language == "python":
                printed = run_python(content, namespace)
            elif language == "text":
                assert printed == content
            elif language == "console":
                run_shell(content, tmp_path)
            else:
                raise AssertionError(f"{page.name} has a block of {language}, which is not run")


def test_there_is_a_guide_for_every_job():
    assert {page.stem for page in PAGES} == {"check", "train", "compare", "data", "choose"}  # watch is docs/monitor.md
