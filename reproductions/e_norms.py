"""(e) The squared norm of a scale-invariant weight follows the norm dynamics.

The paper's formula makes |W|^2 a sum of past |u|^2. Ours adds the cross term <W, u>, which momentum makes large: the factor c.
Both are given the measured |u| of every step and only the first |W|, and predict |W|^2 at every later step.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from equipoise import Equipoise, theory
from equipoise.check._map import COLOURS
from equipoise.monitor import ScaleVerdict, probe_scale_invariance
from equipoise.optim._telemetry import Telemetry
from equipoise.study._tasks.transformer import Transformer
from reproductions import text
from reproductions.claim import Claim, Options, all_of, judge, mean_interval, parse_options
from reproductions.sizes import SIZES

LEARNING_RATE, WEIGHT_DECAY = 3e-3, 0.3

ARMS = {
    "AdamW": {"betas": (0.9, 0.999)},
    "AdamW without momentum": {"betas": (0.0, 0.999)},
    "SMES 1/4": {"betas": (0.9, 0.999), "exponent": 0.25, "reference": "initial"},
}

CLAIM = Claim(
    letter="e",
    statement="In scale-invariant layers |W|^2 is a decaying sum of past |u|^2, times a factor c for momentum.",
    source="Gould and Tanaka, arXiv 2411.05746 (without c); ours (with c)",
    rule=(
        "A transformer on source text and a CNN with BatchNorm on digits; the weights are those that a probe finds to be"
        " scale-invariant, before and after training. |predicted / true |W|^2 - 1|, averaged over steps and weights, is at most"
        " 0.1 for every model and optimizer. 95 % t intervals over seeds: all below is reproduced, one above is not reproduced,"
        " else inconclusive. The same is said of the paper's formula, c = 1, which does not decide."
    ),
)

Batches = Callable[[], tuple[Tensor, Tensor]]
Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def main(options: Options) -> None:
    """Measure, conclude."""
    source = text.load()
    seeds = range(options.choose(2, 4))
    lines = [f"text: SHA-256 {source.sha256[:16]}...; {len(seeds)} seeds, lr {LEARNING_RATE}, weight decay {WEIGHT_DECAY}"]
    verdicts, shown = [], {}
    for problem, make in (
        ("transformer", lambda seed: _transformer(source, options, seed)),
        ("CNN", lambda seed: _cnn(options, seed)),
    ):
        for name, arm in ARMS.items():
            factors = {"ours": theory.cross_term_factor(arm["betas"], decay=LEARNING_RATE * WEIGHT_DECAY), "paper": 1.0}
            errors: dict[str, list[float]] = {formula: [] for formula in factors}
            for seed in seeds:
                squares, updates = _train(*make(seed), options, arm)
                for formula, factor in factors.items():
                    predicted = np.array([_predicted(w, u, factor) for w, u in zip(squares, updates, strict=True)])
                    errors[formula].append(float(np.abs(predicted / squares - 1)[:, 1:].mean()))
                    if seed == 0:
                        shown[problem, name, formula] = predicted[0], squares[0]
            ours, theirs = mean_interval(errors["ours"]), mean_interval(errors["paper"])
            verdicts.append(judge(ours, high=0.1))
            lines.append(
                f"{problem}, {name}, {len(squares)} weights: c = {factors['ours']:.2f}: error {ours}: {verdicts[-1].value};"
                f" c = 1: {theirs}: {judge(theirs, high=0.1).value}"
            )
    CLAIM.conclude(options, "\n".join(lines), all_of(verdicts), _figure(shown))


def _predicted(squares: np.ndarray, updates: np.ndarray, factor: float) -> np.ndarray:
    motion = theory.norm_motion(
        squares[0] ** 0.5, updates, len(updates), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, factor=factor
    )
    return motion.squared_norm


def _train(model: nn.Module, batches: Batches, loss: Loss, options: Options, arm: dict) -> tuple[np.ndarray, np.ndarray]:
    """|W|^2, (weights, steps + 1), and |u|, (weights, steps), of the scale-invariant weights."""
    inputs, targets = batches()

    def invariant() -> set[str]:
        probed = probe_scale_invariance(model, lambda model: loss(model, inputs, targets))
        return {name for name, found in probed.items() if found.verdict is ScaleVerdict.INVARIANT}

    first = sorted(invariant())
    weights = [model.get_parameter(name) for name in first]
    optimizer = Equipoise(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, **arm)
    telemetry = Telemetry(optimizer)
    squares, updates = [[float(weight.detach().norm()) ** 2 for weight in weights]], []
    for _ in range(options.choose(150, 800, 2000)):
        optimizer.zero_grad()
        loss(model, *batches()).backward()
        optimizer.step()
        measured = telemetry.read()
        squares.append([measured[weight].parameter for weight in weights])
        updates.append([measured[weight].update ** 0.5 for weight in weights])
    last = invariant()  # without the scales of BatchNorm, which are scale-invariant only while the shifts are 0
    kept = [index for index, name in enumerate(first) if name in last]
    return np.array(squares).T[kept], np.array(updates).T[kept]


def _transformer(source: text.Text, options: Options, seed: int) -> tuple[nn.Module, Batches, Loss]:
    size = SIZES[options.scale.value]
    torch.manual_seed(seed)
    model = Transformer(size).to(options.device)
    generator = torch.Generator().manual_seed(seed)

    def batches() -> tuple[Tensor, Tensor]:
        inputs, following = text.windows(source.training, size.batch, size.context, generator)
        return inputs.to(options.device), following.to(options.device)

    return model, batches, Transformer.loss


def _cnn(options: Options, seed: int) -> tuple[nn.Module, Batches, Loss]:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 16), (16, 16), (16, 32)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    model = nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 4 * 4, 10)).to(options.device)
    data = load_digits()
    images = torch.tensor(data.images[:, None] / 16, dtype=torch.float32, device=options.device)
    labels = torch.tensor(data.target, device=options.device)
    generator = torch.Generator().manual_seed(seed)

    def batches() -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(images), (64,), generator=generator).to(options.device)
        return images[chosen], labels[chosen]

    return model, batches, lambda model, inputs, targets: functional.cross_entropy(model(inputs), targets)


def _figure(shown: dict[tuple[str, str, str], tuple[np.ndarray, np.ndarray]]) -> Figure:
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for panel, problem in zip(figure.subplots(1, 2), ("transformer", "CNN"), strict=True):
        for name, colour in zip(ARMS, COLOURS, strict=False):
            ours, true = shown[problem, name, "ours"]
            panel.plot(true, color=colour, linewidth=2, alpha=0.4, label=name)
            panel.plot(ours, color=colour, linewidth=0.8)
            panel.plot(shown[problem, name, "paper"][0], color=colour, linewidth=0.8, linestyle=":")
        panel.set(xlabel="step", ylabel="|W|^2 of the first such weight", title=problem)
    panel.legend(fontsize=8, title="broad: true, thin: predicted, dotted: c = 1", title_fontsize=8)
    return figure


if __name__ == "__main__":
    main(parse_options(CLAIM.statement))
