"""What the terminal and the page call runs, and what was measured of a tensor."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Column(NamedTuple):
    """A column of the table of tensors."""

    heading: str
    """Two words, of which each fits into eight characters."""
    meaning: str
    """What two words cannot say, with the unit."""


COLUMNS = {
    "gradient_rms": Column("gradient RMS", "root mean square of the gradient that the optimizer used, in loss per weight"),
    "update_ratio": Column("relative step", "|lr * update| / |weight|, a ratio; 0.001 moves the weights by 0.1 %"),
    "largest_update": Column("largest update", "largest element of the update, in weights per unit of learning rate"),
    "nonfinite_fraction": Column("not finite", "share of the gradient's elements that are infinite or NaN, in percent"),
    "zero_fraction": Column("zero gradient", "share of the gradient's elements that are 0, in percent"),
    "bound": Column("update bound", "largest update that any gradients can cause, in its unit; ∞ where none is known"),
    "update_rms": Column("update RMS", "root mean square of the update, in weights per unit of learning rate"),
    "parameter_rms": Column("weight RMS", "root mean square of the weights after the step, in their own unit"),
    "second_moment": Column(
        "second moment",
        "mean of the average of squared gradients, in (loss per weight) squared; none if the optimizer keeps none",
    ),
    "norm_ratio": Column("norm / expected", "|weight| / the norm that its updates predict, a ratio; only if scale-invariant"),
}
"""What is measured of a tensor, by its name in a reading. A narrow terminal shows the first of them only."""


def absent(column: str, value: float, weights: float) -> str:
    """What stands in the place of a number that does not exist; empty where it does.

    A second moment that is NaN in earnest makes the weights NaN in the same step.

    Example:
        >>> absent("second_moment", math.nan, 0.5), absent("second_moment", math.nan, math.nan)
        ('none', '')
    """
    missing = math.isnan(value) and (column == "norm_ratio" or (column == "second_moment" and not math.isnan(weights)))
    return "none" if missing else ""


def folder_names(folders: Sequence[Path]) -> list[str]:
    """For each folder the shortest end of its path that no other one's path has; its whole path if it is given twice.

    Several runs often have one name, which is that of their model, and are told apart by it.

    Example:
        >>> folder_names([Path("wide/1"), Path("deep/1"), Path("deep/2")])
        ['wide/1', 'deep/1', '2']
    """
    paths = [os.path.abspath(folder).split(os.sep) for folder in folders]
    ends = [[os.sep.join(path[-length:]) for length in range(1, len(path) + 1)] for path in paths]
    given = Counter(end for some in ends for end in some)
    return [next((end for end in some if given[end] == 1), some[-1]) for some in ends]
