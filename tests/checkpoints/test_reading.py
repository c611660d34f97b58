"""Strict JSON."""

import json
import time

import pytest

from npbert.checkpoints import limits
from npbert.checkpoints.reading import read_json_object
from npbert.errors import FileError, MissingFileError


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        '{"a": 1e999}',
        '{"a": -1e999}',
        '"x"',
        "null",
        "{",
        '{"a": 1, "a": 2}',
        '{"a": NaN}',
        "[" * 100_000,
        '{"a":' * 100_000,
        "\xff",
        "{}x",
    ],
)
def test_what_is_no_json_object_is_refused(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(FileError) as caught:
        read_json_object(path)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < 1000


def test_huge_json_is_refused_unread(tmp_path):
    path = tmp_path / "config.json"
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(FileError, match="at most"):
        read_json_object(path)


def test_json_objects(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"hidden_size": 8, "ü": [1.5, null]}', encoding="utf-8")
    assert read_json_object(path) == {"hidden_size": 8, "ü": [1.5, None]}
    with pytest.raises(MissingFileError):
        read_json_object(tmp_path / "other.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": [' + "[]," * 1_300_000 + "[]]}", "more than 100000 lists and objects"),
        ('{"a": [' + "{}," * 1_300_000 + "{}]}", "more than 100000 lists and objects"),
        ('{"a": [' + "1," * 2_000_000 + "1]}", "300000 values"),
        ('{"a": ' + "[" * 100 + "]" * 100 + "}", "nested too deeply"),
        ('{"a": "' + '\\"' * 2_000_000, "not JSON"),
        ('{"a": ' + '"' * 4_000_000, "not JSON"),
        ('{"a": ' + "9" * 4_000_000 + "}", "integer of 4000000 digits"),
    ],
)
def test_what_would_become_too_many_values_is_refused_before_it_does(tmp_path, text, words):
    path = tmp_path / "config.json"
    path.write_text(text)
    began = time.perf_counter()
    with pytest.raises(FileError, match=words):
        read_json_object(path)
    assert time.perf_counter() - began < 4


def test_brackets_in_texts_do_not_count(tmp_path):
    path = tmp_path / "config.json"
    value = {"[" * 200: "{" * (limits.MAX_JSON_CONTAINERS + 1), '\\"[': '"' * 300 + "[" * 200, "a": [[[1, 2]]] * 30_000}
    path.write_text(json.dumps(value))
    assert read_json_object(path) == value
