"""Where trials are kept, by one runner at a time, whatever happens to the database."""

from equipoise.study._store.store import COSTS, METADATA, READINGS, TRIALS, Store, sqlite_url

__all__ = ["COSTS", "METADATA", "READINGS", "TRIALS", "Store", "sqlite_url"]
