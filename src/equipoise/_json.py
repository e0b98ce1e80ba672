"""What Equipoise writes as JSON: one contract for ``--json``, run files and web pages.

JSON has no infinity and no NaN. A number that is not finite is one of the strings ``"nan"``, ``"inf"`` and ``"-inf"``, which
``float()`` reads back. ``null`` stands for what is absent: not measured, not seen, or not defined.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast


def plain(value: Any) -> Any:
    """A value as what JSON has: dataclasses and mappings as dictionaries, sequences as lists, numbers as said above.

    Example:
        >>> plain({"loss": math.inf, "betas": (0.9, 0.999), "seen": None})
        {'loss': 'inf', 'betas': [0.9, 0.999], 'seen': None}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, tuple | list):
        return [plain(each) for each in cast("Iterable[Any]", value)]
    return value
