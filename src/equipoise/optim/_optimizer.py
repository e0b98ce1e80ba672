r"""The optimizers: the update rule as a ``torch.optim.Optimizer``.

:class:`Equipoise` is the whole family; :class:`SMES` (Zhang and Liu, arXiv 2405.18498) and :class:`KAdam` (Gould and Tanaka,
arXiv 2411.05746) are its two named forms. Deviations from the papers: the second moment is bias-corrected inside of
the power, and SMES measures it against a reference scale, so that a learning rate found for Adam keeps its meaning.

State per parameter and stage: ``exp_avg`` and ``exp_avg_sq``, float32 for parameters of lower precision (float64 for
float64), named as in torch for the first stage and with ``_2``, ``_3`` appended for later ones, a ``reference`` where
one is used, and one ``step``; ``born_exp_avg`` and ``born_exp_avg_sq`` say how many steps came before these averages, for every
later stage, and for the first one where a migrated run has averages that are older or younger than it. Everything an
optimizer needs lives in ``defaults``, ``state`` and ``param_groups``, as plain values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, TypeAlias, overload

import torch
from torch import Tensor

from equipoise import rules
from equipoise.errors import ArgumentError, GradientError
from equipoise.hyperparameters import Betas, Hyperparameters, whole_number
from equipoise.optim import _sharding as sharding
from equipoise.optim._groups import as_python_numbers, checked_stages, values_for_step, warn_if_unstable
from equipoise.optim._kernels import AUTO, choose_kernel
from equipoise.optim._plan import Plan, refuse_parameter
from equipoise.optim._state import completed_group, copied_state
from equipoise.optim._telemetry import Telemetry, composer_metrics

Params: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]


class Equipoise(torch.optim.Optimizer):
    r"""The family from SGD (exponent 0) to Adam (exponent 1/2), with any number of stages.

    Per element, at step t, for every stage with betas (b1, b2) and exponent p, starting from x = gradient::

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
        reference: the scale R that the second moment is measured against, S = R^(1/2 - p): "none" (S = 1) or "initial" (the
            mean squared gradient of a tensor over its first 20 steps with a gradient, without the largest quarter of them,
            kept from then on; elements whose square is not finite count nowhere).
        maximize: ascend instead of descend.
        kernel: how the rule is executed; "auto" picks the fastest that supports the parameters.
        rounding: of bfloat16 and float16 parameters: "nearest", or "stochastic" (to one of the two neighbours, at random, so
            that the mean is right and small updates are not lost).
        state_dtype: None keeps both moments in float32 (float64 for float64 parameters), ``torch.bfloat16`` in half of that,
            rounded stochastically: a second moment rounded to nearest would never decay.
        seed: of the random numbers for rounding; the same seed gives the same run.

    Every argument but `params` may differ per parameter group and may be changed between steps.

    Raises:
        ArgumentError: an argument outside of what is accepted.

    Warns:
        StabilityWarning: once, where the stability margin is negative: updates can grow without bound.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
        >>> optimizer = Equipoise([weight], lr=0.1, exponent=0.25)
        >>> (weight**2).sum().backward()
        >>> optimizer.step()
        >>> weight.data
        tensor([ 0.8586, -1.8000])
    """

    telemetries: tuple[Telemetry, ...] = ()
    """Everyone who is to have what the steps measure. Only :class:`Telemetry` writes here."""
    _plan: Plan | None = None
    _composer: Telemetry | None = None
    """The subscription for Composer, once it has asked."""

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
        maximize: bool = False,
        kernel: str = AUTO,
        rounding: str = "nearest",
        state_dtype: torch.dtype | None = None,
        seed: int = 0,
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "exponent": exponent,
            "stages": stages,
            "reference": reference,
            "maximize": maximize,
            "kernel": kernel,
            "rounding": rounding,
            "state_dtype": state_dtype,
            "seed": seed,
        }
        checked_stages(defaults)
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group; what it leaves out has the value given to the constructor.

        Raises:
            ArgumentError: a value outside of what is accepted.
        """
        if isinstance(param_group, dict):  # else torch says so
            checked_stages({**self.defaults, **param_group})
        super().add_param_group(param_group)
        added = self.param_groups[-1]
        added.update({name: as_python_numbers(added[name]) for name in self.defaults})
        try:
            for parameter in added["params"]:
                refuse_parameter(parameter, added["kernel"])
        except ArgumentError:
            self.param_groups.pop()
            raise
        if all(Hyperparameters.of_group(added) != Hyperparameters.of_group(group) for group in self.param_groups[:-1]):
            warn_if_unstable(added)

    def __repr__(self) -> str:
        chosen = {
            choose_kernel(group["kernel"], p.device, p.dtype): None for group in self.param_groups for p in group["params"]
        }
        return f"{super().__repr__()}\nkernel in use: {', '.join(chosen)}"

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step for every parameter that has a gradient. Gradients are never written to.

        Args:
            closure: reevaluates the model and returns the loss.

        Raises:
            GradientError: a sparse gradient, or, in a distributed run, none at all in the first step; nothing was updated.
            ArgumentError: a scheduled value that left what is accepted; nothing was updated.
            StateDictError: the number of stages is not that of the state any more; nothing was updated.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            self._update()
        return loss

    def _update(self) -> None:
        given = [values_for_step(group) for group in self.param_groups]
        members = [[parameter for parameter in group["params"] if parameter.grad is not None] for group in self.param_groups]
        gradients = [parameter.grad for parameters in members for parameter in parameters]
        for layout in set(map(attrgetter("layout"), gradients)) - {torch.strided}:
            raise GradientError(
                f"a gradient has layout {layout}: {type(self).__name__} accepts dense gradients"
                " (for an embedding, sparse=False)"
            )
        if not gradients and not self.state and sharding.is_distributed():
            raise GradientError(
                "no parameter has a gradient. If fully_shard() came after the optimizer was built, the optimizer still holds"
                " the parameters from before, which the model has replaced: build it from those of the sharded model. (Or a"
                " hook dropped the gradients of the very first step.)"
            )
        if self._plan is None or not self._plan.holds(self.param_groups, members):
            self._plan = Plan(self.param_groups, members, self.state, self._plan)
        parts = self._plan.execute(gradients, given, bool(self.telemetries))
        for telemetry in self.telemetries:
            telemetry.parts = parts

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
            completed = [
                completed_group(saved, group) for saved, group in zip(given["param_groups"], self.param_groups, strict=True)
            ]
            loaded["state"] = copied_state(given["state"], completed, self.param_groups)
            return {**given, "param_groups": completed}

        def restore(_: torch.optim.Optimizer) -> None:
            # torch has just cast the state to the dtype of the parameters, and aliased it where that changed nothing.
            self.state.update(loaded["state"])
            self._plan = None  # which holds the memory of the state before

        # The last of the hooks before, so that it sees what the user's hooks made of the state dict; the first of those after.
        before = self.register_load_state_dict_pre_hook(complete)
        after = self.register_load_state_dict_post_hook(restore, prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()

    def report_per_parameter_metrics(self, param: Tensor, name: str, optimizer_metrics: dict[str, Any]) -> dict[str, Any]:
        """What Composer's ``OptimizerMonitor`` asks of an optimizer after a step, once for every parameter.

        Adds ``l2_norm/grad``, ``l2_norm/param`` and ``l2_norm/update`` (|lr u|, without weight decay), as Composer's optimizers
        do, and ``largest_update`` (max |u|, which the update bound limits), each with ``/`` and `name`, of the step before. The
        first call asks the kernels to measure, so that the first step has none. Where there are shards this is a collective.
        """
        if self._composer is None:
            self._composer = Telemetry(self)
        for measures in self._composer.read(param).values():
            lr = next(float(group["lr"]) for group in self.param_groups if any(each is param for each in group["params"]))
            optimizer_metrics |= composer_metrics(measures, lr, name)
        return optimizer_metrics


class SMES(Equipoise):
    r"""Second-moment exponential scaling (Zhang and Liu, arXiv 2405.18498): between SGD and Adam, with Adam's learning rate.

    :class:`Equipoise` with one stage, exponent 1/4 and the reference scale "initial", which makes lr mean for every exponent
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
        maximize: bool = False,
        kernel: str = AUTO,
        rounding: str = "nearest",
        state_dtype: torch.dtype | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            exponent=exponent,
            reference=reference,
            maximize=maximize,
            kernel=kernel,
            rounding=rounding,
            state_dtype=state_dtype,
            seed=seed,
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
        ['born_exp_avg_2', 'born_exp_avg_sq_2', 'exp_avg', 'exp_avg_2', 'exp_avg_sq', 'exp_avg_sq_2', 'step']
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
        kernel: str = AUTO,
        rounding: str = "nearest",
        state_dtype: torch.dtype | None = None,
        seed: int = 0,
    ) -> None:
        whole_number("k", k)
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            stages=k,
            maximize=maximize,
            kernel=kernel,
            rounding=rounding,
            state_dtype=state_dtype,
            seed=seed,
        )


for _public in (Equipoise, SMES, KAdam):
    _public.__module__ = "equipoise"  # where users find them: in messages, pickles and documentation
