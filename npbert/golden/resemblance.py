"""Which tensors of a pack an array of a port may be: by its shape, by its values, by the words in its name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from npbert.golden import layouts
from npbert.golden.layouts import Reading
from npbert.golden.matching import target_of
from npbert.golden.names import LENGTHS
from npbert.golden.pack import Pack
from npbert.types import Array

SAMPLE = 512
"""How many elements of a tensor are looked at: two tensors of a pass that agree in so many are the same."""

LIKE = 0.05
"""Values are alike when their difference is at most this share of their size: enough for bfloat16, and for small mistakes."""

CLEARLY = 3.0
"""The likest tensor must be so many times more alike than the next."""

WORDS = {
    "q": "query", "k": "key", "v": "value", "attn": "attention", "att": "attention", "sa": "attention", "mha": "attention",
    "o": "attention output dense", "proj": "attention output dense", "wo": "attention output dense",
    "ffn": "intermediate", "mlp": "intermediate", "fc1": "intermediate dense", "lin1": "intermediate dense",
    "up": "intermediate dense", "fc2": "output dense", "lin2": "output dense", "down": "output dense",
    "act": "intermediate_act_fn", "activation": "intermediate_act_fn", "gelu": "intermediate_act_fn",
    "ln": "layernorm", "norm": "layernorm", "ln1": "attention output layernorm", "norm1": "attention output layernorm",
    "ln2": "output layernorm", "norm2": "output layernorm", "emb": "embeddings", "embed": "embeddings",
    "embedding": "embeddings", "wte": "word_embeddings", "tok": "word_embeddings", "word": "word_embeddings",
    "wpe": "position_embeddings", "pos": "position_embeddings", "position": "position_embeddings",
    "type": "token_type_embeddings", "segment": "token_type_embeddings", "ctx": "self", "context": "self",
    "softmax": "probs", "weights": "probs", "masked": "masked_scores", "h": "layer", "block": "layer", "blocks": "layer",
    "layers": "layer", "out": "output", "pooled": "pooler", "cls": "pooler", "res": "residual",
}  # fmt: skip
"""What ports call things, and what their parts are called in a pack."""


class Likeness(NamedTuple):
    """How like a tensor of the pack an array is."""

    name: str
    reading: Reading
    difference: float  # rms, relative to the tensor's
    factor: float  # what the tensor would have to be multiplied with
    difference_after: float  # the same as above, after that
    is_first: bool  # whether the array would be read so by its shape alone


class Samples:
    """Some elements of every tensor of a pack, those of one shape side by side."""

    def __init__(self, pack: Pack, names: Iterable[str]) -> None:
        self._groups: dict[tuple[tuple[str, ...], tuple[int, ...]], list[str]] = {}
        self._pack = pack
        for name in names:
            target = target_of(pack, name)
            self._groups.setdefault((tuple(target.axes), target.truth.shape), []).append(name)
        self._chosen = {key: self._places(members) for key, members in self._groups.items()}
        self._values = {
            key: np.stack([self._pack[name].reshape(-1)[self._chosen[key]] for name in members]).astype(np.float64)
            for key, members in self._groups.items()
        }

    def _places(self, names: Sequence[str]) -> Array:
        """Elements that count in all tensors of a shape, chosen once for all."""
        counted = np.logical_and.reduce([self._pack.counted(name) for name in names]).reshape(-1).nonzero()[0]
        return np.random.default_rng(0).choice(counted, min(SAMPLE, counted.size), replace=False)

    def likest(self, x: Array) -> list[Likeness]:
        """The tensors that an array may be by its shape, the most alike first."""
        found = []
        for key, members in self._groups.items():
            truths = self._values[key]
            sizes = np.sqrt(np.mean(truths**2, axis=1)) if truths.size else np.zeros(len(members))
            for place, reading in enumerate(layouts.readings(x.shape, target_of(self._pack, members[0]))):
                values = reading.read(x).reshape(-1)[self._chosen[key]].astype(np.float64)
                for name, truth, size in zip(members, truths, sizes, strict=True):
                    if size and np.isfinite(values).all():
                        factor = float(values @ truth / (truth @ truth))
                        off, after = (float(np.sqrt(np.mean((values - f * truth) ** 2)) / size) for f in (1.0, factor))
                        found.append(Likeness(name, reading, off, factor, after / max(abs(factor), 1e-30), not place))
        return sorted(found, key=lambda likeness: likeness.difference)


def words_of(name: str) -> set[str]:
    """The words in a name, as a pack would say them; numbers are left out."""
    parts = re.findall(r"[a-z]+(?:_[a-z]+)*\d*", re.sub(r"([a-z])([A-Z])", r"\1.\2", name).lower())
    words: set[str] = set()
    for part in parts:
        for word in [part] if part in _PACK_WORDS else re.findall(r"[a-z]+\d*", part):
            known = word if word in _PACK_WORDS or word in WORDS else word.rstrip("0123456789")
            words |= set(WORDS.get(known, known).split())
    return words


_PACK_WORDS = {
    "word_embeddings", "token_type_embeddings", "position_embeddings", "intermediate_act_fn", "masked_scores",
    "relative_scores", "transform_act_fn", "seq_relationship",
}  # fmt: skip


def likeness_of_names(own: str, name: str) -> float:
    """The share of words that two names have in common, 0 to 1."""
    ours, theirs = words_of(own), words_of(name)
    return len(ours & theirs) / len(ours | theirs) if ours else 0.0


def may_be(shape: tuple[int, ...], axes: Sequence[str], sizes: Sequence[int]) -> bool:
    """Whether an array can be a tensor of a model by its shape: the axes that a call decides may be of any size."""
    free = sum(axis in LENGTHS for axis in axes)
    fixed = [size for axis, size in zip(axes, sizes, strict=True) if axis not in LENGTHS and size != 1]
    left = list(shape)
    for size in fixed:
        if size not in left:
            return False
        left.remove(size)
    return len([size for size in left if size != 1]) <= free


def numbers_of(name: str) -> list[int]:
    """The numbers in a name."""
    return [int(number) for number in re.findall(r"\d+", name)]


def layers_in(name: str) -> list[int]:
    """The numbers in a name that may be a layer's: those that stand alone, as the 0 in `blocks.0.ln1`, if there are any."""
    return [int(number) for number in re.findall(r"(?<![A-Za-z\d])\d+", name)] or numbers_of(name)


def by_content(pack: Pack) -> Mapping[str, list[str]]:
    """The names of each content of a pack."""
    contents: dict[str, list[str]] = {}
    for name in pack:
        contents.setdefault(pack.aliases.get(name, name), []).append(name)
    return contents
