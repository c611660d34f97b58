"""Text to ids: a call, padding, and what is said of input that does not fit."""

from __future__ import annotations

import copy
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npbert import InputError, InputTypeError, NpbertError
from npbert.text.tokenizer import BertTokenizer

from .vocabularies import SMALL, vocab_file

# --- a call -------------------------------------------------------------------------------------------------------------------


def test_padded_arrays_are_int64_of_one_shape(real: BertTokenizer) -> None:
    answer = real(["a b", "a"], padding=True, return_tensors="np")
    for name in ("input_ids", "token_type_ids", "attention_mask"):
        assert answer[name].dtype == np.int64
        assert answer[name].shape == (2, 4)
    np.testing.assert_array_equal(answer.attention_mask, [[1, 1, 1, 1], [1, 1, 1, 0]])
    assert real("a", return_tensors="np").input_ids.shape == (1, 3)


def test_an_empty_second_text_counts_only_in_a_batch(real: BertTokenizer) -> None:
    assert real("a", "")["input_ids"] == [101, 1037, 102]
    assert real(["a"], [""])["input_ids"] == [[101, 1037, 102, 102]]


def test_overflowing_rows_name_their_text(real: BertTokenizer) -> None:
    answer = real(["a b c d", "a"], max_length=4, truncation=True, stride=1, return_overflowing_tokens=True)
    assert answer["overflow_to_sample_mapping"] == [0, 0, 0, 1]
    assert [real.decode(row, skip_special_tokens=True) for row in answer["input_ids"]] == ["a b", "b c", "c d", "a"]


def test_no_call_changes_the_next_one(real: BertTokenizer) -> None:
    plain = dict(real(["a b c", "a"]))
    real(["a b c", "a"], padding="max_length", truncation=True, max_length=4, split_special_tokens=True)
    with pytest.raises(InputError):
        real("a b c d", truncation="only_second", max_length=4)
    assert dict(real(["a b c", "a"])) == plain
    assert real.backend_tokenizer.padding is None
    assert real.backend_tokenizer.truncation is None


def test_threads_share_a_tokenizer(real: BertTokenizer) -> None:
    choices: list[dict[str, Any]] = [
        {},
        {"padding": True},
        {"padding": "max_length", "max_length": 9},
        {"truncation": True, "max_length": 4},
    ]
    rows = ["a b c d e", "a", "unheard " * 3]
    expected = [dict(real(rows, **options)) for options in choices]
    wrong: list[Any] = []

    def work(number: int) -> None:
        for turn in range(60):
            choice = (turn + number) % len(choices)
            try:
                if dict(real(rows, **choices[choice])) != expected[choice]:
                    wrong.append(choices[choice])
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_encoding_is_a_dictionary_that_knows_its_text(real: BertTokenizer) -> None:
    answer = real("Unheard best-selling", "books")
    assert {**answer} == answer.data
    assert answer.input_ids is answer["input_ids"]
    assert answer.tokens() == ["[CLS]", "un", "##heard", "best", "-", "selling", "[SEP]", "books", "[SEP]"]
    assert answer.char_to_token(2) == 2
    assert answer.char_to_token(0, 0, 1) == 7
    assert answer.token_to_chars(2) == (2, 7)
    assert answer.token_to_chars(0) is None
    assert answer.word_to_tokens(0) == (1, 3)
    assert answer.word_to_chars(1) == (8, 12)
    assert answer.token_to_word(-2) == 0
    answer["labels"] = [1]
    assert answer.pop("labels") == [1]
    assert answer[0].ids == answer["input_ids"]
    assert copy.deepcopy(answer).data == pickle.loads(pickle.dumps(answer)).data == answer.data
    with pytest.raises(AttributeError, match="no attribute or entry 'inputs'"):
        _ = answer.inputs
    with pytest.raises(InputError, match="does not know where its tokens came from"):
        real.pad({"input_ids": [1]}).tokens()


