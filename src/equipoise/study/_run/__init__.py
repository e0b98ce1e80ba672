"""A run of a study, from its plan to its verdict."""

from equipoise.study._run.turns import Existing
from equipoise.study._run.whole import probe, run

__all__ = ["Existing", "probe", "run"]
