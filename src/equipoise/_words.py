"""Words of others in our sentences: lists, and names from files."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def listed(words: Sequence[str], most: int) -> str:
    """Up to `most` words, and how many more there are.

    Example:
        >>> listed(["a", "b", "c"], 2)
        'a, b and 1 more'
    """
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question to end a message with, if a known word is close to one that is not; else nothing.

    Example:
        >>> did_you_mean("digit", ["digits", "words"])
        ": did you mean 'digits'?"
    """
    close = difflib.get_close_matches(word, list(known), n=1)
    return f": did you mean {close[0]!r}?" if close else ""


def counted(count: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> counted(1, "seed"), counted(2000, "seed")
        ('1 seed', '2,000 seeds')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def memory(size: float) -> str:
    """A number of bytes in the unit that suits it.

    Example:
        >>> memory(4), memory(497_759_232)
        ('4 bytes', '498 MB')
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def duration(seconds: float) -> str:
    """A time in the unit that suits it.

    Example:
        >>> duration(90), duration(5400), duration(86400)
        ('90 s', '90 min', '24 h')
    """
    value, unit = _in_a_unit(seconds)
    return f"{value:.3g} {unit}"


def about(seconds: float) -> str:
    """A time that is known roughly.

    Example:
        >>> about(1.234), about(100.4), about(8765)
        ('1.2 s', '100 s', '2.4 h')
    """
    value, unit = _in_a_unit(seconds)
    return f"{value:.0f} {unit}" if value >= 10 else f"{value:.2g} {unit}"


def _in_a_unit(seconds: float) -> tuple[float, str]:
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return seconds / length, unit
    return seconds, "s"


def printable(text: str, most: int = 200) -> str:
    r"""Text from a file, as it may be printed in a terminal: on one line, and at most so many characters long.

    What could steer a terminal becomes "�": control characters, line breaks, marks that turn the direction of writing, and
    halves of surrogate pairs. A longer text loses its middle. More is kept of its end, which tells layers apart better.

    Example:
        >>> printable("blocks.0.attention.weight", 16)
        'block…ion.weight'
        >>> printable("\x1b[31mred\n")
        '�[31mred�'
    """
    if len(text) > most:
        head = most // 3
        text = f"{text[:head]}…{text[len(text) - (most - head - 1) :]}"
    return "".join(character if character.isprintable() else "�" for character in text)


def printable_lines(text: str, most: int = 2000) -> str:
    r"""The same for text of several lines, which stay lines; tabs become spaces.

    Example:
        >>> printable_lines("loss\t1\x07\nend\n")
        'loss    1�\nend'
    """
    return "\n".join(printable(line.expandtabs(), most) for line in text.splitlines())
