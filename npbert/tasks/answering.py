"""Where in a text is the answer to a question? (Rajpurkar et al. 2016, SQuAD; Devlin et al. 2018, section 4.2.)

A text too long for the model is read in spans that overlap. In each span every token has a probability of being the first of
the answer and one of being the last, and a pair of tokens is as likely as the two probabilities multiplied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npbert import ops
from npbert.errors import InputError, InputTypeError
from npbert.tasks.batches import Batch, Item, Row, answer_all, check_count, check_model, check_text, longest_row, rows_of
from npbert.types import Array

if TYPE_CHECKING:
    from npbert.models.base import PreTrainedModel
    from npbert.text.tokenizer import BertTokenizer

DEFAULT_LENGTH = 384
DEFAULT_STRIDE = 128
EXCLUDED = -10000.0  # the logit of a token that cannot be in the answer
NULL_SCORE = 1000000.0  # above every probability: the smallest over all spans is what counts


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

    Asked are `question` and `context`, or `inputs`: a `{"question": ..., "context": ...}`, a list or an iterator of them.
    A list of questions may go with one context. With `top_k` above 1 the answer is a list, best first, unless there is only
    one; the scores of equal answers (up to case) from different places are added.

    - `max_seq_len`: question and context together, in tokens; None: 384, or less where the model takes less. A longer
      context is read in spans that overlap by `doc_stride` tokens (None: 128, at most half of `max_seq_len`)
    - `max_answer_len`: in tokens
    - `max_question_len`: a longer question is cut to so many tokens; None cuts nothing
    - `handle_impossible_answer`: the empty answer is one too, as likely as the first token ([CLS]) in the span that finds it
      least likely
    - `align_to_words`: an answer that begins or ends inside a word takes in the whole word

    As in the reference, a list with a single question is answered like the question alone; and a context with fewer possible
    answers than `top_k` may have impossible ones in its list, whose score is 0.
    """
    check_model("question-answering", model, "BertForQuestionAnswering")
    asked = _examples(inputs, question, context)
    for name, number in (("top_k", top_k), ("max_answer_len", max_answer_len)):
        check_count(name, number)
    longest = longest_row(model, tokenizer)
    special = tokenizer.num_special_tokens_to_add(pair=True)
    length = min(DEFAULT_LENGTH, longest) if max_seq_len is None else check_count("max_seq_len", max_seq_len, special + 1)
    if length > longest:
        raise InputError(f"max_seq_len: takes up to {longest} tokens, what the model takes, got {max_seq_len}")
    stride = min(length // 2, DEFAULT_STRIDE) if doc_stride is None else check_count("doc_stride", doc_stride, 0)
    if stride > length:
        raise InputError(f"doc_stride: takes up to max_seq_len ({length}), got {stride}")
    if max_question_len is not None:
        check_count("max_question_len", max_question_len)

    def encode(items: Sequence[Item]) -> list[list[Row]]:
        return [_spans(tokenizer, *_check_example(*item), item.name, length, stride, max_question_len) for item in items]

    def read(out: Any, batch: Batch) -> list[tuple[Array, Array]]:
        logits = zip(out.start_logits, out.end_logits, batch.lengths, strict=True)
        return [(start[:length], end[:length]) for start, end, length in logits]

    def finish(item: Item, rows: list[Row], logits: list[tuple[Array, Array]]) -> Any:
        text = item.value["context"]
        answers: dict[str, dict[str, Any]] = {}
        null_score = NULL_SCORE
        for row, (start_logits, end_logits) in zip(rows, logits, strict=True):
            allowed = _allowed(row, tokenizer.cls_token_id)
            start = ops.softmax(np.where(allowed, start_logits, EXCLUDED).astype(start_logits.dtype))  # [S]
            end = ops.softmax(np.where(allowed, end_logits, EXCLUDED).astype(end_logits.dtype))
            null_score = min(null_score, float(start[0] * end[0]))
            start[0] = end[0] = 0  # [CLS] stands for the empty answer and is in no other
            # Words may make several candidates into one answer, so more are looked at than are asked for.
            candidates = top_k * 2 + 10 if align_to_words else top_k
            for first, last, score in _best_pairs(start, end, allowed, candidates, max_answer_len):
                begin, stop = _characters(row, first, last, align_to_words)
                answer = text[begin:stop]
                known = answers.setdefault(answer.lower(), {"score": 0.0, "start": begin, "end": stop, "answer": answer})
                known["score"] += score
        found = list(answers.values())
        if handle_impossible_answer or not found:
            found.append({"score": null_score if handle_impossible_answer else 0.0, "start": 0, "end": 0, "answer": ""})
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
    if isinstance(question, str) or not isinstance(question, list | tuple):
        raise InputTypeError("question: takes a string, or a list of them with one context or as many contexts")
    contexts = [context] * len(question) if isinstance(context, str) else context
    if not isinstance(contexts, list | tuple):
        raise InputTypeError(f"context: takes a string or a list of strings, got {type(context).__name__}")
    if len(question) != len(contexts):
        raise InputError(f"context: takes as many as there are questions, {len(question)}, got {len(contexts)}")
    return [{"question": one, "context": text} for one, text in zip(question, contexts, strict=True)]


def _check_example(name: str, value: object) -> tuple[str, str]:
    if not isinstance(value, Mapping) or value.keys() != {"question", "context"}:
        got = sorted(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
        raise InputTypeError(f'{name}: takes {{"question": ..., "context": ...}}, got {got}')
    texts = [check_text(f"{name}[{part!r}]", value[part]) for part in ("question", "context")]
    for part, text in zip(("question", "context"), texts, strict=True):
        if not text:
            raise InputError(f"{name}[{part!r}]: takes a text, this one is empty")
    return texts[0], texts[1]


def _spans(
    tokenizer: BertTokenizer,
    question: str,
    context: str,
    name: str,
    length: int,
    stride: int,
    max_question_len: int | None,
) -> list[Row]:
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
    rows = rows_of(tokenizer, tokenizer([(question, context)], **options))
    if len(rows[0]) > length:
        raise InputError(
            f"{name}: the question's {tokens} tokens leave {max(room, 0)} of max_seq_len={length} for the context, which is "
            f"not more than the overlap of its spans, doc_stride={stride}; max_question_len= cuts the question"
        )
    return rows


def _allowed(row: Row, cls_id: int | None) -> Array:
    """Which tokens may be in an answer: the context's, and [CLS], which stands for "there is none"."""
    in_context = np.array([number == 1 for number in row.encoding.sequence_ids])
    return in_context | (np.array(row.inputs["input_ids"]) == cls_id)  # [S]


def _best_pairs(start: Array, end: Array, allowed: Array, count: int, longest: int) -> list[tuple[int, int, float]]:
    """The likeliest (first, last) pairs, best first: last not before first, and not more than `longest` tokens."""
    scores = np.tril(np.triu(np.outer(start, end)), longest - 1)  # [S, S]
    flat = -scores.reshape(-1)
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


def _characters(row: Row, first: int, last: int, align_to_words: bool) -> tuple[int, int]:
    """The characters of the context that the tokens `first` to `last`, or the words they are in, stand for."""
    encoding = row.encoding
    begin, end = encoding.offsets[first][0], encoding.offsets[last][1]
    words = [word for word in (encoding.word_ids[first], encoding.word_ids[last]) if word is not None]
    if align_to_words and len(words) == 2:
        spans = [encoding.word_to_chars(word, 1) for word in words]
        if spans[0] is not None and spans[1] is not None:
            begin, end = spans[0][0], spans[1][1]
    return begin, end
