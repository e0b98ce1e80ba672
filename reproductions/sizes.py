"""The sizes of the transformer (:mod:`equipoise.study._tasks.transformer`), and what it is trained on in a step."""

from __future__ import annotations

from equipoise.study._tasks.transformer import Size

SIZES = {
    "quick": Size(width=32, depth=2, heads=2, context=32, batch=8),
    "default": Size(width=48, depth=2, heads=4, context=48, batch=16),
    "full": Size(width=512, depth=10, heads=8, context=256, batch=64),
}
"""By scale: 32 thousand, 68 thousand and 32 million parameters."""
