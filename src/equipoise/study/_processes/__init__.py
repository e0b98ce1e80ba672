"""Trials in processes of their own: started, watched, and ended whatever they do."""

from equipoise.study._processes.children import end, preload, start, usable_cores, usable_workers

__all__ = ["end", "preload", "start", "usable_cores", "usable_workers"]
