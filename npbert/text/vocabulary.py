"""The vocabulary of a tokenizer: tokens and their ids, special and added tokens, and ids back to text."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from npbert.errors import InputError, InputTypeError
from npbert.text import checks

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer


def _token_attribute(name: str) -> property:
    def get(self: Vocabulary) -> str | None:
        token = self._special_tokens[name]
        return None if token is None else str(token)

    def set_(self: Vocabulary, value: str | AddedToken | None) -> None:
        self._special_tokens[name] = checks.token(name, value)

    return property(get, set_, doc=f"The {name.replace('_', ' ')}, or None. Setting it adds nothing to the vocabulary.")


def _token_id_attribute(name: str) -> property:
    def get(self: Vocabulary) -> int | None:
        token = getattr(self, name)
        return None if token is None else self.convert_tokens_to_ids(token)

    def set_(self: Vocabulary, value: int | None) -> None:
        setattr(self, name, None if value is None else self.convert_ids_to_tokens(value))

    return property(get, set_, doc=f"The id of the {name.replace('_', ' ')}, or None.")


class Vocabulary:
    """What a tokenizer knows without a text. Most of it is on the Rust library's side, which is asked anew each time.

    Special tokens have a part: `cls_token`, `sep_token`, ... and their ids `cls_token_id`, ... A part may be None.
    """

    bos_token = _token_attribute("bos_token")
    eos_token = _token_attribute("eos_token")
    unk_token = _token_attribute("unk_token")
    sep_token = _token_attribute("sep_token")
    pad_token = _token_attribute("pad_token")
    cls_token = _token_attribute("cls_token")
    mask_token = _token_attribute("mask_token")
    bos_token_id = _token_id_attribute("bos_token")
    eos_token_id = _token_id_attribute("eos_token")
    unk_token_id = _token_id_attribute("unk_token")
    sep_token_id = _token_id_attribute("sep_token")
    pad_token_id = _token_id_attribute("pad_token")
    cls_token_id = _token_id_attribute("cls_token")
    mask_token_id = _token_id_attribute("mask_token")

    def __init__(
        self,
        backend: Tokenizer,
        special_tokens: Mapping[str, str | AddedToken | None],
        additional_special_tokens: Sequence[str | AddedToken],
        clean_up_tokenization_spaces: bool,
    ) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self._special_tokens = {name: special_tokens.get(name) for name in checks.SPECIAL_TOKEN_NAMES}
        self._additional_special_tokens = list(additional_special_tokens)
        self.clean_up_tokenization_spaces = clean_up_tokenization_spaces

    # --- tokens and ids -----------------------------------------------------------------------------------------------

    @property
    def backend_tokenizer(self) -> Tokenizer:
        """The `tokenizers.Tokenizer` that does the work."""
        return self._backend

    def get_vocab(self) -> dict[str, int]:
        """Token to id, added tokens among them. Made anew at every call, as the library keeps it on its side."""
        vocab: dict[str, int] = self._backend.get_vocab(with_added_tokens=True)
        return vocab

    @property
    def vocab(self) -> dict[str, int]:
        """The same as `get_vocab()`."""
        return self.get_vocab()

    @property
    def ids_to_tokens(self) -> dict[int, str]:
        """Id to token, in the order of the ids."""
        return {number: token for token, number in sorted(self.get_vocab().items(), key=lambda entry: entry[1])}

    @property
    def vocab_size(self) -> int:
        """How many tokens the vocabulary has without those that were added; `len(tok)` counts all."""
        return int(self._backend.get_vocab_size(with_added_tokens=False))

    def __len__(self) -> int:
        return int(self._backend.get_vocab_size(with_added_tokens=True))

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The token of an id, or the list of tokens of a list or 1-D array of ids."""
        if isinstance(ids, int | np.integer):
            return self._token_of(int(ids))
        skip = set(self.all_special_ids) if skip_special_tokens else set()
        return [self._token_of(number) for number in checks.id_list("ids", ids) if number not in skip]

    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> Any:
        """The id of a token, or the list of ids of a list of tokens; a token that is not in the vocabulary is unknown."""
        if isinstance(tokens, str):
            checks.refuse_surrogates("tokens", [tokens])
            number = self._backend.token_to_id(tokens)
            # Only an unknown token that is itself in the vocabulary has an id: asking for it again would never end.
            return number if number is not None or self.unk_token is None else self._backend.token_to_id(self.unk_token)
        if not isinstance(tokens, Iterable):
            raise InputTypeError(f"tokens is a string or a list of strings, got {type(tokens).__name__} {checks.short(tokens)}")
        words = [checks.one_text(f"tokens[{place}]", token, False) for place, token in enumerate(tokens)]
        return [self.convert_tokens_to_ids(word) for word in words]

    def _token_of(self, number: int) -> str:
        token: str | None = self._backend.id_to_token(number) if 0 <= number < 2**32 else None
        if token is None:
            raise InputError(f"token id {number} is not in the vocabulary, which has {len(self)} tokens")
        return token

    # --- special and added tokens -------------------------------------------------------------------------------------

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """Id to `AddedToken`, for every token that is found in a text before it is cut into words: special and added ones."""
        tokens: dict[int, AddedToken] = self._backend.get_added_tokens_decoder()
        return tokens

    def get_added_vocab(self) -> dict[str, int]:
        """The same tokens, as text to id."""
        return {str(token): number for number, token in sorted(self.added_tokens_decoder.items())}

    @property
    def additional_special_tokens(self) -> list[str]:
        """Special tokens without a part of their own."""
        return [str(token) for token in self._additional_special_tokens]

    @additional_special_tokens.setter
    def additional_special_tokens(self, tokens: Sequence[str | AddedToken]) -> None:
        self._additional_special_tokens = checks.tokens("additional_special_tokens", tokens)

    @property
    def additional_special_tokens_ids(self) -> list[int]:
        """Their ids."""
        return [self.convert_tokens_to_ids(token) for token in self.additional_special_tokens]

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        """Part to special token, for those that are set: {"unk_token": "[UNK]", ...}."""
        parts: dict[str, Any] = {name: str(token) for name, token in self._special_tokens.items() if token is not None}
        if self._additional_special_tokens:
            parts["additional_special_tokens"] = self.additional_special_tokens
        return parts

    def _all_special_tokens(self) -> list[str | AddedToken]:
        # An additional token may come twice, from two files with two sets of flags: the library takes the last.
        parts: dict[str, str | AddedToken] = {}
        for token in self._special_tokens.values():
            if token is not None:
                parts.setdefault(str(token), token)
        return [*parts.values(), *(token for token in self._additional_special_tokens if str(token) not in parts)]

    @property
    def all_special_tokens(self) -> list[str]:
        """All special tokens, each once."""
        return list(dict.fromkeys(str(token) for token in self._all_special_tokens()))

    @property
    def all_special_ids(self) -> list[int]:
        """Their ids."""
        return [self.convert_tokens_to_ids(token) for token in self.all_special_tokens]

    def add_tokens(self, new_tokens: str | AddedToken | Sequence[str | AddedToken], special_tokens: bool = False) -> int:
        """Add tokens that a text is searched for before it is cut into words; answers how many were taken.

        Tokens that the vocabulary lacks get the ids from `len(tok)` on: the model then needs `resize_token_embeddings`.
        """
        several = new_tokens if isinstance(new_tokens, list | tuple) else [new_tokens]
        return self._add(checks.tokens("new_tokens", several), special_tokens=special_tokens)

    def _add(self, tokens: list[Any], special_tokens: bool = False) -> int:
        checks.refuse_surrogates("new_tokens", [str(token) for token in tokens])
        with self._lock, checks.library_errors(InputError, "the tokens cannot be added"):
            new = {str(token) for token in tokens if self._backend.token_to_id(str(token)) is None}
            if new:
                self._check_next_ids(new)
            # Older versions of the library go by the method, newer ones by the token's own flag.
            count = 0
            for special, group in groupby(tokens, lambda token: special_tokens or getattr(token, "special", False)):
                count += (self._backend.add_special_tokens if special else self._backend.add_tokens)(list(group))
            return count

    def _check_next_ids(self, new: set[str]) -> None:
        """In a vocabulary with gaps the library counts tokens to find the next id, and would hand out a taken one."""
        next_id = len(self)
        for number in range(next_id, next_id + len(new)):
            taken = self._backend.id_to_token(number)
            if taken is not None:
                raise InputError(
                    f"cannot add {sorted(new)}: the vocabulary has gaps (a token on two lines?), "
                    f"and the next id {number} is that of {taken!r}"
                )

    def add_special_tokens(self, special_tokens_dict: Mapping[str, Any], replace_additional_special_tokens: bool = True) -> int:
        """Set special tokens by their part ({"cls_token": "<cls>"}) and add them; answers how many were taken."""
        from tokenizers import AddedToken

        def special(name: str, token: Any) -> AddedToken:
            token = checks.token(name, token)
            return AddedToken(token, normalized=False, special=True) if isinstance(token, str) else token

        checked: dict[str, Any] = {}
        for name, value in special_tokens_dict.items():
            if name == "additional_special_tokens":
                checked[name] = [special(name, token) for token in checks.tokens(name, value)]
            elif name in checks.SPECIAL_TOKEN_NAMES and value is not None:
                checked[name] = special(name, value)
            else:
                taken = ", ".join(checks.TOKEN_SETTINGS)
                raise InputError(f"add_special_tokens takes {taken} with a token each, got {name!r}: {checks.short(value)}")
        added: dict[str, AddedToken] = {}
        for name, value in checked.items():
            if name == "additional_special_tokens":
                known = set() if replace_additional_special_tokens else set(self.additional_special_tokens)
                new = [token for token in value if str(token) not in known]
                keep = [] if replace_additional_special_tokens and new else self._additional_special_tokens
                self._additional_special_tokens = [*keep, *new]
                added.update({str(token): token for token in new})
            else:
                self._special_tokens[name] = value
                added.setdefault(str(value), value)
        return self._add(list(added.values()), special_tokens=True) if added else 0

    # --- ids to text --------------------------------------------------------------------------------------------------

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> str:
        """The text of one row of ids (a list, a 1-D array or a single id): pieces joined, words separated by blanks."""
        ids = checks.id_list("token_ids", token_ids)
        for number in ids:
            self._token_of(number)
        text: str = self._backend.decode(ids, skip_special_tokens=skip_special_tokens)
        clean = self.clean_up_tokenization_spaces if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        return clean_up_tokenization(text) if clean else text

    def batch_decode(
        self, sequences: Iterable[Any], skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> list[str]:
        """The texts of several rows of ids."""
        return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in sequences]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """The text of a list of tokens: "un", "##heard" is "unheard"."""
        words: Any = checks.one_text("tokens", tokens, True)
        decoder = self._backend.decoder
        return str(decoder.decode(words)) if decoder is not None else " ".join(words)

    # --- framing rows of ids ------------------------------------------------------------------------------------------

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens frame a text (2) or a pair (3)."""
        return int(self._backend.num_special_tokens_to_add(pair))

    def build_inputs_with_special_tokens(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None
    ) -> list[int]:
        """`[CLS] a [SEP]`, or `[CLS] a [SEP] b [SEP]`."""
        ids = [self.cls_token_id, *token_ids_0, self.sep_token_id]
        return ids if token_ids_1 is None else [*ids, *token_ids_1, self.sep_token_id]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None
    ) -> list[int]:
        """0 for `[CLS] a [SEP]`, 1 for `b [SEP]`."""
        cls, sep = int(self.cls_token is not None), int(self.sep_token is not None)
        types = [0] * (cls + len(token_ids_0) + sep)
        return types if token_ids_1 is None else types + [1] * (len(token_ids_1) + sep)

    def get_special_tokens_mask(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 where a special token is, or with `already_has_special_tokens=False` would be put, and 0 elsewhere."""
        if already_has_special_tokens:
            if token_ids_1 is not None:
                raise InputError(
                    "token_ids_1 is None when already_has_special_tokens=True: the ids are framed, so they are one row"
                )
            special = set(self.all_special_ids)
            return [int(number in special) for number in token_ids_0]
        mask = [1, *[0] * len(token_ids_0), 1]
        return mask if token_ids_1 is None else [*mask, *[0] * len(token_ids_1), 1]

    # --- being an object ----------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


def clean_up_tokenization(text: str) -> str:
    """Draw punctuation and English short forms to the word before them: "it 's fine ." becomes "it's fine."."""
    for apart, joined in (
        *((f" {mark}", mark) for mark in ".?!,"),
        (" ' ", "'"),
        *((f" {short}", short) for short in ("n't", "'m", "'s", "'ve", "'re")),
    ):
        text = text.replace(apart, joined)
    return text
