"""From torch's optimizers to :class:`~equipoise.Equipoise`: each is a special case of the update rule, reproduced exactly.

- ``Adam`` without weight decay, and ``AdamW``: exponent 1/2.
- ``RMSprop``: exponent 1/2, betas (0, alpha), a second moment without bias correction.
- ``SGD`` with momentum mu and dampening d, whose buffer is B <- mu B + (1 - d) g: exponent 0, beta1 = mu, first moment c B
  without bias correction, learning rate lr / c, eps = 0, where c = (1 - mu) / (1 - d). Without momentum c is 1, and the weight
  decay of SGD is decoupled.

An average that did not exist before starts at 0, and its bias correction counts from its own beginning, not from the beginning
of the run. Such averages are those of a new stage, and the second moment that SGD never had. The state of a parameter therefore
says how many steps came before an average that is not as old as the parameter: ``born_exp_avg`` and ``born_exp_avg_sq``, with
``_2`` and so on for later stages. For an average without bias correction that number is far in the past.
"""

from __future__ import annotations

import torch
from torch.optim import SGD, Optimizer, RMSprop

from equipoise.errors import StateDictError
from equipoise.migrate._group_values import Conversion, Values, new_group
from equipoise.optim._optimizer import Equipoise
from equipoise.optim._state import refuse_other_adam

LONG_AGO = -(2**24)
"""The step at which an average without bias correction began: long enough ago for every beta up to 1 - 2e-6 to be forgotten."""


def from_equipoise(saved: Values) -> Conversion:
    """Read a group of Equipoise, SMES or KAdam."""
    names = new_group(Equipoise)
    return Conversion({name: value for name, value in saved.items() if name in names}, dict)


def from_adam(saved: Values) -> Conversion:
    """Read a group of Adam or AdamW.

    Raises:
        StateDictError: it is AMSGrad, or its weight decay is coupled.
    """
    refuse_other_adam(saved)
    taken = {name: saved[name] for name in ("betas", "eps", "weight_decay")}
    return Conversion({**taken, **_special_case(saved, 0.5)}, dict)


def from_rmsprop(saved: Values) -> Conversion:
    """Read a group of RMSprop.

    Raises:
        StateDictError: it has momentum or weight decay, or it is centered.
    """
    _refuse(saved, RMSprop, "momentum", "centered", "weight_decay")
    values = {"betas": (0.0, saved["alpha"]), "eps": saved["eps"], "weight_decay": 0.0}

    def convert_state(state: Values) -> Values:
        v, steps = state["square_avg"], int(state["step"])
        born = {"born_exp_avg": steps, "born_exp_avg_sq": LONG_AGO}
        return {"step": state["step"], "exp_avg": torch.zeros_like(v), "exp_avg_sq": v, **born}

    return Conversion({**values, **_special_case(saved, 0.5)}, convert_state)


def from_sgd(saved: Values) -> Conversion:
    """Read a group of SGD.

    Raises:
        StateDictError: its momentum is Nesterov's, momentum and weight decay meet, or momentum or dampening is not below 1.
    """
    momentum = saved["momentum"]
    _refuse(saved, SGD, "nesterov", *(["weight_decay"] if momentum else []))
    if momentum and not (momentum < 1 and saved["dampening"] < 1):
        raise StateDictError(
            f"torch.optim.SGD with momentum = {momentum}, dampening = {saved['dampening']} cannot be converted: accepted are"
            " values below 1"
        )
    factor = (1 - momentum) / (1 - saved["dampening"]) if momentum else 1.0
    values = {
        "betas": (momentum, new_group(Equipoise)["betas"][1]),
        "eps": 0.0,
        "weight_decay": saved["weight_decay"],
        **_special_case(saved, 0.0),
    }

    def convert_state(state: Values) -> Values:
        m = state["momentum_buffer"] * factor
        return {"step": torch.tensor(0.0), "exp_avg": m, "exp_avg_sq": torch.zeros_like(m), "born_exp_avg": LONG_AGO}

    return Conversion(values, convert_state, 1 / factor)


def _special_case(saved: Values, exponent: float) -> Values:
    """What makes Equipoise an optimizer of torch."""
    return {"maximize": saved.get("maximize", False), "exponent": exponent, "stages": 1, "reference": "none"}


def _refuse(saved: Values, cls: type[Optimizer], *names: str) -> None:
    for name in names:
        if saved.get(name):
            raise StateDictError(f"torch.optim.{cls.__name__} with {name} = {saved[name]} cannot be converted: accepted is 0")
