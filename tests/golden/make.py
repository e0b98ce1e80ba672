"""Computes what trajectories.json expects, with 50 digits, from the inputs that it holds: python -m tests.golden.make.

The update rule and its reference scale are stated here once more, on their own, so that what the package says is checked
against something else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mpmath import mp, mpf

FILE = Path(__file__).with_name("trajectories.json")
REFERENCE_STEPS = 20


def normalized(m_hat: mpf, v_hat: mpf, exponent: mpf, eps: mpf, scale: mpf) -> mpf:
    """One element of an update. 0^0 = 1, 0^negative is infinite and divides to 0, and 0/0 = 0."""
    if v_hat == 0 and exponent < 0:
        return mpf(0)
    denominator = scale * v_hat**exponent + eps
    return m_hat / denominator if denominator else mpf(0)


def trimmed_mean(values: list[mpf]) -> mpf:
    """The mean of some numbers without the largest quarter of them, rounded down, but of several at least one."""
    kept = sorted(values)[: len(values) - max(len(values) // 4, min(len(values) - 1, 1))]
    return sum(kept) / len(kept)


def expected(case: dict[str, Any]) -> dict[str, Any]:
    """The parameters after every step, and the moments of every stage after the last."""
    theta = [mpf(value) for value in case["param"]]
    moments = [([mpf(0)] * len(theta), [mpf(0)] * len(theta)) for _ in case["betas"]]
    squares: list[list[mpf]] = [[] for _ in case["betas"]]
    params: list[list[float]] = []
    eps, decay = mpf(case["eps"]), mpf(case["weight_decay"])
    steps = zip(case["lrs"], case["exponents"], case["grads"], strict=True)
    for number, (lr, exponents, gradient) in enumerate(steps, 1):
        x = [-mpf(value) if case["maximize"] else mpf(value) for value in gradient]
        for stage, (pair, exponent) in enumerate(zip(case["betas"], map(mpf, exponents), strict=True)):
            beta1, beta2 = map(mpf, pair)
            mean = sum(value**2 for value in x) / len(x)
            if mean > 0 and len(squares[stage]) < REFERENCE_STEPS:
                squares[stage].append(mean)
            m, v = moments[stage]
            m = [beta1 * old + (1 - beta1) * new for old, new in zip(m, x, strict=True)]
            v = [beta2 * old + (1 - beta2) * new**2 for old, new in zip(v, x, strict=True)]
            moments[stage] = m, v
            scale = mpf(1)
            if case["reference"] == "initial" and squares[stage]:
                scale = trimmed_mean(squares[stage]) ** (mpf(1) / 2 - exponent)
            first, second = 1 - beta1**number, 1 - beta2**number
            x = [normalized(a / first, b / second, exponent, eps, scale) for a, b in zip(m, v, strict=True)]
        theta = [old * (1 - mpf(lr) * decay) - mpf(lr) * u for old, u in zip(theta, x, strict=True)]
        params.append([float(value) for value in theta])
    averages = [[[float(value) for value in pair[place]] for pair in moments] for place in (0, 1)]
    return {"params": params, "exp_avg": averages[0], "exp_avg_sq": averages[1]}


def main() -> None:
    """Write what is expected of every case."""
    mp.dps = 50
    cases = json.loads(FILE.read_text())
    FILE.write_text(json.dumps([{**case, "expected": expected(case)} for case in cases], indent=1) + "\n")


if __name__ == "__main__":
    main()
