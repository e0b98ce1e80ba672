"""Draw the picture at the top of README.md and of the site: which betas keep updates bounded, for two exponents.

``python docs/figures/stability_map.py`` writes stability_map.png and, for dark pages, stability_map_dark.png beside itself.
Letters are large, because a phone shows the picture 360 pixels wide. ``equipoise check FILE --plot map.html`` draws the same
map for your own configuration.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from equipoise.theory import margin

END = 4.2
"""Both axes end at a memory of 10^4.2 steps."""

POINTS = (
    (0.9, 0.999, "Adam's default\n(0.9, 0.999)", {"xytext": (8, 0), "va": "center", "ha": "left"}),
    (0.9, 0.95, "language models\n(0.9, 0.95)", {"xytext": (-4, 8), "va": "bottom", "ha": "center"}),
    (0.99, 0.9, "unstable\n(0.99, 0.9)", {"xytext": (8, 0), "va": "center", "ha": "left"}),
)

LIGHT = {
    "ink": "#222222",
    "paper": "#ffffff",
    "stable": "#00694d",
    "unstable": "#b3261e",
    "half": "#cfe9de",
    "quarter": "#ebf6f1",
}
DARK = {
    "ink": "#e6e6e6",
    "paper": "#131416",
    "stable": "#5fcfa8",
    "unstable": "#ff8a80",
    "half": "#1f4a3d",
    "quarter": "#182a25",
}


def main(folder: Path) -> None:
    """Write both pictures into a folder."""
    draw(folder / "stability_map.png", LIGHT)
    draw(folder / "stability_map_dark.png", DARK)


def draw(path: Path, colours: dict[str, str]) -> None:
    """One picture; positions on both axes are log10 of the memory 1 / (1 - beta)."""
    canvas = Figure(figsize=(5, 4.6), layout="constrained", facecolor=colours["paper"])
    axes = canvas.subplots()
    axes.set_facecolor(colours["paper"])
    beta1 = 1 - 10 ** -np.linspace(0.001, END, 600)
    for exponent, shade in ((0.25, "quarter"), (0.5, "half")):
        boundary = np.minimum(memory(beta1 ** (1 / exponent)), END)
        axes.fill_between(memory(beta1), boundary, END, color=colours[shade], linewidth=0)
        axes.plot(memory(beta1), boundary, color=colours["stable"], linewidth=2, linestyle="-" if exponent == 0.5 else "--")
    axes.fill_betweenx([0, END], -0.1, 0.001, color=colours["half"], linewidth=0)  # beta1 = 0 is stable with every beta2

    text = {"color": colours["ink"], "fontsize": 12}
    axes.text(0.1, 3.55, "Updates stay\nbounded", fontweight="bold", va="center", **text)
    axes.text(2.15, 0.12, "Updates can grow\nwithout bound", fontweight="bold", **text)
    angle = {"rotation": 45, "rotation_mode": "anchor", "transform_rotates_text": True}
    axes.text(2.55, 2.36, "exponent 1/2 (Adam)", va="bottom", **angle, **text)
    axes.text(2.3, 1.56, "exponent 1/4", va="top", **angle, **text)
    for b1, b2, label, place in POINTS:
        stable = margin(b1, b2) > 0
        x, y = memory(np.array([b1, b2]))
        colour = colours["stable" if stable else "unstable"]
        axes.plot(x, y, "o" if stable else "s", color=colour, markersize=9, markeredgecolor=colours["paper"])
        axes.annotate(label, (x, y), textcoords="offset points", **place, **text)

    ticks = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999)
    for axis, name in ((axes.xaxis, "beta1"), (axes.yaxis, "beta2")):
        axis.set_ticks(list(memory(np.array(ticks))), [f"{tick:g}" for tick in ticks])
        axis.set_label_text(f"{name} (memory of the {'first' if name == 'beta1' else 'second'} moment)", **text)
    axes.tick_params(colors=colours["ink"], labelsize=11)
    axes.set(xlim=(-0.1, END), ylim=(-0.1, END))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(colours["ink"])
    canvas.savefig(path, dpi=200)


def memory(beta: np.ndarray) -> np.ndarray:
    """log10 of the number of steps that an average with this beta remembers."""
    return -np.log10(1 - beta)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