def test_words_of_never_split_stay_whole(tmp_path: Path) -> None:
    words = [*SMALL, "foo-b", "[E]"]
    plain = BertTokenizer(vocab_file(tmp_path, words))
    tok = BertTokenizer(vocab_file(tmp_path, words), never_split=["foo-b", "[E]"])
    assert plain.tokenize("foo-b foo-bc a") == ["foo", "-", "b", "foo", "-", "[UNK]", "a"]
    assert tok.tokenize("foo-b foo-bc a [E]") == ["foo-b", "foo", "-", "[UNK]", "a", "[E]"]
    with pytest.raises(InputError, match="never_split: 'nope' is not in the vocabulary"):
        BertTokenizer(vocab_file(tmp_path, words), never_split=["nope"])


def test_a_cased_vocabulary(tmp_path: Path) -> None:
    tok = BertTokenizer(vocab_file(tmp_path), do_lower_case=False)
    assert tok.tokenize("Foo foo FOO") == ["Foo", "foo", "[UNK]"]
    assert BertTokenizer(vocab_file(tmp_path)).tokenize("Foo foo FOO") == ["foo"] * 3


def test_the_long_text_warning(small: BertTokenizer) -> None:
    small.model_max_length = 3
    with pytest.warns(UserWarning, match="4 tokens, the model takes 3") as caught:
        small("a b")
    assert caught[0].filename == __file__
    small("a b", verbose=False)
    assert small("a b", truncation=True)["input_ids"] == [6, 5, 7]
    with pytest.warns(UserWarning, match="max_length was given without truncation"):
        assert len(small("a b", max_length=3)["input_ids"]) == 3
    with pytest.warns(UserWarning, match="max_length has no effect"):
        small("a b", padding=True, max_length=5)


def test_without_a_maximum_nothing_is_cut_or_padded_but_said(small: BertTokenizer) -> None:
    with pytest.warns(UserWarning, match="not truncating"):
        assert len(small("a b", truncation=True)["input_ids"]) == 4
    with pytest.warns(UserWarning, match="not padding"):
        assert len(small("a b", padding="max_length")["input_ids"]) == 4


