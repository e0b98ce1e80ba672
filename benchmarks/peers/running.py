"""How a peer's program is started, disturbed and waited for, and how its environment is made."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

PACKAGES = {
    "optuna": ["optuna==5.0.0", "pandas==3.1.1"],
    "ray": ["ray[tune]==2.60.0", "optuna==5.0.0"],
    "wandb": ["wandb[sweeps]==0.31.0"],
}

PATIENCE = 180.0
"""Seconds after which a run that does not end is interrupted, as by Ctrl-C."""


def environment(folder: Path, name: str) -> Path:
    """The interpreter of a peer's environment, which is made if it is not there."""
    python = folder / name / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES[name]], check=True)
    return python


ENVIRONMENT = {
    "COLUMNS": "300",  # no sentence is broken
    "PYTHONUNBUFFERED": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),  # these clusters have one of their own
}
"""Of every program that is started here."""


@dataclass(frozen=True)
class Run:
    """One start of a peer's program, to its end.

    Args:
        code: the exit code; None if it had to be interrupted.
        seconds: how long it took.
        started: the trials that it started, by name.
        finished: the trials that it finished.
        output: all that it printed.
    """

    code: int | None
    seconds: float
    started: list[str]
    finished: list[str]
    output: str

    @property
    def result(self) -> Any:
        """What the peer itself says of the study, if it came to that."""
        said = [line.removeprefix("RESULT ") for line in self.output.splitlines() if line.startswith("RESULT ")]
        return json.loads(said[-1]) if said else None


@dataclass(frozen=True)
class Peer:
    """A program that runs a study.

    Args:
        name: as its authors write it.
        module: the file of this folder that uses it.
        python: the interpreter of its environment.
    """

    name: str
    module: str
    python: Path

    def folder(self, root: Path, situation: str) -> Path:
        """An empty folder with everything that the peer needs for a situation."""
        words = "".join(letter if letter.isalnum() else "-" for letter in situation.lower())
        folder = root / "runs" / words / self.module.removesuffix(".py")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("objective.py", self.module):
            shutil.copy(HERE / name, folder)
        return folder

    def command(self, *_: str) -> list[str]:
        """What a user types to run the study, and to go on with it."""
        return [str(self.python), self.module]

    def kept(self, folder: Path, last: Run) -> list[str]:  # noqa: ARG002 (for others)
        """The trials of which the peer has a result."""
        return sorted(set(last.result["kept"])) if last.result else []


class Equipoise(Peer):
    """Its study is a file beside the task, and a command runs it."""

    def folder(self, root: Path, situation: str) -> Path:
        folder = super().folder(root, situation)
        shutil.copy(HERE / "with_equipoise.toml", folder)
        return folder

    def command(self, *options: str) -> list[str]:
        return [str(self.python), "-m", "equipoise", "study", "run", "with_equipoise.toml", *options]

    def kept(self, folder: Path, last: Run) -> list[str]:  # noqa: ARG002 (its store says it)
        command = [str(self.python), "-m", "equipoise", "study", "status", "with_equipoise.toml", "--json"]
        status = json.loads(subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout)
        finished = sum(phase["finished"] for phase in status["phases"].values())
        return sorted(set(events(folder, "finished")))[:finished]


def events(folder: Path, event: str) -> list[str]:
    """The trials to which something happened, in order."""
    record = folder / "record"
    lines = record.read_text().splitlines() if record.exists() else []
    return [line.split()[1] for line in lines if line.startswith(event)]


def start(peer: Peer, folder: Path, *options: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start a peer's program in a session of its own, as in a terminal of its own."""
    with (folder / "output").open("ab") as output:
        return subprocess.Popen(
            peer.command(*options),
            cwd=folder,
            env=os.environ | ENVIRONMENT | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def finish(process: subprocess.Popen[bytes]) -> int | None:
    """Wait for the end; None if a Ctrl-C was needed, or more than one."""
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        for each in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):
            os.killpg(process.pid, each)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                continue
            break
        return None


def run(
    peer: Peer, folder: Path, meanwhile: Callable[[subprocess.Popen[bytes]], object] | None = None, **environment: str
) -> Run:
    """Start a peer's program, do something to it meanwhile, and tell what became of it."""
    (folder / "output").touch()
    before = {name: len(events(folder, name)) for name in ("started", "finished")}
    printed, begun = (folder / "output").stat().st_size, time.monotonic()
    process = start(peer, folder, **environment)
    if meanwhile is not None:
        meanwhile(process)
    code = finish(process)
    seconds = time.monotonic() - begun
    time.sleep(5)  # heartbeats go stale, and processes without a parent end
    output = (folder / "output").read_bytes()[printed:].decode(errors="replace")
    happened = {name: events(folder, name)[count:] for name, count in before.items()}
    return Run(code, seconds, happened["started"], happened["finished"], output)


def once(folder: Path, event: str, count: int) -> None:
    """Wait until so many trials have started or finished."""
    limit = time.monotonic() + PATIENCE
    while len(events(folder, event)) < count and time.monotonic() < limit:
        time.sleep(0.1)


class RayCluster:
    """A node of Ray with one core: the head, or another one that joins.

    Args:
        peer: with Ray's environment.
        head: the address to join; by default this node is the head.
    """

    def __init__(self, peer: Peer, head: str = "") -> None:
        ray = str(peer.python.parent / "ray")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = head or f"127.0.0.1:{port}"
        where = [f"--address={head}"] if head else ["--head", f"--port={port}", "--include-dashboard=false"]
        self.temporary = tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True)
        where = where if head else [*where, f"--temp-dir={self.temporary.name}"]
        self.command = [ray, "start", "--num-cpus=1", "--object-store-memory=100000000", "--block", *where]

    def __enter__(self) -> "RayCluster":
        nothing = subprocess.DEVNULL
        self.process = subprocess.Popen(
            self.command, env=os.environ | ENVIRONMENT, stdout=nothing, stderr=nothing, start_new_session=True
        )
        host, port = self.address.split(":")
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex((host, int(port))) == 0:
                    break
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.temporary.cleanup()
