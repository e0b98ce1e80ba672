"""A trial is what its code was when it ran: a change is shown and refused, and nothing of two versions is ever mixed."""

from __future__ import annotations

import sys

import pytest

from equipoise.errors import StudyStoppedError, UnusableInputError
from equipoise.study._sources import Sources

from .recorder import Recorder, run

ONE_POINT = ("tuning_seeds = 2\nlearning_rates = [0.01, 0.1]", "tuning_seeds = 1\nlearning_rates = [0.1]")
ALL_TRIALS = 2 * 1 + 2 * 3


@pytest.fixture
def sources(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setattr("sys.meta_path", [*sys.meta_path])
    before = set(sys.modules)
    yield Sources(tmp_path).install()
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_task_file_its_neighbours_and_what_they_import_late_are_noted_and_installed_packages_are_not(sources, tmp_path):
    (tmp_path / "neighbour_of_task.py").write_text("ANSWER = 42\n")
    (tmp_path / "late_neighbour.py").write_text("")
    task = "import tabnanny, rich.json\nfrom neighbour_of_task import ANSWER\n"
    task += "def train():\n    import late_neighbour\n    return ANSWER\n"
    (tmp_path / "task.py").write_text(task)
    before = set(sources.texts)  # this test file, and built-in tasks that other tests have loaded
    train = sources.load("task.py:train")
    assert set(sources.texts) - before == {"task.py", "neighbour_of_task.py"}
    assert train() == 42
    assert sources.texts["task.py"] == task
    assert "late_neighbour.py" in sources.texts


def test_what_runs_is_what_is_noted_even_if_something_else_was_compiled_before(sources, tmp_path):
    import importlib.util
    import os
    import py_compile

    module = tmp_path / "edited_module.py"
    module.write_text("ANSWER = 1\n")
    stamp = module.stat()
    py_compile.compile(str(module), importlib.util.cache_from_source(str(module)))
    module.write_text("ANSWER = 2\n")  # of the same size, and at the same second
    os.utime(module, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    (tmp_path / "task.py").write_text("from edited_module import ANSWER\n")
    assert sources.load("task.py:ANSWER") == 2
    assert sources.texts["edited_module.py"] == "ANSWER = 2\n"


def test_an_object_that_is_not_there_is_asked_about(sources, tmp_path):
    (tmp_path / "task.py").write_text("def train(trial): ...\n")
    with pytest.raises(AttributeError, match=r"task.py has no 'trian': did you mean 'train'\?"):
        sources.load("task.py:trian")


def test_a_changed_neighbour_is_shown_and_refused_until_the_run_is_told_to_fork(write_study, tmp_path, executed):
    neighbour = tmp_path / "neighbour_of_task.py"
    neighbour.write_text("SCALE = 1.0\n")
    task = (
        write_study(ONE_POINT)
        .with_name("task.py")
        .read_text()
        .replace("import torch\n", "import torch\nfrom neighbour_of_task import SCALE\n")
    )
    path = write_study(ONE_POINT, task=task.replace("loss=loss", "loss=SCALE * loss"))
    first, _ = run(path)
    neighbour.write_text("SCALE = 2.0\n")
    with pytest.raises(UnusableInputError) as refused:
        run(path)
    assert "2 trial(s), kept since" in str(refused.value)
    assert "  -SCALE = 1.0\n  +SCALE = 2.0\n" in str(refused.value)
    assert "--- task.py" not in str(refused.value)
    assert len(executed()) == ALL_TRIALS
    forked, _ = run(path, existing="fork")
    assert len(executed()) == 2 * ALL_TRIALS
    assert forked.arms[0].values == pytest.approx([2 * value for value in first.arms[0].values])
    assert run(path)[0] == forked
    assert len(executed()) == 2 * ALL_TRIALS


def test_a_change_that_is_undone_costs_nothing(write_study, executed):
    path = write_study(ONE_POINT)
    first, _ = run(path)
    task = path.with_name("task.py").read_text()
    changed = write_study(ONE_POINT, task=task + "\n# another version\n")
    with pytest.raises(UnusableInputError, match=r"\+# another version"):
        run(changed)
    assert run(write_study(ONE_POINT, task=task))[0] == first
    assert len(executed()) == ALL_TRIALS


def test_a_changed_arm_is_shown_and_refused_and_a_new_one_is_not(write_study, executed):
    run(write_study(ONE_POINT))
    with pytest.raises(UnusableInputError, match=r"arm 'quarter': exponent was 0\.25 and is 0\.125"):
        run(write_study(ONE_POINT, ("exponent = 0.25", "exponent = 0.125")))
    assert len(executed()) == ALL_TRIALS
    more = '\n[[arm]]\nname = "sgd"\noptimizer = "torch.optim.SGD"\n'
    analysis, _ = run(write_study(ONE_POINT, ("exponent = 0.25\n", "exponent = 0.25\n" + more)))
    assert [arm.name for arm in analysis.arms] == ["adamw", "quarter", "sgd"]
    assert len(executed()) == ALL_TRIALS + 1 + 3
    run(write_study(ONE_POINT, ("exponent = 0.25", "exponent = 0.125")), existing="fork")
    assert len(executed()) == ALL_TRIALS + 4 + 4


def test_a_task_that_is_edited_while_its_study_runs_stops_it_and_no_two_versions_are_mixed(write_study, executed):
    path = write_study(ONE_POINT)
    task = path.with_name("task.py")

    class Editor(Recorder):
        def finished(self, cell):
            super().finished(cell)
            task.write_text(task.read_text().replace("report(loss=loss)", "report(loss=loss + 1)"))

    with pytest.raises(StudyStoppedError, match=r"task\.py was edited while the study ran"):
        run(path, Editor(), workers=1)
    with pytest.raises(UnusableInputError, match=r"1 trial\(s\), kept since"):  # of the former version
        run(path)
    analysis, _ = run(path, existing="fork")
    fresh, _ = run(path, existing="fresh")
    assert [arm.values for arm in analysis.arms] == [arm.values for arm in fresh.arms]


def test_everything_runs_anew_if_that_is_asked_for_and_reuse_is_said_with_its_time(write_study, executed):
    path = write_study(ONE_POINT)
    first, recorder = run(path)
    assert not any("reused" in each for each in recorder.told)
    second, recorder = run(path, existing="fresh")
    assert len(executed()) == 2 * ALL_TRIALS
    assert [arm.values for arm in second.arms] == [arm.values for arm in first.arms]
    _, recorder = run(path)
    assert [each.partition(", from 20")[0] for each in recorder.told if "reused" in each] == [
        "2 trial(s) are reused",
        "6 trial(s) are reused",
    ]


def test_an_optimizer_in_a_file_beside_the_study_is_a_part_of_its_trials(write_study, tmp_path):
    mix = "import torch\nclass Hybrid(torch.optim.SGD):\n    def __init__(self, params, lr, boost=1.0):\n"
    mix += "        super().__init__(params, lr=boost * lr)\n"
    (tmp_path / "my_mix.py").write_text(mix)
    arm = ("equipoise.SMES", "my_mix.py:Hybrid"), ("exponent = 0.25", "boost = 2.0")
    run(write_study(ONE_POINT, *arm))
    (tmp_path / "my_mix.py").write_text(mix.replace("boost * lr", "boost * lr / 3"))
    with pytest.raises(UnusableInputError, match=r"1 trial\(s\), kept since(?s:.)*\+ .*boost \* lr / 3"):
        run(write_study(ONE_POINT, *arm))


READS = "import torch\n\ndef train(trial):\n    weight = torch.nn.Parameter(torch.zeros(1))\n    centre = float({read})\n"
READS += (
    "    optimizer = trial.optimizer([weight])\n    for _ in trial.epochs():\n        loss = (weight - centre).square().sum()\n"
)
READS += "        optimizer.zero_grad()\n        loss.backward()\n        optimizer.step()\n        trial.report(loss=loss)\n"


def test_data_that_a_trial_names_are_a_part_of_it(write_study, tmp_path):
    file = tmp_path / "centre.txt"
    file.write_text("1.0")
    path = write_study(
        ONE_POINT, ("\nseeds = 3", "\nseeds = 2"), task=READS.format(read="trial.data('centre.txt').read_text()")
    )
    first, again = Recorder(), Recorder()
    run(path, first)
    run(path, again)
    assert len(first.cells) == 2 * 1 + 2 * 2
    assert again.cells == []
    file.write_text("2.0")
    with pytest.raises(UnusableInputError, match=r"data: centre\.txt \(as it was run\)[\s\S]*-SHA-256 [\s\S]*\+SHA-256 "):
        run(path)
    file.unlink()
    with pytest.raises(UnusableInputError, match=r"data: centre\.txt: is gone"):
        run(path)
    file.write_text("1.0")
    back = Recorder()
    run(path, back)
    assert back.cells == []


def test_shared_data_are_named_alike_wherever_they_lie(sources, tmp_path, monkeypatch):
    from equipoise.study._sources import read_source

    names = []
    for place in ("here", "there"):
        monkeypatch.setenv("EQUIPOISE_DATA", str(tmp_path / place))
        (tmp_path / place).mkdir()
        (tmp_path / place / "text.npz").write_bytes(b"the same")
        sources.texts.clear()
        sources.note_data(tmp_path / place / "text.npz")
        names.append(dict(sources.texts))
        assert read_source("shared data: text.npz", tmp_path) == sources.texts["shared data: text.npz"]
    assert names[0] == names[1]
    assert names[0].keys() == {"shared data: text.npz"}


def test_data_of_a_built_in_task_that_are_missing_stop_a_study_before_its_first_trial(write_study, tmp_path, monkeypatch):
    monkeypatch.setenv("EQUIPOISE_DATA", str(tmp_path / "empty"))
    path = write_study(ONE_POINT, ('task = "task.py:train"', 'task = "mail"'))
    with pytest.raises(UnusableInputError, match="the data 'mail' are not there"):
        run(path)
