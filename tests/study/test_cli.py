"""``equipoise study run`` as a person meets it: output, exit codes, interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def run(path: Path | str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "equipoise", "study", "run", str(path), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_a_study_runs_from_the_command_line_in_a_folder_with_spaces(write_study, tmp_path):
    folder = tmp_path / "a folder with spaces"
    folder.mkdir()
    for file in (write_study(), tmp_path / "task.py"):
        file.rename(folder / file.name)
    done = run(folder / "study.toml")
    assert done.returncode == 0, done.stderr
    assert "No arm is shown to beat adamw." in done.stdout
    assert f"report: {folder / 'quadratic.report.html'}" in done.stdout
    assert {file.name for file in folder.iterdir()} >= {"quadratic.db", "quadratic.report.html"}
    # Plain lines where stderr is no terminal.
    assert "\ntuning: 8 trials\n" in done.stderr
    assert done.stderr.endswith("\ncomparison: 6 of 6 trials\n")


def test_results_are_one_json_object_on_stdout(write_study):
    done = run(write_study(), "--json", "--workers", "1", "--quiet")
    assert done.returncode == 0, done.stderr
    assert [line.partition(" ")[0] for line in done.stderr.splitlines()] == ["warning:", "warning:"]
    found = json.loads(done.stdout)
    assert found["baseline"] == "adamw"
    assert Path(found["report"]).exists()


@pytest.mark.parametrize(
    ("replacement", "said"),
    [
        (("epochs = 3", "epochs = 0"), "epochs"),
        (("task.py:train", "absent.py:train"), "absent.py cannot be read"),
        (("torch.optim.AdamW", "torch.optim.AdamWW"), "arm 'adamw': torch.optim.AdamWW cannot be made"),
    ],
)
def test_unusable_input_is_one_message_and_exit_code_2(write_study, replacement, said):
    done = run(write_study(replacement))
    assert done.returncode == 2
    assert said in done.stderr[f"\n{done.stderr}".index("\nerror: ") :]
    assert "Traceback" not in done.stderr


def test_a_failing_task_shows_the_end_of_its_output_and_exit_code_3(write_study):
    done = run(write_study(task="def train(trial):\n    print('so far')\n    raise RuntimeError('out of luck')\n"))
    assert done.returncode == 3
    assert "trial adamw lr=0.1 seed=1 failed: RuntimeError: out of luck (task.py, line 3)\n  | so far\n" in done.stderr
    assert "error: 8 trials failed, too many for any comparison; the first is adamw lr=0.01 seed=0: RuntimeErr" in done.stderr
    assert "so far" not in done.stdout


@pytest.mark.parametrize("name", ["SIGINT", *(pytest.param(name, marks=pytest.mark.faults) for name in ("SIGTERM", "SIGHUP"))])
def test_a_signal_lets_running_trials_finish_and_the_last_line_says_how_to_continue(write_study, executed, name):
    process, path = start_slow(write_study, executed, pause=0.1, begun=4)
    os.killpg(process.pid, getattr(signal, name))  # as a terminal and a batch system do: every process has it
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3
    begun = len(executed())
    stopped = f"stopped by {'Ctrl-C' if name == 'SIGINT' else name}"
    assert f"{stopped}: running trials may finish, no other is started; Ctrl-C ends them at once" in said
    last = said.strip().splitlines()[-1]
    assert last == (
        f"error: {stopped}; {begun} of the 8 trials of the tuning are finished and kept; run the same command again to continue"
    )
    assert "Traceback" not in said
    assert run(path).returncode == 0
    assert len(executed()) == 8 + 6


def test_a_second_ctrl_c_ends_running_trials_and_keeps_what_was_finished(write_study, executed):
    process, _ = start_slow(write_study, executed, pause=1000, begun=2)
    process.send_signal(signal.SIGINT)
    while "running trials may finish" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3
    assert said.strip().splitlines()[-1].endswith("what is finished is kept; run the same command again to continue")


def start_slow(write_study, executed, pause: float, begun: int) -> tuple[subprocess.Popen[str], Path]:
    """Start a study whose trials pause in each epoch, and wait until so many of them have begun."""
    slow = write_study().with_name("task.py").read_text() + f"        import time; time.sleep({pause})\n"
    path = write_study(task=slow)
    command = [sys.executable, "-m", "equipoise", "study", "run", str(path), "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    while len(executed()) < begun:
        time.sleep(0.02)
        assert process.poll() is None
    return process, path


def test_a_missing_extra_is_said_with_the_command_that_installs_it(write_study):
    script = "import sys; sys.modules['sqlalchemy'] = None; from equipoise.cli import main; "
    script += f"main(['study', 'run', {str(write_study())!r}])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.strip() == "error: a study needs packages that are not installed: pip install 'equipoise[study]'"
