"""(g) 2-Adam against Adam, with and without normalization layers, and two ways to choose the betas of its stages."""

from __future__ import annotations

from matplotlib.figure import Figure

from equipoise.theory import stage_betas
from reproductions.claim import Claim, Options, all_of, judge, mean_interval, parse_options
from reproductions.studies import PICTURES, TEXT, draw, epochs, run, task

CLAIM = Claim(
    letter="g",
    statement=(
        "2-Adam with inverse-exp betas ends at a lower loss on unseen data than Adam, with normalization layers and without."
    ),
    source="Gould and Tanaka, arXiv 2411.05746 (k-Adam and its strategies; the choice of inverse-exp is ours)",
    rule=(
        "Loss on unseen data of Adam minus that of 2-Adam, on the same seed, each at its own best learning rate of equally"
        " many. Reproduced if the interval over seeds lies above 0 in all four cases (pictures and text, with layers and"
        " without); not reproduced if in any it lies below 0. The strategy uniform is measured, and decides nothing."
    ),
)

BETAS = (0.9, 0.999)
DECISIVE = "inverse-exp"


def main(options: Options) -> None:
    """Run four studies and judge."""
    arms = [{"name": "Adam", "optimizer": "torch.optim.Adam", "betas": BETAS, "baseline": True}] + [
        {"name": strategy, "optimizer": "equipoise.KAdam", "k": 2, "betas": stage_betas(*BETAS, 2, strategy)}
        for strategy in (DECISIVE, "uniform")
    ]
    lines, verdicts = [], []
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, data in zip(figure.subplots(1, 2), (PICTURES, TEXT), strict=True):
        gains = {}
        for normalized in (False, True):
            layers = "with" if normalized else "without"
            found = run(
                options,
                name=f"g-{data}-{layers}",
                task=task(options, data, normalized=normalized),
                metric="test_loss",
                goal="minimize",
                epochs=epochs(options, data),
                seeds=options.choose(3, 8, 5),
                tuning_seeds=options.choose(1, 2, 1),
                learning_rates=options.choose([3e-3, 1e-2], [3e-4, 1e-3, 3e-3, 1e-2, 3e-2], [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]),
                arms=arms,
            )
            lines += [f"{data}, {layers} layers: {arm.name} {arm.mean:.4f} at lr {arm.tuned.chosen:g}" for arm in found.arms]
            for contrast in found.contrasts:
                gain = mean_interval(contrast.differences)
                gains[f"{contrast.arm} {layers}"] = gain
                lines.append(
                    f"{data}, {layers} layers: 2-Adam {contrast.arm} is better by {gain} nats"
                    f" (p = {contrast.adjusted_p_value:.2g}, adjusted for the number of comparisons)"
                )
                if contrast.arm == DECISIVE:
                    verdicts.append(judge(gain, low=0))
        draw(axes, gains)
        axes.set(title=data, xlabel="gain over Adam on unseen data, nats")
    CLAIM.conclude(options, "\n".join(lines), all_of(verdicts), figure)


if __name__ == "__main__":
    main(parse_options(__doc__))
