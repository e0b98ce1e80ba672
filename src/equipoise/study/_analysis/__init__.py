"""From the finished runs of a study to its verdict: the point of each arm, its values on fresh seeds, the comparisons."""

from equipoise.study._analysis.analysis import Analysis
from equipoise.study._analysis.arms import Compared
from equipoise.study._analysis.decision import analyse, decide
from equipoise.study._analysis.question import Question, value_of, worst_value
from equipoise.study._analysis.remarks import chosen_by_the_metric, too_few_seeds
from equipoise.study._analysis.tuning import Tuned, best_points, tune
from equipoise.study._analysis.verdict_table import LONGEST_SENTENCE, NAME_SHOWN
from equipoise.study._statistics.words import number_format

__all__ = [
    "LONGEST_SENTENCE",
    "NAME_SHOWN",
    "Analysis",
    "Compared",
    "Question",
    "Tuned",
    "analyse",
    "best_points",
    "chosen_by_the_metric",
    "decide",
    "number_format",
    "too_few_seeds",
    "tune",
    "value_of",
    "worst_value",
]
