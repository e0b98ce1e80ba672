"""Compare optimizers on a user's own metric: arms, learning rates and seeds, with paired statistics and a report.

:func:`run` runs a study, from its TOML file or from a :class:`Study`, and returns an :class:`Analysis`. A study has several
:class:`Arm` and names a task, which is a function of one :class:`Trial`. :func:`judge` gives the same verdict on results that
others made. All of this needs ``pip install 'equipoise[study]'``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from equipoise._lazy import imported_on_first_use

if TYPE_CHECKING:
    from equipoise.study._analysis import Analysis
    from equipoise.study._engines import RayCluster
    from equipoise.study._judging.judge import judge
    from equipoise.study._run import run
    from equipoise.study._spec import Arm, Study, read_study
    from equipoise.study._worker import Trial

__all__ = ["Analysis", "Arm", "RayCluster", "Study", "Trial", "judge", "read_study", "run"]

__getattr__, __dir__ = imported_on_first_use(
    __name__,
    {
        "Analysis": "_analysis",
        "Arm": "_spec",
        "RayCluster": "_engines",
        "Study": "_spec",
        "Trial": "_worker",
        "judge": "_judging.judge",
        "read_study": "_spec",
        "run": "_run",
    },
    extra="study",
)
