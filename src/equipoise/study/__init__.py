"""Compare optimizers on a user's own metric: arms, learning rates and seeds, with paired statistics and a report.

:func:`run` runs a study, from its TOML file or from a :class:`Study`, and returns an :class:`Analysis`. A study has several
:class:`Arm` and names a task, which is a function of one :class:`Trial`. :func:`run_suite` runs several tasks, a
:class:`Suite`, and decides over all of them, a :class:`SuiteAnalysis`. :func:`judge` gives the same verdict on results that
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
    from equipoise.study._suite.analysis import SuiteAnalysis
    from equipoise.study._suite.judge import judge_suite
    from equipoise.study._suite.run import run_suite
    from equipoise.study._suite.spec import Suite, read_suite
    from equipoise.study._worker import Trial

__all__ = [
    "Analysis",
    "Arm",
    "RayCluster",
    "Study",
    "Suite",
    "SuiteAnalysis",
    "Trial",
    "judge",
    "judge_suite",
    "read_study",
    "read_suite",
    "run",
    "run_suite",
]

__getattr__, __dir__ = imported_on_first_use(
    __name__,
    {
        "Analysis": "_analysis",
        "Arm": "_spec",
        "RayCluster": "_engines",
        "Study": "_spec",
        "Suite": "_suite.spec",
        "SuiteAnalysis": "_suite.analysis",
        "Trial": "_worker",
        "judge": "_judging.judge",
        "judge_suite": "_suite.judge",
        "read_study": "_spec",
        "read_suite": "_suite.spec",
        "run": "_run",
        "run_suite": "_suite.run",
    },
    extra="study",
)
