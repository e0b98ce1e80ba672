"""What is wrong with a study file, each fault in a line: the key, its value, what is accepted, and what was meant perhaps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel, ValidationError

from equipoise._words import did_you_mean, printable

EXAMPLES = {
    "name": '"widgets"',
    "task": '"my_task.py:train"',
    "metric": '"accuracy"',
    "goal": '"maximize"',
    "epochs": "5",
    "seeds": "9",
    "tuning_seeds": "2",
    "arm": '[{ name = "adamw", optimizer = "adamw", baseline = true }, { name = "sgd", optimizer = "sgd" }]',
    "optimizer": '"adamw"',
    "low": "1e-4",
    "high": "1e-1",
    "count": "5",
}
"""A value for each key that a study cannot do without."""

ACCEPTED = {
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "list_type": "must be a list",
    "string_type": "must be text",
    "string_pattern_mismatch": "must be made of letters, digits, '.', '_' and '-', and begin with a letter or a digit",
}
"""The words for some faults, where pydantic's are for programmers."""


def described(error: ValidationError, tables: Mapping[str, type[BaseModel]]) -> Iterator[str]:
    """Each fault in a line.

    Args:
        error: what pydantic found.
        tables: what a table is read by, by the tag of the table; the whole file has the tag "".
    """
    for fault in error.errors(include_url=False):
        location, tag = _without_tag(fault["loc"])
        place, key, kind = _place(location), str(location[-1]) if location else "", fault["type"]
        if kind == "missing":
            yield f"{place} is missing; write {key} = {EXAMPLES[key]}, for example"
            continue
        wrong = f"{place} = {printable(repr(fault['input']), 80)}"
        if kind == "extra_forbidden":
            keys = [field.alias or name for name, field in tables[tag].model_fields.items()]
            yield f"{wrong} is no key; accepted are {', '.join(keys)}{did_you_mean(key, keys)}"
            continue
        said = fault["msg"].removeprefix("Value error, ")
        said = ACCEPTED.get(kind) or re.sub("^(Input|List|String) should", "must", said)
        if kind == "literal_error" and isinstance(fault["input"], str):
            said += did_you_mean(fault["input"], re.findall("'([^']*)'", said))
        yield f"{wrong} {said}" if said.startswith("must") else f"{place}: {said}" if place else said


def _without_tag(location: Sequence[int | str]) -> tuple[list[int | str], str]:
    """The place of a fault in the file, and the tag that pydantic puts after a value that may be of several kinds, else ""."""
    key = location[0] if location else ""
    position = {"select_by": 1, "learning_rates": 1}.get(str(key))
    if key == "arm" and len(location) > 2:
        position = {"learning_rates": 3, "search": 4}.get(str(location[2]))
    if position is None or position >= len(location):
        return list(location), ""
    return [*location[:position], *location[position + 1 :]], str(location[position])


def _place(location: Sequence[int | str]) -> str:
    """Where a fault is, as ``arm[2] optimizer``; entries of lists are counted from 1."""
    return "".join(f"[{part + 1}]" if isinstance(part, int) else f" {printable(part, 60)}" for part in location).strip()
