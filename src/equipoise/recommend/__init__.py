"""Which exponent balances the updates of a run: from what was seen of its gradients, with every number behind it.

1. :func:`from_run`, :func:`from_checkpoint` or :func:`from_task` collect :class:`Evidence` of a run's gradients.
2. :func:`exponents` computes the balance numbers of the evidence, and from them a :class:`Recommendation` per parameter group.
3. :func:`as_text` and :func:`as_dict` report recommendations; :func:`write_study` writes a study that tests one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from equipoise._lazy import imported_on_first_use

if TYPE_CHECKING:
    from equipoise.recommend._evidence import Evidence
    from equipoise.recommend._from_checkpoint import from_checkpoint
    from equipoise.recommend._from_run import from_run
    from equipoise.recommend._from_task import from_task
    from equipoise.recommend._recommendation import Recommendation, exponents
    from equipoise.recommend._report import as_dict, as_text
    from equipoise.recommend._study_file import write_study

__all__ = [
    "Evidence",
    "Recommendation",
    "as_dict",
    "as_text",
    "exponents",
    "from_checkpoint",
    "from_run",
    "from_task",
    "write_study",
]

__getattr__, __dir__ = imported_on_first_use(
    __name__,
    {
        "Evidence": "_evidence",
        "Recommendation": "_recommendation",
        "as_dict": "_report",
        "as_text": "_report",
        "exponents": "_recommendation",
        "from_checkpoint": "_from_checkpoint",
        "from_run": "_from_run",
        "from_task": "_from_task",
        "write_study": "_study_file",
    },
    extra="study",
)
