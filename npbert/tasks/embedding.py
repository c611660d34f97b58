"""A text as a vector: hidden states, and sentence embeddings pooled from them as the checkpoint asks.

Sentence embeddings: Reimers & Gurevych 2019, "Sentence-BERT". Their checkpoints say in small files beside the weights how the
hidden states become one vector; see `read_pooling`.
"""

from __future__ import annotations

import dataclasses
import os
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npbert.errors import FileError, InputError, InputTypeError
from npbert.models.base import PreTrainedModel
from npbert.models.bert import BertModel
from npbert.tasks.batches import Batch, Item, Row, answer_all, check_text, encode_texts, longest_row
from npbert.types import Array

if TYPE_CHECKING:
    from collections.abc import Iterable

    from npbert.text.tokenizer import BertTokenizer

POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len")
TINY = 1e-12  # what a length is at least when a vector is divided by it


@dataclasses.dataclass(frozen=True)
class Pooling:
    """How hidden states become one vector.

    - `modes`: "cls" (the first token's), "max", "mean", "mean_sqrt_len" (the sum divided by the root of the length); of
      several, the vectors are joined in the order given.
    - `normalize`: divide the vector by its length.
    - `max_seq_length`: how many tokens of a text are read; None: as many as the model takes.
    - `lower_case`: whether the text is put in lower case first, whatever the tokenizer does.
    - `prompt`: what stands before every text.
    """

    modes: tuple[str, ...] = ("mean",)
    normalize: bool = False
    max_seq_length: int | None = None
    lower_case: bool = False
    prompt: str = ""

    def __post_init__(self) -> None:
        if not self.modes or any(mode not in POOLING_MODES for mode in self.modes):
            raise InputError(f"pooling: modes are some of {', '.join(POOLING_MODES)}, got {list(self.modes)}")
        if self.max_seq_length is not None and self.max_seq_length < 1:
            raise InputError(f"pooling: max_seq_length takes 1 or more, got {self.max_seq_length}")


