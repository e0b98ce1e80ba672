"""Claims measure through studies, whose finished trials are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from equipoise.study._analysis import Analysis
from reproductions import studies, tasks
from reproductions.claim import Options, Scale


@pytest.mark.parametrize("scale", Scale)
def test_every_scale_has_its_tasks(scale: Scale, tmp_path: Path):
    options = Options(scale, torch.device("cpu"), tmp_path)
    for data in (studies.PICTURES, studies.TEXT, studies.SMALL_TEXT):
        for normalized in (False, True):
            assert callable(getattr(tasks, studies.task(options, data, normalized=normalized)))


def small_study(out: Path) -> Analysis:
    return studies.run(
        Options(Scale.QUICK, torch.device("cpu"), out),
        name="small",
        task="digits",
        metric="loss",
        goal="minimize",
        epochs=1,
        seeds=2,
        tuning_seeds=1,
        learning_rates=[1e-3, 1e-2],
        arms=[
            {"name": "Adam", "optimizer": "torch.optim.Adam", "baseline": True},
            {"name": "same", "optimizer": "equipoise.Equipoise", "exponent": 0.5},
        ],
    )


def test_a_study_is_run_once_and_leaves_its_report(tmp_path: Path, capsys):
    first = small_study(tmp_path)
    assert "reused" not in capsys.readouterr().err
    adam, same = first.arms
    assert max(abs(a - b) for a, b in zip(adam.values, same.values, strict=True)) < 1e-3  # the same optimizer
    assert (tmp_path / "small.report.html").exists()
    again = small_study(tmp_path)
    assert capsys.readouterr().err.count("4 trial(s) are reused") == 2  # of the tuning, and of the comparison
    assert again == first


def test_trials_of_other_code_are_not_taken_for_these(tmp_path: Path, monkeypatch):
    copies = [tmp_path / f"{number}.py" for number in range(len(studies.TRAINED))]
    for copy, path in zip(copies, studies.TRAINED, strict=True):
        copy.write_bytes(path.read_bytes())
    device = torch.device("cpu")
    ours = studies.origin(device)
    monkeypatch.setattr(studies, "TRAINED", copies)
    assert studies.origin(device) == ours
    assert studies.origin(torch.device("cuda")) != ours
    for copy in copies:
        before = copy.read_bytes()
        copy.write_bytes(before + b"# changed\n")
        assert studies.origin(device) != ours
        copy.write_bytes(before)


def test_what_a_trial_runs_is_in_these_files():
    assert {"tasks.py", "text.py", "digits.py", "training.py", "transformer.py"} <= {path.name for path in studies.TRAINED}
