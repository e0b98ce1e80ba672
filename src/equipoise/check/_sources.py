"""Recipes, the hyperparameters in a file: trainers' arguments, configurations, optimizer states, training checkpoints.

Recognised in any mapping, at any depth: ``betas`` (torch, DeepSpeed: one pair, or one per stage), ``adam_beta1`` and
``adam_beta2`` (transformers), ``beta1`` and ``beta2``. Beside them ``exponent``, and ``stages`` or ``k``, as this package
writes them; without these a recipe is that of a plain Adam.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from equipoise._files import parse_json, parse_toml, parse_yaml, read_text
from equipoise._words import listed, printable
from equipoise.errors import ArgumentError, UnusableInputError
from equipoise.hyperparameters import Hyperparameters
from equipoise.theory._assessment import Assessment, assess_hyperparameters

MOST_STAGES_IN_FILE = 10_000
"""So many are judged in a few seconds. A model with a group for every tensor has some hundreds."""

LOOKED_FOR = "betas, adam_beta1 and adam_beta2, or beta1 and beta2, at any depth"


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of one optimizer or parameter group in a file."""

    where: str
    """Their place in the file, as ``optimizer.params.betas`` or ``optimizer.param_groups[0]``."""
    hyperparameters: Hyperparameters

    @property
    def assessment(self) -> Assessment:
        """What theory says of them."""
        return assess_hyperparameters(self.hyperparameters)


def read_recipes(path: Path) -> list[Recipe]:
    """Every set of betas in a file, in the order of the file.

    Files: ``.json``, ``.yaml``, ``.yml``, ``.toml``, and torch checkpoints ``.pt``, ``.pth``, ``.bin``, ``.ckpt``, which are
    loaded with ``weights_only=True``: nothing in them is executed. Only checkpoints import torch.

    Raises:
        UnusableInputError: the file is missing, unreadable or malformed, holds no betas, or betas that are not accepted.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "ds_config.json")
        ...     _ = path.write_text('{"optimizer": {"type": "Adam", "params": {"betas": [0.9, 0.95]}}}')
        ...     (recipe,) = read_recipes(path)
        >>> recipe.where, recipe.hyperparameters.betas
        ('optimizer.params.betas', ((0.9, 0.95),))
        >>> recipe.assessment.sentence
        'Safe: no sequence of gradients can make an update larger than 1.16 learning rates.'
    """
    if os.path.isdir(path):  # Path.is_dir raises for names that are too long
        raise UnusableInputError(f"{path} is a folder: accepted are files of type {', '.join(READERS)}")
    read = READERS.get(path.suffix.lower())
    if read is None:
        kind = f"of type {path.suffix}" if path.suffix else "without a suffix"
        raise UnusableInputError(f"{path} is a file {kind}: accepted are {', '.join(READERS)}")
    content = read(path)
    mappings = list(_mappings(content, "", set()))
    recipes: list[Recipe] = []
    stages = 0
    for where, mapping in mappings:
        recipe = _recipe(path, where, mapping)
        if recipe is not None:
            recipes.append(recipe)
            stages += len(recipe.hyperparameters.betas)
            if stages > MOST_STAGES_IN_FILE:
                raise UnusableInputError(f"{path} holds betas of more than {MOST_STAGES_IN_FILE:,} parameter groups and stages")
    if not recipes:
        raise UnusableInputError(f"{path} holds no betas: looked for {LOOKED_FOR}; found {_summary(content, mappings)}")
    return recipes


