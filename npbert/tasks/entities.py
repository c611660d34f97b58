"""A label for every token, and how tokens become words and words become entities.

Labels follow the inside-outside-beginning scheme of Ramshaw & Marcus 1995: "B-PER" begins a person, "I-PER" continues one, and
"O" is outside of every entity. A label without such a prefix counts as "I-".
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from npbert import ops
from npbert.checks import choice, flag, integers, text_list, unicode_text, whole_number
from npbert.errors import InputError, warn
from npbert.tasks.batches import Batch, answer_all
from npbert.tasks.inputs import Item, check_model, check_tokenizer
from npbert.tasks.rows import TokenRow, longest_row, token_rows
from npbert.types import Array

if TYPE_CHECKING:
    from npbert.models.base import PreTrainedModel
    from npbert.text.tokenizer import BertTokenizer


class AggregationStrategy(str, Enum):
    """How labelled tokens become entities, by name: `token_classification` says what each does, and takes the word as well."""

    NONE = "none"
    SIMPLE = "simple"
    FIRST = "first"
    AVERAGE = "average"
    MAX = "max"


STRATEGIES = tuple(strategy.value for strategy in AggregationStrategy)


class Piece(NamedTuple):
    """A token of a text that is not a special one."""

    word: str
    scores: Array  # [num_labels]
    place: int  # in the row
    start: int
    end: int
    continues_word: bool  # the token before is part of the same word


class Labelled(NamedTuple):
    """A token or a word with its label."""

    label: str
    score: float
    word: str
    start: int
    end: int


def token_classification(
    model: PreTrainedModel,
    tokenizer: BertTokenizer,
    inputs: Any,
    *,
    aggregation_strategy: str = "none",
    grouped_entities: bool | None = None,
    ignore_subwords: bool | None = None,
    ignore_labels: Sequence[str] = ("O",),
    stride: int | None = None,
    offset_mapping: Sequence[tuple[int, int]] | None = None,
    is_split_into_words: bool = False,
    delimiter: str = " ",
    batch_size: int | None = None,
) -> Any:
    """The labelled tokens or entities of a text, with the characters they stand at (`text[start:end]`), in order.

    `aggregation_strategy`:

    - "none": tokens, `{"entity", "score", "index", "word", "start", "end"}`
    - "simple": neighbours with the same label, `{"entity_group", "score", "word", "start", "end"}`; a "B-" begins a new entity
    - "first", "average", "max": the same over whole words. A word has the label of its first piece, of its pieces' mean
      scores, or of its piece with the best score

    As in older versions of the reference, `grouped_entities=True` is "simple", and with `ignore_subwords=True` "first".

    Labels in `ignore_labels` are left out. A text too long for the model is cut, with a warning; with `stride` it is read in
    pieces that overlap by `stride` tokens. Of entities that overlap the longest stays, and of equally long ones the one with
    the best score. With `is_split_into_words` a text is a list of words, and characters are counted in these words joined by
    `delimiter`. The tokenizer knows which characters each token stands for; for one text `offset_mapping` may say otherwise,
    with a `(start, end)` for every token of the row.
    """
    check_model("token-classification", model, "BertForTokenClassification")
    if grouped_entities is not None or ignore_subwords is not None:
        grouped = flag("grouped_entities", grouped_entities, default=False)
        by_words = flag("ignore_subwords", ignore_subwords, default=False)
        aggregation_strategy = ("first" if by_words else "simple") if grouped else "none"
    strategy = aggregation_strategy.lower() if isinstance(aggregation_strategy, str) else aggregation_strategy
    strategy = choice("aggregation_strategy", strategy, STRATEGIES)
    check_tokenizer(tokenizer)
    ignored = text_list("ignore_labels", ignore_labels, "a list of labels")
    is_split_into_words = flag("is_split_into_words", is_split_into_words, default=False)
    longest = longest_row(model, tokenizer)
    room = longest - tokenizer.num_special_tokens_to_add()
    if stride is not None:
        if whole_number("stride", stride) >= room:
            raise InputError(f"stride: takes 0 to {room - 1}, less than the {room} tokens that the model reads at once")
        if strategy == "none":
            raise InputError('stride: pieces of a text are joined by their entities, so aggregation_strategy cannot be "none"')

    type_of_one = list if is_split_into_words and not _is_batch_of_words(inputs) else str
    is_one = isinstance(inputs, type_of_one)
    if offset_mapping is not None and (not is_one or is_split_into_words or stride is not None):
        raise InputError("offset_mapping: takes one text alone, without is_split_into_words and stride")

    def encode(items: Sequence[Item]) -> list[list[TokenRow]]:
        texts = [_words(*item) if is_split_into_words else unicode_text(*item) for item in items]
        encoding = tokenizer(
            texts,
            is_split_into_words=is_split_into_words,
            truncation=True,
            max_length=longest,
            stride=stride or 0,
            return_overflowing_tokens=True,
        )
        rows: list[list[TokenRow]] = [[] for _ in items]
        for number, row in zip(encoding["overflow_to_sample_mapping"], token_rows(tokenizer, encoding), strict=True):
            rows[number].append(row)
        if stride is None:
            for item, pieces in zip(items, rows, strict=True):
                if len(pieces) > 1:
                    warn(f"{item.name}: only its first {longest} tokens are read; stride= reads all of it, in pieces")
            rows = [pieces[:1] for pieces in rows]
        return rows

    def read(out: Any, batch: Batch) -> list[Array]:
        return [ops.softmax(logits) for logits in batch.without_padding(out.logits)]  # each [S, num_labels]

    def finish(item: Item, rows: list[TokenRow], scores: list[Array]) -> list[dict[str, Any]]:
        text, shifts = _join(item.value, delimiter) if is_split_into_words else (item.value, None)
        found: list[dict[str, Any]] = []
        for row, row_scores in zip(rows, scores, strict=True):
            offsets = row.encoding.offsets if offset_mapping is None else _offsets(offset_mapping, len(row_scores))
            pieces = _pieces(tokenizer, row, row_scores, text, offsets, shifts)
            labels = model.config.label_names
            found += _tokens(pieces, labels) if strategy == "none" else _entities(tokenizer, pieces, labels, strategy)
        found = [one for one in found if one.get("entity", one.get("entity_group")) not in ignored]
        return _without_overlaps(found) if len(rows) > 1 else found

    return answer_all(model, tokenizer, inputs, is_one=is_one, encode=encode, read=read, finish=finish, batch_size=batch_size)


def _is_batch_of_words(inputs: object) -> bool:
    return isinstance(inputs, list) and bool(inputs) and isinstance(inputs[0], list | tuple)


def _words(name: str, value: object) -> list[str]:
    return text_list(name, value, "a list of words, because is_split_into_words=True")


def _join(words: Sequence[str], delimiter: str) -> tuple[str, list[int]]:
    """The words as one text, and at which character each begins."""
    starts = [0]
    for word in words:
        starts.append(starts[-1] + len(word) + len(delimiter))
    return delimiter.join(words), starts[:-1]


def _offsets(given: object, length: int) -> list[tuple[int, int]]:
    """The first and past-the-last character of each token of a row, as somebody gives them."""
    pairs = integers("offset_mapping", given, 2)
    if pairs.shape != (length, 2) or (pairs < 0).any():
        raise InputError(f"offset_mapping: takes (start, end) for each of the {length} tokens, got shape {list(pairs.shape)}")
    return [(int(start), int(end)) for start, end in pairs]


def _pieces(
    tokenizer: BertTokenizer, row: TokenRow, scores: Array, text: str, offsets: Sequence[Any], shifts: list[int] | None
) -> list[Piece]:
    encoding = row.encoding
    pieces = []
    for index, (token, (start, end)) in enumerate(zip(encoding.tokens, offsets, strict=True)):
        if encoding.special_tokens_mask[index]:
            continue
        word_number = encoding.word_ids[index]
        if shifts is not None and word_number is not None:
            start, end = start + shifts[word_number], end + shifts[word_number]
        # A piece inside a word carries "##", so it is longer than the characters that it stands for. Unknown words are whole.
        is_unknown = encoding.ids[index] == tokenizer.unk_token_id
        continues_word = not is_unknown and len(token) != end - start
        pieces.append(Piece(text[start:end] if is_unknown else token, scores[index], index, start, end, continues_word))
    return pieces


def _tokens(pieces: Sequence[Piece], labels: Sequence[str]) -> list[dict[str, Any]]:
    found = []
    for piece in pieces:
        label = int(piece.scores.argmax())
        found.append(
            {
                "entity": labels[label],
                "score": float(piece.scores[label]),
                "index": piece.place,
                "word": piece.word,
                "start": piece.start,
                "end": piece.end,
            }
        )
    return found


def _entities(tokenizer: BertTokenizer, pieces: Sequence[Piece], labels: Sequence[str], strategy: str) -> list[dict[str, Any]]:
    """Runs of neighbours with the same label."""
    words: list[list[Piece]] = []
    for piece in pieces:
        if words and piece.continues_word and strategy != "simple":
            words[-1].append(piece)
        else:
            words.append([piece])

    runs: list[list[Labelled]] = []
    for word in (_label(tokenizer, word, labels, strategy) for word in words):
        begins, kind = _split_label(word.label)
        if runs and not begins and kind == _split_label(runs[-1][-1].label)[1]:
            runs[-1].append(word)
        else:
            runs.append([word])
    return [
        {
            "entity_group": run[0].label.split("-", 1)[-1],
            "score": float(np.mean([word.score for word in run])),
            "word": tokenizer.convert_tokens_to_string([word.word for word in run]),
            "start": run[0].start,
            "end": run[-1].end,
        }
        for run in runs
    ]


def _label(tokenizer: BertTokenizer, pieces: Sequence[Piece], labels: Sequence[str], strategy: str) -> Labelled:
    """The label of a word from the scores of its pieces."""
    if strategy == "average":
        scores = np.stack([piece.scores for piece in pieces]).mean(axis=0)  # [num_labels]
    elif strategy == "max":
        scores = max(pieces, key=lambda piece: piece.scores.max()).scores
    else:
        scores = pieces[0].scores
    word = pieces[0].word if strategy == "simple" else tokenizer.convert_tokens_to_string([piece.word for piece in pieces])
    best = int(scores.argmax())
    return Labelled(labels[best], float(scores[best]), word, pieces[0].start, pieces[-1].end)


def _split_label(label: str) -> tuple[bool, str]:
    """Whether the label begins an entity, and which kind it names."""
    return label.startswith("B-"), label[2:] if label.startswith(("B-", "I-")) else label


def _without_overlaps(entities: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The better one of two entities where one begins inside the other: two pieces of a text may see different entities."""
    kept: list[dict[str, Any]] = []
    for entity in sorted(entities, key=lambda entity: entity["start"]):
        if kept and kept[-1]["start"] <= entity["start"] < kept[-1]["end"]:
            kept[-1] = max(kept[-1], entity, key=lambda one: (one["end"] - one["start"], one["score"]))
        else:
            kept.append(entity)
    return kept
