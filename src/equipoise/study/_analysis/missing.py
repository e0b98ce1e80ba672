"""What trials without a result do to the verdict of a study, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from equipoise._words import listed
from equipoise.study._analysis.question import Question
from equipoise.study._cells import Cell, Table
from equipoise.study._statistics.paired import Contrast, compare


def remarks_on_missing(
    table: Table, question: Question, contrasts: Sequence[Contrast], values: Mapping[str, Mapping[int, float]], worst: float
) -> list[str]:
    """What is missing, and what the verdict would be if it counted as the worst value seen. Nothing if all is there.

    Args:
        table: of the study.
        question: what decides.
        contrasts: the comparisons with the baseline, of the seeds that are there.
        values: the metric of every arm that is compared, per seed that is there.
        worst: the worst value seen.
    """
    study, missing = table.study, table.missing()
    if not missing:
        return []
    found = [
        f"{len(missing)} of {len(table.cells)} trials failed and are missing: {listed(_labels(missing), 5)}. The next run tries"
        " them again."
    ]
    if left_out := [arm.name for arm in study.arms if arm.name not in values]:
        found.append(f"Not compared, because too few of their trials have a result: {', '.join(left_out)}.")
    tuning = {cell.arm for cell in missing if cell.phase == "tuning"} & values.keys()
    if untried := [arm.name for arm in study.arms if arm.name in tuning]:
        arms = ", ".join(untried)
        found.append(f"Points whose tuning trials failed could not be chosen; there may be a better one for: {arms}.")
    seeds = study.seeds_for_comparison
    complete = {arm: {seed: own.get(seed, worst) for seed in seeds} for arm, own in values.items()}
    counted = compare(complete, question.baseline, question.goal, margin=question.margin, tasks=question.tasks)
    for contrast, other in zip(contrasts, counted, strict=True):
        if len(contrast.seeds) < len(seeds):
            effect = "the same" if other.verdict == contrast.verdict else f'"{other.verdict}" instead of "{contrast.verdict}"'
            found.append(
                f"{contrast.arm} is compared on {len(contrast.seeds)} of {len(seeds)} seeds. If the missing ones counted as"
                f" {study.metric} = {worst:.4g}, the worst value seen, its verdict would be {effect}."
            )
    return found


def _labels(cells: Sequence[Cell]) -> list[str]:
    return [f"{cell.label} ({cell.why_missing})" for cell in cells]
