"""What code for the reference asks of a tokenizer, and learning a new vocabulary."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest

import npbert

from ..tasks import cases

TEXTS = ["the river runs by the old mill", "the miller reads by the river", "a mill by a river", "running and reading"] * 5


def test_what_is_known_about_a_tokenizer() -> None:
    tok = cases.tokenizer()
    assert tok.is_fast
    assert tok.max_len_single_sentence == tok.model_max_length - 2
    assert tok.max_len_sentences_pair == tok.model_max_length - 3
    assert tok.init_kwargs["do_lower_case"] is True
    encoded = tok([("one", "two words")])
    assert (encoded.is_fast, encoded.n_sequences, encoded.words()) == (True, 2, encoded.word_ids())
    assert encoded.to("cpu") is encoded
    with pytest.raises(npbert.InputError, match="to: npbert computes on the processor"):
        encoded.to("cuda")


def test_special_tokens_can_be_set() -> None:
    tok = pickle.loads(pickle.dumps(cases.tokenizer()))
    for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"):
        setattr(tok, f"{name}_token", "river")
        assert getattr(tok, f"{name}_token_id") == tok.convert_tokens_to_ids("river")
        setattr(tok, f"{name}_token_id", tok.convert_tokens_to_ids("stone"))
        assert getattr(tok, f"{name}_token") == "stone"
        setattr(tok, f"{name}_token_id", None)
        assert (getattr(tok, f"{name}_token"), getattr(tok, f"{name}_token_id")) == (None, None)
        setattr(tok, f"{name}_token", "[UNK]")
    tok.additional_special_tokens_ids = [tok.convert_tokens_to_ids("river")]
    assert tok.additional_special_tokens == ["river"]
    tok.additional_special_tokens_ids = []
    assert tok.additional_special_tokens == []


def test_the_vocabulary_is_made_once() -> None:
    tok = pickle.loads(pickle.dumps(cases.tokenizer()))
    assert tok.vocab is tok.vocab
    assert tok.ids_to_tokens is tok.ids_to_tokens
    assert tok.vocab == tok.get_vocab()
    assert list(tok.ids_to_tokens) == sorted(tok.vocab.values())
    tok.add_tokens(["zebrafish"])
    assert tok.ids_to_tokens[tok.vocab["zebrafish"]] == "zebrafish"
    with pytest.raises(TypeError):
        tok.vocab["other"] = 5
    assert pickle.loads(pickle.dumps(tok)).vocab == tok.vocab


def test_padding_by_its_older_name() -> None:
    tok = cases.tokenizer()
    assert tok("a river", max_length=9, pad_to_max_length=True) == tok("a river", max_length=9, padding="max_length")
    long = tok("a river and a mill", max_length=5, pad_to_max_length=True)
    assert long == tok("a river and a mill", max_length=5, padding="max_length", truncation=True)
    assert tok(["a river", "a"], pad_to_max_length=True) == tok(["a river", "a"], padding=True)


def test_options_that_choose_between_ways_to_the_same_ids(tmp_path: Any) -> None:
    cases.tokenizer().save_pretrained(tmp_path, legacy_format=True)
    tok = npbert.BertTokenizer.from_pretrained(tmp_path, use_fast=False, from_slow=True, verbose=False)
    assert tok("a river") == cases.tokenizer()("a river")
    assert tok.init_kwargs.keys() >= {"do_lower_case", "unk_token", "model_max_length", "padding_side", "added_tokens_decoder"}


def test_another_file_in_the_place_of_tokenizer_json(tmp_path: Any) -> None:
    tok = cases.tokenizer()
    tok.save_pretrained(tmp_path / "one")
    other = tok.train_new_from_iterator(TEXTS, 80)
    other.backend_tokenizer.save(str(tmp_path / "other.json"))
    made = npbert.BertTokenizer.from_pretrained(tmp_path / "one", tokenizer_file=tmp_path / "other.json")
    assert made.get_vocab() == other.get_vocab()
    assert made.model_max_length == tok.model_max_length
    assert npbert.AutoTokenizer.from_pretrained(pretrained_model_name_or_path=tmp_path / "one").get_vocab() == tok.get_vocab()
    with pytest.raises(npbert.InputTypeError, match="tokenizer_file: takes a path, got 5"):
        npbert.BertTokenizer.from_pretrained(tmp_path / "one", tokenizer_file=5)
    with pytest.raises(FileNotFoundError, match=r"no\.json"):
        npbert.BertTokenizer.from_pretrained(tmp_path / "one", tokenizer_file=tmp_path / "no.json")


def test_special_tokens_with_their_flags() -> None:
    tok = pickle.loads(pickle.dumps(cases.tokenizer()))
    assert [str(token) for token in tok.all_special_tokens_extended] == tok.all_special_tokens
    assert tok.added_tokens_encoder == tok.get_added_vocab()


def test_what_the_reference_s_tokenizers_have_says_what_to_use() -> None:
    with pytest.raises(AttributeError, match=r"BertTokenizer has no 'prepare_for_model': call the tokenizer with the texts"):
        cases.tokenizer().prepare_for_model([5])
    with pytest.raises(AttributeError, match="'BertTokenizer' object has no attribute 'anything'"):
        cases.tokenizer().anything()


def batches() -> Iterator[list[str]]:
    yield TEXTS[:10]
    yield TEXTS[10:]


@pytest.mark.parametrize("texts", [TEXTS, batches()], ids=["texts", "lists"])
def test_a_vocabulary_learned_from_texts(texts: Any) -> None:
    tok = cases.tokenizer()
    new = tok.train_new_from_iterator(texts, 80, new_special_tokens=["[DATE]"])
    assert type(new) is type(tok)
    assert len(new) <= 80
    assert new.special_tokens_map == {**tok.special_tokens_map, "additional_special_tokens": ["[DATE]"]}
    assert new.tokenize("the river [DATE]") == ["the", "river", "[DATE]"]
    ids = new("the river", "a mill")["input_ids"]
    assert [ids[0], ids[-1], ids.count(new.sep_token_id)] == [new.cls_token_id, new.sep_token_id, 2]
    assert new.decode(ids, skip_special_tokens=True) == "the river a mill"
    assert new.model_max_length == tok.model_max_length
    assert "river" in tok.vocab
    assert "[DATE]" not in tok.vocab


def test_special_tokens_get_other_texts() -> None:
    new = cases.tokenizer().train_new_from_iterator(TEXTS, 80, special_tokens_map={"[CLS]": "<s>", "[UNK]": "<unk>"})
    assert (new.cls_token, new.unk_token, new.sep_token) == ("<s>", "<unk>", "[SEP]")
    assert new.cls_token_id == new.vocab["<s>"]
    assert new.convert_ids_to_tokens(new("river \N{SNOWMAN}")["input_ids"]) == ["<s>", "river", "<unk>", "[SEP]"]
    assert not {"[CLS]", "[UNK]"} & new.vocab.keys()
    with pytest.raises(npbert.InputError, match=r"special_tokens_map: takes \[UNK\], .* got 'river'"):
        cases.tokenizer().train_new_from_iterator(TEXTS, 80, special_tokens_map={"river": "x"})


def test_byte_pairs_learned_from_texts(tmp_path: Any) -> None:
    import json

    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    (tmp_path / "vocab.json").write_text(json.dumps({x: n for n, x in enumerate([*letters, "<|endoftext|>"])}), "utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\n", "utf-8")
    tok = npbert.AutoTokenizer.from_pretrained(tmp_path, use_fast=True)
    assert isinstance(tok, npbert.GPT2Tokenizer)
    assert len(tok("river")["input_ids"]) == 5
    new = tok.train_new_from_iterator(TEXTS, 300)
    assert len(new("the river")["input_ids"]) == 2
    assert new.eos_token_id == 0
    assert new.decode(new("any thing ü")["input_ids"]) == "any thing ü"


def test_what_learning_refuses() -> None:
    with pytest.raises(npbert.InputTypeError, match="vocab_size: takes a whole number"):
        cases.tokenizer().train_new_from_iterator(TEXTS, "80")
    with pytest.raises(npbert.InputTypeError, match="text_iterator"):
        cases.tokenizer().train_new_from_iterator([5], 80)
