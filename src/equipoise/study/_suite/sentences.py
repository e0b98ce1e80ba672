"""What the report of a suite says in words."""

from __future__ import annotations

import math

from equipoise._words import counted, duration, listed, printable
from equipoise.study._analysis import LONGEST_SENTENCE
from equipoise.study._report.contents import spent
from equipoise.study._statistics.profile import NEAREST, Profile
from equipoise.study._suite.analysis import SAID, SuiteAnalysis
from equipoise.study._suite.contents import SuiteContents

CLOSE = {"spreads": 1.0, "ratio": 1.1}
"""How far from the best arm is still close: what seeds vary by, or a tenth more time."""

VERDICTS = ("better", "as good", "no worse", "not shown", "worse", "missing")


def decision(contents: SuiteContents) -> str:
    """What to do, in one sentence."""
    if not contents.settled:
        return f"No decision yet: {contents.done:,} of {contents.planned:,} trials are finished."
    return printable(contents.analysis.headline, LONGEST_SENTENCE)


def status(contents: SuiteContents) -> str:
    """How far the suite is; "" for results that were made elsewhere."""
    if all(part.record is None for part in contents.parts.values()):
        return ""
    return "complete" if contents.done == contents.planned else f"{contents.done:,} of {contents.planned:,} trials finished"


def basis(contents: SuiteContents) -> list[str]:
    """What the decision rests on."""
    tasks = [
        f"{printable(task)} ({printable(part.question.metric)}, {part.question.goal})" for task, part in contents.parts.items()
    ]
    said = [
        f"{len(contents.arms)} optimizer configurations (arms) on {counted(len(tasks), 'task')}: {listed(tasks, SAID)}. On each"
        " task every arm is compared with the baseline on the same seeds."
    ]
    analysis = contents.analysis
    for standing in analysis.standings[:SAID] if analysis.tasks else ():
        counts = [(verdict, len(standing.on(verdict))) for verdict in VERDICTS]
        tally = [f"{verdict} on {count}" for verdict, count in counts if count]
        said.append(f"{printable(standing.arm)}: {', '.join(tally)}.")
    return said + [about_profile(analysis, profile) for profile in analysis.profiles]


def about_profile(analysis: SuiteAnalysis, profile: Profile) -> str:
    """On how many tasks each arm comes close to the best one."""
    close, count = CLOSE[profile.scale], len(analysis.tasks)
    near = {arm: sum(distance <= close for distance in own.values()) for arm, own in profile.distances.items()}
    order = sorted(near, key=lambda arm: -near[arm])
    within = "one spread between seeds" if profile.scale == "spreads" else "a tenth of the time to the target"
    counts = listed([f"{printable(arm)} on {near[arm]} of {count}" for arm in order], SAID)
    return f"Within {within} of the task's best arm: {counts}."


def cost(contents: SuiteContents) -> list[str]:
    """What the suite cost."""
    parts = {task: part for task, part in contents.parts.items() if part.record is not None}
    if not parts:
        return ["The results were made elsewhere; what they cost is not known here."]
    seconds = {task: math.fsum(one.seconds for one in spent(part.cells, contents.arms)) for task, part in parts.items()}
    said = [f"{counted(contents.done, 'trial')} took {duration(math.fsum(seconds.values()))} of computing in all."]
    each = [f"{printable(task)} {duration(took)} for {counted(parts[task].done, 'trial')}" for task, took in seconds.items()]
    said.append(f"By task: {listed(each, SAID)}.")
    if more := contents.planned - contents.done:
        said.append(f"{counted(more, 'more trial')} {'is' if more == 1 else 'are'} planned.")
    return said


def risk(contents: SuiteContents) -> list[str]:
    """What speaks against relying on the decision."""
    analysis = contents.analysis
    doubts = [
        f"{printable(task)} {counted(len(found.doubts), 'doubt')}" for task, found in analysis.tasks.items() if found.doubts
    ]
    return [
        *(printable(said, LONGEST_SENTENCE) for said in analysis.remarks_on_tasks),
        *([f"What speaks against single verdicts stands with each task below: {listed(doubts, SAID)}."] if doubts else []),
    ]


def next_steps(contents: SuiteContents) -> list[str]:
    """What to do now."""
    if not contents.settled:
        return ["Run the suite on: the same command continues it, and runs only what is missing."]
    analysis, said = contents.analysis, list[str]()
    if analysis.undecided:
        said.append(f"Mend what failed on {listed([*map(printable, analysis.undecided)], SAID)}, and run again.")
    if edges := [
        f"{printable(task)} ({listed([printable(found.arm.name) for found in part.tuned if found.at_edge], SAID)})"
        for task, part in contents.parts.items()
        if any(found.at_edge for found in part.tuned)
    ]:
        said.append(f"Widen the ranges whose best values lie at an edge: {listed(edges, SAID)}. Only new trials run.")
    if analysis.better:
        arm = printable(analysis.better[0].arm)
        said.append(f"Confirm {arm} at full length, on the task that matters most, before you switch everywhere.")
    if any(standing.on("not shown") for standing in analysis.standings):
        said.append("Add seeds where a difference would matter and is not shown: the page of each task says how many it takes.")
    return said or ["Nothing more: for these tasks the question is answered."]


def caption(analysis: SuiteAnalysis) -> str:
    """How the numbers of the table came about."""
    count = sum(len(found.contrasts) for found in analysis.tasks.values())
    return printable(
        f"Gain over {analysis.baseline} in the metric of each task, positive is better, with the interval of the paired t test:"
        f" all {count} intervals hold at once with 95 % confidence. A verdict is what the interval says. No metric is averaged"
        " over tasks.",
        LONGEST_SENTENCE,
    )


def about_figure(profile: Profile) -> str:
    """What the figure of a profile shows."""
    unit = (
        "The unit is what a result usually varies by from seed to seed: the median over arms of the standard deviation"
        if profile.scale == "spreads"
        else "The distance is the median time to the target, as a multiple of that of the fastest arm"
    )
    best = f"{NEAREST[profile.scale]:g}"
    return (
        f"The share of the tasks on which an arm is at most so far from the task's best arm. {unit}. At {best} stands how often"
        " an arm is the best; the further up and left, the better. The bands hold in 95 % of draws of other seeds; they say"
        " nothing about other tasks. A line that ends below 100 % belongs to an arm that did not finish everywhere, or is"
        " further away on some task."
    )
