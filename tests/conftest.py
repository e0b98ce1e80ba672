"""What holds for every test."""

import hypothesis
import pytest

from equipoise import cli

# A busy machine is no failure, and a test that fails fails again.
hypothesis.settings.register_profile(
    "here", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("here")


@pytest.fixture
def run(capsys):
    """Run the command line in this process: exit code, stdout, stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            cli.main([str(argument) for argument in arguments])
        return stopped.value.code, *capsys.readouterr()

    return run
