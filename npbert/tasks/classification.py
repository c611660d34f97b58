"""Tasks with one answer for a whole text, or for a pair of texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from npbert import ops
from npbert.checks import choice, flag, whole_number
from npbert.errors import InputTypeError
from npbert.tasks.batches import Batch, answer_all
from npbert.tasks.inputs import Item, check_model, text_or_pair
from npbert.tasks.rows import TokenRow, encode_texts
from npbert.types import Array

if TYPE_CHECKING:
    from npbert.bert.config import BertConfig
    from npbert.models.base import PreTrainedModel
    from npbert.text.tokenizer import BertTokenizer

TextOrPair: TypeAlias = str | Mapping[str, str] | tuple[str, str]

FUNCTIONS: dict[str, Callable[[Array], Array]] = {"softmax": ops.softmax, "sigmoid": ops.sigmoid, "none": lambda logits: logits}


def text_classification(
    model: PreTrainedModel,
    tokenizer: BertTokenizer,
    inputs: TextOrPair | Sequence[TextOrPair] | Iterable[TextOrPair],
    *,
    top_k: int | Literal["best"] | None = "best",
    function_to_apply: str | None = None,
    truncation: bool | str | None = None,
    max_length: int | None = None,
    padding: bool | str | None = None,
    add_special_tokens: bool | None = None,
    return_all_scores: bool | None = None,
    batch_size: int | None = None,
) -> Any:
    """The label of a text, or of a pair `{"text": ..., "text_pair": ...}`: `{"label", "score"}`.

    With `top_k` the answer is a list of the `top_k` best labels, best first; with `top_k=None`, of all labels; with
    `return_all_scores=True` of all in the order of the labels.
    `function_to_apply` turns logits into scores: "softmax" (exactly one label is right), "sigmoid" (each label may be right) or
    "none" (the logits are the scores). None asks the configuration: "none" for regression, "sigmoid" for a model with one label
    or where several labels may be right, else "softmax". `truncation`, `max_length`, `padding` and `add_special_tokens` go to
    the tokenizer.

    As in the reference, without `top_k` a text alone (no pair) has its answer in a list.
    """
    check_model("text-classification", model, "BertForSequenceClassification", "GPT2ForSequenceClassification")
    without_top_k = isinstance(top_k, str) and top_k == "best"
    wants_all = without_top_k and flag("return_all_scores", return_all_scores, default=False)
    wants_best = without_top_k and not wants_all
    top_k = None if wants_all else top_k
    if not wants_best and top_k is not None:
        whole_number("top_k", top_k, least=1)
    function = FUNCTIONS[_function_name(model.config, function_to_apply)]
    options = {
        "truncation": truncation,
        "max_length": max_length,
        "padding": padding,
        "add_special_tokens": add_special_tokens,
    }

    def finish(item: Item, rows: list[TokenRow], logits: list[Array]) -> Any:
        scores = function(logits[0])  # [num_labels]
        if wants_best:
            best = int(scores.argmax())
            return {"label": model.config.label_names[best], "score": float(scores[best])}
        ranked = np.arange(len(scores)) if wants_all else ops.top_k(scores, len(scores))  # of equal ones the first comes first
        order = ranked[: None if isinstance(top_k, str) else top_k].tolist()
        return [{"label": model.config.label_names[label], "score": float(scores[label])} for label in order]

    answer = answer_all(
        model,
        tokenizer,
        inputs,
        is_one=isinstance(inputs, str | Mapping | tuple),
        encode=encode_texts(model, tokenizer, options),
        read=lambda out, batch: list(out.logits),
        finish=finish,
        batch_size=batch_size,
    )
    return [answer] if isinstance(inputs, str) and without_top_k else answer


def _function_name(config: BertConfig, given: str | None) -> str:
    if given is not None:
        return choice("function_to_apply", given.lower() if isinstance(given, str) else given, tuple(FUNCTIONS))
    if config.problem_type == "regression":
        return "none"
    if config.problem_type == "multi_label_classification" or config.num_labels == 1:
        return "sigmoid"
    return "softmax"


def next_sentence(
    model: PreTrainedModel,
    tokenizer: BertTokenizer,
    inputs: Mapping[str, str] | tuple[str, str] | Sequence[Any] | Iterable[Any],
    *,
    truncation: bool | str | None = None,
    max_length: int | None = None,
    batch_size: int | None = None,
) -> Any:
    """Does the second text of a pair follow the first? `{"is_next": probability, "not_next": probability}`.

    A pair is `(first, second)` or `{"text": first, "text_pair": second}`. `truncation` and `max_length` go to the tokenizer.
    """
    check_model("next-sentence", model, "BertForNextSentencePrediction", "BertForPreTraining")
    encode_any = encode_texts(model, tokenizer, {"truncation": truncation, "max_length": max_length})

    def encode(items: Sequence[Item]) -> list[list[TokenRow]]:
        for item in items:
            if not isinstance(text_or_pair(*item), tuple):
                raise InputTypeError(f"{item.name}: takes two texts, got one; an empty text does not count")
        return encode_any(items)

    def read(out: Any, batch: Batch) -> list[Array]:
        return list(ops.softmax(out.seq_relationship_logits if "seq_relationship_logits" in out else out.logits))  # [B] of [2]

    return answer_all(
        model,
        tokenizer,
        inputs,
        is_one=isinstance(inputs, str | Mapping | tuple),
        encode=encode,
        read=read,
        finish=lambda item, rows, probs: {"is_next": float(probs[0][0]), "not_next": float(probs[0][1])},
        batch_size=batch_size,
    )
