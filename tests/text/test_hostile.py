"""A tokenizer.json that asks for more than anybody has, files that are none, and what does not fit into the library."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from npbert import FileError, InputError, InputTypeError, MissingFileError, NpbertError
from npbert.text.tokenizer import BertTokenizer, load_vocab

from .vocabularies import vocab_file, write

TEN_TIMES = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}
CHARSMAP = base64.b64encode((4).to_bytes(4, "little") + b"tree" + b"x\0" + b"y" * 100 + b"\0").decode()
FIRST = {"Sequence": {"id": "A", "type_id": 0}}
SPECIAL = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}


def steps(kind: str, *of: Any) -> dict[str, Any]:
    return {"type": "Sequence", kind: list(of)}


def with_sections(directory: Path, **sections: Any) -> Path:
    """A tokenizer.json whose sections are these."""
    file = directory / "tokenizer.json"
    BertTokenizer(vocab_file(directory)).save_pretrained(directory)
    contents = json.loads(file.read_text())
    contents["model"] |= sections.pop("model", {})
    file.write_text(json.dumps(contents | sections))
    return file


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"normalizer": steps("normalizers", *[TEN_TIMES] * 12)}, r"the normalizer may make 1e\+12 characters"),
        ({"normalizer": steps("normalizers", TEN_TIMES, steps("normalizers", TEN_TIMES))}, "the normalizer may make 100 "),
        ({"normalizer": {**TEN_TIMES, "pattern": {"Regex": ""}, "content": "a" * 32}}, "the normalizer may make 33 "),
        ({"normalizer": {**TEN_TIMES, "pattern": {"String": "abc"}, "content": "a" * 99}}, "the normalizer may make 33 "),
        ({"normalizer": steps("normalizers", *[{"type": "ByteLevel"}] * 3)}, "the normalizer may make 64 "),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": CHARSMAP}}, "the normalizer may make 100 "),
        ({"normalizer": steps("normalizers", *[{"type": "Lowercase"}] * 101)}, "the normalizer has 101 steps; 100 are taken"),
        ({"pre_tokenizer": steps("pretokenizers", *[{"type": "ByteLevel"}] * 3)}, "the pre_tokenizer may make 64 "),
        ({"post_processor": {"type": "TemplateProcessing", "single": [FIRST] * 33}}, "the post_processor may make 33 "),
        ({"decoder": steps("decoders", *[TEN_TIMES] * 12)}, r"the decoder may make 1e\+12 "),
        ({"model": {"max_input_chars_per_word": 1001}}, "max_input_chars_per_word takes at most 1000, got 1001"),
    ],
)  # fmt: skip
def test_steps_that_never_end_are_refused_before_the_library_sees_them(
    tmp_path: Path, sections: dict[str, Any], message: str
) -> None:
    file = with_sections(tmp_path, **sections)
    with pytest.raises(FileError, match=message) as caught:
        BertTokenizer(tokenizer_file=file)
    assert str(caught.value).startswith(str(file))


def test_the_steps_of_real_tokenizers_are_taken(tmp_path: Path) -> None:
    quotes = [{"type": "Replace", "pattern": {"String": sign}, "content": '"'} for sign in ("``", "''", "“", "”")]
    blanks = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
    unicode_steps = [{"type": name} for name in ("NFKD", "StripAccents", "Lowercase", "NFKC")]
    frame = {"type": "TemplateProcessing", "single": [SPECIAL, FIRST, SPECIAL], "pair": [FIRST],
             "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [6], "tokens": ["[CLS]"]}}}  # fmt: skip
    file = with_sections(
        tmp_path,
        normalizer=steps("normalizers", *quotes, blanks, *unicode_steps),
        post_processor={**frame, "pair": [*frame["single"], {"Sequence": {"id": "B", "type_id": 1}}]},
        model={"max_input_chars_per_word": 1000},
    )
    assert BertTokenizer(tokenizer_file=file)("Hello  worlds")["input_ids"] == [6, 2, 3, 4, 6]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    for name, kind in (("vocab.txt", "vocab_file"), ("tokenizer.json", "tokenizer_file")):
        os.mkfifo(tmp_path / name)
        with pytest.raises(FileError, match="is a pipe or a device, not a file"):
            BertTokenizer(**{kind: tmp_path / name})
        with pytest.raises(NpbertError):
            BertTokenizer.from_pretrained(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(MissingFileError, match="no such tokenizer file"):
            BertTokenizer(**{kind: tmp_path / name})
        with pytest.raises(FileError, match="is a directory, not a file"):
            BertTokenizer(**{kind: tmp_path})


@pytest.mark.parametrize("path", [5, None, b"x", "a\0b", "", "\ud800", ["x"]])
def test_what_is_no_path_is_named(small: BertTokenizer, path: Any) -> None:
    for use in (BertTokenizer.from_pretrained, small.save_pretrained, load_vocab, lambda x: BertTokenizer(tokenizer_file=x)):
        with pytest.raises((InputError, InputTypeError, MissingFileError)):
            use(path)


@pytest.mark.parametrize("value", [5, "x", 1.5, True, {"content": "x"}])
@pytest.mark.parametrize("file", ["special_tokens_map", "tokenizer_config"])
def test_additional_tokens_are_a_list(tmp_path: Path, file: str, value: Any) -> None:
    for more in ({}, {"extra_special_tokens": {"image": "<x>"}}):
        write(tmp_path, **{file: {"additional_special_tokens": value, **more}})
        with pytest.raises(FileError, match=rf"{file}\.json: (additional_special_tokens: takes a list|extra)"):
            BertTokenizer.from_pretrained(tmp_path)


def test_half_a_character_in_an_unread_setting_is_saved_again(tmp_path: Path) -> None:
    (write(tmp_path) / "tokenizer_config.json").write_text('{"note": "half \\ud800", "n\\udfff": [1]}')
    BertTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path / "again")
    saved = json.loads((tmp_path / "again" / "tokenizer_config.json").read_text())
    assert (saved["note"], saved["n\udfff"]) == ("half \ud800", [1])


def test_rows_are_not_padded_without_end(tmp_path: Path) -> None:
    tok = BertTokenizer(vocab_file(tmp_path), model_max_length=10**9)
    for call in (lambda: tok("a", padding="max_length"), lambda: tok("a", padding="max_length", max_length=10**12),
                 lambda: tok.pad({"input_ids": [[1]]}, padding="max_length")):  # fmt: skip
        with pytest.raises(InputError, match=r"max_length: rows are padded to 1048576 tokens at most, got 10+"):
            call()
    assert len(tok("a", truncation=True, padding=True)["input_ids"]) == 3
