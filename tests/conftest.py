"""What holds for every test."""

import os

import hypothesis
import pytest

from equipoise import cli

from .study.postgresql import Server, binaries

# A busy machine is no failure, and a test that fails fails again.
hypothesis.settings.register_profile(
    "here", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
# make fuzz: other inputs every time, and many of them.
hypothesis.settings.register_profile(
    "fuzz", deadline=None, max_examples=10_000, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "here"))


@pytest.fixture
def run(capsys):
    """Run the command line in this process: exit code, stdout, stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            cli.main([str(argument) for argument in arguments])
        return stopped.value.code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL server of our own."""
    found = binaries()
    if found is None:
        pytest.skip("no PostgreSQL server is installed")
    server = Server(found)
    server.start()
    yield server
    server.remove()
