"""Trials in processes of their own: started, watched, and ended whatever they do."""

from equipoise.study._processes.children import PRELOADED, end, start, usable_cores

__all__ = ["PRELOADED", "end", "start", "usable_cores"]
