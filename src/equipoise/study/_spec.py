"""What a study is: the TOML file, checked, and the task that it names, located."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from equipoise.errors import UnusableInputError
from equipoise.study._names import Name, storable

BUILT_IN_TASKS = {
    "digits": "equipoise.study._tasks.digits:digits",
    "digits-batchnorm": "equipoise.study._tasks.digits:digits_batchnorm",
    "deep-digits": "equipoise.study._tasks.digits:deep_digits",
    "long-tail-digits": "equipoise.study._tasks.digits:long_tail_digits",
    "characters": "equipoise.study._tasks.source_files:characters",
    "characters-layernorm": "equipoise.study._tasks.source_files:characters_layernorm",
    "words": "equipoise.study._tasks.source_files:words",
    "diabetes": "equipoise.study._tasks.tables:diabetes",
}
"""The tasks that a study file can name without saying where they are."""

FIRST_COMPARISON_SEED = 10_000
"""Tuning seeds count from 0, comparison seeds from here: no seed that chose a learning rate is used to compare."""

LearningRate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class LearningRateRange(BaseModel):
    """`count` learning rates from `low` to `high`, evenly spaced on a logarithmic axis."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: LearningRate
    high: LearningRate
    count: int = Field(ge=2)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low = {self.low} must be below high = {self.high}")
        return self

    def values(self) -> list[float]:
        """The learning rates, ascending."""
        step = math.log(self.high / self.low) / (self.count - 1)
        return [float(f"{self.low * math.exp(i * step):.6g}") for i in range(self.count)]


LearningRates = Annotated[list[LearningRate], Field(min_length=1)] | LearningRateRange


DottedName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")]


class ArmController(BaseModel):
    """The controller that moves an arm's exponent while it trains. All keys but the name go to the controller."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: DottedName
    """The dotted name of its class."""


class Arm(BaseModel):
    """One optimizer configuration of a study. Keys that are not listed here go to the optimizer.

    Raises:
        pydantic.ValidationError: a value is missing or not accepted.

    Example:
        >>> arm = Arm(name="quarter", optimizer="equipoise.SMES", exponent=0.25, weight_decay=0.01)
        >>> arm.arguments
        {'exponent': 0.25, 'weight_decay': 0.01}
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Name
    optimizer: DottedName
    """The dotted name of its class, as ``torch.optim.AdamW``. It is called with `lr` and the arm's other keys."""
    controller: ArmController | None = None
    """A class and its arguments, as ``{ name = "equipoise.balance.SpreadController", every = 20 }``."""
    baseline: bool = False
    """Whether the other arms are compared with this one. Exactly one arm of a study is the baseline."""
    learning_rates: LearningRates | None = None
    """The arm's own learning rates, as many as the study has; by default those of the study."""

    @property
    def arguments(self) -> dict[str, Any]:
        """What the optimizer is called with, besides parameters and learning rate."""
        return dict(self.model_extra or {})


