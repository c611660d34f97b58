"""Text to token ids and back: BERT's WordPiece tokenizer, on the Rust library `tokenizers`.

A text goes through four steps (Devlin et al. 2018, and Wu et al. 2016 for WordPiece):

1. *normalize*: control characters go, every white space becomes a blank, Chinese characters get blanks around them;
   an uncased vocabulary also lower-cases and strips accents,
2. *split* at blanks and around punctuation: "best-selling" is three words,
3. *WordPiece*: each word is cut greedily into the longest pieces that the vocabulary has, and every piece but the first
   carries "##": unheard -> un ##heard. A word that cannot be cut is one `[UNK]`,
4. *frame*: `[CLS] a [SEP]`, or `[CLS] a [SEP] b [SEP]` for a pair, token type 0 up to the first `[SEP]` and 1 after it.

The library does these steps; `BertTokenizer` gives them the interface of the reference's `BertTokenizerFast`. What surrounds
them is in files of its own: `tokenization/files.py` (reading and writing), `checks.py` (what is taken),
`vocabulary.py` (tokens, ids, special tokens, ids to text), `lengths.py` (padding and truncation), `batch_encoding.py`
(the answer). `tokenizers` is imported when the first tokenizer is made, not with these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npbert.checkpoints.hub import find_file
from npbert.errors import FileError, InputError, InputTypeError, warn
from npbert.text import checks, files
from npbert.text.batch_encoding import BatchEncoding, CharSpan, TokenSpan
from npbert.text.files import MODEL_INPUT_NAMES, Source, load_vocab
from npbert.text.lengths import as_array, check_return_tensors, columns_of, pad_columns, row_lengths
from npbert.text.vocabulary import Vocabulary
from npbert.types import StrPath

if TYPE_CHECKING:
    from tokenizers import AddedToken, Encoding

__all__ = ["BatchEncoding", "BertTokenizer", "CharSpan", "TokenSpan", "load_vocab"]


class BertTokenizer(Vocabulary):
    """Text to BERT's token ids and back, with the ids and the interface of the reference's `BertTokenizerFast`.

        tok = BertTokenizer.from_pretrained("bert-base-uncased")     # or BertTokenizer("vocab.txt", do_lower_case=False)
        tok(["a text", "another, longer one"], padding=True, return_tensors="np")

    - `vocab_file`: a `vocab.txt`, one token a line. `tokenizer_file`: a `tokenizer.json`, which wins when both are given.
    - `do_lower_case`, `strip_accents` (None: as `do_lower_case`), `tokenize_chinese_chars`: the normalizer. They are applied to
      a `tokenizer.json` too, whatever it says itself, as in the reference.
    - `never_split`: words of the vocabulary that stay whole and keep their case when they stand alone.
    - `model_max_length`: where `truncation=True` and `padding="max_length"` end when a call gives no `max_length`.
    - `padding_side`, `truncation_side`: "right" or "left". `model_input_names`: which arrays a call answers.
    - `clean_up_tokenization_spaces`: whether `decode` draws punctuation to the word before it.
    - `split_special_tokens`: cut special tokens in a text as if they were words.

    A call sets the library's padding and truncation for itself alone, under a lock: no call changes the next one, and a
    tokenizer may be shared between threads.
    """

    pad_token_type_id = 0

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
        settings = {name: value for name, value in locals().items() if name in checks.SETTINGS}
        self._configure(Source(vocab_file, tokenizer_file, settings, added_tokens_decoder or {}))

    def _configure(self, source: Source) -> None:
        """Everything that a constructor does."""
        unset = ("padding_side", "truncation_side", "clean_up_tokenization_spaces")
        given = {name: value for name, value in source.settings.items() if value is not None or name not in unset}
        checked: dict[str, Any] = {name: check(name, given[name]) for name, check in checks.SETTINGS.items() if name in given}
        parts = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
        parts.update({name: checked[name] for name in checks.SPECIAL_TOKEN_NAMES if name in checked})

        file = source.vocab_file if source.tokenizer_file is None else source.tokenizer_file
        if file is None:
            raise InputError("BertTokenizer takes a vocab_file (vocab.txt) or a tokenizer_file (tokenizer.json), got neither")
        from_vocab = source.tokenizer_file is None
        backend = files.from_vocab(file, str(parts["unk_token"])) if from_vocab else files.from_tokenizer_json(file)
        truncation, padding = backend.truncation, backend.padding
        backend.no_truncation()
        backend.no_padding()

        # The reference's two ways of making a fast tokenizer have two defaults for cleaning up.
        clean = checked.get("clean_up_tokenization_spaces", from_vocab)
        super().__init__(backend, parts, checked.get("additional_special_tokens", []), clean)
        self._other_settings = {name: value for name, value in source.settings.items() if name not in checks.SETTINGS}
        self.name_or_path = source.name_or_path
        self.do_lower_case: bool = checked.get("do_lower_case", True)
        self.strip_accents: bool | None = checked.get("strip_accents")
        self.tokenize_chinese_chars: bool = checked.get("tokenize_chinese_chars", True)
        self.never_split: list[str] = checked.get("never_split", [])
        self.model_max_length: int = checked.get("model_max_length", checks.NO_MAX_LENGTH)
        self.padding_side: str = checked.get("padding_side", padding["direction"] if padding else "right")
        self.truncation_side: str = checked.get("truncation_side", truncation["direction"] if truncation else "right")
        self.split_special_tokens: bool = checked.get("split_special_tokens", False)
        self.model_input_names: list[str] = checked.get("model_input_names", list(MODEL_INPUT_NAMES))

        added_tokens = {**source.added_tokens, **(backend.get_added_tokens_decoder() if source.tokens_of_file_win else {})}
        with checks.naming(file), checks.library_errors(FileError, f"{file}: cannot add the special tokens"):
            # The library searches a text for added tokens by the normalizer that there was when they came.
            if from_vocab:
                self._set_normalizer()
                self._add_missing_tokens(added_tokens)
                self._frame_with_special_tokens()
            else:
                self._add_missing_tokens(added_tokens)
                self._set_normalizer()
        self._keep_whole(self.never_split, file)
        self._check_vocabulary(file)

    def _add_missing_tokens(self, added_tokens: Mapping[int, AddedToken]) -> None:
        """Give the library the added and special tokens that its own file lacks; those it has take the flags given here."""
        from tokenizers import AddedToken

        by_content = {str(token): token for token in added_tokens.values()}
        for name, token in self._special_tokens.items():
            if token is not None:
                self._special_tokens[name] = by_content.get(str(token), token)
        missing: list[Any] = [token for _, token in sorted(added_tokens.items())]
        known = {str(token) for token in (*self._backend.get_added_tokens_decoder().values(), *missing)}
        # A special token given as a string takes the flags that the file gives it; an AddedToken brings its own.
        missing += [t for t in self._all_special_tokens() if (t not in known if isinstance(t, str) else t not in missing)]
        specials = set(self.all_special_tokens)
        tokens = []
        for token in missing:
            if isinstance(token, str):
                token = AddedToken(token, special=token in specials)
            token.special = token.special or str(token) in specials
            tokens.append(token)
        if tokens:
            self._add(tokens)

    def _frame_with_special_tokens(self) -> None:
        from tokenizers import processors

        if self.cls_token is None or self.sep_token is None:
            raise InputError("cls_token and sep_token frame every text, got None")
        cls, sep = (self.cls_token, self.cls_token_id), (self.sep_token, self.sep_token_id)
        self._backend.post_processor = processors.TemplateProcessing(
            single=[f"{cls[0]}:0", "$A:0", f"{sep[0]}:0"],
            pair=[f"{cls[0]}:0", "$A:0", f"{sep[0]}:0", "$B:1", f"{sep[0]}:1"],
            special_tokens=[cls, sep],
        )

    def _set_normalizer(self) -> None:
        """Lay the constructor's three switches over the library's normalizer; a tokenizer.json's `clean_text` stays."""
        from tokenizers import normalizers

        old = self._backend.normalizer
        if not isinstance(old, normalizers.BertNormalizer):
            return  # a normalizer of another kind has no such switches: it says what it does by being there
        switches = (self.tokenize_chinese_chars, self.strip_accents, self.do_lower_case)
        if (old.handle_chinese_chars, old.strip_accents, old.lowercase) != switches:
            self._backend.normalizer = normalizers.BertNormalizer(old.clean_text, *switches)

    def _keep_whole(self, words: Iterable[str], file: StrPath) -> None:
        from tokenizers import AddedToken

        added = {str(token) for token in self._backend.get_added_tokens_decoder().values()}
        for word in words:
            if self._backend.token_to_id(word) is None:
                raise InputError(
                    f"never_split: {word!r} is not in the vocabulary {file}: whole it would be unknown. add_tokens adds it"
                )
            if word not in added:
                self._backend.add_tokens([AddedToken(word, single_word=True, normalized=False)])

    def _check_vocabulary(self, file: StrPath) -> None:
        """Find now what would else be found at the first unknown word, or by the model as an id out of range."""
        unknown = self._backend.model.unk_token
        if self._backend.model.token_to_id(unknown) is None:
            raise FileError(f"{file}: the vocabulary has no {unknown!r} for unknown words")
        for number, token in self.added_tokens_decoder.items():
            word = self._backend.model.id_to_token(number)
            if word not in (None, str(token)):
                raise FileError(f"{file}: the id {number} is that of the added token {str(token)!r} and of {word!r}")
        for pair in ((), ("",)):
            with checks.library_errors(FileError, f"{file}: cannot frame a text with special tokens"):
                frame = self._backend.encode("", *pair)
            framed = [self._backend.id_to_token(number) for number in frame.ids]
            if framed != frame.tokens:
                raise FileError(f"{file}: texts are framed with {frame.tokens}, but the ids {frame.ids} stand for {framed}")

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: StrPath,
        *,
        revision: str | None = None,
        cache_dir: StrPath | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        **overrides: Any,
    ) -> BertTokenizer:
        """Read a checkpoint's tokenizer, from a directory or the hub: `tokenizer.json`, or else `vocab.txt`.

        The path of such a file itself is taken too, and what stands beside it counts as for a directory.
        `tokenizer_config.json` adds the settings, and where they differ from `tokenizer.json` they win; `overrides` (the
        constructor's keywords) win over both. Special and added tokens come from `tokenizer_config.json`; where it does not
        list them (`added_tokens_decoder`), from `special_tokens_map.json`, `added_tokens.json` and `tokenizer.json`.
        """
        if unknown := sorted(overrides.keys() - checks.SETTINGS.keys()):
            raise InputTypeError(f"from_pretrained does not take {', '.join(unknown)}; it takes {', '.join(checks.SETTINGS)}")
        find = partial(
            find_file, path_or_id, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only, token=token
        )
        self = cls.__new__(cls)
        self._configure(files.read_source(path_or_id, find, overrides))
        return self

    # --- text to ids --------------------------------------------------------------------------------------------------

    def __call__(
        self,
        text: str | Sequence[Any],
        text_pair: str | Sequence[Any] | None = None,
        *,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        split_special_tokens: bool | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Encode a text, or a list of texts; `text_pair` is the second text of each pair.

        - `text`: a string, or a list of strings for a batch (of (text, text) tuples for a batch of pairs); with
          `is_split_into_words` a list of words, or a list of such lists for a batch.
        - `add_special_tokens=True`: frame with `[CLS]` and `[SEP]`.
        - `padding=False`: True or "longest" pads to the longest of the batch, "max_length" to `max_length`, False or
          "do_not_pad" not at all. `pad_to_multiple_of` rounds that length up; `padding_side` overrides the tokenizer's.
        - `truncation=None`: True or "longest_first" cuts to `max_length`, token by token from the longer text of a pair;
          "only_first" and "only_second" cut one of them; False or "do_not_truncate" cuts nothing. None is False, except that
          `max_length` without padding then means "longest_first", with a warning.
        - `max_length=None`: the tokenizer's `model_max_length`.
        - `return_overflowing_tokens`: what is cut off comes as further rows that overlap by `stride` tokens, and
          `overflow_to_sample_mapping` says which text each row came from.
        - `return_token_type_ids`, `return_attention_mask` (None: as `model_input_names` says), `return_special_tokens_mask`,
          `return_offsets_mapping` (first and past-the-last character of each token), `return_length`: further entries.
        - `return_tensors`: "np" answers int64 arrays, None lists. A single text is a batch of one as arrays, and has no batch
          axis as lists.
        - `split_special_tokens`: overrides the tokenizer's. `verbose=False`: no warnings.
        """
        items, is_batch = checks.items_of(text, text_pair, is_split_into_words)
        check_return_tensors(return_tensors)
        checks.refuse_surrogates("text", items)
        stride = checks.count("stride", stride, 0)
        if split_special_tokens is None:
            split_special_tokens = self.split_special_tokens
        lengths = row_lengths(
            padding, truncation, max_length, pad_to_multiple_of, model_max_length=self.model_max_length, verbose=verbose
        )
        pad_to = cut_to = None
        if lengths.padding != "do_not_pad":
            pad_to = {
                "length": lengths.max_length if lengths.padding == "max_length" else None,
                "direction": self.padding_side if padding_side is None else checks.side("padding_side", padding_side),
                "pad_id": self._pad_id(),
                "pad_token": self.pad_token,
                "pad_type_id": self.pad_token_type_id,
                "pad_to_multiple_of": pad_to_multiple_of,
            }
        if lengths.truncation != "do_not_truncate":
            cut_to = {"max_length": lengths.max_length, "strategy": lengths.truncation, "stride": stride}
            cut_to["direction"] = self.truncation_side
            if add_special_tokens:
                self._check_room(items, lengths.max_length)
        encodings = self._encode(
            items,
            pad_to,
            cut_to,
            checks.flag("split_special_tokens", split_special_tokens),
            add_special_tokens=add_special_tokens,
            is_pretokenized=is_split_into_words,
        )

        rows: list[Encoding] = []
        sample: list[int] = []
        for number, encoding in enumerate(encodings):
            parts = [encoding, *encoding.overflowing] if return_overflowing_tokens else [encoding]
            rows += parts
            sample += [number] * len(parts)
        longest = max(len(row.ids) for row in rows)
        if verbose and lengths.max_length is None and 0 < self.model_max_length < longest:
            warn(f"a text has {longest} tokens, the model takes {self.model_max_length}; truncation=True cuts it")

        data: dict[str, Any] = {"input_ids": [row.ids for row in rows]}
        if self._answers("token_type_ids", return_token_type_ids):
            data["token_type_ids"] = [row.type_ids for row in rows]
        if self._answers("attention_mask", return_attention_mask):
            data["attention_mask"] = [row.attention_mask for row in rows]
        if return_special_tokens_mask:
            data["special_tokens_mask"] = [row.special_tokens_mask for row in rows]
        if return_offsets_mapping:
            data["offset_mapping"] = [row.offsets for row in rows]
        if return_length:
            data["length"] = [len(row.ids) for row in rows]
        if return_overflowing_tokens:
            data["overflow_to_sample_mapping"] = sample

        if return_tensors == "np":
            data = {name: as_array(name, value) for name, value in data.items()}
        elif not is_batch and not return_overflowing_tokens:
            data = {name: value[0] if isinstance(value[0], list) else value for name, value in data.items()}
        return BatchEncoding(data, rows)

    def _encode(
        self,
        items: Sequence[Any],
        padding: Mapping[str, Any] | None,
        truncation: Mapping[str, Any] | None,
        split_special_tokens: bool,
        **how: bool,
    ) -> list[Encoding]:
        """Let the library encode. What it keeps for the next call is set for this one alone."""
        with self._lock, checks.library_errors(InputError, "the text cannot be encoded"):
            try:
                if truncation is not None:
                    self._backend.enable_truncation(**truncation)
                if padding is not None:
                    self._backend.enable_padding(**padding)
                self._backend.encode_special_tokens = split_special_tokens
                encodings: list[Encoding] = self._backend.encode_batch(items, **how)
                return encodings
            finally:
                self._backend.no_truncation()
                self._backend.no_padding()

    def _check_room(self, items: Sequence[Any], max_length: Any) -> None:
        """Without room for the special tokens the library cuts nothing at all, and says nothing."""
        special = self.num_special_tokens_to_add(any(isinstance(item, tuple) for item in items))
        if max_length < special:
            raise InputError(f"max_length={max_length} leaves no room for the {special} special tokens")

    def _pad_id(self) -> int:
        number: int | None = None if self.pad_token is None else self._backend.token_to_id(self.pad_token)
        if number is None:
            raise InputError(f"padding needs a pad_token of the vocabulary, got {self.pad_token!r}")
        return number

    def _answers(self, name: str, asked: bool | None) -> bool:
        return name in self.model_input_names if asked is None else asked

    def encode_plus(
        self, text: str | Sequence[str], text_pair: str | Sequence[str] | None = None, **options: Any
    ) -> BatchEncoding:
        """Encode one text or pair; `options` as for a call."""
        checks.one_text("text", text, options.get("is_split_into_words", False))
        return self(text, text_pair, **options)

    def batch_encode_plus(self, batch_text_or_text_pairs: Sequence[Any], **options: Any) -> BatchEncoding:
        """Encode a list of texts, or of (text, text) pairs; `options` as for a call."""
        checks.batch_items(batch_text_or_text_pairs, options.get("is_split_into_words", False))
        return self(batch_text_or_text_pairs, **options)

    def encode(self, text: str | Sequence[str], text_pair: str | Sequence[str] | None = None, **options: Any) -> Any:
        """The `input_ids` of one text or pair; `options` as for a call."""
        return self.encode_plus(text, text_pair, **options)["input_ids"]

    def tokenize(self, text: str, pair: str | None = None, add_special_tokens: bool = False, **options: Any) -> list[str]:
        """The tokens of a text as strings."""
        return self.encode_plus(text, pair, add_special_tokens=add_special_tokens, **options).tokens()

    def pad(
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        max_length: int | None = None,
        *,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pad rows that were encoded before: a dictionary of rows, or a list of dictionaries with one row each.

        `input_ids`, `token_type_ids`, `attention_mask` (made if missing) and `special_tokens_mask` are padded, everything
        else (labels) is handed on as it is, as in the reference. Arrays in, arrays out.
        """
        check_return_tensors(return_tensors)
        data, arrays = columns_of(encoded_inputs)
        say = verbose and padding == "max_length"  # the other warnings speak of truncation
        lengths = row_lengths(
            padding, False, max_length, pad_to_multiple_of, model_max_length=self.model_max_length, verbose=say
        )
        side = self.padding_side if padding_side is None else checks.side("padding_side", padding_side)
        with_mask = self._answers("attention_mask", return_attention_mask)
        ids = data["input_ids"]
        if len(ids) == 0:
            return BatchEncoding({**data, "attention_mask": []} if with_mask else data)
        if with_mask and "attention_mask" not in data:
            is_batch = isinstance(ids[0], list | tuple)
            data["attention_mask"] = [[1] * len(row) for row in ids] if is_batch else [1] * len(ids)

        def fill() -> dict[str, int]:
            mask = {"attention_mask": 0} if with_mask else {}
            return {"input_ids": self._pad_id(), "token_type_ids": self.pad_token_type_id, "special_tokens_mask": 1, **mask}

        data = pad_columns(data, lengths, pad_to_multiple_of, side, fill)
        if arrays or return_tensors == "np":
            data = {name: as_array(name, value) for name, value in data.items()}
        return BatchEncoding(data)

    # --- files and messages -------------------------------------------------------------------------------------------

    def save_pretrained(self, save_directory: StrPath) -> tuple[str, ...]:
        """Write `tokenizer.json`, `vocab.txt`, `tokenizer_config.json` and `special_tokens_map.json`; answers their paths.

        Each file is the old one or the new one, never a part of it. The reference loads them with the same ids.
        """
        special = self.special_tokens_map
        own = {name: getattr(self, name) for name in checks.SETTINGS if name not in checks.TOKEN_SETTINGS}
        full: dict[str, Any] = {**self._special_tokens, "additional_special_tokens": self._additional_special_tokens}
        with self._lock:
            settings = {**self._other_settings, **own, **special}
            return files.write_files(Path(save_directory), self._backend, settings, {name: full[name] for name in special})

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name_or_path!r}, vocab_size={self.vocab_size}, len={len(self)}, "
            f"do_lower_case={self.do_lower_case}, model_max_length={self.model_max_length}, "
            f"special_tokens={self.special_tokens_map})"
        )
