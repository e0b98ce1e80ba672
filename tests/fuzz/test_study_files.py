"""A study file that was changed at random is a study, or is refused with the key and what is accepted."""

from __future__ import annotations

import copy
import tomllib
from typing import Any

import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise._words import printable
from equipoise.errors import UnusableInputError
from equipoise.study._cells import Table
from equipoise.study._spec import read_study
from equipoise.study._task_source import locate_task

HEAD = {
    "name": "widgets",
    "task": "digits",
    "metric": "accuracy",
    "select_by": "validation_accuracy",
    "goal": "maximize",
    "epochs": 5,
    "seeds": 9,
    "tuning_seeds": 2,
}
SEARCHED = {
    **HEAD,
    "points": 4,
    "arm": [
        {"name": "adamw", "optimizer": "adamw", "baseline": True, "search": {"betas.1": {"low": 0.9, "high": 0.999}}},
        {"name": "muon", "optimizer": "muon", "schedule": "cosine", "search": {"warmup": [0.0, 0.1]}},
        {"name": "own", "optimizer": "torch.optim.SGD", "search": {"lr": {"low": 0.01, "high": 1.0}, "momentum": [0.0, 0.9]}},
    ],
}
GRID = {
    **HEAD,
    "select_by": {"metric": "validation_loss", "goal": "minimize"},
    "learning_rates": {"low": 0.001, "high": 0.1, "count": 3},
    "arm": [
        {"name": "adamw", "optimizer": "torch.optim.AdamW", "baseline": True, "weight_decay": 0.01, "betas": [0.9, 0.99]},
        {
            "name": "moving",
            "optimizer": "equipoise.SMES",
            "exponent": 0.25,
            "learning_rates": [0.01, 0.1, 1.0],
            "controller": {"name": "equipoise.balance.HypergradientController", "every": 50},
        },
    ],
}

many = settings(max_examples=max(1_000, settings().max_examples))
"""1,000 files; with the profile "fuzz" as many as that says."""

scalars = (
    st.none().map(lambda _: "")
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.dates()
    | st.sampled_from(
        ["maximise", "adam", "validation_loss", "digit", "cosin", 1e-300, 10**6, 0, -1, "betas.1", "lr", "a.py:f"]
    )
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=5
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a file."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [*([path] if path else []), *(found for key, value in inner for found in places(value, (*path, key)))]


@st.composite
def changed(draw: st.DrawFn) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A file with one value replaced, removed, renamed or added, and where that was."""
    content = copy.deepcopy(draw(st.sampled_from([SEARCHED, GRID])))
    *above, key = path = draw(st.sampled_from(places(content)))
    node: Any = content
    for step in above:
        node = node[step]
    how = draw(st.sampled_from(["replace", "remove", "rename", "add"]))
    if how == "replace":
        node[key] = draw(values)
    elif how == "remove" or not isinstance(node, dict):
        del node[key]
    else:
        misspelled = draw(st.sampled_from([f"{key}s", key[:-1], key.upper(), key[::-1]]) | st.text(max_size=12))
        node[misspelled] = draw(values) if how == "add" else node.pop(key)
        path = (*above, misspelled)
    return tuple(path), content


def attempt(path: Any) -> str:
    """Read a study file and plan its tuning; what it is refused with, or nothing."""
    try:
        study = read_study(path)
        source = locate_task(study.task, path.parent)
    except UnusableInputError as error:
        return str(error)
    if study.tuning_seeds * len(study.points_of(study.arms[0])) < 100:
        assert all(cell.assignment.key and cell.label for cell in Table(study, source).plan_tuning())
    return ""


@many
@given(changed())
def test_a_changed_value_is_accepted_or_named_with_what_is_accepted(tmp_path_factory, change):
    place, content = change
    path = tmp_path_factory.getbasetemp() / "changed.toml"
    path.write_text(tomlkit.dumps(content), encoding="utf-8")
    refused = attempt(path)
    if refused:
        assert any(printable(key) in refused for key in place if isinstance(key, str)), refused
        assert any(word in refused for word in ("must", "accepted", "write", "say ", "keep one", "use ", "put ", "needs")), (
            refused
        )
        assert len(refused) < 2000 + len(str(path))


@many
@given(st.sampled_from([tomlkit.dumps(SEARCHED), tomlkit.dumps(GRID)]), st.data())
def test_a_changed_text_is_accepted_or_refused_in_words(tmp_path_factory, text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    path = tmp_path_factory.getbasetemp() / "text.toml"
    path.write_bytes((text[:start] + data.draw(st.text(max_size=8)) + text[end:]).encode() + data.draw(st.binary(max_size=3)))
    refused = attempt(path)
    assert not refused or refused.startswith((str(path), "task = "))


def test_the_files_that_are_changed_are_studies(tmp_path):
    for content in (SEARCHED, GRID):
        (tmp_path / "study.toml").write_text(tomlkit.dumps(content))
        assert attempt(tmp_path / "study.toml") == ""
        assert tomllib.loads(tomlkit.dumps(content)) == content
