"""Documents and the pairs that they are cut into."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npbert
from npbert.training.documents import Document, encode_documents, read_documents, sentence_pairs


def numbered(sizes: list[list[int]]) -> list[Document]:
    """Documents whose tokens are all different: 1000 * document + place."""
    documents = []
    for number, lengths in enumerate(sizes):
        place = iter(range(1000 * number, 1000 * number + 999))
        documents.append([[next(place) for _ in range(length)] for length in lengths])
    return documents


def test_a_file_is_a_sentence_a_line(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("\ufeff\r\n \nOne.\r\n Two. \r\n\r\n\n\u2028\nThree.\u2028Four.\n\n\n".encode())
    assert read_documents(path) == [["One.", "Two."], ["Three.\u2028Four."]]


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "is empty"), (b" \n\n", "holds no text"), (b"a\nb\xff", "line 2: is not UTF-8")]
)
def test_files_without_text_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(npbert.FileError, match=message):
        read_documents(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(npbert.MissingFileError, match=r"nothing\.txt"):
        read_documents(tmp_path / "nothing.txt")


def test_what_has_no_token_is_left_out() -> None:
    texts = [["a b", "", "c"], [""], ["d"]]
    assert encode_documents(texts, lambda lines: [[ord(word) for word in line.split()] for line in lines]) == [
        [[97, 98], [99]],
        [[100]],
    ]


def test_pairs_that_follow_give_the_text_once_and_in_order() -> None:
    """With nothing random in it (a single document), all sentences come once, in order, whole."""
    documents = numbered([[3, 4, 2, 5, 3, 2, 4, 4, 1, 6, 2, 2]])
    pairs = list(sentence_pairs(documents, 1000, np.random.default_rng(0)))
    assert all(pair.is_random == 0 for pair in pairs)
    tokens = [token for pair in pairs for token in (*pair.first, *pair.second)]
    assert tokens == [token for sentence in documents[0] for token in sentence][: len(tokens)]
    assert len(tokens) >= 30


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=9), min_size=2, max_size=6),
    st.integers(5, 40),
    st.integers(0, 9),
)
def test_no_token_is_lost_or_repeated_where_it_should_not_be(sizes: list[list[int]], most: int, seed: int) -> None:
    documents = numbered(sizes)
    seen: list[int] = []
    for first, second, is_random in sentence_pairs(documents, most, np.random.default_rng(seed)):
        assert first
        assert second
        assert len(first) + len(second) <= most
        for part in (first, second):
            assert part == list(range(part[0], part[0] + len(part)))
        own, other = first[0] // 1000, second[0] // 1000
        assert (own != other) == is_random
        if not is_random:
            assert second[0] > first[-1]
        seen += first if is_random else [*first, *second]
    assert len(set(seen)) == len(seen)  # of the documents' own text nothing comes twice in an epoch


@pytest.mark.parametrize("seed", range(5))
def test_where_nothing_has_to_be_cut_nothing_is_lost(seed: int) -> None:
    """Sentences of one token fill every pair exactly; what a random pair left out comes again in the next."""
    documents = numbered([[1] * 50, [1] * 7, [1], [1] * 33])
    pairs = list(sentence_pairs(documents, 12, np.random.default_rng(seed)))
    seen = [token for pair in pairs for token in (pair.first if pair.is_random else [*pair.first, *pair.second])]
    assert sorted(seen) == sorted(token for document in documents for (token,) in document)
    assert {pair.is_random for pair in pairs} == {0, 1}


def test_half_of_the_pairs_are_random_and_one_in_ten_is_short() -> None:
    documents = numbered([[4] * 60 for _ in range(60)])
    pairs = [pair for seed in range(3) for pair in sentence_pairs(documents, 40, np.random.default_rng(seed))]
    assert len(pairs) > 1000
    assert np.mean([pair.is_random for pair in pairs]) == pytest.approx(0.5, abs=0.05)
    assert max(len(pair.first) + len(pair.second) for pair in pairs) == 40
    # Without those from elsewhere, which may begin at a document's end, and those that are the end of their own document.
    lengths = [len(pair.first) + len(pair.second) for pair in pairs if not pair.is_random and pair.second[-1] % 1000 != 239]
    assert np.mean([length < 40 for length in lengths]) == pytest.approx(0.1, abs=0.03)
    others = {pair.second[0] // 1000 for pair in pairs if pair.is_random}
    assert len(others) == 60


def test_a_sentence_too_long_is_cut_at_either_end() -> None:
    documents = numbered([[200], [200], [200]])
    pairs = [pair for seed in range(20) for pair in sentence_pairs(documents, 20, np.random.default_rng(seed))]
    assert {pair.is_random for pair in pairs} == {1}
    full = [pair for pair in pairs if len(pair.first) + len(pair.second) == 20]
    assert len(full) == len(pairs) == 60
    assert len({pair.first[0] % 1000 for pair in full}) > 1


def test_the_order_is_another_at_every_epoch() -> None:
    documents = numbered([[3, 3]] * 20)
    orders = {
        tuple(pair.first[0] // 1000 for pair in sentence_pairs(documents, 6, np.random.default_rng(seed))) for seed in range(5)
    }
    assert len(orders) == 5
