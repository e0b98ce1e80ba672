"""Where the trials of a study run: in processes of this machine, or on a cluster."""

from equipoise.study._engines.engine import Engine, ThisMachine
from equipoise.study._engines.ray_cluster import RayCluster

__all__ = ["Engine", "RayCluster", "ThisMachine"]
