"""Equipoise: choose, check, run and defend an optimizer for deep learning.

Train with an optimizer between SGD and Adam:

- :class:`SMES`: Adam with a free exponent of the second moment; :class:`KAdam`: Adam that normalizes k times;
  :class:`Equipoise`: both at once.
- :mod:`~equipoise.balance`: the exponent by schedule, by layer, or found in closed loop.
- :mod:`~equipoise.migrate`: continue a run of torch's AdamW, Adam, SGD or RMSprop with another optimizer.

Check hyperparameters before a run:

- :mod:`~equipoise.check`: read them from a file, judge them, draw the map. :class:`Hyperparameters`: betas, exponents, stages.
- :mod:`~equipoise.theory`: the stability region, the bound on updates, the continuous-time flow, and more.
- :mod:`~equipoise.rules`: the update rule, on floats, numpy arrays and tensors.

Watch a run:

- :class:`Monitor` reads it, :class:`Guard` acts on trouble, :class:`Telemetry` measures a step; :mod:`~equipoise.monitor`
  has their parts.
- :mod:`~equipoise.watch`: read the file of a run, in a terminal or on a page.

Compare and choose:

- :mod:`~equipoise.study`: optimizers on your own metric, with paired seeds. :mod:`~equipoise.recommend`: which exponent.

Everything that Equipoise raises on purpose is in :mod:`~equipoise.errors`. Names are imported on first use, so that
``import equipoise`` is quick, and a check of hyperparameters never imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from equipoise._lazy import imported_on_first_use
from equipoise._version import __version__ as __version__

if TYPE_CHECKING:
    from equipoise import (
        balance,
        check,
        errors,
        hyperparameters,
        migrate,
        monitor,
        optim,
        recommend,
        rules,
        study,
        theory,
        watch,
    )
    from equipoise.errors import EquipoiseError, StabilityWarning
    from equipoise.hyperparameters import Hyperparameters
    from equipoise.monitor import Guard, Monitor
    from equipoise.optim import SMES, Equipoise, KAdam, Telemetry

__all__ = [
    "SMES",
    "Equipoise",
    "EquipoiseError",
    "Guard",
    "Hyperparameters",
    "KAdam",
    "Monitor",
    "StabilityWarning",
    "Telemetry",
    "balance",
    "check",
    "errors",
    "hyperparameters",
    "migrate",
    "monitor",
    "optim",
    "recommend",
    "rules",
    "study",
    "theory",
    "watch",
]

__getattr__, __dir__ = imported_on_first_use(
    __name__,
    {
        "SMES": "optim",
        "Equipoise": "optim",
        "EquipoiseError": "errors",
        "Guard": "monitor",
        "Hyperparameters": "hyperparameters",
        "KAdam": "optim",
        "Monitor": "monitor",
        "StabilityWarning": "errors",
        "Telemetry": "optim",
        # Modules are their own homes.
        "balance": "",
        "check": "",
        "errors": "",
        "hyperparameters": "",
        "migrate": "",
        "monitor": "",
        "optim": "",
        "recommend": "",
        "rules": "",
        "study": "",
        "theory": "",
        "watch": "",
    },
)
