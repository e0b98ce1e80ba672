"""How fast updates can grow outside of the stable region, as a grade, and what training has lost there.

The grades follow from a measurement by a rule that was written before it (``reproductions/outside.py``): five small networks,
three beta1, six rates from 0.02 to 0.7 nats per step, each pair of betas against (beta1, 0.999), at its own best learning rate.
A loss is a share of what training gains over guessing. All of it is at an exponent of 1/2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

MODERATE_UP_TO = 0.1
"""In nats per step: the largest rate tried at which no network lost half of what training gains. At 0.2 two did."""


class Growth(Enum):
    """How fast the largest possible update grows. The values are the words that users read."""

    NONE = "none"
    MODERATE = "moderate"
    FAST = "fast"
    WITH_GRADIENTS = "with the gradients"
    """Exponents above 1/2: updates grow as gradients vanish, not step by step."""

    @classmethod
    def of(cls, rate: float) -> Growth:
        """The grade of a growth in nats per step, outside of the region at an exponent of up to 1/2.

        Example:
            >>> Growth.of(0.01), Growth.of(math.inf)
            (<Growth.MODERATE: 'moderate'>, <Growth.FAST: 'fast'>)
        """
        return cls.MODERATE if rate <= MODERATE_UP_TO else cls.FAST


ADVICE: Mapping[Growth, str] = MappingProxyType(
    {
        Growth.NONE: "",
        Growth.MODERATE: "Training often bears that: in 38 of 45 comparisons with beta2 = 0.999, on small networks, at most 5 %"
        " of what training gains was lost; in the worst, 45 %. A run that goes well need not be stopped. Before the next one,"
        " change beta1, beta2 or the exponent.",
        Growth.FAST: "Do not train like this: in 16 of 45 comparisons with beta2 = 0.999, on small networks, half and more of"
        " what training gains was lost; in 11 of these, all of it. Change beta1, beta2 or the exponent.",
        Growth.WITH_GRADIENTS: "What that costs in training was not measured here. Take an exponent of at most 1/2, or compare"
        " on your own task.",
    }
)
"""What was seen at such a growth, and what to do."""


def tenfold(rate: float) -> float:
    """After how many steps the worst case has grown tenfold.

    Args:
        rate: in nats per step.
    """
    return math.log(10) / rate
