"""What the package shows to the outside, and what it costs to import."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import equipoise

ROOT = Path(__file__).parent.parent


def modules_after(statement):
    """The modules that a fresh interpreter has loaded after a statement."""
    code = f"import sys, json, io\nout, sys.stdout = sys.stdout, io.StringIO()\n{statement}\n"
    code += "json.dump(list(sys.modules), out)\nout.flush()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_importing_the_package_imports_nothing_else():
    assert not {"torch", "numpy", "scipy", "pydantic"} & modules_after("import equipoise")


@pytest.mark.parametrize("arguments", [["check", "--betas", "0.9", "0.999"], ["check", "--betas", "0.95", "0.7", "--json"]])
def test_a_check_imports_numpy_and_nothing_heavier(arguments):
    statement = f"from equipoise.cli import main\ntry: main({arguments})\nexcept SystemExit: pass"
    loaded = modules_after(statement)
    assert "numpy" in loaded
    assert not {"torch", "scipy", "pydantic", "rich", "plotly", "matplotlib", "yaml"} & loaded


@pytest.mark.parametrize(
    ("suffix", "content"), [("json", '{"betas": [0.9, 0.99]}'), ("toml", "betas = [0.9, 0.99]"), ("yaml", "betas: [0.9, 0.99]")]
)
def test_a_check_of_a_configuration_imports_no_torch(tmp_path, suffix, content):
    path = tmp_path / f"config.{suffix}"
    path.write_text(content)
    loaded = modules_after(
        f"from pathlib import Path\nfrom equipoise.check._sources import read_recipes\nread_recipes(Path({str(path)!r}))"
    )
    assert "torch" not in loaded
    assert ("yaml" in loaded) == (suffix == "yaml")


def test_the_public_names_and_their_signatures_are_these():
    """After a change that is meant: ``python -m tests.public_names > tests/public_names.txt``, and say it in the changelog."""
    # In a process of its own: torch adds a step to a class of optimizers when its first instance is made.
    done = subprocess.run([sys.executable, "-m", "tests.public_names"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == (ROOT / "tests" / "public_names.txt").read_text(encoding="utf-8")


def test_every_room_is_an_attribute_of_the_package():
    code = "import equipoise; print(equipoise.monitor.Monitor, equipoise.watch.Run, equipoise.check)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_every_public_name_can_be_imported_and_is_listed():
    for name in equipoise.__all__:
        assert getattr(equipoise, name) is not None
    assert dir(equipoise) == sorted(equipoise.__all__)


def test_an_unknown_name_is_an_attribute_error_that_lists_the_public_ones():
    with pytest.raises(AttributeError, match="no attribute 'Adam'; public names are Equipoise, EquipoiseError"):
        _ = equipoise.Adam


def test_the_changelog_and_the_version_agree():
    newest = re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == equipoise.__version__


def test_the_command_line_reports_the_same_version():
    done = subprocess.run([sys.executable, "-m", "equipoise", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["equipoise", equipoise.__version__]
