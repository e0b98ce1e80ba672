"""torch's optimizers as points of this family (E2), exactly: what theirs is in it, and what of it is theirs.

- ``Adam`` without weight decay, ``AdamW``: exponent 1/2;
- ``RMSprop``: exponent 1/2, betas (0, alpha), v without bias correction;
- ``SGD`` with momentum mu and dampening d, whose buffer is B <- mu B + (1 - d) g: exponent 0, beta1 = mu, m = c B without bias
  correction, lr / c, eps = 0, where c = (1 - mu) / (1 - d). Without momentum c is 1, and its weight decay is decoupled.

An average that did not exist before, of a new stage or of the squares that SGD never took, starts at 0 and is corrected by its
own age, not by that of the run. For that the state of a parameter holds how many steps came before those averages that are not
as old as it: ``born_exp_avg`` and ``born_exp_avg_sq``, with ``_2`` and so on for later stages. One without bias correction
was born long ago.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from equipoise import rules
from equipoise.errors import ArgumentError, StateDictError
from equipoise.hyperparameters import Hyperparameters
from equipoise.optim._optimizer import SMES, Equipoise, KAdam
from equipoise.optim._state import as_real, refuse_other_adam, refuse_other_stages, suffixes

Values: TypeAlias = dict[str, Any]
"""Of a parameter group, or what is remembered of a parameter."""
Conversion: TypeAlias = tuple[Values, Callable[[Values], Values]]
"""The values of a group, and what makes of what is remembered of a parameter what will be."""

LONG_AGO = -(2**24)
"""When an average was born whose bias correction is over. float32 counts no more steps than that, the GPU kernel up to twice as
many."""

NEGLIGIBLE = 1e-6
"""By how much a bias correction may differ from 1 to be left out."""

CHOICES = ("exponent", "stages", "reference")
"""What makes SMES and KAdam what they are."""


class Kind(NamedTuple):
    """What optimizers of one kind save."""

    classes: tuple[type[Optimizer], ...]
    marks: frozenset[str]
    """Values of a group by which the kind is known."""
    remembered: tuple[str, ...]
    """Of a parameter."""
    read: Callable[[Values], Conversion]
    """From a group of this kind to one of the family."""
    write: Callable[[Values, type[Optimizer], Values], Conversion]
    """From a group of the family, for a class and the arguments asked for, to arguments of that class."""


def kind_of(state_dict: Any) -> Kind:
    """Which kind of optimizer a state dict is from.

    Raises:
        StateDictError: none that is in the family.
    """
    if not is_state_dict(state_dict):
        raise StateDictError("what was given is no state_dict() of an optimizer, with state and param_groups")
    for kind in KINDS:
        if all(kind.marks <= set(group) for group in state_dict["param_groups"]):
            return kind
    names = sorted({str(name) for group in state_dict["param_groups"] for name in group} - {"params"})
    raise StateDictError(
        f"the state dict is of another optimizer (its groups have {', '.join(names)}): accepted are"
        f" {', '.join(each.__name__ for each in CLASSES)}"
    )


def is_state_dict(content: Any) -> bool:
    """Whether it has the form of an optimizer's."""
    return isinstance(content, Mapping) and "state" in content and bool(content.get("param_groups"))  # pyright: ignore


def accepted(to: type[Optimizer]) -> list[str]:
    """The names of its arguments."""
    return [name for name in inspect.signature(to).parameters if name != "params"]


def new_group(to: type[Optimizer], **arguments: Any) -> Values:
    """What such an optimizer has in a parameter group; it checks the arguments."""
    make: Any = to
    group = dict(make([torch.nn.Parameter(torch.empty(0))], **arguments).param_groups[0])
    del group["params"]
    return group


def _rates(group: Values, factor: Any) -> Values:
    """The learning rate of a group, and the one that a scheduler started from, if there is one."""
    return {name: group[name] * factor for name in ("lr", "initial_lr") if name in group}


def _read_family(saved: Values) -> Conversion:
    names = (*new_group(Equipoise), "initial_lr")
    return {name: value for name, value in saved.items() if name in names}, dict


def _read_adam(saved: Values) -> Conversion:
    refuse_other_adam(saved)
    taken = {name: saved[name] for name in ("betas", "eps", "weight_decay")}
    return {**_rates(saved, 1), **taken, **_point(saved, 0.5)}, dict


