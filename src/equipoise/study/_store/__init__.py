"""Where trials are kept, by one runner at a time, whatever happens to the database."""

from equipoise.study._store.address import Address, sqlite_file, sqlite_url, store_url
from equipoise.study._store.schema import METADATA, Moment
from equipoise.study._store.spool import Spool
from equipoise.study._store.store import Store
from equipoise.study._store.turn import Turn

__all__ = ["METADATA", "Address", "Moment", "Spool", "Store", "Turn", "sqlite_file", "sqlite_url", "store_url"]
