"""The quotient of every kernel is right wherever it can be represented, however large or small the power in it is."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise import Equipoise

pytestmark = pytest.mark.filterwarnings("ignore::equipoise.StabilityWarning")

LARGEST, SMALLEST = 3.4028234e38, 1.17549435e-38
"""The normal numbers of float32."""

logarithms = st.floats(math.log(1.5e-45), math.log(1e38))
"""Of a second moment or a reference that float32 has, denormal ones included."""

CASES = st.fixed_dictionaries(
    {
        "exponent": st.floats(-3, 3) | st.sampled_from((0.5, 0.25, 0.125, 0.0, 0.3, 2 / 3, 1.0, 3.0, -3.0)),
        "eps": st.sampled_from((0.0, 1e-8)) | st.floats(-40, 20).map(lambda power: 10.0**power),
        "reference": st.none() | logarithms.map(math.exp),
        # By the logarithm of v: that of |m|, free or, as in a run, within a few powers of ten of the root of v.
        "moments": st.lists(
            st.tuples(logarithms, st.floats(-87, 87) | st.floats(-3, 3).map(lambda ratio: (None, ratio))),
            min_size=1,
            max_size=40,
        ),
    }
)


def update(kernel: str, dtype: torch.dtype, exponent: float, eps: float, R: float | None, m: list, v: list) -> torch.Tensor:
    """What a step makes of these bias-corrected moments: from averages of twice their size, halved where the gradient is 0."""
    parameter = torch.nn.Parameter(torch.zeros(len(m), dtype=dtype))
    parameter.grad = torch.zeros_like(parameter)
    given = {"exponent": exponent, "eps": eps, "kernel": kernel, "reference": "none" if R is None else "initial"}
    optimizer = Equipoise([parameter], lr=1.0, betas=(0.5, 0.5), **given)
    averages = {"exp_avg": torch.tensor(m, dtype=dtype) * 2, "exp_avg_sq": torch.tensor(v, dtype=dtype) * 2}
    optimizer.state[parameter] |= {"step": torch.tensor(1e5), **averages}
    if R is not None:
        optimizer.state[parameter]["reference"] = torch.full((20,), R, dtype=dtype)
    optimizer.step()
    return -parameter.detach()


def check(kernel: str, dtype: torch.dtype, relative: float, case: dict) -> None:
    """Assert that a step is right to so much, or to the distance of the smallest numbers."""
    numpy_dtype = torch.zeros((), dtype=dtype).numpy().dtype.type
    vs = [numpy_dtype(math.exp(v)) for v, _ in case["moments"]]
    sizes = [m if isinstance(m, float) else v / 2 + m[1] for v, m in case["moments"]]
    ms = [numpy_dtype(math.copysign(math.exp(size), size - 1.0)) for size in sizes]
    reference = None if case["reference"] is None else numpy_dtype(case["reference"])
    found = update(kernel, dtype, case["exponent"], case["eps"], reference, ms, vs)
    with mpmath.workdps(50):
        p, eps = mpmath.mpf(case["exponent"]), mpmath.mpf(float(numpy_dtype(case["eps"])))
        scale = mpmath.mpf(float(1.0 if reference is None else reference)) ** (mpmath.mpf(0.5) - p)
        for own, m, v in zip(found.tolist(), ms, vs, strict=True):
            expected = mpmath.mpf(float(m)) / (scale * mpmath.mpf(float(v)) ** p + eps)
            if abs(expected) < LARGEST * (1 - relative):
                assert abs(own - expected) <= relative * abs(expected) + 1.5e-45
            elif abs(expected) > LARGEST * (1 + relative):
                assert math.isinf(own) or dtype is torch.float64


@pytest.mark.parametrize(
    ("kernel", "dtype", "relative"),
    [
        ("fused", torch.float32, 5e-7),
        ("fused", torch.float64, 1e-14),
        ("eager", torch.float32, 1e-6),  # as precise as torch's own power
        ("eager", torch.float64, 1e-14),
    ],
)
@settings(max_examples=150, deadline=None)
@given(case=CASES)
def test_every_quotient_that_can_be_represented_is_right(kernel, dtype, relative, case):
    check(kernel, dtype, relative, case)
