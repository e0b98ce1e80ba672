"""Trains again and again, in processes of their own, each of which a signal strikes at another file-system call.

``python -m tests.faults.struck FOLDER SIGNAL`` leaves in ``FOLDER/<n>`` what a process wrote that the signal struck just before
its n-th call, and prints as JSON how every process ended: "killed", "interrupted" (by KeyboardInterrupt), "went on" all the
same, or, the last one, "undisturbed", as it does not make so many calls.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import torch

from equipoise.monitor import Rollback

from .training import Run, bad_batch

BEFORE, UNTIL = 4, 6
"""The signal strikes between these steps: a snapshot is written at 5, and one removed for it."""
TWICE = [(6, bad_batch()), (6, bad_batch())]
"""The run goes back to 5, and the second time to 3: the snapshot of 5 is removed. None is taken before it has recovered."""

CALLS = {"open", "write", "flush", "fsync", "truncate", "chmod", "replace", "unlink", "mkdir"}
"""In Python's own terms: functions of os and io, and methods of files."""


class Strike:
    """A profiler that sends a signal to this process just before its n-th file-system call."""

    def __init__(self, number: int, at: int) -> None:
        self._number = number
        self._size = 0
        self.left = at

    def __call__(self, _: object, event: str, called: object) -> None:
        if event == "c_call" and self._counts(getattr(called, "__name__", ""), getattr(called, "__self__", None)):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), self._number)

    def _counts(self, name: str, of: object) -> bool:
        if isinstance(of, io.BufferedWriter) and name == "write":  # most only fill the buffer: nothing new to be met on disk
            before, self._size = self._size, os.fstat(of.fileno()).st_size
            return self._size != before
        return name in CALLS and isinstance(of, ModuleType | io.FileIO | io.BufferedWriter)


def main(folder: Path, number: int) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as warm:  # what is imported at first use is so once, before the forks
        _train(Path(warm), None)
    ends: list[str] = []
    names = {0: "undisturbed", 3: "interrupted", 4: "went on", -signal.SIGKILL: "killed"}
    while "undisturbed" not in ends:
        place = folder / str(len(ends) + 1)
        place.mkdir()
        child = os.fork()
        if child == 0:
            os._exit(_train(place, Strike(number, len(ends) + 1)))
        ends.append(names[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])])
    print(json.dumps(ends))


def _train(place: Path, strike: Strike | None) -> int:
    run = Run(Rollback(), folder=place)
    try:
        with run.monitor:
            run.train(BEFORE)
            sys.setprofile(strike)
            run.train(UNTIL, faults=TWICE)
    except KeyboardInterrupt:
        return 3
    finally:
        sys.setprofile(None)
    return 4 if strike and strike.left <= 0 else 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
