"""The files that a tokenizer is read from and written to.

tokenizer.json             all that the Rust library needs: vocabulary, the four steps, added tokens
vocab.txt                  the vocabulary alone, one token a line; the library is then set up to do what BERT's own code did
vocab.json, merges.txt     the same for GPT-2: tokens with their ids, and which two pieces become one, the first ones first
tokenizer_config.json      the settings of the class around the library, and special and added tokens
special_tokens_map.json    special tokens, and
added_tokens.json          added ones, of checkpoints from before tokenizer_config.json held them
config.json                the model's: says which arrays the model takes, if tokenizer_config.json does not
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from npbert.checkpoints.config_files import json_text
from npbert.checkpoints.reading import UNFINISHED, read_json_object
from npbert.checkpoints.writing import FilesTogether, make_directory, text_at, write_text
from npbert.checks import boolean, known, path, unicode_text
from npbert.errors import FileError, InputError, InputTypeError, MissingFileError, shown
from npbert.text import classes
from npbert.text.settings import (
    BERT,
    NORMALIZER_SETTINGS,
    SPECIAL_TOKEN_NAMES,
    TOKEN_SETTINGS,
    TokenizerKind,
    special_token,
    token_list,
)
from npbert.types import StrPath

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

# Entries of a tokenizer_config.json about files and classes, not about how text is cut.
_NOT_SETTINGS = (
    *("tokenizer_class", "vocab_file", "tokenizer_file", "special_tokens_map_file", "added_tokens_decoder", "name_or_path"),
    *("init_inputs", "auto_map", "processor_class", "device_map", "extra_special_tokens"),
)

# What an object of a file may say of an added token, besides its content.
_TOKEN_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


class Source(NamedTuple):
    """All that a tokenizer is made from: one of two files, and what the others say."""

    vocab_file: StrPath | None  # of GPT-2 there are two: this one, and `merges_file`
    tokenizer_file: StrPath | None
    settings: Mapping[str, Any]  # those of the constructor, and others that `save_pretrained` writes back unread
    added_tokens: Mapping[int, AddedToken]
    tokens_of_file_win: bool = False  # the flags that tokenizer.json gives a token count, not those in added_tokens
    is_bare: bool = False  # tokenizer.json and the settings say everything, so BERT's defaults do not count
    name_or_path: str = ""
    merges_file: StrPath | None = None


def read_source(
    path_or_id: StrPath,
    find: Callable[[str], Path | None],
    overrides: Mapping[str, Any],
    kind: TokenizerKind = BERT,
    *,
    tokenizer_file: StrPath | None = None,
) -> Source:
    """Read a checkpoint's files. `find` says where a file of the checkpoint is; `overrides` win over the settings, and
    `tokenizer_file` takes the place of the checkpoint's `tokenizer.json`."""
    config_file = find("tokenizer_config.json")
    named = Path(path_or_id) if os.path.isfile(path_or_id) else None
    vocab_file = merges_file = None
    if tokenizer_file is not None:
        path("tokenizer_file", tokenizer_file)
    elif named is not None and named.suffix == ".txt":
        vocab_file = named
    elif named is not None and named.suffix == ".json" and not named.name.endswith(".index.json"):
        tokenizer_file = named
    else:
        tokenizer_file = find("tokenizer.json")
        found = [find(name) for name in kind.vocab_files] if tokenizer_file is None else []
        if found and None not in found:
            vocab_file, merges_file = (*found, None)[:2]
    if tokenizer_file is None and vocab_file is None:
        files = " and ".join(("tokenizer.json", *kind.vocab_files))
        raise MissingFileError(f"{os.fspath(path_or_id)}: there is no tokenizer: looked for {files}")

    config = {} if config_file is None else read_json_object(config_file)
    with blaming(config_file or path_or_id):
        class_name = classes.class_name(config, find, kind)
        is_bare = tokenizer_file is not None and class_name == classes.BARE
        settings = _settings_of(config, kind)
        added_tokens = _added_tokens_decoder(config.get("added_tokens_decoder", {}))
    lists_added_tokens = "added_tokens_decoder" in config
    if not lists_added_tokens:
        added_tokens = _legacy_tokens(settings, overrides, find("special_tokens_map.json"), find("added_tokens.json"))
    settings.setdefault("model_input_names", classes.input_names(class_name, kind))
    if is_bare:
        settings = {name: value for name, value in settings.items() if name not in NORMALIZER_SETTINGS}
    settings.update(overrides)
    file_wins = tokenizer_file is not None and not lists_added_tokens
    return Source(vocab_file, tokenizer_file, settings, added_tokens, file_wins, is_bare, os.fspath(path_or_id), merges_file)


