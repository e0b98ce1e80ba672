"""Another study made of one: a copy of its file under a new name, with changes, that shares its trials."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit

from equipoise._files import parse_toml, read_text, replace_file
from equipoise._words import did_you_mean
from equipoise.errors import ArgumentError, UnusableInputError
from equipoise.study._spec import FILE_NAME, Study, parse_study


def fork_study(path: Path, name: str, changes: Mapping[str, Any]) -> tuple[Path, Study]:
    """Write the copy, beside the file, with all its comments.

    Args:
        path: the study file.
        name: of the copy: its file is NAME.toml.
        changes: the new values by their keys; that of an arm is ``arm.NAME.key``.

    Returns:
        The file that was written, and what it holds.

    Raises:
        ArgumentError: the name or a key is not accepted.
        UnusableInputError: the file is not a study, or would be none with the changes; the copy exists or cannot be written.
    """
    text = read_text(path)
    former = parse_study(text, path)
    if not re.fullmatch(FILE_NAME, name):
        raise ArgumentError("name", name, "made of letters, digits, '.', '_' and '-', and begin with a letter or a digit")
    copy = path.with_name(f"{name}.toml")
    if name == former.name or copy.exists():
        raise UnusableInputError(f"{copy} exists, or {path} has that name: choose another one, nothing is overwritten")
    document: Any = tomlkit.parse(text)
    for key, value in {"name": name, "store": former.store or former.name, **changes}.items():
        _set(document, key, value)
    changed = tomlkit.dumps(document)
    study = parse_study(changed, f"{copy}, with these changes,")
    replace_file(copy, changed.encode())
    return copy, study


def parse_change(text: str) -> tuple[str, Any]:
    """A change as the command line has it: ``seeds=12``, ``arm.quarter.exponent=0.3``, ``metric="loss"``.

    Raises:
        ArgumentError: it is none.
    """
    key, equals, value = text.partition("=")
    accepted = "KEY=VALUE, with a value as in the study file: seeds=12, or 'metric=\"loss\"'"
    if not equals or not key:
        raise ArgumentError("set", text, accepted)
    try:
        return key, parse_toml(f"value = {value}", "it")["value"]
    except UnusableInputError:
        raise ArgumentError("set", text, accepted) from None


def _set(document: Any, key: str, value: Any) -> None:
    first, *rest = key.split(".", 2)
    if first != "arm":
        document[key] = value
        return
    arms = {str(arm["name"]): arm for arm in document["arm"]}
    if len(rest) < 2 or rest[0] not in arms:
        accepted = f"arm.NAME.KEY, with the name of an arm, of {', '.join(arms)}"
        raise ArgumentError("set", key, accepted + (did_you_mean(rest[0], arms) if rest else ""))
    arms[rest[0]][rest[1]] = value
