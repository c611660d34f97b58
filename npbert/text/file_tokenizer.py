"""What every tokenizer has in common: it is made from a checkpoint's files, and written as such files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from npbert import checkpoints
from npbert.checks import flag, known, path
from npbert.text import familiar
from npbert.text.decoding import Detokenizer
from npbert.text.files import Source, read_source, write_files
from npbert.text.framing import IdEncoder
from npbert.text.settings import NO_MAX_LENGTH, TOKEN_SETTINGS, TokenizerKind
from npbert.types import StrPath

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SomeTokenizer = TypeVar("SomeTokenizer", bound="FileTokenizer")

WITHOUT_EFFECT = ("use_fast", "from_slow", "verbose", "trust_remote_code")
"""Options of the reference that choose between ways to the same ids."""


class FileTokenizer(IdEncoder, Detokenizer):
    """A tokenizer that is made from files. Its class says which, and sets up the library."""

    kind: ClassVar[TokenizerKind]

    def __getattr__(self, name: str) -> Any:
        familiar.missing(type(self).__name__, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _configure(self, source: Source) -> None:
        """Everything that a constructor does."""
        raise NotImplementedError

    def _checked(self, source: Source) -> dict[str, Any]:
        """The settings that somebody chose, checked."""
        unset = ("padding_side", "truncation_side", "clean_up_tokenization_spaces")
        given = {name: value for name, value in source.settings.items() if value is not None or name not in unset}
        return {name: check(name, given[name]) for name, check in self.kind.settings.items() if name in given}

    def _begin(
        self, source: Source, checked: dict[str, Any], made: Tokenizer, special_tokens: dict[str, Any], *, cleans_up: bool
    ) -> None:
        """Take over what the files say; `cleans_up` where nobody says whether decoded texts are cleaned up."""
        truncation, padding = made.truncation, made.padding
        made.no_truncation()
        made.no_padding()
        super().__init__(made, special_tokens, checked.get("additional_special_tokens", []))
        self._source_settings = dict(source.settings)
        self._other_settings = {name: value for name, value in source.settings.items() if name not in self.kind.settings}
        self.name_or_path = source.name_or_path
        self.model_max_length = checked.get("model_max_length", NO_MAX_LENGTH)
        self.padding_side = checked.get("padding_side", padding["direction"] if padding else "right")
        self.truncation_side = checked.get("truncation_side", truncation["direction"] if truncation else "right")
        self.clean_up_tokenization_spaces = checked.get("clean_up_tokenization_spaces", cleans_up)
        self.split_special_tokens = checked.get("split_special_tokens", False)
        self.model_input_names = checked.get("model_input_names", list(self.kind.model_input_names))

    def _tokens_to_add(self, source: Source) -> dict[int, Any]:
        """The added tokens of all files; of those that two files have, the one that counts."""
        return {**source.added_tokens, **(self.added_tokens_decoder if source.tokens_of_file_win else {})}

    @property
    def is_fast(self) -> bool:
        """Always True: the Rust library does the work."""
        return True

    @property
    def max_len_single_sentence(self) -> int:
        """How many tokens a text may have beside the special ones."""
        return self.model_max_length - self.num_special_tokens_to_add()

    @property
    def max_len_sentences_pair(self) -> int:
        """The same for a pair."""
        return self.model_max_length - self.num_special_tokens_to_add(pair=True)

    @property
    def init_kwargs(self) -> dict[str, Any]:
        """Every setting, as the tokenizer was made with it, and what else its files said."""
        settings = {name: getattr(self, name) for name in self.kind.settings}
        return {**settings, "added_tokens_decoder": self.added_tokens_decoder, **self._source_settings}

    def train_new_from_iterator(
        self,
        text_iterator: Iterable[Any],
        vocab_size: int,
        *,
        new_special_tokens: Sequence[str] | None = None,
        special_tokens_map: Mapping[str, str] | None = None,
    ) -> Any:
        """A tokenizer of the same kind and settings with a vocabulary learned from texts, or from lists of texts.

        It has at most `vocab_size` tokens; the special ones come first, and `new_special_tokens` behind them.
        `special_tokens_map` gives special tokens other texts: `{"[CLS]": "<s>"}`. Of a WordPiece vocabulary the library numbers
        the pieces in another order at every run.
        """
        from npbert.text.learning import learn

        return learn(self, text_iterator, vocab_size, new_special_tokens, special_tokens_map)

    @classmethod
    def from_pretrained(cls: type[SomeTokenizer], pretrained_model_name_or_path: StrPath, **options: Any) -> SomeTokenizer:
        """Read a checkpoint's tokenizer, from a directory or the hub: `tokenizer.json`, or else the vocabulary, which is
        `vocab.txt`, or for GPT-2 `vocab.json` and `merges.txt`.

        The path of a `tokenizer.json` or `vocab.txt` works too; the files beside it are read as in a directory.
        `tokenizer_config.json` adds the settings, and where they differ from `tokenizer.json` they win. The exception is a
        checkpoint that names the class PreTrainedTokenizerFast: `tokenizer.json` alone says how its texts are normalized, and a
        special token that no file names is None. `options` that are the constructor's keywords win over all files, and
        `tokenizer_file` is read in the place of `tokenizer.json`. `revision`, `cache_dir`, `local_files_only` and `token` are
        as for models. Special and added tokens come from
        `tokenizer_config.json`; where it does not list them (`added_tokens_decoder`), from `special_tokens_map.json`,
        `added_tokens.json` and `tokenizer.json`.
        """
        location = {name: options.pop(name) for name in checkpoints.LOCATION_OPTIONS if name in options}
        tokenizer_file = options.pop("tokenizer_file", None)
        options = {name: value for name, value in options.items() if name not in WITHOUT_EFFECT}
        known("from_pretrained", options, (*cls.kind.settings, "tokenizer_file"))
        name = pretrained_model_name_or_path
        find = checkpoints.find(name, **location).file
        self = cls.__new__(cls)
        self._configure(read_source(name, find, options, cls.kind, tokenizer_file=tokenizer_file))
        return self

    def save_pretrained(self, save_directory: StrPath, *, legacy_format: bool | None = None) -> tuple[str, ...]:
        """Write `tokenizer.json`, the vocabulary, `tokenizer_config.json` and `special_tokens_map.json`. Returns their paths.

        A file that is being replaced is the old one or the new one, never a part. The reference reads the same ids from them.
        `legacy_format` may be given: the files of both formats are always written.
        """
        flag("legacy_format", legacy_format, False)
        directory = Path(path("save_directory", save_directory))
        special = self.special_tokens_map
        own = {name: getattr(self, name) for name in self.kind.settings if name not in TOKEN_SETTINGS}
        full: dict[str, Any] = {**self._special_tokens, "additional_special_tokens": self._additional_special_tokens}
        with self._lock:
            unset = dict.fromkeys(self.kind.default_tokens)  # else these would come back as the defaults
            settings = {**self._other_settings, **own, **unset, **special}
            return write_files(directory, self._backend, settings, {name: full[name] for name in special}, self.kind)
