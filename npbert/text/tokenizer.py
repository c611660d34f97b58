"""Text to token ids and back: BERT's WordPiece tokenizer, on the Rust library `tokenizers`.

A text goes through four steps (Devlin et al. 2018, and Wu et al. 2016 for WordPiece):

1. *normalize*: control characters go, every white space becomes a blank, Chinese characters get blanks around them;
   an uncased vocabulary also lower-cases and strips accents,
2. *split* at blanks and around punctuation: "best-selling" is three words,
3. *WordPiece*: each word is cut greedily into the longest pieces that the vocabulary has, and every piece but the first
   carries "##": unheard -> un ##heard. A word that cannot be cut is one `[UNK]`,
4. *frame*: `[CLS] a [SEP]`, or `[CLS] a [SEP] b [SEP]` for a pair, token type 0 up to the first `[SEP]` and 1 after it.

The Rust library does these steps; `BertTokenizer` gives them the interface of the reference's `BertTokenizerFast`. Its parts
have files of their own:

- settings.py, checks.py: what it takes
- files.py, backend.py: reading and writing files, setting up the library
- special_tokens.py, vocabulary.py: tokens and ids
- lengths.py, encoding.py, padding.py: text to ids
- framing.py: ids without special tokens to what a call returns
- decoding.py: ids to text
- batch_encoding.py: what a call returns
- file_tokenizer.py: what GPT-2's tokenizer (byte_pairs.py) has in common with this one

`tokenizers` is imported when the first tokenizer is made, not with these files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from npbert.checks import path
from npbert.errors import FileError, InputError
from npbert.text import backend
from npbert.text.backend import library_errors, load_vocab
from npbert.text.batch_encoding import BatchEncoding, CharSpan, TokenSpan
from npbert.text.file_tokenizer import FileTokenizer
from npbert.text.files import Source, blaming
from npbert.text.settings import BERT, MODEL_INPUT_NAMES, SETTINGS, SPECIAL_TOKEN_NAMES
from npbert.types import StrPath

if TYPE_CHECKING:
    from tokenizers import AddedToken


__all__ = ["BatchEncoding", "BertTokenizer", "CharSpan", "TokenSpan", "load_vocab"]


class BertTokenizer(FileTokenizer):
    """Text to BERT's token ids and back, with the ids and the interface of the reference's `BertTokenizerFast`.

        tok = BertTokenizer.from_pretrained("bert-base-uncased")     # or BertTokenizer("vocab.txt", do_lower_case=False)
        tok(["a text", "another, longer one"], padding=True, return_tensors="np")

    - `vocab_file`: a `vocab.txt`, one token a line. `tokenizer_file`: a `tokenizer.json`, which wins when both are given.
    - `do_lower_case`, `strip_accents` (None: as `do_lower_case`), `tokenize_chinese_chars`: how a text is normalized. They win
      over what a `tokenizer.json` says, as in the reference.
    - `never_split`: words of the vocabulary that stay whole and keep their case when they stand alone.
    - `model_max_length`: the length for `truncation=True` and `padding="max_length"` when a call gives no `max_length`.
    - `padding_side`, `truncation_side`: "right" or "left". `model_input_names`: which arrays a call returns.
    - `clean_up_tokenization_spaces`: whether `decode` joins punctuation to the word before it.
    - `split_special_tokens`: cut special tokens in a text as if they were words.

    Padding and truncation of one call do not change the next one, and threads may share a tokenizer.
    """

    kind = BERT

    def __init__(
        self,
        vocab_file: StrPath | None = None,
        *,
        tokenizer_file: StrPath | None = None,
        do_lower_case: bool = True,
        unk_token: str | AddedToken = "[UNK]",
        sep_token: str | AddedToken = "[SEP]",
        pad_token: str | AddedToken = "[PAD]",
        cls_token: str | AddedToken = "[CLS]",
        mask_token: str | AddedToken = "[MASK]",
        tokenize_chinese_chars: bool = True,
        strip_accents: bool | None = None,
        never_split: Iterable[str] | None = None,
        bos_token: str | AddedToken | None = None,
        eos_token: str | AddedToken | None = None,
        additional_special_tokens: Sequence[str | AddedToken] = (),
        model_max_length: int | None = None,
        padding_side: str | None = None,
        truncation_side: str | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        split_special_tokens: bool = False,
        model_input_names: Sequence[str] = MODEL_INPUT_NAMES,
        added_tokens_decoder: Mapping[int, AddedToken] | None = None,
    ) -> None:
        settings = {name: value for name, value in locals().items() if name in SETTINGS}
        self._configure(Source(vocab_file, tokenizer_file, settings, added_tokens_decoder or {}))

    def _configure(self, source: Source) -> None:
        """Everything that a constructor does."""
        checked = self._checked(source)
        special_tokens = {} if source.is_bare else dict(BERT.default_tokens)
        special_tokens.update({name: checked[name] for name in SPECIAL_TOKEN_NAMES if name in checked})

        file = source.vocab_file if source.tokenizer_file is None else source.tokenizer_file
        if file is None:
            raise InputError("BertTokenizer takes a vocab_file (vocab.txt) or a tokenizer_file (tokenizer.json), got neither")
        from_vocab = source.tokenizer_file is None
        path("vocab_file" if from_vocab else "tokenizer_file", file)
        made = backend.from_vocab(file, str(special_tokens["unk_token"])) if from_vocab else backend.from_tokenizer_json(file)
        if source.is_bare:
            checked = {**backend.normalizer_settings(made), **checked}
        # The reference's two ways of making a fast tokenizer have two defaults for cleaning up.
        self._begin(source, checked, made, special_tokens, cleans_up=from_vocab)
        self.do_lower_case: bool = checked.get("do_lower_case", True)
        self.strip_accents: bool | None = checked.get("strip_accents")
        self.tokenize_chinese_chars: bool = checked.get("tokenize_chinese_chars", True)
        self.never_split: list[str] = checked.get("never_split", [])
        self._set_up_backend(source, file, from_vocab)

    def _set_up_backend(self, source: Source, file: StrPath, from_vocab: bool) -> None:
        """Give the library the tokens and switches that its own file lacks, and check the result."""
        added_tokens = self._tokens_to_add(source)
        with blaming(file), library_errors(FileError, f"{file}: cannot add the special tokens"):
            # The library searches a text for added tokens by the normalizer that it had when they were added.
            if from_vocab:
                self._set_normalizer()
                self._add_missing(added_tokens)
                if self.cls_token is None or self.sep_token is None:
                    raise InputError("cls_token and sep_token: take a token each, because they frame every text, got None")
                backend.set_frame(self._backend, (self.cls_token, self.cls_token_id), (self.sep_token, self.sep_token_id))
            else:
                self._add_missing(added_tokens)
                self._set_normalizer()
        backend.keep_whole(self._backend, self.never_split, file)
        backend.check_ids(self._backend, file)

    def _set_normalizer(self) -> None:
        backend.set_normalizer(
            self._backend,
            chinese_chars=self.tokenize_chinese_chars,
            strip_accents=self.strip_accents,
            lowercase=self.do_lower_case,
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name_or_path!r}, vocab_size={self.vocab_size}, len={len(self)}, "
            f"do_lower_case={self.do_lower_case}, model_max_length={self.model_max_length}, "
            f"special_tokens={self.special_tokens_map})"
        )