@contextmanager
def blaming(path: StrPath) -> Iterator[None]:
    """Report a wrong value as an error of the file at `path`, where the value is from."""
    try:
        yield
    except FileError:
        raise
    except (InputError, InputTypeError) as error:
        raise FileError(f"{path}: {error}") from error


# --- tokenizer_config.json and its predecessors -----------------------------------------------------------------------


def _added_token(entry: Any, *, special: bool | None = None) -> AddedToken:
    """The `AddedToken` of an object in JSON: {"content": "[E]", "lstrip": false, ...}."""
    from tokenizers import AddedToken

    if not isinstance(entry, dict) or not isinstance(entry.get("content"), str) or not entry["content"]:
        raise InputTypeError(f"an added token: takes an object with the text 'content', got {shown(entry)}")
    content = unicode_text("content", entry["content"])
    name = f"added token {shown(content)}"
    flags = {flag: value for flag, value in entry.items() if flag not in ("content", "__type")}
    if special is not None:
        flags["special"] = special
    known(name, flags, _TOKEN_FLAGS)
    return AddedToken(content, **{flag: boolean(f"{name}: {flag}", value) for flag, value in flags.items()})


def _text_or_added_token(entry: Any, *, special: bool | None = None) -> Any:
    """A token of a file, which is a text or an object."""
    return _added_token(entry, special=special) if isinstance(entry, dict) else entry


def _list(name: str, value: Any) -> list[Any]:
    """The entries of a list of tokens; None is an empty list."""
    if not isinstance(value, list | None):
        raise InputTypeError(f"{name}: takes a list of tokens, got {shown(value)}")
    return value or []


def _settings_of(config: Mapping[str, Any], kind: TokenizerKind) -> dict[str, Any]:
    """A tokenizer_config.json's settings, with its tokens as `AddedToken` and its older names under their newer ones."""
    settings = {name: value for name, value in config.items() if name not in _NOT_SETTINGS}
    if "max_len" in settings:
        settings.setdefault("model_max_length", settings.pop("max_len"))
    for name in TOKEN_SETTINGS:
        value = settings.get(name)
        if isinstance(value, list):
            settings[name] = [_text_or_added_token(entry) for entry in value]
        elif value is not None:
            settings[name] = _text_or_added_token(value)
    extra = config.get("extra_special_tokens") or {}
    if not isinstance(extra, dict):
        raise InputTypeError(f"extra_special_tokens: takes an object, got {shown(extra)}")
    if extra:
        additional = _list("additional_special_tokens", settings.get("additional_special_tokens"))
        settings["additional_special_tokens"] = [*additional, *map(_text_or_added_token, extra.values())]
    for name, check in kind.settings.items():
        if name in settings:
            settings[name] = check(name, settings[name])
    return settings


def _added_tokens_decoder(entries: Any) -> dict[int, AddedToken]:
    """Id to token, from {"103": {"content": "[MASK]", ...}, ...}."""
    if not isinstance(entries, dict):
        raise InputTypeError(f"added_tokens_decoder: takes an object, got {shown(entries)}")
    decoder = {}
    for number, entry in entries.items():
        if not number.isascii() or not number.isdecimal() or len(number) > 10:
            raise InputError(f"added_tokens_decoder: takes token ids as names, got {shown(number)}")
        decoder[int(number)] = _added_token(entry)
    return decoder


