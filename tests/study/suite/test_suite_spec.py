"""A file with several tasks, and several files."""

from __future__ import annotations

import pytest

from equipoise.errors import UnusableInputError
from equipoise.study import read_study, read_suite
from equipoise.study._suite.spec import is_suite

HEAD = (
    'name = "two"\ngoal = "minimize"\nmetric = "loss"\nepochs = 3\nseeds = 3\ntuning_seeds = 2\nlearning_rates = [0.01, 0.1]\n'
)
SHORT = '[[task]]\nname = "short"\ntask = "task.py:train"\n'
LONG = '[[task]]\nname = "long"\ntask = "task.py:train"\nepochs = 9\ngoal = "maximize"\n'
ARMS = '[[arm]]\nname = "adamw"\noptimizer = "adamw"\nbaseline = true\n[[arm]]\nname = "sgd"\noptimizer = "sgd"\n'


def write(folder, *parts):
    path = folder / "two.toml"
    path.write_text("\n".join(parts))
    return path


def test_an_entry_stands_in_place_of_what_the_file_says_for_all_tasks(tmp_path):
    path = write(tmp_path, HEAD, SHORT, LONG, ARMS)
    assert is_suite([path])
    suite = read_suite(path)
    short, long = suite.studies.values()
    assert (suite.name, short.name, long.name) == ("two", "two.short", "two.long")
    assert (short.epochs, long.epochs, short.goal, long.goal) == (3, 9, "minimize", "maximize")
    assert short.arms == long.arms
    assert {part.store for part in suite.parts.values()} == {"two"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("epochs = 9", "epochs = 0", ["task 'long': epochs = 0 must be greater than or equal to 1"]),
        ("epochs = 9", "epoch = 9", ["task 'long': epoch = 9 is no key", "did you mean 'epochs'?"]),
        ("epochs = 9", "arm = []", ["task[2] arm is not accepted: arms are the same on every task of a suite"]),
        ('name = "long"', 'name = "short"', ["task[2] name = 'short' is that of another task; names must differ"]),
        ('name = "long"', 'name = "../long"', ["task[2] name = '../long' must be made of letters"]),
        ('name = "long"\n', "", ["task[2] name = None must be made of letters"]),
        ("seeds = 3\ntuning", "seeds = 1\ntuning", ["suite:\n  seeds = 1 must be greater than or equal to 2"]),
    ],
)
def test_a_fault_is_named_with_its_task_and_a_shared_one_once(tmp_path, old, new, said):
    text = HEAD + SHORT + LONG + ARMS
    assert old in text
    with pytest.raises(UnusableInputError) as refused:
        read_suite(write(tmp_path, text.replace(old, new)))
    for part in said:
        assert str(refused.value).count(part) == 1


def test_several_files_are_a_suite_if_their_arms_are_the_same(write_study, tmp_path):
    first = write_study()
    second = tmp_path / "second.toml"
    second.write_text(first.read_text().replace('name = "quadratic"', 'name = "cubic"'))
    for suite in (read_suite([first, second]), read_suite(tmp_path)):
        assert {task: part.store for task, part in suite.parts.items()} == {"quadratic": "quadratic", "cubic": "cubic"}
    assert read_suite([first, second]).studies["quadratic"] == read_study(first)
    second.write_text(second.read_text().replace("exponent = 0.25", "exponent = 0.125"))
    with pytest.raises(UnusableInputError, match="quadratic and cubic differ in the arm quarter"):
        read_suite([first, second])
    second.write_text(second.read_text().replace('name = "quarter"', 'name = "eighth"'))
    with pytest.raises(UnusableInputError, match="differ in the arms eighth, quarter"):
        read_suite([first, second])


def test_a_file_with_one_task_is_no_suite_and_a_folder_without_studies_is_told(write_study, tmp_path):
    assert not is_suite([write_study()])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnusableInputError, match="holds no study file"):
        read_suite(tmp_path / "empty")
