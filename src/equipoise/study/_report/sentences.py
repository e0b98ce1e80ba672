"""What a report says in words: the decision, what it rests on, what it cost, what is at risk, what to do next, the methods."""

from __future__ import annotations

import math

from equipoise._version import __version__
from equipoise._words import counted, duration, listed, printable
from equipoise.study._analysis import LONGEST_SENTENCE, number_format
from equipoise.study._report.contents import Contents, Spent, astray, spent
from equipoise.study._statistics.paired import Contrast

UNDECIDED = ("not shown", "no worse")

SAID = 6
"""A sentence names so many arms."""


def decision(contents: Contents) -> str:
    """What to do, in one sentence."""
    analysis, baseline = contents.verdict, printable(contents.question.baseline)
    if analysis is None and contents.settled:
        return "No decision: too many trials failed or diverged."
    if analysis is None:
        return f"No decision yet: {contents.done:,} of {planned(contents):,} trials are finished."
    if analysis.better:
        best = analysis.better[0]
        spec = number_format(best.interval[1] - best.interval[0])
        low, high, mean = (f"{value:{spec}}" for value in (*best.interval, best.mean))
        gain = f"{printable(contents.question.metric)} is better by {mean} ({low} to {high} with 95 % confidence)"
        return f"Use {printable(best.arm)} in place of {baseline}: {gain}."
    for verdict in ("as good", "no worse"):
        alike = [printable(found.arm) for found in analysis.contrasts if found.verdict == verdict]
        if alike:
            return f"Keep {baseline}, or take {listed(alike, SAID)}: {verdict} within {contents.question.margin:g}."
    return f"Keep {baseline}: no other arm is shown to beat it."


def status(contents: Contents) -> str:
    """How far the study is; "" for results that were made elsewhere."""
    record = contents.record
    if record is None:
        return ""
    newest = record.last_finished_at or record.run.recorded_at
    done = "complete" if contents.done == planned(contents) else f"{contents.done:,} of {planned(contents):,} trials finished"
    return f"{done}, as of {newest:%Y-%m-%d %H:%M} UTC"


def basis(contents: Contents) -> list[str]:
    """What the decision rests on."""
    analysis, said = contents.verdict, list[str]()
    if contents.record is not None:
        study = contents.record.study
        said.append(
            f"{len(study.arms)} optimizer configurations (arms) learned the task {printable(study.task)} for"
            f" {counted(study.epochs, 'epoch')}. Each tried equally many settings on {counted(study.tuning_seeds, 'seed')}; its"
            f" best one then trained on {study.seeds} fresh seeds, the same for every arm."
        )
    if analysis is None:
        said.append(
            printable(contents.trouble, LONGEST_SENTENCE)
            or "No verdict can be read from what is shown before the study is finished."
        )
        return said
    found, baseline = max(analysis.contrasts, key=lambda found: found.mean), printable(contents.question.baseline)
    wins = sum(difference > 0 for difference in found.differences)
    said.append(f"{printable(found.arm)} did better than {baseline} on {wins} of {len(found.seeds)} seeds.")
    return said + [printable(finding, LONGEST_SENTENCE) for finding in analysis.findings]


def cost(contents: Contents) -> list[str]:
    """What the study cost, and what the arms cost."""
    if contents.record is None:
        return ["The results were made elsewhere; what they cost is not known here."]
    arms = [arm.name for arm in contents.record.study.arms]
    each = spent(contents.cells, arms)
    more = planned(contents) - contents.done
    seconds = math.fsum(cell.result.seconds for cell in contents.trials if cell.result is not None)
    said = [f"{counted(contents.done, 'trial')} took {duration(seconds)} of computing in all."]
    if more:
        said.append(f"{counted(more, 'more trial')} {'is' if more == 1 else 'are'} planned.")
    base = next((one for one in each if one.arm == contents.question.baseline), None)
    best = "" if contents.verdict is None else next((found.arm for found in contents.verdict.better), "")
    for one in each:
        if base is not None and one.arm in (base.arm, best):
            said.append(_price(one, base))
    return said


def _price(one: Spent, base: Spent) -> str:
    said = f"A trial of {printable(one.arm)} takes {duration(one.per_trial)}"
    if one is not base and base.per_trial:
        said += f" ({one.per_trial / base.per_trial - 1:+.0%} against {printable(base.arm)})"
    if one.memory is not None and one.state is not None and one.parameters:
        state = f"{size(one.state)} of optimizer state ({one.state / one.parameters:.3g} bytes per parameter)"
        said += f", up to {size(one.memory)} of memory, and {state}"
    return f"{said}."


