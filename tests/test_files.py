"""What is read from outside is a tree of bounded size, from a regular file of bounded size, or one line that says why not."""

import json
import os
import socket
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise._files import (
    CONFIGURATION_BYTES,
    DEPTH,
    checked_tree,
    open_regular,
    parse_json,
    parse_toml,
    parse_yaml,
    read_regular,
    read_text,
)
from equipoise.errors import UnusableInputError

posix = pytest.mark.skipif(os.name != "posix", reason="has no pipes with names")


def test_a_regular_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with open_regular(path) as file:
        assert file.read() == b"12345"
    with pytest.raises(UnusableInputError, match="file is too large: accepted are files of up to 4 bytes"):
        read_regular(path, 4)


@posix
def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for path, message in [
            (tmp_path / "pipe", "is a pipe, a device or a socket: accepted are regular files"),
            (Path("/dev/zero"), "is a pipe, a device or a socket: accepted are regular files"),
            (tmp_path / "socket", "cannot be read: No such device"),
            (tmp_path, "cannot be read: Is a directory"),
            (tmp_path / "missing", "cannot be read: No such file"),
            (tmp_path / ("x" * 300), "cannot be read: File name too long"),
            (tmp_path / "a\0b", "cannot be read: embedded null byte"),
        ]:
            with pytest.raises(UnusableInputError, match=message):
                read_regular(path, 10)


@posix
def test_a_file_that_says_it_is_empty_and_is_not_is_read_up_to_the_limit():
    with pytest.raises(UnusableInputError, match="too large"):
        read_regular(Path("/proc/self/maps"), 100)


def test_text_is_utf_8_with_or_without_a_byte_order_mark(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbf" + "é".encode())
    assert read_text(path) == "é"
    path.write_bytes(b"ab\xff")
    with pytest.raises(UnusableInputError, match=r"is not UTF-8 text \(byte 2 is 0xff\)"):
        read_text(path)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(TREES)
def test_json_comes_back_as_it_was_written(tree):
    assert parse_json(json.dumps(tree), "file") == tree


def test_toml_and_yaml_come_back_as_plain_values():
    assert parse_toml("a.b = [1, 2.5]\n[c]\nd = 'e'", "file") == {"a": {"b": [1, 2.5]}, "c": {"d": "e"}}
    assert parse_yaml("a: &x {b: [1, 2.5]}\nc: *x", "file") == {"a": {"b": [1, 2.5]}, "c": {"b": [1, 2.5]}}
    assert parse_yaml("!!python/tuple [1, 2]", "file") == [1, 2]
    assert parse_yaml("1\n---\n2", "file") == [1, 2]


ALIASES = "\n".join(["a0: &a0 [1]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30))])
MERGES = "\n".join(["a0: &a0 {x: 1}", *(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, 30))])


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_json, "[" * 100_000, "is nested too deeply: accepted are 100 levels"),
        (parse_json, "1" * 5000, "is not valid JSON: Exceeds the limit"),
        (parse_json, "1" * 400, "holds an integer of more than 300 digits"),
        (parse_json, b"\xff", "is not valid JSON: 'utf-8' codec"),
        (parse_json, "{", "is not valid JSON: Expecting"),
        (parse_toml, "a = " + "[" * 100_000, "is nested too deeply"),
        (parse_toml, "a." * 100_000 + "b = 1", "is nested too deeply"),
        (parse_toml, "[" + "a." * 100_000 + "b]", "is nested too deeply"),
        (parse_toml, "a = 0x" + "f" * 100_000, "holds an integer of more than 300 digits"),
        (parse_toml, "a = " + "1" * 5000, "is not valid TOML: Exceeds the limit"),
        (parse_toml, "a = ", "is not valid TOML: Invalid value"),
        (parse_yaml, "[" * 100_000, "is nested too deeply"),
        (parse_yaml, "- " * 100_000, "is nested too deeply"),
        (parse_yaml, "a: &a [1, *a]", r"contains itself: the alias \*a"),
        (parse_yaml, ALIASES, "unfolds to more than 5,000,000 values"),
        (parse_yaml, MERGES, "unfolds to more than 5,000,000 values"),
        (parse_yaml, "a: 1" + ":59" * 300_000, "holds a number of more than 400 digits"),
        (parse_yaml, "a: 0x" + "f" * 100_000, "holds a number of more than 400 digits"),
        (parse_yaml, "a: !!timestamp noon", "is not valid YAML"),
        (parse_yaml, "a: !!bool perhaps", "is not valid YAML"),
        (parse_yaml, "a: *b", "is not valid YAML: found undefined alias"),
        (parse_yaml, "a: b\0c", "is not valid YAML: unacceptable character"),
    ],
)
def test_what_exceeds_a_limit_or_is_malformed_is_said_in_one_line(parse, text, message):
    tracemalloc.start()
    try:
        with pytest.raises(UnusableInputError, match=message) as refused:
            parse(text, "file")
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()
    assert str(refused.value).startswith("file ")
    assert "\n" not in str(refused.value)


def nested(levels):
    tree = 1
    for _ in range(levels):
        tree = {"a": tree}
    return tree


def test_a_tree_may_have_as_many_levels_as_the_limit_says_and_no_more():
    assert checked_tree(nested(DEPTH), "file") == nested(DEPTH)
    with pytest.raises(UnusableInputError, match="nested too deeply"):
        checked_tree(nested(DEPTH + 1), "file")


def test_what_contains_itself_or_shares_its_parts_too_often_is_refused():
    loop = []
    loop.append(loop)
    shared = [1]
    for _ in range(30):
        shared = [shared] * 10
    with pytest.raises(UnusableInputError, match="nested too deeply"):
        checked_tree(loop, "file")
    with pytest.raises(UnusableInputError, match="unfolds to more than"):
        checked_tree(shared, "file")


def test_a_yaml_file_of_the_largest_size_is_read():
    entry = "key: {betas: [0.9, 0.999]}\n"
    text = "".join(f"{number}{entry}" for number in range(CONFIGURATION_BYTES // (len(entry) + 6)))
    assert len(parse_yaml(text, "file")) > 30_000
