"""Recommendations for people, 80 columns wide, and for programs."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from equipoise._json import plain
from equipoise._words import printable
from equipoise.recommend._evidence import Evidence, LayerGradients
from equipoise.recommend._recommendation import Recommendation, UpdateSizes
from equipoise.theory._exponent import signal_loss

WIDTH = 80
LAYERS = 12
"""So many layers are shown to people; programs get all."""

OPTIMIZERS = {
    "initial": 'equipoise.SMES with reference "initial" (Adam\'s learning rates)',
    "none": 'equipoise.SMES with reference "none" (learning rates of its own)',
}

NOT_SEEN = "not seen"

MEANING = (
    "This exponent balances the sizes of updates. Which exponent trains best, only a study can tell:"
    " --write STUDY.toml writes one."
)


def as_text(evidence: Evidence, recommendations: Sequence[Recommendation]) -> str:
    """Recommendations for people, at most 80 columns wide unless a name is longer."""
    head = [f"RECOMMENDED for {OPTIMIZERS[evidence.reference]}"]
    head += textwrap.wrap(f"from {printable(evidence.source, 1000)}", WIDTH, initial_indent="  ", subsequent_indent="  ")
    blocks = ["\n".join(_block(evidence, each)) for each in recommendations]
    return "\n\n".join(["\n".join(head), *blocks, textwrap.fill(MEANING, WIDTH)])


def as_dict(evidence: Evidence, recommendations: Sequence[Recommendation]) -> dict[str, Any]:
    """The same and more as plain values, ready for JSON: None is what was not seen."""
    return plain(
        {
            "source": evidence.source,
            "reference": evidence.reference,
            "steps": evidence.steps,
            "groups": [
                {
                    "group": each.group,
                    "exponent": each.exponent,
                    "lowest": each.lowest,
                    "highest": each.highest,
                    "decided_by": each.decided_by,
                    "sure": each.confidence,
                    "doubts": each.doubts,
                    "betas": each.betas,
                    "learning_rate": each.adam_lr * each.lr_factor,
                    "balance": {
                        **asdict(each.numbers),
                        "tolerance": each.tolerance,
                        "within_tolerance": each.within_tolerance,
                    },
                    "effects": each.effects,
                    "layers": [_update_values(update) for update in each.updates],
                }
                for each in recommendations
            ],
        }
    )


def _update_values(update: UpdateSizes) -> dict[str, Any]:
    layer = update.layer
    return {
        "name": layer.name,
        "shape": layer.shape,
        "scale": layer.scale,
        "level": layer.level,
        "density": layer.density,
        "factor": update.factor,
        "factors": (update.low, update.high),
    }


def _block(evidence: Evidence, found: Recommendation) -> Iterator[str]:
    yield f"group {found.group}: exponent {found.exponent:.2f}"
    for name, text in _rows(evidence, found):
        indent = "- " if text.startswith("- ") else ""
        lines = textwrap.wrap(text, WIDTH - 20, subsequent_indent=" " * len(indent))
        yield f"  {name:<16}  {lines[0]}"
        yield from (f"{'':20}{line}" for line in lines[1:])
    if found.numbers.seen:
        yield ""
        yield from _effect_table(found)
    yield ""
    yield from _update_table(evidence, found)


def _rows(evidence: Evidence, found: Recommendation) -> Iterator[tuple[str, str]]:
    numbers = found.numbers
    yield "reason", _reason(found)
    yield "confidence", found.confidence + (":" if found.doubts else "")
    yield from (("", f"- {doubt}") for doubt in found.doubts)
    if numbers.ends:
        largest, smallest = numbers.ends
        since = " since the reference was taken" if evidence.reference != "none" else ""
        yield "between layers", f"{numbers.between:.2f} decades{since}, from {_name(largest)} down to {_name(smallest)}"
    elif numbers.between is None:
        yield "between layers", NOT_SEEN
    widest, rarest = _name(numbers.widest), _name(numbers.rarest)
    within, density = numbers.within, numbers.density
    spread = NOT_SEEN if within is None else f"80 % of the coordinates of {widest} lie within {within:.2f} decades"
    share = NOT_SEEN if density is None else f"the rarest, in {rarest}, come in {100 * density:.3g} % of the steps"
    yield "within a layer", spread
    yield "rare gradients", share
    lost = None if numbers.noise is None else signal_loss(numbers.noise, 0.5)
    yield "signal and noise", _seen(lost, "exponent 0.5 would lose {:.2f} decades of their ratio")
    yield "stable", f"up to exponent {found.highest:.3g} with betas {found.betas}"


def _reason(found: Recommendation) -> str:
    tolerance = f"a factor of {10**found.tolerance:.2g}"
    if not found.decided_by:
        return f"Everything that was seen is within {tolerance} at exponent 0 already."
    spread = "the spread within a layer" if found.numbers.spread == found.numbers.within else "the spread between layers"
    words = {"spread": spread, "density": "how rare some gradients are", "noise": "the loss of signal"}
    decided = f"Decided by {' and '.join(words[each] for each in found.decided_by)}."
    if found.within_tolerance:
        return f"{decided} From this exponent on, updates lie within {tolerance}."
    return f"{decided} No exponent keeps everything within {tolerance}."


def _effect_table(found: Recommendation) -> Iterator[str]:
    """What other exponents would do, in a column for each balance number that was seen."""
    columns = [
        ("decades between updates", [_seen(effect.spread, "{:.2f}") for effect in found.effects]),
        ("speed of the rarest", [_seen(effect.rate, "{:.2g}") for effect in found.effects]),
        ("signal to noise lost", [_seen(effect.loss, "{:.2f} decades") for effect in found.effects]),
    ]
    known = [(title, values) for title, values in columns if set(values) != {NOT_SEEN}]
    yield "  What other exponents would do:"
    yield f"  {'exponent':<8}" + "".join(f"  {title}" for title, _ in known)
    for row, effect in enumerate(found.effects):
        yield f"  {effect.exponent:<8}" + "".join(f"  {values[row]:>{len(title)}}" for title, values in known)


def _update_table(evidence: Evidence, found: Recommendation) -> Iterator[str]:
    lr = "the same learning rate" if evidence.reference != "none" else f"Adam's learning rate x {found.lr_factor:.3g}"
    yield f"  Sizes of updates relative to Adam's, at {lr}:"
    yield f"  {'layer':<32}  {'gradients':>9}  {'updates':>8}  {'80 % of coordinates':>22}"
    shown = sorted(found.updates, key=_largest_change, reverse=True)[:LAYERS]
    for update in (each for each in found.updates if each in shown):
        factor = _seen(update.factor, "x {:.2g}")
        coordinates = NOT_SEEN if update.low is None else f"x {update.low:.2g} to {update.high:.2g}"
        yield f"  {_label(update.layer):<32}  {update.layer.scale:>9.1e}  {factor:>8}  {coordinates:>22}"
    if len(found.updates) > len(shown):
        yield f"  and {len(found.updates) - len(shown)} more that change less (--json has all)"


def _largest_change(update: UpdateSizes) -> float:
    return max((abs(math.log(each)) for each in (update.factor, update.low, update.high) if each is not None), default=0.0)


def _label(layer: LayerGradients) -> str:
    label = f"{_name(layer.name)} {'x'.join(map(str, layer.shape))}"
    return label if len(label) <= 32 else f"…{label[-31:]}"


def _name(layer: str) -> str:
    """A layer's name; where an optimizer was given no names, a checkpoint has the parameter's number."""
    return f"parameter {layer}" if layer.isdigit() else printable(layer)


def _seen(value: float | None, text: str) -> str:
    return NOT_SEEN if value is None else text.format(value)
