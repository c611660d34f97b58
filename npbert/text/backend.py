"""The Rust library's tokenizer: made from a file, set up as BERT cuts text, and checked before the first text comes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from npbert.checkpoints.reading import read_json_object
from npbert.errors import FileError, InputError, NpbertError, shown
from npbert.text.hostile import check_regular, check_tokenizer_json
from npbert.text.settings import BERT, TokenizerKind
from npbert.types import StrPath

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@contextmanager
def library_errors(kind: type[NpbertError], what: str) -> Iterator[None]:
    """Turn what the Rust library throws into `kind`.

    It raises a bare `Exception` for most things. For a failed assertion it raises a `PanicException`, which is not an
    `Exception` and cannot be imported: only its name tells. Ctrl-C and the like pass.
    """
    try:
        yield
    except NpbertError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise kind(f"{what}: {error}") from error


# --- from a file ------------------------------------------------------------------------------------------------------


def from_tokenizer_json(path: StrPath, kind: TokenizerKind = BERT) -> Tokenizer:
    """The library's tokenizer, as the file has it."""
    backend = _read_tokenizer_json(path)
    if type(backend.model).__name__ != kind.model:
        raise FileError(f"{path}: {kind.name} takes a {kind.model} model, got {type(backend.model).__name__}")
    return backend


def model_in(path: StrPath) -> str:
    """How the tokenizer in a `tokenizer.json` cuts words: "WordPiece", "BPE", ..."""
    return type(_read_tokenizer_json(path).model).__name__


def _read_tokenizer_json(path: StrPath) -> Tokenizer:
    from tokenizers import Tokenizer

    check_regular(path)
    check_tokenizer_json(path)
    with library_errors(FileError, f"{path}: not a tokenizer.json"):
        return Tokenizer.from_file(os.fspath(path))


def load_vocab(path: StrPath) -> dict[str, int]:
    """Read a `vocab.txt`: one token a line, UTF-8, the line's number (from 0) is the token's id.

    A token on two lines has the later line's id, and no token has the earlier id, as in the reference.
    """
    check_regular(path)
    try:
        with open(path, encoding="utf-8") as file:
            return {line.rstrip("\n"): number for number, line in enumerate(file)}
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: a vocabulary is UTF-8 text, one token a line: {error}") from error
    except OSError as error:
        raise FileError(f"{path}: cannot read the vocabulary: {error.strerror}") from error


def from_vocab(path: StrPath, unk_token: str) -> Tokenizer:
    """The library's tokenizer with a vocabulary. It lower-cases, and does not yet frame texts with special tokens."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    vocab = load_vocab(path)
    with library_errors(FileError, f"{path}: not a WordPiece vocabulary"):
        backend = Tokenizer(models.WordPiece(vocab, unk_token=unk_token))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return backend


def from_byte_pairs(vocab_file: StrPath, merges_file: StrPath) -> Tokenizer:
    """The library's tokenizer with GPT-2's vocabulary and merges: each text is bytes, and often seen neighbours become one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    vocab = read_json_object(vocab_file)
    check_regular(merges_file)
    try:
        lines = Path(merges_file).read_text("utf-8").split("\n")[1:-1]  # the first line says which version, the last is empty
    except UnicodeDecodeError as error:
        raise FileError(f"{merges_file}: merges are UTF-8 text, two pieces a line: {error}") from error
    except OSError as error:
        raise FileError(f"{merges_file}: cannot read the merges: {error.strerror}") from error
    merges: list[tuple[str, str]] = []
    for number, line in enumerate(lines, 2):
        pair = line.split()
        if len(pair) != 2:
            raise FileError(f"{merges_file}: line {number} takes two pieces, got {shown(' '.join(pair))}")
        merges.append((pair[0], pair[1]))
    with library_errors(FileError, f"{vocab_file}: not a vocabulary that these merges fit"):
        backend = Tokenizer(models.BPE(vocab, merges, continuing_subword_prefix="", end_of_word_suffix=""))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    return backend


# --- set up -----------------------------------------------------------------------------------------------------------


