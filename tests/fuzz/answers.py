"""What a command must answer, whatever it is given; and how many inputs are tried."""

import io
from contextlib import redirect_stderr, redirect_stdout

from hypothesis import settings

from equipoise import cli

LONGEST = 700
"""Characters of a message, without the name of the file: a short line."""

many = settings(max_examples=max(1_000, settings().max_examples))
"""1,000 inputs for each command; with the profile "fuzz" (make fuzz) as many as that says."""


def answered(*arguments, codes=(0, 2)):
    """Run a command in this process, and check that it answers as commands do. Whatever it raises is a failure.

    Returns:
        Its exit code.
    """
    out, err = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            cli.main([str(argument) for argument in arguments])
    except SystemExit as stopped:
        code = stopped.code
    assert code in codes
    if code == 2:
        assert out.getvalue() == ""
        assert_short_line(err.getvalue())
    else:
        assert out.getvalue() != ""
    return code


def assert_short_line(text):
    line, end, rest = text.partition("\n")
    assert (end, rest) == ("\n", ""), ascii(text[:600])
    assert line.startswith("error: "), ascii(line[:300])
    assert line.isprintable(), ascii(line)
    assert len(line) < LONGEST, ascii(line)
