"""One page that shows why hyperparameters are safe or not, with sliders: the map, the worst gradients, and the flow.

The page computes what it shows, without a network. Its formulas are a second statement of those in ``equipoise.theory``, in
JavaScript; tests hold them to the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from equipoise._files import replace_file
from equipoise._html import render
from equipoise._words import listed
from equipoise.errors import UnusableInputError
from equipoise.theory._assessment import Assessment, Stability
from equipoise.theory._growth import ADVICE, MODERATE_UP_TO


def write_explanation(path: Path, places: Mapping[Assessment, Sequence[str]]) -> None:
    """Write the page as ``.html``: one file, which needs no network.

    The worst of the assessments is shown first; a list offers the others. Where the stages of one differ, the page shows the
    stage that decides, alone.

    Args:
        path: the file to write.
        places: at least one assessment, each with the places where its values stand.

    Raises:
        UnusableInputError: another suffix, or a place that cannot be written to.

    Example:
        >>> import tempfile
        >>> from equipoise.theory import assess
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_explanation(Path(folder) / "page.html", {assess((0.9, 0.999)): ["mine"]})
    """
    if path.suffix.lower() != ".html":
        raise UnusableInputError(f"{path}: an explanation is written as .html, not as {path.suffix or 'a file without suffix'}")
    worst = max(places, key=lambda found: (list(Stability).index(found.stability), -found.margin))
    groups = [_group(found, where, found is worst) for found, where in places.items()]
    advice = {growth.value: text for growth, text in ADVICE.items()}
    grades = {"moderate": MODERATE_UP_TO, "advice": advice}
    replace_file(path, render("equipoise.check", "page.html", groups=groups, grades=grades).encode())


def _group(found: Assessment, where: Sequence[str], first: bool) -> dict[str, Any]:
    place = listed(where, 1)
    stages = found.hyperparameters.stages
    count, decides = len(stages), found.deciding_stage - 1
    origin = f"Opened with the values of: {place}."
    if len(set(stages)) > 1:
        origin += f" Its {count} stages differ; this page shows stage {decides + 1} alone, which decides."
        count = 1
    return {
        "label": f"{place}: {found.stability.value}",
        "origin": origin,
        "first": first,
        "betas": stages[decides][:2],
        "exponent": stages[decides].exponent,
        "stages": count,
    }
