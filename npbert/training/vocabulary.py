"""A WordPiece vocabulary for a text."""

from __future__ import annotations

from collections.abc import Iterable

from npbert import checks

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def build_vocabulary(texts: Iterable[str], size: int, *, lowercase: bool = True) -> list[str]:
    """The tokens of a WordPiece vocabulary of at most `size`, in the order of their ids: what `vocab.txt` holds.

    It begins with single characters, and pieces are joined to longer ones by how often they stand together. Special tokens come
    first, then the alphabet of words and that of pieces: the library's own order is another one at every run.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    checks.whole_number("size", size, least=len(SPECIAL_TOKENS) + 1)
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=list(SPECIAL_TOKENS), limit_alphabet=1000, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    tokens = backend.get_vocab().keys() - set(SPECIAL_TOKENS)
    return [*SPECIAL_TOKENS, *sorted(tokens, key=lambda token: (token.startswith("##"), token))]
