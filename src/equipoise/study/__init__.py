"""Compare optimizers on a user's own metric: arms, learning rates and seeds, with paired statistics and a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equipoise._lazy import imported_on_first_use

if TYPE_CHECKING:
    from equipoise.study._spec import Arm, Study, read_study
    from equipoise.study._worker import Trial

__all__ = ["Arm", "Study", "Trial", "read_study"]

__getattr__ = imported_on_first_use(__name__, {"Arm": "_spec", "Study": "_spec", "Trial": "_worker", "read_study": "_spec"})
