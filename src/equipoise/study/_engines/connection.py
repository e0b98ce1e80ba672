"""The connection to a Ray cluster."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from equipoise._words import printable
from equipoise.errors import UnusableInputError
from equipoise.study._processes.inside import ENDED_BY

OBJECT_STORE = 100_000_000
"""Bytes that a node of our own sets aside for what comes home: the log of a trial has 4 MB at most."""

LARGEST_FOLDER = 200_000_000
"""Bytes of files that can be sent with a study. Ray refuses archives of 500 MB, but only after it has read everything."""

PATIENCE = 10.0
"""Seconds in which the head of a cluster has to answer."""

NOT_SENT = (".git", ".venv", "venv", "__pycache__")
"""Folders that Ray leaves out by itself."""


def connect(address: str, folder: Path, without: list[str]) -> Any:
    """Connect this process to a cluster, and send it the folder of a study.

    Args:
        address: as :class:`RayCluster` takes it.
        folder: of the study.
        without: what is not to be sent, as patterns of a .gitignore file.

    Returns:
        The module `ray`.

    Raises:
        UnusableInputError: there is no such cluster, or the folder cannot be sent.
    """
    _refuse_silent(address)
    _refuse_large(folder)
    environment = {"working_dir": str(folder), "excludes": without}
    ours: dict[str, Any] = {}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report its use over the network
        ours = {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
    logging.getLogger("ray").setLevel(logging.ERROR)
    with _signals_kept():
        ray: Any = importlib.import_module("ray")
        if ray.is_initialized():
            raise UnusableInputError("this process is connected to a Ray cluster already: call ray.shutdown() before the study")
        try:
            ray.init(address=address, runtime_env=environment, log_to_driver=False, logging_level=logging.ERROR, **ours)
        except Exception as error:  # whatever Ray raises: there are many, of many bases
            ray.shutdown()
            reason = printable(" ".join(str(error).split()), 600)
            raise UnusableInputError(f"the Ray cluster at address {address!r} cannot be used: {reason}") from None
    return ray


def places(ray: Any, resources: Mapping[str, float]) -> int:
    """How many tasks that need so much fit on the nodes that the cluster has now."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(min(int(node.get(name, 0) // needed) for name, needed in resources.items() if needed) for node in nodes)


def _refuse_silent(address: str) -> None:
    """Refuse a place where nothing answers. Ray would try for two minutes."""
    host, separator, port = address.rpartition(":")
    if not separator:
        return
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except OSError as error:
        raise UnusableInputError(f"no Ray cluster answers at address {address!r}: {error}") from None


def _refuse_large(folder: Path) -> None:
    """Refuse a folder that is surely too large, before Ray reads all of it; whoever has said what to leave out knows."""
    if any((folder / name).exists() for name in (".rayignore", ".gitignore")):
        return
    size = 0
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in NOT_SENT]
        size += sum(os.lstat(os.path.join(place, name)).st_size for name in files)
        if size > LARGEST_FOLDER:
            raise UnusableInputError(
                f"the folder of the study, {folder}, has more than {LARGEST_FOLDER // 10**6} MB, and all of it would be sent to"
                " the Ray cluster: keep data elsewhere, where every node finds it by its absolute path; or list what trials do"
                " not need in a file .rayignore in that folder, with the patterns of a .gitignore file"
            )


@contextmanager
def _signals_kept() -> Generator[None]:
    """Signals stay the study's: Ray takes some of them where it connects."""
    before = {number: signal.getsignal(number) for number in ENDED_BY}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
