"""The table: every optimizer class with the arguments that it is tested with. Another suite may run over it too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from equipoise import SMES, Equipoise, KAdam


@dataclass(frozen=True)
class OptimizerCase:
    """One class with one set of constructor arguments, and what its state must then hold."""

    name: str
    cls: type[Equipoise]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    stages: int = 1
    reference: bool = False
    """Whether there is a reference scale to remember."""

    def __str__(self) -> str:
        return self.name

    def make(self, params: Iterable[Any], **changed: Any) -> Equipoise:
        """The optimizer of this case on `params`, with some arguments changed."""
        return self.cls(params, **{**self.arguments, **changed})

    @property
    def weight_decay(self) -> float:
        """The weight decay that the case sets; 0 is the default."""
        return self.arguments.get("weight_decay", 0.0)

    @property
    def state_keys(self) -> set[str]:
        """The documented names of what is remembered per parameter."""
        keys = ("exp_avg", "exp_avg_sq", *(["reference"] if self.reference else []))
        later = [f"_{stage}" for stage in range(2, self.stages + 1)]
        ages = {key + suffix for key in ("born_exp_avg", "born_exp_avg_sq") for suffix in later}
        return {"step", *(key + suffix for key in keys for suffix in ["", *later]), *ages}


_TWO_STAGES = {"stages": 2, "betas": ((0.9, 0.999), (0.8, 0.99)), "exponent": (0.25, 0.5)}

CASES = (
    OptimizerCase("adam", Equipoise),
    OptimizerCase("adamw-maximize", Equipoise, {"lr": 0.01, "weight_decay": 0.1, "maximize": True}),
    OptimizerCase("ema-sgd", Equipoise, {"lr": 0.01, "exponent": 0.0, "weight_decay": 0.01}),
    OptimizerCase("negative", Equipoise, {"lr": 0.01, "exponent": -0.25}),
    OptimizerCase("initial", Equipoise, {"lr": 0.01, "exponent": 0.125, "reference": "initial"}, reference=True),
    OptimizerCase("two-stage", Equipoise, {"lr": 0.01, "weight_decay": 0.1, **_TWO_STAGES}, stages=2),
    OptimizerCase("two-stage-initial", Equipoise, {**_TWO_STAGES, "reference": "initial"}, stages=2, reference=True),
    OptimizerCase("smes", SMES, {}, reference=True),
    OptimizerCase("smes-paper", SMES, {"lr": 0.1, "exponent": 0.125, "reference": "none", "weight_decay": 0.1}),
    OptimizerCase("smes-maximize", SMES, {"maximize": True, "eps": 1e-4}, reference=True),
    OptimizerCase("kadam", KAdam, {"lr": 0.01}, stages=2),
    OptimizerCase("kadam-1", KAdam, {"k": 1, "weight_decay": 0.1}),
    OptimizerCase("kadam-3", KAdam, {"k": 3, "betas": (0.8, 0.99), "weight_decay": 0.1}, stages=3),
)

CLASSES = tuple(case for case in CASES if case.name in ("adam", "smes", "kadam"))
"""One case per class, for what cannot depend on the hyperparameters."""

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_class = pytest.mark.parametrize("case", CLASSES, ids=str)

STATE_DTYPES = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float32: torch.float32,
    torch.float64: torch.float64,
    torch.complex64: torch.complex64,
    torch.complex128: torch.complex128,
}
"""The dtype of a parameter, and that of its state."""

every_dtype = pytest.mark.parametrize("dtype", STATE_DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))


@dataclass(frozen=True)
class KernelRow:
    """One kernel on parameters of one dtype, and how far from the rule it may be."""

    kernel: str
    dtype: torch.dtype
    relative: float
    """Error per way travelled, before the parameter is rounded to its dtype."""

    def __str__(self) -> str:
        return f"{self.kernel}-{str(self.dtype).removeprefix('torch.')}"


_RELATIVE = {torch.float64: 1e-14, torch.complex128: 1e-14}

KERNEL_ROWS = tuple(
    KernelRow(kernel, dtype, _RELATIVE.get(dtype, 2e-6)) for kernel in ("fused", "eager", "compiled") for dtype in STATE_DTYPES
)
"""Every kernel with every dtype; a test says so."""

every_kernel_row = pytest.mark.parametrize("row", KERNEL_ROWS, ids=str)
