"""The examples run, and do what they say."""

import re

from examples import gradient_release


def test_gradients_that_are_released_change_no_parameter_and_take_no_memory(capsys):
    gradient_release.main()
    shown = capsys.readouterr().out
    assert "identical parameters" in shown
    ordinary, released = ((int(peak), int(gradients)) for peak, gradients in re.findall(r"\+ *(\d+) MiB.* (\d+) MiB", shown))
    assert ordinary[1] == gradient_release.LAYERS * released[1]
    saved = ordinary[1] - released[1]
    assert ordinary[0] - released[0] > 0.9 * saved
