"""Words of others in our sentences: lists, and names from files."""

from __future__ import annotations

from collections.abc import Sequence


def listed(words: Sequence[str], most: int) -> str:
    """Up to `most` words, and how many more there are.

    Example:
        >>> listed(["a", "b", "c"], 2)
        'a, b and 1 more'
    """
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


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
