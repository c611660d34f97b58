"""GPT-2's tokenizer: a text is bytes, and neighbours that were seen together often become one token.

1. *split* at the border of words, numbers and marks; the space goes with the word behind it: "two words" is "two", " words",
2. *bytes*: each piece becomes its UTF-8 bytes, and each byte one of 256 printable characters (a space is "Ġ"), so that no text
   is ever unknown,
3. *merge*: of all neighbours the pair that stands first in `merges.txt` becomes one piece, until no pair stands there (Sennrich
   et al. 2016, "Neural machine translation of rare words with subword units"; Radford et al. 2019 for the bytes).

No special tokens go around a text. `<|endoftext|>` stands between documents: it is where a text begins and where it ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from npbert.errors import FileError, InputError
from npbert.text import backend
from npbert.text.backend import library_errors
from npbert.text.batch_encoding import BatchEncoding
from npbert.text.file_tokenizer import FileTokenizer
from npbert.text.files import Source, blaming
from npbert.text.settings import END_OF_TEXT, GPT2, GPT2_SETTINGS, SPECIAL_TOKEN_NAMES
from npbert.types import StrPath

if TYPE_CHECKING:
    from tokenizers import AddedToken


class GPT2Tokenizer(FileTokenizer):
    """Text to GPT-2's token ids and back, with the ids and the interface of the reference's `GPT2TokenizerFast`.

        tok = GPT2Tokenizer.from_pretrained("gpt2")     # or GPT2Tokenizer("vocab.json", "merges.txt")
        tok.pad_token = tok.eos_token                   # GPT-2 has no padding token of its own
        tok(["a text", "another, longer one"], padding=True, return_tensors="np")

    - `vocab_file` and `merges_file`: `vocab.json`, tokens with their ids, and `merges.txt`, two pieces a line.
      `tokenizer_file`: a `tokenizer.json`, which wins when both are given.
    - `add_prefix_space`: cut the first word of a text as if a space stood before it. Texts that are lists of words need it.
    - `add_bos_token`: put `bos_token` before each text. As in the reference it has no effect on a `tokenizer.json`.
    - everything else is as in `BertTokenizer`.
    """

    kind = GPT2

    def __init__(
        self,
        vocab_file: StrPath | None = None,
        merges_file: StrPath | None = None,
        *,
        tokenizer_file: StrPath | None = None,
        unk_token: str | AddedToken = END_OF_TEXT,
        bos_token: str | AddedToken = END_OF_TEXT,
        eos_token: str | AddedToken = END_OF_TEXT,
        pad_token: str | AddedToken | None = None,
        sep_token: str | AddedToken | None = None,
        cls_token: str | AddedToken | None = None,
        mask_token: str | AddedToken | None = None,
        add_prefix_space: bool = False,
        add_bos_token: bool = False,
        additional_special_tokens: Sequence[str | AddedToken] = (),
        model_max_length: int | None = None,
        padding_side: str | None = None,
        truncation_side: str | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        split_special_tokens: bool = False,
        model_input_names: Sequence[str] = GPT2.model_input_names,
        added_tokens_decoder: Mapping[int, AddedToken] | None = None,
    ) -> None:
        settings = {name: value for name, value in locals().items() if name in GPT2_SETTINGS}
        self._configure(Source(vocab_file, tokenizer_file, settings, added_tokens_decoder or {}, merges_file=merges_file))

    def _configure(self, source: Source) -> None:
        """Everything that a constructor does."""
        checked = self._checked(source)
        special_tokens: dict[str, Any] = {} if source.is_bare else dict(GPT2.default_tokens)
        special_tokens.update({name: checked[name] for name in SPECIAL_TOKEN_NAMES if name in checked})
        if source.tokenizer_file is not None:
            made = backend.from_tokenizer_json(source.tokenizer_file, GPT2)
        elif source.vocab_file is not None and source.merges_file is not None:
            made = backend.from_byte_pairs(source.vocab_file, source.merges_file)
        else:
            raise InputError(
                "GPT2Tokenizer takes a vocab_file (vocab.json) and a merges_file (merges.txt), or a tokenizer_file "
                "(tokenizer.json), got neither"
            )
        self._begin(source, checked, made, special_tokens, cleans_up=False)
        self.add_prefix_space: bool = checked.get("add_prefix_space", False)
        self.add_bos_token: bool = checked.get("add_bos_token", False)

        file = source.tokenizer_file or source.vocab_file
        assert file is not None
        with blaming(file), library_errors(FileError, f"{file}: cannot add the special tokens"):
            self._add_missing(self._tokens_to_add(source))
            backend.set_prefix_space(self._backend, self.add_prefix_space)
            if self.add_bos_token and source.tokenizer_file is None and self.bos_token is not None:
                backend.set_beginning(self._backend, (self.bos_token, self.convert_tokens_to_ids(self.bos_token)))
        backend.check_ids(self._backend, file)

    def __call__(
        self, text: str | Sequence[Any], text_pair: str | Sequence[Any] | None = None, **options: Any
    ) -> BatchEncoding:
        """Encode a text, or a list of texts; `options` are those of `BertTokenizer`."""
        if options.get("is_split_into_words") and not self.add_prefix_space:
            raise InputError("is_split_into_words: takes a tokenizer with add_prefix_space=True, so that words stay apart")
        return super().__call__(text, text_pair, **options)

    # --- rows of ids: nothing goes around them ------------------------------------------------------------------------

    def build_inputs_with_special_tokens(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None
    ) -> list[int]:
        """One row of ids behind the other."""
        return [*token_ids_0, *(token_ids_1 or ())]

    def get_special_tokens_mask(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 where a special token is; none is put anywhere, so with `already_has_special_tokens=False` all are 0."""
        if already_has_special_tokens:
            return super().get_special_tokens_mask(token_ids_0, token_ids_1, True)
        return [0] * len(self.build_inputs_with_special_tokens(token_ids_0, token_ids_1))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name_or_path!r}, vocab_size={self.vocab_size}, len={len(self)}, "
            f"add_prefix_space={self.add_prefix_space}, model_max_length={self.model_max_length}, "
            f"special_tokens={self.special_tokens_map})"
        )


GPT2TokenizerFast = GPT2Tokenizer
"""The reference has two implementations; here both names are the one on the Rust library."""
