"""The tokenizer's answers are the reference's: known ones, on file, and live.

The file of expected answers comes from the reference; the tests marked `parity` ask it on the spot.
"""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npbert import InputError
from npbert.text.tokenizer import BertTokenizer

from .vocabularies import minilm_directory

GOLDENS = json.loads(
    (Path(__file__).parents[1] / "data" / "expected" / "tokenizer" / "goldens.json").read_text(encoding="utf-8")
)


def lists(encoding: Any) -> dict[str, Any]:
    """What json makes of an encoding: its tuples are lists."""
    answer: dict[str, Any] = json.loads(json.dumps(dict(encoding)))
    return answer


# --- known answers ------------------------------------------------------------------------------------------------------


def test_a_sentence_is_framed_and_numbered(real: BertTokenizer) -> None:
    answer = real("today is not that bad")
    assert answer["input_ids"] == [101, 2651, 2003, 2025, 2008, 2919, 102]
    assert answer["token_type_ids"] == [0] * 7
    assert answer["attention_mask"] == [1] * 7
    assert list(answer) == ["input_ids", "token_type_ids", "attention_mask"]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("albums sold 124443286539 copies", "albums sold 124 ##44 ##32 ##86 ##53 ##9 copies"),
        ("unheard", "un ##heard"),
        ("best-selling", "best - selling"),
        ("bestselling", "best ##sell ##ing"),
        ("asbofwheohwbeif", "as ##bo ##f ##w ##he ##oh ##w ##bei ##f"),
    ],
)
def test_words_are_cut_into_the_longest_pieces(real: BertTokenizer, text: str, tokens: str) -> None:
    assert real.tokenize(text) == tokens.split()


