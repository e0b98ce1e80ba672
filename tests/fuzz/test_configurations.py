"""Check answers, whatever a configuration file holds."""

import json

import pytest
import tomlkit
import yaml
from hypothesis import given
from hypothesis import strategies as st

from .answers import answered, many

NAMES = st.sampled_from(
    ["betas", "adam_beta1", "adam_beta2", "beta1", "beta2", "exponent", "stages", "k", "optimizer", "x", "\x1b[2J", ""]
)
NUMBERS = st.sampled_from(
    [0.9, 0.999, 0.5, 0.25, 1, 2, 0, -1, 1.0, 1e308, 1e-320, 10**9, 2**63, 10**300, float("nan"), float("inf")]
)
WORDS = st.sampled_from(
    ["auto", "0.9", "(0.9, 0.999)", "9e-1", "equipoise.SMES", "", "\x1b[31m", "\u202e", "0x10", "1" * 400, "nan"]
)
PAIRS = st.sampled_from([[0.9, 0.999], [0.95, 0.7], [[0.9, 0.99], [0.8, 0.9]], [0.9], ["0.9", "0.99"], [0.9, 0.9, 0.9], []])
GOOD = st.sampled_from(
    [
        {"optimizer": {"type": "AdamW", "params": {"lr": 0.001, "betas": [0.9, 0.999]}}},
        {"training": {"adam_beta1": 0.9, "adam_beta2": 0.95}, "seed": 1},
        {
            "arm": [
                {"optimizer": "equipoise.SMES", "betas": [0.9, 0.99], "exponent": 0.25},
                {"beta1": 0.9, "beta2": 0.7, "k": 2},
            ]
        },
    ]
)
TREES = st.recursive(
    NUMBERS | WORDS | PAIRS | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=8,
)
SNIPPETS = st.sampled_from(
    [
        *"[]{}:,-=.#&*!'\"|>%@\\\n\t\0 0",
        *["\ufeff", "&a ", "*a", "<<: *a\n", "&a [*a]", "- - - ", "\n---\n", "\r\n", "null", "~", "é", "\x85", "\u2028"],
        *[
            "!!timestamp ",
            "!!bool ",
            "!!int ",
            "!!float ",
            "!!set ",
            "!!omap ",
            "!!binary ",
            "!!python/tuple ",
            "!!python/name:os.system ",
        ],
        *[
            "1" * 5000,
            "0x" + "f" * 5000,
            "1" + ":59" * 500,
            "1e999",
            "-.inf",
            "2024-13-45",
            "[" * 200,
            "{a: " * 200,
            "a." * 200,
        ],
        *['{"betas": [0.9, 0.9]}', "betas: [0.9, 0.9]\n", "betas = [0.9, 0.9]\n", "[[x]]\n", '"""', "'''"],
    ]
)


@st.composite
def files(draw):
    """The suffix and the bytes of a file that is nearly a configuration: up to three snippets are put into a good one."""
    tree = draw(GOOD) | draw(st.dictionaries(NAMES, TREES, max_size=2))
    suffix, write = draw(
        st.sampled_from([("json", json.dumps), ("toml", tomlkit.dumps), ("yaml", yaml.safe_dump), ("yml", str)])
    )
    text = write(tree)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(SNIPPETS) + text[place + draw(st.integers(0, 5)) :]
    content = text.encode()
    if draw(st.integers(0, 9)) == 0:
        content = content[: draw(st.integers(0, len(content)))] + draw(st.binary(max_size=3)) + content[len(content) // 2 :]
    return suffix, content


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("configurations")


@many
@given(files(), st.booleans())
def test_check_answers_for_every_configuration(place, file, as_json):
    suffix, content = file
    path = place / f"file.{suffix}"
    path.write_bytes(content)
    answered("check", path, *(["--json"] if as_json else []), codes=(0, 1, 2))
