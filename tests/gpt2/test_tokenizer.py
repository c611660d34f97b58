"""GPT-2's tokenizer held against the reference's: on odd texts, from every kind of files, and back to files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npbert import BertTokenizer, FileError, GPT2Tokenizer, GPT2TokenizerFast, InputError, MissingFileError
from npbert.text.auto import load_tokenizer

from ..builders import examples
from ..text.vocabularies import vocab_file
from .checkpoints import TEXTS, write_byte_pairs, write_config

ODD = [
    "",
    " ",
    "  two  spaces ",
    "don't I'll we've they're",
    "a\u0000b\x7f",
    "\u202eabc\ufeff",
    "e\u0301 vs é",
    "🦊👨‍👩‍👧🏽",
    "日本語。中文",
    "<|endoftext|>",
    "a<|endoftext|>b <|endoftext|> c",
    "Ġ ģ",
    "\r\n\t\u3000\u00a0",
    "123456 1,000.5",
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_byte_pairs(tmp_path_factory.mktemp("byte_pairs"))


@pytest.fixture(scope="module")
def own(files: Path) -> GPT2Tokenizer:
    return GPT2Tokenizer(files / "vocab.json", files / "merges.txt")


def test_words_take_their_space_along_and_bytes_are_characters(own: GPT2Tokenizer) -> None:
    assert own.tokenize("a dog ") == ["a", "Ġdog", "Ġ"]
    assert "".join(own.tokenize("é")) == "Ã©"
    assert own.decode(own.encode("日本 🦊 é")) == "日本 🦊 é"
    assert own(TEXTS[0]).keys() == {"input_ids", "attention_mask"}
    assert own.build_inputs_with_special_tokens([1, 2], [3]) == [1, 2, 3]
    assert own.get_special_tokens_mask([1, 2], [3]) == [0, 0, 0]
    assert own.get_special_tokens_mask([0, 2], already_has_special_tokens=True) == [1, 0]
    assert own.num_special_tokens_to_add(pair=True) == 0
    assert own.unk_token == own.bos_token == own.eos_token == "<|endoftext|>"
    assert GPT2TokenizerFast is GPT2Tokenizer
    assert "GPT2Tokenizer" in repr(own)


@pytest.mark.parametrize("text", [*ODD, *TEXTS])
def test_any_text_comes_back(own: GPT2Tokenizer, text: str) -> None:
    assert own.decode(own.encode(text)) == text


def test_padding_takes_a_token(files: Path) -> None:
    tokenizer = GPT2Tokenizer.from_pretrained(files)
    with pytest.raises(InputError, match="pad_token"):
        tokenizer(["a", "a b c"], padding=True)
    tokenizer.pad_token = tokenizer.eos_token
    rows = tokenizer(["a", "a b c"], padding=True, padding_side="left", return_tensors="np")
    assert rows["attention_mask"][0].tolist()[:-1] == [0] * (rows["input_ids"].shape[1] - 1)
    assert rows["input_ids"][0, 0] == tokenizer.eos_token_id


def test_a_list_of_words_needs_the_space(files: Path) -> None:
    with pytest.raises(InputError, match="add_prefix_space=True"):
        GPT2Tokenizer.from_pretrained(files)(["a", "b"], is_split_into_words=True)
    spaced = GPT2Tokenizer.from_pretrained(files, add_prefix_space=True)
    assert spaced(["the", "dog"], is_split_into_words=True)["input_ids"] == spaced("the dog")["input_ids"]


def test_files_that_are_wrong(files: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"vocab\.json"):
        GPT2Tokenizer()
    with pytest.raises(MissingFileError, match=r"vocab\.json and merges\.txt"):
        GPT2Tokenizer.from_pretrained(vocab_file(tmp_path).parent)
    vocabulary, merges = files / "vocab.json", tmp_path / "merges.txt"
    for text, message in (
        ("#version: 0.2\na b c\n", "line 2 takes two pieces"),
        ("#version: 0.2\nqq qq\n", "not a vocabulary"),
    ):
        merges.write_text(text)
        with pytest.raises(FileError, match=message):
            GPT2Tokenizer(vocabulary, merges)
    merges.write_bytes(b"\xff\xff\n")
    with pytest.raises(FileError, match="UTF-8"):
        GPT2Tokenizer(vocabulary, merges)
    with pytest.raises(MissingFileError, match=r"none\.txt: no such tokenizer file"):
        GPT2Tokenizer(vocabulary, tmp_path / "none.txt")
    wrong = tmp_path / "vocab.json"
    wrong.write_text("[1]")
    with pytest.raises(FileError, match=r"vocab\.json"):
        GPT2Tokenizer(wrong, files / "merges.txt")
    BertTokenizer(vocab_file(tmp_path)).save_pretrained(tmp_path)
    with pytest.raises(FileError, match="GPT2Tokenizer takes a BPE model, got WordPiece"):
        GPT2Tokenizer(tokenizer_file=tmp_path / "tokenizer.json")


def test_saved_and_read_again(own: GPT2Tokenizer, tmp_path: Path) -> None:
    written = {Path(path).name for path in own.save_pretrained(tmp_path)}
    assert written == {"vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
    again = GPT2Tokenizer.from_pretrained(tmp_path)
    from_pairs = GPT2Tokenizer(tmp_path / "vocab.json", tmp_path / "merges.txt")
    for text in (*ODD, *TEXTS):
        assert again.encode(text) == from_pairs.encode(text) == own.encode(text)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"] == "GPT2Tokenizer"


def test_which_tokenizer_a_checkpoint_has(files: Path, tmp_path: Path) -> None:
    assert isinstance(load_tokenizer(files), GPT2Tokenizer)
    bert = tmp_path / "bert"
    bert.mkdir()
    vocab_file(bert)
    (bert / "config.json").write_text('{"model_type": "gpt2", "tokenizer_class": "BertTokenizer"}')
    assert isinstance(load_tokenizer(bert), BertTokenizer)
    assert isinstance(load_tokenizer(bert / "vocab.txt"), BertTokenizer)
    saved = tmp_path / "saved"
    GPT2Tokenizer.from_pretrained(files).save_pretrained(saved)
    assert isinstance(load_tokenizer(saved), GPT2Tokenizer)
    (saved / "tokenizer_config.json").unlink()
    assert isinstance(load_tokenizer(saved), GPT2Tokenizer)  # by vocab.json
    for name in ("vocab.json", "special_tokens_map.json"):
        (saved / name).unlink()
    assert isinstance(load_tokenizer(saved), GPT2Tokenizer)  # by what is in tokenizer.json
    own = tmp_path / "own"
    BertTokenizer.from_pretrained(bert).save_pretrained(own)
    for name in ("vocab.txt", "tokenizer_config.json"):
        (own / name).unlink()
    assert isinstance(load_tokenizer(own), BertTokenizer)
    write_config(saved, tokenizer_class="GPT2TokenizerFast")
    assert isinstance(load_tokenizer(saved), GPT2Tokenizer)


# --- the reference --------------------------------------------------------------------------------------------------------


def both(directory: Path, **options: Any) -> tuple[GPT2Tokenizer, Any]:
    import transformers

    return GPT2Tokenizer.from_pretrained(directory, **options), transformers.GPT2TokenizerFast.from_pretrained(
        directory, **options
    )


def assert_same(ours: GPT2Tokenizer, theirs: Any, texts: list[Any]) -> None:
    for text in texts:
        mine = ours(text, return_offsets_mapping=True, verbose=False)
        other = theirs(text, return_offsets_mapping=True, verbose=False)
        assert dict(mine) == dict(other), text
        assert mine.tokens() == other.tokens()
        assert mine.word_ids() == other.word_ids()
        ids = mine["input_ids"]
        for clean in (None, True, False):
            for skip in (True, False):
                assert ours.decode(ids, skip, clean) == theirs.decode(ids, skip, clean)
        assert ours.convert_tokens_to_string(mine.tokens()) == theirs.convert_tokens_to_string(mine.tokens())


CONFIGS: list[dict[str, Any]] = [
    {},
    {"add_prefix_space": True},
    {"add_bos_token": True},
    {"pad_token": "<pad>", "model_max_length": 9, "padding_side": "left"},
    {"clean_up_tokenization_spaces": True, "errors": "replace", "tokenizer_class": "GPT2Tokenizer"},
    {"unk_token": {"__type": "AddedToken", "content": "<|endoftext|>", "lstrip": False, "normalized": True, "rstrip": False}},
    {
        "added_tokens_decoder": {"0": {"content": "<|endoftext|>", "lstrip": True, "special": True}},
        "bos_token": "<|endoftext|>",
    },
]


@pytest.mark.parity
@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("saved", [False, True])
def test_files_mean_what_they_mean_to_the_reference(files: Path, tmp_path: Path, config: dict[str, Any], saved: bool) -> None:
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((files / name).read_bytes())
    write_config(tmp_path, **config)
    ours, theirs = both(tmp_path)
    if saved:  # each reads what the other wrote
        theirs.save_pretrained(tmp_path / "theirs")
        ours.save_pretrained(tmp_path / "ours")
        ours, theirs = GPT2Tokenizer.from_pretrained(tmp_path / "theirs"), both(tmp_path / "ours")[1]
    assert_same(ours, theirs, [*ODD, *TEXTS])
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert ours.model_max_length == theirs.model_max_length
    assert ours.get_vocab() == theirs.get_vocab()
    assert len(ours) == len(theirs)
    assert ours.clean_up_tokenization_spaces == theirs.clean_up_tokenization_spaces
    assert ours.all_special_ids == theirs.all_special_ids
    if ours.pad_token:
        mine, other = ours(TEXTS, padding=True, truncation=True), theirs(TEXTS, padding=True, truncation=True)
        assert dict(mine) == dict(other)


@pytest.mark.parity
@given(text=st.text(max_size=40), second=st.one_of(st.none(), st.text(max_size=20)), space=st.booleans())
@examples(60)
def test_any_text_is_cut_as_the_reference_cuts_it(files: Path, text: str, second: str | None, space: bool) -> None:
    ours, theirs = _cached(files, space)
    if any("\ud800" <= character <= "\udfff" for character in text + (second or "")):
        return
    mine, other = ours(text, second, return_token_type_ids=True), theirs(text, second, return_token_type_ids=True)
    assert dict(mine) == dict(other)
    assert ours.decode(mine["input_ids"]) == theirs.decode(other["input_ids"])


_PAIRS: dict[Any, Any] = {}


def _cached(files: Path, space: bool) -> Any:
    if (files, space) not in _PAIRS:
        _PAIRS[files, space] = both(files, add_prefix_space=space)
    return _PAIRS[files, space]
