"""JSON, TOML and YAML from outside, as trees of plain values, or as one error that names the file and what is wrong."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterable
from typing import Any

from equipoise._files.trees import DEPTH, PARTS, checked_tree, too_deep, too_many
from equipoise.errors import UnusableInputError


def parse_json(text: str | bytes, source: object) -> Any:
    """JSON as a tree of plain values.

    Args:
        text: the JSON. Who reads it bounds its length.
        source: where it is from, for messages.

    Raises:
        UnusableInputError: it is no JSON, or exceeds a limit.

    Example:
        >>> parse_json('{"step": 3}', "manifest.json")
        {'step': 3}
        >>> parse_json("[" * 100_000, "manifest.json")
        Traceback (most recent call last):
        equipoise.errors.UnusableInputError: manifest.json is nested too deeply: accepted are 100 levels
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise too_deep(source) from None
    except ValueError as error:  # UnicodeDecodeError, JSONDecodeError, and that of an integer with thousands of digits
        raise UnusableInputError(f"{source} is not valid JSON: {str(error).partition(';')[0]}") from None
    return checked_tree(value, source)


def parse_toml(text: str, source: object) -> dict[str, Any]:
    """TOML as a tree of plain values.

    Args:
        text: the TOML. Who reads it bounds its length.
        source: where it is from, for messages.

    Raises:
        UnusableInputError: it is no TOML, or exceeds a limit.
    """
    import tomllib

    # The parser takes time with the square of the number of parts of a dotted key.
    if any(piece.count(".") > DEPTH for piece in re.split(r"[=,\n]", text)):
        raise too_deep(source)
    try:
        value = tomllib.loads(text)
    except RecursionError:
        raise too_deep(source) from None
    except ValueError as error:  # TOMLDecodeError, and that of an integer with thousands of digits
        raise UnusableInputError(f"{source} is not valid TOML: {str(error).partition(';')[0]}") from None
    return checked_tree(value, source)


def parse_yaml(text: str, source: object) -> Any:
    """YAML as a tree of plain values, and of the tuples that trainers write; several documents as a list of them.

    An alias counts as all that it stands for, so that what is read is no larger than it looks; one within what it stands for is
    refused.

    Args:
        text: the YAML. Who reads it bounds its length.
        source: where it is from, for messages.

    Raises:
        UnusableInputError: it is no YAML, or exceeds a limit.
    """
    yaml: Any = importlib.import_module("yaml")
    fastest: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader: Any = type("Loader", (fastest,), {})  # for the tuples, of which other users of yaml shall hear nothing
    loader.add_constructor("tag:yaml.org,2002:python/tuple", loader.construct_sequence)
    try:
        _check_yaml_events(yaml.parse(text, loader), source)
        documents: list[Any] = list(yaml.load_all(text, loader))
    except UnusableInputError:
        raise
    except Exception as error:  # explicit tags make its constructors raise anything: !!timestamp "noon", !!bool "perhaps"
        raise UnusableInputError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from None
    return checked_tree(documents[0] if len(documents) == 1 else documents, source)


def _check_yaml_events(events: Iterable[Any], source: object) -> None:
    """Refuse what would exceed a limit, or the stack of the loader, before it is loaded."""
    sizes: dict[str | None, int] = {}  # of what every anchor stands for
    around: list[list[Any]] = []  # the anchor and the size so far of every collection around the present event
    for event in events:
        kind, anchor = type(event).__name__, getattr(event, "anchor", None)
        size = 1
        if kind in ("MappingStartEvent", "SequenceStartEvent"):
            around.append([anchor, 0])
            if len(around) > DEPTH:
                raise too_deep(source)
            continue
        if kind in ("MappingEndEvent", "SequenceEndEvent"):
            anchor, size = around.pop()
            size += 1
        elif kind == "AliasEvent":
            if any(anchor == other for other, _ in around):
                raise UnusableInputError(f"{source} contains itself: the alias *{anchor} is in what it stands for")
            size = sizes.get(anchor, 1)
        elif kind == "ScalarEvent":
            # The loader takes time with the square of the length of a number with base 60: 1:59:59 ...
            if len(event.value) > 400 and re.fullmatch(r"[-+]?(0[xX][0-9a-fA-F_]+|[0-9_.:]+)", event.value):
                raise UnusableInputError(f"{source} holds a number of more than 400 digits")
        else:
            continue  # the start or the end of the stream or of a document
        if anchor is not None:
            sizes[anchor] = size
        if around:
            around[-1][1] += size
        if size > PARTS or (around and around[-1][1] > PARTS):
            raise too_many(source)
