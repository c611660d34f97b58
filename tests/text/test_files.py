"""The files that a tokenizer is read from and written to, whole, old and damaged."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npbert import FileError, InputError, InputTypeError, MissingFileError, NpbertError
from npbert.text.tokenizer import BertTokenizer

from .vocabularies import SMALL, vocab_file, write


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


@pytest.mark.parametrize("name", ["BertJapaneseTokenizer", "RoFormerTokenizerFast"])
@pytest.mark.parametrize("file", ["config", "tokenizer_config"])
@pytest.mark.parametrize("more", [{}, {"model_input_names": ["input_ids", "attention_mask"]}])
def test_a_class_that_gives_other_ids_is_refused(tmp_path: Path, name: str, file: str, more: dict[str, Any]) -> None:
    write(tmp_path, tokenizer_config=more)
    write(tmp_path, **{file: {"tokenizer_class": name, **more}})
    with pytest.raises(FileError, match=f"npbert has no {name.removesuffix('Fast')}: it finds .* words with a dictionary"):
        BertTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("file", ["config", "tokenizer_config"])
def test_a_class_that_nobody_knows_is_warned_about(tmp_path: Path, file: str) -> None:
    write(tmp_path, tokenizer_config={"model_input_names": ["input_ids"]})
    write(tmp_path, **{file: {"tokenizer_class": "Own\x1bTokenizerFast", "model_input_names": ["input_ids"]}})
    with pytest.warns(UserWarning, match=r"a 'Own\\x1bTokenizer', not a BertTokenizer"):
        assert list(BertTokenizer.from_pretrained(tmp_path)("a")) == ["input_ids"]
    write(tmp_path, tokenizer_config={"tokenizer_class": 5})
    with pytest.raises(FileError, match=r"tokenizer_config\.json: tokenizer_class: takes a text, got 5"):
        BertTokenizer.from_pretrained(tmp_path)


def bare(directory: Path, *, lower: bool, **settings: Any) -> Path:
    """A checkpoint of the class PreTrainedTokenizerFast: a tokenizer.json, and settings beside it."""
    tok = BertTokenizer(vocab_file(directory), do_lower_case=lower, tokenize_chinese_chars=False)
    for file in tok.save_pretrained(directory):
        if not file.endswith("tokenizer.json"):
            Path(file).unlink()
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **settings}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return directory


@pytest.mark.parametrize("lower", [True, False])
def test_a_tokenizer_of_no_class_is_what_its_file_says(tmp_path: Path, lower: bool) -> None:
    for unheard in ({}, {"do_lower_case": not lower, "strip_accents": lower, "tokenize_chinese_chars": True}):
        tok = BertTokenizer.from_pretrained(bare(tmp_path, lower=lower, **unheard))
        assert tok.tokenize("Foo a中b") == (["foo", "[UNK]"] if lower else ["Foo", "[UNK]"])
        assert (tok.do_lower_case, tok.strip_accents, tok.tokenize_chinese_chars) == (lower, None, False)
        assert tok.special_tokens_map == {}, "no file names a special token"
        tok.save_pretrained(tmp_path / "again")
        again = BertTokenizer.from_pretrained(tmp_path / "again")
        assert again.special_tokens_map == {}
        assert again("Foo a中b [MASK]").data == tok("Foo a中b [MASK]").data
    own = BertTokenizer.from_pretrained(bare(tmp_path, lower=lower, pad_token="[PAD]"), do_lower_case=not lower)
    assert own.tokenize("Foo") == (["Foo"] if lower else ["foo"]), "what the caller says counts"
    assert own.special_tokens_map == {"pad_token": "[PAD]"}


def test_a_special_token_that_two_files_name_is_one(tmp_path: Path) -> None:
    token = {"content": "<x>", "special": True, "lstrip": True}
    own, earlier = ({"additional_special_tokens": [{**token, "special": special}]} for special in (True, False))
    write(tmp_path, tokenizer_config=own, special_tokens_map=earlier)
    assert BertTokenizer.from_pretrained(tmp_path).additional_special_tokens == ["<x>"]


@pytest.mark.parity
@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize(
    "says",
    [{}, {"tokenizer_class": "PreTrainedTokenizer"}, {"tokenizer_class": "BertTokenizerFast"}, {"tokenizer_class": None},
     {"do_lower_case": True}, {"do_lower_case": False, "unk_token": "[UNK]", "mask_token": "[MASK]"},
     {"tokenizer_class": "BertTokenizer", "strip_accents": True}],
)  # fmt: skip
def test_a_checkpoint_means_the_class_that_the_reference_loads(tmp_path: Path, lower: bool, says: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    directory = bare(tmp_path, lower=lower, **says)
    (directory / "config.json").write_text('{"model_type": "bert"}')
    reference, ours = transformers.AutoTokenizer.from_pretrained(directory), BertTokenizer.from_pretrained(directory)
    for text in ("Foo a中b é", "hello [MASK] [SEP] worlds", "[mask]"):
        assert ours(text)["input_ids"] == reference(text)["input_ids"]
        assert ours.tokenize(text) == reference.tokenize(text)
    assert ours.special_tokens_map == reference.special_tokens_map


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
    with pytest.raises(InputError, match="is, or lies in, a file"):
        tok.save_pretrained(tmp_path / "file")


@pytest.mark.parametrize("renames", range(5))
def test_a_save_that_dies_between_its_renames_is_not_taken_for_a_tokenizer(
    small: BertTokenizer, tmp_path: Path, renames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are two tokenizers' then: the ids of the one beside the settings of the other."""
    small.save_pretrained(tmp_path)
    other = BertTokenizer.from_pretrained(tmp_path, model_max_length=7, additional_special_tokens=["<x>"])
    done = 0

    def replace(source: Path, target: Path, replace: Any = os.replace) -> None:
        nonlocal done
        if done == renames:
            raise KeyboardInterrupt
        done += 1
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        other.save_pretrained(tmp_path)
    monkeypatch.undo()
    if renames == 0:
        assert BertTokenizer.from_pretrained(tmp_path).model_max_length == small.model_max_length
    else:
        with pytest.raises(FileError, match=r"tokenizer_config\.json: is not JSON.*a save into this directory died"):
            BertTokenizer.from_pretrained(tmp_path)
    other.save_pretrained(tmp_path)
    assert BertTokenizer.from_pretrained(tmp_path)("<x>").data == other("<x>").data
    assert len(os.listdir(tmp_path)) == 4


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