def _read_rmsprop(saved: Values) -> Conversion:
    _refuse(saved, RMSprop, "momentum", "centered", "weight_decay")
    values = {"betas": (0.0, saved["alpha"]), "eps": saved["eps"], "weight_decay": 0.0}

    def read(remembered: Values) -> Values:
        v, steps = remembered["square_avg"], int(remembered["step"])
        born = {"born_exp_avg": steps, "born_exp_avg_sq": LONG_AGO}
        return {"step": remembered["step"], "exp_avg": torch.zeros_like(v), "exp_avg_sq": v, **born}

    return {**_rates(saved, 1), **values, **_point(saved, 0.5)}, read


def _read_sgd(saved: Values) -> Conversion:
    momentum = saved["momentum"]
    _refuse(saved, SGD, "nesterov", *(["weight_decay"] if momentum else []))
    if momentum and not (momentum < 1 and saved["dampening"] < 1):
        raise StateDictError(
            f"torch.optim.SGD with momentum = {momentum}, dampening = {saved['dampening']} is not in the family: accepted are"
            " less than 1"
        )
    factor = (1 - momentum) / (1 - saved["dampening"]) if momentum else 1.0
    values = {
        **_rates(saved, 1 / factor),
        "betas": (momentum, new_group(Equipoise)["betas"][1]),
        "eps": 0.0,
        "weight_decay": saved["weight_decay"],
        **_point(saved, 0.0),
    }

    def read(remembered: Values) -> Values:
        m = remembered["momentum_buffer"] * factor
        return {"step": torch.tensor(0.0), "exp_avg": m, "exp_avg_sq": torch.zeros_like(m), "born_exp_avg": LONG_AGO}

    return values, read


def _write_family(values: Values, to: type[Optimizer], asked: Values) -> Conversion:
    own = CHOICES if to is not Equipoise else ()
    arguments = {name: value for name, value in values.items() if name in accepted(to) and name not in own}
    new = new_group(to, **{**arguments, **asked})
    if _degree(new) != _degree(values):
        if "lr" not in asked:
            raise ArgumentError(
                "lr",
                values["lr"],
                f"given anew, which then multiplies gradients^{_degree(new):g}, now it is gradients^{_degree(values):g}",
            )
        arguments.pop("eps")
    if new["stages"] < values["stages"]:
        raise StateDictError(f"the state has {values['stages']} stages and {to.__name__} would have {new['stages']}: no fewer")
    begun, stages = suffixes(values["stages"]), Hyperparameters.of_group(values).stages

    def write(state: Values) -> Values:
        refuse_other_stages(state, values["stages"])
        kept = {key: value for key, value in state.items() if new["reference"] != "none" or not key.startswith("reference")}
        if new["reference"] != "none":
            for suffix, stage in zip(begun, stages, strict=True):
                age, v = _ages(state, suffix)[1], state["exp_avg_sq" + suffix]
                if "reference" + suffix not in kept and age > 0 and v.numel():
                    kept["reference" + suffix] = _mean(v) / rules.correction(stage.beta2, age)
        for suffix in suffixes(new["stages"])[len(begun) :]:
            for key in ("exp_avg", "exp_avg_sq"):
                kept[key + suffix] = torch.zeros_like(state[key])
            for key in ("born_exp_avg", "born_exp_avg_sq"):
                kept[key + suffix] = int(state["step"])
        return kept

    arguments |= {name: values[name] for name in ("initial_lr",) if name in values}
    return arguments, write


def _write_adam(values: Values, to: type[Optimizer], _: Values) -> Conversion:
    stage = _only_stage(values, to, 0.5)

    def write(state: Values) -> Values:
        m_age, v_age = _ages(state)
        if m_age != v_age:
            raise StateDictError(
                f"the first moment is {m_age} steps old and the second {v_age}: {to.__name__} has one age for both"
            )
        step = torch.tensor(float(m_age), dtype=torch.float32)
        return {"step": step, "exp_avg": state["exp_avg"], "exp_avg_sq": state["exp_avg_sq"]}

    taken = {name: values[name] for name in ("eps", "weight_decay", "maximize")}
    return {**_rates(values, 1), "betas": (stage.beta1, stage.beta2), **taken}, write


def _write_rmsprop(values: Values, to: type[Optimizer], _: Values) -> Conversion:
    stage = _only_stage(values, to, 0.5)
    if stage.beta1 or values["weight_decay"]:
        raise StateDictError(
            f"beta1 = {stage.beta1}, weight_decay = {values['weight_decay']}: torch.optim.RMSprop averages no gradients, and"
            " its weight decay is not decoupled; accepted is 0"
        )

    def write(state: Values) -> Values:
        _check_over(stage.beta2, _ages(state)[1], to)
        return {"step": state["step"], "square_avg": state["exp_avg_sq"]}

    taken = {name: values[name] for name in ("eps", "maximize")}
    return {**_rates(values, 1), "alpha": stage.beta2, **taken}, write


