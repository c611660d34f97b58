"""Ids to what a call returns: cut, framed with special tokens and padded, as a text is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from npbert.checks import choice, whole_number
from npbert.errors import InputError
from npbert.text.batch_encoding import BatchEncoding
from npbert.text.checks import row_of_ids
from npbert.text.encoding import TextEncoder
from npbert.text.lengths import TRUNCATIONS, row_lengths
from npbert.text.padding import to_arrays


class IdEncoder(TextEncoder):
    """A text encoder that also takes ids without special tokens, such as `convert_tokens_to_ids(tokenize(text))` gives."""

    def prepare_for_model(
        self,
        ids: Sequence[int],
        pair_ids: Sequence[int] | None = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        *,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_length: bool = False,
        prepend_batch_axis: bool = False,
        verbose: bool = True,
    ) -> BatchEncoding:
        """What a call makes of a text, or of a pair, from their ids; the options are those of a call.

        As in the reference, what was cut off comes as `overflowing_tokens` with `num_truncated_tokens`, and arrays have a batch
        axis only with `prepend_batch_axis=True`.
        """
        first = row_of_ids("ids", ids)
        second = None if pair_ids is None else row_of_ids("pair_ids", pair_ids)
        choice("return_tensors", return_tensors, ("np", None))
        lengths = row_lengths(
            padding, truncation, max_length, pad_to_multiple_of, model_max_length=self.model_max_length, verbose=verbose
        )
        special = self.num_special_tokens_to_add(pair=second is not None) if add_special_tokens else 0
        cut: list[int] = []
        surplus = 0
        if lengths.truncation != "do_not_truncate" and lengths.max_length is not None:
            surplus = max(len(first) + len(second or ()) + special - lengths.max_length, 0)
            first, second, cut = self.truncate_sequences(first, second, surplus, lengths.truncation, stride)

        columns: dict[str, Any] = {}
        if return_overflowing_tokens:
            if second is not None and lengths.truncation == "longest_first":
                raise InputError("return_overflowing_tokens: of a pair takes truncation='only_first' or 'only_second'")
            columns |= {"overflowing_tokens": cut, "num_truncated_tokens": surplus}
        plain = [*first, *(second or ())]
        columns["input_ids"] = self.build_inputs_with_special_tokens(first, second) if add_special_tokens else plain
        if verbose and lengths.max_length is None:
            self._warn_of_long(len(columns["input_ids"]))
        if self._returns("token_type_ids", return_token_type_ids):
            types = self.create_token_type_ids_from_sequences(first, second) if add_special_tokens else [0] * len(plain)
            columns["token_type_ids"] = types
        if return_special_tokens_mask:
            mask = self.get_special_tokens_mask(first, second) if add_special_tokens else [0] * len(plain)
            columns["special_tokens_mask"] = mask
        padded = self.pad(
            columns,
            lengths.padding,
            lengths.max_length,
            pad_to_multiple_of=pad_to_multiple_of,
            padding_side=padding_side,
            return_attention_mask=return_attention_mask,
            verbose=verbose,
        )
        if return_length:
            padded["length"] = len(padded["input_ids"])
        if prepend_batch_axis:
            padded = BatchEncoding({name: [value] for name, value in padded.items()})
        return BatchEncoding(to_arrays(padded)) if return_tensors == "np" else padded

    def truncate_sequences(
        self,
        ids: Sequence[int],
        pair_ids: Sequence[int] | None = None,
        num_tokens_to_remove: int = 0,
        truncation_strategy: str = "longest_first",
        stride: int = 0,
    ) -> tuple[list[int], list[int] | None, list[int]]:
        """The ids with so many fewer, and what was cut off with `stride` tokens of what is left.

        "longest_first" cuts a pair token by token where it is longer, and gives nothing back of what it cut off. As in the
        reference, of two rows of one length the second loses the odd token; in a call it is the first. The other strategies
        leave at least one token, as in a call.
        """
        first = row_of_ids("ids", ids)
        second = None if pair_ids is None else row_of_ids("pair_ids", pair_ids)
        number = whole_number("num_tokens_to_remove", num_tokens_to_remove)
        strategy = choice("truncation_strategy", truncation_strategy, TRUNCATIONS)
        whole_number("stride", stride)
        if not number or strategy == "do_not_truncate":
            return first, second, []
        if strategy == "only_second":
            if second is None:
                raise InputError("truncation_strategy: 'only_second' cuts the second text of a pair, and there is one text")
            second, cut = self._cut("pair_ids", second, number, stride, leaves=1)
            return first, second, cut
        if second is None or strategy == "only_first":
            first, cut = self._cut("ids", first, number, stride, leaves=int(strategy == "only_first"))
            return first, second, cut
        of_the_longer = min(abs(len(first) - len(second)), number)
        rest = number - of_the_longer
        of_first, of_second = (of_the_longer, 0) if len(first) > len(second) else (0, of_the_longer)
        first, _ = self._cut("ids", first, of_first + rest // 2)
        second, _ = self._cut("pair_ids", second, of_second + rest - rest // 2)
        return first, second, []

    def _cut(self, name: str, ids: list[int], number: int, stride: int = 0, leaves: int = 0) -> tuple[list[int], list[int]]:
        """A row without `number` ids at the side where texts are cut, and those ids with `stride` more."""
        if number > len(ids) - leaves:
            raise InputError(f"{name}: {number} ids cannot be cut off, there are {len(ids)}")
        stays = len(ids) - number
        if self.truncation_side == "left":
            return ids[number:], ids[: number + stride]
        return ids[:stays], ids[max(stays - stride, 0) :]
