"""Hyperparameters in files: found, judged, drawn on the map of the stability region, and explained on a page."""

from equipoise.check._map import RegionPoint, write_region
from equipoise.check._page import write_explanation
from equipoise.check._sources import Recipe, read_recipes

__all__ = ["Recipe", "RegionPoint", "read_recipes", "write_explanation", "write_region"]