class Study(BaseModel):
    """A comparison of optimizers: what a study file holds.

    Raises:
        pydantic.ValidationError: a value is missing or not accepted; arms that have equal names, no baseline or two, or
            different numbers of learning rates.

    Example:
        >>> study = Study(
        ...     name="widgets",
        ...     task="my_task.py:train",
        ...     metric="accuracy",
        ...     goal="maximize",
        ...     epochs=5,
        ...     seeds=9,
        ...     tuning_seeds=2,
        ...     learning_rates={"low": 1e-4, "high": 1e-2, "count": 3},
        ...     arm=[
        ...         {"name": "adamw", "optimizer": "torch.optim.AdamW", "baseline": True},
        ...         {"name": "sgd", "optimizer": "torch.optim.SGD", "learning_rates": [0.01, 0.1, 1.0]},
        ...     ],
        ... )
        >>> [(arm.name, study.rates_of(arm)) for arm in study.arms]
        [('adamw', [0.0001, 0.001, 0.01]), ('sgd', [0.01, 0.1, 1.0])]
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)
    """The store is NAME.db, and the report of the command NAME.report.html."""
    task: Annotated[str, AfterValidator(storable)]
    """The name of a built-in task, ``file.py:function`` or ``package.module:function``: a function of one :class:`Trial`."""
    metric: Name
    """What decides: the last number that the task reports under this name."""
    goal: Literal["maximize", "minimize"]
    epochs: int = Field(ge=1)
    """How long every trial trains."""
    seeds: int = Field(ge=2)
    """The number of comparison seeds."""
    tuning_seeds: int = Field(ge=1, le=FIRST_COMPARISON_SEED)
    """The number of seeds that choose the learning rate."""
    learning_rates: LearningRates
    """A list, or ``{ low = ..., high = ..., count = ... }``, evenly spaced on a logarithmic axis."""
    diverged: float | None = Field(default=None, allow_inf_nan=False)
    """The metric that a diverged trial counts with; by default the worst value that any trial of the study reported."""
    arms: list[Arm] = Field(alias="arm", min_length=2)

    @model_validator(mode="after")
    def _fair(self) -> Self:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError(f"arm names must differ; they are {names}")
        baselines = [arm.name for arm in self.arms if arm.baseline]
        if len(baselines) != 1:
            raise ValueError(f"exactly one arm must have baseline = true; {baselines or 'none'} have it")
        counts = {arm.name: len(self.rates_of(arm)) for arm in self.arms}
        if len(set(counts.values())) > 1:
            raise ValueError(f"every arm must try the same number of learning rates; they try {counts}")
        for arm in self.arms:
            rates = self.rates_of(arm)
            if len(set(rates)) < len(rates):
                raise ValueError(f"the learning rates of arm {arm.name!r} repeat: {rates}")
            if "lr" in arm.arguments or "params" in arm.arguments:
                raise ValueError(f"arm {arm.name!r} sets lr or params, which the study sets; use learning_rates")
        return self

    @property
    def baseline(self) -> Arm:
        """The arm that the others are compared with."""
        return next(arm for arm in self.arms if arm.baseline)

    def rates_of(self, arm: Arm) -> list[float]:
        """The learning rates that an arm is tuned over, ascending."""
        rates = self.learning_rates if arm.learning_rates is None else arm.learning_rates
        return sorted(rates) if isinstance(rates, list) else rates.values()

    @property
    def seeds_for_tuning(self) -> range:
        """The seeds of the trials that choose the learning rate."""
        return range(self.tuning_seeds)

    @property
    def seeds_for_comparison(self) -> range:
        """The seeds of the trials that compare: fresh, and the same for every arm."""
        return range(FIRST_COMPARISON_SEED, FIRST_COMPARISON_SEED + self.seeds)


@dataclass(frozen=True)
class TaskSource:
    """Where a task's function is, and what it contained when the study ran."""

    module: str
    """A dotted name, or the absolute path of a file."""
    function: str
    sha256: str
    """The hash of the file that defines the function: a changed task is another task."""


def read_study(path: Path) -> Study:
    r"""Read and check a study file.

    Args:
        path: the TOML file.

    Raises:
        UnusableInputError: it is missing, not TOML, or not a study; the message lists every fault.

    Example:
        >>> import tempfile
        >>> head = 'name = "widgets"\ntask = "digits"\nmetric = "accuracy"\ngoal = "maximize"\n'
        >>> numbers = "epochs = 5\nseeds = 9\ntuning_seeds = 2\nlearning_rates = [0.001, 0.01]\n"
        >>> adamw = '[[arm]]\nname = "adamw"\noptimizer = "torch.optim.AdamW"\nbaseline = true\n'
        >>> quarter = '[[arm]]\nname = "quarter"\noptimizer = "equipoise.SMES"\nexponent = 0.25\n'
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "study.toml")
        ...     _ = path.write_text(head + numbers + adamw + quarter)
        ...     study = read_study(path)
        >>> study.metric, study.baseline.name
        ('accuracy', 'adamw')
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnusableInputError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UnusableInputError(f"{path}: is not TOML: {error}") from None
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        faults = "\n".join(f"  {_place(fault['loc'])}{fault['msg']}" for fault in error.errors())
        raise UnusableInputError(f"{path}: is not a study:\n{faults}") from None


def _place(location: tuple[int | str, ...]) -> str:
    """Where a fault is, as ``arm[2] optimizer: ``; entries of lists are counted from 1."""
    parts = [f"[{part + 1}]" if isinstance(part, int) else f" {part}" for part in location]
    return f"{''.join(parts).strip()}: " if parts else ""


def locate_task(task: str, folder: Path) -> TaskSource:
    """Find the file that defines a task, without running it.

    Args:
        task: a built-in name, ``package.module:function``, or ``file.py:function`` relative to `folder`.
        folder: of the study file.

    Raises:
        UnusableInputError: there is no such file or module.
    """
    module, separator, function = BUILT_IN_TASKS.get(task, task).rpartition(":")
    if not separator or not function.isidentifier():
        raise UnusableInputError(
            f"task = {task!r}: must be one of {', '.join(map(repr, BUILT_IN_TASKS))}, 'file.py:function' or"
            " 'package.module:function'"
        )
    if module.endswith(".py"):
        file = (folder / module).resolve()
        module = str(file)
    else:
        try:
            found = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            found = None
        if found is None or found.origin is None:
            raise UnusableInputError(f"task = {task!r}: there is no module {module!r}")
        file = Path(found.origin)
    try:
        return TaskSource(module, function, hashlib.sha256(file.read_bytes()).hexdigest())
    except OSError as error:
        raise UnusableInputError(f"task = {task!r}: {file} cannot be read: {error.strerror}") from None
