"""What has changed in a study since its trials were kept, shown as a difference."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from equipoise._words import printable
from equipoise.errors import UnusableInputError
from equipoise.study._spec import Study
from equipoise.study._store.store import Outdated

MOST_LINES = 60

OF_THE_STUDY = ("task", "epochs", "threads")
"""What every trial depends on."""

NOT_TRAINED = {"name", "baseline", "learning_rates", "search"}
"""What an arm says of the study, not of its training: other points are other trials beside those that are kept."""


HOW_TO_FORK = 'Undo the change, or run with --fork (existing="fork"): what has changed runs anew, and these are set aside.'


def refuse_changed_arms(former: Mapping[str, Any], study: Study) -> None:
    """Refuse a study whose kept trials are of other arms, or of another task.

    Raises:
        UnusableInputError: it lists every difference.
    """
    if changed := differing_arms(former, study):
        listed = "\n".join(f"  {each}" for each in changed)
        raise UnusableInputError(f"the study is not what it was when its trials were kept:\n{listed}\n{HOW_TO_FORK}")


def refuse_changed_sources(outdated: Outdated) -> None:
    """Refuse trials that are kept, but ran other code than there is now.

    Raises:
        UnusableInputError: it shows the difference.
    """
    raise UnusableInputError(
        f"{len(outdated.keys)} trial(s), kept since {outdated.since:%Y-%m-%d %H:%M} UTC, ran other code than there is now:\n"
        f"{differing_sources(outdated)}\n{HOW_TO_FORK}"
    )


def differing_sources(outdated: Outdated) -> str:
    """The differences between the sources that are kept and the present ones."""
    lines: list[str] = []
    for name, (kept, present) in sorted(outdated.texts.items()):
        if kept is None or present is None:
            lines.append(f"{name}: {'the text that was run is not kept' if kept is None else 'is gone'}")
            continue
        former, now = kept.splitlines(), present.splitlines()
        lines += difflib.unified_diff(former, now, f"{name} (as it was run)", f"{name} (now)", n=1, lineterm="")
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"... and {len(lines) - MOST_LINES} more lines"]
    return "\n".join(f"  {printable(line.expandtabs(), 160)}" for line in lines)


def differing_arms(former: Mapping[str, Any], study: Study) -> list[str]:
    """In what arms of the same names, or what all of them share, differ from what a study was.

    Args:
        former: the study as it was, as JSON has it.
        study: as it is.
    """
    now = study.model_dump(mode="json", by_alias=True)
    found = [*_differences("", {key: former.get(key) for key in OF_THE_STUDY}, {key: now[key] for key in OF_THE_STUDY})]
    earlier = {arm["name"]: arm for arm in former["arm"]}
    for arm in now["arm"]:
        if arm["name"] in earlier:
            found += _differences(f"arm {arm['name']!r}: ", earlier[arm["name"]], arm)
    return found


def _differences(where: str, former: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted((former.keys() | now.keys()) - NOT_TRAINED):
        if former.get(key) != now.get(key):
            yield f"{where}{key} was {_shown(former, key)} and is {_shown(now, key)}"


def _shown(values: Mapping[str, Any], key: str) -> str:
    return "absent" if values.get(key) is None else printable(repr(values[key]), 100)
