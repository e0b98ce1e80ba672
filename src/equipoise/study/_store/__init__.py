"""Where trials are kept, by one runner at a time, whatever happens to the database."""

from equipoise.study._store.schema import METADATA
from equipoise.study._store.spool import Spool
from equipoise.study._store.store import Store, sqlite_file, sqlite_url, store_url
from equipoise.study._store.turn import Turn

__all__ = ["METADATA", "Spool", "Store", "Turn", "sqlite_file", "sqlite_url", "store_url"]
