"""The run's own file, which is the truth.

**What a crash costs.** A line is handed to the operating system by one write, so that whatever happens to the process, even
kill -9, costs nothing that was written. The disk is waited for when the file is opened and closed and after every action of a
guard, not after every reading: losing power may cost the seconds that the system had not written yet (30 on Linux), and half a
line, which is removed when the file is opened again. Waiting after every line would make training wait for the disk.
"""

from __future__ import annotations

import logging
import mmap
import os
import stat
import sys
from pathlib import Path

from equipoise.monitor._measuring.readings import NAME_LENGTH, Reading
from equipoise.monitor._recording.run_file import FILE, LINE_BYTES, Event, RunInfo, event_line, header_line, reading_line

if sys.platform != "win32":
    import fcntl

_log = logging.getLogger("equipoise")


class JsonLines:
    """A sink that appends to ``folder/readings.jsonl``, which ``equipoise watch`` reads.

    Args:
        folder: the folder of the run, made if it is missing. A run that is resumed, or started again, with the same folder goes
            on in the same file, after another header.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._tensors: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"JsonLines({str(self.folder)!r})"

    def open(self, run: RunInfo) -> None:
        """Append the header, after removing half a line that a crash may have left.

        Raises:
            OSError: the folder cannot be written to, another process writes to it, or what is there is no regular file.
            ValueError: a name, or the whole header, is longer than what is read again.
        """
        if (longest := max(map(len, (run.name, *run.tensors)))) > NAME_LENGTH:
            raise ValueError(f"a name of {longest:,} characters: only those of up to {NAME_LENGTH:,} are read again")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = open(self.folder / FILE, "a+b", buffering=0)  # noqa: SIM115 (open as long as the run)
        try:
            if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                raise OSError(f"{self._file.name} is a pipe or a device, which may keep training waiting")
            if sys.platform != "win32":
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._remove_torn_line()
            self._tensors = run.tensors
            self._append(header_line(run))
            os.fsync(self._file.fileno())
        except BaseException:
            self._file.close()
            raise

    def write(self, record: Reading | Event) -> None:
        """Append a line.

        Raises:
            OSError: it could not be written; the file ends with the line before it, and is closed.
            ValueError: it is longer than what is read again; the file is closed.
        """
        if isinstance(record, Reading):
            self._append(reading_line(record, self._tensors))
            return
        self._append(event_line(record))
        if type(record).__name__ == "Action":
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Wait for the disk."""
        with self._file:
            os.fsync(self._file.fileno())

    def _append(self, line: str) -> None:
        if len(line) >= LINE_BYTES:
            self._file.close()
            raise ValueError(f"a line of {len(line):,} bytes: only shorter ones than {LINE_BYTES:,} are read again")
        end = os.fstat(self._file.fileno()).st_size
        rest = memoryview(line.encode() + b"\n")
        try:
            while rest:  # once, but for a disk that is full
                rest = rest[self._file.write(rest) :]
        except OSError:
            self._file.truncate(end)
            self._file.close()  # nobody else will, of a sink that is dropped
            raise

    def _remove_torn_line(self) -> None:
        size = os.fstat(self._file.fileno()).st_size
        if size == 0:
            return
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            end = content.rfind(b"\n") + 1
        if end < size:
            self._file.truncate(end)
            _log.warning("%s ended in the middle of a line; its %d bytes were removed", self._file.name, size - end)
