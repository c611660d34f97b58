"""What a model is pre-trained on: documents of sentences, cut into pairs.

A file holds a sentence a line, with an empty line between documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from npbert.errors import FileError
from npbert.training.reading import read_lines
from npbert.types import StrPath

Document: TypeAlias = list[list[int]]
"""The ids of each sentence."""


class Pair(NamedTuple):
    """An example for the next sentence: did the second part follow the first?"""

    first: list[int]
    second: list[int]
    is_random: int  # 0: it followed; 1: it comes from elsewhere


def read_documents(path: StrPath) -> list[list[str]]:
    """The documents of a file, each a list of its sentences."""
    documents: list[list[str]] = [[]]
    for line in read_lines(path):
        if sentence := line.strip():
            documents[-1].append(sentence)
        elif documents[-1]:
            documents.append([])
    found = [document for document in documents if document]
    if not found:
        raise FileError(f"{path}: holds no text")
    return found


def encode_documents(documents: Sequence[Sequence[str]], encode: Callable[[list[str]], list[list[int]]]) -> list[Document]:
    """The documents as ids; sentences and documents without a token are left out."""
    sentences = [sentence for document in documents for sentence in document]
    ids = iter(encode(sentences) if sentences else [])
    encoded = [[sentence for _ in document if (sentence := next(ids))] for document in documents]
    return [document for document in encoded if document]


def sentence_pairs(documents: Sequence[Document], max_tokens: int, rng: np.random.Generator) -> Iterator[Pair]:
    """Go once through all documents and cut them into pairs of at most `max_tokens`, as BERT's authors did.

    Sentences are collected until they fill a pair, and parted at a random place. In half of the cases the second part is
    replaced by sentences from another document, and the sentences that it would have had come again in the next pair. One pair
    in ten is made shorter than it could be, so that the model sees short texts too. A sentence that fills a pair alone, or is
    the last of its document, is always followed by one from elsewhere; where there is one document only, it is left out.
    """
    for number in rng.permutation(len(documents)):
        document = documents[number]
        start = 0
        while start < len(document):
            target = int(rng.integers(2, max_tokens + 1)) if rng.random() < 0.1 else max_tokens
            stop = _filled(document, start, target)
            parting = int(rng.integers(start + 1, stop)) if stop - start > 1 else stop
            first = _joined(document[start:parting])
            second = _joined(document[parting:stop])
            is_random = len(documents) > 1 and (not second or rng.random() < 0.5)
            if is_random:
                other = documents[(number + int(rng.integers(1, len(documents)))) % len(documents)]
                begin = int(rng.integers(len(other)))
                second = _joined(other[begin : _filled(other, begin, target - len(first))])
                stop = parting
            start = stop
            if second:
                yield Pair(*_cut(first, second, max_tokens, rng), int(is_random))


def _joined(sentences: Document) -> list[int]:
    return [token for sentence in sentences for token in sentence]


def _filled(document: Document, start: int, target: int) -> int:
    """Where the sentences from `start` on reach the target; at least one is taken."""
    tokens = 0
    for stop in range(start, len(document)):
        tokens += len(document[stop])
        if tokens >= target:
            return stop + 1
    return len(document)


def _cut(first: list[int], second: list[int], most: int, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Take tokens off the longer part, at its beginning or its end, until both fit."""
    while len(first) + len(second) > most:
        longer = first if len(first) > len(second) else second
        too_many = min(len(first) + len(second) - most, max(1, abs(len(first) - len(second))))
        kept = slice(too_many, None) if rng.random() < 0.5 else slice(None, len(longer) - too_many)
        first, second = (first[kept], second) if longer is first else (first, second[kept])
    return first, second
