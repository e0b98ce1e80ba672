"""Equipoise: choose, check, run and defend an optimizer for deep learning.

Names are imported on first use, so that ``import equipoise`` alone, and a check of hyperparameters, never import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from equipoise import balance, errors, rules, theory
    from equipoise.errors import EquipoiseError, StabilityWarning
    from equipoise.optim import SMES, Equipoise, KAdam

__version__ = "0.1.0"

__all__ = ["SMES", "Equipoise", "EquipoiseError", "KAdam", "StabilityWarning", "balance", "errors", "rules", "theory"]

_HOMES = {
    "Equipoise": "equipoise.optim",
    "EquipoiseError": "equipoise.errors",
    "KAdam": "equipoise.optim",
    "SMES": "equipoise.optim",
    "StabilityWarning": "equipoise.errors",
}
_MODULES = ("balance", "errors", "rules", "theory")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"equipoise.{name}")
    raise AttributeError(f"module 'equipoise' has no attribute {name!r}; public names are {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
