"""Which of a file's weights is which of a model's, where one weight goes by several names."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from npbert.types import Array

_BUFFER = re.compile(
    r"(?:.*\.)?embeddings\.(?:position_ids|token_type_ids)|(?:.*\.)?h\.\d+\.(?:attn|crossattention)\.(?:masked_)?bias"
)
_BASES = ("bert.", "transformer.")
_OLD_ENDINGS = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


class Fit(NamedTuple):
    """What `fit_to` makes of a checkpoint."""

    weights: dict[str, Array]  # by the names that were wanted
    missing: list[str]  # wanted, not found
    unexpected: list[str]  # found, not wanted


class _Candidate(NamedTuple):
    """A weight of the file."""

    name: str  # as it is written today
    name_in_file: str


def fit_to(wanted: Iterable[str], found: Mapping[str, Array], *, tied: bool = True) -> Fit:
    """The weights of a checkpoint under the names that a model wants, and what does not fit.

    `wanted` are the model's names, with or without a second name for a tied weight. `tied`: whether the decoder of the masked
    language model is the word table (`config.tie_word_embeddings`); if so, the word table counts where a file has both.
    The lists are sorted, and say what the reference's `output_loading_info` says. Unexpected names are the file's as they are
    written today. From a file with a head for a model without one, the base's come without `bert.` and the head's untouched.
    """
    wanted = list(wanted)
    candidates = _candidates(wanted, found, tied)
    weights = {}
    taken = set()
    for name in wanted:
        key = _key(name, tied)
        if key in candidates:
            best = _best_candidate(candidates[key], name, key)
            weights[name] = found[best.name_in_file]
            taken.add(best)
    unexpected = _unexpected(wanted, candidates.values(), taken)
    if any(name.startswith(_BASES) for name in found) and not any(name.startswith(_BASES) for name in wanted):
        names = [_without_base(today) if in_file.startswith(_BASES) else in_file for today, in_file in unexpected]
    else:
        names = [today for today, _ in unexpected]
    return Fit(weights, sorted(name for name in wanted if name not in weights), sorted(names))


def _candidates(wanted: list[str], found: Iterable[str], tied: bool) -> dict[str, list[_Candidate]]:
    """The weights of the file, grouped by the weight that they can stand for."""
    found = list(found)
    rename_squad_head = _squad_renaming(wanted, found)
    groups: dict[str, list[_Candidate]] = {}
    for name in found:
        if not _BUFFER.fullmatch(name):
            todays_name = rename_squad_head(_todays_name(name))
            groups.setdefault(_key(todays_name, tied), []).append(_Candidate(todays_name, name))
    return groups


def _best_candidate(candidates: list[_Candidate], wanted: str, key: str) -> _Candidate:
    """First names go before second ones, then the very name before others, then what is written as today before what is not."""
    return min(
        candidates,
        key=lambda each: (_without_base(each.name) != key, each.name != wanted, each.name != each.name_in_file),
    )


def _unexpected(wanted: list[str], groups: Iterable[list[_Candidate]], taken: set[_Candidate]) -> list[_Candidate]:
    """What the model has no place for.

    A weight's second name is expected where its first was taken. The same name twice is not, nor is the masked language
    model's decoder in a model that has no part of that head.
    """
    taken_names = {_without_base(candidate.name) for candidate in taken}
    has_head = any("cls.predictions." in name or name == "lm_head.weight" for name in wanted)
    return [
        candidate
        for group in groups
        for candidate in group
        if candidate not in taken and (not has_head or _without_base(candidate.name) in taken_names or taken.isdisjoint(group))
    ]


def _todays_name(name: str) -> str:
    """The first ports kept TensorFlow's words for LayerNorm."""
    for old, new in _OLD_ENDINGS.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _without_base(name: str) -> str:
    """The name without the base model's prefix, also inside an encoder-decoder (`decoder.bert.encoder...`)."""
    return re.sub(r"(^|\.)(?:bert|transformer)\.", r"\1", name, count=1)


def _key(name: str, tied: bool) -> str:
    """The same text for all names of one weight: its first name, without the base model's prefix."""
    key = _without_base(name)
    if key.endswith("cls.predictions.decoder.bias"):
        return key.removesuffix("decoder.bias") + "bias"
    if tied and key.endswith("cls.predictions.decoder.weight"):
        return key.removesuffix("cls.predictions.decoder.weight") + "embeddings.word_embeddings.weight"
    if tied and key == "lm_head.weight":
        return "wte.weight"
    return key


def _squad_renaming(wanted: Iterable[str], found: Iterable[str]) -> Callable[[str], str]:
    """What renames TensorFlow's question answering head, `cls.squad`, to `qa_outputs`.

    In a model without `qa_outputs` it becomes the classifier, as in the reference's own conversion, unless the file has one.
    """
    modules = {name.rpartition(".")[0] for name in wanted}
    head = "cls.squad"
    if "qa_outputs" in modules:
        head = "qa_outputs"
    elif "classifier" in modules and not any(name.startswith("classifier.") for name in found):
        head = "classifier"
    return lambda name: f"{head}.{name.removeprefix('cls.squad.')}" if name.startswith("cls.squad.") else name
