"""What stands beside the package, and must not drift from it: citation, workflows, Makefile, pages for contributors."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import equipoise
from equipoise import cli

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))


def steps():
    for workflow in WORKFLOWS:
        for job in yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values():
            yield from job["steps"]


def made(text):
    """The targets that a text names: in code, at the start of a comment, or as a command of a workflow."""
    return set(re.findall(r"(?:`|^|^# |^\$ |   )make ([a-z][a-z-]*)", text, re.MULTILINE))


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == equipoise.__version__
    assert citation["license"] == PROJECT["project"]["license"]


def test_the_versions_of_python_that_are_tested_are_those_that_are_promised():
    promised = {
        classifier.rpartition(" ")[2]
        for classifier in PROJECT["project"]["classifiers"]
        if classifier.startswith("Programming Language :: Python :: 3.")
    }
    tested = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))
    assert set(tested["jobs"]["quick"]["strategy"]["matrix"]["python"]) == promised
    versions = {step["with"]["python-version"] for step in steps() if "python-version" in step.get("with", {})}
    assert versions - {"${{ matrix.python }}"} <= promised


def test_actions_are_pinned_to_a_commit_and_may_only_read():
    used = [step["uses"] for step in steps() if "uses" in step]
    assert used
    assert not [action for action in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)]
    for workflow in WORKFLOWS:
        assert yaml.safe_load(workflow.read_text(encoding="utf-8"))["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("path", ["Makefile", "CONTRIBUTING.md", "README.md", ".github/pull_request_template.md"])
def test_the_targets_that_a_page_names_exist(path):
    assert made((ROOT / path).read_text(encoding="utf-8")) <= TARGETS


def test_the_targets_that_workflows_run_exist():
    assert set().union(*(made(step.get("run", "")) for step in steps())) <= TARGETS


def test_every_target_is_phony():
    phony = {name for line in re.findall(r"^\.PHONY: (.*)", MAKEFILE, re.MULTILINE) for name in line.split()}
    assert phony == TARGETS


def test_the_files_that_the_page_for_contributors_names_exist():
    named = re.findall(r"`((?:src|tests|docs|examples)/[\w./-]+)`", CONTRIBUTING)
    assert len(named) > 20
    assert not [path for path in named if not (ROOT / path).exists()]


def test_the_page_for_contributors_has_every_layer_in_order():
    (layers,) = (
        contract["layers"]
        for contract in PROJECT["tool"]["importlinter"]["contracts"]
        if contract.get("containers") == ["equipoise"]
    )
    table = CONTRIBUTING[CONTRIBUTING.index("| layer |") :]
    rows = re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE)
    assert [re.findall(r"`(\w+)`", row) for row in rows] == [re.findall(r"\w+", layer) for layer in layers]


def test_the_quick_tests_exist():
    quick = re.search(r"^QUICK := ((?:.*\\\n)*.*)", MAKEFILE, re.MULTILINE)[1].replace("\\", " ").split()
    assert not [path for path in quick if not (ROOT / path).exists()]


def test_the_commands_that_the_first_study_ends_with_work_as_they_are_printed(tmp_path, capsys):
    printed = re.findall(r'@echo "  \.venv/bin/(\w+) ([^#"]*?) *#', MAKEFILE)
    assert len(printed) == 4
    for command, arguments in printed:
        if command == "python":
            assert (ROOT / arguments).exists()
        else:
            assert command in PROJECT["project"]["scripts"]
            options = cli._parser().parse_args(arguments.split())
            if "watch" in arguments:  # what the example before it writes
                assert f'Path("{options.runs[0].as_posix()}")' in (ROOT / "examples" / "plain_loop.py").read_text(
                    encoding="utf-8"
                )
            else:
                done = subprocess.run(
                    [sys.executable, "-m", "equipoise", *arguments.split()], cwd=tmp_path, capture_output=True, text=True
                )
                assert done.returncode in (0, 1), done.stderr


def test_a_kept_version_of_every_requirement_is_in_the_constraints():
    """Of the base and of every extra, so that two installations are the same."""
    kept = {
        re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower()
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    }
    extras = PROJECT["project"]["optional-dependencies"].values()
    needed = {
        re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()
        for requirements in (PROJECT["project"]["dependencies"], *extras)
        for requirement in requirements
    }
    assert needed - {"equipoise"} <= kept