def risk(contents: Contents) -> list[str]:
    """What speaks against relying on the decision."""
    said = list[str]()
    if contents.verdict is not None:
        goal = contents.question.goal
        far = {arm.name: (astray(arm, goal), len(arm.seeds)) for arm in contents.verdict.arms}
        lost = [
            f"{printable(arm)}: {len(found)} of {seeds} seeds collapsed, to {listed([f'{value:.4g}' for value in found], 3)}."
            for arm, (found, seeds) in far.items()
            if found
        ]
        said += lost
        said += [printable(remark, LONGEST_SENTENCE) for remark in contents.verdict.doubts]
        if not lost and not any(arm.diverged for arm in contents.verdict.arms):
            said.append("No seed of any arm diverged, and none ended far from the others of its arm.")
    if contents.record is not None:
        failed = sum(cell.failure is not None for cell in contents.trials)
        if failed and contents.verdict is None:  # a verdict says itself what is missing
            said.append(f"{counted(failed, 'trial')} failed; the reasons are below.")
        if contents.question.tasks == 1:
            said.append("One task was tried. Another task, model size or length of training can have another winner.")
    return said


def next_steps(contents: Contents) -> list[str]:
    """What to do now."""
    analysis = contents.verdict
    if analysis is None:
        return ["Run the study on: the command below continues it, and runs only what is missing."]
    said = list[str]()
    edges = [printable(found.arm.name) for found in contents.tuned if found.at_edge]
    if edges:
        said.append(
            f"Widen the ranges of {listed(edges, SAID)}, whose best values lie at an edge, and run again: only new trials run."
        )
    if analysis.better:
        best = analysis.better[0]
        where = "on a second task, or at full length," if contents.question.tasks == 1 else "at full length"
        said.append(f"Confirm {printable(best.arm)} {where} before you switch everywhere.")
    for found in analysis.contrasts:
        if found.verdict in UNDECIDED and found.mean > 0:
            said.append(_more_seeds(found, contents.question.metric))
    if said:
        return said[:SAID]
    if any(found.verdict in UNDECIDED for found in analysis.contrasts):
        return [f"No arm looks better than {printable(contents.question.baseline)}: more seeds would only say how much worse."]
    return ["Nothing more: for this task the question is answered."]


def _more_seeds(found: Contrast, metric: str) -> str:
    spec = number_format(found.interval[1] - found.interval[0])
    seen = f"{printable(found.arm)}: {len(found.seeds)} seeds show differences of {found.detectable:{spec}} and more."
    if found.seeds_to_show is None:
        return f"{seen} The difference seen, {found.mean:+{spec}}, is too small to show with any reasonable number of seeds."
    wanted = (
        f"A difference as large as that seen, {found.mean:+{spec}} in {printable(metric)}, takes about {found.seeds_to_show:,}"
    )
    return f"{seen} {wanted}: add seeds if it would matter to you."


def methods(contents: Contents) -> str:
    """A paragraph for a paper."""
    analysis, record = contents.verdict, contents.record
    question, said = contents.question, list[str]()
    metric, baseline = printable(question.metric), printable(question.baseline)
    if record is not None:
        study = record.study
        arms = ", ".join(f"{printable(arm.name)} ({printable(arm.optimizer)})" for arm in study.arms)
        versions = f"PyTorch {record.run.environment.get('torch', '?')}, Python {record.run.environment.get('python', '?')}"
        chose = (
            sum(cell.phase == "tuning" and cell.arm == study.baseline.name for cell in record.table.cells) // study.tuning_seeds
        )
        said.append(
            f"We compared {len(study.arms)} optimizers, {arms}, on the task {printable(study.task)}, with Equipoise"
            f" {__version__} ({versions}). For each of them, {counted(chose, 'setting')} of its hyperparameters trained for"
            f" {counted(study.epochs, 'epoch')} on {counted(study.tuning_seeds, 'seed')}, and the setting with the best mean of"
            f" {printable(study.selection.metric)} was kept. With it, each optimizer trained on {study.seeds} fresh seeds, the"
            " same for every optimizer."
        )
    if analysis is not None:
        count, tasks = analysis.contrasts[0].comparisons, f" on {question.tasks} tasks" if question.tasks > 1 else ""
        level = f"1 - 0.05/{count}, so that all {count}{tasks} hold at once with at least 95 % probability"
        level = "95 %" if count == 1 else level
        said.append(
            f"We report the difference of {metric} at the end of training from {baseline}, paired by seed, with Student's t"
            f" interval at a confidence of {level}. An optimizer is called better or worse where its interval excludes zero."
        )
        diverged = sum(arm.diverged for arm in analysis.arms)
        runs = sum(len(arm.seeds) for arm in analysis.arms)
        stand_in = f", and counted with a {metric} of {analysis.diverged_value:.4g}" if diverged else ""
        said.append(f"{diverged} of {runs} runs diverged{stand_in}.")
    return " ".join(said)


def planned(contents: Contents) -> int:
    """How many trials the study has in all. Those that compare enter the plan when the settings are chosen."""
    record = contents.record
    if record is None:
        return 0
    missing = not any(cell.phase == "comparison" for cell in record.table.cells)
    return len(record.cells) + (len(record.study.arms) * record.study.seeds if missing else 0)


def size(count: float) -> str:
    """A number of bytes in the unit that suits it."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
