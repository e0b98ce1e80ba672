"""What is known of runs, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from equipoise._json import plain
from equipoise.watch._run import Run, read_to_the_end


def summary(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Everything that is known of runs now, as what JSON has; a number that is not finite is a string, as in the file.

    Returns:
        For each run its ``folder``, ``name`` and ``optimizer``, what is not known of that (``notes``), the number of
        ``readings`` and of ``unreadable_lines``, what is wrong
        with the first of those (``refusals``: the number of the line, and why), the ``last`` reading, the ``verdicts`` on it,
        and the ``actions`` of the guard.

    Example:
        >>> import tempfile
        >>> from equipoise.monitor import JsonLines
        >>> from equipoise.monitor._recording.run_file import RunInfo
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sink = JsonLines(folder)
        ...     sink.open(RunInfo("mine", 0.0, {}, ("w",), ((2, 3),), (0,)))
        ...     sink.close()
        ...     with Run(folder) as run:
        ...         found = summary([run])[0]
        >>> found["name"], found["readings"], found["last"], found["verdicts"]
        ('mine', 0, None, [])
    """
    return [
        {
            "folder": str(run.folder),
            "name": run.name,
            "optimizer": run.header.optimizer if run.header else "",
            "notes": list(run.header.notes) if run.header else [],
            "readings": run.overview.count,
            "unreadable_lines": run.unreadable,
            "refusals": [{"line": number, "why": why} for number, why in run.refusals],
            "last": plain(run.last),
            "verdicts": plain(run.verdicts),
            "actions": plain([event for event in run.events if event["kind"] == "action"]),
        }
        for run in read_to_the_end(runs)
    ]