def normalizer_settings(backend: Tokenizer) -> dict[str, bool | None]:
    """The settings that the normalizer has now; none where it is not BERT's."""
    from tokenizers import normalizers

    has = backend.normalizer
    if not isinstance(has, normalizers.BertNormalizer):
        return {}
    return {
        "do_lower_case": has.lowercase,
        "strip_accents": has.strip_accents,
        "tokenize_chinese_chars": has.handle_chinese_chars,
    }


def set_normalizer(backend: Tokenizer, *, chinese_chars: bool, strip_accents: bool | None, lowercase: bool) -> None:
    """Set three switches of the normalizer; the fourth, a tokenizer.json's `clean_text`, stays."""
    from tokenizers import normalizers

    old = backend.normalizer
    if not isinstance(old, normalizers.BertNormalizer):
        return  # other kinds of normalizer do not have these switches
    switches = (chinese_chars, strip_accents, lowercase)
    if (old.handle_chinese_chars, old.strip_accents, old.lowercase) != switches:
        backend.normalizer = normalizers.BertNormalizer(old.clean_text, *switches)


def set_prefix_space(backend: Tokenizer, add_prefix_space: bool) -> None:
    """Whether a text begins as if a space stood before it, so that its first word is cut like any other."""
    from tokenizers import pre_tokenizers

    old = backend.pre_tokenizer
    if isinstance(old, pre_tokenizers.ByteLevel) and old.add_prefix_space != add_prefix_space:
        old.add_prefix_space = add_prefix_space
        backend.pre_tokenizer = old


def set_beginning(backend: Tokenizer, bos: tuple[str, int]) -> None:
    """Put a token before each text."""
    from tokenizers import processors

    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos[0]}:0 $A:0", pair=f"{bos[0]}:0 $A:0 $B:1", special_tokens=[bos]
    )


def set_frame(backend: Tokenizer, cls: tuple[str, int], sep: tuple[str, int]) -> None:
    """Frame texts: `[CLS] a [SEP]`, and `[CLS] a [SEP] b [SEP]` with token type 1 for the second text."""
    from tokenizers import processors

    backend.post_processor = processors.TemplateProcessing(
        single=[f"{cls[0]}:0", "$A:0", f"{sep[0]}:0"],
        pair=[f"{cls[0]}:0", "$A:0", f"{sep[0]}:0", "$B:1", f"{sep[0]}:1"],
        special_tokens=[cls, sep],
    )


def keep_whole(backend: Tokenizer, words: Iterable[str], file: StrPath) -> None:
    """Do not cut these words of the vocabulary where they stand alone, and keep their case."""
    from tokenizers import AddedToken

    added = {str(token) for token in backend.get_added_tokens_decoder().values()}
    for word in words:
        if backend.token_to_id(word) is None:
            raise InputError(f"never_split: {word!r} is not in the vocabulary {file}, so it has no id; add_tokens adds it")
        if word not in added:
            backend.add_tokens([AddedToken(word, single_word=True, normalized=False)])


# --- checked ----------------------------------------------------------------------------------------------------------


def check_ids(backend: Tokenizer, file: StrPath) -> None:
    """Find faults now that would show at the first unknown word, or as an id that the model does not have."""
    unknown = backend.model.unk_token
    if unknown is not None and backend.model.token_to_id(unknown) is None:
        raise FileError(f"{file}: the vocabulary has no {unknown!r} for unknown words")
    for number, token in backend.get_added_tokens_decoder().items():
        word = backend.model.id_to_token(number)
        if word not in (None, str(token)):
            raise FileError(f"{file}: the id {number} is that of the added token {str(token)!r} and of {word!r}")
    for pair in ((), ("",)):
        with library_errors(FileError, f"{file}: cannot frame a text with special tokens"):
            frame = backend.encode("", *pair)
        framed = [backend.id_to_token(number) for number in frame.ids]
        if framed != frame.tokens:
            raise FileError(f"{file}: texts are framed with {frame.tokens}, but the ids {frame.ids} stand for {framed}")
