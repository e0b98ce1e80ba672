"""Runs on disk: read back record by record, summarized, or followed in a terminal and on a page.

Names are imported on first use: to read a run needs neither rich nor a web server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from equipoise._lazy import imported_on_first_use

if TYPE_CHECKING:
    from equipoise.watch._file.line_file import records
    from equipoise.watch._run import Run
    from equipoise.watch._summary import summary
    from equipoise.watch._terminal import follow, show
    from equipoise.watch._web import serve

__all__ = ["Run", "follow", "records", "serve", "show", "summary"]

__getattr__, __dir__ = imported_on_first_use(
    __name__,
    {
        "Run": "_run",
        "follow": "_terminal",
        "records": "_file.line_file",
        "serve": "_web",
        "show": "_terminal",
        "summary": "_summary",
    },
    extra="watch",
)