def _write_sgd(values: Values, to: type[Optimizer], asked: Values) -> Conversion:
    stage = _only_stage(values, to, 0.0)
    momentum, decay = stage.beta1, values["weight_decay"]
    if momentum and decay:
        raise StateDictError(f"weight_decay = {decay} is decoupled: that of torch.optim.SGD is not where it has momentum")
    dampening = asked.get("dampening", momentum)  # an average, as here
    if not dampening < 1:
        raise ArgumentError("dampening", dampening, "less than 1")
    factor = (1 - momentum) / (1 - dampening)
    arguments = {
        **_rates(values, factor / (1 + values["eps"])),
        "momentum": momentum,
        "dampening": dampening,
        "weight_decay": decay * (1 + values["eps"]),
        "maximize": values["maximize"],
    }

    def write(state: Values) -> Values:
        _check_over(momentum, _ages(state)[0], to)
        return {"momentum_buffer": state["exp_avg"] / factor if momentum else None}

    return arguments, write


def _point(saved: Values, exponent: float) -> Values:
    """Where an optimizer of torch is in the family."""
    return {"maximize": saved.get("maximize", False), "exponent": exponent, "stages": 1, "reference": "none"}


def _refuse(saved: Values, cls: type[Optimizer], *names: str) -> None:
    for name in names:
        if saved.get(name):
            raise StateDictError(f"torch.optim.{cls.__name__} with {name} = {saved[name]} is not in the family: accepted is 0")


def _only_stage(values: Values, to: type[Optimizer], exponent: float) -> rules.Stage:
    """The one stage of a group that stands where a class of torch does."""
    stages = Hyperparameters.of_group(values).stages
    found = tuple(stage.exponent for stage in stages)
    reference = values["reference"] if exponent != 0.5 else "none"  # there it changes nothing
    if found != (exponent,) or reference != "none":
        raise StateDictError(
            f"exponent = {found}, reference = {values['reference']!r}: torch.optim.{to.__name__} has one stage with exponent"
            f" {exponent} and no reference"
        )
    return stages[0]


def _check_over(beta: float, age: int, to: type[Optimizer]) -> None:
    """Refuse an average whose bias correction matters in the next step, for a class that has none."""
    if beta ** (age + 1) > NEGLIGIBLE:
        least = math.ceil(math.log(NEGLIGIBLE) / math.log(beta)) - 1
        raise StateDictError(
            f"an average with beta = {beta} is {age} steps old and torch.optim.{to.__name__} has no bias correction, which"
            f" matters until it is {least} steps old: migrate then"
        )


def _ages(state: Values, suffix: str = "") -> tuple[int, int]:
    """How many steps the first and the second moment of a stage have behind them."""
    steps = int(state["step"])
    return steps - state.get("born_exp_avg" + suffix, 0), steps - state.get("born_exp_avg_sq" + suffix, 0)


def _degree(values: Values) -> float:
    """Of the update in the scale of the gradient (E7); learning rates of different degrees mean different things."""
    stages = Hyperparameters.of_group(values).stages
    return 0.0 if values["reference"] != "none" else math.prod(1 - 2 * stage.exponent for stage in stages)


def _mean(v: Tensor) -> Tensor:
    """Of the elements of a second moment, in the precision of the rule."""
    whole = as_real(v.full_tensor() if isinstance(v, DTensor) else v)
    return whole.to(torch.promote_types(whole.dtype, torch.float32)).mean()


FAMILY = Kind(
    (Equipoise, SMES, KAdam), frozenset({"exponent", "stages", "reference"}), ("step", "exp_avg", "exp_avg_sq"), _read_family,
    _write_family,
)  # fmt: skip
KINDS = (
    FAMILY,
    Kind((AdamW, Adam), frozenset({"betas", "amsgrad"}), ("step", "exp_avg", "exp_avg_sq"), _read_adam, _write_adam),
    Kind((RMSprop,), frozenset({"alpha", "centered"}), ("step", "square_avg"), _read_rmsprop, _write_rmsprop),
    Kind((SGD,), frozenset({"dampening", "nesterov"}), ("momentum_buffer",), _read_sgd, _write_sgd),
)
CLASSES: Mapping[type[Optimizer], Kind] = MappingProxyType({each: kind for kind in KINDS for each in kind.classes})
"""Every class that can be migrated from and to, and its kind."""
