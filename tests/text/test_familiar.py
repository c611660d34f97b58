"""What code for the reference asks of a tokenizer, and learning a new vocabulary."""

from __future__ import annotations

import itertools
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


def test_ids_are_framed_cut_and_padded_as_texts_are() -> None:
    tok = cases.tokenizer()
    first, second = "a river and a mill", "the river"
    ids, pair = (tok.encode(text, add_special_tokens=False) for text in (first, second))
    options: list[dict[str, Any]] = [
        {},
        {"add_special_tokens": False},
        {"truncation": "only_first", "max_length": 7},
        {"padding": "max_length", "max_length": 12, "padding_side": "left"},
        {"padding": True, "pad_to_multiple_of": 8},
        {"truncation": True, "max_length": 6, "return_special_tokens_mask": True, "return_token_type_ids": False},
    ]
    for chosen in options:
        assert tok.prepare_for_model(ids, **chosen) == tok(first, **chosen)
        if chosen.get("truncation") is not True and chosen.get("add_special_tokens", True):
            assert tok.prepare_for_model(ids, pair, **chosen) == tok(first, second, **chosen)
    plain = tok.prepare_for_model(ids, pair, add_special_tokens=False, return_length=True)
    assert (plain["input_ids"], set(plain["token_type_ids"]), plain["length"]) == ([*ids, *pair], {0}, len(ids + pair))
    arrays = tok.prepare_for_model(ids, return_tensors="np", prepend_batch_axis=True)
    assert arrays["input_ids"].tolist() == tok([first], return_tensors="np")["input_ids"].tolist()
    assert tok.prepare_for_model(ids, return_tensors="np")["input_ids"].shape == (len(ids) + 2,)
    cut = tok.prepare_for_model(ids, truncation=True, max_length=4, stride=1, return_overflowing_tokens=True)
    assert (cut["overflowing_tokens"], cut["num_truncated_tokens"]) == (ids[1:], len(ids) - 2)


@pytest.mark.parity
@pytest.mark.parametrize("side", ["left", "right"])
def test_parity_of_cutting_ids(side: str) -> None:
    transformers = pytest.importorskip("transformers")
    ours = pickle.loads(pickle.dumps(cases.tokenizer()))
    theirs = transformers.BertTokenizerFast(tokenizer_object=ours.backend_tokenizer)
    ours.truncation_side = theirs.truncation_side = side
    for first, second, number, stride in itertools.product((1, 4, 6), (None, 2, 5), range(1, 6), (0, 2)):
        ids, pair = [*range(10, 10 + first)], None if second is None else [*range(30, 30 + second)]
        for strategy in ("longest_first", "only_first", "only_second"):
            cut = (first if strategy == "only_first" else second or 0) if strategy != "longest_first" else first + (second or 0)
            if number >= cut or (strategy == "longest_first" and number >= cut - 1):
                continue  # too much: an error here, and nothing is cut there
            wanted = theirs.truncate_sequences(ids, pair, number, strategy, stride)
            assert ours.truncate_sequences(ids, pair, number, strategy, stride) == wanted


def test_ids_that_cannot_be_cut() -> None:
    tok = cases.tokenizer()
    for wrong, message in (
        (([5, 6], None, 3), "ids: 3 ids cannot be cut off, there are 2"),
        (([5, 6], [7], 1, "only_second"), "pair_ids: 1 ids cannot be cut off, there are 1"),
        (([5, 6], None, 1, "only_second"), "truncation_strategy: 'only_second' cuts the second text of a pair"),
        (([5, 6], None, -1), "num_tokens_to_remove: takes 0 or more"),
    ):
        with pytest.raises(npbert.InputError, match=message):
            tok.truncate_sequences(*wrong)
    with pytest.raises(npbert.InputError, match="return_overflowing_tokens: of a pair takes"):
        tok.prepare_for_model([5], [6], truncation=True, max_length=9, return_overflowing_tokens=True)
    with pytest.raises(npbert.InputTypeError, match=r"ids\[0\]: takes a token id"):
        tok.prepare_for_model(["a"])


def test_an_empty_text_is_no_token_to_add() -> None:
    tok = pickle.loads(pickle.dumps(cases.tokenizer()))
    assert tok.add_tokens("") == tok.add_tokens([]) == 0
    with pytest.raises(npbert.InputError, match=r"new_tokens\[1\]: takes a token, this one is empty"):
        tok.add_tokens(["a", ""])


def test_special_tokens_are_words_too() -> None:
    tok = cases.tokenizer()
    ids = tok.encode("[MASK][MASK]")
    assert tok.decode(ids, spaces_between_special_tokens=True) == tok.decode(ids) == "[CLS] [MASK] [MASK] [SEP]"
    assert tok.batch_decode([ids], spaces_between_special_tokens=True) == [tok.decode(ids)]
    with pytest.raises(npbert.InputError, match="spaces_between_special_tokens: takes True, got False"):
        tok.decode(ids, spaces_between_special_tokens=False)


def test_what_the_reference_s_tokenizers_have_says_what_to_use() -> None:
    with pytest.raises(AttributeError, match=r"BertTokenizer has no 'apply_chat_template': there are no templates"):
        cases.tokenizer().apply_chat_template([{"role": "user", "content": "a"}])
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
