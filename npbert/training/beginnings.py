"""The model that a run begins with: a checkpoint's, with a new head if need be, or a new one."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from npbert.bert.config import BertConfig
from npbert.errors import FileError, listed
from npbert.models import heads
from npbert.models.base import PreTrainedModel
from npbert.text.tokenizer import BertTokenizer
from npbert.training.vocabulary import build_vocabulary
from npbert.types import StrPath
from npbert.weights import initialize


@dataclass(frozen=True)
class NewModel:
    """The sizes of a model that begins with random weights, and its vocabulary: a file, or how large one to build."""

    layers: int = 4
    hidden_size: int = 256
    heads: int = 4
    intermediate_size: int | None = None  # four times the hidden size
    vocab: str | None = None
    vocab_size: int = 8000


class Beginning(NamedTuple):
    """What a run begins with."""

    model: PreTrainedModel
    tokenizer: BertTokenizer
    fresh: list[str]  # the weights that the checkpoint did not have

    @property
    def labels(self) -> list[str]:
        """What the model tells apart, in the order of its outputs."""
        names: list[str] = self.model.config.label_names
        return names


def loaded(path_or_id: StrPath, cls: Any, seed: int, *, labels: Sequence[str] | None = None, **overrides: Any) -> Beginning:
    """A checkpoint's model with the task's head, its tokenizer, and which of its weights are new.

    New weights are drawn from the seed. A head that was trained on the very same labels is kept.
    """
    known = names = list(BertConfig.from_pretrained(path_or_id).id2label.values())
    if labels is not None:
        names = known if set(known) == set(labels) else list(labels)
        overrides |= {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*newly initialized")  # the caller is told
        model, info = cls.from_pretrained(path_or_id, output_loading_info=True, ignore_mismatched_sizes=True, **overrides)
    mismatched = [name for name, *_ in info["mismatched_keys"] if not name.startswith("classifier.")]
    body = [name for name in info["missing_keys"] if name.startswith(f"{cls.base_model_prefix}.") and ".pooler." not in name]
    if mismatched or body:
        raise FileError(f"{path_or_id}: is no whole BERT: {listed([*body, *mismatched])} are missing or of another shape")
    fresh = {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}
    if names is not known:
        fresh |= {"classifier.weight", "classifier.bias"}
    expected = {name: parameter for name, parameter in model.expected_parameters().items() if name in fresh}
    rng = np.random.default_rng([seed, 2])
    model.weights.replace(initialize(expected, rng, model.dtype, std=model.config.initializer_range))
    return Beginning(model, BertTokenizer.from_pretrained(path_or_id), list(expected))


def new_model(sizes: NewModel, texts: Sequence[str], length: int, seed: int) -> Beginning:
    """A model for pre-training with random weights, for texts of at most `length` tokens."""
    if sizes.vocab is not None:
        tokenizer = BertTokenizer(sizes.vocab, model_max_length=length)
    else:
        vocabulary = build_vocabulary(texts, sizes.vocab_size)
        tokenizer = tokenizer_of(vocabulary, length)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=sizes.hidden_size,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=4 * sizes.hidden_size if sizes.intermediate_size is None else sizes.intermediate_size,
        max_position_embeddings=length,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Beginning(heads.BertForPreTraining(config, rng=np.random.default_rng([seed, 2])), tokenizer, [])


def tokenizer_of(vocabulary: Sequence[str], length: int) -> BertTokenizer:
    """A tokenizer with a vocabulary that is in no file yet."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "vocab.txt"
        path.write_text("".join(f"{token}\n" for token in vocabulary), "utf-8")
        return BertTokenizer(path, model_max_length=length)
