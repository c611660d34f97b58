"""Where in a text is the answer to a question? (Rajpurkar et al. 2016, SQuAD; Devlin et al. 2018, section 4.2.)

A text too long for the model is read in spans that overlap. In each span every token has a probability of being the first of
the answer and another of being the last. The probability of a pair of tokens is the product of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npbert import ops
from npbert.checks import flag, unicode_text, whole_number
from npbert.errors import InputError, InputTypeError, MissingNameError, shown
from npbert.tasks.batches import Batch, answer_all
from npbert.tasks.inputs import Item, check_model, check_tokenizer, entries
from npbert.tasks.rows import TokenRow, longest_row, token_rows
from npbert.types import Array

if TYPE_CHECKING:
    from npbert.models.base import PreTrainedModel
    from npbert.text.tokenizer import BertTokenizer

DEFAULT_LENGTH = 384
DEFAULT_STRIDE = 128
EXCLUDED = -10000.0  # the logit of a token that cannot be in the answer
NO_SCORE_YET = 1000000.0  # above every probability: the smallest over all spans counts


def question_answering(
    model: PreTrainedModel,
    tokenizer: BertTokenizer,
    inputs: Any = None,
    *,
    question: str | Sequence[str] | None = None,
    context: str | Sequence[str] | None = None,
    top_k: int = 1,
    doc_stride: int | None = None,
    max_answer_len: int = 15,
    max_seq_len: int | None = None,
    max_question_len: int | None = None,
    handle_impossible_answer: bool = False,
    align_to_words: bool = True,
    batch_size: int | None = None,
) -> Any:
    """The answer to a question from a context: `{"score", "start", "end", "answer"}`, `answer` being `context[start:end]`.

    Give `question` and `context`, or `inputs`: a `{"question": ..., "context": ...}`, a list or an iterator of them.
    A list of questions may go with one context. With `top_k` above 1 the answer is a list, best first, unless there is only
    one; the scores of equal answers (up to case) from different places are added.

    - `max_seq_len`: question and context together, in tokens; None: 384, or less where the model takes less. A longer
      context is read in spans that overlap by `doc_stride` tokens (None: 128, at most half of `max_seq_len`)
    - `max_answer_len`: in tokens
    - `max_question_len`: cut a longer question to this many tokens; None cuts nothing
    - `handle_impossible_answer`: the empty answer counts too. Its score is that of the pair ([CLS], [CLS]), the smallest over
      all spans
    - `align_to_words`: an answer that begins or ends inside a word is extended to the whole word

    As in the reference, a list with a single question is answered like the question alone; and a context with fewer possible
    answers than `top_k` may have impossible ones in its list, whose score is 0.
    """
    check_model("question-answering", model, "BertForQuestionAnswering")
    check_tokenizer(tokenizer)
    asked = _examples(inputs, question, context)
    for name, number in (("top_k", top_k), ("max_answer_len", max_answer_len)):
        whole_number(name, number, least=1)
    if max_question_len is not None:
        whole_number("max_question_len", max_question_len, least=1)
    counts_none = flag("handle_impossible_answer", handle_impossible_answer, default=False)
    align_to_words = flag("align_to_words", align_to_words, default=True)
    length, stride = span_lengths(model, tokenizer, max_seq_len, doc_stride)

    def encode(items: Sequence[Item]) -> list[list[TokenRow]]:
        cut = max_question_len
        return [context_spans(tokenizer, *_question_and_context(*item), item.name, length, stride, cut) for item in items]

    def read(out: Any, batch: Batch) -> list[tuple[Array, Array]]:
        return list(zip(batch.without_padding(out.start_logits), batch.without_padding(out.end_logits), strict=True))

    def finish(item: Item, rows: list[TokenRow], logits: list[tuple[Array, Array]]) -> Any:
        text = item.value["context"]
        answers: dict[str, dict[str, Any]] = {}
        null_score = NO_SCORE_YET
        for row, (start_logits, end_logits) in zip(rows, logits, strict=True):
            allowed = _allowed(row, tokenizer.cls_token_id)
            start = ops.softmax(np.where(allowed, start_logits, EXCLUDED).astype(start_logits.dtype))  # [S]
            end = ops.softmax(np.where(allowed, end_logits, EXCLUDED).astype(end_logits.dtype))
            null_score = min(null_score, float(start[0] * end[0]))
            start[0] = end[0] = 0  # [CLS] stands for the empty answer and is in no other
            # Several candidates may become one answer when they are extended to whole words: look at more than are asked for.
            candidates = top_k * 2 + 10 if align_to_words else top_k
            for first, last, score in _best_pairs(start, end, allowed, candidates, max_answer_len):
                begin, stop = _characters(row, first, last, align_to_words)
                answer = text[begin:stop]
                known = answers.setdefault(answer.lower(), {"score": 0.0, "start": begin, "end": stop, "answer": answer})
                known["score"] += score
        found = list(answers.values())
        if counts_none or not found:
            found.append({"score": null_score if counts_none else 0.0, "start": 0, "end": 0, "answer": ""})
        found = sorted(found, key=lambda answer: answer["score"], reverse=True)[:top_k]
        return found[0] if len(found) == 1 else found

    is_one = isinstance(asked, Mapping)
    if isinstance(asked, list) and len(asked) == 1:
        asked, is_one = asked[0], True
    return answer_all(model, tokenizer, asked, is_one=is_one, encode=encode, read=read, finish=finish, batch_size=batch_size)


def _examples(inputs: Any, question: Any, context: Any) -> Any:
    if inputs is not None:
        if question is not None or context is not None:
            raise InputError("takes either inputs or question and context, got both")
        return inputs
    if question is None or context is None:
        raise InputError("takes a question and a context")
    if isinstance(question, str) and isinstance(context, str):
        return {"question": question, "context": context}
    if not isinstance(question, list | tuple):
        raise InputTypeError(f"question: takes a text, or a list of texts for a list of contexts, got {shown(question)}")
    contexts = [context] * len(question) if isinstance(context, str) else context
    if not isinstance(contexts, list | tuple):
        raise InputTypeError(f"context: takes a text or a list of texts, got {shown(context)}")
    if len(question) != len(contexts):
        raise InputError(f"context: takes as many as there are questions, {len(question)}, got {len(contexts)}")
    return [{"question": one, "context": text} for one, text in zip(question, contexts, strict=True)]


def _question_and_context(name: str, value: object) -> tuple[str, str]:
    try:
        question, context = entries(name, value, "question", "context")
    except InputTypeError as error:
        if isinstance(value, Mapping) and not value.keys() >= {"question", "context"}:
            raise MissingNameError(str(error)) from None  # the reference raises a KeyError
        raise
    for key, text in (("question", question), ("context", context)):
        if not unicode_text(f"{name}[{key!r}]", text):
            raise InputError(f"{name}[{key!r}]: takes a text, this one is empty")
    return question, context


def span_lengths(
    model: PreTrainedModel, tokenizer: BertTokenizer, max_seq_len: int | None, doc_stride: int | None
) -> tuple[int, int]:
    """How many tokens a span has, question included, and by how many it overlaps the next. None stands for the default."""
    longest = longest_row(model, tokenizer)
    least = tokenizer.num_special_tokens_to_add(pair=True) + 1
    length = min(DEFAULT_LENGTH, longest) if max_seq_len is None else whole_number("max_seq_len", max_seq_len, least=least)
    if length > longest:
        raise InputError(f"max_seq_len: takes up to {longest} tokens, because the model does, got {max_seq_len}")
    stride = min(length // 2, DEFAULT_STRIDE) if doc_stride is None else whole_number("doc_stride", doc_stride)
    if stride > length:
        raise InputError(f"doc_stride: takes up to max_seq_len ({length}), got {stride}")
    return length, stride


def context_spans(
    tokenizer: BertTokenizer,
    question: str,
    context: str,
    name: str,
    length: int,
    stride: int,
    max_question_len: int | None = None,
) -> list[TokenRow]:
    """`[CLS] question [SEP] context [SEP]`, the context in spans where it is too long."""
    asked = tokenizer(question, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
    tokens = len(asked["input_ids"])
    if max_question_len is not None and tokens > max_question_len:
        question = question[: asked["offset_mapping"][max_question_len - 1][1]]
        tokens = max_question_len
    room = length - tokens - tokenizer.num_special_tokens_to_add(pair=True)
    options: dict[str, Any] = {"verbose": False}
    if room > stride:
        options |= {
            "truncation": "only_second",
            "max_length": length,
            "stride": stride,
            "return_overflowing_tokens": True,
        }
    rows = token_rows(tokenizer, tokenizer([(question, context)], **options))
    if len(rows[0]) > length:
        raise InputError(
            f"{name}: the question's {tokens} tokens leave {max(room, 0)} of max_seq_len={length} for the context, which is "
            f"not more than the overlap of its spans, doc_stride={stride}; max_question_len= cuts the question"
        )
    return rows


def _allowed(row: TokenRow, cls_id: int | None) -> Array:
    """Which tokens may be in an answer: the context's, and [CLS], which means "there is no answer"."""
    in_context = np.array([number == 1 for number in row.encoding.sequence_ids])
    return in_context | (np.array(row.inputs["input_ids"]) == cls_id)  # [S]


