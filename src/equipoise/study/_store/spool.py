"""Results that the database could not take: files beside it, which the next run reads in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from equipoise._files import replace_file
from equipoise._json import plain
from equipoise.errors import UnusableInputError
from equipoise.study._store.store import Store


class Spool:
    """A folder of results, each a file.

    Args:
        folder: made when the first is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, record: Mapping[str, Any]) -> None:
        """Keep what the store's :func:`record` made of a result.

        Raises:
            UnusableInputError: the folder cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnusableInputError(f"{self.folder} cannot be made: {error.strerror}") from None
        trial = record["trial"] | {"finished_at": record["trial"]["finished_at"].isoformat()}
        content = json.dumps(plain({**record, "trial": trial}), allow_nan=False)
        replace_file(self.folder / f"{trial['key']}.json", content.encode())

    def empty_into(self, store: Store) -> int:
        """Give every result to the store, and forget it then. Returns how many there were.

        Raises:
            StudyStoppedError: the store cannot be used.
        """
        files = sorted(self.folder.glob("*.json"))
        for file in files:
            record = json.loads(file.read_bytes())
            record["trial"]["finished_at"] = datetime.fromisoformat(record["trial"]["finished_at"])
            for reading in record["readings"]:
                reading["value"] = None if reading["value"] is None else float(reading["value"])
            store.add_record(record)
            file.unlink()
        with suppress(OSError):  # of a study in the same store that is writing to it
            self.folder.rmdir()
        return len(files)
