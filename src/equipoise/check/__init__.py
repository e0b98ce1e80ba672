"""Hyperparameters in files: found, judged, drawn on the map of the stability region, and explained on a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from equipoise._lazy import imported_on_first_use

if TYPE_CHECKING:
    from equipoise.check._map import RegionPoint, write_region
    from equipoise.check._page import write_explanation
    from equipoise.check._sources import Recipe, read_recipes

__all__ = ["Recipe", "RegionPoint", "read_recipes", "write_explanation", "write_region"]

__getattr__, __dir__ = imported_on_first_use(
    __name__,
    {
        "Recipe": "_sources",
        "RegionPoint": "_map",
        "read_recipes": "_sources",
        "write_explanation": "_page",
        "write_region": "_map",
    },
)
