"""From :class:`~equipoise.Equipoise` to another class: its own forms SMES and KAdam, and torch's optimizers.

A class of torch takes over only the special case of the update rule that it is (``_to_family.py``). It has no ages of averages:
an average whose bias correction still matters is refused by a class that corrects none.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from equipoise import rules
from equipoise.errors import ArgumentError, StateDictError
from equipoise.hyperparameters import Hyperparameters
from equipoise.migrate._group_values import Conversion, Values, argument_names, new_group
from equipoise.optim._optimizer import Equipoise
from equipoise.optim._state import as_real, refuse_other_stages, suffixes
from equipoise.theory._exponent import scale_degree

NEGLIGIBLE = 1e-6
"""A bias correction that differs from 1 by no more than this may be left out."""

DEFINING = ("exponent", "stages", "reference")
"""What makes SMES and KAdam what they are: they use their own defaults, not the values of the present group."""


def to_equipoise(values: Values, to: type[Optimizer], asked: Values) -> Conversion:
    """Write a group for Equipoise, SMES or KAdam.

    Raises:
        StateDictError: it would have fewer stages.
        ArgumentError: the learning rate would mean something else, and no new one was asked for.
    """
    defining = DEFINING if to is not Equipoise else ()
    arguments = {name: value for name, value in values.items() if name in argument_names(to) and name not in defining}
    new = new_group(to, **{**arguments, **asked})
    if _scale_degree(new) != _scale_degree(values):
        if "lr" not in asked:
            raise ArgumentError(
                "lr",
                values["lr"],
                f"given anew, which then multiplies gradients^{_scale_degree(new):g}, now it is"
                f" gradients^{_scale_degree(values):g}",
            )
        arguments.pop("eps")
    if new["stages"] < values["stages"]:
        raise StateDictError(f"the state has {values['stages']} stages and {to.__name__} would have {new['stages']}: no fewer")
    present, stages = suffixes(values["stages"]), Hyperparameters.of_group(values).stages

    def convert_state(state: Values) -> Values:
        refuse_other_stages(state, values["stages"])
        kept = {key: value for key, value in state.items() if new["reference"] != "none" or not key.startswith("reference")}
        if new["reference"] != "none":
            for suffix, stage in zip(present, stages, strict=True):
                age, v = _ages(state, suffix)[1], state["exp_avg_sq" + suffix]
                if "reference" + suffix not in kept and age > 0 and v.numel():
                    R = _mean(v) / rules.correction(stage.beta2, age)
                    kept["reference" + suffix] = R.expand(rules.REFERENCE_STEPS).clone()  # for good
        for suffix in suffixes(new["stages"])[len(present) :]:
            for key in ("exp_avg", "exp_avg_sq"):
                kept[key + suffix] = torch.zeros_like(state[key])
            for key in ("born_exp_avg", "born_exp_avg_sq"):
                kept[key + suffix] = int(state["step"])
        return kept

    return Conversion(arguments, convert_state)


def to_adam(values: Values, to: type[Optimizer], _: Values) -> Conversion:
    """Write a group for Adam or AdamW.

    Raises:
        StateDictError: it has several stages, another exponent, or moments of different ages.
    """
    stage = _only_stage(values, to, 0.5)

    def convert_state(state: Values) -> Values:
        m_age, v_age = _ages(state)
        if m_age != v_age:
            raise StateDictError(
                f"the first moment is {m_age} steps old and the second {v_age}: {to.__name__} has one age for both"
            )
        return {"step": _count(m_age), "exp_avg": state["exp_avg"], "exp_avg_sq": state["exp_avg_sq"]}

    taken = {name: values[name] for name in ("eps", "weight_decay", "maximize")}
    return Conversion({"betas": (stage.beta1, stage.beta2), **taken}, convert_state)


def to_rmsprop(values: Values, to: type[Optimizer], _: Values) -> Conversion:
    """Write a group for RMSprop.

    Raises:
        StateDictError: it has several stages, another exponent, a first moment, weight decay, or a young second moment.
    """
    stage = _only_stage(values, to, 0.5)
    if stage.beta1 or values["weight_decay"]:
        raise StateDictError(
            f"beta1 = {stage.beta1}, weight_decay = {values['weight_decay']}: torch.optim.RMSprop averages no gradients, and"
            " its weight decay is not decoupled; accepted is 0"
        )

    def convert_state(state: Values) -> Values:
        _check_bias_is_over(stage.beta2, _ages(state)[1], to)
        return {"step": _count(int(state["step"])), "square_avg": state["exp_avg_sq"]}

    taken = {name: values[name] for name in ("eps", "maximize")}
    return Conversion({"alpha": stage.beta2, **taken}, convert_state)


def to_sgd(values: Values, to: type[Optimizer], asked: Values) -> Conversion:
    """Write a group for SGD.

    Raises:
        StateDictError: it has several stages, another exponent, a reference, momentum with weight decay, or a young first
            moment.
        ArgumentError: a dampening of 1 or more was asked for.
    """
    stage = _only_stage(values, to, 0.0)
    momentum, decay = stage.beta1, values["weight_decay"]
    if momentum and decay:
        raise StateDictError(f"weight_decay = {decay} is decoupled: that of torch.optim.SGD is not where it has momentum")
    dampening = asked.get("dampening", momentum)  # an average, as here
    if not dampening < 1:
        raise ArgumentError("dampening", dampening, "less than 1")
    factor = (1 - momentum) / (1 - dampening)
    arguments = {
        "momentum": momentum,
        "dampening": dampening,
        "weight_decay": decay * (1 + values["eps"]),
        "maximize": values["maximize"],
    }

    def convert_state(state: Values) -> Values:
        _check_bias_is_over(momentum, _ages(state)[0], to)
        return {"momentum_buffer": state["exp_avg"] / factor if momentum else None}

    return Conversion(arguments, convert_state, factor / (1 + values["eps"]))


def _only_stage(values: Values, to: type[Optimizer], exponent: float) -> rules.Stage:
    """The one stage of a group that is the special case of a class of torch.

    Raises:
        StateDictError: it is not.
    """
    stages = Hyperparameters.of_group(values).stages
    found = tuple(stage.exponent for stage in stages)
    reference = values["reference"] if exponent != 0.5 else "none"  # at 1/2 a reference changes nothing
    if found != (exponent,) or reference != "none":
        raise StateDictError(
            f"exponent = {found}, reference = {values['reference']!r}: torch.optim.{to.__name__} has one stage with exponent"
            f" {exponent} and no reference"
        )
    return stages[0]


def _check_bias_is_over(beta: float, age: int, to: type[Optimizer]) -> None:
    """Refuse an average whose bias correction matters in the next step, for a class that has none."""
    if beta ** (age + 1) > NEGLIGIBLE:
        least = math.ceil(math.log(NEGLIGIBLE) / math.log(beta)) - 1
        raise StateDictError(
            f"an average with beta = {beta} is {age} steps old and torch.optim.{to.__name__} has no bias correction, which"
            f" matters until it is {least} steps old: convert it then"
        )


def _count(steps: int) -> Tensor:
    """A count of steps as torch's optimizers keep it."""
    return torch.tensor(float(steps), dtype=torch.float32)


def _ages(state: Values, suffix: str = "") -> tuple[int, int]:
    """How many steps the first and the second moment of a stage have behind them."""
    steps = int(state["step"])
    return steps - state.get("born_exp_avg" + suffix, 0), steps - state.get("born_exp_avg_sq" + suffix, 0)


def _scale_degree(values: Values) -> float:
    """The degree of the update in the scale of the gradient. Learning rates mean the same where it is the same."""
    return 0.0 if values["reference"] != "none" else scale_degree(values["exponent"], values["stages"])


def _mean(v: Tensor) -> Tensor:
    """The mean of a whole second moment, in the precision of the update rule."""
    whole = as_real(v.full_tensor() if isinstance(v, DTensor) else v)
    return whole.to(torch.promote_types(whole.dtype, torch.float32)).mean()