def _mappings(node: Any, where: str, seen: set[int]) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Every mapping at or below `node`, with its place."""
    if not isinstance(node, (Mapping, list, tuple)) or id(node) in seen:  # pyright: ignore[reportUnknownArgumentType]
        return
    seen.add(id(node))  # pyright: ignore[reportUnknownArgumentType]  # what several places share counts once
    if isinstance(node, Mapping):
        mapping = dict(cast("Mapping[Any, Any]", node))
        yield where, mapping
        for key, value in mapping.items():
            # What a terminal would act on, rather than show, is escaped.
            name = printable(key if isinstance(key, str) and key.isprintable() else ascii(key))
            yield from _mappings(value, f"{where}.{name}" if where else name, seen)
    else:
        for index, value in enumerate(cast("list[Any]", node)):
            yield from _mappings(value, f"{where}[{index}]", seen)


def _recipe(path: Path, where: str, mapping: dict[Any, Any]) -> Recipe | None:
    """The recipe in this very mapping. Configurations spell "not set" as None (null)."""

    def given(key: str, default: Any = None) -> Any:
        value = mapping.get(key)
        return default if value is None else _plain(value)

    betas: Any
    note = ""
    if given("betas") is not None and not isinstance(mapping["betas"], Mapping):
        keys, betas = ["betas"], given("betas")
    elif given("adam_beta1") is not None or given("adam_beta2") is not None:
        keys = ["adam_beta1", "adam_beta2"]
        defaults = dict(zip(keys, (0.9, 0.999), strict=True))
        betas = [given(key, default) for key, default in defaults.items()]
        note = "".join(f" ({key} is not set: {value} by default)" for key, value in defaults.items() if given(key) is None)
    elif given("beta1") is not None and given("beta2") is not None:
        keys = ["beta1", "beta2"]
        betas = [given(key) for key in keys]
    else:
        return None
    place = where if _is_group(where) else ", ".join(f"{where}.{key}".lstrip(".") for key in keys) + note
    if betas == "auto":
        raise UnusableInputError(
            f"{path}: {place} is 'auto', which the trainer fills in when it starts; check the trainer's own arguments instead"
        )
    entries = cast("list[Any]", betas) if isinstance(betas, list) else []
    per_stage = len(entries) > 0 and all(isinstance(entry, list) for entry in entries)
    number = given("stages", given("k", len(entries) if per_stage else 1))
    stages = int(number) if isinstance(number, float) and number.is_integer() else cast("int", number)
    # The one optimizer whose exponent is not 1/2 when it is left out.
    exponent = given("exponent", 0.25 if mapping.get("optimizer") == "equipoise.SMES" else 0.5)
    try:
        return Recipe(place, Hyperparameters.parse(cast("Any", betas), exponent, stages))
    except ArgumentError as error:
        raise UnusableInputError(f"{path}: at {place}: {error}") from None


def _is_group(where: str) -> bool:
    return re.search(r"param_groups\[\d+\]$", where) is not None


def _plain(value: Any) -> Any:
    """`value` with sequences as lists, and with what can only be meant as a number as one.

    YAML 1.1 reads ``9e-1`` and ``(0.9, 0.999)`` as strings; checkpoints may hold tensors. Anything else comes back as it is,
    for the message about it.
    """
    plain: Any = value
    if isinstance(value, (list, tuple)):
        plain = [_plain(entry) for entry in cast("list[Any]", value)]
    elif isinstance(value, str):
        words = re.split(r"[\s,]+", value.strip("()[] \t\n"))
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            return value
        plain = numbers[0] if len(numbers) == 1 else numbers
    elif hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        plain = value.item()
    return plain


def _summary(content: Any, mappings: list[tuple[str, dict[Any, Any]]]) -> str:
    """What a file without betas holds instead, for the message."""
    groups = [
        f"{where} ({', '.join(ascii(key).strip(chr(39)) for key in mapping if key != 'params')})"
        for where, mapping in mappings
        if _is_group(where)
    ]
    if groups:
        return f"parameter groups without betas: {listed(groups, 3)}"
    if isinstance(content, Mapping) and content:
        return f"at the top the keys {listed([ascii(key) for key in cast('Mapping[Any, Any]', content)], 8)}"
    if content is None or content in ({}, [], ()):
        return "nothing"
    return f"no mapping, but a value of type {type(cast('object', content)).__name__}"


def _read_checkpoint(path: Path) -> Any:
    from equipoise.migrate._checkpoint import ObjectsInCheckpointError, read_checkpoint

    try:
        return read_checkpoint(path)
    except ObjectsInCheckpointError as error:
        raise UnusableInputError(f"{error}. Training arguments are accepted as JSON or YAML") from None


def _configuration(parse: Callable[[str, object], Any]) -> Callable[[Path], Any]:
    return lambda path: parse(read_text(path), path)


READERS: Mapping[str, Callable[[Path], Any]] = MappingProxyType(
    {
        ".json": _configuration(parse_json),
        ".yaml": _configuration(parse_yaml),
        ".yml": _configuration(parse_yaml),
        ".toml": _configuration(parse_toml),
        **dict.fromkeys((".pt", ".pth", ".bin", ".ckpt"), _read_checkpoint),
    }
)
"""How each accepted type of file is read."""
