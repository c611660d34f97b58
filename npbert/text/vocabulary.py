"""The vocabulary of a tokenizer: tokens and their ids, and adding tokens."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from npbert.checks import unicode_text
from npbert.errors import InputError, InputTypeError, shown
from npbert.text.backend import library_errors
from npbert.text.checks import row_of_ids
from npbert.text.settings import SPECIAL_TOKEN_NAMES, TOKEN_SETTINGS, special_token, token_list
from npbert.text.special_tokens import SpecialTokens

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer


_vocabularies: weakref.WeakSet[Vocabulary] = weakref.WeakSet()
"""Every one that lives, for the case that the process forks."""

LARGEST_ID = 2**32 - 1
"""The library's ids are whole numbers of 32 bits."""


def _token_id_attribute(name: str) -> property:
    def get(self: Vocabulary) -> int | None:
        token = getattr(self, name)
        return None if token is None else self.convert_tokens_to_ids(token)

    def set_(self: Vocabulary, value: int | None) -> None:
        setattr(self, name, None if value is None else self.convert_ids_to_tokens(value))

    return property(get, set_, doc=f"The id of the {name.replace('_', ' ')}, or None.")


class Vocabulary(SpecialTokens):
    """Tokens and their ids. The Rust library holds them, and is asked anew each time."""

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
    ) -> None:
        super().__init__(special_tokens, additional_special_tokens)
        self._backend = backend
        self._set_lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_known")}  # cannot be copied

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._set_lock()

    def _set_lock(self) -> None:
        self._known: tuple[Mapping[str, int], Mapping[int, str]] | None = None
        self._lock = threading.Lock()
        _vocabularies.add(self)

    def _after_fork(self) -> None:
        """In a forked process: let go of what another thread of the parent had in use, which does not run here.

        Its lock would stay locked, and the library would count its tokenizer as being read for good, cut and padded as that
        thread's call asked for.
        """
        if self._lock.locked():
            self._backend = type(self._backend).from_str(self._backend.to_str())
            self._backend.no_truncation()
            self._backend.no_padding()
        self._lock = threading.Lock()

    # --- tokens and ids -----------------------------------------------------------------------------------------------

    @property
    def backend_tokenizer(self) -> Tokenizer:
        """The `tokenizers.Tokenizer` that does the work."""
        return self._backend

    def get_vocab(self) -> dict[str, int]:
        """Token to id, added tokens among them: a new dictionary at every call."""
        vocab: dict[str, int] = self._backend.get_vocab(with_added_tokens=True)
        return vocab

    @property
    def vocab(self) -> Mapping[str, int]:
        """The same as `get_vocab()`, made once, and for reading only."""
        return self._both_ways()[0]

    @property
    def ids_to_tokens(self) -> Mapping[int, str]:
        """Id to token, in the order of the ids; made once, and for reading only."""
        return self._both_ways()[1]

    def _both_ways(self) -> tuple[Mapping[str, int], Mapping[int, str]]:
        """Token to id and id to token, made anew when tokens have been added."""
        if self._known is None or len(self._known[0]) != len(self):
            vocab = self.get_vocab()
            tokens = {number: token for token, number in sorted(vocab.items(), key=lambda entry: entry[1])}
            self._known = MappingProxyType(vocab), MappingProxyType(tokens)
        return self._known

    @property
    def vocab_size(self) -> int:
        """How many tokens the vocabulary has without those that were added; `len(tok)` counts all."""
        return int(self._backend.get_vocab_size(with_added_tokens=False))

    def __len__(self) -> int:
        return int(self._backend.get_vocab_size(with_added_tokens=True))

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """Id to `AddedToken`, for every token that is found in a text before it is cut into words: special and added ones."""
        tokens: dict[int, AddedToken] = self._backend.get_added_tokens_decoder()
        return tokens

    def get_added_vocab(self) -> dict[str, int]:
        """The same tokens, as text to id."""
        return {str(token): number for number, token in sorted(self.added_tokens_decoder.items())}

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """The same as `get_added_vocab()`."""
        return self.get_added_vocab()

    @property
    def additional_special_tokens_ids(self) -> list[int]:
        """The ids of `additional_special_tokens`."""
        return [self.convert_tokens_to_ids(token) for token in self.additional_special_tokens]

    @additional_special_tokens_ids.setter
    def additional_special_tokens_ids(self, ids: Iterable[int]) -> None:
        self.additional_special_tokens = self.convert_ids_to_tokens(list(ids))

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of `all_special_tokens`."""
        return [self.convert_tokens_to_ids(token) for token in self.all_special_tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The token of an id, or the list of tokens of a list or 1-D array of ids."""
        if isinstance(ids, int | np.integer):
            return self._token_of(int(ids))
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [self._token_of(number) for number in row_of_ids("ids", ids) if number not in skipped]

    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> Any:
        """The id of a token, or the list of ids of a list of tokens; a token that is not in the vocabulary is unknown."""
        if isinstance(tokens, str):
            return self._id_of(unicode_text("tokens", tokens))
        if not isinstance(tokens, Iterable):
            raise InputTypeError(f"tokens: takes a text or a list of texts, got {shown(tokens)}")
        return [self._id_of(token) for token in [unicode_text(f"tokens[{i}]", token) for i, token in enumerate(tokens)]]

    def _id_of(self, token: str) -> int | None:
        """None if even the unknown token is not in the vocabulary."""
        number: int | None = self._backend.token_to_id(token)
        return number if number is not None or self.unk_token is None else self._backend.token_to_id(self.unk_token)

    def _token_of(self, number: int) -> str:
        token: str | None = self._backend.id_to_token(number) if 0 <= number <= LARGEST_ID else None
        if token is None:
            raise InputError(f"token id {number} is not in the vocabulary, which has {len(self)} tokens")
        return token

    # --- adding tokens ------------------------------------------------------------------------------------------------

    def add_tokens(self, new_tokens: str | AddedToken | Sequence[str | AddedToken], special_tokens: bool = False) -> int:
        """Add tokens that a text is searched for before it is cut into words. Returns how many were added.

        Tokens that the vocabulary lacks get the ids from `len(tok)` on: the model then needs `resize_token_embeddings`.
        """
        if not new_tokens:  # an empty text too, as in the reference
            return 0
        tokens = new_tokens if isinstance(new_tokens, list | tuple) else [new_tokens]
        return self._add(token_list("new_tokens", tokens), special_tokens=special_tokens)

    def add_special_tokens(self, special_tokens_dict: Mapping[str, Any], replace_additional_special_tokens: bool = True) -> int:
        """Set special tokens by their names ({"cls_token": "<cls>"}) and add them. Returns how many were added."""
        checked = {name: _checked_special(name, value) for name, value in special_tokens_dict.items()}
        added: dict[str, AddedToken] = {}
        for name, value in checked.items():
            if name == "additional_special_tokens":
                known = set() if replace_additional_special_tokens else set(self.additional_special_tokens)
                new = [token for token in value if str(token) not in known]
                kept = [] if replace_additional_special_tokens and new else self._additional_special_tokens
                self._additional_special_tokens = [*kept, *new]
                added.update({str(token): token for token in new})
            else:
                self._special_tokens[name] = value
                added.setdefault(str(value), value)
        return self._add(list(added.values()), special_tokens=True) if added else 0

    def _add(self, tokens: Sequence[Any], special_tokens: bool = False) -> int:
        texts = [unicode_text("new_tokens", str(token)) for token in tokens]
        with self._lock, library_errors(InputError, "the tokens cannot be added"):
            self._check_next_ids({text for text in texts if self._backend.token_to_id(text) is None})
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

    def _add_missing(self, added_tokens: Mapping[int, AddedToken]) -> None:
        """Add the special tokens and these others where the library's own file lacks them; known ones take these flags."""
        from tokenizers import AddedToken

        by_text = {str(token): token for token in added_tokens.values()}
        for name, token in self._special_tokens.items():
            if token is not None:
                self._special_tokens[name] = by_text.get(str(token), token)
        listed: list[Any] = [token for _, token in sorted(added_tokens.items())]
        known = {str(token) for token in (*self.added_tokens_decoder.values(), *listed)}
        # A special token given as a text takes the flags that the file gives it; an AddedToken brings its own.
        unlisted = [t for t in self._all_special_tokens() if t not in (known if isinstance(t, str) else listed)]
        special = set(self.all_special_tokens)
        tokens = [
            AddedToken(token, special=token in special) if isinstance(token, str) else token for token in [*listed, *unlisted]
        ]
        for token in tokens:
            token.special = token.special or str(token) in special
        if tokens:
            self._add(tokens)

    # --- rows of ids with special tokens around them ------------------------------------------------------------------

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
                raise InputError("token_ids_1: takes None where already_has_special_tokens=True: the ids are one row then")
            special = set(self.all_special_ids)
            return [int(number in special) for number in token_ids_0]
        mask = [1, *[0] * len(token_ids_0), 1]
        return mask if token_ids_1 is None else [*mask, *[0] * len(token_ids_1), 1]


def _checked_special(name: str, value: Any) -> Any:
    """The value of an entry of `add_special_tokens`, with texts made special `AddedToken`s."""
    from tokenizers import AddedToken

    def added(token: Any) -> AddedToken:
        return AddedToken(token, normalized=False, special=True) if isinstance(token, str) else token

    if name == "additional_special_tokens":
        return [added(token) for token in token_list(name, value)]
    if name not in SPECIAL_TOKEN_NAMES or value is None:
        taken = ", ".join(TOKEN_SETTINGS)
        raise InputError(f"special_tokens_dict: takes {taken}, with a token each, got {shown(name)}: {shown(value)}")
    return added(special_token(name, value))


def _after_fork() -> None:
    for vocabulary in list(_vocabularies):
        vocabulary._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
