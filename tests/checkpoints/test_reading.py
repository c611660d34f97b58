"""Strict JSON."""

import pytest

from npbert.checkpoints.reading import read_json_object
from npbert.errors import FileError, MissingFileError


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", '"x"', "null", "{", '{"a": 1, "a": 2}', '{"a": NaN}', "[" * 100_000, '{"a":' * 100_000, "\xff", "{}x"],
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
