"""The special tokens of a tokenizer as texts: each has a name (`cls_token`, `sep_token`, ...) or is an additional one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from npbert.text.settings import SPECIAL_TOKEN_NAMES, special_token, token_list

if TYPE_CHECKING:
    from tokenizers import AddedToken


def _token_attribute(name: str) -> property:
    def get(self: SpecialTokens) -> str | None:
        token = self._special_tokens[name]
        return None if token is None else str(token)

    def set_(self: SpecialTokens, value: str | AddedToken | None) -> None:
        self._special_tokens[name] = special_token(name, value)

    return property(get, set_, doc=f"The {name.replace('_', ' ')}, or None. Setting it adds nothing to the vocabulary.")


class SpecialTokens:
    """Special tokens by their names, and additional ones. A name whose token is not set has None."""

    bos_token = _token_attribute("bos_token")
    eos_token = _token_attribute("eos_token")
    unk_token = _token_attribute("unk_token")
    sep_token = _token_attribute("sep_token")
    pad_token = _token_attribute("pad_token")
    cls_token = _token_attribute("cls_token")
    mask_token = _token_attribute("mask_token")

    def __init__(
        self, special_tokens: Mapping[str, str | AddedToken | None], additional_special_tokens: Sequence[str | AddedToken]
    ) -> None:
        self._special_tokens = {name: special_tokens.get(name) for name in SPECIAL_TOKEN_NAMES}
        self._additional_special_tokens = list(additional_special_tokens)

    @property
    def additional_special_tokens(self) -> list[str]:
        """Special tokens without a name."""
        return [str(token) for token in self._additional_special_tokens]

    @additional_special_tokens.setter
    def additional_special_tokens(self, tokens: Sequence[str | AddedToken]) -> None:
        self._additional_special_tokens = token_list("additional_special_tokens", tokens)

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        """Name to special token, for those that are set: {"unk_token": "[UNK]", ...}."""
        named: dict[str, Any] = {name: str(token) for name, token in self._special_tokens.items() if token is not None}
        if self._additional_special_tokens:
            named["additional_special_tokens"] = self.additional_special_tokens
        return named

    @property
    def all_special_tokens(self) -> list[str]:
        """All special tokens, each once."""
        return list(dict.fromkeys(str(token) for token in self._all_special_tokens()))

    @property
    def all_special_tokens_extended(self) -> list[str | AddedToken]:
        """The same, as `AddedToken`s with their flags where they have flags."""
        return self._all_special_tokens()

    def _all_special_tokens(self) -> list[str | AddedToken]:
        """The same with their flags. An additional token may come twice, from two files with two sets of flags."""
        named: dict[str, str | AddedToken] = {}
        for token in self._special_tokens.values():
            if token is not None:
                named.setdefault(str(token), token)
        return [*named.values(), *(token for token in self._additional_special_tokens if str(token) not in named)]
