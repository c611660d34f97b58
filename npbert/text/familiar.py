"""What to use in place of methods that the reference's tokenizers have and npbert's do not."""

from __future__ import annotations

from npbert.errors import MissingAttributeError

_STEPS = "tokenizer.backend_tokenizer has the steps, and `npbert tokenize` shows them"
_TARGETS = "call the tokenizer with the target texts too, and give the model their input_ids as labels"

INSTEAD = {
    **dict.fromkeys(("apply_chat_template", "chat_template"), "there are no templates: write out the conversation as one text"),
    "basic_tokenizer": _STEPS,
    "wordpiece_tokenizer": _STEPS,
    "do_basic_tokenize": _STEPS,
    "prepare_seq2seq_batch": _TARGETS,
    "as_target_tokenizer": _TARGETS,
    "save_vocabulary": "save_pretrained writes the vocabulary among its files",
    "push_to_hub": "save_pretrained writes the files; the hub's own command uploads them",
    "special_tokens_map_extended": "all_special_tokens_extended has the special tokens with their flags",
}


def missing(tokenizer: str, name: str) -> None:
    """Raise the error that says what to use in place of a method of the reference's; nothing where the name is unknown."""
    if name in INSTEAD:
        raise MissingAttributeError(f"{tokenizer} has no {name!r}: {INSTEAD[name]}")
