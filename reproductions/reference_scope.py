"""The scope of the reference scale: one for all tensors of a model, against one per tensor, which the optimizers have.

No claim and no verdict: a choice that was tried. Networks, learning rates and seeds are those of claim (i), whose trials are
not run again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from equipoise import Equipoise
from equipoise.study._analysis import Compared
from reproductions.claim import Options, parse_options
from reproductions.i_one_learning_rate import ADAM, EXPONENTS, NETWORKS, difference, rates, study

SCOPES = {"tensor": "equipoise.Equipoise", "model": "reproductions.reference_scope.SharedReference"}


class SharedReference(Equipoise):
    """R is the mean of v_hat over all elements of all tensors. Every parameter must have a gradient at every step."""

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """A step of :class:`Equipoise`, which leaves every tensor's own mean in its state, and uses what it finds there."""
        assert closure is None
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        if not self.state:
            for parameter in parameters:
                moments = {key: torch.zeros_like(parameter) for key in ("exp_avg", "exp_avg_sq")}
                self.state[parameter] = {"step": torch.zeros(()), **moments, "reference": torch.zeros(())}
            self._share(parameters, [parameter.grad.square().mean() for parameter in parameters])  # v_hat of the first step
        super().step()
        self._share(parameters, [self.state[parameter]["reference"] for parameter in parameters])

    def _share(self, parameters: Sequence[Tensor], means: Sequence[Tensor]) -> None:
        total = sum(parameter.numel() for parameter in parameters)
        common = sum(float(mean) * parameter.numel() for parameter, mean in zip(parameters, means, strict=True)) / total
        for parameter in parameters:
            self.state[parameter]["reference"].fill_(common)


def main(options: Options) -> None:
    """On every network, every exponent with both scopes, each at its own best learning rate."""
    for network in NETWORKS:
        arms = [
            {"name": f"{reference} {exponent:g} {scope}", "optimizer": optimizer, "exponent": exponent, "reference": reference}
            for reference in ("initial", "running")
            for exponent in EXPONENTS
            for scope, optimizer in SCOPES.items()
        ]
        arms = [{**arm, "learning_rates": rates(options, arm)[2:7]} for arm in (ADAM, *arms)]
        found = {arm.name: arm for arm in study(options, network, "scope", arms).arms}
        print(f"{network.name}, Adam: {network.metric} {found['Adam'].mean:.4f} at lr {found['Adam'].tuned.chosen:g}")
        for name, arm in found.items():
            reference, _, scope = name.partition(" ")
            if scope.endswith("model"):
                other = found[name.replace("model", "tensor")]
                better = difference(network.gains(arm), network.gains(other))
                print(
                    f"{network.name}, {reference} {scope.split()[0]}: {network.metric} {told(other)} with one scale per tensor,"
                    f" {told(arm)} with one for the model, which is better by {better}"
                )


def told(arm: Compared) -> str:
    """How good an arm is, and where."""
    return f"{arm.mean:.4f} at lr {arm.tuned.chosen:g}{' (an edge)' if arm.tuned.at_edge else ''}"


if __name__ == "__main__":
    main(parse_options(__doc__))
