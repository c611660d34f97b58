"""Ids and tokens back to text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from npbert.checks import boolean, flag, text_list, whole_number
from npbert.errors import InputError, shown
from npbert.text.checks import row_of_ids
from npbert.text.vocabulary import LARGEST_ID, Vocabulary


class Detokenizer(Vocabulary):
    """A vocabulary that turns ids back into text."""

    clean_up_tokenization_spaces: bool

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        *,
        spaces_between_special_tokens: bool = True,
    ) -> str:
        """The text of one row of ids (a list, a 1-D array or a single id): pieces joined, words separated by spaces.

        An id that the vocabulary does not have is left out, as in the reference: the table of some models has more rows than
        their vocabulary has tokens, and a model may choose any of them. `spaces_between_special_tokens` may be given as True:
        special tokens are words too.
        """
        if spaces_between_special_tokens is not True:
            raise InputError(f"spaces_between_special_tokens: takes True, got {shown(spaces_between_special_tokens)}")
        skips = boolean("skip_special_tokens", skip_special_tokens)
        clean = flag("clean_up_tokenization_spaces", clean_up_tokenization_spaces, default=self.clean_up_tokenization_spaces)
        ids = row_of_ids("token_ids", token_ids)
        for number in ids:
            whole_number("token_ids", number, most=LARGEST_ID)
        text: str = self._backend.decode(ids, skip_special_tokens=skips)
        return clean_up_tokenization(text) if clean else text

    def batch_decode(
        self,
        sequences: Iterable[Any],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        **options: Any,
    ) -> list[str]:
        """The texts of several rows of ids; `options` as for `decode`."""
        return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces, **options) for row in sequences]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """The text of a list of tokens: "un", "##heard" is "unheard"."""
        words: Any = text_list("tokens", tokens)
        decoder = self._backend.decoder
        return str(decoder.decode(words)) if decoder is not None else " ".join(words)


def clean_up_tokenization(text: str) -> str:
    """Join punctuation and English short forms to the word before them: "it 's fine ." becomes "it's fine."."""
    for apart, joined in (
        *((f" {mark}", mark) for mark in ".?!,"),
        (" ' ", "'"),
        *((f" {short}", short) for short in ("n't", "'m", "'s", "'ve", "'re")),
    ):
        text = text.replace(apart, joined)
    return text
