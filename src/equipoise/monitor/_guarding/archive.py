"""Snapshots on disk, where they outlive the process.

A snapshot is two files per process, ``<step>.rank<n>.pt`` and, written after it, ``<step>.rank<n>.json``, a manifest
with the SHA-256 of the first. Each is written under a temporary name, synced and renamed; older ones are removed after that. So
whatever stops the process, a whole snapshot is there, and one that is not whole is never used. Files are read with
``weights_only=True``: they can hold tensors and plain values, and nothing that runs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
import torch.distributed as dist

from equipoise._files import CONFIGURATION_BYTES, open_regular, parse_json, read_regular, replace_file, replacing
from equipoise.errors import ArgumentError, UnusableInputError
from equipoise.migrate._checkpoint import ObjectsInCheckpointError, read_checkpoint
from equipoise.monitor._guarding.random_state import is_random_state
from equipoise.monitor._processes import from_every_process
from equipoise.optim import _sharding as sharding

FORMAT = 1
DATA, MANIFEST = "pt", "json"

_log = logging.getLogger("equipoise")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a run after a step."""

    step: int
    remedies: int
    """How many rollbacks had left their remedies in this state."""
    objects: dict[str, Any]
    """State dicts, by the names that the objects were given."""
    random: dict[str, Any]
    """The states of the random number generators."""


def spaced(steps: Sequence[int], keep: int) -> list[int]:
    """The steps of the snapshots to keep: recent ones close together, older ones further apart.

    One after the other goes, until there are `keep`: the oldest if it is 2^keep times as old as the second newest; else the one
    that leaves the smallest gap for its age. The newest two are always kept.

    Args:
        steps: ascending.
        keep: at least 2.

    Example:
        >>> kept = []
        >>> for step in range(100, 1700, 100):
        ...     kept = spaced([*kept, step], 4)
        >>> kept
        [100, 1100, 1500, 1600]
    """
    kept = list(steps)
    while len(kept) > keep:
        ages = [kept[-1] - step for step in kept]
        between = range(1, len(kept) - 2)
        if not between or ages[0] > 2**keep * ages[-2]:
            del kept[0]
        else:
            del kept[min(between, key=lambda place: (ages[place - 1] - ages[place + 1]) / ages[place - 1])]
    return kept


