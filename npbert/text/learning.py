"""A tokenizer of the same kind with a vocabulary learned from other texts."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npbert.checks import one_or_more_texts, text_list, unicode_text, whole_number
from npbert.errors import InputError, InputTypeError, shown
from npbert.text.backend import library_errors
from npbert.text.settings import SPECIAL_TOKEN_NAMES

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def learned(
    old: Tokenizer,
    texts: Iterable[Any],
    size: int,
    more_special_tokens: Sequence[str] = (),
    renamed: Mapping[str, str] | None = None,
) -> Tokenizer:
    """The library's tokenizer with another vocabulary of at most `size` tokens, and the same steps around it.

    The special tokens of the old one come first, some of them `renamed`, then `more_special_tokens`. Texts may come in lists of
    texts.
    """
    from tokenizers import Tokenizer, pre_tokenizers, trainers

    whole_number("vocab_size", size, least=1)
    fields = json.loads(old.to_str())
    fields["model"]["vocab"] = {}  # of which nothing is renamed
    fields = _with_names(fields, renamed or {})
    special = [token["content"] for token in fields["added_tokens"] if token["special"]]
    fields["added_tokens"] = []
    fields["model"] |= {"vocab": {}} | ({"merges": []} if fields["model"]["type"] == "BPE" else {})
    processor, fields["post_processor"] = fields["post_processor"], None  # it holds ids, which are not known yet
    with library_errors(InputError, "the tokenizer cannot learn"):
        new = Tokenizer.from_str(json.dumps(fields))
        options: dict[str, Any] = {
            "vocab_size": size,
            "special_tokens": list(dict.fromkeys([*special, *more_special_tokens])),
            "show_progress": False,
        }
        if isinstance(old.pre_tokenizer, pre_tokenizers.ByteLevel):
            options["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()  # so that no text is ever unknown
        trainer: Any = trainers.BpeTrainer if fields["model"]["type"] == "BPE" else trainers.WordPieceTrainer
        batches = (one_or_more_texts("text_iterator", batch) for batch in texts)
        new.train_from_iterator((text for batch in batches for text in batch), trainer(**options))
        return _with_processor(new, processor)


def _with_processor(new: Tokenizer, processor: Any) -> Tokenizer:
    """The tokenizer with the frame that the old one put around texts, by the ids that its tokens have now."""
    from tokenizers import Tokenizer

    for token in (processor or {}).get("special_tokens", {}).values():
        token["ids"] = [new.token_to_id(text) for text in token["tokens"]]
    for name in ("cls", "sep"):  # of a BertProcessing
        if isinstance((processor or {}).get(name), list):
            processor[name][1] = new.token_to_id(processor[name][0])
    fields = json.loads(new.to_str()) | {"post_processor": processor}
    return Tokenizer.from_str(json.dumps(fields))


def _with_names(value: Any, renamed: Mapping[str, str]) -> Any:
    """What a tokenizer's file says, with other texts for some tokens wherever they stand."""
    if isinstance(value, dict):
        return {renamed.get(name, name): _with_names(part, renamed) for name, part in value.items()}
    if isinstance(value, list):
        return [_with_names(part, renamed) for part in value]
    return renamed.get(value, value) if isinstance(value, str) else value


def learn(
    tokenizer: Any,
    text_iterator: Iterable[Any],
    vocab_size: int,
    new_special_tokens: Any = None,
    special_tokens_map: Any = None,
) -> Any:
    """The work behind `tokenizer.train_new_from_iterator`; see there."""
    more = text_list("new_special_tokens", new_special_tokens or [])
    renamed = _checked_names(special_tokens_map or {}, tokenizer.all_special_tokens)
    backend = learned(tokenizer.backend_tokenizer, text_iterator, vocab_size, more, renamed)
    settings = {name: getattr(tokenizer, name) for name in tokenizer.kind.settings}
    settings |= {name: renamed.get(token, token) for name, token in settings.items() if name in SPECIAL_TOKEN_NAMES}
    additional = [renamed.get(token, token) for token in tokenizer.additional_special_tokens]
    settings["additional_special_tokens"] = [*additional, *more]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        backend.save(str(path))
        return type(tokenizer)(tokenizer_file=path, **settings)


def _checked_names(given: Any, special_tokens: Sequence[str]) -> dict[str, str]:
    """Other texts for special tokens, checked."""
    if not isinstance(given, Mapping):
        raise InputTypeError(f"special_tokens_map: takes {{special token: another text}}, got {shown(given)}")
    for token, text in given.items():
        if token not in special_tokens:
            raise InputError(f"special_tokens_map: takes {', '.join(special_tokens)}, got {shown(token)}")
        if not unicode_text(f"special_tokens_map[{token!r}]", text):
            raise InputError(f"special_tokens_map[{token!r}]: takes a token, this one is empty")
    return dict(given)
