"""What every peer trains: a trial of a second that meets with one misfortune. Needs Python alone; `table.py` copies it.

A record beside this file says which trials started and which finished, whoever ran them.
"""

import os
import random
import signal
import time
from math import log10
from pathlib import Path

VERSION = 1
"""Of the code. One situation changes it between two runs."""

FOLDER = Path(__file__).parent


def train(arm: str, seed: int) -> float:
    """An accuracy: the seed makes most of it, the arm a little. One trial has bad luck, the third to start or a later one."""
    started = record("started", arm, seed)
    if started >= 3 and _is_first_to_be_struck():
        match os.environ.get("MISFORTUNE"):
            case "raises":
                raise RuntimeError("a bad batch")
            case "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hangs":
                time.sleep(3600)
            case "reports NaN":
                record("finished", arm, seed)
                return float("nan")
            case _:
                pass
    time.sleep(float(os.environ.get("SECONDS_PER_TRIAL", "1")))
    record("finished", arm, seed)
    luck = random.Random(f"seed {seed}").gauss(0, 0.01) + random.Random(f"{arm} {seed}").gauss(0, 0.002)  # noqa: S311
    return 0.9 + luck + (0.005 if arm == "sgd" else 0.0)


def record(event: str, arm: str, seed: int) -> int:
    """Write that something happened to a trial, and return how many lines like this there are."""
    path = FOLDER / "record"
    with path.open("a") as file:
        file.write(f"{event} {arm}-{seed} {VERSION}\n")
    return path.read_text().count(event)


def _is_first_to_be_struck() -> bool:
    try:
        (FOLDER / "struck").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def valley(lr: float, weight_decay: float, beta1: float, warmup: float) -> float:
    """A loss to be minimized, as a search over hyperparameters meets it: smooth on logarithmic scales, 0 at one point.

    The best weight decay falls as the learning rate rises.
    """
    along = log10(lr) + log10(weight_decay) + 4.5
    across = log10(lr) - log10(weight_decay) + 0.5
    momentum = log10(1 - beta1) + 1.3
    return along**2 + 0.3 * across**2 + 0.5 * momentum**2 + 4 * (warmup - 0.1) ** 2