# What a checkpoint's 1_Pooling/config.json may ask for, in the order in which the vectors are joined.
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def read_pooling(path_or_id: str | os.PathLike[str], **where: Any) -> Pooling:
    """The pooling that a checkpoint's sentence-transformers files ask for; mean pooling where there are none.

    - `modules.json` lists the steps: a transformer, a pooling, perhaps a normalization,
    - the pooling's own `config.json` (in `1_Pooling/`) says the modes, as a name or as one switch each,
    - `sentence_bert_config.json` has `max_seq_length` and `do_lower_case`,
    - `config_sentence_transformers.json` may name a prompt that stands before every text.

    `where` is for the hub: revision, cache_dir, token, local_files_only. What the files ask for and npbert does not do is an
    error that names it.
    """
    from npbert.checkpoints.hub import find_file
    from npbert.checkpoints.reading import read_json

    def read(filename: str) -> tuple[str, Any]:
        path = find_file(path_or_id, filename, **where)
        return (filename, None) if path is None else (str(path), read_json(path))

    path, modules = read("modules.json")
    if modules is None:
        return Pooling()
    if not isinstance(modules, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("type"), str) for entry in modules
    ):
        raise FileError(f"{path}: takes a list of modules, each with its type")
    kinds = [entry["type"].rsplit(".", 1)[-1] for entry in modules]
    if kinds not in (["Transformer"], ["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise FileError(f"{path}: takes the modules Transformer, Pooling and Normalize, in this order, got {', '.join(kinds)}")

    settings: dict[str, Any] = {"normalize": "Normalize" in kinds}
    include_prompt = True
    if "Pooling" in kinds:
        folder = str(modules[1].get("path") or "1_Pooling")
        path, fields = read(f"{folder}/config.json")
        if not isinstance(fields, dict):
            raise FileError(f"{path}: the modules name a pooling, but its configuration is not there")
        settings["modes"] = _modes(path, fields)
        include_prompt = fields.get("include_prompt", True)
    # Older checkpoints keep the transformer, and what is said about it, in a folder of its own.
    folder = str(modules[0].get("path") or "")
    path, fields = read(f"{folder}/sentence_bert_config.json" if folder else "sentence_bert_config.json")
    if isinstance(fields, dict):
        length = fields.get("max_seq_length")
        if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 1):
            raise FileError(f"{path}: max_seq_length takes a whole number, got {length!r}")
        settings |= {"max_seq_length": length, "lower_case": bool(fields.get("do_lower_case"))}
    path, fields = read("config_sentence_transformers.json")
    if isinstance(fields, dict) and fields.get("default_prompt_name") is not None:
        prompt = (fields.get("prompts") or {}).get(fields["default_prompt_name"])
        if not isinstance(prompt, str):
            raise FileError(f"{path}: there is no prompt {fields['default_prompt_name']!r}")
        if prompt and not include_prompt:
            raise FileError(f"{path}: asks for a prompt that the pooling leaves out (include_prompt), which npbert does not do")
        settings["prompt"] = prompt
    return Pooling(**settings)


def _modes(path: str, fields: Mapping[str, Any]) -> tuple[str, ...]:
    named = fields.get("pooling_mode")
    if named is None:
        modes = [mode for flag, mode in _FLAGS.items() if fields.get(flag)] or ["mean"]
    else:
        modes = [named] if isinstance(named, str) else list(named)
    modes = ["mean_sqrt_len" if mode == "mean_sqrt_len_tokens" else mode for mode in modes]
    for mode in modes:
        if mode not in POOLING_MODES:
            raise FileError(f"{path}: asks for the pooling {mode!r}; npbert has {', '.join(POOLING_MODES)}")
    return tuple(modes)


def pool(hidden: Array, mask: Array, pooling: Pooling) -> Array:
    """Hidden states `[B, S, D]` and a mask `[B, S]` of ones (tokens) and zeros (padding) to vectors `[B, modes*D]`."""
    weights = mask[:, :, None].astype(hidden.dtype)  # [B, S, 1]
    count = np.maximum(weights.sum(axis=1), TINY)  # [B, 1]

    def pooled(mode: str) -> Array:
        if mode == "cls":
            return hidden[:, 0]  # [B, D]
        if mode == "max":
            return np.where(weights > 0, hidden, -np.inf).max(axis=1)  # [B, D]
        total = (hidden * weights).sum(axis=1)  # [B, D]
        return total / (count if mode == "mean" else np.sqrt(count))

    vectors = np.concatenate([pooled(mode) for mode in pooling.modes], axis=1)  # [B, modes*D]
    return unit(vectors) if pooling.normalize else vectors


def unit(vectors: Array) -> Array:
    """Vectors `[..., D]` divided by their lengths; one of length zero stays as it is."""
    lengths = np.sqrt(np.square(vectors).sum(axis=-1, keepdims=True))  # [..., 1]
    return vectors / np.maximum(lengths, TINY)


_poolings: weakref.WeakKeyDictionary[PreTrainedModel, tuple[str, Pooling]] = weakref.WeakKeyDictionary()


def pooling_of(model: PreTrainedModel, **where: Any) -> Pooling:
    """The pooling of the checkpoint that the model was loaded from; mean pooling for a model that came from none.

    Read once for each model, because on the hub every question after a file that may not exist takes a moment. `where` is for
    the hub, as in `read_pooling`.
    """
    path = str(getattr(model, "name_or_path", "") or "")
    if not path:
        return Pooling()
    known = _poolings.get(model)
    if known is None or known[0] != path:
        known = _poolings[model] = (path, read_pooling(path, **where))
    return known[1]


def base_of(model: PreTrainedModel) -> BertModel:
    """The base of a model with a head: the same arrays, and no time spent on logits."""
    if isinstance(model, BertModel):
        return model
    if not isinstance(model, PreTrainedModel) or not model.base_model_prefix:
        raise InputTypeError(f"model: takes a BertModel, or a model with a head on one, got {type(model).__name__}")
    prefix = f"{model.base_model_prefix}."
    weights = {name.removeprefix(prefix): array for name, array in model.state_dict().items() if name.startswith(prefix)}
    weights = {name: array for name, array in weights.items() if not name.startswith("pooler.")}
    return BertModel(model.config, weights, add_pooling_layer=False)


def embed(
    model: PreTrainedModel,
    tokenizer: BertTokenizer,
    inputs: str | Sequence[str] | Iterable[str],
    *,
    pooling: Pooling | None = None,
    batch_size: int | None = None,
) -> Any:
    """Sentence embeddings: `[D]` for a string, `[texts, D]` for a list, an iterator of `[D]` for an iterator of strings.

    `pooling` None pools as the files of the model's checkpoint ask, see `read_pooling`. Only the beginning of a text counts:
    `pooling.max_seq_length` tokens, or as many as the model takes.
    """
    pooling = pooling_of(model) if pooling is None else pooling
    if not isinstance(pooling, Pooling):
        raise InputTypeError(f"pooling: takes a Pooling, got {type(pooling).__name__}")
    base = base_of(model)
    longest = longest_row(base, tokenizer)
    if pooling.max_seq_length is not None:
        # The checkpoint's own length stands for the tokenizer's, but no model reads past its positions.
        longest = min(pooling.max_seq_length, base.config.max_position_embeddings)
    encode_ready = encode_texts(base, tokenizer, {"truncation": True, "max_length": longest})

    def encode(items: Sequence[Item]) -> list[list[Row]]:
        texts = [pooling.prompt + check_text(*item) for item in items]
        texts = [text.lower() for text in texts] if pooling.lower_case else texts
        return encode_ready([Item(item.name, text) for item, text in zip(items, texts, strict=True)])

    def read(out: Any, batch: Batch) -> list[Array]:
        return list(pool(out.last_hidden_state, batch.arguments["attention_mask"], pooling))

    answer = answer_all(
        base,
        tokenizer,
        inputs,
        is_one=isinstance(inputs, str),
        encode=encode,
        read=read,
        finish=lambda item, rows, vectors: vectors[0],
        batch_size=batch_size,
    )
    if not isinstance(answer, list):
        return answer
    width = len(pooling.modes) * base.config.hidden_size
    return np.stack(answer) if answer else np.zeros((0, width), base.dtype)  # [texts, D]


def similarity(
    model: PreTrainedModel,
    tokenizer: BertTokenizer,
    first: str | Sequence[str],
    second: str | Sequence[str] | None = None,
    *,
    pooling: Pooling | None = None,
    batch_size: int | None = None,
) -> Any:
    """How alike texts are: the cosine between their embeddings, -1 to 1.

    Two lists give `[first, second]`; a string in place of a list takes its axis away, so two strings give one number.
    Without `second` every text of `first` is held against every text of `first`.
    """
    left = _texts("first", first)
    right = left if second is None else _texts("second", second)
    place = {text: number for number, text in enumerate(dict.fromkeys([*left, *right]))}  # no text is embedded twice
    vectors = unit(embed(model, tokenizer, list(place), pooling=pooling, batch_size=batch_size))  # [texts, D]
    rows, columns = ([place[text] for text in texts] for texts in (left, right))
    cosines = np.clip(vectors[rows] @ vectors[columns].T, -1, 1)  # [first, second]
    if isinstance(second, str):
        cosines = cosines[:, 0]
    return cosines[0] if isinstance(first, str) else cosines


def _texts(name: str, value: object) -> list[str]:
    if isinstance(value, str):
        return [check_text(name, value)]
    if not isinstance(value, list | tuple):
        raise InputTypeError(f"{name}: takes a string or a list of strings, got {type(value).__name__}")
    return [check_text(f"{name}[{number}]", text) for number, text in enumerate(value)]


def feature_extraction(
    model: PreTrainedModel,
    tokenizer: BertTokenizer,
    inputs: str | Sequence[str] | Iterable[str],
    *,
    truncation: bool | str | None = None,
    tokenize_kwargs: Mapping[str, Any] | None = None,
    return_tensors: bool = False,
    batch_size: int | None = None,
) -> Any:
    """The last hidden states of the base model: for each text nested lists `[1][S][D]`, or with `return_tensors` an array."""
    options = dict(tokenize_kwargs or {})
    if truncation is not None:
        if "truncation" in options:
            raise InputError("truncation: is given twice, as an argument and in tokenize_kwargs")
        options["truncation"] = truncation
    base = base_of(model)

    def read(out: Any, batch: Batch) -> list[Array]:
        return [hidden[None, :length] for hidden, length in zip(out.last_hidden_state, batch.lengths, strict=True)]  # [1, S, D]

    return answer_all(
        base,
        tokenizer,
        inputs,
        is_one=isinstance(inputs, str),
        encode=encode_texts(base, tokenizer, options),
        read=read,
        finish=lambda item, rows, states: states[0].copy() if return_tensors else states[0].tolist(),
        batch_size=batch_size,
    )
