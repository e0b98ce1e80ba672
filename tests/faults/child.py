"""A process that trains, and tells of every step: ``python -m tests.faults.child FOLDER STEPS SINK``.

The sink, beside the run file, is "none", "hangs", or "ends never": that one tells when it is being closed, and never returns.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch

from equipoise.monitor import Warn
from equipoise.monitor._recording.sinks import SinkSet

from .training import Run


class Hangs:
    """From its first record on."""

    def open(self, run: Any) -> None:
        pass

    def write(self, record: Any) -> None:
        time.sleep(1e6)

    def close(self) -> None:
        pass


class EndsNever(Hangs):
    """Takes all records."""

    def write(self, record: Any) -> None:
        pass

    def close(self) -> None:
        print("closing", flush=True)
        time.sleep(1e6)


def main(folder: Path, steps: int, sink: str) -> None:
    torch.set_num_threads(1)
    if sink == "hangs":
        SinkSet.__init__.__kwdefaults__["patience"] = 1.0  # not half a minute, in a test
    sinks = {"none": [], "hangs": [Hangs()], "ends never": [EndsNever()]}[sink]
    run = Run(Warn(), folder=folder, sinks=sinks)
    with run.monitor:
        run.train(steps, told=lambda step: print(step, flush=True))
    print("done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
