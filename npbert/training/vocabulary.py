"""A WordPiece vocabulary for a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from npbert import checks
from npbert.errors import InputError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


MOST_CHARACTERS = 1000  # rarer ones become unknown, or an encyclopedia's every sign would take a place


def build_vocabulary(texts: Sequence[str], size: int, *, lowercase: bool = True) -> list[str]:
    """The tokens of a WordPiece vocabulary of at most `size`, in the order of their ids: what `vocab.txt` holds.

    It begins with single characters, and the two pieces that stand together most often are joined to a longer one, again and
    again. Special tokens come first, then what words begin with, then what continues them, both sorted.

    Among pairs that are equally frequent the library decides by the numbers that it gave to pieces, and it numbers those that
    continue a word in another order at every run. So they are found first, and given to it in one order: the same texts then
    always make the same vocabulary.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    checks.whole_number("size", size, least=len(SPECIAL_TOKENS) + 1)
    normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    characters = Counter(sign for text in texts for sign in normalizer.normalize_str(text) if not sign.isspace())
    kept = sorted(characters, key=lambda sign: (-characters[sign], sign))[:MOST_CHARACTERS]

    def trained(size: int, first: Sequence[str]) -> set[str]:
        backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        backend.normalizer = normalizer
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(
            vocab_size=size,
            special_tokens=list(first),
            initial_alphabet=kept,
            limit_alphabet=len(kept),
            show_progress=False,
        )
        backend.train_from_iterator(texts, trainer)
        return set(backend.get_vocab())

    alphabet = trained(0, SPECIAL_TOKENS)
    if len(alphabet) > size:
        raise InputError(f"size: takes {len(alphabet)} or more, because the texts have so many characters, got {size}")
    continuing = sorted(token for token in alphabet if token.startswith("##"))
    tokens = trained(size, [*SPECIAL_TOKENS, *continuing]) - set(SPECIAL_TOKENS)
    return [*SPECIAL_TOKENS, *sorted(tokens, key=lambda token: (token.startswith("##"), token))]
