"""Hidden states to sentence vectors, as the checkpoint asks.

Sentence embeddings: Reimers & Gurevych 2019, "Sentence-BERT". Their checkpoints say in small files beside the weights how the
hidden states become one vector; see `read_pooling`.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from npbert.checks import whole_number
from npbert.errors import FileError, InputError, listed, shown
from npbert.types import Array, StrPath

if TYPE_CHECKING:
    from npbert.models.base import PreTrainedModel

POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len")
TINY = 1e-12  # vectors are divided by their length, or by this if they are shorter


@dataclasses.dataclass(frozen=True)
class Pooling:
    """How hidden states become one vector.

    - `modes`: "cls" (the first token's), "max", "mean", "mean_sqrt_len" (the sum divided by the root of the length). The
      vectors of several modes are joined in the order given.
    - `normalize`: divide the vector by its length.
    - `max_seq_length`: how many tokens of a text are read; None: as many as the model takes.
    - `lower_case`: put the text in lower case first, whatever the tokenizer does.
    - `prompt`: a text that is put before every text.
    """

    modes: tuple[str, ...] = ("mean",)
    normalize: bool = False
    max_seq_length: int | None = None
    lower_case: bool = False
    prompt: str = ""

    def __post_init__(self) -> None:
        if not self.modes or any(mode not in POOLING_MODES for mode in self.modes):
            raise InputError(f"pooling: modes: takes one or more of {', '.join(POOLING_MODES)}, got {listed(self.modes)}")
        if self.max_seq_length is not None:
            whole_number("pooling: max_seq_length", self.max_seq_length, least=1)


# What a checkpoint's 1_Pooling/config.json may ask for, in the order in which the vectors are joined.
_MODE_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def read_pooling(path_or_id: StrPath, **where: Any) -> Pooling:
    """The pooling that a checkpoint's sentence-transformers files ask for; mean pooling where there are none.

    - `modules.json` lists the steps: a transformer, a pooling, perhaps a normalization,
    - the pooling's own `config.json` (in `1_Pooling/`) says the modes, as a name or as one switch each,
    - `sentence_bert_config.json` has `max_seq_length` and `do_lower_case`,
    - `config_sentence_transformers.json` may name a prompt that is put before every text.

    `where` is for the hub: revision, cache_dir, token, local_files_only. If the files ask for something that npbert does not
    do, the error names it.
    """
    from npbert import checkpoints
    from npbert.checkpoints.reading import read_json

    checkpoint = checkpoints.find(path_or_id, **where)

    def read(filename: str) -> tuple[str, Any]:
        path = checkpoint.file(filename)
        return (filename, None) if path is None else (str(path), read_json(path))

    path, modules = read("modules.json")
    if modules is None:
        return Pooling()
    kinds = _module_kinds(path, modules)
    settings: dict[str, Any] = {"normalize": "Normalize" in kinds}
    pooling: dict[str, Any] = {}
    if "Pooling" in kinds:
        folder = str(modules[1].get("path") or "1_Pooling")
        path, pooling = read(f"{folder}/config.json")
        if not isinstance(pooling, dict):
            raise FileError(f"{path}: modules.json names a pooling, but this file of its settings is missing")
        settings["modes"] = _modes(path, pooling)
    # Older checkpoints keep the transformer, and the settings for it, in a folder of its own.
    folder = str(modules[0].get("path") or "")
    settings |= _reading_settings(*read(f"{folder}/sentence_bert_config.json" if folder else "sentence_bert_config.json"))
    path, fields = read("config_sentence_transformers.json")
    settings["prompt"] = _prompt(path, fields)
    if settings["prompt"] and not pooling.get("include_prompt", True):
        raise FileError(f"{path}: asks for a prompt that the pooling leaves out (include_prompt), which npbert does not do")
    return Pooling(**settings)


def _module_kinds(path: str, modules: Any) -> list[str]:
    if not isinstance(modules, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("type"), str) for entry in modules
    ):
        raise FileError(f"{path}: takes a list of modules, each with its type")
    kinds = [entry["type"].rsplit(".", 1)[-1] for entry in modules]
    if kinds not in (["Transformer"], ["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise FileError(f"{path}: takes the modules Transformer, Pooling and Normalize, in this order, got {listed(kinds)}")
    return kinds


def _modes(path: str, fields: Mapping[str, Any]) -> tuple[str, ...]:
    named = fields.get("pooling_mode")
    if named is None:
        modes = [mode for flag, mode in _MODE_FLAGS.items() if fields.get(flag)] or ["mean"]
    else:
        modes = list(named) if isinstance(named, list) else [named]
    modes = ["mean_sqrt_len" if mode == "mean_sqrt_len_tokens" else mode for mode in modes]
    for mode in modes:
        if mode not in POOLING_MODES:
            raise FileError(f"{path}: asks for the pooling {shown(mode)}; npbert has {', '.join(POOLING_MODES)}")
    return tuple(modes)


def _reading_settings(path: str, fields: Any) -> dict[str, Any]:
    """How much of a text is read, and whether in lower case."""
    if not isinstance(fields, dict):
        return {}
    length = fields.get("max_seq_length")
    if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 1):
        raise FileError(f"{path}: max_seq_length: takes a whole number, 1 or more, got {shown(length)}")
    return {"max_seq_length": length, "lower_case": bool(fields.get("do_lower_case"))}


def _prompt(path: str, fields: Any) -> str:
    """The text that the file puts before every text; empty without a default prompt."""
    name = fields.get("default_prompt_name") if isinstance(fields, dict) else None
    if name is None:
        return ""
    prompts = fields.get("prompts")
    prompt = prompts.get(name) if isinstance(prompts, dict) and isinstance(name, str) else None
    if not isinstance(prompt, str):
        raise FileError(f"{path}: there is no prompt {shown(name)}")
    return prompt


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

    The files are read once for each model, because asking the hub for a file that may not exist takes a moment. `where` is
    for the hub, as in `read_pooling`.
    """
    path = str(getattr(model, "name_or_path", "") or "")
    if not path:
        return Pooling()
    known = _poolings.get(model)
    if known is None or known[0] != path:
        known = _poolings[model] = (path, read_pooling(path, **where))
    return known[1]
