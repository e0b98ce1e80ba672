"""What ``equipoise check`` prints: the assessment of hyperparameters, for people and for programs."""

from __future__ import annotations

import json
import math
import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equipoise._json import plain
from equipoise._words import listed
from equipoise.theory._assessment import Assessment, Stability, rounded_towards_stability

if TYPE_CHECKING:
    from equipoise.check._sources import Recipe


def report(recipes: Sequence[Recipe], *, name_places: bool, as_json: bool, plot: Path | None, explain: Path | None) -> bool:
    """Assess every one of `recipes`, print the assessments, and draw them if asked to.

    Args:
        recipes: the hyperparameters, each with its place.
        name_places: whether to print where in a file each of them stands.
        as_json: whether to print one JSON object instead of text.
        plot: the file to draw the map to, .html or .png.
        explain: the file to write the page with sliders to, .html.

    Returns:
        Whether all of them are stable.
    """
    results = [(one, one.assessment) for one in recipes]
    worst = max((found.stability for _, found in results), key=list(Stability).index)
    places: dict[Assessment, list[str]] = {}  # many groups of a checkpoint share their values
    for one, found in results:
        places.setdefault(found, []).append(one.where)
    if plot is not None:
        _draw(plot, places)
    if explain is not None:
        from equipoise.check._page import write_explanation

        write_explanation(explain, places)
        print(f"explained: {explain}", file=sys.stderr)
    if as_json:
        entries = [_as_json(one, found) for one, found in results]
        print(json.dumps({"verdict": worst.value, "results": entries}, indent=2, allow_nan=False))
    else:
        print("\n\n".join(_block(found, where if name_places else []) for found, where in places.items()))
    return worst is Stability.STABLE


def _draw(path: Path, places: Mapping[Assessment, Sequence[str]]) -> None:
    from equipoise.check._map import RegionPoint, write_region

    points: list[RegionPoint] = []
    for found, where in places.items():
        number, stages = found.deciding_stage, found.hyperparameters.stages
        label = listed(where, 1) + (f", stage {number} of {len(stages)}" if len(stages) > 1 else "")
        points.append(RegionPoint(label, *stages[number - 1]))
    write_region(path, points)
    print(f"drawn: {path}", file=sys.stderr)


def _as_json(one: Recipe, found: Assessment) -> dict[str, Any]:
    absent = {name: None if math.isnan(value) else value for name, value in found.nearest._asdict().items()}
    numbers: dict[str, Any] = {"verdict": found.stability.value} | asdict(found) | {"nearest": absent}
    numbers["growth"] = found.growth.value
    del numbers["stability"]
    values = numbers.pop("hyperparameters")
    return {"where": one.where, "stable": found.stable} | plain(values | numbers)


def _block(found: Assessment, places: Sequence[str]) -> str:
    """The result for one set of values, at most 80 columns wide unless a name in the file is longer."""
    head = found.stability.value.upper() + (f", {found.growth.value} growth" if found.stability is Stability.UNSTABLE else "")
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        head = f"\033[1;{32 if found.stable else 31}m{head}\033[0m"
    betas, exponents, stages = found.hyperparameters.betas, found.hyperparameters.exponents, len(found.hyperparameters.stages)
    if len(set(found.hyperparameters.stages)) == 1:
        values = f"betas ({_list(betas[0])}), exponent {exponents[0]:g}"
    else:
        values = f"betas {_list(betas)}, exponents {_list(exponents)}"
    lines = [f"{head}: {values}" + (f", {stages} stages" if stages > 1 else "")]
    for text in filter(None, (found.sentence, found.advice)):
        lines += textwrap.wrap(text, 78, initial_indent="  ", subsequent_indent="  ")
    rows = [("" if index else "where", place) for index, place in enumerate(places)]
    if stages > 1:
        rows.append(("deciding stage", f"{found.deciding_stage} of {stages}"))
    if found.stability is not Stability.VANISHING:
        rows.append(("margin", f"{found.margin:+.4g} nats per step (stable above 0)"))
        rows.append(("continuous time", f"{found.continuous_margin:+.4g} (an approximation, not decisive)"))
    if found.stable:
        unit = "" if found.scale_degree == 0 else ", for gradients up to 1"
        rows.append(("worst update", f"{found.max_update:.4g} x learning rate{unit}"))
    else:
        rows.append(("worst update", "without limit"))
        rows.append(("stable, each alone", _remedies(found)))
    return "\n".join([*lines, *(f"  {name:<18}  {text}" for name, text in rows)])


def _remedies(found: Assessment) -> str:
    nearest = rounded_towards_stability(found.nearest)
    kept = [("beta1 <=", nearest.beta1), ("beta2 >=", nearest.beta2), ("exponent <=", nearest.exponent)]
    return ", ".join(f"{name} {value}" for name, value in kept if not math.isnan(value))


def _list(values: Sequence[Any]) -> str:
    return ", ".join(f"({_list(value)})" if isinstance(value, tuple) else f"{value:.6g}" for value in values)  # pyright: ignore
