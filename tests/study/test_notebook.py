"""A notebook shows the progress of a study in one place, and its analysis with a table and a figure."""

from __future__ import annotations

import re
import shutil
import sys

import nbformat
import pytest
from nbclient import NotebookClient

from tests.study.recorder import run

CODE = "import sys; sys.path[:0] = {path!r}\nfrom equipoise.study import run\nrun('study.toml')"


@pytest.fixture(scope="module")
def outputs(finished, tmp_path_factory):
    """What a real kernel shows for a cell that ends with a study, with one trial of each arm to run."""
    folder = tmp_path_factory.mktemp("notebook") / "study"
    shutil.copytree(finished.folder, folder)
    path = folder / "study.toml"
    path.write_text(path.read_text().replace("\nseeds = 3", "\nseeds = 4"))
    cell = nbformat.v4.new_code_cell(CODE.format(path=sys.path))
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return cell.outputs


def test_progress_is_one_output_that_ends_with_all_trials(outputs):
    progress, _ = outputs
    lines = progress.data["text/plain"].splitlines()
    assert re.fullmatch(r"comparison: 8 of 8 trials \(.*: loss = .*\)", lines[-1])
    assert lines[0].startswith("warning: loss chooses the point")
    assert sum("reused" in line for line in lines) == 2


def test_an_analysis_shows_itself_small_and_without_a_script(outputs):
    _, result = outputs
    page = result.data["text/html"]
    assert "No arm is shown to beat adamw." in page
    assert page.count("<tr>") == 1 + 2
    assert page.count("<circle") == 1  # the baseline has no interval
    assert len(page) < 20_000
    assert not re.search(r"<script|https?:|url\(", page)
    assert result.data["text/plain"] == "<Analysis of quadratic: No arm is shown to beat adamw.>"


def test_names_are_text_in_a_notebook(write_study):
    path = write_study(("\nseeds = 3", "\nseeds = 2"), ("tuning_seeds = 2", "tuning_seeds = 1"), ('"quarter"', '"<b>x</b>"'))
    analysis, _ = run(path)
    assert "&lt;b&gt;x&lt;/b&gt;" in analysis._repr_html_()
    assert "<b>" not in analysis._repr_html_()
