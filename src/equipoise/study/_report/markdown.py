"""The words of a report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

# Also addresses, which some readers of Markdown make links of; and what makes a list or a heading of a line that it begins.
MARKS = re.compile(r"[\\`*_{}\[\]<>#|$~&]|:(?=//)|(?<=www)\.", re.IGNORECASE)
BEGINNINGS = re.compile(r"^(\d*)([-+=.)])")


def as_markdown(words: Mapping[str, Any]) -> str:
    """The report in Markdown.

    Args:
        words: as the page has them.
    """
    parts = [f"# {text(words['decision'])}", f"{text(words['kind'])} {text(words['study'])}. {text(words['status'])}"]
    for title, said in words["brief"]:
        parts += [f"## {title}", _list(said)]
    if words["rows"]:
        parts += ["## The verdict for each arm", table(words["headings"], words["rows"]), text(words["caption"])]
    if words["costs"]:
        parts += ["## Duration and cost", table(words["cost_headings"], words["costs"])]
    if words["failures"]:
        parts += ["## Trials that failed", _list([f"{failure['title']}: {failure['reason']}" for failure in words["failures"]])]
    parts += ["## Methods", line(words["methods"])]
    if words["facts"]:
        parts += ["## Command and environment", _list([f"{name}: {value}" for name, value in words["facts"]])]
    return "\n\n".join(parts) + "\n"


def text(words: str) -> str:
    r"""Words as they are: no character of theirs is read as Markdown, as HTML, or as an address.

    Example:
        >>> print(text("<b>loss_2</b> | http://a"))
        \<b\>loss\_2\</b\> \| http\://a
    """
    return MARKS.sub(lambda found: f"\\{found[0]}", words)


def line(words: str) -> str:
    r"""The same, for words that begin a line.

    Example:
        >>> print(line("- 1"), line("1. a"))
        \- 1 1\. a
    """
    return BEGINNINGS.sub(r"\1\\\2", text(words.strip()))


def linked(words: str, file: str) -> str:
    """Words that lead to a file beside this one."""
    return f"[{text(words)}]({quote(file)})"


def _list(said: Sequence[str]) -> str:
    return "\n".join(f"- {line(sentence)}" for sentence in said)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of words below their headings."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(map(text, line))} |" for line in lines)
