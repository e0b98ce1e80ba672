"""Runs on disk: read back record by record, or followed in a terminal and on a page."""

from equipoise.watch._runs import Run, records

__all__ = ["Run", "records"]
