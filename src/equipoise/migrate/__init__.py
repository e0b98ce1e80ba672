"""Continue a run with another optimizer: conversions between the optimizers of torch and of this package."""

from equipoise.migrate._checkpoints import migrate_file
from equipoise.migrate._migration import migrate, migrate_state

__all__ = ["migrate", "migrate_file", "migrate_state"]
