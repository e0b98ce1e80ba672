"""A recommendation for people, 80 columns wide, and for programs."""

from __future__ import annotations

import math
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from equipoise.recommend._evidence import Evidence, Layer
from equipoise.recommend._recommendation import Answer, Change
from equipoise.theory._exponent import signal_loss

WIDTH = 80
LAYERS = 12
"""So many are told; the JSON has all."""

RULES = {
    "initial": 'equipoise.SMES, reference "initial" (Adam\'s learning rates)',
    "none": 'equipoise.SMES, reference "none" (learning rates of its own)',
}

MEANING = "This balances the sizes of updates (E7). Which exponent trains best is for a study to say (--write)."


def print_answers(evidence: Evidence, answers: Sequence[Answer]) -> None:
    """Print them on stdout."""
    print(f"RECOMMENDED for {RULES[evidence.reference]}")
    for line in textwrap.wrap(f"from {evidence.source}", WIDTH - 2):
        print(f"  {line}")
    for each in answers:
        print("\n" + "\n".join(_block(evidence, each)))
    print("\n" + textwrap.fill(MEANING, WIDTH))


def as_plain(evidence: Evidence, answers: Sequence[Answer]) -> dict[str, Any]:
    """The same and more, in what JSON knows: null for what was not seen."""
    return _strict(
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
                    "decided_by": each.found.decided_by,
                    "sure": each.sure,
                    "doubts": each.doubts,
                    "betas": evidence.groups[each.group].betas,
                    "learning_rate": evidence.groups[each.group].rate * each.rate_factor,
                    "balance": {
                        **each.balance._asdict(),
                        "tolerance": each.found.tolerance,
                        "within_tolerance": each.found.within_tolerance,
                    },
                    "effects": [effect._asdict() for effect in each.effects],
                    "layers": [_plain_change(change) for change in each.changes],
                }
                for each in answers
            ],
        }
    )


def _plain_change(change: Change) -> dict[str, Any]:
    layer = change.layer
    return {
        "name": layer.name,
        "shape": layer.shape,
        "scale": layer.scale,
        "level": layer.level,
        "density": layer.density,
        "factor": change.factor,
        "factors": (change.low, change.high),
    }


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _strict(entry) for key, entry in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, (list, tuple)):
        return [_strict(entry) for entry in value]  # pyright: ignore[reportUnknownVariableType]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _block(evidence: Evidence, found: Answer) -> Iterator[str]:
    head = f"group {found.group}: exponent {found.exponent:.2f}"
    yield _bold(head)
    balance = found.balance
    rows = [("because", _because(found)), ("how sure", found.sure + (", because" if found.doubts else ""))]
    rows += [("", f"- {doubt}") for doubt in found.doubts]
    since = " since the reference" if evidence.reference != "none" else ""
    if balance.ends:
        rows.append(("between layers", f"{balance.between:.2f} decades{since}, {balance.ends[0]} to {balance.ends[1]}"))
    elif math.isnan(balance.between):
        rows.append(("between layers", "not seen"))
    rows.append(("within a layer", _seen(balance.within, "{:.2f} decades hold 80 % of " + balance.widest)))
    rows.append(("rare gradients", _seen(balance.density, "in {:.2g} of the steps, " + balance.rarest)))
    lost = math.nan if math.isnan(balance.noise) else signal_loss(balance.noise, 0.5)
    rows.append(("signal and noise", _seen(lost, "{:.2f} decades of their ratio are lost from 0 to 1/2")))
    limit = f"exponents up to {found.highest:.3g} with betas {evidence.groups[found.group].betas}"
    rows.append(("stable", limit))
    for name, text in rows:
        lines = textwrap.wrap(text, WIDTH - 20)
        yield f"  {name:<16}  {lines[0]}"
        yield from (f"{'':20}{line}" for line in lines[1:])
    yield ""
    yield "  exponent  decades between updates  rarest move at  signal to noise lost"
    for effect in found.effects:
        spread, rate = _seen(effect.spread, "{:.2f}"), _seen(effect.rate, "{:.2g}")
        yield f"  {effect.exponent:<8}  {spread:>23}  {rate:>14}  {_seen(effect.loss, '{:.2f}'):>20}"
    yield ""
    yield from _changes(evidence, found)


def _because(found: Answer) -> str:
    balance = found.balance
    spread = "coordinates of a layer" if balance.spread == balance.within else "layers"
    words = {"spread": f"how far {spread} lie apart", "density": "how rare some gradients are", "noise": "what noise costs"}
    decided = " and ".join(words[each] for each in found.found.decided_by)
    tolerance = f"a factor of {10**found.found.tolerance:.2g}"
    if not decided:
        return f"all that was seen is within {tolerance} at exponent 0 already"
    if found.found.within_tolerance:
        return f"{decided}: within {tolerance} from here on"
    return f"{decided}: more than {tolerance} whatever the exponent"


def _changes(evidence: Evidence, found: Answer) -> Iterator[str]:
    rate = "the same learning rate" if evidence.reference != "none" else f"its learning rate x {found.rate_factor:.3g}"
    yield f"  Updates against Adam's, at {rate}:"
    yield f"  {'layer':<32}  {'gradients':>9}  {'layer':>7}  {'80 % of its coordinates':>23}"
    shown = sorted(found.changes, key=lambda change: _extent(change), reverse=True)[:LAYERS]
    for change in (each for each in found.changes if each in shown):
        coordinates = f"x {change.low:.2g} to {change.high:.2g}" if not math.isnan(change.low) else "not seen"
        yield (
            f"  {_label(change.layer):<32}  {change.layer.scale:>9.1e}  {_seen(change.factor, 'x {:.2g}'):>7}"
            f"  {coordinates:>23}"
        )
    if len(found.changes) > len(shown):
        yield f"  and {len(found.changes) - len(shown)} more that change less (--json has all)"


def _extent(change: Change) -> float:
    known = [abs(math.log(each)) for each in (change.factor, change.low, change.high) if not math.isnan(each)]
    return max(known, default=0.0)


def _label(layer: Layer) -> str:
    label = f"{layer.name} {'x'.join(map(str, layer.shape))}"
    return label if len(label) <= 32 else f"…{label[-31:]}"


def _seen(value: float, text: str) -> str:
    return "not seen" if math.isnan(value) else text.format(value)


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text