class Archive:
    """The snapshots of this process in a folder."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self._keep = keep
        self._proven = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnusableInputError(f"{folder} cannot be made: {error.strerror or error}") from None
        distributed = sharding.is_distributed()
        self._rank = dist.get_rank() if distributed else 0
        self._processes = dist.get_world_size() if distributed else 1

    def steps(self) -> list[int]:
        """The steps of the snapshots that have a manifest, oldest first."""
        return sorted(step for step, paths in self._ours().items() if self._path(step, MANIFEST) in paths)

    def write(self, snapshot: Snapshot) -> None:
        """Write a snapshot, and then remove those that are too old. Where the disk fails, the log says so, and the others are
        kept.

        Raises:
            ArgumentError: what was written cannot be read back, as it holds more than tensors and plain values.
        """
        content = {
            "format": FORMAT,
            "processes": self._processes,
            "step": snapshot.step,
            "remedies": snapshot.remedies,
            "objects": snapshot.objects,
            "random": snapshot.random,
        }
        try:
            with replacing(self._path(snapshot.step, DATA)) as file:
                hashed = _Hashed(file)
                torch.save(content, hashed)  # pyright: ignore[reportArgumentType]
            manifest = {"step": snapshot.step, "objects": list(snapshot.objects), "sha256": hashed.sha256.hexdigest()}
            replace_file(self._path(snapshot.step, MANIFEST), json.dumps(manifest).encode())
            _sync(self.folder)
            self._prove(snapshot)
            kept = spaced([step for step in self.steps() if step <= snapshot.step], self._keep)
            self._remove(set(self._ours()) - set(kept))
        except (UnusableInputError, OSError, RuntimeError) as error:  # torch makes a RuntimeError of what a file raises
            cause = error.__context__ or error
            if not isinstance(cause, Exception):  # of Ctrl-C too
                raise cause from None
            _log.error(
                "the snapshot of step %d could not be written to %s, and is in memory only: %s",
                snapshot.step,
                self.folder,
                cause,
            )

    def read_newest(self) -> list[Snapshot]:
        """The newest snapshot that is whole on all processes, in a list, which is empty where there is none."""
        known = set(self.steps())
        common = known.intersection(*from_every_process(known))
        for step in sorted(common, reverse=True):
            snapshot = self._read(step)
            if all(from_every_process(snapshot is not None)):
                assert snapshot is not None
                return [snapshot]
        return []

    def forget_after(self, step: int) -> None:
        """Remove the snapshots after a step."""
        try:
            self._remove({each for each in self._ours() if each > step})
        except OSError as error:
            _log.error("snapshots after step %d could not be removed from %s: %s", step, self.folder, error)

    def set_earlier_run_aside(self, step: int) -> None:
        """Move the snapshots of an earlier run into a folder of their own, if a run that begins anew at a step meets any.

        Raises:
            UnusableInputError: they cannot be moved.
        """
        if not any(earlier >= step for earlier in self.steps()):
            return
        aside = next(
            folder
            for folder in (self.folder / f"earlier-{number}" for number in count(1))
            if not any(folder.glob(f"*.rank{self._rank}.*"))
        )
        try:
            aside.mkdir(exist_ok=True)
            for path in sorted(path for paths in self._ours().values() for path in paths):
                path.replace(aside / path.name)
        except OSError as error:
            raise UnusableInputError(f"the snapshots of an earlier run cannot be moved to {aside}: {error}") from None
        _log.warning("%s held snapshots of an earlier run; they are in %s now, and this run begins anew", self.folder, aside)

    def _prove(self, snapshot: Snapshot) -> None:
        """Read the first snapshot back: what the disk cannot give back should be known when training begins."""
        if not self._proven:
            try:
                self._load(snapshot.step)
            except ObjectsInCheckpointError as error:
                accepted = f"such that their state dicts hold nothing but tensors and plain values ({error})"
                raise ArgumentError("objects", list(snapshot.objects), accepted) from None
            except (OSError, UnusableInputError) as error:
                self._set_damaged_aside(snapshot.step, error)
            self._proven = True

    def _read(self, step: int) -> Snapshot | None:
        """The snapshot of a step, or None where it is damaged, which its new name and the log then say.

        Raises:
            UnusableInputError: it is of another number of processes.
        """
        try:
            snapshot, processes = self._load(step)
        except (OSError, UnusableInputError) as error:
            self._set_damaged_aside(step, error)
            return None
        if processes != self._processes:
            raise UnusableInputError(
                f"{self._path(step, DATA)} is one of {processes} snapshots, one per process, and here are {self._processes}"
                " processes"
            )
        return snapshot

    def _load(self, step: int) -> tuple[Snapshot, int]:
        """The snapshot of a step, and the number of processes that wrote one each.

        Raises:
            ObjectsInCheckpointError: it is as it was written, and holds more than tensors and plain values.
            UnusableInputError: it is damaged.
            OSError: the disk does not give it.
        """
        data, manifest = self._path(step, DATA), self._path(step, MANIFEST)
        written = parse_json(read_regular(manifest, CONFIGURATION_BYTES), manifest)
        with open_regular(data) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if not isinstance(written, dict) or written.get("sha256") != found:  # pyright: ignore[reportUnknownMemberType]
            raise UnusableInputError("its SHA-256 is not that of its manifest")
        content = read_checkpoint(data, map_location=None)
        if not isinstance(content, dict):
            raise UnusableInputError("it is no snapshot")
        fields = cast("dict[Any, Any]", content)
        types = {"format": int, "processes": int, "step": int, "remedies": int, "objects": dict, "random": dict}
        wrong = [name for name, of in types.items() if not isinstance(fields.get(name), of)]
        if wrong:
            raise UnusableInputError(f"it has no {wrong[0]}")
        if fields["format"] != FORMAT or fields["step"] != step or not is_random_state(fields["random"]):
            raise UnusableInputError(f"it is not of step {step}, in format {FORMAT}, with states of random number generators")
        return Snapshot(step, fields["remedies"], fields["objects"], fields["random"]), fields["processes"]

    def _set_damaged_aside(self, step: int, reason: Exception) -> None:
        data, manifest = self._path(step, DATA), self._path(step, MANIFEST)
        _log.error("the snapshot %s is damaged and is not used: %s", data, reason)
        for path in (manifest, data):
            if path.exists():
                path.replace(path.with_name(f"{path.name}.damaged"))

    def _ours(self) -> dict[int, list[Path]]:
        """All files of this process by step, also those that a crash has left half written, but not those that are damaged."""
        found: dict[int, list[Path]] = {}
        for path in self.folder.glob(f"*.rank{self._rank}.*"):
            number = path.name.partition(".")[0]
            # Files of other names are not ours.
            if re.fullmatch(r"\d{9,18}", number) and number == f"{int(number):09d}" and path.suffix != ".damaged":
                found.setdefault(int(number), []).append(path)
        return found

    def _remove(self, steps: set[int]) -> None:
        for step, paths in self._ours().items():
            if step in steps:
                for path in sorted(paths):  # the manifest first: without it nobody looks for the other
                    path.unlink(missing_ok=True)

    def _path(self, step: int, suffix: str) -> Path:
        return self.folder / f"{step:09d}.rank{self._rank}.{suffix}"


class _Hashed:
    """A file that is hashed while it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _sync(folder: Path) -> None:
    """Make renames in a folder outlive a loss of power; Windows cannot, and need not."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
