r"""The optimizers: the rule of E1 to E3 as a ``torch.optim.Optimizer``.

:class:`Equipoise` is the whole family; :class:`SMES` (Zhang and Liu, arXiv 2405.18498) and :class:`KAdam` (Gould and Tanaka,
arXiv 2411.05746) are its two named forms. Deviations from the papers: the second moment is bias-corrected inside of
the power, and SMES measures it against a reference scale (E3), so that a learning rate found for Adam keeps its meaning.

State per parameter and stage: ``exp_avg`` and ``exp_avg_sq``, float32 for parameters of lower precision (float64 for
float64), named as in torch for the first stage and with ``_2``, ``_3`` appended for later ones, a ``reference`` where
one is used, and one ``step``. Everything an optimizer needs lives in ``defaults``, ``state`` and ``param_groups``, as plain
values.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Any, TypeAlias, overload

import torch
from torch import Tensor

from equipoise import kernels, rules
from equipoise.errors import ArgumentError, GradientError, StabilityWarning, StateDictError
from equipoise.theory.assessment import Pair, Verdict, assess, stage_exponents, stage_pairs

Params: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
Betas: TypeAlias = Pair | Sequence[Pair]

REFERENCES: tuple[rules.Reference, ...] = ("none", "initial", "running")
ROUNDINGS = ("nearest",)

# What torch's own Adam and AdamW write into a group and what has no meaning here: dropped when their state is loaded.
_TORCH_SWITCHES = ("amsgrad", "foreach", "capturable", "differentiable", "fused", "decoupled_weight_decay")


class Equipoise(torch.optim.Optimizer):
    r"""The family from SGD (exponent 0) to Adam (exponent 1/2), with any number of stages.

    Per element, at step t, for every stage with betas (b1, b2) and exponent p, starting from x = gradient (E1)::

        m     <- b1 m + (1 - b1) x
        v     <- b2 v + (1 - b2) x^2
        x     <- m / (1 - b1^t) / (S (v / (1 - b2^t))^p + eps)
        theta <- theta (1 - lr weight_decay) - lr x

    Args:
        params: parameters, named parameters, or parameter groups, as for every torch optimizer.
        lr: learning rate; a float or a tensor of one element.
        betas: (beta1, beta2) for all stages, or one such pair per stage.
        eps: added to the denominator.
        weight_decay: decoupled, as in AdamW.
        exponent: p, or one per stage. 0 is SGD with an exponential moving average of gradients, 1/2 is Adam.
        stages: k, how many times the update is normalized.
        reference: the scale R that the second moment is measured against, S = R^(1/2 - p) (E3): "none" (S = 1),
            "running" (the mean of the previous step's second moment over the tensor) or "initial" (the same, kept from
            `reference_steps` on).
        reference_steps: see `reference`.
        maximize: ascend instead of descend.
        kernel: how the rule is executed; "auto" picks the fastest that supports the parameters.
        rounding: how parameters of lower precision than the state are rounded.

    Every argument but `params` may differ per parameter group and may be changed between steps.

    Raises:
        ArgumentError: an argument outside of what is accepted.

    Warns:
        StabilityWarning: once, where an update can grow without bound (E4).

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
        >>> optimizer = Equipoise([weight], lr=0.1, exponent=0.25)
        >>> (weight**2).sum().backward()
        >>> optimizer.step()
        >>> weight.data
        tensor([ 0.8586, -1.8000])
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        exponent: float | Sequence[float] = 0.5,
        stages: int = 1,
        reference: rules.Reference = "none",
        reference_steps: int = 20,
        maximize: bool = False,
        kernel: str = kernels.AUTO,
        rounding: str = "nearest",
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "exponent": exponent,
            "stages": stages,
            "reference": reference,
            "reference_steps": reference_steps,
            "maximize": maximize,
            "kernel": kernel,
            "rounding": rounding,
        }
        _check_group(defaults)
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group; what it leaves out has the value given to the constructor.

        Raises:
            ArgumentError: a value outside of what is accepted.
        """
        if isinstance(param_group, dict):  # else torch says so  # pyright: ignore[reportUnnecessaryIsInstance]
            _check_group({**self.defaults, **param_group})
        super().add_param_group(param_group)
        added = self.param_groups[-1]
        added.update({name: _plain(added[name]) for name in self.defaults})
        for parameter in added["params"]:
            if not (parameter.is_floating_point() or parameter.is_complex()):
                self.param_groups.pop()
                raise ArgumentError("params", parameter.dtype, "tensors of a floating-point or complex dtype")
        if all(_stages(added) != _stages(group) for group in self.param_groups[:-1]):
            _warn_if_unstable(added)

    def __repr__(self) -> str:
        names = sorted({kernels.resolve(group["kernel"]) for group in self.param_groups})
        return f"{super().__repr__()}\nkernel in use: {', '.join(names)}"

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()  # pyright: ignore[reportUntypedFunctionDecorator]
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step for every parameter that has a gradient. Gradients are never written to.

        Args:
            closure: reevaluates the model and returns the loss.

        Raises:
            GradientError: a sparse gradient; nothing was updated.
            ArgumentError: a scheduled value that left what is accepted; nothing was updated.
            StateDictError: the number of stages is not that of the state any more; nothing was updated.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        work = [(group, _check_group(group), self._with_gradient(group)) for group in self.param_groups]
        for group, stages, parameters in work:
            execute = kernels.KERNELS[kernels.resolve(group["kernel"])]
            lr = float(group["lr"])  # a tensor would bring its own shape and precision into the rule
            for parameter, gradient in parameters:
                state = self._state(parameter, group)
                state["step"] += 1
                step = rules.Step(
                    number=int(state["step"].item()),
                    lr=lr,
                    stages=stages,
                    eps=group["eps"],
                    weight_decay=group["weight_decay"],
                    maximize=group["maximize"],
                    reference=group["reference"],
                    reference_steps=group["reference_steps"],
                )
                if parameter.numel():  # the mean of nothing, as a reference, is not a number
                    execute(_real(parameter), _real(gradient), _memories(state, len(stages)), step)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state dict: of this class, or of ``torch.optim.Adam`` and ``AdamW`` for one stage.

        Loaded state is a copy, kept in float32 (float64 for float64 parameters) whatever the dtype of the parameters.
        Hyperparameters that the state dict does not have, as those of torch do not have an exponent, stay as they are.

        Raises:
            StateDictError: the state lacks a stage, has other shapes, or comes from AMSGrad or from an Adam with coupled
                weight decay, which this rule cannot continue; nothing was loaded.
            ArgumentError: a saved hyperparameter outside of what is accepted; nothing was loaded.
            ValueError: other parameter groups than this optimizer's (from torch).
        """
        loaded: dict[str, Any] = {}

        def complete(_: torch.optim.Optimizer, given: dict[str, Any]) -> dict[str, Any]:
            loaded.update(given)
            if len(given["param_groups"]) != len(self.param_groups):
                return given  # torch says so
            groups = [_completed(saved, group) for saved, group in zip(given["param_groups"], self.param_groups, strict=True)]
            loaded["state"] = self._copied_state(given["state"], groups)
            return {**given, "param_groups": groups}

        def restore(_: torch.optim.Optimizer) -> None:
            # torch has just cast the state to the dtype of the parameters, and aliased it where that changed nothing.
            self.state.update(loaded["state"])

        # The last of the hooks before, so that it sees what the user's hooks made of the state dict; the first of those after.
        before = self.register_load_state_dict_pre_hook(complete)
        after = self.register_load_state_dict_post_hook(restore, prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()

    def _with_gradient(self, group: dict[str, Any]) -> list[tuple[Tensor, Tensor]]:
        found: list[tuple[Tensor, Tensor]] = []
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            if parameter.grad.layout is not torch.strided:
                raise GradientError(
                    f"a gradient of shape {tuple(parameter.shape)} has layout {parameter.grad.layout}: {type(self).__name__}"
                    " accepts dense gradients (for an embedding, sparse=False)"
                )
            if self.state.get(parameter):
                _check_stages(self.state[parameter], group["stages"])
            found.append((parameter, parameter.grad))
        return found

    def _state(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """The state of a parameter, made at its first gradient."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0, dtype=torch.float32)
            for suffix in _suffixes(group["stages"]):
                for key in ("exp_avg", "exp_avg_sq"):
                    dtype = _state_dtype(parameter)
                    state[key + suffix] = torch.zeros_like(parameter, dtype=dtype, memory_format=torch.preserve_format)
        if group["reference"] != "none":
            for suffix in _suffixes(group["stages"]):
                if "reference" + suffix not in state:
                    state["reference" + suffix] = _real(state["exp_avg" + suffix]).new_zeros(())
        return state

    def _copied_state(self, saved: dict[Any, Any], groups: Sequence[dict[str, Any]]) -> dict[Tensor, dict[str, Any]]:
        """The saved state by parameter, in the dtypes and on the devices that belong here, sharing no memory with `saved`."""
        copied: dict[Tensor, dict[str, Any]] = {}
        for saved_group, group in zip(groups, self.param_groups, strict=True):
            for identifier, parameter in zip(saved_group["params"], group["params"], strict=False):
                if identifier in saved:
                    state = {key: _copied(key, value, parameter) for key, value in saved[identifier].items()}
                    _check_stages(state, saved_group["stages"])
                    copied[parameter] = state
        return copied


class SMES(Equipoise):
    r"""Second-moment exponential scaling (Zhang and Liu, arXiv 2405.18498): between SGD and Adam, with Adam's learning rate.

    :class:`Equipoise` with one stage, exponent 1/4 and the reference "initial" (E3), which makes lr mean for every exponent
    what it means for Adam. ``reference="none"`` is the paper's rule.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(3))
        >>> optimizer = SMES([weight], lr=0.01)
        >>> weight.sum().backward()
        >>> optimizer.step()
        >>> weight.data
        tensor([0.9900, 0.9900, 0.9900])
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        exponent: float | Sequence[float] = 0.25,
        reference: rules.Reference = "initial",
        reference_steps: int = 20,
        maximize: bool = False,
        kernel: str = kernels.AUTO,
        rounding: str = "nearest",
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            exponent=exponent,
            reference=reference,
            reference_steps=reference_steps,
            maximize=maximize,
            kernel=kernel,
            rounding=rounding,
        )


class KAdam(Equipoise):
    r"""Adam with k normalizations (Gould and Tanaka, arXiv 2411.05746); k = 1 is AdamW.

    :class:`Equipoise` with exponent 1/2 and `k` stages.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(3))
        >>> optimizer = KAdam([weight], lr=0.01, k=2)
        >>> weight.sum().backward()
        >>> optimizer.step()
        >>> sorted(optimizer.state[weight])
        ['exp_avg', 'exp_avg_2', 'exp_avg_sq', 'exp_avg_sq_2', 'step']
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        k: int = 2,
        maximize: bool = False,
        kernel: str = kernels.AUTO,
        rounding: str = "nearest",
    ) -> None:
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ArgumentError("k", k, "a whole number of at least 1")
        super().__init__(params, lr, betas, eps, weight_decay, stages=k, maximize=maximize, kernel=kernel, rounding=rounding)


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _state_dtype(parameter: Tensor) -> torch.dtype:
    """At least float32 (complex64 for complex parameters)."""
    return torch.promote_types(parameter.dtype, torch.float32)


def _suffixes(stages: int) -> list[str]:
    return ["", *(f"_{number}" for number in range(2, stages + 1))]


def _memories(state: dict[str, Tensor], stages: int) -> list[rules.Memory]:
    return [
        rules.Memory(
            _real(state["exp_avg" + suffix]),
            _real(state["exp_avg_sq" + suffix]),
            state.get("reference" + suffix, 0.0),
        )
        for suffix in _suffixes(stages)
    ]


def _stages(group: dict[str, Any]) -> tuple[rules.Stage, ...]:
    count = group["stages"]
    pairs, exponents = stage_pairs(group["betas"], count), stage_exponents(group["exponent"], count)
    return tuple(rules.Stage(*pair, exponent) for pair, exponent in zip(pairs, exponents, strict=True))


def _plain(value: Any) -> Any:
    """Numbers and sequences of them as Python's own: numpy's do not survive a load with ``weights_only=True``."""
    if isinstance(value, Real) and not isinstance(value, int):
        return float(value)
    if isinstance(value, Iterable) and not isinstance(value, (str, Tensor)):
        return tuple(_plain(entry) for entry in value)  # pyright: ignore[reportUnknownVariableType]
    return value


def _check_group(group: dict[str, Any]) -> tuple[rules.Stage, ...]:
    """Refuse a value outside of what is accepted; return the stages."""
    lr = group["lr"]
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ArgumentError("lr", lr, "a number, or a tensor of one element")
    # A linear schedule that ends at 0 may end at -1e-18, by rounding: no reason to stop a run in its last step.
    for name, least in (("lr", -1e-12), ("eps", 0.0), ("weight_decay", -1e-12)):
        value = group[name]
        number = isinstance(value, Real) or (name == "lr" and isinstance(value, Tensor) and not value.is_complex())
        if not number or not least <= value < math.inf:  # pyright: ignore[reportOperatorIssue]
            raise ArgumentError(name, value, "a finite number of at least 0")
    stages = _stages(group)
    if group["reference"] not in REFERENCES:
        raise ArgumentError("reference", group["reference"], f"one of {REFERENCES}")
    steps = group["reference_steps"]
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ArgumentError("reference_steps", steps, "a whole number of at least 1")
    if not isinstance(group["maximize"], bool):
        raise ArgumentError("maximize", group["maximize"], "True or False")
    kernels.resolve(group["kernel"])
    if group["rounding"] not in ROUNDINGS:
        raise ArgumentError("rounding", group["rounding"], f"one of {ROUNDINGS}")
    return stages


def _warn_if_unstable(group: dict[str, Any]) -> None:
    found = assess(group["betas"], group["exponent"], group["stages"])
    if found.stable:
        return
    remedy = ""
    if found.verdict is Verdict.UNSTABLE:
        nearest = found.nearest
        remedy = f" Stable, each alone: beta1 <= {nearest.beta1:.4g}, beta2 >= {nearest.beta2:.4g}"
        remedy += f", or exponent <= {nearest.exponent:.3g}."
    warnings.warn(
        f"betas = {group['betas']}, exponent = {group['exponent']}, stages = {group['stages']}:"
        f" margin {found.margin:+.4f} nats per step. {found.sentence}{remedy}",
        StabilityWarning,
        stacklevel=2,
    )


def _check_stages(state: dict[str, Any], stages: int) -> None:
    have = sum(key.startswith("exp_avg_sq") for key in state)
    if have != stages:
        raise StateDictError(f"the state has {have} stage(s) and the parameter group {stages}: they must agree")


def _completed(saved: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
    """A saved group with the hyperparameters that it lacks taken from the present one."""
    if saved.get("amsgrad"):
        raise StateDictError("the state dict is AMSGrad's (amsgrad = True), whose running maximum this rule does not have")
    if saved.get("decoupled_weight_decay") is False and saved.get("weight_decay"):
        raise StateDictError(
            f"the state dict is that of an Adam with coupled weight decay (weight_decay = {saved['weight_decay']},"
            " decoupled_weight_decay = False); accepted are decoupled decay (AdamW) or weight_decay = 0"
        )
    own = {key: value for key, value in group.items() if key not in ("params", "param_names")}
    completed = {**own, **{key: value for key, value in saved.items() if key not in _TORCH_SWITCHES}}
    _check_group(completed)
    return completed


def _copied(key: str, value: Any, parameter: Tensor) -> Any:
    if key == "step":
        return torch.tensor(float(value), dtype=torch.float32)
    if not isinstance(value, Tensor):
        return value
    if not key.startswith("reference") and value.shape != parameter.shape:
        raise StateDictError(
            f"{key} has shape {tuple(value.shape)} and its parameter {tuple(parameter.shape)}: they must be equal"
        )
    dtype = _state_dtype(parameter)
    if key.startswith("reference"):
        dtype = dtype.to_real()
    return torch.empty_like(value, dtype=dtype, device=parameter.device).copy_(value)