def _best_pairs(start: Array, end: Array, allowed: Array, count: int, longest: int) -> list[tuple[int, int, float]]:
    """The likeliest (first, last) pairs, best first: last not before first, and not more than `longest` tokens."""
    scores = np.tril(np.triu(np.outer(start, end)), min(longest, len(start)) - 1)  # [S, S]
    flat = -scores.reshape(-1)
    # Not `ops.top_k`: among equal scores (often many zeros) the candidates must be those that the reference picks.
    if count == 1:
        best = np.array([flat.argmin()])
    elif count >= len(flat):
        best = np.argsort(flat)
    else:
        best = np.argpartition(flat, count)[:count]
        best = best[np.argsort(flat[best])]
    firsts, lasts = np.unravel_index(best, scores.shape)
    usable = allowed[firsts] & allowed[lasts]
    return [(int(i), int(j), float(scores[i, j])) for i, j in zip(firsts[usable], lasts[usable], strict=True)]


def _characters(row: TokenRow, first: int, last: int, align_to_words: bool) -> tuple[int, int]:
    """The characters of the context that the tokens `first` to `last`, or the words they are in, stand for."""
    encoding = row.encoding
    begin, end = encoding.offsets[first][0], encoding.offsets[last][1]
    words = [word for word in (encoding.word_ids[first], encoding.word_ids[last]) if word is not None]
    if align_to_words and len(words) == 2:
        spans = [encoding.word_to_chars(word, 1) for word in words]
        if spans[0] is not None and spans[1] is not None:
            begin, end = spans[0][0], spans[1][1]
    return begin, end
