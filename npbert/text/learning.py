"""A tokenizer of the same kind with a vocabulary learned from other texts."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npbert.checks import one_or_more_texts, text_list, whole_number
from npbert.errors import InputError
from npbert.text.backend import library_errors

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def learned(old: Tokenizer, texts: Iterable[Any], size: int, more_special_tokens: Sequence[str] = ()) -> Tokenizer:
    """The library's tokenizer with another vocabulary of at most `size` tokens, and the same steps around it.

    The special tokens of the old one come first, then `more_special_tokens`. Texts may come in lists of texts.
    """
    from tokenizers import Tokenizer, pre_tokenizers, trainers

    whole_number("vocab_size", size, least=1)
    fields = json.loads(old.to_str())
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


def learn(tokenizer: Any, text_iterator: Iterable[Any], vocab_size: int, new_special_tokens: Any = None) -> Any:
    """The work behind `tokenizer.train_new_from_iterator`; see there."""
    more = text_list("new_special_tokens", new_special_tokens or [])
    backend = learned(tokenizer.backend_tokenizer, text_iterator, vocab_size, more)
    settings = {name: getattr(tokenizer, name) for name in tokenizer.kind.settings}
    settings["additional_special_tokens"] = [*tokenizer.additional_special_tokens, *more]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        backend.save(str(path))
        return type(tokenizer)(tokenizer_file=path, **settings)