# --- the reference's answers on file --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(GOLDENS["calls"])))
def test_calls_answer_what_the_reference_answers(real: BertTokenizer, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = GOLDENS["calls"][number]
    monkeypatch.setattr(real, "truncation_side", case["truncation_side"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answer = real(*case["arguments"], **case["options"])
    assert lists(answer) == case["answer"]
    assert answer.encodings is not None
    assert [answer.tokens(row) for row in range(len(answer.encodings))] == case["tokens"]
    assert answer.word_ids() == case["word_ids"]
    assert answer.sequence_ids() == case["sequence_ids"]
    assert [real.decode(row.ids, skip_special_tokens=number % 2 == 1) for row in answer.encodings] == case["decoded"]


@pytest.mark.parametrize("case", GOLDENS["settings"])
def test_files_mean_what_they_mean_to_the_reference(tmp_path: Path, case: dict[str, Any]) -> None:
    for name, content in case["files"].items():
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    texts = GOLDENS["texts"]

    def check(tok: BertTokenizer) -> None:
        assert [tok(text)["input_ids"] for text in texts] == case["ids"]
        padded = [dict(tok(text, "a b", padding="max_length", max_length=9, truncation=True)) for text in texts[:2]]
        assert padded == case["padded"]
        assert [tok.decode(row, skip_special_tokens=True) for row in case["ids"]] == case["decoded"]
        assert {name: getattr(tok, name) for name in case["attributes"]} == case["attributes"]
        assert tok.get_added_vocab() == case["added"]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of the texts are longer than model_max_length
        tok = BertTokenizer.from_pretrained(tmp_path)
        check(tok)
        tok.save_pretrained(tmp_path / "saved")
        if "tokenizer.json" not in case["files"]:  # where it is, the library may match added tokens by an older normalizer
            check(BertTokenizer.from_pretrained(tmp_path / "saved"))


@pytest.mark.parametrize("case", GOLDENS["pads"])
def test_pad_answers_what_the_reference_answers(real: BertTokenizer, case: dict[str, Any]) -> None:
    given = copy.deepcopy(case["given"])
    assert dict(real.pad(given, **case["options"])) == case["answer"]
    assert given == case["given"], "pad changed what it was given"


# --- the live reference -----------------------------------------------------------------------------------------------------

# What normalization and the added tokens treat in their own way, among any other characters.
characters = st.one_of(
    st.characters(exclude_categories=["Cs"]),
    st.sampled_from("\0\t\n\r\x1b\x7f\x85\u00ad\u200b\u200d\u2028\u3000\ufffd\u0301ÀéİßẞΣς中語한שم👍🏽\U00020000.-'[]#"),
)
pieces = st.sampled_from(
    [" ", "hello", "Unheard", "best-selling", "[MASK]", "[SEP]", "[sep]", "a" * 101, "it's", "e\u0301", "##s"]
)
texts = st.lists(st.one_of(pieces, characters), max_size=12).map("".join)
options = st.fixed_dictionaries(
    {},
    optional={
        "padding": st.sampled_from([True, False, "longest", "max_length", "do_not_pad"]),
        "truncation": st.sampled_from([True, False, None, "longest_first", "only_first", "only_second", "do_not_truncate"]),
        "max_length": st.one_of(st.none(), st.integers(3, 14)),
        "stride": st.integers(0, 3),
        "pad_to_multiple_of": st.sampled_from([None, 1, 4]),
        "padding_side": st.sampled_from(["left", "right"]),
        "add_special_tokens": st.booleans(),
        "split_special_tokens": st.booleans(),
        "return_overflowing_tokens": st.booleans(),
        "return_offsets_mapping": st.booleans(),
        "return_special_tokens_mask": st.booleans(),
        "return_token_type_ids": st.booleans(),
        "return_attention_mask": st.booleans(),
        "return_length": st.booleans(),
        "return_tensors": st.sampled_from([None, "np"]),
    },
)


@pytest.fixture(scope="module")
def reference() -> Any:
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    return transformers.BertTokenizerFast.from_pretrained(minilm_directory())


@pytest.mark.parity
@settings(max_examples=300)
@given(text=texts)
def test_any_text_has_the_ids_of_the_reference(real: BertTokenizer, reference: Any, text: str) -> None:
    ids = reference(text, verbose=False)["input_ids"]
    assert real(text, verbose=False)["input_ids"] == ids
    for skip in (False, True):
        for clean in (None, False, True):
            assert real.decode(ids, skip, clean) == reference.decode(ids, skip, clean)
    assert real.convert_tokens_to_string(real.tokenize(text)) == reference.convert_tokens_to_string(reference.tokenize(text))


@pytest.mark.parity
@settings(max_examples=300)
@given(rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=3), is_batch=st.booleans(), is_pair=st.booleans(),
       is_split=st.booleans(), options=options)  # fmt: skip
def test_any_call_answers_what_the_reference_answers(
    real: BertTokenizer, reference: Any, rows: Any, is_batch: bool, is_pair: bool, is_split: bool, options: dict[str, Any]
) -> None:
    columns = [[text.split(" ") if is_split else text for text in column] for column in zip(*rows, strict=True)]
    arguments: list[Any] = [column if is_batch else column[0] for column in columns][: 1 + is_pair]
    options = {**options, "is_split_into_words": is_split, "verbose": False}
    refused = refused_there = None
    try:
        answer = real(*arguments, **options)
    except InputError as error:
        refused = str(error)
    try:
        expected = reference(*arguments, **options)
    except BaseException as error:  # the library's PanicException is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        refused_there = error
    if refused is not None and "rows of one length" in refused:  # the reference makes arrays of objects of them
        assert refused_there is not None or len({len(row) for row in expected["input_ids"]}) > 1
        return
    assert (refused is None) == (refused_there is None)
    if refused is not None:
        return
    assert list(answer) == list(expected)
    for name, value in expected.items():
        assert type(answer[name]) is type(value)
        if isinstance(value, np.ndarray):
            assert answer[name].dtype == value.dtype
            np.testing.assert_array_equal(answer[name], value)
        else:
            assert answer[name] == value
    for row, encoding in enumerate(expected.encodings):
        assert answer.tokens(row) == expected.tokens(row)
        assert answer.word_ids(row) == expected.word_ids(row)
        assert answer.sequence_ids(row) == expected.sequence_ids(row)
        for token in range(len(encoding.ids)):
            assert answer.token_to_chars(row, token) == expected.token_to_chars(row, token)
            assert answer.token_to_word(row, token) == expected.token_to_word(row, token)
            assert answer.token_to_sequence(row, token) == expected.token_to_sequence(row, token)
        for place in range(4):
            for sequence in range(1 + is_pair):
                assert answer.char_to_token(row, place, sequence) == expected.char_to_token(row, place, sequence)
                assert answer.char_to_word(row, place, sequence) == expected.char_to_word(row, place, sequence)
                assert answer.word_to_tokens(row, place, sequence) == expected.word_to_tokens(row, place, sequence)


@pytest.mark.parity
@pytest.mark.parametrize("change", ["nothing", "a cased one", "added tokens", "never_split"])
def test_the_reference_loads_what_is_saved(own: BertTokenizer, tmp_path: Path, change: str) -> None:
    transformers = pytest.importorskip("transformers")
    texts = ["Hello, World [MASK] unheard <new>word <New> ÀÉ", "[unused1] is kept, [unused1]x is not", "中文"]
    if change == "a cased one":
        own = BertTokenizer(minilm_directory() / "vocab.txt", do_lower_case=False, strip_accents=True, padding_side="left")
    if change == "added tokens":
        own.add_tokens(["<new>"])
        own.add_special_tokens({"cls_token": "<New>", "additional_special_tokens": ["word"]})
    if change == "never_split":
        own = BertTokenizer(minilm_directory() / "vocab.txt", never_split=["[unused1]"])
    own.save_pretrained(tmp_path)
    for tok in (BertTokenizer.from_pretrained(tmp_path), transformers.BertTokenizerFast.from_pretrained(tmp_path)):
        for text in texts:
            assert tok(text)["input_ids"] == own(text)["input_ids"]
        assert tok.special_tokens_map == own.special_tokens_map
        assert tok.model_max_length == own.model_max_length
        assert tok.padding_side == own.padding_side
        assert tok.get_vocab() == own.get_vocab()
    (tmp_path / "tokenizer.json").unlink()
    ours, theirs = BertTokenizer.from_pretrained(tmp_path), transformers.BertTokenizerFast.from_pretrained(tmp_path)
    for text in texts:
        assert ours(text)["input_ids"] == theirs(text)["input_ids"]


@pytest.mark.parity
def test_the_vocabulary_speaks_as_the_reference(own: BertTokenizer, reference: Any) -> None:
    theirs = copy.deepcopy(reference)
    for tok in (own, theirs):
        tok.bos_token = tok.cls_token
        tok.eos_token_id = 102
        tok.add_tokens(["<a>", "hello"])
        assert tok.add_special_tokens({"mask_token": "<m>", "additional_special_tokens": ["<s>", "<t>"]}) == 3
        tok.add_special_tokens({"additional_special_tokens": ["<t>", "<u>"]}, replace_additional_special_tokens=False)
    for name in ("special_tokens_map", "all_special_tokens", "all_special_ids", "mask_token_id", "bos_token_id", "eos_token",
                 "additional_special_tokens", "additional_special_tokens_ids", "vocab_size", "pad_token_type_id"):  # fmt: skip
        assert getattr(own, name) == getattr(theirs, name), name
    assert len(own) == len(theirs)
    assert own.get_vocab() == theirs.get_vocab()
    assert own.get_added_vocab() == theirs.get_added_vocab()
    assert own.convert_ids_to_tokens([0, 100, 7592], True) == theirs.convert_ids_to_tokens([0, 100, 7592], True)
    assert own.convert_tokens_to_ids(["hello", "nonsense", "<s>"]) == theirs.convert_tokens_to_ids(["hello", "nonsense", "<s>"])
    text = "<a>Hello <s> <T> <t><m> [MASK]"
    ids = theirs(text)["input_ids"]
    assert own(text)["input_ids"] == ids
    assert own.decode(ids, skip_special_tokens=True) == theirs.decode(ids, skip_special_tokens=True)
    assert own.build_inputs_with_special_tokens([5], [6]) == theirs.build_inputs_with_special_tokens([5], [6])
    for pair in (None, [6, 7]):
        ours, expected = own.create_token_type_ids_from_sequences, theirs.create_token_type_ids_from_sequences
        assert ours([5], pair) == expected([5], pair)
    mask = theirs.get_special_tokens_mask(ids, already_has_special_tokens=True)
    assert own.get_special_tokens_mask(ids, already_has_special_tokens=True) == mask
    assert [own.num_special_tokens_to_add(pair) for pair in (False, True)] == [2, 3]
