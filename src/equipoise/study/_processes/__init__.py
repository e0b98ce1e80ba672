"""Trials in processes of their own: started, watched, and ended whatever they do."""

from equipoise.study._processes.children import end, preload, start, usable_cores

__all__ = ["end", "preload", "start", "usable_cores"]
