"""The examples run, and do what they say."""

import math
import re
import warnings

from examples import gradient_release, lightning_module, plain_loop, transformers_trainer


def test_gradients_that_are_released_change_no_parameter_and_take_no_memory(capsys):
    gradient_release.main()
    shown = capsys.readouterr().out
    assert "identical parameters" in shown
    ordinary, released = ((int(peak), int(gradients)) for peak, gradients in re.findall(r"\+ *(\d+) MiB.* (\d+) MiB", shown))
    assert ordinary[1] == gradient_release.LAYERS * released[1]
    saved = ordinary[1] - released[1]
    assert ordinary[0] - released[0] > 0.9 * saved


def readings_in(folder):
    return (folder / "readings.jsonl").read_text().count('"kind": "reading"')


def test_the_plain_loop_goes_back_from_a_broken_batch_and_learns_and_writes_its_readings(tmp_path, capsys):
    monitor = plain_loop.main(steps=100, folder=tmp_path)
    shown = capsys.readouterr().out
    losses = [float(loss) for loss in re.findall(r"held out (\S+) ", shown)]
    assert len(losses) == 10
    assert losses[-1] < 0.5 * losses[0]
    assert all(name in shown for name in monitor.last.tensors)
    assert monitor.guard.rollbacks == 1
    assert readings_in(tmp_path) == 10


def test_the_transformers_example_learns_and_writes_its_readings(tmp_path, capsys):
    monitor = transformers_trainer.main(steps=40, folder=tmp_path)
    losses = [float(loss) for loss in re.findall(r"held out (\S+),", capsys.readouterr().out)]
    assert losses[-1] < losses[0] < math.log(256)
    assert monitor.steps == 40
    assert readings_in(tmp_path) == 8


def test_the_lightning_example_learns_and_continues_its_count_in_a_second_fit(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about this machine, and the size of the data
        monitor = lightning_module.main(epochs=4, folder=tmp_path)
    losses = [reading.metrics["loss"] for reading in monitor.history]
    assert losses[-1] < losses[0] < math.log(10)
    assert monitor.steps == 92
    assert readings_in(tmp_path) == 18
