"""Every exception and warning that Equipoise raises, in one place.

EquipoiseError
├── ArgumentError (ValueError)         an argument outside of what is accepted
├── GradientError (RuntimeError)       a gradient that the rule is not defined for
├── StateDictError (ValueError)        a state dict that cannot be continued as it is
├── CaptureError (RuntimeError)        a CUDA graph captures what cannot be replayed
├── UnusableInputError (ValueError)    a file that does not hold what was looked for
├── MissingExtraError (ImportError)    an optional dependency that is not installed
├── StudyStoppedError (RuntimeError)   a study that stopped before its end
└── RunStoppedError (RuntimeError)     a training run that its guard stopped

StabilityWarning (UserWarning)         hyperparameters outside of the stable region
ScheduleWarning (UserWarning)          a schedule that ended before the run
"""

import reprlib

__all__ = [
    "ArgumentError",
    "CaptureError",
    "EquipoiseError",
    "GradientError",
    "MissingExtraError",
    "RunStoppedError",
    "ScheduleWarning",
    "StabilityWarning",
    "StateDictError",
    "StudyStoppedError",
    "UnusableInputError",
]


_SHORT = reprlib.Repr()
"""Values in messages: one from a file may have a million characters."""
_SHORT.maxlist = _SHORT.maxtuple = 12
_SHORT.maxstring = _SHORT.maxother = 100


class EquipoiseError(Exception):
    """The base of every error that Equipoise raises on purpose."""


class ArgumentError(EquipoiseError, ValueError):
    """An argument was outside of what is accepted; the message names it, its value and the accepted range."""

    def __init__(self, name: str, value: object, accepted: str) -> None:
        super().__init__(name, value, accepted)
        self.name = name
        self.value = value
        self.accepted = accepted

    def __str__(self) -> str:
        value = " ".join(_SHORT.repr(self.value).split())  # a tensor has several lines
        return f"{self.name} = {value} is not accepted: {self.name} must be {self.accepted}"


class GradientError(EquipoiseError, RuntimeError):
    """A gradient has a layout or type that the rule is not defined for. Nothing was updated."""


class StateDictError(EquipoiseError, ValueError):
    """A state dict cannot be continued as it is. Nothing was loaded."""


class CaptureError(EquipoiseError, RuntimeError):
    """A CUDA graph captures a step that it could not replay. Nothing was updated."""


class UnusableInputError(EquipoiseError, ValueError):
    """A file is missing, malformed, or does not hold what was looked for."""


class MissingExtraError(EquipoiseError, ImportError):
    """An optional dependency is not installed; the message holds the pip command that installs it."""

    def __init__(self, purpose: str, extra: str) -> None:
        super().__init__(purpose, extra)
        self.purpose = purpose
        self.extra = extra

    def __str__(self) -> str:
        return f"{self.purpose} needs packages that are not installed: pip install 'equipoise[{self.extra}]'"


class StudyStoppedError(EquipoiseError, RuntimeError):
    """A study stopped before its end. Every trial that had finished is kept; running it again continues there."""


class RunStoppedError(EquipoiseError, RuntimeError):
    """The guard of a training run stopped it. The message says why, and where the report is."""


class StabilityWarning(UserWarning):
    """The chosen betas and exponent lie outside of the region where updates stay bounded."""


class ScheduleWarning(UserWarning):
    """A schedule ended before the run did."""