def _legacy_tokens(
    settings: dict[str, Any], overrides: Mapping[str, Any], special_tokens_map: Path | None, added_tokens: Path | None
) -> dict[int, AddedToken]:
    """Special and added tokens of checkpoints from before `tokenizer_config.json` held them: two files of their own.

    Special tokens go into `settings`, and win over those of `tokenizer_config.json`, as in the reference.
    """
    from tokenizers import AddedToken

    if special_tokens_map is not None:
        for name, value in read_json_object(special_tokens_map).items():
            with blaming(special_tokens_map):
                if name in SPECIAL_TOKEN_NAMES and not overrides.get(name):
                    settings[name] = special_token(name, _text_or_added_token(value, special=True))
                elif name == "additional_special_tokens" and not overrides.get(name):
                    earlier = list(settings.get(name) or [])
                    more = [_text_or_added_token(entry, special=True) for entry in _list(name, value)]
                    settings[name] = token_list(name, earlier + [entry for entry in more if entry not in earlier])
    decoder: dict[int, AddedToken] = {}
    if added_tokens is not None:
        specials = {str(settings[name]) for name in SPECIAL_TOKEN_NAMES if settings.get(name) is not None}
        specials.update(str(entry) for entry in settings.get("additional_special_tokens") or [])
        for content, number in read_json_object(added_tokens).items():
            if not content or not isinstance(number, int) or isinstance(number, bool) or number < 0:
                raise FileError(f"{added_tokens}: takes tokens with their ids, got {shown(content)}: {shown(number)}")
            special = content in specials
            with blaming(added_tokens):
                unicode_text("a token", content)
            decoder[number] = AddedToken(content, normalized=not special, special=special)
    return decoder


# --- writing ----------------------------------------------------------------------------------------------------------


def write_files(
    directory: Path,
    backend: Tokenizer,
    settings: Mapping[str, Any],
    special_tokens: Mapping[str, Any],
    kind: TokenizerKind = BERT,
) -> tuple[str, ...]:
    """Write the files that a tokenizer is made from, and return their paths. `special_tokens`: as `AddedToken` or text.

    They belong together. A save that dies while they get their names leaves a `tokenizer_config.json` that nobody can read.
    """
    config = {
        **settings,
        "tokenizer_class": kind.name,
        "extra_special_tokens": {},
        "added_tokens_decoder": {str(number): _flags(entry) for number, entry in backend.get_added_tokens_decoder().items()},
    }
    contents = {
        "tokenizer_config.json": json_text(config),
        "special_tokens_map.json": json_text({name: _token_as_json(value) for name, value in special_tokens.items()}),
        **(_byte_pair_texts(backend) if kind.model == "BPE" else {"vocab.txt": _vocab_text(backend.get_vocab(False))}),
        "tokenizer.json": backend.to_str(pretty=True),
    }
    home = make_directory(directory)
    with FilesTogether() as files:
        for name in reversed(contents):  # tokenizer_config.json, which is read first, is put in place last
            with files.opened(home / name) as file:
                file.write(contents[name].encode())
        if any(text_at(home / name) != text for name, text in contents.items()):
            write_text(home / "tokenizer_config.json", UNFINISHED)
        files.put_in_place()
    return tuple(str(home / name) for name in contents)


def _flags(token: AddedToken) -> dict[str, Any]:
    return {name: getattr(token, name) for name in ("content", "lstrip", "normalized", "rstrip", "single_word", "special")}


def _token_as_json(token: Any) -> Any:
    if isinstance(token, list):
        return [_token_as_json(part) for part in token]
    if isinstance(token, str):
        return token
    return {name: value for name, value in _flags(token).items() if name != "special"}  # every token of this file is special


def _vocab_text(vocab: Mapping[str, int]) -> str:
    """The vocabulary as lines. For an id without a token the last token's line stands: of two equal lines the later counts."""
    by_id = {number: token for token, number in vocab.items()}
    for token in by_id.values():
        if "\n" in token or "\r" in token:
            raise InputError(f"the token {token!r} has a line break in it and cannot stand in a vocab.txt")
    last = max(by_id)
    if last > 4 * len(by_id) + 1000:
        raise InputError(
            f"the vocabulary has {len(by_id)} tokens with ids up to {last}: most lines of a vocab.txt would be gaps"
        )
    return "".join(by_id.get(number, by_id[last]) + "\n" for number in range(last + 1))


def _byte_pair_texts(backend: Tokenizer) -> dict[str, str]:
    """`vocab.json` in the order of the ids, and `merges.txt`."""
    model = json.loads(backend.to_str())["model"]
    vocab = dict(sorted(model["vocab"].items(), key=lambda entry: entry[1]))
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]  # older versions write texts
    return {
        "vocab.json": json.dumps(vocab, ensure_ascii=False) + "\n",
        "merges.txt": "\n".join(["#version: 0.2", *pairs, ""]),
    }