# --- unfit input --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "message"),
    [
        ((None,), {}, InputTypeError, "text: takes a text, got None"),
        ((3,), {}, InputTypeError, "text: takes a text, got 3"),
        ((b"a",), {}, InputTypeError, "text: takes a text, got a bytes"),
        ((["a", None],), {}, InputTypeError, r"text\[1\]: takes a text, got None"),
        ((["a", ["b", "c", "a"]],), {}, InputTypeError, r"text\[1\]: .* is_split_into_words=True"),
        (([],), {}, InputError, "text: takes a batch of one text or more, got an empty one"),
        ((["a"], "b"), {}, InputTypeError, "text_pair: takes a list where text is a list"),
        ((["a"], ["b", "a"]), {}, InputError, "text_pair: takes as many texts as text has, 1, got 2"),
        ((["a"], [None]), {}, InputTypeError, r"text_pair\[0\]: takes a text"),
        (("a", 3), {}, InputTypeError, "text_pair: takes a text"),
        (("a",), {"is_split_into_words": True}, InputTypeError, "text: takes a list of words"),
        ((["a", 3],), {"is_split_into_words": True}, InputTypeError, r"text\[1\]: takes a text, got 3"),
        (([["a"], "b"],), {"is_split_into_words": True}, InputTypeError, r"text\[1\]: takes a list of words"),
        (("a\ud800b",), {}, InputError, r"text: holds a lone surrogate, '\\ud800' at index 1"),
        (("a", "\ud800"), {}, InputError, r"text_pair: holds a lone surrogate"),
        ((["a", ("b", "\udfff")],), {}, InputError, r"text\[1\]\[1\]: holds a lone surrogate"),
        ((["a", "\ud800"],), {"is_split_into_words": True}, InputError, r"text\[1\]: holds a lone surrogate"),
        ((["a", "a b"],), {"return_tensors": "np"}, InputError, "rows of one length, those of input_ids have 3 to 4"),
        (("a",), {"return_tensors": "pt"}, InputError, "return_tensors: takes 'np' or None, got 'pt'"),
        (("a",), {"padding": "long"}, InputError, "padding: takes True, False, 'longest', .*, got 'long'"),
        (("a",), {"padding": None}, InputError, "padding: takes True.* got None"),
        (("a",), {"padding": 1}, InputError, "padding: takes True.* got 1"),
        (("a",), {"truncation": "first"}, InputError, "truncation: takes True, .* got 'first'"),
        (("a",), {"truncation": True, "max_length": 1}, InputError, "max_length=1 leaves no room for the 2 special tokens"),
        (("a", "b"), {"truncation": True, "max_length": 2}, InputError, "no room for the 3 special tokens"),
        (("a b c",), {"truncation": "only_second", "max_length": 3}, InputError, "Second sequence not provided"),
        (("a b c d",), {"truncation": True, "max_length": 4, "stride": 3}, InputError, "stride"),
        (("a",), {"max_length": -1}, InputError, "max_length: takes 0 or more, got -1"),
        (("a",), {"max_length": 2.5}, InputTypeError, "max_length: takes a whole number, got 2.5"),
        (("a",), {"stride": -1}, InputError, "stride: takes 0 or more"),
        (("a",), {"pad_to_multiple_of": 0, "padding": True}, InputError, "pad_to_multiple_of: takes 1 to 1048576"),
        (("a",), {"padding": True, "padding_side": "top"}, InputError, "padding_side: takes 'right' or 'left'"),
        (
            ("a",),
            {"padding": True, "truncation": True, "max_length": 5, "pad_to_multiple_of": 4},
            InputError,
            "multiple of pad_to_multiple_of=4, got 5",
        ),
    ],
)  # fmt: skip
def test_unfit_input_is_named(
    small: BertTokenizer, arguments: Any, options: dict[str, Any], kind: type[NpbertError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        small(*arguments, **options)


def test_the_library_may_panic_but_says_so_as_an_error(small: BertTokenizer, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="stride"):
        small("a b a b a b", "a b", truncation="longest_first", max_length=6, stride=2)
    capfd.readouterr()  # the library prints its panic
    assert small("a")["input_ids"] == [6, 5, 7]


# --- pad ----------------------------------------------------------------------------------------------------------------------


def test_pad_leaves_labels_alone_and_makes_arrays_of_arrays(small: BertTokenizer) -> None:
    rows = [{"input_ids": np.array([6, 5, 7]), "label": 1}, {"input_ids": np.array([6, 7]), "label": 0}]
    answer = small.pad(rows)
    np.testing.assert_array_equal(answer["input_ids"], [[6, 5, 7], [6, 7, 0]])
    np.testing.assert_array_equal(answer["attention_mask"], [[1, 1, 1], [1, 1, 0]])
    np.testing.assert_array_equal(answer["label"], [1, 0])
    ragged = {"input_ids": [[6, 7], [6, 5, 7]], "labels": [[1, 1], [1, 1, 1]]}
    assert small.pad(ragged)["labels"] == ragged["labels"]
    with pytest.raises(InputError, match="those of labels have 2 to 3 entries"):
        small.pad(ragged, return_tensors="np")


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ([], InputTypeError, "a dictionary, or a list of dictionaries"),
        ([{"input_ids": [1]}, {"labels": [1]}], InputTypeError, "with the same keys"),
        ({"labels": [1]}, InputError, "takes 'input_ids' among its names, got labels"),
        ({"input_ids": 3}, InputTypeError, "input_ids: takes a list"),
        ({"input_ids": [[1], [2]], "labels": [1]}, InputError, "labels: takes as many rows as input_ids, 2, got 1 rows"),
    ],
)
def test_pad_names_what_does_not_fit(small: BertTokenizer, given: Any, kind: type[NpbertError], message: str) -> None:
    with pytest.raises(kind, match=message):
        small.pad(given)
