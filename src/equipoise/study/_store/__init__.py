"""Where trials are kept, by one runner at a time, whatever happens to the database."""

from equipoise.study._store.schema import COSTS, FAILURES, METADATA, READINGS, TRIALS
from equipoise.study._store.spool import Spool
from equipoise.study._store.store import Store, sqlite_file, sqlite_url
from equipoise.study._store.turn import Turn

__all__ = ["COSTS", "FAILURES", "METADATA", "READINGS", "TRIALS", "Spool", "Store", "Turn", "sqlite_file", "sqlite_url"]
