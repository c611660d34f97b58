"""Tokens and ids, special and added tokens, and ids back to text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npbert import InputError, InputTypeError, NpbertError
from npbert.text.tokenizer import BertTokenizer

from .vocabularies import SMALL, vocab_file

# --- ids ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "kind", "message"),
    [
        (-1, InputError, "token_ids: takes 0 to 4294967295, got -1"),
        ([0, 2**32], InputError, "token_ids: takes 0 to 4294967295, got 4294967296"),
        ([1.5], InputTypeError, r"\[0\]: takes a token id, got 1.5"),
        ("hello", InputTypeError, "list or an array of ids"),
        (np.zeros((2, 2), int), InputError, "batch_decode takes several rows"),
    ],
)
def test_ids_are_those_of_the_vocabulary(small: BertTokenizer, ids: Any, kind: type[NpbertError], message: str) -> None:
    with pytest.raises(kind, match=message):
        small.decode(ids)
    with pytest.raises(kind):
        small.convert_ids_to_tokens(ids)


def test_a_text_leaves_out_the_ids_that_the_vocabulary_lacks(small: BertTokenizer) -> None:
    ids = [2, len(SMALL), 3, 2**32 - 1]
    assert small.decode(ids) == small.decode(ids, skip_special_tokens=True) == "hello world"
    assert small.decode(len(SMALL)) == ""
    with pytest.raises(InputError, match=f"token id {len(SMALL)} is not in the vocabulary, which has {len(SMALL)} tokens"):
        small.convert_ids_to_tokens(ids)


def test_ids_may_be_arrays(small: BertTokenizer) -> None:
    assert small.decode(np.array([2, 3])) == small.decode([2, 3]) == "hello world"
    assert small.decode(np.int64(2)) == small.decode(2) == "hello"
    assert small.convert_ids_to_tokens(np.array([2, 3])) == ["hello", "world"]
    assert small.batch_decode(np.array([[2, 4], [3, 0]]), skip_special_tokens=True) == ["hellos", "world"]


# --- special and added tokens ----------------------------------------------------------------------------------------------


def test_special_tokens_are_attributes(small: BertTokenizer) -> None:
    assert (small.pad_token, small.pad_token_id, small.bos_token, small.bos_token_id) == ("[PAD]", 0, None, None)
    small.bos_token = "hello"
    small.eos_token_id = 3
    assert (small.bos_token_id, small.eos_token) == (2, "world")
    assert small.special_tokens_map["eos_token"] == "world"
    small.mask_token = None
    assert small.mask_token_id is None
    small.sep_token = "nowhere"
    assert small.sep_token_id == small.unk_token_id == 1
    small.pad_token = "nowhere"
    with pytest.raises(InputError, match="padding needs a pad_token of the vocabulary, got 'nowhere'"):
        small("a", padding=True)
    with pytest.raises(InputTypeError, match="cls_token: takes a text or"):
        small.cls_token = 3
    with pytest.raises(InputError, match="cls_token: takes a token, this one is empty"):
        small.cls_token = ""


def test_special_tokens_that_the_vocabulary_lacks_come_after_it(tmp_path: Path) -> None:
    tok = BertTokenizer(vocab_file(tmp_path, ["[UNK]", "a"]))
    assert tok.get_vocab() == {"[UNK]": 0, "a": 1, "[SEP]": 2, "[PAD]": 3, "[CLS]": 4, "[MASK]": 5}
    assert (tok.vocab_size, len(tok)) == (2, 6)
    assert tok("a")["input_ids"] == [4, 1, 2]


def test_ids_to_tokens_is_the_vocabulary_turned_round(small: BertTokenizer) -> None:
    assert list(small.ids_to_tokens.values()) == SMALL
    assert list(small.ids_to_tokens) == list(range(len(SMALL)))
    assert small.vocab == small.get_vocab() == {word: number for number, word in enumerate(SMALL)}


def test_a_vocabulary_with_gaps_takes_no_new_tokens(tmp_path: Path) -> None:
    tok = BertTokenizer(vocab_file(tmp_path, [*SMALL, "hello"]))
    assert tok.convert_tokens_to_ids("hello") == len(SMALL)
    with pytest.raises(InputError, match=r"cannot add \['new'\]: the vocabulary has gaps"):
        tok.add_tokens("new")
    with pytest.raises(InputError, match="token id 2 is not in the vocabulary"):
        tok.convert_ids_to_tokens([2])
    assert tok.decode([2, 3]) == "world"
    tok.save_pretrained(tmp_path / "saved")
    for file in ("tokenizer_file", "vocab_file"):
        path = tmp_path / "saved" / {"tokenizer_file": "tokenizer.json", "vocab_file": "vocab.txt"}[file]
        assert BertTokenizer(**{file: path}).get_vocab() == tok.get_vocab()


@pytest.mark.parametrize(
    ("tokens", "kind"),
    [
        ({"cls": "x"}, InputError),
        ({"cls_token": 3}, InputTypeError),
        ({"pad_token": "x", "additional_special_tokens": "x"}, InputTypeError),
    ],
)
def test_add_special_tokens_takes_known_parts(small: BertTokenizer, tokens: Any, kind: type[NpbertError]) -> None:
    before = small.special_tokens_map
    with pytest.raises(kind):
        small.add_special_tokens(tokens)
    assert small.special_tokens_map == before


def test_additional_special_tokens_are_replaced_or_joined(small: BertTokenizer) -> None:
    assert small.add_special_tokens({"additional_special_tokens": ["<s>", "<t>"]}) == 2
    assert small.add_special_tokens({"additional_special_tokens": ["<t>", "<u>"]}, replace_additional_special_tokens=False) == 1
    assert small.additional_special_tokens == ["<s>", "<t>", "<u>"]
    small.add_special_tokens({"additional_special_tokens": ["<v>"]})
    assert small.additional_special_tokens == ["<v>"]
    ids = small("hello <s> <v>")["input_ids"]
    assert small.convert_ids_to_tokens(ids, skip_special_tokens=True) == ["hello", "<s>"]
    assert small.convert_ids_to_tokens(ids) == ["[CLS]", "hello", "<s>", "<v>", "[SEP]"]
    assert small.convert_tokens_to_ids(["hello", "nonsense"]) == [2, 1]


def test_special_token_masks(small: BertTokenizer) -> None:
    assert small.get_special_tokens_mask([2, 3]) == [1, 0, 0, 1]
    assert small.get_special_tokens_mask([2], [3]) == [1, 0, 1, 0, 1]
    assert small.get_special_tokens_mask([6, 2, 7, 0], already_has_special_tokens=True) == [1, 0, 1, 1]
    assert small.create_token_type_ids_from_sequences([2], [3]) == [0, 0, 0, 1, 1]
    assert small.build_inputs_with_special_tokens([2]) == [6, 2, 7]
